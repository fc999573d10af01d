"""Payouts within the caller's transaction."""

from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.acts.service import Acts
from core.db import DAY
from core.ledger.errors import InDebt
from core.ledger.models import Capture, Hold, Leg, Release, debt, earnings
from core.ledger.service import Ledger, raise_first_refusal
from core.mailbox.models import Notice
from core.mailbox.service import Mailbox
from core.payouts.errors import PayoutAmount, PayoutDecided, PayoutNeedsSecond, PayoutNotFound, PayoutOpen
from core.payouts.models import MAX_REFERENCE, OPEN_STATES, PAID_OUT, Payout, State, payouts
from core.users.errors import Frozen
from core.users.models import User, users
from core.users.service import Users

PAGE = 10
HELD_FOR = 3650 * DAY
"""A payout's hold waits for people, not for a time."""


class Payouts:
    """One transaction's view of the payouts."""

    def __init__(self, connection: AsyncConnection, now: int) -> None:
        self._connection = connection
        self._now = now

    async def ask(self, user: User, amount: int, key: str, least: int) -> Payout:
        """Holds released earnings, never gifts or what was bought; one at a time. `key` makes it once. Admins are told.

        Raises Frozen, InDebt, PayoutAmount, PayoutOpen.
        """
        locked = select(users.c.frozen).where(users.c.id == user.id).with_for_update()  # one after the other
        if (await self._connection.execute(locked)).scalar_one():
            raise Frozen()
        hold = f"payout:{key}"
        known = (await self._connection.execute(select(payouts).where(payouts.c.hold == hold))).mappings().first()
        if known is not None:
            return _read(known)
        balances = await Ledger(self._connection, self._now).balances([debt(user.id), earnings(user.id)])
        if owed := balances[debt(user.id)]:
            raise InDebt(debt=owed)
        if not least <= amount <= balances[earnings(user.id)]:
            raise PayoutAmount(needed=least, available=balances[earnings(user.id)])
        opened = select(payouts.c.id).where(payouts.c.user_id == user.id, payouts.c.state.in_(OPEN_STATES))
        if (number := (await self._connection.execute(opened)).scalar_one_or_none()) is not None:
            raise PayoutOpen(payout=number)
        held = Hold(hold, earnings(user.id), amount, self._now + HELD_FOR)
        raise_first_refusal(await Ledger(self._connection, self._now).hold_many([held]))
        row = {"user_id": user.id, "amount": amount, "state": State.REQUESTED, "hold": hold, "created_at": self._now}
        made = _read((await self._connection.execute(insert(payouts).values(row).returning(*payouts.c))).mappings().one())
        await self._tell(made, set(await Users(self._connection, self._now).admins()) - {user.id}, "payout_new")
        return made

    async def waiting(self, limit: int = PAGE, after: int = 0) -> list[Payout]:
        """Those that admins have to do something about, the oldest first, from just after the number `after`."""
        query = select(payouts).where(payouts.c.state.in_(OPEN_STATES), payouts.c.id > after).order_by(payouts.c.id).limit(limit)
        return [_read(row) for row in (await self._connection.execute(query)).mappings()]

    async def get(self, payout_id: int) -> Payout:
        """Raises PayoutNotFound."""
        row = (await self._connection.execute(select(payouts).where(payouts.c.id == payout_id))).mappings().first()
        if row is None:
            raise PayoutNotFound(payout=payout_id)
        return _read(row)

    async def approve(self, payout_id: int, admin: User, reason: str, alone: int) -> Payout:
        """The first step: it may be paid; above `alone` milli-credits by another admin, and the others are told.

        Raises PayoutNotFound, PayoutDecided, ReasonNeeded.
        """
        found = await self._lock(payout_id, admin, State.REQUESTED)
        await Acts(self._connection, self._now).record(admin.id, "approve_payout", f"payout:{found.id}", reason, amount=found.amount)
        approved = await self._move(found, State.APPROVED, approved_by=admin.id)
        if approved.amount > alone:
            others = set(await Users(self._connection, self._now).admins()) - {approved.user_id, admin.id}
            await self._tell(approved, others, "payout_new")
        return approved

    async def paid(self, payout_id: int, admin: User, reference: str, alone: int) -> Payout:
        """The second step: it was paid outside, under that reference; the held Credits leave.

        Raises as `approve`, and PayoutNeedsSecond above `alone` milli-credits for whoever approved it.
        """
        found = await self._lock(payout_id, admin, State.APPROVED)
        if found.amount > alone and await self._is(admin, found.approved_by):
            raise PayoutNeedsSecond(limit=alone)
        await Acts(self._connection, self._now).record(admin.id, "pay_payout", f"payout:{found.id}", reference, amount=found.amount)
        capture = Capture(f"paid:{found.hold}", found.hold, (Leg(PAID_OUT, found.amount),))
        raise_first_refusal(await Ledger(self._connection, self._now).capture_many([capture]))
        return await self._decide(found, State.PAID, admin, reference)

    async def refuse(self, payout_id: int, admin: User, reason: str) -> Payout:
        """The held Credits are earnings again. Raises as `approve`."""
        found = await self._lock(payout_id, admin, State.REQUESTED, State.APPROVED)
        await Acts(self._connection, self._now).record(admin.id, "refuse_payout", f"payout:{found.id}", reason, amount=found.amount)
        release = Release(f"refused:{found.hold}", found.hold)
        raise_first_refusal(await Ledger(self._connection, self._now).release_many([release]))
        return await self._decide(found, State.REFUSED, admin, reason)

    async def _lock(self, payout_id: int, admin: User, *states: State) -> Payout:
        row = (await self._connection.execute(select(payouts).where(payouts.c.id == payout_id).with_for_update())).mappings().first()
        if row is None:
            raise PayoutNotFound(payout=payout_id)
        found = _read(row)
        if found.state not in states or await self._is(admin, found.user_id):
            raise PayoutDecided()
        return found

    async def _is(self, admin: User, user_id: int | None) -> bool:
        """Whether that user is the admin, or was joined into them."""
        person = select(func.coalesce(users.c.merged_into, users.c.id)).where(users.c.id == user_id)
        found: int | None = await self._connection.scalar(person)
        return found == admin.id

    async def _decide(self, found: Payout, state: State, admin: User, reference: str) -> Payout:
        text = " ".join(reference.split())[:MAX_REFERENCE]
        decided = await self._move(found, state, decided_by=admin.id, decided_at=self._now, reference=text)
        await self._tell(decided, {found.user_id}, "payout_decided")
        return decided

    async def _move(self, found: Payout, state: State, **values: Any) -> Payout:
        changed = update(payouts).where(payouts.c.id == found.id).values(state=state, **values).returning(*payouts.c)
        return _read((await self._connection.execute(changed)).mappings().one())

    async def _tell(self, payout: Payout, readers: set[int], kind: str) -> None:
        addresses = await Users(self._connection, self._now).addresses(readers)
        notices = [
            Notice(f"{kind}:{payout.id}:{payout.state}:{reader}", address, kind, {"payout": payout.id, "reader": reader})
            for reader, address in sorted(addresses.items())
        ]
        await Mailbox(self._connection, self._now).say(notices)


def _read(row: Any) -> Payout:
    return Payout(**{**row, "state": State(row["state"])})
