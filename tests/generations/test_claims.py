"""Claims of two workers against a miner's limits, lapsed leases, and a worker that was killed."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from core.db import HOUR, SECOND
from core.generations.models import Lease, OutcomeKind, Settlement, State, attempts
from core.generations.pages import page
from core.generations.settle import lapsed, renew
from core.ledger.models import pending, wallet
from core.worker import Worker
from tests.stage import PRICE, VAULT_KEY, Stage, breaches, ended, staged, work_off

ONE, TWO = "sk-1111111111", "sk-2222222222"
ROOT = Path(__file__).parents[2]


async def claim_at_once(workers: list[Worker], rounds: int = 4) -> list[Lease]:
    """The leases of parallel claims, without waiting for their calls."""
    claims = await asyncio.gather(*(worker.claim() for _ in range(rounds) for worker in workers))
    return [lease for claim in claims for lease in claim.leases]


async def test_parallel_claims_never_exceed_the_concurrency(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path, running_per_user=100) as stage, staged(database_url, tmp_path, credits=0) as other:
        lent = await stage.lend(ONE, max_concurrency="3")
        other.app.providers = stage.app.providers
        stage.provider.gate = asyncio.Event()
        await stage.submit(*(f"k{i}" for i in range(20)))
        workers = [Worker(stage.app, 1), Worker(other.app, 2)]
        leases = await claim_at_once(workers)
        assert len(leases) == 3
        async with stage.app.read() as work:
            assert (await work.resources.get(lent.id)).in_flight == 3
        stage.provider.gate.set()
        await asyncio.gather(*(ended(worker) for worker in workers))
        await work_off(*workers)
        async with stage.app.read() as work:
            states = {each.state for each in await page(work.connection, stage.creator.id, 50)}
        assert states == {State.DELIVERED}
        assert stage.provider.most_in_flight == 3 and len(stage.provider.calls) == 20
        assert not breaches(await stage.audit())


@pytest.mark.parametrize(("limit", "expected"), [({"per_minute": "5"}, 5), ({"day_limit": "18", "month_limit": "18"}, 4)])
async def test_parallel_claims_never_exceed_the_minute_or_the_day(
    database_url: str, tmp_path: Path, limit: dict[str, Any], expected: int
) -> None:
    async with staged(database_url, tmp_path, running_per_user=100) as stage, staged(database_url, tmp_path, credits=0) as other:
        await stage.lend(ONE, **limit)
        await stage.submit(*(f"k{i}" for i in range(20)))
        workers = [Worker(stage.app, 1), Worker(other.app, 2)]
        assert await work_off(*workers) == expected
        assert len(stage.provider.calls) + len(other.provider.calls) == expected
        assert await stage.balance(pending(stage.miner.id)) == expected * 3_825
        assert not breaches(await stage.audit())


async def test_no_user_runs_more_at_once_than_allowed(database_url: str, tmp_path: Path) -> None:
    stages = (staged(database_url, tmp_path, credits=credits, running_per_user=2) for credits in (1_000_000, 0))
    async with next(stages) as stage, next(stages) as other:
        await stage.lend(ONE)
        stage.provider.gate = other.provider.gate = asyncio.Event()
        await stage.submit(*(f"k{i}" for i in range(6)))
        workers = [Worker(stage.app, 1), Worker(other.app, 2)]
        assert len(await claim_at_once(workers)) == 2
        stage.provider.gate.set()
        await asyncio.gather(*(ended(worker) for worker in workers))


async def _leases(stage: Stage) -> tuple[Worker, Lease]:
    """A worker that hangs in the call of one generation, and its lease."""
    await stage.lend(ONE)
    await stage.lend(TWO)
    stage.provider.gate = asyncio.Event()
    await stage.submit("k")
    worker = Worker(stage.app, 1)
    (lease,) = (await worker.claim()).leases
    return worker, lease


async def test_a_lapsed_lease_is_taken_up_again_and_the_late_result_loses(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path) as stage, staged(database_url, tmp_path, credits=0) as other:
        slow, lease = await _leases(stage)
        gone_at = stage.app.now() + HOUR
        async with other.app.read() as work:
            assert not await lapsed(work.connection, other.app.now(), 10)
            (gone,) = await lapsed(work.connection, gone_at, 10)
        assert gone.kind is OutcomeKind.UNKNOWN
        assert sorted(await asyncio.gather(stage.app.settle(gone), other.app.settle(gone), other.app.settle(gone))) == [False, False, True]
        assert await work_off(Worker(other.app, 2)) == 1
        assert stage.provider.gate is not None
        stage.provider.gate.set()
        await ended(slow)
        ended_as = await stage.generation(lease.generation.id)
        assert (ended_as.state, ended_as.fence, ended_as.paid) == (State.DELIVERED, 2, PRICE)
        assert not await stage.app.settle(Settlement(lease, OutcomeKind.DELIVERED, blob="late", media_type="image/png", width=1, height=1))
        assert (await stage.generation(lease.generation.id)).blob == ended_as.blob
        assert await stage.balance(wallet(stage.creator.id)) == 1_000_000 - PRICE
        assert await stage.balance(pending(stage.miner.id)) == 3_825
        assert not breaches(await stage.audit())


async def test_a_heartbeat_keeps_a_lease(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path) as stage:
        worker, lease = await _leases(stage)
        until = lease.lease_until + 60 * SECOND
        await stage.app.database.run(lambda connection: renew(connection, [lease], until))
        async with stage.app.read() as work:
            assert not await lapsed(work.connection, lease.lease_until + SECOND, 10)
            assert len(await lapsed(work.connection, until, 10)) == 1
        assert stage.provider.gate is not None
        stage.provider.gate.set()
        await ended(worker)


_WORKER = """
import asyncio, sys
from pathlib import Path
from core.worker import Worker
from core.app import open_app
from tests.fakes import FakeProvider
from tests.stage import settings_for
from tests import stage

async def main(url, folder, key):
    stage.VAULT_KEY = key
    provider = FakeProvider(gate=asyncio.Event())
    async with open_app(settings_for(url, Path(folder), lease_seconds=1.0), {"stability": provider}) as app:
        async with asyncio.TaskGroup() as group:
            group.create_task(Worker(app, 1).run(asyncio.Event()))
            await provider.arrived.wait()
            print("calling", flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_worker_killed_in_a_call_is_followed_by_another_with_one_charge(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path, lease_seconds=1.0, sweep_seconds=0.2) as stage:
        for key in (ONE, TWO):
            await stage.lend(key)
        (made,) = await stage.submit("k")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _WORKER, database_url, str(tmp_path), VAULT_KEY,
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            async for line in process.stdout:
                if line == b"calling\n":
                    break
            assert (await stage.generation(made.id)).state is State.RUNNING
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
            await process.communicate()
        assert process.returncode == -signal.SIGKILL
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            running = group.create_task(Worker(stage.app, 2).run(stop))
            async with asyncio.timeout(20):
                while (await stage.generation(made.id)).state is not State.DELIVERED:  # noqa: ASYNC110  # the database tells nobody
                    await asyncio.sleep(0.05)
            stop.set()
            await running
        async with stage.app.read() as work:
            assert await work.connection.scalar(select(func.count()).select_from(attempts)) == 2
        assert len(stage.provider.calls) == 1
        assert await stage.balance(wallet(stage.creator.id)) == 1_000_000 - PRICE
        assert await stage.balance(pending(stage.miner.id)) == 3_825
        assert not breaches(await stage.audit())
