"""Keys of requests within the caller's transaction: who may do the work, and what was answered."""

from typing import Any

from sqlalchemy import and_, delete, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db import HOUR, SECOND
from core.idempotency.models import Standing, idempotent_answers

KEEP = 24 * HOUR
"""How long an answer is kept."""
LEASE = 60 * SECOND
"""How long whoever took a key has to answer; after that the same request may be done again."""
PRUNE_BATCH = 1000


class Idempotency:
    """One transaction's view of the keys of users' requests. Keys of different users have nothing to do with one another."""

    def __init__(self, connection: AsyncConnection, now: int) -> None:
        self._connection = connection
        self._now = now

    async def take(self, user_id: int, key: str, content: str) -> Standing:
        """Takes a key that is new, was kept long enough, or was left behind by somebody dead; else says what is known of it.

        Of several that take it at once one gets it. `content`: a digest of 64 characters at most.
        """
        table = idempotent_answers.c
        insert = postgresql.insert if self._connection.dialect.name == "postgresql" else sqlite.insert
        values = {"content": content, "answer": None, "taken_until": self._now + LEASE, "created_at": self._now}
        over = table.created_at <= self._now - KEEP
        left_behind = and_(table.answer.is_(None), table.taken_until <= self._now, table.content == content)
        row = insert(idempotent_answers).values(user_id=user_id, key=key, **values)
        taking = row.on_conflict_do_update(index_elements=["user_id", "key"], set_=values, where=or_(over, left_behind))
        if (await self._connection.execute(taking.returning(table.key))).first() is not None:
            return Standing(mine=True, content=content)
        known = (await self._connection.execute(select(table.content, table.answer).where(*self._here(user_id, key)))).first()
        return Standing(False, known.content, known.answer) if known else Standing(False, content)

    async def keep(self, user_id: int, key: str, answer: bytes) -> None:
        """Keeps the answer; the first one stays."""
        here = (*self._here(user_id, key), idempotent_answers.c.answer.is_(None))
        await self._connection.execute(update(idempotent_answers).where(*here).values(answer=answer))

    async def forget(self, user_id: int, key: str) -> None:
        """Nothing came of it: the same request may be tried again at once."""
        here = (*self._here(user_id, key), idempotent_answers.c.answer.is_(None))
        await self._connection.execute(delete(idempotent_answers).where(*here))

    async def prune(self) -> int:
        """Deletes at most PRUNE_BATCH answers that were kept long enough; returns how many."""
        table = idempotent_answers.c
        query = select(table.user_id, table.key).where(table.created_at <= self._now - KEEP).limit(PRUNE_BATCH)
        rows = (await self._connection.execute(query)).all()
        for user_id, key in rows:
            await self._connection.execute(delete(idempotent_answers).where(*self._here(user_id, key)))
        return len(rows)

    def _here(self, user_id: int, key: str) -> tuple[Any, Any]:
        return idempotent_answers.c.user_id == user_id, idempotent_answers.c.key == key
