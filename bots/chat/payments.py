"""Payments in words: the message that follows one, and what is told about it later."""

from bots.chat.types import Button, Reply
from core.mailbox.models import Delivery
from core.money import format_price
from core.payments.models import Payment, State
from core.words import Amount, Text

OPEN = frozenset({State.CREATED, State.PENDING})
POOLED = ("paid", "refunded", "refund_failed", "charged_back", "restored")
"""News that are told otherwise of a payment for a pool."""
MAX_LINK = 512
"""Characters of a button's address: the smaller of the platforms' limits; a rail's signed addresses are longer."""


def link_status(payment: Payment, public_url: str) -> Reply:
    """The message that follows a payment by link: where to pay, until it is paid or over. An address that is too long for a button is
    reached by a short one of ours, below `public_url`."""
    rows: tuple[tuple[Button, ...], ...] = ()
    if payment.state is State.PENDING and payment.url:
        url = payment.url if len(payment.url) <= MAX_LINK else f"{public_url.rstrip('/')}/pay/{payment.order}"
        rows = ((Button(Text("button.pay", {"price": format_price(payment.amount, payment.currency)}), url=url),),)
    if payment.state in (State.FAILED, State.EXPIRED):
        rows = ((Button(Text("button.topup"), "topup", style="primary"),),)
    code = "payment.paid_pool" if payment.state is State.PAID and payment.community_id is not None else f"payment.{payment.state}"
    return Reply(Text(code, facts_of(payment)), rows=rows, private=True, subject=payment.subject)


def news(payment: Payment, delivery: Delivery, wallet: int) -> Reply:
    """What is told about a payment when something becomes of it: paid, failed, refunded, charged back."""
    facts = facts_of(payment) | {
        "moved": Amount(int(delivery.body["credits"])),
        "money": format_price(int(delivery.body["amount"]), payment.currency),
        "wallet": Amount(wallet),
    }
    what = str(delivery.body["what"])
    action = {"paid": Button(Text("button.balance"), "balance"), "failed": Button(Text("button.topup"), "topup", style="primary")}
    button = action.get(what, Button(Text("button.paysupport"), "paysupport"))
    pooled = ".pool" if payment.community_id is not None and what in POOLED else ""
    return Reply(Text(f"payment_news.{what}{pooled}", facts), rows=((button,),))


def facts_of(payment: Payment) -> dict[str, object]:
    """What every sentence about a payment may mention."""
    return {
        "id": payment.id,
        "credits": Amount(payment.credits),
        "price": format_price(payment.amount, payment.currency),
        "rail": Text(f"rail.{payment.rail}"),
        "returned": Amount(payment.returned),
        "refunded": format_price(payment.refunded, payment.currency),
    }
