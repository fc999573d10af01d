"""All that moves a pool's Credits at the same time, on both databases: nobody waits for another in a ring, and the books agree."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from core.db import Database
from core.errors import Refusal
from core.payments.models import TopUp
from core.payments.rails.base import Said
from core.pools.models import Every, Policy, pool
from core.users.models import User
from tests.payments.till import Till, moved, paid, till
from tests.pools.test_pools import founded
from tests.pools.test_votes import agree, asked
from tests.stage import PRICE, breaches, staged


async def broken(url: str) -> int:
    """How many rings the database had to break, as connections that are closed have counted."""
    database = Database(url)
    async with database.read() as connection:
        query = text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        count = await connection.scalar(query) if connection.dialect.name == "postgresql" else 0
    await database.close()
    return int(count)


async def test_everything_at_once(database_url: str, tmp_path: Path) -> None:
    """Members ask, agree, give, promise, buy and are charged back, and workers refill: the pool has what the entries say."""
    before = await broken(database_url)
    async with staged(database_url, tmp_path, credits=0) as stage:
        await everything(till(stage))
    assert await broken(database_url) == before


async def everything(shop: Till) -> None:
    stage, app = shop.stage, shop.stage.app
    community = await founded(stage, 0)
    people = [await stage.person(f"m{number}", 100_000) for number in range(6)]
    await app.run(lambda work: work.pools.contribute(community, people[0], 40_000, "first"))
    bought = await shop.bought("b", people[1], "taste", community.id)
    begun = await app.top_up(TopUp("c", people[2].id, "taste", "stripe", community_id=community.id))
    await app.run(lambda work: work.pools.set_policy(community, Policy(vote_above=PRICE - 1, votes=2)))
    opened = [await asked(stage, community, user, f"w{user.id}") for user in people[:4]]

    async def order(user: User, number: int) -> None:
        with pytest.raises(Refusal):  # it needs votes
            await app.submit(replace(stage.order(f"o{user.id}:{number}", user), community_id=community.id))

    async def give(user: User, number: int) -> None:
        await app.run(lambda work: work.pools.contribute(community, user, 1_000, f"{user.id}:{number}"))

    async def promise(user: User) -> None:
        await app.run(lambda work: work.sponsors.begin(community.id, user, percent=50, most=2_000))
        values = {"level": 300_000, "every": Every.DAY, "most": 5_000, "due_at": 0}
        await app.run(lambda work: work.refills.begin(community.id, user, **values))

    async def refill() -> None:
        await app.run(lambda work: work.refills.do())

    steps: list[Coroutine[Any, Any, Any]] = [agree(stage, ballot, user, community) for ballot in opened for user in people]
    steps += [
        each for user in people[:3] for each in (promise(user), order(user, 1), refill(), give(user, 1), order(user, 2), give(user, 2))
    ]
    steps += [shop.say(paid(begun, f"p{n}")) for n in range(3)]
    steps += [shop.say(moved(bought, Said.CHARGED_BACK, f"c{n}", "du_1", 100)) for n in range(3)]
    await asyncio.gather(*steps)
    async with app.read() as work:
        states = {(await work.ballots.get(each.id)).state for each in opened}
    assert states <= {"agreed", "refused"}
    assert await stage.balance(pool(community.id)) >= 0
    assert not breaches(await stage.audit())
