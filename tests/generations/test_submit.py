"""Submitting: held once, whoever repeats it, and refused whole."""

import asyncio
from pathlib import Path

import pytest

from core.generations.errors import NotWaiting, TooManyQueued
from core.generations.models import State, Submitted
from core.generations.pages import page
from core.ledger.errors import InsufficientCredits, KeyReused
from core.ledger.models import earnings, wallet
from core.users.errors import Frozen
from core.worker import Worker
from tests.stage import PRICE, breaches, ended, staged, work_off


async def test_parallel_submits_of_one_key_hold_once(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path) as stage, staged(database_url, tmp_path, credits=0) as other:
        order = stage.order("k")
        submitted = await asyncio.gather(*(each.app.submit(order) for each in (stage, other) for _ in range(12)))
        assert len({each.generation.id for each in submitted}) == 1
        assert sorted(each.replayed for each in submitted) == [False] + [True] * 23
        assert sum(each.outbox is not None for each in submitted) == 1
        assert await stage.balance(wallet(stage.creator.id)) == 1_000_000 - PRICE
        assert not breaches(await stage.audit())


async def test_the_same_key_for_something_else_is_refused(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path) as stage:
        orders = [stage.order("k", prompt=prompt) for prompt in ("a cat", "a dog")]
        answers = await asyncio.gather(*(stage.app.submit(order) for order in orders), return_exceptions=True)
        assert [type(answer) for answer in answers] == [Submitted, KeyReused]
        with pytest.raises(KeyReused):
            await stage.app.submit(orders[1])
        assert await stage.balance(wallet(stage.creator.id)) == 1_000_000 - PRICE


async def test_a_wallet_for_three_pays_three_of_many(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path, credits=3 * PRICE + 1) as stage:
        answers = await asyncio.gather(*(stage.app.submit(stage.order(f"k{i}")) for i in range(20)), return_exceptions=True)
        assert sum(isinstance(each, Submitted) for each in answers) == 3
        assert sum(isinstance(each, InsufficientCredits) for each in answers) == 17
        assert await stage.balance(wallet(stage.creator.id)) == 1
        async with stage.app.read() as work:
            assert len(await page(work.connection, stage.creator.id, 50)) == 3
        assert not breaches(await stage.audit())


async def test_the_frozen_and_the_greedy_are_refused_beside_others(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path, queued_per_user=2) as stage:
        frozen = await stage.person("frozen", 50_000)
        await stage.app.run(lambda work: work.users.freeze(frozen.id, True))
        orders = [stage.order("f", frozen), *(stage.order(f"k{i}") for i in range(3))]
        answers = await asyncio.gather(*(stage.app.submit(order) for order in orders), return_exceptions=True)
        assert [type(answer) for answer in answers] == [Frozen, Submitted, Submitted, TooManyQueued]
        assert await stage.balance(wallet(frozen.id)) == 50_000
        assert not breaches(await stage.audit())


async def test_cancelling_gives_back_once_and_never_while_it_runs(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path) as stage:
        (waiting,) = await stage.submit("k")
        cancels = (stage.app.run(lambda work: work.generations.cancel(waiting.id, stage.creator.id)) for _ in range(8))
        answers = await asyncio.gather(*cancels, return_exceptions=True)
        assert sum(isinstance(each, NotWaiting) for each in answers) == 7
        assert (await stage.generation(waiting.id)).state is State.CANCELLED
        assert await stage.balance(wallet(stage.creator.id)) == 1_000_000
        await stage.lend("sk-aaaaaaaaaa")
        stage.provider.gate = asyncio.Event()
        (running,) = await stage.submit("k2")
        worker = Worker(stage.app, 1)
        await worker.claim()
        with pytest.raises(NotWaiting):
            await stage.app.run(lambda work: work.generations.cancel(running.id, stage.creator.id))
        stage.provider.gate.set()
        await ended(worker)
        assert (await stage.generation(running.id)).state is State.DELIVERED
        assert not breaches(await stage.audit())


async def test_released_earnings_pay_where_the_wallet_does_not(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path, earnings_hold_hours=0) as stage:
        await stage.lend("sk-aaaaaaaaaa")
        await stage.submit("a", "b")
        worker = Worker(stage.app, 1)
        assert await work_off(worker) == 2
        await worker.sweep()
        earned = await stage.balance(earnings(stage.miner.id))
        assert earned == 2 * 3_825
        (own,) = await stage.submit("own", user=stage.miner)
        assert own.payer == earnings(stage.miner.id)
        assert await stage.balance(earnings(stage.miner.id)) == earned - PRICE
        assert not breaches(await stage.audit())
