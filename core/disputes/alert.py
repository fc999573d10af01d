"""Disputes that wait too long are said to the admins again. Time decides nothing."""

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db import HOUR
from core.disputes.models import State, disputes
from core.mailbox.models import Notice
from core.mailbox.service import Mailbox
from core.users.service import Users

STEPS = 2
"""How often: after the set hours, and after twice as many."""
AT_ONCE = 50


async def escalate(connection: AsyncConnection, now: int, hours: int) -> int:
    """Tells every admin of what has been open for `hours`, and for twice as long, once each; returns how many disputes."""
    steps = ((disputes.c.escalated == done) & (disputes.c.created_at <= now - (done + 1) * hours * HOUR) for done in range(STEPS))
    here = (disputes.c.state == State.OPEN) & or_(*steps)
    late = select(disputes.c.id).where(here).order_by(disputes.c.id).limit(AT_ONCE).with_for_update(skip_locked=True)
    if not (numbers := list(await connection.scalars(late))):
        return 0
    raised = update(disputes).where(disputes.c.id.in_(numbers)).values(escalated=disputes.c.escalated + 1)
    told = {number: count for number, count in await connection.execute(raised.returning(disputes.c.id, disputes.c.escalated))}
    people = Users(connection, now)
    addresses = sorted((await people.addresses(await people.admins())).items())
    notices = [
        Notice(f"dispute:{number}:late:{step}:{reader}", address, "alert",
               {"alert": "dispute", "facts": {"dispute": number, "hours": hours * step}, "reader": reader})
        for number, step in sorted(told.items())
        for reader, address in addresses
    ]  # fmt: skip
    await Mailbox(connection, now).say(notices)
    return len(numbers)
