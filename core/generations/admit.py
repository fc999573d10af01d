"""Pools as a user meets them over HTTP: those that they may see, and whether they were seen in their groups lately."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.errors import Refusal
from core.generations.models import Order, generations
from core.generations.spend import Purse, purses_of
from core.pools.errors import PoolClosed
from core.pools.models import Community, communities, community_spenders
from core.pools.rules import SEEN, closed_to
from core.pools.service import Pools, read
from core.users.models import users

MAX_PAGE = 101


@dataclass(frozen=True, slots=True)
class Membership:
    """A pool that a user may see: they are on its list, or gave to it. `given`, `mine`, `today` in milli-credits; the latter two of today.

    `closed`: why it does not pay for them over HTTP; None: it does, within its caps.
    """

    community: Community
    balance: int
    given: int
    listed: bool
    mine: int
    today: int
    closed: Refusal | None


async def memberships(
    connection: AsyncConnection, now: int, user_id: int, limit: int, before: int | None = None, only: int | None = None
) -> list[Membership]:
    """The pools that a user may see, the newest first, from just before the number `before`; or the one of that number alone."""
    given = {community.id: amount for community, amount in await Pools(connection, now).given_by(user_id)}
    theirs = (users.c.id == user_id) | (users.c.merged_into == user_id)
    lists = select(community_spenders.c.community_id).join(users, users.c.id == community_spenders.c.user_id).where(theirs)
    listed = communities.c.id.in_(lists)
    query = select(communities, listed.label("listed")).where(or_(listed, communities.c.id.in_(given)))
    if before is not None:
        query = query.where(communities.c.id < before)
    if only is not None:
        query = query.where(communities.c.id == only)
    rows = (await connection.execute(query.order_by(communities.c.id.desc()).limit(min(limit, MAX_PAGE)))).mappings().all()
    purses = await purses_of(connection, [row["id"] for row in rows], now, lock=False)
    seen = await seen_lately(connection, [(row["id"], user_id) for row in rows], now)
    found = []
    for row in rows:
        community, purse = read(row), purses[row["id"]]
        closed = closed_to(community.policy, order="", listed=row["listed"], seen=(row["id"], user_id) in seen)
        if closed is None and not community.policy.enabled:
            closed = PoolClosed(why="off", order="")
        sums = (purse.today.get(user_id, 0), sum(purse.today.values()))
        found.append(Membership(community, purse.balance, given.get(row["id"], 0), bool(row["listed"]), *sums, closed))
    return found


async def seen_lately(connection: AsyncConnection, pairs: Collection[tuple[int, int]], now: int) -> set[tuple[int, int]]:
    """Of these (community, user), those who were let spend, or ordered from the pool in its group, within SEEN. Nothing is asked of the
    database when there is none."""
    if not pairs:
        return set()
    numbers, people, since = {number for number, _ in pairs}, {user_id for _, user_id in pairs}, now - SEEN
    kept = func.coalesce(users.c.merged_into, users.c.id)
    let = (
        select(community_spenders.c.community_id, kept)
        .join(users, users.c.id == community_spenders.c.user_id)
        .where(community_spenders.c.community_id.in_(numbers), kept.in_(people), community_spenders.c.added_at > since)
    )
    here = generations.c.community_id.in_(numbers) & generations.c.user_id.in_(people) & generations.c.platform.is_not(None)
    ordered = select(generations.c.community_id, generations.c.user_id).where(here, generations.c.created_at > since).distinct()
    return {(number, user_id) for query in (let, ordered) for number, user_id in await connection.execute(query)}


async def look_for(connection: AsyncConnection, purses: Mapping[int, Purse], orders: Sequence[Order], now: int) -> None:
    """Tells the purses who of those that order over HTTP was seen lately."""
    asked = {(order.community_id, order.user_id) for order in orders if order.remote and order.community_id is not None}
    for number, user_id in await seen_lately(connection, asked, now):
        purses[number].seen.add(user_id)
