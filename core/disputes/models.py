"""Disputes: a creator against a delivered picture, at most one for each."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, String, Table, Text, text

from core.db import Id, Moment, metadata

MAX_TEXT = 500


class Kind(StrEnum):
    """What is wrong with the picture."""

    FAILED = "failed"
    POOR_QUALITY = "poor_quality"
    WRONG_RESULT = "wrong_result"
    OTHER = "other"


class State(StrEnum):
    """open -> refunded | partly | rejected | compensated; NEXT in core/disputes/rules.py says what may follow."""

    OPEN = "open"
    REFUNDED = "refunded"
    PARTLY = "partly"
    REJECTED = "rejected"
    COMPENSATED = "compensated"
    TAKEN_BACK = "taken_back"  # it was refunded, all or in part, or compensated, and that was wrong


disputes = Table(
    "disputes",
    metadata,
    Column("id", Id, primary_key=True),
    Column("generation_id", Id, ForeignKey("generations.id"), nullable=False, unique=True),
    Column("user_id", Id, ForeignKey("users.id"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", String(MAX_TEXT), nullable=False, server_default=""),  # of the verdict
    Column("decided_by", Id, ForeignKey("users.id")),
    Column("created_at", Moment, nullable=False),
    Column("decided_at", Moment),
    Column("inspected_at", Moment),  # NULL: the picture has not been looked at yet
    Column("evidence", Text),  # JSON: what was seen of the picture, and how it was made
    Column("answer", String(MAX_TEXT), nullable=False, server_default=""),  # of whoever earns by the picture
    Column("amount", BigInteger),  # milli-credits that went back, or were given as goodwill
    Column("taken_by", Id),  # the admin who works on it …
    Column("taken_until", Moment),  # … until then
    Column("escalated", Integer, nullable=False, server_default="0"),  # how often admins were told that it waits
    Column("proposed_by", Id),  # a verdict that another admin has to confirm
    Column("proposed", String(16)),
    Column("proposed_amount", BigInteger),
    Column("proposed_reason", String(MAX_TEXT)),
    Index("ix_disputes_user_id", "user_id", "id"),
    Index("ix_disputes_open", "id", postgresql_where=text("state = 'open'"), sqlite_where=text("state = 'open'")),
)


VERDICTS = {
    "refund": State.REFUNDED, "part": State.PARTLY, "goodwill": State.COMPENSATED, "reject": State.REJECTED, "take_back": State.TAKEN_BACK,
}  # fmt: skip
"""What admins decide, in the words of buttons and requests."""


@dataclass(frozen=True, slots=True)
class Dispute:
    """A dispute. Times in microseconds; `reason` is the verdict's; `evidence` None until the picture was looked at.

    `proposed`: the verdict that waits for a second admin.
    """

    id: int
    generation_id: int
    user_id: int
    kind: Kind
    state: State
    reason: str
    decided_by: int | None
    created_at: int
    decided_at: int | None
    evidence: dict[str, Any] | None
    answer: str
    amount: int | None
    taken_by: int | None
    taken_until: int | None
    proposed_by: int | None
    proposed: State | None
    proposed_amount: int | None
    proposed_reason: str | None

    @property
    def subject(self) -> str:
        """Its name in messages and in the log of acts."""
        return f"dispute:{self.id}"
