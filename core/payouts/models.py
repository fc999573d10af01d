"""Payouts: released earnings that leave. Held when they are asked for; an admin approves, pays outside, and records the reference."""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, String, Table, text

from core.db import Id, Moment, metadata

MAX_REFERENCE = 200
PAID_OUT = "external:payouts"
OPEN_STATES = ("requested", "approved")


class State(StrEnum):
    """requested -> approved -> paid; refused from either of the first two."""

    REQUESTED = "requested"
    APPROVED = "approved"
    PAID = "paid"
    REFUSED = "refused"


STEPS = {State.REQUESTED: ("approve", "refuse"), State.APPROVED: ("paid", "refuse")}
"""What admins can do about a payout, in the words of buttons."""

_OPEN = text("state IN ('requested', 'approved')")
payouts = Table(
    "payouts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("user_id", Id, ForeignKey("users.id"), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("hold", String(128), nullable=False, unique=True),
    Column("approved_by", Id, ForeignKey("users.id")),
    Column("decided_by", Id, ForeignKey("users.id")),
    Column("reference", String(MAX_REFERENCE), nullable=False, server_default=""),  # of the payment outside, or why it was refused
    Column("created_at", Moment, nullable=False),
    Column("decided_at", Moment),
    CheckConstraint("amount > 0", name="amount"),
    Index("uq_payouts_open", "user_id", unique=True, postgresql_where=_OPEN, sqlite_where=_OPEN),
)


@dataclass(frozen=True, slots=True)
class Payout:
    """A payout. `amount` in milli-credits, times in microseconds."""

    id: int
    user_id: int
    amount: int
    state: State
    hold: str
    approved_by: int | None
    decided_by: int | None
    reference: str
    created_at: int
    decided_at: int | None
