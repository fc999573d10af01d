"""What was answered to a request that carried a key of its sender's, so that the same request again gets the same answer."""

from dataclasses import dataclass

from sqlalchemy import Column, ForeignKey, Index, LargeBinary, String, Table

from core.db import Id, Moment, metadata

MAX_KEY = 255

idempotent_answers = Table(
    "idempotent_answers",
    metadata,
    Column("user_id", Id, ForeignKey("users.id"), primary_key=True, autoincrement=False),
    Column("key", String(MAX_KEY), primary_key=True),
    Column("content", String(64), nullable=False),  # digest of what was asked: the same key for something else is refused
    Column("answer", LargeBinary),  # encrypted: prompts and one-time links are in it; NULL: it is being worked on
    Column("taken_until", Moment, nullable=False),  # whoever works on it counts as dead from then on
    Column("created_at", Moment, nullable=False),
    Index("ix_idempotent_answers_created_at", "created_at"),
)


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a key. `mine`: the asker has it now and does the work; else `content` and `answer` (None: still worked on)."""

    mine: bool
    content: str
    answer: bytes | None = None
