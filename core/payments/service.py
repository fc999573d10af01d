"""Starting payments, following them, asking for refunds, within the caller's transaction. Microseconds and milli-credits."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.address import Address
from core.db import DAY, MINUTE, SECOND
from core.ledger.errors import InDebt, KeyReused
from core.ledger.models import Hold, Posting, accounts, debt, earnings, wallet
from core.ledger.service import Ledger, raise_first_refusal
from core.payments.errors import NothingToRefund, NotPayable, PaymentNotFound, TooManyPayments
from core.payments.models import PAGE, Payment, Refund, RefundKind, RefundState, State, TopUp, payments, refunds
from core.payments.packages import Package
from core.payments.rails.base import Opened
from core.payments.rules import SETTLED, WHOLE_ONLY, Purse, collecting, refundable, worth
from core.pools.models import pool
from core.pools.service import Pools
from core.users.errors import Frozen
from core.users.models import users

LEASE = 60 * SECOND
"""How long a due payment or refund stays with the process that took it."""
REFUND_HOLD = 90 * DAY
"""A refund's Credits stay held so long at most; the rail's answer comes within days."""
ASK_AFTER = (1, 2, 5, 10, 30, 60)
"""Minutes between two questions to a rail about a payment whose callback has not come."""

DEBTS = 100
"""Debts collected in one sweep."""

_OPEN = (State.CREATED, State.PENDING)


class Payments:
    """One transaction's view of the payments."""

    def __init__(self, connection: AsyncConnection, now: int) -> None:
        self._connection = connection
        self._now = now

    async def start(self, wanted: TopUp, package: Package, currency: str, *, minutes: int, unpaid: int, per_day: int) -> Payment:
        """A new payment; the same key finds its own again. It can be paid for `minutes`.

        Raises Frozen, TooManyPayments (more than `unpaid` at a time or `per_day` begun in a day), KeyReused; for a
        pool PoolNotFound, InDebt.
        """
        if (known := await self._by_key(wanted.key)) is not None:
            asked = (wanted.user_id, wanted.package, wanted.rail, wanted.community_id)
            if (known.user_id, known.package, known.rail, known.community_id) != asked:
                raise KeyReused(key=wanted.key)
            return known
        locked = select(users.c.frozen).where(users.c.id == wanted.user_id).with_for_update()
        if await self._connection.scalar(locked):
            raise Frozen()
        if wanted.community_id is not None:
            await Pools(self._connection, self._now).get(wanted.community_id)
            if owed := (await Ledger(self._connection, self._now).balances([debt(wanted.user_id)]))[debt(wanted.user_id)]:
                raise InDebt(debt=owed)
        mine = (payments.c.user_id == wanted.user_id) & (payments.c.created_at > self._now - DAY)
        open_ = payments.c.state.in_(_OPEN) & (payments.c.expires_at > self._now)
        begun, waiting = (await self._connection.execute(select(func.count(), func.count().filter(open_)).where(mine))).one()
        if begun >= per_day or waiting >= unpaid:
            raise TooManyPayments(limit=per_day if begun >= per_day else unpaid)
        values = {
            "order": f"af{secrets.token_hex(12)}",
            "key": wanted.key,
            "user_id": wanted.user_id,
            "community_id": wanted.community_id,
            "rail": wanted.rail,
            "package": package.id,
            "credits": package.total,
            "currency": currency,
            "amount": package.prices[currency],
            "way": wanted.way,
            "state": State.CREATED,
            "platform": wanted.address.platform if wanted.address else None,
            "chat": wanted.address.chat if wanted.address else None,
            "created_at": self._now,
            "expires_at": self._now + minutes * MINUTE,
            "due_at": self._now,
        }
        row = (await self._connection.execute(payments.insert().values(**values).returning(payments))).mappings().one()
        return read(row)

    async def get(self, payment_id: int, user_id: int | None = None) -> Payment:
        """Raises PaymentNotFound, also when it is not `user_id`'s."""
        here = payments.c.id == payment_id
        if user_id is not None:
            here &= payments.c.user_id == user_id
        row = (await self._connection.execute(select(payments).where(here))).mappings().first()
        if row is None:
            raise PaymentNotFound(payment=payment_id)
        return read(row)

    async def by_order(self, order: str) -> Payment:
        """Raises PaymentNotFound."""
        row = (await self._connection.execute(select(payments).where(payments.c.order == order))).mappings().first()
        if row is None:
            raise PaymentNotFound(payment=order)
        return read(row)

    async def payable(self, order: str, user_id: int, amount: int, currency: str) -> Payment:
        """The order that somebody is about to pay in a chat. Raises NotPayable unless it is theirs, open, in time and of that amount."""
        row = (await self._connection.execute(select(payments).where(payments.c.order == order))).mappings().first()
        found = read(row) if row else None
        if found is None or found.user_id != user_id or (found.amount, found.currency) != (amount, currency):
            raise NotPayable(state="unknown")
        if found.state not in _OPEN or found.expires_at <= self._now:
            raise NotPayable(state=found.state if found.state not in _OPEN else State.EXPIRED)
        return found

    async def newest(self, user_id: int, limit: int = PAGE, before: int | None = None) -> list[Payment]:
        """The user's payments, the newest first; those older than the one numbered `before`."""
        query = select(payments).where(payments.c.user_id == user_id)
        if before is not None:
            query = query.where(payments.c.id < before)
        rows = await self._connection.execute(query.order_by(payments.c.id.desc()).limit(limit))
        return [read(row) for row in rows.mappings()]

    async def refunds_of(self, payment_id: int) -> list[Refund]:
        """What went back of a payment, the oldest first."""
        rows = await self._connection.execute(select(refunds).where(refunds.c.payment_id == payment_id).order_by(refunds.c.id).limit(PAGE))
        return [read_refund(row) for row in rows.mappings()]

    # What the desk does

    async def take_due(self, rails: Sequence[str], limit: int) -> list[Payment]:
        """Leases payments about which a rail is to be asked now."""
        due = select(payments.c.id).where(payments.c.rail.in_(rails), payments.c.due_at <= self._now).order_by(payments.c.due_at)
        ids = list(await self._connection.scalars(due.limit(limit).with_for_update(skip_locked=True)))
        if not ids:
            return []
        leased = update(payments).where(payments.c.id.in_(ids)).values(due_at=self._now + LEASE, tries=payments.c.tries + 1)
        return [read(row) for row in (await self._connection.execute(leased.returning(payments))).mappings()]

    async def opened(self, payment: Payment, opened: Opened) -> bool:
        """The buyer can pay now; False when the payment went on meanwhile."""
        values = {"state": State.PENDING, "url": opened.url, "code": opened.code, "reference": opened.reference, "tries": 0}
        return await self._move(payment, State.CREATED, values | {"due_at": self._now + ASK_AFTER[0] * MINUTE})

    async def failed(self, payment: Payment, state: State, problem: str | None = None) -> bool:
        """It will not be paid; False when the payment went on meanwhile."""
        return await self._move(payment, payment.state, {"state": state, "problem": problem, "due_at": None})

    async def ask_later(self, payment: Payment) -> None:
        """Nothing new: the rail is asked again later, and at the latest when the payment expires."""
        pause = ASK_AFTER[min(payment.tries, len(ASK_AFTER)) - 1] * MINUTE
        at = self._now + pause
        if self._now < payment.expires_at < at:
            at = payment.expires_at
        await self._move(payment, payment.state, {"due_at": at})

    async def take_refunds(self, rails: Sequence[str], limit: int) -> list[tuple[Refund, Payment]]:
        """Leases refunds that a rail has to be told of."""
        mine = refunds.c.payment_id.in_(select(payments.c.id).where(payments.c.rail.in_(rails)))
        due = select(refunds.c.id).where(refunds.c.due_at <= self._now, mine).order_by(refunds.c.due_at).limit(limit)
        ids = list(await self._connection.scalars(due.with_for_update(skip_locked=True)))
        if not ids:
            return []
        leased = update(refunds).where(refunds.c.id.in_(ids)).values(due_at=self._now + LEASE, tries=refunds.c.tries + 1)
        taken = [read_refund(row) for row in (await self._connection.execute(leased.returning(refunds))).mappings()]
        return [(each, await self.get(each.payment_id)) for each in taken]

    async def refund_later(self, refund: Refund) -> None:
        """The rail is told again, or asked again, later."""
        pause = ASK_AFTER[min(refund.tries, len(ASK_AFTER)) - 1] * MINUTE
        here = (refunds.c.id == refund.id) & (refunds.c.state == RefundState.REQUESTED)
        await self._connection.execute(update(refunds).where(here).values(due_at=self._now + pause))

    # Refunds

    async def ask_refund(self, payment_id: int, *, by: int, reason: str, credits: int | None = None) -> Refund:
        """Holds what is unspent of a payment (at most `credits` of it) and has the rail told.

        Raises PaymentNotFound, NotPayable (it is not paid), NothingToRefund.
        """
        locked = select(payments).where(payments.c.id == payment_id).with_for_update()
        row = (await self._connection.execute(locked)).mappings().first()
        if row is None:
            raise PaymentNotFound(payment=payment_id)
        payment = read(row)
        if payment.state not in (State.PAID, State.PART_REFUNDED):
            raise NotPayable(state=payment.state)
        requested = refunds.c.state == RefundState.REQUESTED
        waiting_ = select(func.coalesce(func.sum(refunds.c.credits), 0), func.coalesce(func.sum(refunds.c.amount), 0))
        held, promised = (await self._connection.execute(waiting_.where(refunds.c.payment_id == payment_id, requested))).one()
        purse = await purse_of(self._connection, self._now, payment.user_id, payment.community_id)
        most = min(refundable(payment, purse, await self._bought(payment.user_id)), payment.credits - payment.returned - held)
        taken = most if credits is None else min(most, credits)
        amount = worth(payment, payment.returned + held + taken) - payment.refunded - promised
        if taken <= 0 or amount <= 0 or (payment.rail in WHOLE_ONLY and amount < payment.amount):
            raise NothingToRefund(payment=payment_id)
        name = f"rf{secrets.token_hex(12)}"
        payer = wallet(payment.user_id) if payment.community_id is None else pool(payment.community_id)
        hold = Hold(refund_hold(name), payer, taken, self._now + REFUND_HOLD)
        raise_first_refusal(await Ledger(self._connection, self._now).hold_many([hold]))
        values = {
            "name": name, "payment_id": payment_id, "kind": RefundKind.REFUND, "state": RefundState.REQUESTED, "amount": amount,
            "credits": taken, "pooled": 0 if payment.community_id is None else taken, "by": by, "reason": reason[:200],
            "created_at": self._now, "due_at": self._now,
        }  # fmt: skip
        inserted = await self._connection.execute(refunds.insert().values(**values).returning(refunds))
        return read_refund(inserted.mappings().one())

    async def _bought(self, user_id: int) -> int:
        total = select(func.coalesce(func.sum(payments.c.credits - payments.c.returned), 0))
        theirs = (payments.c.user_id == user_id) & payments.c.community_id.is_(None)
        return await self._connection.scalar(total.where(theirs, payments.c.state.in_(SETTLED))) or 0

    async def _by_key(self, key: str) -> Payment | None:
        row = (await self._connection.execute(select(payments).where(payments.c.key == key))).mappings().first()
        return read(row) if row else None

    async def _move(self, payment: Payment, state: State, values: Mapping[str, Any]) -> bool:
        here = (payments.c.id == payment.id) & (payments.c.state == state)
        return (await self._connection.execute(update(payments).where(here).values(**values))).rowcount == 1


def refund_hold(name: str) -> str:
    """The business key of a refund's hold."""
    return f"refund:{name}"


async def purse_of(connection: AsyncConnection, now: int, user_id: int, community_id: int | None = None) -> Purse:
    """A user's balances, and that of a pool, locked until the transaction ends: the community first, as submits do."""
    names = [wallet(user_id), earnings(user_id), debt(user_id)]
    if community_id is not None:
        await Pools(connection, now).lock(community_id)
        names.append(pool(community_id))
    locked = await Ledger(connection, now).lock(names)
    return Purse(*(locked[name] for name in names))


async def collect_debts(connection: AsyncConnection, now: int) -> int:
    """Pays debts from what has come into their users' wallets since; returns how many were paid, all or part."""
    owing = accounts.c.address.like("user:%:debt") & (accounts.c.balance > 0)
    purse = accounts.alias()
    theirs = purse.c.address == func.replace(accounts.c.address, ":debt", ":wallet")
    found = select(accounts.c.address).join(purse, theirs).where(owing, purse.c.balance > 0).order_by(accounts.c.address).limit(DEBTS)
    addresses = list(await connection.scalars(found))
    for address in addresses:
        user_id = int(address.split(":")[1])
        purse_now = await purse_of(connection, now, user_id)
        if legs := collecting(user_id, purse_now):
            await Ledger(connection, now).post(Posting(f"debt:{user_id}:{now}", "debt", legs))
    return len(addresses)


def read(row: Mapping[Any, Any]) -> Payment:
    """A row as a Payment."""
    values = {name: row[name] for name in Payment.__dataclass_fields__ if name not in ("state", "address")}
    address = Address(row["platform"], row["chat"]) if row["platform"] else None
    return Payment(**values, state=State(row["state"]), address=address)


def read_refund(row: Mapping[Any, Any]) -> Refund:
    """A row as a Refund."""
    values = {name: row[name] for name in Refund.__dataclass_fields__ if name not in ("kind", "state")}
    return Refund(**values, kind=RefundKind(row["kind"]), state=RefundState(row["state"]))
