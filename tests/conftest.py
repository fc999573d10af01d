"""What every test may ask for: a migrated database of its own on either engine, a Redis of its own, and a closed network.

`database_url` is a fresh migrated database; the test runs twice, on SQLite and on PostgreSQL. `database` is the same as an open
`core.db.Database`. `sqlite_url`, `postgres_url` and `redis_url` are for tests about one engine; `empty_url` has no schema yet.
Pages are driven in tests/pages.
"""

import gc
import os
import re
import shutil
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from zlib import crc32

import hypothesis
import pytest
import redis
import structlog
from sqlalchemy import Connection, Engine, event

from core.db import Database
from migrations.upgrade import upgrade
from tests import databases, network, services

ENGINES = ("sqlite", "postgresql")

hypothesis.settings.register_profile("ours", deadline=None, derandomize="CI" in os.environ, print_blob=True)
hypothesis.settings.load_profile("ours")

_run = ExitStack()


class _Compiled(dict[Any, Any]):
    """Statements that were compiled in this process, whichever engine it was for: each test has engines of its own, and to compile the
    same statements for each took a third of its time."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(self._known(key), default)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(self._known(key), value)

    @staticmethod
    def _known(key: Any) -> Any:
        return (key[0].name, *key[1:])  # the first is the engine's dialect


_compiled = _Compiled()


@event.listens_for(Engine, "engine_connect")
def _compile_once(connection: Connection) -> None:
    connection.execution_options(compiled_cache=_compiled)


def pytest_configure(config: pytest.Config) -> None:
    """One keeper of services per run, in the process that started it. The settings of whoever runs the tests do not reach them."""
    for name in [name for name in os.environ if name.startswith("AETHERFLOW_") and not name.startswith("AETHERFLOW_TEST_")]:
        del os.environ[name]
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a process of ours would compile 3,800 files each time it starts: 4 s
    if not hasattr(config, "workerinput"):
        _run.enter_context(services.keeper())
    if services.has_room(services.MEMORY):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(services.MEMORY))
    gc.set_threshold(20_000, 20, 20)  # thousands of modules and tests are looked through each time, and hardly anything is found
    network.close_off()
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[structlog.processors.add_log_level, renderer])  # its own way to show one traceback takes 5 s


PAIRS = {("en", "sqlite"), ("zh", "postgresql")}
"""Which language of the chat layer's desk meets which database: each of both, and not each with each, as words and engines know nothing of
each other. CI has 15 minutes."""
DIVIDED = {f"test_rails_{each}.py" for each in ("alipay_table", "stripe_table", "stars_table", "killed")} | {
    "test_back_office.py",
    "test_journey.py",
}
"""Files whose cases are divided between the databases, by their names, but for WHOLE: other files go the same ways on both."""
WHOLE = {"test_lend_generate_deliver_and_no_key_anywhere"}
_ENGINE = re.compile(r"(?<=\[)(sqlite|postgresql)(?=[-\]])")


UNCOUNTED = {
    f"test_{each}.py"
    for each in (
        "at_once", "audit", "authorization", "back_office_page", "bad_input", "bad_presses", "bad_table", "bench", "budget", "chat_page",
        "claims", "contract", "ends", "journey", "killed", "lost_roles", "page_faults", "page_fit", "rails_alipay_table", "rails_killed",
        "rails_race", "rails_stars_table", "rails_stripe_table", "roles", "secrets", "wallet_page",
    )
}  # fmt: skip
"""Files of long ways through everything, and of tables, whose lines others run too."""
_counted: dict[str, str] = {}
"""The first case of each test."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what PAIRS leaves out."""
    apart = [each for each in items if _is_apart(each)]
    if apart:
        config.hook.pytest_deselected(items=apart)
        left_out = set(apart)
        items[:] = [each for each in items if each not in left_out]
    for each in items:
        _counted.setdefault(each.nodeid.partition("[")[0], each.nodeid)
    gc.collect()
    gc.freeze()  # modules and tests stay to the end


def _is_apart(item: pytest.Item) -> bool:
    callspec: Any = getattr(item, "callspec", None)
    params = callspec.params if callspec is not None else {}
    if item.path.name in DIVIDED and (engine := _ENGINE.search(item.name)) and item.name.partition("[")[0] not in WHOLE:
        case = item.name.replace(engine[0], "", 1)
        return (crc32(case.encode()) % 2 == 0) != (engine[0] == "sqlite")
    return params.get("desk") in ("en", "zh") and "database_url" in params and (params["desk"], params["database_url"]) not in PAIRS


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Lines are counted in the first case of each test, as the others run nearly the same ones, and not in tests that are `uncounted`:
    counting takes as long as running them."""
    first = _counted.get(item.nodeid.partition("[")[0]) == item.nodeid and item.path.name not in UNCOUNTED
    if first and item.get_closest_marker("uncounted") is None:
        return (yield)
    ours, threads = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(ours)
        threading.settrace(threads)


def pytest_unconfigure() -> None:
    """Stops the services of this run."""
    _run.close()


@pytest.fixture(autouse=True)
def _network_stays_closed() -> Iterator[None]:
    """Fails a test that tried to leave this machine, also where the code under test took the refusal for an ordinary failure."""
    network.attempts.clear()
    yield
    assert not network.attempts, f"tried to leave this machine: {network.attempts}"


@pytest.fixture(params=ENGINES)
def database_url(request: pytest.FixtureRequest) -> str:
    """The SQLAlchemy URL of a fresh migrated database, once per engine."""
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url"))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The same, open; closed afterwards."""
    opened = Database(database_url)
    yield opened
    await opened.close()


@pytest.fixture
def sqlite_url(_sqlite_template: Path, tmp_path: Path) -> str:
    """A fresh migrated SQLite file."""
    file = tmp_path / "aetherflow.sqlite3"
    shutil.copyfile(_sqlite_template, file)
    return f"sqlite+aiosqlite:///{file}"


@pytest.fixture
def postgres_url(_postgres_template: str) -> Iterator[str]:
    """A fresh migrated PostgreSQL database, dropped afterwards."""
    with databases.lent(services.postgres(), _postgres_template) as url:
        yield url


@pytest.fixture(params=ENGINES)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The SQLAlchemy URL of a database without a schema, once per engine."""
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path / 'empty.sqlite3'}"
    else:
        with databases.created(services.postgres()) as url:
            yield url


@pytest.fixture
def redis_url(worker_id: str) -> str:
    """An empty Redis that no other test uses at the same time."""
    url = services.valkey(worker_id)
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("template") / "template.sqlite3"
    databases.apart(upgrade, f"sqlite+aiosqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def _postgres_template() -> str:
    return databases.migrated_template(services.postgres())
