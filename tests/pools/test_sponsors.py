"""Sponsors on both databases: a gift and what is added to it are one entry, and a pledge never gives more than its limit or its wallet."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import update

from core.ledger.models import wallet
from core.pools.errors import BadPledge, PledgeNotFound, TooManyPledges
from core.pools.models import Community, pledges, pool
from core.pools.promise import MAX_PROMISES
from core.pools.rules import read_pledge
from core.users.models import User, users
from tests.pools.test_pools import founded
from tests.stage import Stage, breaches, staged


@pytest.fixture
async def stage(database_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(database_url, tmp_path, credits=0) as opened:
        yield opened


async def pledge(stage: Stage, community: Community, user: User, percent: int, most: int) -> None:
    await stage.app.run(lambda work: work.sponsors.begin(community.id, user, percent=percent, most=most))


async def give(stage: Stage, community: Community, user: User, amount: int, key: str) -> int:
    return await stage.app.run(lambda work: work.pools.contribute(community, user, amount, key))


@pytest.mark.parametrize(("most", "purse"), [(30_000, 100_000), (100_000, 30_000)])
async def test_gifts_at_once_are_matched_up_to_the_limit_and_the_wallet(stage: Stage, most: int, purse: int) -> None:
    """Ten members give four times each, 1.5 Credits, against one pledge that suffices for 30; each said twice."""
    community = await founded(stage, 0)
    sponsor = await stage.person("sponsor", purse)
    people = [await stage.person(f"m{number}", 6_000) for number in range(10)]
    await pledge(stage, community, sponsor, 100, most)
    gives = [give(stage, community, user, 1_500, f"{user.id}:{n}") for user in people for n in (0, 1, 2, 3, 0, 1)]
    added = await asyncio.gather(*gives)
    assert sum(added) == 30_000
    assert await stage.balance(pool(community.id)) == 60_000 + 30_000
    assert await stage.balance(wallet(sponsor.id)) == purse - 30_000
    async with stage.app.read() as work:
        assert await work.pools.top(community, 20) == [("sponsor", 30_000)] + [(user.name, 6_000) for user in people]
        assert await work.pools.given_by(sponsor.id) == [(community, 30_000)]
        assert await work.pools.given_by(people[0].id) == [(community, 6_000)]
        assert [each.left for each in await work.sponsors.of(community.id)] == ([] if most == 30_000 else [70_000])
    assert not breaches(await stage.audit())


async def test_sponsors_who_give_and_spend_at_once(stage: Stage) -> None:
    """Each sponsors what the others give, all at once: nobody waits for another in a ring, and the sums agree."""
    community = await founded(stage, 0)
    people = [await stage.person(f"s{number}", 50_000) for number in range(4)]
    for user in people:
        await pledge(stage, community, user, 50, 10_000)
    gives = [give(stage, community, user, 2_000, f"{user.id}:{n}") for user in people for n in range(3)]
    added = await asyncio.gather(*gives)
    assert sum(added) == 12 * 3 * 1_000
    assert [await stage.balance(wallet(user.id)) for user in people] == [50_000 - 3 * 2_000 - 9 * 1_000] * 4
    assert await stage.balance(pool(community.id)) == 12 * 2_000 + sum(added)
    assert not breaches(await stage.audit())


async def test_who_sponsors_and_until_when(stage: Stage) -> None:
    community = await founded(stage, 0)
    app = stage.app
    giver, old, new = await stage.person("giver", 90_000), await stage.person("old", 9_000), await stage.person("new", 9_000)
    await pledge(stage, community, old, 10, 5_000)
    await pledge(stage, community, old, 50, 5_000)
    async with app.read() as work:
        (first,) = await work.sponsors.mine(old.id)
    assert first.percent == 50, "the newer word counts"
    assert await give(stage, community, giver, 999, "a") == 499, "rounded down"
    assert await give(stage, community, old, 1_000, "b") == 0, "nobody adds to their own"
    async with app.begin() as work:
        await work.connection.execute(update(users).where(users.c.id == old.id).values(merged_into=new.id))
    assert await give(stage, community, giver, 1_000, "c") == 500
    assert await stage.balance(wallet(new.id)) == 8_500, "of whom they joined"
    with pytest.raises(PledgeNotFound):
        await app.run(lambda work: work.sponsors.end(first.id, giver.id))
    assert await app.run(lambda work: work.sponsors.end(first.id, new.id)) == community.id
    with pytest.raises(PledgeNotFound):
        await app.run(lambda work: work.sponsors.end(first.id, new.id))
    assert await give(stage, community, giver, 1_000, "d") == 0
    crowd = [await stage.person(f"c{number}", 1_000) for number in range(MAX_PROMISES + 1)]
    answers = await asyncio.gather(*(pledge(stage, community, user, 100, 1_000) for user in crowd), return_exceptions=True)
    assert [type(each) for each in answers if each] == [TooManyPledges]
    await app.run(lambda work: work.users.freeze(crowd[0].id, frozen=True))
    await app.run(lambda work: work.leaving.erase(crowd[1]))
    async with app.read() as work:
        left = {each.user_id for each in await work.sponsors.of(community.id)}
    assert not left & {crowd[0].id, crowd[1].id}
    assert not breaches(await stage.audit())
    async with app.begin() as work:
        await work.connection.execute(update(pledges).where(pledges.c.id == first.id).values(matched=0))
    assert breaches(await stage.audit()), "an audit that would notice"


@pytest.mark.parametrize(
    "answers", [{"percent": "0"}, {"percent": "101"}, {"percent": "x"}, {"percent": "5", "most": "0"}, {"percent": "5"}]
)
def test_what_is_no_pledge(answers: dict[str, str]) -> None:
    with pytest.raises(BadPledge):
        read_pledge(answers)
