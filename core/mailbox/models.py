"""Rows of the inbox and the outbox.

Inbox: what a chat said, stored before it is acted on, unique by platform and event id. Outbox: what we say, written in the transaction that
causes it and sent after it. A message that follows a generation stays `live`: delivery edits it until the generation is settled.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import Column, Index, Integer, LargeBinary, String, Table, Text, UniqueConstraint, text

from core.address import MAX_CHAT, Address
from core.db import Id, Moment, metadata

MAX_EVENT_ID = 64
MAX_EVENT_BYTES = 1024 * 1024
"""One stored event at most; Telegram's largest updates are some tens of kilobytes."""


class State(StrEnum):
    """Of an outbox row."""

    WAITING = "waiting"  # not sent yet; keeps the later ones of its chat behind it
    LIVE = "live"  # sent, and to be edited when due
    DONE = "done"
    DROPPED = "dropped"  # undeliverable; `problem` says why


inbox = Table(
    "inbox",
    metadata,
    Column("id", Id, primary_key=True),
    Column("platform", String(16), nullable=False),
    Column("event_id", String(MAX_EVENT_ID), nullable=False),
    Column("chat", String(MAX_CHAT), nullable=False),
    Column("body", LargeBinary),  # veiled; gone once handled
    Column("received_at", Moment, nullable=False),
    Column("leased_until", Moment, nullable=False, server_default="0"),
    Column("handled_at", Moment),
    UniqueConstraint("platform", "event_id"),
    Index("ix_inbox_waiting", "platform", "id", postgresql_where=text("handled_at IS NULL"), sqlite_where=text("handled_at IS NULL")),
    Index("ix_inbox_handled_at", "handled_at"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Id, primary_key=True),
    Column("key", String(128), nullable=False, unique=True),  # the same notice is written once
    Column("platform", String(16), nullable=False),
    Column("chat", String(MAX_CHAT), nullable=False),
    Column("kind", String(32), nullable=False),  # says how bots/chat/notices.py words it
    Column("subject", String(64)),  # "generation:42"
    Column("body", Text, nullable=False),  # JSON facts
    Column("state", String(16), nullable=False),
    Column("due_at", Moment, nullable=False),
    Column("leased_until", Moment, nullable=False, server_default="0"),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("message", String(64)),  # the platform's id, once sent
    Column("problem", String(200)),
    Column("created_at", Moment, nullable=False),
    Index(
        "ix_outbox_waiting", "platform", "chat", "id", postgresql_where=text("state = 'waiting'"), sqlite_where=text("state = 'waiting'")
    ),
    Index("ix_outbox_live", "platform", "due_at", postgresql_where=text("state = 'live'"), sqlite_where=text("state = 'live'")),
    Index("ix_outbox_subject", "subject"),
    Index("ix_outbox_created_at", "created_at"),
)


@dataclass(frozen=True, slots=True)
class Received:
    """A stored event that nobody has handled yet."""

    event_id: str
    chat: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Notice:
    """One row to be written. `key` makes it unique: the same notice again is not said twice.

    `leased_until` keeps delivery away while the writer sends it itself (microseconds).
    """

    key: str
    address: Address
    kind: str
    body: dict[str, Any]
    subject: str | None = None
    leased_until: int = 0


@dataclass(frozen=True, slots=True)
class Sent:
    """A row that was sent or edited: the platform's id of the message, if it has one. With `next_edit` (microseconds) it stays live and is
    due then. `clears`: with it the live message about this subject in this chat has done its work."""

    row_id: int
    message: str | None
    next_edit: int | None = None
    clears: tuple[Address, str] | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """An outbox row that is due, leased to its taker."""

    id: int
    address: Address
    kind: str
    subject: str | None
    body: dict[str, Any]
    live: bool
    tries: int
    message: str | None
    created_at: int
    key: str
