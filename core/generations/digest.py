"""The daily digest: whoever earned or lost something by pictures on the day before is told once, unless they have switched it off."""

from dataclasses import dataclass

from sqlalchemy import case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db import DAY, HOUR
from core.generations.earn import COSTLY, MOVED
from core.generations.models import OutcomeKind, attempts
from core.ledger.models import entries, legs
from core.mailbox.models import Notice
from core.mailbox.service import Mailbox
from core.resources.models import resources
from core.users.models import users
from core.users.service import Users

DIGEST_HOUR = 6
"""UTC: by then whatever began on the day before has ended."""
AT_ONCE = 1_000
"""Readers that one statement names."""


@dataclass(slots=True)
class _Sum:
    """Milli-credits, numbers of tries, micro-dollars."""

    earned: int = 0
    delivered: int = 0
    lost: int = 0
    cost: int = 0


def until_digest(now: int) -> int:
    """Microseconds until the next DIGEST_HOUR.

    >>> [until_digest(hour * HOUR) // HOUR for hour in (5, 6, 7, 24 + 5)]
    [1, 24, 23, 1]
    """
    return DAY - (now - DIGEST_HOUR * HOUR) % DAY


async def write_digests(connection: AsyncConnection, now: int) -> int:
    """A notice for each, about the day (UTC) before; the same day again writes nothing. Returns how many there are."""
    day = now - now % DAY - DAY
    sums = await _sums(connection, day)
    mine = sorted(sums)
    count = 0
    for start in range(0, len(mine), AT_ONCE):
        count += await _tell(connection, day, now, {number: sums[number] for number in mine[start : start + AT_ONCE]})
    return count


async def _sums(connection: AsyncConnection, day: int) -> dict[int, _Sum]:
    """By user, from the tries that began on that day: what is theirs of it, less what was refunded since."""
    that_day = (attempts.c.started_at >= day) & (attempts.c.started_at < day + DAY)
    delivered, costly = attempts.c.outcome == OutcomeKind.DELIVERED, attempts.c.outcome.in_(COSTLY)
    shares = (
        select(legs.c.account, func.sum(legs.c.amount))
        .select_from(attempts.join(entries, MOVED).join(legs, legs.c.entry_id == entries.c.id))
        .where(that_day, delivered, legs.c.account.like("user:%:pending"))
        .group_by(legs.c.account)
    )
    made, lost = func.sum(case((delivered, 1), else_=0)), func.sum(case((costly, 1), else_=0))
    tries = (
        select(resources.c.owner_id, made, lost, func.sum(case((costly, func.coalesce(attempts.c.cost, 0)), else_=0)))
        .select_from(attempts.join(resources, resources.c.id == attempts.c.resource_id))
        .where(that_day, delivered | costly)
        .group_by(resources.c.owner_id)
    )
    sums = {int(account.split(":")[1]): _Sum(earned=int(amount)) for account, amount in await connection.execute(shares)}
    for owner, *counts in await connection.execute(tries):
        one = sums.setdefault(owner, _Sum())
        one.delivered, one.lost, one.cost = map(int, counts)
    return sums


async def _tell(connection: AsyncConnection, day: int, now: int, sums: dict[int, _Sum]) -> int:
    person = users.alias()
    kept = person.c.id == func.coalesce(users.c.merged_into, users.c.id)
    wanted = users.c.id.in_(sums) & person.c.wants_digest & ~person.c.frozen
    readers = {id_: reader for id_, reader in await connection.execute(select(users.c.id, person.c.id).join(person, kept).where(wanted))}
    addresses = await Users(connection, now).addresses(readers.values())
    totals: dict[int, _Sum] = {}
    for id_, reader in readers.items():
        one, each = totals.setdefault(reader, _Sum()), sums[id_]
        one.earned, one.delivered, one.lost, one.cost = (
            one.earned + each.earned, one.delivered + each.delivered, one.lost + each.lost, one.cost + each.cost,
        )  # fmt: skip
    notices = [
        Notice(
            f"digest:{day // DAY}:{reader}", addresses[reader], "digest",
            {"reader": reader, "day": day, "earned": one.earned, "delivered": one.delivered, "lost": one.lost, "cost": one.cost},
        )
        for reader, one in sorted(totals.items())
        if reader in addresses and (one.earned or one.lost)
    ]  # fmt: skip
    await Mailbox(connection, now).say(notices)
    return len(notices)
