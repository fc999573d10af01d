"""What people promise to a pool: begun and ended by themselves, read of whom they are now. Changed with the community's row locked."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Table, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.pools.errors import PledgeNotFound, TooManyPledges
from core.pools.models import Pledge, Refill, communities
from core.users.errors import Frozen
from core.users.models import User, users

MAX_PROMISES = 5
"""Promises of one kind to one pool at a time: all sponsors are in the one entry of each gift."""
MAX_SHOWN = 10
"""Promises of one kind that one user is shown."""
KEPT = users.alias()
"""Whom somebody counts as: who joined another is the other."""

Kind = TypeVar("Kind", Pledge, Refill)


class Promises(Generic[Kind]):
    """One transaction's view of one kind of promises: rows of `table`, which go on while `still` holds, made once."""

    def __init__(
        self, connection: AsyncConnection, now: int, table: Table, still: ColumnElement[bool], read: Callable[[Mapping[Any, Any]], Kind]
    ) -> None:
        self._connection = connection
        self._now = now
        self._table = table
        self._still = still
        self._read: Callable[[Mapping[Any, Any]], Kind] = read

    async def begin(self, community_id: int, user: User, **values: Any) -> None:
        """Somebody promises; an earlier word of theirs ends. Raises Frozen, TooManyPledges."""
        if user.frozen:
            raise Frozen()
        await self._connection.execute(select(users.c.id).where(users.c.id == user.id).with_for_update())  # before it, as submits do
        await self._lock(community_id)
        going_on = await self.of(community_id)
        if sum(each.user_id != user.id for each in going_on) >= MAX_PROMISES:
            raise TooManyPledges(limit=MAX_PROMISES)
        await self._end([each.id for each in going_on if each.user_id == user.id])
        row = values | {"community_id": community_id, "user_id": user.id, "created_at": self._now}
        await self._connection.execute(self._table.insert().values(row))

    async def end(self, number: int, user_id: int) -> int:
        """Ends somebody's own promise; returns the community. Raises PledgeNotFound, also for whoever else asks."""
        community = await self._connection.scalar(select(self._table.c.community_id).where(self._table.c.id == number))
        if community is None:
            raise PledgeNotFound()
        await self._lock(community)
        if (await self._connection.execute(self._query(KEPT.c.id == user_id, self._table.c.id == number))).first() is None:
            raise PledgeNotFound()
        await self._end([number])
        return int(community)

    async def of(self, community_id: int, *, lock: bool = False) -> list[Kind]:
        """The promises to a pool that go on, the oldest first; none of the frozen."""
        return await self.going_on(self._table.c.community_id == community_id, limit=MAX_SHOWN, lock=lock)

    async def mine(self, user_id: int) -> list[Kind]:
        """A user's own promises that go on, to whatever pools."""
        rows = self._query(KEPT.c.id == user_id).limit(MAX_SHOWN)
        return [self._read(row) for row in (await self._connection.execute(rows)).mappings()]

    async def going_on(self, *where: ColumnElement[bool], limit: int, lock: bool = False) -> list[Kind]:
        """What goes on of that, the oldest first; none of the frozen."""
        query = self._query(~KEPT.c.frozen, *where).limit(limit)
        rows = await self._connection.execute(query.with_for_update(of=self._table) if lock else query)
        return [self._read(row) for row in rows.mappings()]

    async def end_all(self, user_id: int) -> None:
        """Whoever leaves promises nothing more."""
        theirs = select(users.c.id).where(or_(users.c.id == user_id, users.c.merged_into == user_id))
        here = self._table.c.user_id.in_(theirs) & self._table.c.ended_at.is_(None)
        await self._connection.execute(update(self._table).where(here).values(ended_at=self._now))

    def _query(self, *where: ColumnElement[bool]) -> Any:
        return (
            select(self._table, KEPT.c.id.label("promiser"), KEPT.c.name)
            .join(users, users.c.id == self._table.c.user_id)
            .join(KEPT, KEPT.c.id == func.coalesce(users.c.merged_into, users.c.id))
            .where(self._still, *where)
            .order_by(self._table.c.id)
        )

    async def _lock(self, community_id: int) -> None:
        await self._connection.execute(select(communities.c.id).where(communities.c.id == community_id).with_for_update())

    async def _end(self, numbers: Sequence[int]) -> None:
        await self._connection.execute(update(self._table).where(self._table.c.id.in_(numbers)).values(ended_at=self._now))
