"""Is it alive, is it ready, and how much waits."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

from api.shown import core_of
from core.app import App
from core.blobs import BlobNotFound
from core.errors import AetherflowError

router = APIRouter(tags=["operation"])
CHECK_SECONDS = 3.0
"""Longer than that is not ready."""

log = structlog.get_logger(__name__)


@router.get("/healthz", summary="Alive")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get(
    "/readyz", summary="Ready", response_class=PlainTextResponse,
    responses={503: {"description": "Something does not answer.", "content": {"text/plain": {"schema": {"type": "string"}}}}},
)  # fmt: skip
async def readyz(request: Request) -> PlainTextResponse:
    """One line for each thing that is needed: `ok database`, `ok blobs`, and `ok redis` where one is set; 503 where one does not answer."""
    app = core_of(request)
    checks: dict[str, Callable[[App], Awaitable[bool]]] = {"database": _database, "blobs": _blobs}
    if app.settings.redis_url:
        checks["redis"] = _redis
    answers = await asyncio.gather(*(_answers(name, check, app) for name, check in checks.items()))
    lines = [f"{'ok' if fine else 'failed'} {name}" for name, fine in zip(checks, answers, strict=True)]
    return PlainTextResponse("\n".join(lines) + "\n", 200 if all(answers) else 503)


@router.get(
    "/metrics", summary="Figures", response_class=PlainTextResponse,
)  # fmt: skip
async def metrics(request: Request) -> Response:
    """Figures of the whole system from its rows, in Prometheus' text format."""
    app = core_of(request)
    registry = CollectorRegistry()
    async with app.read() as work:
        states = Gauge("aetherflow_generations", "Generations that wait or run", ["state"], registry=registry)
        for state, count in (await work.generations.counts()).items():
            states.labels(state).set(count)
        outbox = Gauge("aetherflow_outbox_waiting", "Messages that wait to be sent", registry=registry)
        outbox.set(await work.mailbox.waiting())
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


async def _answers(name: str, check: Callable[[App], Awaitable[bool]], app: App) -> bool:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await check(app)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is not ready, and says so below
        log.warning("not_ready", part=name, problem=type(error).__name__)
        return False


async def _database(app: App) -> bool:
    async with app.read() as work:
        await work.ledger.balances(["-"])
    return True


async def _blobs(app: App) -> bool:
    """Asks for a picture that is not there: a store that says so answers."""
    try:
        await app.blobs.get("ready/-.png")
    except BlobNotFound:
        return True
    except AetherflowError:
        return False
    return True


async def _redis(app: App) -> bool:
    """Hints swallow an outage; what was just remembered is not recalled then."""
    key = f"ready:{secrets.token_hex(8)}"
    await app.hints.remember(key, "ok", 10)
    return await app.hints.recall(key) == "ok"
