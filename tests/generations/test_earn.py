"""What miners see of their work, on both databases: how a resource does, and what is earned, pending and lost."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from core.db import DAY, HOUR
from core.disputes.models import Kind
from core.disputes.models import State as Verdict
from core.generations.digest import DIGEST_HOUR, write_digests
from core.generations.earn import Loss, due_by_day, earned_by_day, losses
from core.generations.models import attempts, generations
from core.generations.pages import Tries, tries_of_resource
from core.ledger.models import pending
from core.mailbox.models import outbox
from core.oversight.models import rounds
from core.providers.base import FailedCost, FailedFree, Fault, Rejected
from core.resources.models import Resource, State
from core.users.models import User
from core.worker import Worker
from tests.stage import Stage, breaches, staged, work_off

KEY = "sk-1111111111"
SHARE = 3_825
"""Of PRICE."""


@pytest.fixture
async def stage(database_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(database_url, tmp_path) as opened:
        yield opened


async def judge(stage: Stage, number: int, admin: User, part: int | None) -> None:
    """The creator's dispute about it, decided: all goes back, or a part."""
    dispute = await stage.app.run(lambda work: work.disputes.open(number, stage.creator, Kind.OTHER, 3))
    if part is None:
        await stage.app.run(lambda work: work.disputes.decide(dispute.id, admin, Verdict.REFUNDED, "a reason", alone=20_000))
    else:
        await stage.app.run(lambda work: work.disputes.decide(dispute.id, admin, Verdict.PARTLY, "a reason", amount=part, alone=20_000))


async def busy(stage: Stage) -> Resource:
    """A resource that has delivered four, one refunded and one by 2,000; and lost one, failed one, refused one."""
    lent = await stage.lend(KEY)
    admin = await stage.admin()
    made = await stage.submit("a", "b", "c", "d")
    assert await work_off(Worker(stage.app, 1)) == 4
    await judge(stage, made[0].id, admin, None)
    await judge(stage, made[1].id, admin, 2_000)
    stage.provider.script.extend((FailedCost(Fault.BAD_ANSWER, 30_000), FailedFree(Fault.SERVER), Rejected(Fault.MODERATED)))
    await stage.submit("e", "f", "g")
    assert await work_off(Worker(stage.app, 1)) == 3
    return lent


async def test_how_a_resource_does(stage: Stage) -> None:
    lent = await stage.lend("sk-2222222222", scope="own")
    async with stage.app.read() as work:
        none = await tries_of_resource(work.connection, lent)
    assert none == Tries(0, 0, 0, 0, 0, 0, None, None) and none.success is None
    lent = await busy(stage)
    async with stage.app.read() as work:
        tries = await tries_of_resource(work.connection, lent)
    assert (tries.delivered, tries.failed, tries.rejected, tries.lost, tries.success) == (4, 1, 1, 1, 66)
    assert (tries.sold, tries.earned) == (4 * 4_500, 3 * SHARE - 1_700)
    assert tries.p50 is not None and tries.p95 is not None and 0 <= tries.p50 <= tries.p95 < 60
    assert not breaches(await stage.audit())


async def test_by_day_until_when_and_what_was_lost(stage: Stage) -> None:
    await busy(stage)
    now, miner = stage.app.now(), stage.miner.id
    today = now - now % DAY
    made = await stage.submit("h", "i")
    assert await work_off(Worker(stage.app, 1)) == 2
    await stage.app.run(lambda work: work.disputes.open(made[1].id, stage.creator, Kind.OTHER, 3))
    async with stage.app.begin() as work:
        later = update(generations).where(generations.c.id == made[0].id).values(release_at=today + 9 * DAY + 5)
        await work.connection.execute(later)
    async with stage.app.read() as work:
        earned = await earned_by_day(work.connection, miner, today - DAY)
        due = await due_by_day(work.connection, miner)
        lost = await losses(work.connection, miner)
        nobody = await due_by_day(work.connection, stage.creator.id), await losses(work.connection, stage.creator.id)
    assert (sum(each.amount for each in earned), sum(each.pending for each in earned)) == (5 * SHARE - 1_700, 4 * SHARE)
    assert [each.amount for each in due] == [2 * SHARE, SHARE], "what is in dispute has no day"
    assert due[1].at == today + 9 * DAY + 5 and now + 71 * HOUR < due[0].at < now + 73 * HOUR
    assert lost == [Loss(Fault.BAD_ANSWER, 1, 30_000)]
    assert nobody == ([], [])
    assert await stage.balance(pending(miner)) == 4 * SHARE


async def test_the_digest_of_a_day_is_written_once(stage: Stage) -> None:
    lent = await busy(stage)
    await stage.app.run(lambda work: work.generations.cancel_all(stage.creator.id))  # what was to be tried elsewhere
    other, silent = await stage.person("other"), await stage.person("silent")
    for user, key in ((other, "sk-2222222222"), (silent, "sk-3333333333")):
        await stage.app.run(lambda work, each=lent: work.resources.move(each, State.PAUSED))  # type: ignore[misc]  # a default
        lent = await stage.lend(key, user, price_percent="50")
        await stage.submit(f"of {user.id}")
        assert await work_off(Worker(stage.app, 1)) == 1
    await stage.app.run(lambda work: work.users.set_digest(silent.id, False))
    tomorrow = stage.app.now() + DAY
    write = [stage.app.database.run(lambda connection: write_digests(connection, tomorrow)) for _ in range(4)]
    assert max(await asyncio.gather(*write)) == 2
    async with stage.app.begin() as work:
        rows = await work.connection.execute(select(outbox.c.body).where(outbox.c.kind == "digest").order_by(outbox.c.id))
        told = {body["reader"]: body for body in (json.loads(each) for each in rows.scalars())}
        assert len(told) == 2 and set(told) == {stage.miner.id, other.id}, "each once, and not who wants none"
    day = {"day": tomorrow - tomorrow % DAY - DAY}
    lost = {"lost": 1, "cost": 30_000}
    assert told[stage.miner.id] == day | lost | {"reader": stage.miner.id, "earned": 3 * SHARE - 1_700, "delivered": 4}
    assert told[other.id] == day | {"reader": other.id, "earned": 1_913, "delivered": 1, "lost": 0, "cost": 0}
    assert await stage.app.database.run(lambda connection: write_digests(connection, tomorrow + DAY)) == 0, "nothing came of that day"


async def test_a_worker_writes_the_digest_at_its_hour(stage: Stage) -> None:
    await busy(stage)
    workers = Worker(stage.app, 1), Worker(stage.app, 2)
    await workers[0].sweep()
    async with stage.app.begin() as work:
        due = await work.connection.scalar(select(rounds.c.due_at).where(rounds.c.name == "digest"))
        assert due is not None and due % DAY == DIGEST_HOUR * HOUR and 0 < due - work.now <= DAY
        await work.connection.execute(update(rounds).where(rounds.c.name == "digest").values(due_at=1))
        await work.connection.execute(update(attempts).values(started_at=attempts.c.started_at - DAY))
    await asyncio.gather(*(worker.sweep() for worker in workers))
    async with stage.app.read() as work:
        assert await work.connection.scalar(select(func.count()).where(outbox.c.kind == "digest")) == 1
