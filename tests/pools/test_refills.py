"""Refills on both databases: once a period whoever looks, never below an empty wallet, never above what was promised."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from core.db import DAY
from core.ledger.models import wallet
from core.mailbox.models import outbox
from core.pools.errors import BadPledge, PledgeNotFound
from core.pools.models import Community, Every, community_chats, pool, refills
from core.pools.refill import Refills
from core.pools.rules import read_refill
from core.users.models import User, users
from tests.pools.test_pools import founded
from tests.stage import Stage, breaches, staged


@pytest.fixture
async def stage(database_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(database_url, tmp_path, credits=0) as opened:
        yield opened


NOON = 1_900_065_600_000_000
"""Of a Tuesday, 2030-03-19: every test begins there."""


async def promise(stage: Stage, community: Community, user: User, level: int, most: int, every: Every = Every.DAY) -> None:
    await stage.app.run(lambda work: work.refills.begin(community.id, user, level=level, every=every, most=most, due_at=0))


async def sweep(stage: Stage, day: int = 0, workers: int = 2) -> None:
    """So many workers look at once, twice, at noon of that day."""
    for _ in range(2):
        looks = [stage.app.database.run(lambda connection: Refills(connection, NOON + day * DAY).do()) for _ in range(workers)]
        await asyncio.gather(*looks)


async def told(stage: Stage) -> int:
    async with stage.app.read() as work:
        return await work.connection.scalar(select(func.count()).where(outbox.c.kind == "refill")) or 0


async def test_workers_at_once_refill_once_a_period(stage: Stage) -> None:
    """Twelve pools, each with two givers whose levels differ, while members give by hand; replayed, nothing moves again."""
    app = stage.app
    places = [await app.run(lambda work, n=n: work.pools.found("telegram", f"-{n}", f"c{n}")) for n in range(12)]  # type: ignore[misc]  # a default
    one, two, member = await stage.person("one", 1_000_000), await stage.person("two", 1_000_000), await stage.person("member", 99_000)
    for place in places:
        await promise(stage, place, one, 10_000, 100_000)
        await promise(stage, place, two, 15_000, 12_000, Every.MONTH)
    give = app.run(lambda work: work.pools.contribute(places[0], member, 50_000, "hand"))
    await asyncio.gather(sweep(stage, workers=4), give)
    given = [await stage.balance(pool(place.id)) for place in places]
    assert given[1:] == [15_000] * 11 and given[0] in (50_000, 60_000, 65_000)
    for _ in range(2):
        async with app.begin() as work:  # it looks as if they had not been done, and as if the pools had spent since
            await work.connection.execute(update(refills).values(due_at=0, level=refills.c.level + 1_000))
        await sweep(stage, workers=4)
        assert [await stage.balance(pool(place.id)) for place in places] == given
    assert await stage.balance(wallet(one.id)) + await stage.balance(wallet(two.id)) == 2_000_000 + 50_000 - sum(given)
    async with app.read() as work:
        assert ("one", 10_000) in await work.pools.top(places[1])
    assert not breaches(await stage.audit())


async def test_a_wallet_that_does_not_suffice_gives_nothing_and_is_told_once(stage: Stage) -> None:
    community = await founded(stage, 0)
    giver = await stage.person("giver", 9_000)
    await promise(stage, community, giver, 10_000, 25_000)
    for day in range(3):
        await sweep(stage, day)
    assert (await stage.balance(pool(community.id)), await stage.balance(wallet(giver.id))) == (0, 9_000)
    assert await told(stage) == 1
    await stage.app.grant(giver.id, 91_000, "more")
    moves = []
    for day in range(3, 7):
        await sweep(stage, day)
        moves.append(await stage.balance(pool(community.id)))
        async with stage.app.begin() as work:  # the level is raised, as if all had been spent
            await work.connection.execute(update(refills).values(level=refills.c.level + 10_000))
    assert moves == [10_000, 20_000, 25_000, 25_000], "never more than was promised in all"
    assert await told(stage) == 2, "that it is used up"
    async with stage.app.read() as work:
        assert not await work.refills.of(community.id)
    assert not breaches(await stage.audit())


async def test_who_refills_and_until_when(stage: Stage) -> None:
    community = await founded(stage, 0)
    app = stage.app
    old, new, frozen = await stage.person("old", 50_000), await stage.person("new", 50_000), await stage.person("frozen", 50_000)
    await promise(stage, community, frozen, 90_000, 90_000)
    await app.run(lambda work: work.users.freeze(frozen.id, frozen=True))
    await promise(stage, community, old, 5_000, 90_000, Every.WEEK)
    async with app.begin() as work:
        await work.connection.execute(update(users).where(users.c.id == old.id).values(merged_into=new.id))
    await sweep(stage)
    await sweep(stage, 5)
    assert (await stage.balance(pool(community.id)), await stage.balance(wallet(new.id))) == (5_000, 45_000), "of whom they joined"
    async with app.read() as work:
        (mine,) = await work.refills.mine(new.id)
    with pytest.raises(PledgeNotFound):
        await app.run(lambda work: work.refills.end(mine.id, frozen.id))
    await app.run(lambda work: work.refills.end(mine.id, new.id))
    await promise(stage, community, new, 6_000, 90_000)
    async with app.begin() as work:  # the bot was removed from its only group
        await work.connection.execute(update(community_chats).values(gone_at=1))
    await sweep(stage, 40)
    assert await stage.balance(pool(community.id)) == 5_000
    async with app.begin() as work:
        await work.connection.execute(update(community_chats).values(gone_at=None))
    await app.run(lambda work: work.leaving.erase(new))
    await sweep(stage, 40)
    assert await stage.balance(pool(community.id)) == 5_000
    assert not breaches(await stage.audit())


@pytest.mark.parametrize(
    "answers", [{"every": "hour", "level": "5", "most": "5"}, {"every": "day", "level": "0"}, {"every": "day", "level": "5"}]
)
def test_what_is_no_refill(answers: dict[str, str]) -> None:
    with pytest.raises(BadPledge):
        read_refill(answers)


async def test_whoever_refills_many_pools_ends_each(stage: Stage) -> None:
    user = await stage.person("giver")
    for number in range(11):
        place = await stage.app.run(lambda work, n=number: work.pools.found("discord", f"g{n}", f"g{n}"))  # type: ignore[misc]  # a default
        await promise(stage, place, user, 1_000, 5_000)
    async with stage.app.read() as work:
        (newest,) = await work.refills.of(11)
    await stage.app.run(lambda work: work.refills.end(newest.id, user.id))
    async with stage.app.read() as work:
        assert await work.refills.of(11) == []
