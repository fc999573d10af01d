"""What the Stripe stand-in remembers: sessions, payment intents, refunds, disputes; and how the API shows them."""

import secrets
import string
import time
from dataclasses import dataclass, field
from typing import Any

from sandbox.stripe_params import Refused

FEE = 1_500
"""What a dispute costs in the United States, in cents (stripe.com/pricing)."""

_LETTERS = string.ascii_letters + string.digits


def new_id(prefix: str, length: int = 24) -> str:
    """Never twice, also after a restart: whoever is called remembers the old ones."""
    return prefix + "".join(secrets.choice(_LETTERS) for _ in range(length))


def now() -> int:
    """Seconds since 1970."""
    return int(time.time())


@dataclass
class Refund:
    """Money that goes back, in the smallest unit."""

    intent: "Intent"
    amount: int
    status: str
    metadata: dict[str, str]
    reason: str | None = None
    id: str = field(default_factory=lambda: new_id("re_"))
    created: int = field(default_factory=now)

    def shown(self) -> dict[str, Any]:
        """As the API has it."""
        return {
            "id": self.id,
            "object": "refund",
            "amount": self.amount,
            "charge": self.intent.charge,
            "created": self.created,
            "currency": self.intent.currency,
            "failure_reason": "lost_or_stolen_card" if self.status == "failed" else None,
            "metadata": self.metadata,
            "payment_intent": self.intent.id,
            "reason": self.reason,
            "status": self.status,
        }


@dataclass
class Dispute:
    """What the buyer's bank takes back. `moved`: the amounts and fees that left the seller's balance, or came back."""

    intent: "Intent"
    amount: int
    status: str
    moved: list[tuple[int, int]] = field(default_factory=list)
    id: str = field(default_factory=lambda: new_id("du_"))
    created: int = field(default_factory=now)

    @property
    def open(self) -> bool:
        """Not decided."""
        return self.status in ("needs_response", "warning_needs_response")

    def shown(self) -> dict[str, Any]:
        """As the API has it."""
        return {
            "id": self.id,
            "object": "dispute",
            "amount": self.amount,
            "balance_transactions": [
                {
                    "object": "balance_transaction",
                    "amount": amount,
                    "currency": self.intent.currency,
                    "fee": fee,
                    "net": amount - fee,
                    "reporting_category": "dispute" if amount < 0 else "dispute_reversal",
                    "type": "adjustment",
                }
                for amount, fee in self.moved
            ],
            "charge": self.intent.charge,
            "created": self.created,
            "currency": self.intent.currency,
            "is_charge_refundable": self.status.startswith("warning"),
            "livemode": False,
            "metadata": {},
            "payment_intent": self.intent.id,
            "reason": "fraudulent",
            "status": self.status,
        }


@dataclass
class Intent:
    """One payment; `charge` once it was tried."""

    amount: int
    currency: str
    metadata: dict[str, str]
    status: str = "requires_payment_method"
    charge: str | None = None
    refunds: list[Refund] = field(default_factory=list)
    dispute: Dispute | None = None
    id: str = field(default_factory=lambda: new_id("pi_"))
    created: int = field(default_factory=now)

    @property
    def refunded(self) -> int:
        """What went back or is about to."""
        return sum(refund.amount for refund in self.refunds if refund.status in ("succeeded", "pending"))

    def shown(self) -> dict[str, Any]:
        """As the API has it."""
        return {
            "id": self.id,
            "object": "payment_intent",
            "amount": self.amount,
            "amount_received": self.amount if self.status == "succeeded" else 0,
            "created": self.created,
            "currency": self.currency,
            "latest_charge": self.charge,
            "livemode": False,
            "metadata": self.metadata,
            "status": self.status,
        }

    def charge_shown(self) -> dict[str, Any]:
        """The charge, as the API has it."""
        return {
            "id": self.charge,
            "object": "charge",
            "amount": self.amount,
            "amount_refunded": self.refunded,
            "created": self.created,
            "currency": self.currency,
            "disputed": self.dispute is not None,
            "livemode": False,
            "metadata": self.metadata,
            "paid": self.status == "succeeded",
            "payment_intent": self.id,
            "refunded": self.refunded >= self.amount,
            "status": {"succeeded": "succeeded", "processing": "pending"}.get(self.status, "failed"),
        }


@dataclass
class Session:
    """A checkout page. `wanted`: the checked parameters it was made of; `declined`: the last try went wrong."""

    wanted: dict[str, Any]
    url: str
    expires_at: int
    id: str
    status: str = "open"
    payment_status: str = "unpaid"
    intent: Intent | None = None
    declined: bool = False
    created: int = field(default_factory=now)

    @property
    def amount(self) -> int:
        """The sum of the lines, in the smallest unit."""
        return sum(int(item["quantity"]) * int(item["price_data"]["unit_amount"]) for item in self.wanted["line_items"])

    @property
    def currency(self) -> str:
        """Of the first line; the lines agree."""
        return str(self.wanted["line_items"][0]["price_data"]["currency"])

    @property
    def title(self) -> str:
        """What is sold."""
        return ", ".join(item["price_data"]["product_data"]["name"] for item in self.wanted["line_items"])

    def new_intent(self) -> Intent:
        """The payment of this session."""
        return Intent(self.amount, self.currency, dict(self.wanted.get("payment_intent_data", {}).get("metadata", {})))

    def shown(self, expand: list[str] | tuple[str, ...] = ()) -> dict[str, Any]:
        """As the API has it."""
        intent: Any = self.intent.id if self.intent else None
        if self.intent and "payment_intent" in expand:
            intent = self.intent.shown()
        return {
            "id": self.id,
            "object": "checkout.session",
            "amount_subtotal": self.amount,
            "amount_total": self.amount,
            "cancel_url": self.wanted.get("cancel_url"),
            "client_reference_id": self.wanted.get("client_reference_id"),
            "created": self.created,
            "currency": self.currency,
            "expires_at": self.expires_at,
            "livemode": False,
            "locale": self.wanted.get("locale"),
            "metadata": self.wanted.get("metadata", {}),
            "mode": "payment",
            "payment_intent": intent,
            "payment_status": self.payment_status,
            "status": self.status,
            "success_url": self.wanted["success_url"],
            "ui_mode": "hosted_page",
            "url": self.url if self.status == "open" else None,
        }


class State:
    """Everything by its id, oldest first."""

    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}
        self.intents: dict[str, Intent] = {}
        self.refunds: dict[str, Refund] = {}

    def session(self, id: str) -> Session:
        """Raises Refused."""
        if id not in self.sessions:
            raise Refused(f"No such checkout.session: {id}", "resource_missing", param="session", status=404)
        return self.sessions[id]

    def intent(self, id: str, status: int = 404) -> Intent:
        """Raises Refused."""
        if id not in self.intents:
            raise Refused(f"No such payment_intent: '{id}'", "resource_missing", param="intent", status=status)
        return self.intents[id]

    def refund(self, id: str) -> Refund:
        """Raises Refused."""
        if id not in self.refunds:
            raise Refused(f"No such refund: '{id}'", "resource_missing", param="refund", status=404)
        return self.refunds[id]
