"""Which preset author earns by which delivered picture: counted for a whole batch of settlements, the authors' rows locked."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import RowMapping, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db import DAY
from core.generations.models import Generation, State, generations
from core.presets.models import presets
from core.presets.rules import earns
from core.presets.service import authors_of

PAID = (State.DELIVERED, State.DISPUTED, State.REFUNDED)


@dataclass(slots=True)
class Royalties:
    """`authors`: version -> (author, nothing is paid to them). `today`: pictures by (creator, author), those of this batch included."""

    authors: dict[int, tuple[int | None, bool]]
    today: dict[tuple[int, int], int]
    most: int

    def author(self, generation: Generation) -> int | None:
        """Who earns by one more delivered picture, which then counts; None when nobody does."""
        if generation.preset_id is None:
            return None
        author, frozen = self.authors[generation.preset_id]
        key = (generation.user_id, author or 0)
        count = self.today.get(key, 0)
        self.today[key] = count + 1
        return author if earns(author, generation.user_id, frozen=frozen, paid_today=count, most=self.most) else None


async def royalties_of(connection: AsyncConnection, rows: Iterable[RowMapping], now: int, most: int) -> Royalties:
    """For the generations of a batch; nothing is asked of the database when none was made with a preset."""
    made = [row for row in rows if row["preset_id"] is not None]
    authors = await authors_of(connection, [row["preset_id"] for row in made])
    pairs = {(row["user_id"], author) for row in made if (author := authors[row["preset_id"]][0]) is not None}
    if not pairs:
        return Royalties(authors, {}, most)
    query = (
        select(generations.c.user_id, presets.c.author_id, func.count())
        .join(presets, presets.c.id == generations.c.preset_id)
        .where(tuple_(generations.c.user_id, presets.c.author_id).in_(pairs), generations.c.state.in_(PAID))
        .where(generations.c.finished_at >= now - now % DAY)
        .group_by(generations.c.user_id, presets.c.author_id)
    )
    return Royalties(authors, {(user, author): count for user, author, count in await connection.execute(query)}, most)
