"""What whoever earns by pictures sees of it: by day, until when it is pending, and what failed tries have cost."""

from dataclasses import dataclass

from sqlalchemy import BigInteger, String, Subquery, case, cast, func, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db import DAY
from core.generations.models import OutcomeKind, State, attempts, generations
from core.ledger.models import entries, legs, pending
from core.resources.models import resources

NEWEST = 20_000
"""Movements of a pending account that one look goes through, the newest ones."""
MAX_DAYS = 40
"""Days, or causes, that one look answers."""
COSTLY = (OutcomeKind.FAILED_COST, OutcomeKind.UNKNOWN)
_CAPTURE = "capture:"
_TURNED = ("refund:generation:", "partial:generation:")
MOVED = entries.c.key.in_(
    [
        literal(prefix) + cast(attempts.c.generation_id, String)
        for prefix in (_CAPTURE, *_TURNED, *(f"taken_back:{each}" for each in _TURNED))
    ]
)
"""Which entries share out what an attempt earned, take it from whoever earned it, or give it back to them."""


@dataclass(frozen=True, slots=True)
class Earned:
    """A day (its start, UTC, in microseconds) and the milli-credits that came in, less what went back; `pending` of them still are."""

    day: int
    amount: int
    pending: int


@dataclass(frozen=True, slots=True)
class Due:
    """Pending milli-credits that become spendable within one day (UTC), the last of them at `at` (microseconds)."""

    at: int
    amount: int


@dataclass(frozen=True, slots=True)
class Loss:
    """Tries that failed at the owner's cost by one cause: how many, and micro-dollars as far as they are known."""

    fault: str | None
    count: int
    cost: int


async def earned_by_day(connection: AsyncConnection, user_id: int, since: int) -> list[Earned]:
    """The days since a moment on which something came in or went back, in their order."""
    moved = _moved(user_id)
    day = moved.c.at - moved.c.at % DAY
    waits = case((generations.c.release_at.is_not(None), moved.c.amount), else_=0)
    query = (
        select(day, func.sum(moved.c.amount), func.sum(waits))
        .select_from(moved.outerjoin(generations, generations.c.id == moved.c.generation))
        .where(moved.c.kind.in_(("capture", "verdict", "taken_back")), moved.c.at >= since)
    )
    return [Earned(*map(int, row)) for row in await connection.execute(query.group_by(day).order_by(day).limit(MAX_DAYS))]


async def due_by_day(connection: AsyncConnection, user_id: int) -> list[Due]:
    """When what is pending becomes spendable, the earliest day first; what is in dispute has no day."""
    moved = _moved(user_id)
    last = func.max(generations.c.release_at)
    query = (
        select(last, func.sum(moved.c.amount))
        .select_from(moved.join(generations, generations.c.id == moved.c.generation))
        .where(generations.c.release_at.is_not(None), generations.c.state == State.DELIVERED)
        .group_by(generations.c.release_at - generations.c.release_at % DAY)
    )
    return [Due(*map(int, row)) for row in await connection.execute(query.order_by(last).limit(MAX_DAYS))]


async def losses(connection: AsyncConnection, owner_id: int) -> list[Loss]:
    """What failed at the cost of whoever lends, the most frequent cause first."""
    mine = attempts.join(resources, resources.c.id == attempts.c.resource_id)
    query = (
        select(attempts.c.fault, func.count(), func.coalesce(func.sum(attempts.c.cost), 0))
        .select_from(mine)
        .where(resources.c.owner_id == owner_id, attempts.c.outcome.in_(COSTLY))
        .group_by(attempts.c.fault)
    )
    rows = await connection.execute(query.order_by(func.count().desc(), attempts.c.fault).limit(MAX_DAYS))
    return [Loss(fault, count, int(cost)) for fault, count, cost in rows]


def _moved(user_id: int) -> Subquery:
    """The newest movements of a user's pending account: kind, at, amount, and the generation of a capture."""
    newest = select(legs.c.entry_id, legs.c.amount).where(legs.c.account == pending(user_id)).order_by(legs.c.entry_id.desc())
    mine = newest.limit(NEWEST).subquery()
    number = cast(func.substr(entries.c.key, len(_CAPTURE) + 1), BigInteger)
    generation = case((entries.c.key.like(f"{_CAPTURE}%"), number)).label("generation")
    query = select(entries.c.kind, entries.c.at, mine.c.amount, generation).join(mine, mine.c.entry_id == entries.c.id)
    return query.subquery()
