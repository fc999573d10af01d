"""An audit names what was tampered with in generations and resources, and clean books name nothing."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from core.disputes.rules import compensation, turn_around
from core.generations.audit import CHECKS
from core.ledger.models import Hold, wallet
from core.providers.base import Delivered, ImageRequest, Outcome, Picture, Rejected
from core.worker import Worker
from tests.fakes import PIXEL
from tests.stage import Stage, breaches, ended, staged

OPEN = "every waiting or running generation has its open hold"
NOT_RELEASED = "nothing of a disputed or refunded generation was released"
PAID_BACK = "every refunded generation was paid back whole, and no other"
VERDICTS = "every verdict gave what it says, and no two of one dispute"
TAKEN_BACK = "whatever was taken back is its verdict turned around, once, and nothing else was"
PAYOUTS = "every payout has its hold, and left or came back as it says"
CAPTURED = "every delivered generation was captured once, at its price"
GIVEN_BACK = "every failed or cancelled generation was given back whole"
PICTURE = "every delivered generation has its picture, and no other has one"
OWNED = "every hold belongs to a generation"
RUNNING = "every running generation has one open attempt, every other none"
ONCE = "no generation was tried twice on one resource"
IN_FLIGHT = "every resource has as many calls in flight as open attempts"
LIMITS = "no resource is beyond its limits"
KEYS = "no key outlives its resource"
CHAIN, HOLD = "the hash chain is whole", "every hold has its entry, and its closing one"
HELD = "every held account equals its open holds"

STATES = ("delivered", "failed", "running", "queued", "cancelled")


@pytest.fixture
async def stage(database_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    """Sealed books with one generation of each kind, its key the name of its state; the call of the running one hangs."""
    async with staged(database_url, tmp_path) as stage:
        await stage.lend("sk-1111111111", max_concurrency="1")
        stage.provider.answer = _answer
        worker = Worker(stage.app, 1)
        for key in ("delivered", "failed"):
            await stage.app.submit(stage.order(key, prompt=key))
            await worker.claim()
            await ended(worker)
        stage.provider.gate = asyncio.Event()
        await stage.submit("running")
        await worker.claim()
        _, cancelled = await stage.submit("queued", "cancelled")
        await stage.app.run(lambda work: work.generations.cancel(cancelled.id, stage.creator.id))
        async with stage.app.read() as work:
            rows = await work.connection.execute(text("SELECT key, state FROM generations ORDER BY id"))
            assert {key: state for key, state in rows} == {each: each for each in STATES}
        assert not breaches(await stage.audit())
        yield stage
        stage.provider.gate.set()
        for task in worker._running:
            task.cancel()
        await asyncio.gather(*worker._running, return_exceptions=True)


def _answer(request: ImageRequest, _key: str) -> Outcome:
    return Rejected() if request.prompt == "failed" else Delivered(Picture(PIXEL, "image/png", 1, 1))


async def broken(stage: Stage, *statements: str) -> set[str]:
    """The checks that find something after those statements, each of which changes at least one row."""
    async with stage.app.begin() as work:
        for statement in statements:
            assert (await work.connection.execute(text(statement.replace(":", r"\:")))).rowcount >= 1
    return set(breaches(await stage.app.audit()))


def _set(table: str, change: str, key: str) -> str:
    here = {
        "generations": f"key = '{key}'",
        "holds": f"key = 'hold:{key}'",
        "entries": f"id = (SELECT closed_by FROM holds WHERE key = 'hold:{key}')",
        "attempts": f"generation_id = (SELECT id FROM generations WHERE key = '{key}')",
    }[table]
    return f"UPDATE {table} SET {change} WHERE {here}"


ATTEMPT = "generation_id, resource_id, provider_model, price, reasons, started_at, lease_until, finished_at"
CASES = [
    (_set("generations", "held = held + 1", "queued"), {OPEN}),
    (_set("generations", "held = held - 1", "running"), {OPEN}),
    (_set("generations", "payer = 'user:2:earnings'", "queued"), {OPEN}),
    (_set("generations", "state = 'queued'", "cancelled"), {OPEN}),
    (_set("holds", "key = 'hold:nobody'", "queued"), {OPEN, OWNED}),
    (_set("holds", "closed_by = entry_id", "running"), {OPEN, HOLD, HELD}),
    (_set("generations", "held = held + 1", "delivered"), {CAPTURED}),
    (_set("entries", "kind = 'release'", "delivered"), {CAPTURED, CHAIN}),
    (_set("generations", "state = 'delivered'", "queued"), {CAPTURED, PICTURE}),
    (_set("generations", "state = 'delivered', blob = 'x'", "failed"), {CAPTURED}),
    (_set("holds", "key = 'hold:nobody'", "delivered"), {CAPTURED, OWNED}),
    (_set("generations", "paid = 1", "failed"), {GIVEN_BACK}),
    (_set("generations", "paid = held", "cancelled"), {GIVEN_BACK}),
    (_set("entries", "kind = 'capture'", "cancelled"), {GIVEN_BACK, CHAIN}),
    (_set("generations", "state = 'cancelled'", "queued"), {GIVEN_BACK}),
    (_set("generations", "state = 'failed', blob = NULL", "delivered"), {GIVEN_BACK}),
    (_set("generations", "blob = NULL", "delivered"), {PICTURE}),
    (_set("generations", "blob = 'pictures/x.png'", "failed"), {PICTURE}),
    (_set("generations", "blob = 'pictures/x.png'", "queued"), {PICTURE}),
    (_set("generations", "key = 'renamed'", "cancelled"), {GIVEN_BACK, OWNED}),
    (_set("generations", "state = 'queued'", "running"), {RUNNING}),
    (_set("attempts", "finished_at = started_at", "running"), {RUNNING, IN_FLIGHT}),
    (_set("attempts", "finished_at = NULL", "delivered"), {RUNNING, IN_FLIGHT}),
    (f"INSERT INTO attempts ({ATTEMPT}, fence) SELECT {ATTEMPT}, fence + 1 FROM attempts WHERE finished_at IS NOT NULL", {ONCE}),
    (_set("generations", "state = 'refunded'", "delivered"), {PAID_BACK}),
    ("UPDATE resources SET in_flight = 0", {IN_FLIGHT}),
    ("UPDATE resources SET state = 'withdrawn'", {KEYS}),
    ("UPDATE resources SET state = 'revoked'", {KEYS}),
    ("UPDATE resources SET state = 'draft'", {KEYS}),
    ("UPDATE sealed_secrets SET subject = 'resource:999'", {KEYS}),
]


@pytest.mark.parametrize(("statement", "named"), CASES)
async def test_tampering_is_named(stage: Stage, statement: str, named: set[str]) -> None:
    assert await broken(stage, statement) == named


async def test_a_hold_of_nobody_is_named(stage: Stage) -> None:
    payer, later = wallet(stage.creator.id), stage.app.now() + 1
    await stage.app.run(lambda work: work.ledger.hold_many([Hold("hold:nobody", payer, 5, later)]))
    assert await broken(stage) == {OWNED}


@pytest.mark.parametrize("change", ["in_flight = max_concurrency + 1", "day_used = day_limit + 1", "month_used = month_limit + 1"])
async def test_what_is_beyond_a_limit_is_refused_by_the_table_and_named_where_the_table_did_not(stage: Stage, change: str) -> None:
    statement = f"UPDATE resources SET {change}"
    with pytest.raises(IntegrityError):
        await broken(stage, statement)
    async with stage.app.begin() as work:
        if stage.app.database.dialect == "sqlite":
            await work.connection.execute(text("PRAGMA ignore_check_constraints = ON"))
        else:
            for name in ("concurrency", "day", "month"):
                await work.connection.execute(text(f"ALTER TABLE resources DROP CONSTRAINT ck_resources_{name}"))
        await work.connection.execute(text(statement))
    assert set(breaches(await stage.app.audit())) == {LIMITS} | ({IN_FLIGHT} if "in_flight" in change else set())


async def test_a_price_that_was_not_captured_is_named(stage: Stage) -> None:
    assert await broken(stage, _set("generations", "paid = paid - 1", "delivered")) == {CAPTURED}


@pytest.mark.parametrize("change", ["shares = REPLACE(shares, '3825', '4500')", "shares = NULL"])
async def test_a_share_that_was_not_captured_is_named(stage: Stage, change: str) -> None:
    assert await broken(stage, _set("generations", change, "delivered"))


async def test_what_was_released_while_it_was_disputed_is_named(stage: Stage) -> None:
    disputed = _set("generations", "state = 'disputed'", "delivered")
    released = "UPDATE entries SET key = 'released:' || (SELECT id FROM generations WHERE key = 'delivered') WHERE kind = 'grant'"
    assert NOT_RELEASED in await broken(stage, disputed, released)


DISPUTE = """INSERT INTO disputes (generation_id, user_id, kind, state, reason, created_at, answer, amount)
    SELECT id, user_id, 'other', '{state}', 'x', 1, '', 1000 FROM generations WHERE key = 'delivered'"""


PAYOUT = """INSERT INTO payouts (user_id, amount, state, hold, created_at)
    SELECT user_id, 5, '{state}', 'none', 1 FROM generations WHERE key = 'delivered'"""


@pytest.mark.parametrize("state", ["requested", "paid", "refused"])
async def test_a_payout_without_its_hold_is_named(stage: Stage, state: str) -> None:
    assert await broken(stage, PAYOUT.format(state=state)) == {PAYOUTS}


@pytest.mark.parametrize("state", ["partly", "compensated", "refunded", "taken_back"])
async def test_a_verdict_that_moved_nothing_is_named(stage: Stage, state: str) -> None:
    assert await broken(stage, DISPUTE.format(state=state)) == {VERDICTS} | ({TAKEN_BACK} if state == "taken_back" else set())


async def test_what_was_taken_back_otherwise_than_given_is_named(stage: Stage) -> None:
    """The dispute says nothing of it; one leg went to another account; nothing was given."""
    given = compensation(1, stage.creator.id, 1_000)
    async with stage.app.begin() as work:
        await work.connection.execute(text(DISPUTE.format(state="compensated")))
        for posting in (given, turn_around(given.key, given.legs, {})):
            await work.ledger.post(posting)
    assert set(breaches(await stage.audit())) == {TAKEN_BACK}
    assert not await broken(stage, "UPDATE disputes SET state = 'taken_back'")
    other = "UPDATE legs SET account = 'platform:fees' WHERE account = 'platform:insurance' AND amount > 0"
    assert TAKEN_BACK in await broken(stage, other)
    assert {TAKEN_BACK, VERDICTS} <= await broken(stage, "UPDATE entries SET key = 'x' WHERE kind = 'goodwill'")


def test_every_check_has_its_case() -> None:
    assert set().union(*(named for _, named in CASES), {LIMITS, NOT_RELEASED, VERDICTS, TAKEN_BACK, PAYOUTS}) >= CHECKS.keys()
