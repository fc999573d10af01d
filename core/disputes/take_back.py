"""Taking back what a verdict gave: its entry is read from the books and turned around, account by account, once for each verdict."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db import DAY
from core.disputes.errors import NotTakenBack, OwnVerdict
from core.disputes.models import Dispute, State
from core.disputes.rules import NEXT, REVERSE_DAYS, given_by, release_again, turn_around
from core.ledger.models import Leg, Posting, entries, legs
from core.users.models import User, users


def check_taken_back(found: Dispute, admin: User, now: int) -> int:
    """Milli-credits that would go back. Raises NotTakenBack, and OwnVerdict where it is the admin's own verdict."""
    late = (found.decided_at or 0) + REVERSE_DAYS * DAY <= now
    if State.TAKEN_BACK not in NEXT[found.state] or late or found.amount is None:
        raise NotTakenBack(dispute=found.id, days=REVERSE_DAYS)
    if found.decided_by == admin.id:
        raise OwnVerdict(dispute=found.id)
    return found.amount


async def turned_around(connection: AsyncConnection, found: Dispute) -> tuple[Posting, Posting | None]:
    """The entry that mirrors the verdict's, and the one that releases again what the verdict itself had released with the rest.

    Whoever got it gives it back: where they were joined with somebody since, who they are now.
    """
    key = given_by(found)
    query = select(legs.c.account, legs.c.amount).join(entries, entries.c.id == legs.c.entry_id).where(entries.c.key == key)
    moved = [Leg(account, amount) for account, amount in await connection.execute(query.order_by(legs.c.position))]
    assert moved, key
    mirror = turn_around(key, moved, {leg.account: await _now_of(connection, leg.account) for leg in moved if leg.amount > 0})
    return mirror, release_again(found.generation_id, mirror) if found.state is State.PARTLY else None


async def _now_of(connection: AsyncConnection, account: str) -> str:
    """The account that stands for this one since its user was joined with another; else the same."""
    owner, number, *purse = account.split(":")
    if owner != "user":
        return account
    kept = await connection.scalar(select(users.c.merged_into).where(users.c.id == int(number)))
    return account if kept is None else ":".join((owner, str(kept), *purse))
