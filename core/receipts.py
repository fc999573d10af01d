"""Receipts: what somebody has paid for Credits, as a document for them alone, and links to it that end by themselves."""

from dataclasses import dataclass

from core.app import App
from core.db import SECOND
from core.payments.errors import PaymentNotFound
from core.payments.models import Payment, Refund, RefundKind, RefundState
from core.users.models import User
from core.vault.sign import read_signed, sign

PURPOSE = "receipt"
LINK_SECONDS = 3600
"""How long a link is good for whoever has it."""
NOT_BACK = frozenset({(RefundKind.REFUND, RefundState.FAILED), (RefundKind.CHARGEBACK, RefundState.WON)})
"""What was to go back and did not."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """A payment that was paid, by whom, and what went back or is on its way, the oldest first."""

    payment: Payment
    buyer: User
    returned: list[Refund]

    @property
    def number(self) -> str:
        """As it stands on the document."""
        return f"AF-{self.payment.id:06d}"


async def receipt_of(app: App, payment_id: int, user_id: int) -> Receipt:
    """The receipt of a payment of the user's own. Raises PaymentNotFound, also for what was never paid."""
    async with app.read() as work:
        payment = await work.payments.get(payment_id, user_id)
        if payment.paid_at is None:
            raise PaymentNotFound(payment=payment_id)
        refunds = await work.payments.refunds_of(payment_id)
        buyer = await work.users.get(user_id)
    counted = [each for each in refunds if each.kind is not RefundKind.SURPLUS and (each.kind, each.state) not in NOT_BACK]
    return Receipt(payment, buyer, counted)


def receipt_link(app: App, payment: Payment) -> str:
    """A link to a payment's receipt, good for LINK_SECONDS; of its owner's, who alone is told it."""
    until = app.now() // SECOND + LINK_SECONDS
    return f"{app.settings.public_url.rstrip('/')}/receipts/{sign(app.vault, PURPOSE, f'{payment.id},{payment.user_id},{until}')}"


async def receipt_by_link(app: App, signed: str) -> Receipt:
    """What such a link leads to. Raises PaymentNotFound for one that is not ours, is over, or whose payment changed its owner."""
    text = read_signed(app.vault, PURPOSE, signed)
    payment_id, user_id, until = (int(part) for part in text.split(",")) if text else (0, 0, 0)
    if app.now() // SECOND >= until:
        raise PaymentNotFound(payment=payment_id)
    return await receipt_of(app, payment_id, user_id)
