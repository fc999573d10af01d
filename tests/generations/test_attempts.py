"""Attempts: delivered and split, tried elsewhere, refused, and one creator beside another."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import select, update

from core.db import HOUR
from core.generations.models import State, attempts
from core.generations.settle import release_earnings
from core.ledger.models import FEES, earnings, pending, wallet
from core.ledger.seal import floorless_balances
from core.providers.base import Delivered, FailedCost, FailedFree, Fault, ImageRequest, Outcome, Picture, Rejected, Unknown
from core.resources.models import HealthState, resources
from core.worker import Worker
from tests.fakes import PIXEL
from tests.stage import PRICE, Stage, breaches, staged, work_off

ONE, TWO, THREE = "sk-1111111111", "sk-2222222222", "sk-3333333333"


async def tried(stage: Stage, generation_id: int) -> list[tuple[int, str | None, str | None]]:
    """Resource, outcome and fault of each attempt, in their order."""
    query = select(attempts.c.resource_id, attempts.c.outcome, attempts.c.fault).where(attempts.c.generation_id == generation_id)
    async with stage.app.read() as work:
        return [(id_, outcome, fault) for id_, outcome, fault in await work.connection.execute(query.order_by(attempts.c.fence))]


async def test_a_whole_delivery_is_captured_split_and_released_later(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path) as stage:
        resource = await stage.lend(ONE, price_percent="80")
        made = await stage.submit(*(f"k{i}" for i in range(5)))
        worker = Worker(stage.app, 1)
        assert await work_off(worker) == 5
        done = [await stage.generation(each.id) for each in made]
        assert {(each.state, each.paid, each.media_type, each.width, each.seed) for each in done} == {
            (State.DELIVERED, 3_600, "image/png", 1, 7)
        }
        assert await stage.app.blobs.get(done[0].blob or "") == PIXEL
        creator, miner = stage.creator.id, stage.miner.id
        assert await stage.balance(wallet(creator)) == 1_000_000 - 5 * 3_600
        assert await stage.balance(f"user:{creator}:held") == 0
        assert await stage.balance(pending(miner)) == 5 * 3_060
        assert not breaches(await stage.audit())
        async with stage.app.read() as work:
            assert (await floorless_balances(work.connection))[FEES] == 5 * 540
            used = await work.resources.get(resource.id)
        assert (used.in_flight, used.day_left, used.health.delivered) == (0, 1_000_000 - 5 * 3_600, 5)
        now = stage.app.now()
        assert await stage.app.database.run(lambda connection: release_earnings(connection, now + 71 * HOUR)) == 0
        assert await stage.app.database.run(lambda connection: release_earnings(connection, now + 73 * HOUR)) == 5
        assert await stage.app.database.run(lambda connection: release_earnings(connection, now + 73 * HOUR)) == 0
        assert (await stage.balance(pending(miner)), await stage.balance(earnings(miner))) == (0, 5 * 3_060)
        assert not breaches(await stage.audit())


@pytest.mark.parametrize(
    "failure",
    [FailedFree(Fault.SERVER), FailedFree(Fault.BAD_KEY), FailedFree(Fault.EMPTY), FailedFree(Fault.RATE_LIMITED, 30.0),
     FailedCost(Fault.BAD_ANSWER, 30_000), Unknown(Fault.TIMEOUT)],
)  # fmt: skip
async def test_a_failure_is_tried_elsewhere_and_never_twice_on_one_resource(sqlite_url: str, tmp_path: Path, failure: Outcome) -> None:
    async with staged(sqlite_url, tmp_path) as stage:
        lent = {(await stage.lend(key)).id for key in (ONE, TWO, THREE)}
        stage.provider.script.extend([failure, failure])
        (made,) = await stage.submit("k")
        assert await work_off(Worker(stage.app, 1)) == 3
        assert (await stage.generation(made.id)).state is State.DELIVERED
        tries = await tried(stage, made.id)
        assert {resource for resource, _, _ in tries} == lent
        assert [outcome for _, outcome, _ in tries][2] == "delivered"
        assert await stage.balance(wallet(stage.creator.id)) == 1_000_000 - PRICE
        assert not breaches(await stage.audit())


async def test_when_every_resource_failed_nothing_is_charged(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path) as stage:
        for key in (ONE, TWO):
            await stage.lend(key)
        stage.provider.answer = lambda request, key: FailedFree(Fault.SERVER)
        (made,) = await stage.submit("k")
        worker = Worker(stage.app, 1)
        assert await work_off(worker) == 2
        claimed = await worker.claim()
        assert not claimed.leases and [each.id for each in claimed.hopeless] == [made.id]
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            running = group.create_task(worker.run(stop))
            async with asyncio.timeout(20):
                while (await stage.generation(made.id)).state is State.QUEUED:  # noqa: ASYNC110  # the database tells nobody
                    await asyncio.sleep(0.05)
            stop.set()
            await running
        assert (await stage.generation(made.id)).state is State.FAILED
        assert await stage.balance(wallet(stage.creator.id)) == 1_000_000
        assert not breaches(await stage.audit())


async def test_refused_content_ends_at_once_costs_nothing_and_blames_no_resource(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path) as stage:
        lent = [await stage.lend(key) for key in (ONE, TWO)]
        stage.provider.answer = lambda request, key: Rejected(charged=True, cost=30_000)
        (made,) = await stage.submit("k")
        assert await work_off(Worker(stage.app, 1)) == 1
        ended = await stage.generation(made.id)
        assert (ended.state, ended.reason, ended.paid) == (State.FAILED, "moderated", 0)
        assert await stage.balance(wallet(stage.creator.id)) == 1_000_000
        async with stage.app.read() as work:
            after = [await work.resources.get(each.id) for each in lent]
        assert {(each.health.state, each.day_left, each.in_flight) for each in after} == {(HealthState.HEALTHY, 1_000_000, 0)}
        assert not breaches(await stage.audit())


async def test_tries_end_at_the_limit(sqlite_url: str, tmp_path: Path) -> None:
    async with staged(sqlite_url, tmp_path, tries_per_generation=2) as stage:
        for key in (ONE, TWO, THREE):
            await stage.lend(key)
        stage.provider.answer = lambda request, key: FailedFree(Fault.SERVER)
        (made,) = await stage.submit("k")
        assert await work_off(Worker(stage.app, 1)) == 2
        ended = await stage.generation(made.id)
        assert (ended.state, ended.reason) == (State.FAILED, "out_of_tries")


async def test_a_bad_key_takes_its_resource_out_until_a_probe_succeeds(sqlite_url: str, tmp_path: Path) -> None:
    async with staged(sqlite_url, tmp_path) as stage:
        lent = await stage.lend(ONE)
        stage.provider.script.append(FailedFree(Fault.BAD_KEY))
        await stage.submit("k")
        worker = Worker(stage.app, 1)
        assert await work_off(worker) == 1
        async with stage.app.read() as work:
            assert (await work.resources.get(lent.id)).health.state is HealthState.OUT
        await stage.submit("k2")
        assert await work_off(worker) == 0
        await stage.app.run(lambda work: work.connection.execute(update(resources).values(probe_at=0)))
        assert await worker.probe() == 1
        async with stage.app.read() as work:
            assert (await work.resources.get(lent.id)).health.state is HealthState.SUSPECT
        assert await work_off(worker) == 1
        async with stage.app.read() as work:
            assert (await work.resources.get(lent.id)).health.state is HealthState.HEALTHY


async def test_one_creator_with_many_does_not_delay_anothers_first(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path) as stage:
        other = await stage.person("other", 50_000)
        asked: list[str] = []

        def remember(request: ImageRequest, key: str) -> Outcome:
            asked.append(request.prompt)
            return Delivered(Picture(PIXEL, "image/png", 1, 1))

        stage.provider.answer = remember
        await asyncio.gather(*(stage.app.submit(stage.order(f"k{i}", prompt=f"mine {i}")) for i in range(30)))
        await stage.app.submit(stage.order("o", other, prompt="theirs"))
        await stage.lend(ONE, max_concurrency="1")
        assert await work_off(Worker(stage.app, 1)) == 31
        assert asked.index("theirs") <= 2
        assert not breaches(await stage.audit())


async def test_an_account_without_the_model_gets_no_more_work_for_it(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path) as stage:
        poor = await stage.lend(ONE)
        stage.provider.script.append(FailedFree(Fault.MODEL_MISSING))
        (first,) = await stage.submit("a")
        await work_off(Worker(stage.app, 1))
        (second,) = await stage.submit("b")
        await work_off(Worker(stage.app, 2))
        assert await tried(stage, first.id) == [(poor.id, "failed_free", "model_missing")]
        assert await tried(stage, second.id) == []
        async with stage.app.read() as work:
            models = (await work.resources.get(poor.id)).models
        assert models is not None
        assert "core" not in models
        assert "ultra" in models
        assert not breaches(await stage.audit())
