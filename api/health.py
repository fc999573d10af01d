"""Is it alive, is it ready, and how much waits."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

from core.app import App

router = APIRouter()


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(request: Request) -> dict[str, str]:
    """The database answers too; raises what it raises, which becomes a 500."""
    app: App = request.app.state.core
    async with app.read() as work:
        await work.generations.counts()
    return {"status": "ready"}


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Figures of the whole system from its rows, in Prometheus' text format."""
    app: App = request.app.state.core
    registry = CollectorRegistry()
    async with app.read() as work:
        states = Gauge("aetherflow_generations", "Generations that wait or run", ["state"], registry=registry)
        for state, count in (await work.generations.counts()).items():
            states.labels(state).set(count)
        outbox = Gauge("aetherflow_outbox_waiting", "Messages that wait to be sent", registry=registry)
        outbox.set(await work.mailbox.waiting())
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
