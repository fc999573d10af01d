"""What a rail says, applied once: each event is in the inbox under the rail's own id, and every movement has a business key of its own.

A duplicate, reordered or late event changes nothing that was not due. Credits move in the transaction that marks the event as handled.
"""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import structlog
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.address import MAX_CHAT
from core.db import DAY
from core.ledger.models import Capture, Leg, Posting, Release
from core.ledger.service import Ledger, raise_first_refusal
from core.mailbox.models import Notice
from core.mailbox.service import Mailbox
from core.payments.models import Payment, Refund, RefundKind, RefundState, State, external, payments, refunds
from core.payments.rails.base import RailEvent, Said
from core.payments.rules import MOVES, after_return, crediting, is_early, mismatch, pooling, share, taking, unpooling
from core.payments.service import purse_of, read, read_refund, refund_hold
from core.pools.service import Pools
from core.users.service import Users

FOREIGN_AFTER = 3 * DAY
"""How long an event about an unknown charge is kept for its payment; rails repeat a callback for at most so long."""
NEWS = ("paid", "failed", "refunded", "refund_failed", "charged_back", "restored", "surplus")
"""What a buyer may be told."""

log = structlog.get_logger(__name__)


class Applied(StrEnum):
    """What became of an event."""

    APPLIED = "applied"
    KNOWN = "known"  # handled before, or nothing follows from it
    FOREIGN = "foreign"  # about an order that is not ours
    EARLY = "early"  # it speaks of money that we do not know to have come: it waits until the rail has been asked
    MISMATCH = "mismatch"  # it does not agree with the order, and moves nothing


@dataclass(frozen=True, slots=True)
class _Case:
    """One event being applied to its payment, whose row is locked."""

    connection: AsyncConnection
    now: int
    payment: Payment
    event: RailEvent

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.connection, self.now)

    async def give(self, key: str, kind: str, credits: int, pooled: int = 0) -> None:
        """Credits, `pooled` of them to the pool that they were bought for, the others to the buyer; a debt is paid first."""
        user, rail, community = self.payment.user_id, self.payment.rail, self.payment.community_id
        purse = await purse_of(self.connection, self.now, user, community)
        legs = crediting(user, rail, credits - pooled, purse)
        if community is not None:
            legs = pooling(user, community, rail, pooled) + legs
        await self.ledger.post(Posting(key, kind, legs))

    async def take(self, key: str, kind: str, credits: int) -> int:
        """Credits back, first from the pool that they were bought for, then from the buyer; what is spent becomes a debt.

        Returns how many are the pool's.
        """
        if not credits:
            return 0
        user, rail, community = self.payment.user_id, self.payment.rail, self.payment.community_id
        purse = await purse_of(self.connection, self.now, user, community)
        legs, pooled = taking(user, rail, credits, purse), 0
        if community is not None:
            legs, pooled = unpooling(user, community, rail, credits, purse)
        await self.ledger.post(Posting(key, kind, legs))
        return pooled

    async def set(self, **values: Any) -> None:
        """Changes the payment's row, whose message is then worded anew."""
        await self.connection.execute(update(payments).where(payments.c.id == self.payment.id).values(**values))
        await Mailbox(self.connection, self.now).touch([self.payment.subject])

    async def went_back(self, amount: int, credits: int, *, charged_back: bool) -> None:
        """Books that so much of the payment went back (or, when negative, came back again)."""
        refunded, returned = self.payment.refunded + amount, self.payment.returned + credits
        await self.set(refunded=refunded, returned=returned, state=after_return(self.payment, refunded, charged_back))

    async def tell(self, what: str, credits: int = 0, amount: int = 0) -> None:
        """A notice for the buyer, one of NEWS, where the payment was begun, else where they are written to."""
        address = self.payment.address
        if address is None:
            address = (await Users(self.connection, self.now).addresses([self.payment.user_id])).get(self.payment.user_id)
        if address is not None:
            body = {"payment": self.payment.id, "what": what, "credits": credits, "amount": amount}
            key = f"{self.payment.subject}:{what}:{self.event.thing or ''}"[:128]
            await Mailbox(self.connection, self.now).say([Notice(key, address, "payment_news", body, self.payment.subject)])


def encode(event: RailEvent) -> bytes:
    """An event as the inbox keeps it."""
    return json.dumps(asdict(event)).encode()


def decode(body: bytes) -> RailEvent:
    """What `encode` kept."""
    values = json.loads(body)
    return RailEvent(**values | {"said": Said(values["said"])})


def line_of(event: RailEvent) -> str:
    """What keeps an event in order with others in the inbox: its order, else its charge. Either may be longer than the inbox takes."""
    return (event.order or event.charge or "-")[:MAX_CHAT]


async def apply(connection: AsyncConnection, now: int, rail: str, event: RailEvent) -> Applied:
    """One event in the caller's transaction. Nothing that a rail says raises; what it says is applied, or named."""
    payment = await _find(connection, rail, event)
    if payment is None and event.order is None and await _is_new(connection, now, rail, event):
        return Applied.EARLY
    if payment is not None and mismatch(payment, rail, event) is None and is_early(payment, event):
        await connection.execute(update(payments).where(payments.c.id == payment.id).values(due_at=now))
        return Applied.EARLY
    if not await Mailbox(connection, now).first(rail, event.id, line_of(event)):
        return Applied.KNOWN
    if payment is None:
        log.warning("payment_foreign", rail=rail, event_id=event.id, said=event.said)
        return Applied.FOREIGN
    case = _Case(connection, now, payment, event)
    if (problem := mismatch(payment, rail, event)) is not None:
        log.error("payment_mismatch", payment=payment.id, rail=rail, event_id=event.id, said=event.said, problem=problem)
        await case.set(problem=problem)
        return Applied.MISMATCH
    return await _apply(case)


async def _is_new(connection: AsyncConnection, now: int, rail: str, event: RailEvent) -> bool:
    """Whether an event that names an unknown charge came lately: the payment that the charge belongs to may not have been told yet."""
    since = await Mailbox(connection, now).received_at(rail, event.id)
    return since is not None and now - since < FOREIGN_AFTER


async def _find(connection: AsyncConnection, rail: str, event: RailEvent) -> Payment | None:
    """The payment that an event is about, locked: by our order, else by the rail's charge."""
    if event.order is not None:
        here = payments.c.order == event.order
    elif event.charge is not None:
        here = (payments.c.rail == rail) & (payments.c.charge == event.charge)
    else:
        return None
    row = (await connection.execute(select(payments).where(here).with_for_update())).mappings().first()
    return read(row) if row else None


async def _apply(case: _Case) -> Applied:
    event, payment = case.event, case.payment
    states, following = MOVES[event.said]
    if payment.state not in states:
        if event.said is Said.PAID and event.charge != payment.charge:
            return await _paid_twice(case)
        return Applied.KNOWN
    match event.said:
        case Said.PAID:
            await _paid(case)
        case Said.PENDING | Said.FAILED | Said.EXPIRED:
            await case.set(state=following, **({} if event.said is Said.PENDING else {"due_at": None}))
            if event.said is Said.FAILED:
                await case.tell("failed")
        case Said.REFUNDED:
            return await _refunded(case)
        case Said.REFUND_FAILED:
            return await _refund_failed(case)
        case Said.CHARGED_BACK | Said.CHARGEBACK_LOST:
            return await _charged_back(case)
        case Said.CHARGEBACK_WON:
            return await _won(case)
    return Applied.APPLIED


async def _paid(case: _Case) -> None:
    payment, event = case.payment, case.event
    await case.give(f"payment:{payment.order}", "topup", payment.credits, 0 if payment.community_id is None else payment.credits)
    values = {"state": State.PAID, "charge": event.charge, "paid_at": case.now, "due_at": None, "problem": None}
    if event.reference:
        values["reference"] = event.reference
    await case.set(**values)
    await case.tell("paid", payment.credits)


async def _paid_twice(case: _Case) -> Applied:
    """A second charge for one order (two hasty presses): it gives no Credits and goes back by itself."""
    charge = case.event.charge
    assert charge is not None
    if any(each.thing == charge for each in await _refunds(case, RefundKind.SURPLUS)):
        return Applied.KNOWN
    log.warning("paid_twice", payment=case.payment.id, rail=case.payment.rail)
    await _record(case, RefundKind.SURPLUS, RefundState.REQUESTED, charge, case.payment.amount, 0)
    await case.tell("surplus", amount=case.payment.amount)
    return Applied.APPLIED


async def _refunded(case: _Case) -> Applied:
    payment, event = case.payment, case.event
    known = await _refunds(case, RefundKind.REFUND)
    row = next((each for each in known if each.name == event.refund or (event.thing and each.thing == event.thing)), None)
    if row is not None and row.state is RefundState.REQUESTED:
        await finish_refund(case.connection, case.now, payment, row, event.thing)
        return Applied.APPLIED
    if row is not None and (row.state is RefundState.DONE or not row.credits):
        return Applied.KNOWN
    promised = sum(each.amount for each in known if each.state is RefundState.REQUESTED)
    amount = event.amount
    if amount is None:  # counted by its sum, else it was the whole
        amount = payment.amount if event.total is None else event.total - payment.refunded - promised
    amount = min(amount, payment.amount - payment.refunded - promised)
    if amount <= 0:
        return Applied.KNOWN
    credits = max(0, min(share(payment, payment.refunded + amount) - payment.returned, payment.credits - payment.returned))
    thing = event.thing or event.id
    pooled = await case.take(f"refund:{payment.order}:{thing}"[:128], "refund", credits)
    if row is None:
        await _record(case, RefundKind.REFUND, RefundState.DONE, thing, amount, credits, pooled=pooled)
    else:  # the rail had refused it, and has done it after all
        await _finish(case, row, RefundState.DONE, thing=thing, amount=amount, credits=credits, pooled=pooled)
    await case.went_back(amount, credits, charged_back=payment.state is State.CHARGED_BACK)
    await case.tell("refunded", credits, amount)
    return Applied.APPLIED


async def _refund_failed(case: _Case) -> Applied:
    known = await _refunds(case, RefundKind.REFUND)
    row = next((each for each in known if each.name == case.event.refund or (case.event.thing and each.thing == case.event.thing)), None)
    if row is None and case.event.thing:  # told before the refund itself, which then moves nothing
        await _record(case, RefundKind.REFUND, RefundState.FAILED, case.event.thing, case.event.amount or 1, 0)
    if row is None or row.state is RefundState.FAILED:
        return Applied.KNOWN
    if row.state is RefundState.REQUESTED:
        await drop_refund(case.connection, case.now, case.payment, row)
        return Applied.APPLIED
    await case.give(f"refund-failed:{row.name}", "refund_failed", row.credits, row.pooled)
    await _finish(case, row, RefundState.FAILED)
    await case.went_back(-row.amount, -row.credits, charged_back=case.payment.state is State.CHARGED_BACK)
    await case.tell("restored", row.credits, row.amount)
    return Applied.APPLIED


async def _charged_back(case: _Case) -> Applied:
    payment, event = case.payment, case.event
    lost = event.said is Said.CHARGEBACK_LOST
    row = next((each for each in await _refunds(case, RefundKind.CHARGEBACK) if each.thing == event.thing), None)
    if row is not None:
        if not lost or row.state is not RefundState.OPEN:
            return Applied.KNOWN
        await _finish(case, row, RefundState.LOST, fee=max(row.fee, event.fee))
        return Applied.APPLIED
    amount = min(event.amount if event.amount is not None else payment.amount, payment.amount - payment.refunded)
    if amount <= 0 or event.thing is None:
        return Applied.KNOWN
    credits = max(0, min(share(payment, payment.refunded + amount) - payment.returned, payment.credits - payment.returned))
    pooled = await case.take(f"chargeback:{payment.rail}:{event.thing}"[:128], "chargeback", credits)
    state = RefundState.LOST if lost else RefundState.OPEN
    await _record(case, RefundKind.CHARGEBACK, state, event.thing, amount, credits, event.fee, pooled)
    await case.went_back(amount, credits, charged_back=True)
    await case.tell("charged_back", credits, amount)
    return Applied.APPLIED


async def _won(case: _Case) -> Applied:
    rows = await _refunds(case, RefundKind.CHARGEBACK)
    row = next((each for each in rows if each.thing == case.event.thing), None)
    if row is None and case.event.thing:  # told before the chargeback itself, which then moves nothing
        await _record(case, RefundKind.CHARGEBACK, RefundState.WON, case.event.thing, case.event.amount or 1, 0)
    if row is None or row.state is RefundState.WON:
        return Applied.KNOWN
    await case.give(f"chargeback-won:{case.payment.rail}:{row.thing}"[:128], "chargeback_won", row.credits, row.pooled)
    await _finish(case, row, RefundState.WON)
    others = any(each.id != row.id and each.state is not RefundState.WON for each in rows)
    await case.went_back(-row.amount, -row.credits, charged_back=others)
    await case.tell("restored", row.credits, row.amount)
    return Applied.APPLIED


async def finish_refund(connection: AsyncConnection, now: int, payment: Payment, refund: Refund, thing: str | None) -> None:
    """Our refund has arrived: its held Credits go to the rail, those of a pool by their buyer's wallet: the buyer gave so much less.
    The payment's row is locked by the caller."""
    case = _Case(connection, now, payment, RailEvent(refund.name, Said.REFUNDED, thing=refund.name))
    if refund.kind is RefundKind.SURPLUS:
        await _finish(case, refund, RefundState.DONE)
        return
    if payment.community_id is None:
        capture = Capture(f"refunded:{refund.name}", refund_hold(refund.name), (Leg(external(payment.rail), refund.credits),))
        raise_first_refusal(await case.ledger.capture_many([capture]))
    else:
        await Pools(connection, now).lock(payment.community_id)  # before any account, as submits do
        release = Release(f"refund-released:{refund.name}", refund_hold(refund.name))
        raise_first_refusal(await case.ledger.release_many([release]))
        pooled = await case.take(f"refunded:{refund.name}", "refund", refund.credits)
        assert pooled == refund.credits, refund  # the hold has just come back, and the pool is locked
    await _finish(case, refund, RefundState.DONE, thing=thing)
    await case.went_back(refund.amount, refund.credits, charged_back=payment.state is State.CHARGED_BACK)
    await case.tell("refunded", refund.credits, refund.amount)


async def drop_refund(connection: AsyncConnection, now: int, payment: Payment, refund: Refund) -> None:
    """The rail will not refund: the held Credits return to the buyer. The payment's row is locked by the caller."""
    case = _Case(connection, now, payment, RailEvent(refund.name, Said.REFUND_FAILED, thing=refund.name))
    if refund.kind is RefundKind.SURPLUS:
        log.error("surplus_kept", payment=payment.id, rail=payment.rail)
        await case.set(problem="surplus_kept")
        await _finish(case, refund, RefundState.FAILED)
        return
    release = Release(f"refund-dropped:{refund.name}", refund_hold(refund.name))
    raise_first_refusal(await case.ledger.release_many([release]))
    await _finish(case, refund, RefundState.FAILED)
    await case.tell("refund_failed", refund.credits, refund.amount)


async def lock_refund(connection: AsyncConnection, refund: Refund) -> tuple[Payment, Refund]:
    """A refund and its payment as they are now, both locked."""
    payment = (await connection.execute(select(payments).where(payments.c.id == refund.payment_id).with_for_update())).mappings().one()
    row = (await connection.execute(select(refunds).where(refunds.c.id == refund.id))).mappings().one()
    return read(payment), read_refund(row)


async def _refunds(case: _Case, kind: RefundKind) -> list[Refund]:
    here = (refunds.c.payment_id == case.payment.id) & (refunds.c.kind == kind)
    return [read_refund(row) for row in (await case.connection.execute(select(refunds).where(here))).mappings()]


async def _record(
    case: _Case, kind: RefundKind, state: RefundState, thing: str, amount: int, credits: int, fee: int = 0, pooled: int = 0
) -> None:
    over = state not in (RefundState.OPEN, RefundState.REQUESTED)
    name = f"{kind[:2]}{case.payment.id}x{len(await _refunds(case, kind))}"
    parts = {"name": name, "payment_id": case.payment.id, "kind": kind, "state": state, "thing": thing}
    values = parts | {"amount": amount, "credits": credits, "pooled": pooled, "fee": fee, "created_at": case.now}
    values["finished_at"] = case.now if over else None
    if state is RefundState.REQUESTED:
        values["due_at"] = case.now
    await case.connection.execute(refunds.insert().values(**values))


async def _finish(case: _Case, row: Refund, state: RefundState, **values: Any) -> None:
    known = {name: value for name, value in values.items() if value is not None}
    changed = {"state": state, "finished_at": case.now, "due_at": None} | known
    await case.connection.execute(update(refunds).where(refunds.c.id == row.id).values(**changed))
