"""What Stripe's events say. Pure: an event, already proved, becomes a RailEvent. https://docs.stripe.com/api/events/types"""

from collections.abc import Mapping
from typing import Any

from core.payments.rails.base import MAX_ORDER, MAX_REFERENCE, RailEvent, Said

SESSION_EVENTS = {
    "checkout.session.completed": Said.PAID,
    "checkout.session.async_payment_succeeded": Said.PAID,
    "checkout.session.async_payment_failed": Said.FAILED,
    "checkout.session.expired": Said.EXPIRED,
}
REFUND_EVENTS = ("refund.created", "refund.updated", "refund.failed")
DISPUTE_EVENTS = (
    "charge.dispute.created",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "charge.dispute.closed",
)
EVENTS = (*SESSION_EVENTS, *REFUND_EVENTS, *DISPUTE_EVENTS)
"""What the endpoint at Stripe has to be subscribed to; anything else is read as of no concern."""

MAX_ID = 64
"""Of an event's name; Stripe's have about 30 characters."""

SETTLED = ("paid", "no_payment_required")
"""The payment statuses of a session that ask for no more money."""

_REFUND_SAID = {"succeeded": Said.REFUNDED, "failed": Said.REFUND_FAILED, "canceled": Said.REFUND_FAILED}
_CLOSED = {
    "won": Said.CHARGEBACK_WON,
    "warning_closed": Said.CHARGEBACK_WON,  # an inquiry that went no further
    "prevented": Said.CHARGEBACK_WON,  # settled before it became one; money that went back for it has a refund of its own
    "lost": Said.CHARGEBACK_LOST,
}


def read_event(event: Mapping[str, Any], *, ours: bool) -> RailEvent | None:
    """None for what is of no concern to us: other kinds, other things that the account sells, refunds under way."""
    kind, name, data = str(event.get("type")), text_of(event.get("id"), MAX_ID), event.get("data")
    thing = data.get("object") if isinstance(data, dict) else None
    if event.get("object") != "event" or name is None or not isinstance(thing, dict):
        return None
    if kind in SESSION_EVENTS:
        said = SESSION_EVENTS[kind]
        unpaid = said is Said.PAID and thing.get("payment_status") not in SETTLED
        return session_event(name, Said.PENDING if unpaid else said, thing, ours)
    if kind in REFUND_EVENTS:
        return _refund_event(name, kind, thing, ours)
    if kind in DISPUTE_EVENTS:
        return _dispute_event(name, kind, thing, ours)
    return None


def session_event(name: str, said: Said, session: Mapping[str, Any], ours: bool) -> RailEvent | None:
    """None for a session that is not one of ours: the account may sell other things."""
    metadata = session.get("metadata") or {}
    order = text_of(session.get("client_reference_id") or metadata.get("order"), MAX_ORDER)
    if order is None or session.get("mode") != "payment":
        return None
    return RailEvent(
        id=name,
        said=said,
        order=order,
        charge=id_of(session.get("payment_intent")),
        reference=text_of(session.get("id")),
        amount=_whole(session.get("amount_total")),
        currency=_currency(session),
        ours=ours,
    )


def _refund_event(name: str, kind: str, refund: Mapping[str, Any], ours: bool) -> RailEvent | None:
    """None while the refund is under way."""
    said = Said.REFUND_FAILED if kind == "refund.failed" else _REFUND_SAID.get(str(refund.get("status")))
    if said is None:
        return None
    metadata = refund.get("metadata") or {}
    return RailEvent(
        id=name,
        said=said,
        order=text_of(metadata.get("order"), MAX_ORDER),
        charge=id_of(refund.get("payment_intent")),
        amount=_whole(refund.get("amount")),
        currency=_currency(refund),
        ours=ours,
        thing=text_of(refund.get("id")),
        refund=text_of(metadata.get("refund")),
    )


def _dispute_event(name: str, kind: str, dispute: Mapping[str, Any], ours: bool) -> RailEvent | None:
    """`funds_withdrawn` says the same as `created` once more, with the fee if that came too early to know it. Money that comes back is the
    end of a dispute only when it is won: a part may come back of one that goes on."""
    status = str(dispute.get("status"))
    said: Said | None = Said.CHARGED_BACK
    if kind == "charge.dispute.closed":
        said = _CLOSED.get(status)
    elif kind == "charge.dispute.funds_reinstated":
        said = Said.CHARGEBACK_WON if status == "won" else None
    if said is None:
        return None
    return RailEvent(
        id=name,
        said=said,
        charge=id_of(dispute.get("payment_intent")),
        amount=_whole(dispute.get("amount")),
        currency=_currency(dispute),
        ours=ours,
        thing=text_of(dispute.get("id")),
        fee=_fee(dispute) if said is Said.CHARGED_BACK else 0,
    )


def _fee(dispute: Mapping[str, Any]) -> int:
    """What Stripe takes for the dispute; 0 where it takes it in another currency than that of the dispute."""
    movements = [one for one in dispute.get("balance_transactions") or [] if one.get("currency") == dispute.get("currency")]
    return max(0, sum(_whole(one.get("fee")) or 0 for one in movements))


def id_of(value: object) -> str | None:
    """Of a reference, which is an id or, expanded, the object itself."""
    return text_of(value.get("id") if isinstance(value, dict) else value)


def text_of(value: object, longest: int = MAX_REFERENCE) -> str | None:
    """A text of 1 to `longest` characters that show; None for anything else: no name at Stripe has others, and no database takes a NUL."""
    return value if isinstance(value, str) and 0 < len(value) <= longest and value.isprintable() else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _currency(thing: Mapping[str, Any]) -> str | None:
    currency = text_of(thing.get("currency"))
    return None if currency is None else currency.upper()
