"""Payments (Credits bought by a rail), and what goes back: refunds and chargebacks."""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Integer, String, Table, Text, UniqueConstraint, text

from core.address import MAX_CHAT, Address
from core.db import Id, Moment, metadata
from core.payments.rails.base import MAX_ORDER, MAX_REFERENCE

CURRENCIES = {"stripe": "USD", "alipay": "CNY", "stars": "XTR"}
"""What each rail takes."""
MAX_KEY = 100
MAX_URL = 4000
PAGE = 20


class State(StrEnum):
    """Of a payment: created -> pending -> paid -> part_refunded | refunded | charged_back; or failed, or expired."""

    CREATED = "created"  # the rail has not been asked yet
    PENDING = "pending"  # the buyer can pay
    PAID = "paid"
    PART_REFUNDED = "part_refunded"
    REFUNDED = "refunded"
    FAILED = "failed"
    EXPIRED = "expired"
    CHARGED_BACK = "charged_back"


class RefundKind(StrEnum):
    """Who took the money back."""

    REFUND = "refund"  # we
    CHARGEBACK = "chargeback"  # the buyer's bank
    SURPLUS = "surplus"  # we: a second charge for an order that was paid; no Credits came of it, and `thing` is the charge


class RefundState(StrEnum):
    """Of a refund: requested -> done | failed. Of a chargeback: open -> won | lost."""

    REQUESTED = "requested"  # the Credits are held, the rail is to be told
    DONE = "done"
    FAILED = "failed"
    OPEN = "open"
    WON = "won"
    LOST = "lost"


payments = Table(
    "payments",
    metadata,
    Column("id", Id, primary_key=True),
    Column("order", String(MAX_ORDER), nullable=False, unique=True),  # our name for it at the rail; cannot be guessed
    Column("key", String(MAX_KEY), nullable=False, unique=True),  # the chat event's or the caller's idempotency key
    Column("user_id", Id, ForeignKey("users.id"), nullable=False),
    Column("community_id", Id),  # whose pool the Credits are for; NULL: the buyer's wallet
    Column("rail", String(16), nullable=False),
    Column("package", String(16), nullable=False),
    Column("credits", BigInteger, nullable=False),  # milli-credits, the bonus included
    Column("currency", String(3), nullable=False),
    Column("amount", BigInteger, nullable=False),  # of the currency's smallest unit
    Column("way", String(8), nullable=False),
    Column("state", String(16), nullable=False),
    Column("url", Text),
    Column("code", Text),
    Column("reference", String(MAX_REFERENCE)),
    Column("charge", String(MAX_REFERENCE)),  # the rail's name for the money that moved
    Column("problem", String(64)),  # what did not agree, or what the rail refused
    Column("refunded", BigInteger, nullable=False, server_default="0"),  # of the amount, what went back
    Column("returned", BigInteger, nullable=False, server_default="0"),  # of the Credits, what was taken back
    Column("platform", String(16)),  # where it is followed; NULL: nowhere
    Column("chat", String(MAX_CHAT)),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("paid_at", Moment),
    Column("due_at", Moment),  # when the rail is to be asked next; NULL: never
    Column("tries", Integer, nullable=False, server_default="0"),
    CheckConstraint("refunded >= 0 AND refunded <= amount AND returned >= 0 AND returned <= credits", name="refunds"),
    UniqueConstraint("rail", "charge"),
    Index("ix_payments_user_id", "user_id", "id"),
    Index("ix_payments_due_at", "rail", "due_at", postgresql_where=text("due_at IS NOT NULL"), sqlite_where=text("due_at IS NOT NULL")),
)

refunds = Table(
    "refunds",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(MAX_ORDER), nullable=False, unique=True),  # ours, told to the rail
    Column("payment_id", Id, ForeignKey("payments.id"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("thing", String(MAX_REFERENCE)),  # the rail's own name
    Column("amount", BigInteger, nullable=False),
    Column("credits", BigInteger, nullable=False),
    Column("pooled", BigInteger, nullable=False, server_default="0"),  # of the Credits, what was taken from the pool they had gone to
    Column("fee", BigInteger, nullable=False, server_default="0"),  # what the rail took for a dispute, of the currency's smallest unit
    Column("by", Id, ForeignKey("users.id")),  # who asked for it; NULL: the rail told us
    Column("reason", String(200), nullable=False, server_default=""),
    Column("due_at", Moment),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("created_at", Moment, nullable=False),
    Column("finished_at", Moment),
    CheckConstraint("amount > 0 AND credits >= 0", name="parts"),
    UniqueConstraint("payment_id", "kind", "thing"),
    Index("ix_refunds_payment_id", "payment_id"),
    Index("ix_refunds_due_at", "due_at", postgresql_where=text("due_at IS NOT NULL"), sqlite_where=text("due_at IS NOT NULL")),
)


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment as its buyer sees it. `credits`, `returned` in milli-credits; `amount`, `refunded` in the currency's smallest unit."""

    id: int
    order: str
    key: str
    user_id: int
    community_id: int | None
    rail: str
    package: str
    credits: int
    currency: str
    amount: int
    way: str
    state: State
    url: str | None
    code: str | None
    reference: str | None
    charge: str | None
    problem: str | None
    refunded: int
    returned: int
    created_at: int
    expires_at: int
    paid_at: int | None
    tries: int
    address: Address | None

    @property
    def subject(self) -> str:
        """Its name in messages about it."""
        return f"payment:{self.id}"


@dataclass(frozen=True, slots=True)
class Refund:
    """Money on its way back, since `created_at`, or there, since `finished_at`; microseconds."""

    id: int
    name: str
    payment_id: int
    kind: RefundKind
    state: RefundState
    thing: str | None
    amount: int
    credits: int
    pooled: int
    fee: int
    by: int | None
    reason: str
    tries: int
    created_at: int
    finished_at: int | None


@dataclass(frozen=True, slots=True)
class TopUp:
    """What somebody wants to buy. `key` makes it one payment, whoever repeats it; `address` is where it is followed.

    `community_id`: the community to whose pool the Credits go, for good; None: the buyer's wallet.
    """

    key: str
    user_id: int
    package: str
    rail: str
    way: str = "page"
    address: Address | None = None
    community_id: int | None = None


def external(rail: str) -> str:
    """The ledger's account of a rail."""
    return f"external:{rail}"
