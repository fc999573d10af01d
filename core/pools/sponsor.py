"""Sponsors: who matches what others give to a pool, up to a limit."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.pools.models import Pledge, pledges
from core.pools.promise import Promises

_STILL = pledges.c.ended_at.is_(None) & (pledges.c.matched < pledges.c.most)


class Sponsors(Promises[Pledge]):
    """One transaction's view of the pledges. One begins with `percent`, what is added to others' gifts, and `most`, in milli-credits."""

    def __init__(self, connection: AsyncConnection, now: int) -> None:
        super().__init__(connection, now, pledges, _STILL, _read)

    async def matched(self, added: Sequence[tuple[Pledge, int]]) -> None:
        """Counts what pledges have added to a gift; their rows are locked."""
        for pledge, amount in added:
            counted = update(pledges).where(pledges.c.id == pledge.id).values(matched=pledges.c.matched + amount)
            await self._connection.execute(counted)


def _read(row: Mapping[Any, Any]) -> Pledge:
    return Pledge(row["id"], row["community_id"], row["promiser"], row["name"], row["percent"], row["most"], row["matched"])
