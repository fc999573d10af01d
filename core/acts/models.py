"""The append-only log of what admins, and the platform's own rules, did to somebody."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ForeignKey, Index, String, Table, Text

from core.db import Id, Moment, metadata

MAX_SUBJECT = 64
MAX_REASON = 500

acts = Table(
    "acts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("at", Moment, nullable=False),
    Column("by", Id, ForeignKey("users.id")),  # NULL: the platform itself, by a rule
    Column("act", String(32), nullable=False),  # "grant", "ban", "verdict", …
    Column("subject", String(MAX_SUBJECT), nullable=False),  # "user:7", "dispute:3", "resource:2"
    Column("reason", String(MAX_REASON), nullable=False),
    Column("facts", Text, nullable=False),  # JSON
    Index("ix_acts_subject", "subject", "id"),
    Index("ix_acts_by", "by", "id"),
)


@dataclass(frozen=True, slots=True)
class Act:
    """One line of the log. `by` None: the platform itself. `at` in microseconds; `facts` are plain values, never a secret or a prompt."""

    id: int
    at: int
    by: int | None
    act: str
    subject: str
    reason: str
    facts: dict[str, Any]
