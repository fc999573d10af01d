"""An account's statement: its legs, newest first, each with the balance after it."""

from dataclasses import dataclass

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from core.ledger.models import entries, legs

MAX_LINES = 101
"""A page of 100, and one more that tells whether there is another page."""


@dataclass(frozen=True, slots=True)
class Line:
    """One leg of a guarded account. Amounts in milli-credits, `at` in microseconds; (`entry`, `position`) is its place."""

    entry: int
    position: int
    at: int
    kind: str
    key: str
    amount: int
    balance_after: int

    @property
    def movement(self) -> str:
        """What it is called: the entry's kind; but Credits that are bought for a pool, or go back from it, only pass through a wallet.

        >>> [Line(1, 0, 0, kind, "", amount, 0).movement for kind, amount in (("topup", 5), ("topup", -5), ("refund", 5), ("refund", -5))]
        ['topup', 'contribute', 'from_pool', 'refund']
        """
        if self.amount < 0 and self.kind in ("topup", "refund_failed", "chargeback_won"):
            return "contribute"
        if self.amount > 0 and self.kind in ("refund", "chargeback"):
            return "from_pool"
        return self.kind


async def statement(connection: AsyncConnection, account: str, limit: int, before: tuple[int, int] | None = None) -> list[Line]:
    """At most `limit` (up to MAX_LINES) lines of a guarded account, from just before the place `before`, or from the newest.

    A guarded account's entries are written while its row is locked, so their numbers follow the order of its balances.
    """
    place = (legs.c.entry_id, legs.c.position)
    query = (
        select(*place, entries.c.at, entries.c.kind, entries.c.key, legs.c.amount, legs.c.balance_after)
        .join(entries, entries.c.id == legs.c.entry_id)
        .where(legs.c.account == account)
    )
    if before is not None:
        query = query.where(tuple_(*place) < before)
    rows = await connection.execute(query.order_by(*(column.desc() for column in place)).limit(min(limit, MAX_LINES)))
    return [Line(*row) for row in rows]
