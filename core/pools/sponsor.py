"""Sponsors: who matches what others give to a pool, up to a limit. Pledges are read and changed with their community's row locked."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.pools.errors import PledgeNotFound, TooManyPledges
from core.pools.models import Pledge, communities, pledges
from core.users.errors import Frozen
from core.users.models import User, users

MAX_PLEDGES = 5
"""Sponsors of one pool at a time: all of them are in the one entry of each gift."""
MAX_SHOWN = 10
KEPT = users.alias()
"""Whom somebody counts as: who joined another is the other."""


class Sponsors:
    """One transaction's view of the pledges."""

    def __init__(self, connection: AsyncConnection, now: int) -> None:
        self._connection = connection
        self._now = now

    async def pledge(self, community_id: int, user: User, percent: int, most: int) -> None:
        """Somebody matches so many per cent of what others give, up to `most` milli-credits; an earlier word of theirs ends.

        Raises Frozen, TooManyPledges.
        """
        if user.frozen:
            raise Frozen()
        await self._connection.execute(select(communities.c.id).where(communities.c.id == community_id).with_for_update())
        going_on = await self.of(community_id)
        if sum(each.user_id != user.id for each in going_on) >= MAX_PLEDGES:
            raise TooManyPledges(limit=MAX_PLEDGES)
        await self._end([each.id for each in going_on if each.user_id == user.id])
        row = {"community_id": community_id, "user_id": user.id, "percent": percent, "most": most, "created_at": self._now}
        await self._connection.execute(pledges.insert().values(row))

    async def end(self, pledge_id: int, user_id: int) -> int:
        """The sponsor matches no more; returns the community. Raises PledgeNotFound, also for whoever else asks."""
        community = await self._connection.scalar(select(pledges.c.community_id).where(pledges.c.id == pledge_id))
        await self._connection.execute(select(communities.c.id).where(communities.c.id == community).with_for_update())
        if community is None or pledge_id not in [each.id for each in await self.mine(user_id)]:
            raise PledgeNotFound()
        await self._end([pledge_id])
        return int(community)

    async def of(self, community_id: int, *, lock: bool = False) -> list[Pledge]:
        """The pledges of a pool that go on, the oldest first, each of whom their sponsor is now; none of the frozen."""
        return await self._going_on(pledges.c.community_id == community_id, ~KEPT.c.frozen, lock=lock)

    async def mine(self, user_id: int) -> list[Pledge]:
        """A sponsor's own pledges that go on, to whatever pools."""
        return await self._going_on(KEPT.c.id == user_id)

    async def _going_on(self, *where: ColumnElement[bool], lock: bool = False) -> list[Pledge]:
        query = (
            select(pledges, KEPT.c.id.label("sponsor"), KEPT.c.name)
            .join(users, users.c.id == pledges.c.user_id)
            .join(KEPT, KEPT.c.id == func.coalesce(users.c.merged_into, users.c.id))
            .where(pledges.c.ended_at.is_(None), pledges.c.matched < pledges.c.most, *where)
            .order_by(pledges.c.id)
            .limit(MAX_SHOWN)
        )
        rows = await self._connection.execute(query.with_for_update(of=pledges) if lock else query)
        return [
            Pledge(row["id"], row["community_id"], row["sponsor"], row["name"], row["percent"], row["most"], row["matched"])
            for row in rows.mappings()
        ]

    async def matched(self, added: Sequence[tuple[Pledge, int]]) -> None:
        """Counts what pledges have added to a gift; their rows are locked."""
        for pledge, amount in added:
            counted = update(pledges).where(pledges.c.id == pledge.id).values(matched=pledges.c.matched + amount)
            await self._connection.execute(counted)

    async def end_all(self, user_id: int) -> None:
        """Whoever leaves matches no more."""
        theirs = select(users.c.id).where(or_(users.c.id == user_id, users.c.merged_into == user_id))
        here = pledges.c.user_id.in_(theirs) & pledges.c.ended_at.is_(None)
        await self._connection.execute(update(pledges).where(here).values(ended_at=self._now))

    async def _end(self, numbers: Sequence[int]) -> None:
        await self._connection.execute(update(pledges).where(pledges.c.id.in_(numbers)).values(ended_at=self._now))
