# One image for every role: `docker run aetherflow api`, `… worker`, `… telegram`, `… discord`, `… migrate`, `… doctor`.
FROM python:3.11-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /app
RUN python -m venv /opt/venv
# The pinned packages first: this layer is made again only when they change.
COPY requirements/app.txt requirements/app.txt
RUN /opt/venv/bin/python -m pip install --require-hashes -r requirements/app.txt
# EXTRA=classifier: moderation of pictures on the worker's machine, see docs/runbook.md.
ARG EXTRA=
COPY requirements/classifier.txt requirements/classifier.txt
RUN test -z "$EXTRA" || /opt/venv/bin/python -m pip install --require-hashes -r "requirements/$EXTRA.txt"
COPY . .
# Editable: the code stays where its data files (migrations, locales, catalog) are found beside it.
RUN /opt/venv/bin/python bots/chat/locales/compile.py \
 && /opt/venv/bin/python -m pip install --no-index --no-deps --no-build-isolation --editable . \
 && /opt/venv/bin/python -m compileall -q api bots core migrations sandbox cli.py demo.py doctor.py


FROM python:3.11-slim-bookworm

RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/aetherflow --shell /usr/sbin/nologin aetherflow \
 && install -d -o aetherflow -g aetherflow -m 0700 /var/lib/aetherflow
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    AETHERFLOW_DATA_DIR=/var/lib/aetherflow \
    AETHERFLOW_API_HOST=0.0.0.0
WORKDIR /app
USER aetherflow
VOLUME /var/lib/aetherflow
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["aetherflow"]
CMD ["up"]
