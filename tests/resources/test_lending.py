"""Lending: a key is handed over once, tried, listed, and wiped; every step that the table lacks is refused."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from core.db import MINUTE
from core.generations.models import State as GenerationState
from core.providers.base import Fault, Probe
from core.resources.errors import KeyOfAnother, LinkExpired, NotAKey, NotAllowedNow, ResourceNotFound, TooManyResources
from core.resources.models import HealthState, Resource, State, resources
from core.resources.rules import NEXT, may_lend
from core.resources.service import Resources
from core.users.models import Role
from core.vault.errors import DuplicateSecret
from core.vault.models import MAX_SECRET, sealed_secrets
from core.vault.secret import Secret
from core.worker import Worker
from tests.fakes import FakeProvider
from tests.stage import Stage, breaches, ended, staged

KEY, OTHER = "sk-abcdefghijk", "sk-lmnopqrstuv"


async def _draft(stage: Stage, most: int = 20) -> Resource:
    rule = may_lend(stage.app.catalog, "stability")
    return await stage.app.run(lambda work: work.resources.draft(stage.miner.id, rule, "en", most))


async def _now(stage: Stage, resource: Resource) -> Resource:
    async with stage.app.read() as work:
        return await work.resources.get(resource.id)


async def _sealed(stage: Stage) -> int:
    async with stage.app.read() as work:
        return await work.connection.scalar(select(func.count()).select_from(sealed_secrets)) or 0


async def test_a_key_that_works_is_listed_and_its_owner_is_a_miner(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path) as stage:
        drafted = await _draft(stage)
        assert (drafted.state, drafted.key_version, await _sealed(stage)) == (State.DRAFT, 0, 0)
        handed = await stage.app.hand_over(drafted, Secret(f"  {KEY}\n"))
        assert (handed.state, handed.key_version) == (State.PROBING, 1)
        stage.provider.probes[KEY] = Probe(balance=5_000_000, models=frozenset({"core", "unheard-of"}))
        assert await Worker(stage.app, 1).probe() == 1
        ready = await _now(stage, drafted)
        assert (ready.state, ready.balance, ready.models) == (State.READY, 5_000_000, frozenset({"core"}))
        listed = await stage.app.run(lambda work: work.resources.change(ready, {"price_percent": "70"}))
        assert (listed.state, listed.limits.price_percent) == (State.LISTED, 70)
        async with stage.app.read() as work:
            assert Role.MINER in (await work.users.get(stage.miner.id)).roles


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sk-",
        "sk-short",
        "nothing like a key",
        "sk-with a space",
        "sk-bell\x07bell",
        "sk-snow☃snow",
        "sk-" + "x" * MAX_SECRET,
        "sk-two\nlines",
    ],
)
async def test_what_is_no_key_is_refused_and_nothing_is_kept(sqlite_url: str, tmp_path: Path, text: str) -> None:
    async with staged(sqlite_url, tmp_path) as stage:
        drafted = await _draft(stage)
        if text == "sk-short":
            stage.provider.prefix = "sk-long-"
        with pytest.raises(NotAKey) as refused:
            await stage.app.hand_over(drafted, Secret(text))
        assert refused.value.facts == {"provider": "Stability AI", "shape": "sk-…"}
        assert ((await _now(stage, drafted)).state, await _sealed(stage)) == (State.DRAFT, 0)


async def test_a_key_of_another_provider_is_refused_by_name(sqlite_url: str, tmp_path: Path) -> None:
    async with staged(sqlite_url, tmp_path) as stage:
        stage.app.providers = {"stability": stage.provider, "openai": FakeProvider("openai", "op-")}
        drafted = await _draft(stage)
        with pytest.raises(KeyOfAnother) as refused:
            await stage.app.hand_over(drafted, Secret("op-abcdefghijk"))
        assert refused.value.facts == {"provider": "Stability AI", "other": "OpenAI"}
        assert await _sealed(stage) == 0


async def test_one_key_cannot_be_lent_twice(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path) as stage:
        first, rule = await _draft(stage), may_lend(stage.app.catalog, "stability")
        second = await stage.app.run(lambda work: work.resources.draft(stage.creator.id, rule, "en", 20))
        answers = await asyncio.gather(*(stage.app.hand_over(each, Secret(KEY)) for each in (first, second)), return_exceptions=True)
        assert sorted(type(answer).__name__ for answer in answers) == ["DuplicateSecret", "Resource"]
        with pytest.raises(DuplicateSecret):
            await stage.app.hand_over(await _draft(stage), Secret(KEY))
        assert await _sealed(stage) == 1
        states = sorted([(await _now(stage, each)).state for each in (first, second)])
        assert states == [State.DRAFT, State.PROBING]


async def test_what_was_begun_is_gone_on_with(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path) as stage:
        drafted = await asyncio.gather(*(_draft(stage) for _ in range(8)))
        assert len({each.id for each in drafted}) == 1


async def test_a_handover_link_works_once_whoever_is_faster(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path) as stage:
        drafted = await _draft(stage)
        earlier = await stage.app.run(lambda work: work.resources.open_handover(drafted.id, 10))
        token = await stage.app.run(lambda work: work.resources.open_handover(drafted.id, 10))
        with pytest.raises(LinkExpired):
            await stage.app.hand_over(drafted, Secret(KEY), earlier)
        async with stage.app.read() as work:
            assert await work.resources.behind(token) == drafted
        with pytest.raises(NotAKey):
            await stage.app.hand_over(drafted, Secret("nonsense"), token)
        rivals = (stage.app.hand_over(drafted, Secret(f"{KEY}{n}"), token) for n in range(8))
        answers = await asyncio.gather(*rivals, return_exceptions=True)
        assert sorted({type(answer).__name__ for answer in answers}) == ["LinkExpired", "Resource"]
        assert sum(isinstance(answer, Resource) for answer in answers) == 1
        async with stage.app.read() as work:
            for dead in (token, earlier, "made up"):
                with pytest.raises(LinkExpired):
                    await work.resources.behind(dead)


async def test_a_handover_link_ends_with_its_time(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path) as stage:
        drafted = await _draft(stage)
        token = await stage.app.run(lambda work: work.resources.open_handover(drafted.id, 10))
        now = stage.app.now()
        async with stage.app.begin() as work:
            assert (await Resources(work.connection, now + 9 * MINUTE).behind(token)).id == drafted.id
            with pytest.raises(LinkExpired):
                await Resources(work.connection, now + 11 * MINUTE).behind(token)
            with pytest.raises(LinkExpired):
                await Resources(work.connection, now + 11 * MINUTE).use_link(token)


@pytest.mark.parametrize("fault", [Fault.BAD_KEY, Fault.EMPTY, Fault.UNVERIFIED, Fault.BAD_REQUEST])
async def test_a_key_that_fails_its_probe_is_wiped_and_asked_for_again(sqlite_url: str, tmp_path: Path, fault: Fault) -> None:
    async with staged(sqlite_url, tmp_path) as stage:
        stage.provider.probes[KEY] = Probe(fault)
        handed = await stage.app.hand_over(await _draft(stage), Secret(KEY))
        worker = Worker(stage.app, 1)
        await worker.probe()
        refused = await _now(stage, handed)
        assert (refused.state, await _sealed(stage)) == (State.DRAFT, 0)
        again = await stage.app.hand_over(refused, Secret(OTHER))
        assert (again.key_version, again.health.state) == (2, HealthState.HEALTHY)
        await worker.probe()
        assert (await _now(stage, handed)).state is State.READY


async def test_a_probe_that_could_not_be_made_keeps_the_key_waiting(sqlite_url: str, tmp_path: Path) -> None:
    async with staged(sqlite_url, tmp_path) as stage:
        stage.provider.probes[KEY] = Probe(Fault.NETWORK)
        handed = await stage.app.hand_over(await _draft(stage), Secret(KEY))
        await Worker(stage.app, 1).probe()
        assert ((await _now(stage, handed)).state, await _sealed(stage)) == (State.PROBING, 1)


@pytest.mark.parametrize("before", list(State))
async def test_every_step_is_taken_or_refused_as_the_table_says(sqlite_url: str, tmp_path: Path, before: State) -> None:
    async with staged(sqlite_url, tmp_path) as stage:
        drafted = await _draft(stage)
        for after in State:
            async with stage.app.begin() as work:
                await work.connection.execute(update(resources).where(resources.c.id == drafted.id).values(state=before))
            resource = await _now(stage, drafted)
            if after in NEXT[before]:
                await stage.app.run(lambda work, r=resource, a=after: work.resources.move(r, a))  # type: ignore[misc]  # a default
                assert (await _now(stage, drafted)).state is after
            else:
                with pytest.raises(NotAllowedNow):
                    await stage.app.run(lambda work, r=resource, a=after: work.resources.move(r, a))  # type: ignore[misc]  # a default
                assert (await _now(stage, drafted)).state is before


async def test_a_step_from_what_is_no_longer_so_is_refused(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path) as stage:
        listed = await stage.lend(KEY)
        moves = (stage.app.run(lambda work: work.resources.move(listed, State.PAUSED)) for _ in range(6))
        answers = await asyncio.gather(*moves, return_exceptions=True)
        assert sum(isinstance(each, NotAllowedNow) for each in answers) == 5 and answers.count(None) == 1
        with pytest.raises(NotAllowedNow):
            await stage.app.run(lambda work: work.resources.move(replace(listed, state=State.PAUSED, key_version=9), State.LISTED))


@pytest.mark.parametrize("last", [State.WITHDRAWN, State.REVOKED])
async def test_leaving_wipes_the_key_and_a_running_call_still_settles(database_url: str, tmp_path: Path, last: State) -> None:
    async with staged(database_url, tmp_path) as stage:
        listed = await stage.lend(KEY)
        stage.provider.gate = asyncio.Event()
        (made,) = await stage.submit("k")
        worker = Worker(stage.app, 1)
        assert len((await worker.claim()).leases) == 1
        await stage.app.run(lambda work: work.resources.move(listed, last))
        assert await _sealed(stage) == 0
        stage.provider.gate.set()
        await ended(worker)
        assert (await stage.generation(made.id)).state is GenerationState.DELIVERED
        await stage.submit("k2")
        assert not (await worker.claim()).leases
        assert not breaches(await stage.audit())


async def test_limits_never_fall_below_what_runs_and_strangers_see_nothing(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path) as stage:
        listed = await stage.lend(KEY)
        stage.provider.gate = asyncio.Event()
        await stage.submit("a", "b", "c")
        worker = Worker(stage.app, 1)
        assert len((await worker.claim()).leases) == 3
        answers = {"max_concurrency": "1", "day_limit": "1", "month_limit": "1"}
        changed = await stage.app.run(lambda work: work.resources.change(listed, answers))
        assert (changed.limits.max_concurrency, changed.limits.day_limit, changed.day_left) == (3, 13_500, 0)
        stage.provider.gate.set()
        await ended(worker)
        async with stage.app.read() as work:
            with pytest.raises(ResourceNotFound):
                await work.resources.get(listed.id, stage.creator.id)
            assert not await work.resources.list_of(stage.creator.id)
        assert not breaches(await stage.audit())


async def test_what_was_used_yesterday_does_not_hold_a_new_limit_up(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path) as stage:
        listed = await stage.lend(KEY)
        old = {"day": 20_000, "day_used": 500_000, "month": 650, "month_used": 900_000}
        async with stage.app.begin() as work:
            await work.connection.execute(update(resources).where(resources.c.id == listed.id).values(**old))
        changed = await stage.app.run(lambda work: work.resources.change(listed, {"day_limit": "10", "month_limit": "20"}))
        assert (changed.limits.day_limit, changed.limits.month_limit) == (10_000, 20_000)
        assert (changed.day_left, changed.month_left) == (10_000, 20_000)


async def test_a_miner_lends_at_most_so_many(sqlite_url: str, tmp_path: Path) -> None:
    async with staged(sqlite_url, tmp_path) as stage:
        first = await stage.lend(KEY)
        with pytest.raises(TooManyResources):
            await _draft(stage, 1)
        await stage.app.run(lambda work: work.resources.move(first, State.WITHDRAWN))
        assert (await _draft(stage, 1)).state is State.DRAFT
