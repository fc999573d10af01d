"""The log of acts within the caller's transaction: written to and read, never changed."""

import json
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.acts.errors import ReasonNeeded
from core.acts.models import MAX_REASON, Act, acts

MIN_REASON = 2


class Acts:
    """One transaction's view of the log."""

    def __init__(self, connection: AsyncConnection, now: int) -> None:
        self._connection = connection
        self._now = now

    async def record(self, by: int | None, act: str, subject: str, reason: str, **facts: Any) -> int:
        """Writes a line and returns its number. `by` None: the platform itself, by a rule. Raises ReasonNeeded."""
        text = " ".join(reason.split())
        if not MIN_REASON <= len(text) <= MAX_REASON:
            raise ReasonNeeded(limit=MAX_REASON)
        row = {"at": self._now, "by": by, "act": act, "subject": subject, "reason": text, "facts": json.dumps(facts, sort_keys=True)}
        return int((await self._connection.execute(insert(acts).values(row).returning(acts.c.id))).scalar_one())

    async def newest(self, *, subject: str | None = None, by: int | None = None, before: int | None = None, limit: int = 10) -> list[Act]:
        """The newest lines first, about somebody or something, or by an admin; `before` is the number to go on from."""
        query = select(acts).order_by(acts.c.id.desc()).limit(limit)
        if subject is not None:
            query = query.where(acts.c.subject == subject)
        if by is not None:
            query = query.where(acts.c.by == by)
        if before is not None:
            query = query.where(acts.c.id < before)
        rows = (await self._connection.execute(query)).mappings()
        return [Act(**{**row, "facts": json.loads(row["facts"])}) for row in rows]
