"""What admins stop and what they are alarmed of, on both databases: said once by however many workers, and its end too."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from core.acts.errors import ReasonNeeded
from core.db import HOUR
from core.desk import AWAY, Desk
from core.generations.errors import Maintenance
from core.generations.models import State
from core.mailbox.models import outbox
from core.oversight.alert import AGAIN, EVERY
from core.oversight.errors import StandsSo
from core.oversight.models import rounds
from core.payments.models import TopUp
from core.payments.rails.base import RailAway
from core.providers.base import FailedFree, Fault, Probe
from core.resources.errors import NotAllowedNow, ResourceNotFound, Stopped
from core.resources.models import State as ResourceState
from core.resources.models import Stop
from core.unit_of_work import UnitOfWork
from core.vault.secret import Secret
from core.worker import AUDIT_LEASE, Worker
from tests.stage import Stage, breaches, ended, staged, work_off

KEY, OTHER, THIRD = "sk-st-0123456789abcdef", "sk-st-fedcba9876543210", "sk-st-00112233445566"
DOLLAR = 1_000_000


@pytest.fixture
async def stage(database_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(database_url, tmp_path) as opened:
        yield opened


async def said(stage: Stage, kind: str = "alert") -> list[str]:
    """What the notices of a kind are about, in order."""
    async with stage.app.read() as work:
        rows = await work.connection.execute(select(outbox.c.body).where(outbox.c.kind == kind).order_by(outbox.c.id))
        return [body.split('"alert": "')[1].split('"')[0] if kind == "alert" else body for (body,) in rows]


async def later(stage: Stage, ahead: int, act: Any) -> Any:
    """`act` with a unit of work whose clock is ahead."""
    async with stage.app.database.begin() as connection:
        return await act(UnitOfWork(connection, stage.app.now() + ahead))


async def test_a_stopped_resource_is_its_owners_no_more(stage: Stage) -> None:
    admin, lent = await stage.admin("root"), await stage.lend(KEY)
    with pytest.raises(ReasonNeeded):
        await stage.app.run(lambda work: work.controls.stop(admin, lent.id, " "))
    with pytest.raises(ResourceNotFound):
        await stage.app.run(lambda work: work.controls.stop(admin, 999, "why not"))
    await stage.app.run(lambda work: work.controls.stop(admin, lent.id, "looks odd"))
    with pytest.raises(NotAllowedNow):
        await stage.app.run(lambda work: work.controls.stop(admin, lent.id, "again"))
    async with stage.app.read() as work:
        stopped = await work.resources.get(lent.id)
    assert (stopped.state, stopped.stopped) == (ResourceState.PAUSED, Stop.ADMIN)

    async def resume() -> None:
        await stage.app.run(lambda work: work.resources.move(stopped, ResourceState.LISTED))

    with pytest.raises(Stopped):
        await resume()
    await stage.app.hand_over(stopped, Secret(OTHER))
    await Worker(stage.app, 1).probe()
    with pytest.raises(Stopped):  # another key is no way around an admin
        await stage.app.run(lambda work: _change(work, lent.id))
    await stage.submit("a")
    assert await work_off(Worker(stage.app, 1)) == 0
    await stage.app.run(lambda work: work.controls.free(admin, lent.id, "was nothing"))
    await stage.app.run(lambda work: _change(work, lent.id))
    assert await work_off(Worker(stage.app, 1)) == 1
    async with stage.app.read() as work:
        acts = await work.acts.newest(subject=lent.subject)
    assert [(each.act, each.by) for each in acts] == [("free", admin.id), ("stop", admin.id)]


async def _change(work: UnitOfWork, number: int) -> None:
    await work.resources.change(await work.resources.get(number), {})


async def test_maintenance_takes_nothing_new_and_finishes_the_rest(stage: Stage) -> None:
    admin, worker = await stage.admin("root"), Worker(stage.app, 1)
    await stage.lend(KEY)
    (waiting,) = await stage.submit("a")
    standing = await stage.app.run(lambda work: work.controls.close(admin, "a move"))
    assert (standing.waiting, standing.running, standing.reason) == (1, 0, "a move")
    with pytest.raises(StandsSo):
        await stage.app.run(lambda work: work.controls.close(admin, "a move"))
    with pytest.raises(Maintenance):
        await stage.submit("b")
    assert (await stage.submit("a"))[0].id == waiting.id, "what was taken before is found"
    await worker.sweep()
    assert await said(stage) == []
    await work_off(worker)
    assert (await stage.generation(waiting.id)).state is State.DELIVERED
    for _ in range(2):
        await asyncio.gather(worker.sweep(), Worker(stage.app, 2).sweep())
    assert await said(stage) == ["drained"]
    await stage.app.run(lambda work: work.controls.reopen(admin, "moved"))
    with pytest.raises(StandsSo):
        await stage.app.run(lambda work: work.controls.reopen(admin, "moved"))
    assert await stage.submit("b")
    assert not breaches(await stage.audit())


async def test_an_alarm_is_said_once_again_after_hours_and_its_end(stage: Stage) -> None:
    await stage.admin("root")

    def say(ahead: int = 0) -> Any:
        return later(stage, ahead, lambda work: work.alerts.say("rail:stripe", "rail", rail="stripe"))

    assert sorted(await asyncio.gather(*(say() for _ in range(8)))) == [False] * 7 + [True]
    assert not await say(AGAIN - HOUR)
    assert await say(AGAIN + HOUR)
    ends = [stage.app.run(lambda work: work.alerts.over("rail:stripe", "rail", rail="stripe")) for _ in range(8)]
    assert sorted(await asyncio.gather(*ends)) == [False] * 7 + [True]
    assert await said(stage) == ["rail", "rail", "rail.over"]
    assert await say(AGAIN + HOUR)


async def test_one_of_many_workers_does_what_is_due(stage: Stage) -> None:
    def turn(ahead: int) -> Any:
        return later(stage, ahead, lambda work: work.alerts.is_turn("providers", EVERY))

    assert not await turn(0), "first after a while"
    for round_ in (1, 2):
        assert sum(await asyncio.gather(*(turn(round_ * (EVERY + 1)) for _ in range(8)))) == 1


async def test_a_provider_that_fails(stage: Stage) -> None:
    await stage.admin("root")
    lent = await stage.lend(KEY, per_minute="100", max_concurrency="50")

    def check(work: UnitOfWork) -> Any:
        return work.alerts.check_providers(["stability", "openai"])

    await stage.app.run(check)
    assert await said(stage) == []
    stage.provider.answer = lambda _request, _key: FailedFree(Fault.SERVER)
    await stage.submit(*(f"k{number}" for number in range(12)))
    async with stage.app.begin() as work:  # whatever the scheduler thinks of it: it is to be tried often
        await work.connection.exec_driver_sql("UPDATE resources SET successes = 1000")
    for _ in range(12):
        await work_off(Worker(stage.app, 1))
        async with stage.app.begin() as work:
            await work.connection.exec_driver_sql("UPDATE resources SET health = 'healthy', recent = '[]', cool_until = 0")
            await work.connection.exec_driver_sql("UPDATE generations SET tried = '[]' WHERE state = 'queued'")
    await stage.app.run(check)
    await stage.app.run(check)
    assert await said(stage) == ["provider"]
    async with stage.app.begin() as work:
        await work.connection.exec_driver_sql("UPDATE attempts SET started_at = 1")
        await work.connection.exec_driver_sql("UPDATE resources SET health = 'out'")
    await stage.app.run(check)
    assert await said(stage) == ["provider"], "it still is not well"
    stage.provider.probes[KEY] = Probe(balance=9 * DOLLAR)
    async with stage.app.begin() as work:
        await work.connection.exec_driver_sql(f"UPDATE resources SET health = 'suspect' WHERE id = {lent.id}")
    await stage.app.run(check)
    assert await said(stage) == ["provider", "provider.over"]
    async with stage.app.begin() as work:
        await work.connection.exec_driver_sql("UPDATE resources SET state = 'paused'")
    await stage.app.run(check)
    assert await said(stage) == ["provider", "provider.over", "provider"], "no key is left"


async def test_a_rail_that_fails_and_comes_back(stage: Stage) -> None:
    await stage.admin("root")
    desk = Desk(stage.app, stage.app.rails)
    stage.rail.trouble.extend([RailAway(rail="stripe", problem="503")] * (AWAY + 1))
    for number in range(3):
        await stage.app.top_up(TopUp(f"t{number}", stage.creator.id, "small", "stripe"))
    while stage.rail.trouble:
        await desk.work()
        async with stage.app.begin() as work:
            await work.connection.exec_driver_sql("UPDATE payments SET due_at = 0")
    await desk.work()
    assert await said(stage) == ["rail", "rail.over"]


async def test_failures_of_a_rail_count_in_whatever_process(stage: Stage) -> None:
    """A worker sees some, another the next, and one that was started anew forgets none; an answer to anybody ends it."""
    await stage.admin("root")
    await stage.app.top_up(TopUp("t", stage.creator.id, "small", "stripe"))

    async def asks(times: int) -> None:
        """A new process that asks so often."""
        desk = Desk(stage.app, stage.app.rails)
        for _ in range(times):
            async with stage.app.begin() as work:
                await work.connection.exec_driver_sql("UPDATE payments SET due_at = 0")
            await desk.work()

    away = RailAway(rail="stripe", problem="503")
    stage.rail.trouble.extend([away] * (AWAY - 1))
    await asks(AWAY)  # the last one is answered
    stage.rail.trouble.extend([away] * AWAY)
    await asks(AWAY - 1)
    assert await said(stage) == []
    await asks(1)
    assert await said(stage) == ["rail"]
    await asks(1)
    assert await said(stage) == ["rail", "rail.over"]


@pytest.mark.parametrize(("balance", "leaks"), [(10 * DOLLAR - 30_000, False), (9 * DOLLAR, True), (20 * DOLLAR, False), (None, False)])
async def test_a_balance_that_falls_without_us(stage: Stage, balance: int | None, leaks: bool) -> None:
    await stage.admin("root")
    lent = await stage.lend(KEY)
    await sync(stage)
    await stage.submit("a")
    await work_off(Worker(stage.app, 1))
    stage.provider.probes[KEY] = Probe(balance=balance)
    async with stage.app.begin() as work:
        await work.connection.exec_driver_sql("UPDATE resources SET probe_at = 0")
    await asyncio.gather(Worker(stage.app, 1).probe(), Worker(stage.app, 2).probe())
    async with stage.app.read() as work:
        found = await work.resources.get(lent.id)
    assert found.stopped == (Stop.LEAK if leaks else Stop.NO)
    assert found.state is (ResourceState.PAUSED if leaks else ResourceState.LISTED)
    assert await said(stage) == (["leak"] if leaks else [])
    assert len(await said(stage, "resource_leak")) == leaks
    if leaks:
        await stage.app.hand_over(found, Secret(OTHER))
        await Worker(stage.app, 1).probe()
        await stage.app.run(lambda work: _change(work, lent.id))
        assert await stage.submit("b")
        assert await work_off(Worker(stage.app, 1)) == 1


async def sync(stage: Stage) -> None:
    """A look at every key that may be looked at, now."""
    async with stage.app.begin() as work:
        await work.connection.exec_driver_sql("UPDATE resources SET probe_at = 0")
    await Worker(stage.app, 1).probe()


async def test_a_leak_is_of_one_key_and_no_way_around_an_admin(stage: Stage) -> None:
    admin, lent = await stage.admin("root"), await stage.lend(KEY)
    stage.provider.probes |= {OTHER: Probe(balance=3 * DOLLAR), THIRD: Probe(balance=DOLLAR)}
    await stage.app.hand_over(lent, Secret(OTHER))
    await sync(stage)
    assert await said(stage) == [], "another key has another balance"
    await stage.app.run(lambda work: _change(work, lent.id))
    await sync(stage)
    async with stage.app.read() as work:
        old = await work.resources.get(lent.id)
    await stage.app.run(lambda work: work.controls.stop(admin, lent.id, "looks odd"))
    stage.provider.probes[OTHER] = Probe(balance=DOLLAR)
    await sync(stage)
    stage.provider.probes[OTHER] = Probe(balance=0)
    await sync(stage)
    assert await said(stage) == ["leak"], "said once, however long it goes on"
    async with stage.app.read() as work:
        stopped = await work.resources.get(lent.id)
    await stage.app.hand_over(stopped, Secret(THIRD))
    await sync(stage)
    async with stage.app.read() as work:
        assert (await work.resources.get(lent.id)).stopped == Stop.ADMIN
    assert not await stage.app.run(lambda work: work.alerts.check_leak(old, 0, {})), "what is told late of a key that is gone"
    assert await said(stage) == ["leak", "leak.over"]


@pytest.mark.parametrize(("stolen", "leaks"), [(0, False), (DOLLAR // 5, True)], ids=["our use alone", "a little each time"])
async def test_little_that_is_gone_at_each_sync_adds_up(stage: Stage, stolen: int, leaks: bool) -> None:
    await stage.admin("root")
    lent, left = await stage.lend(KEY), 10 * DOLLAR
    await sync(stage)
    for turn in range(4):
        await stage.submit(f"k{turn}")
        await work_off(Worker(stage.app, 1))
        left -= 30_000 + stolen
        stage.provider.probes[KEY] = Probe(balance=left)
        await sync(stage)
        assert bool(await said(stage)) is (leaks and turn > 1), turn
    async with stage.app.read() as work:
        assert (await work.resources.get(lent.id)).stopped == (Stop.LEAK if leaks else Stop.NO)


async def test_what_is_spent_before_it_is_listed_or_while_an_admin_looks_is_no_leak(stage: Stage) -> None:
    admin, lent = await stage.admin("root"), await stage.lend(KEY)
    await stage.app.hand_over(lent, Secret(OTHER))
    stage.provider.probes[OTHER] = Probe(balance=9 * DOLLAR)
    await sync(stage)
    stage.provider.probes[OTHER] = Probe(balance=4 * DOLLAR)
    await sync(stage)  # it is ready, and nobody looks
    await stage.app.run(lambda work: _change(work, lent.id))
    await sync(stage)
    assert await said(stage) == []
    stage.provider.probes[OTHER] = Probe(balance=3 * DOLLAR)
    await sync(stage)
    assert await said(stage) == ["leak"]
    stage.provider.probes[OTHER] = Probe(balance=2 * DOLLAR)
    await stage.app.run(lambda work: work.controls.free(admin, lent.id, "spent by hand"))
    await sync(stage)
    assert await said(stage) == ["leak", "leak.over"]


async def test_what_still_runs_may_have_cost_already(stage: Stage) -> None:
    await stage.admin("root")
    lent, worker = await stage.lend(KEY), Worker(stage.app, 1)
    await sync(stage)
    stage.provider.gate, stage.provider.costs = asyncio.Event(), {"core": DOLLAR}
    await stage.submit("a")
    await worker.claim()
    await stage.provider.arrived.wait()
    stage.provider.probes[KEY] = Probe(balance=9 * DOLLAR)
    await sync(stage)
    stage.provider.gate.set()
    await ended(worker)
    async with stage.app.read() as work:
        assert (await work.resources.get(lent.id)).stopped == Stop.NO


async def test_a_breach_is_told(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path, audit_hours=1) as stage:
        await stage.admin("root")
        worker = Worker(stage.app, 1)
        for amount in (1, -1):
            async with stage.app.begin() as work:
                await work.connection.exec_driver_sql(
                    f"UPDATE accounts SET balance = balance + {amount} WHERE address LIKE 'user:%:wallet'"
                )
                await work.connection.exec_driver_sql("UPDATE rounds SET due_at = 0")
                await work.alerts.is_turn("audit", 0)
            await worker.sweep()
        assert await said(stage) == ["audit", "audit.over"]


async def test_an_audit_that_was_not_finished_is_run_again(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path, audit_hours=24) as stage:
        await stage.admin("root")
        worker = Worker(stage.app, 1)

        async def pass_by(hours: int) -> None:
            async with stage.app.begin() as work:
                await work.connection.exec_driver_sql(f"UPDATE rounds SET due_at = due_at - {hours * HOUR} WHERE name = 'audit'")

        async def rename(old: str, new: str) -> None:
            async with stage.app.begin() as work:
                await work.connection.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")

        await worker.sweep()
        async with stage.app.begin() as work:
            await work.connection.exec_driver_sql("UPDATE accounts SET balance = balance + 1 WHERE address LIKE 'user:%:wallet'")
        await pass_by(24)
        await rename("sealed_secrets", "away")  # what the audit alone reads
        with pytest.raises(DBAPIError):
            await worker.sweep()
        await rename("away", "sealed_secrets")
        await worker.sweep()
        assert await said(stage) == [], "it is leased"
        await pass_by(AUDIT_LEASE // HOUR)
        await worker.sweep()
        assert await said(stage) == ["audit"]
        async with stage.app.read() as work:
            left = await work.connection.scalar(select(rounds.c.due_at).where(rounds.c.name == "audit"))
        assert int(left or 0) > stage.app.now() + 23 * HOUR
