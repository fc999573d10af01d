"""Strikes: never more refused prompts than a user's and a resource's budget, whatever runs at once; and what follows from one."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import update

from core.db import HOUR, MINUTE
from core.generations.models import Submitted
from core.ledger.models import held_account, wallet
from core.mailbox.models import outbox
from core.providers.base import Fault, Rejected
from core.users.errors import TooManyStrikes
from core.users.models import User, users
from core.users.rules import STRIKE_WINDOW
from core.worker import Worker
from tests.stage import Stage, breaches, ended, staged, work_off

KEYS = ("sk-1111111111", "sk-2222222222")
AT_ONCE = 64


async def _with_strikes(stage: Stage, user_id: int, count: int) -> None:
    most = stage.app.settings.strikes_per_user
    await asyncio.gather(*(stage.app.run(lambda work: work.users.strike({user_id: 1}, most)) for _ in range(count)))


async def test_a_users_refused_prompts_never_exceed_the_budget(database_url: str, tmp_path: Path) -> None:
    wide = {"running_per_user": 100, "strikes_per_user": 5}
    async with staged(database_url, tmp_path, **wide) as stage, staged(database_url, tmp_path, credits=0, **wide) as other:
        other.app.providers = stage.app.providers
        for key in KEYS:
            await stage.lend(key, max_concurrency="100")
        stage.provider.answer = lambda request, key: Rejected()
        made = await stage.submit(*(f"k{i}" for i in range(AT_ONCE)))
        assert await work_off(Worker(stage.app, 1), Worker(other.app, 2)) == 5
        assert len(stage.provider.calls) == 5
        with pytest.raises(TooManyStrikes) as caught:
            await other.app.submit(stage.order("more"))
        assert 0 <= stage.app.now() + STRIKE_WINDOW - caught.value.facts["until"] < HOUR
        someone = await stage.person("someone", 50_000)
        assert isinstance(await stage.app.submit(stage.order("theirs", someone)), Submitted)
        # The oldest strike leaves the window: one more may be tried, and no more than that.
        async with stage.app.begin() as work:
            strikes = [work.now - STRIKE_WINDOW - 1, *[work.now] * 4]
            await work.connection.execute(update(users).where(users.c.id == stage.creator.id).values(strikes=str(strikes), barred_until=0))
        stage.provider.calls.clear()
        await stage.lend("sk-3333333333", max_concurrency="100")  # a wary one serves nobody who has strikes
        assert await work_off(Worker(stage.app, 1), Worker(other.app, 2)) == 2
        assert len(stage.provider.calls) == 2  # the other person's, and one
        assert sum([(await stage.generation(each.id)).reason == "moderated" for each in made]) == 6
        assert not breaches(await stage.audit())


async def test_a_resource_never_has_more_refused_prompts_than_its_budget(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path) as stage, staged(database_url, tmp_path, credits=0) as other:
        other.app.providers = stage.app.providers
        lent = await stage.lend(KEYS[0], max_concurrency="100", strike_limit="5")
        stage.provider.answer = lambda request, key: Rejected()
        people = [await stage.person(f"p{i}", 50_000) for i in range(AT_ONCE)]
        await asyncio.gather(*(stage.app.submit(stage.order(f"k{each.id}", each)) for each in people))
        assert await work_off(Worker(stage.app, 1), Worker(other.app, 2)) == 5
        async with stage.app.read() as work:
            assert (await work.resources.get(lent.id)).strikes == 5
            told = (await work.connection.execute(outbox.select().where(outbox.c.kind == "resource_rest"))).all()
        assert len(told) == 1
        stage.provider.answer = None
        await stage.lend(KEYS[1])  # another's account is fresh: the rest goes there
        assert await work_off(Worker(stage.app, 1), Worker(other.app, 2)) == AT_ONCE - 5
        assert {key for key, _ in stage.provider.calls[5:]} == {KEYS[1]}
        assert not breaches(await stage.audit())


async def test_who_has_strikes_gets_no_resource_that_has_used_half_of_its_budget(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path) as stage:
        await stage.lend(KEYS[0], strike_limit="4")
        stage.provider.script.extend([Rejected(), Rejected()])
        (zeroth,) = await stage.submit("k0")
        assert await work_off(Worker(stage.app, 1)) == 1
        assert (await stage.generation(zeroth.id)).reason == "moderated"
        (first,) = await stage.submit("k1")
        assert await work_off(Worker(stage.app, 1)) == 1
        assert (
            await stage.balance(wallet(stage.creator.id)) == 1_000_000 and await stage.balance(held_account(wallet(stage.creator.id))) == 0
        )
        (second,) = await stage.submit("k2")
        assert (await stage.generation(first.id)).reason == "moderated"
        assert await work_off(Worker(stage.app, 1)) == 0
        someone = await stage.person("someone", 50_000)
        await stage.submit("k3", user=someone)
        assert await work_off(Worker(stage.app, 1)) == 1
        (own,) = await stage.submit("k4", user=await _rich(stage))
        await _with_strikes(stage, own.user_id, 1)
        assert await work_off(Worker(stage.app, 1)) == 1  # the miner may do with their own what they like
        await stage.lend(KEYS[1])
        assert await work_off(Worker(stage.app, 1)) == 1
        assert (await stage.generation(second.id)).state == "delivered"


async def _rich(stage: Stage) -> User:
    await stage.app.grant(stage.miner.id, 50_000, "grant:miner")
    return stage.miner


async def test_strikes_given_at_once_all_count_and_faults_of_others_do_not(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path, strikes_per_user=70) as stage:
        await _with_strikes(stage, stage.creator.id, AT_ONCE)
        async with stage.app.read() as work:
            assert await work.users.strikes(stage.creator.id) == (AT_ONCE, 0)
        await stage.lend(KEYS[0])
        stage.provider.script.append(Rejected(Fault.BAD_REQUEST))
        await stage.submit("k")
        worker = Worker(stage.app, 1)
        await worker.claim()
        await ended(worker)
        async with stage.app.read() as work:
            assert (await work.users.strikes(stage.creator.id))[0] == AT_ONCE
        await _with_strikes(stage, stage.creator.id, 6)
        async with stage.app.read() as work:
            assert (await work.users.strikes(stage.creator.id))[1] > work.now + STRIKE_WINDOW - MINUTE
