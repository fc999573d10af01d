"""Rows and records of the ledger.

An account is an address. Guarded accounts (`user:…`, `pool:…`) keep their balance in their row and never go below zero. Floor-less accounts
(`platform:…`, `external:…`) are only ever appended to: their row is touched by the sealer alone, so that no row is hot.
"""

from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, ForeignKey, Index, Integer, String, Table, Text, text

from core.db import Id, Moment, metadata

MAX_ADDRESS = 64
MAX_KEY = 128
MAX_LEGS = 16

FEES = "platform:fees"
INSURANCE = "platform:insurance"
GRANTS = "external:grants"
BAD_DEBT = "platform:bad-debt"
"""Credits that were charged back after they had been spent."""
DEBTORS = "platform:debtors"
"""The other side of every user's debt."""

accounts = Table(
    "accounts",
    metadata,
    Column("address", String(MAX_ADDRESS), primary_key=True),
    Column("guarded", Boolean, nullable=False),
    # Of a guarded account: now. Of a floor-less one: up to the last seal.
    Column("balance", BigInteger, nullable=False, server_default="0"),
    CheckConstraint("NOT guarded OR balance >= 0", name="floor"),
)

entries = Table(
    "entries",
    metadata,
    Column("id", Id, primary_key=True),
    Column("key", String(MAX_KEY), nullable=False, unique=True),
    Column("kind", String(32), nullable=False),
    Column("content", String(64), nullable=False),
    Column("at", Moment, nullable=False),
)

legs = Table(
    "legs",
    metadata,
    Column("entry_id", Id, ForeignKey("entries.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("account", String(MAX_ADDRESS), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("balance_after", BigInteger),
    Index("ix_legs_account_entry_id", "account", "entry_id"),
)

holds = Table(
    "holds",
    metadata,
    Column("entry_id", Id, ForeignKey("entries.id"), primary_key=True),
    Column("key", String(MAX_KEY), nullable=False, unique=True),
    Column("payer", String(MAX_ADDRESS), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("closed_by", Id, ForeignKey("entries.id")),
    Index("ix_holds_open", "expires_at", postgresql_where=text("closed_by IS NULL"), sqlite_where=text("closed_by IS NULL")),
)

unsealed = Table("unsealed", metadata, Column("entry_id", Id, ForeignKey("entries.id"), primary_key=True, autoincrement=False))
"""Entries that the sealer has not reached yet. A row appears with its entry's commit: none is passed over, whatever their order."""

seals = Table(
    "seals",
    metadata,
    Column("id", Id, primary_key=True),
    Column("at", Moment, nullable=False),
    Column("entry_ids", Text, nullable=False),  # JSON list, in the order hashed
    Column("previous", String(64), nullable=False, unique=True),  # unique: the chain cannot fork
    Column("hash", String(64), nullable=False),
)


class Leg(NamedTuple):
    """One signed line: `amount` milli-credits onto (+) or off (-) the account."""

    account: str
    amount: int


@dataclass(frozen=True, slots=True)
class Posting:
    """A balanced movement: the legs sum to zero. `key` is its business key: the same key again changes nothing."""

    key: str
    kind: str
    legs: tuple[Leg, ...]


@dataclass(frozen=True, slots=True)
class Hold:
    """Reserves `amount` of the payer's account until captured, released or expired. `expires_at` in microseconds since 1970."""

    key: str
    payer: str
    amount: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class Capture:
    """Takes a hold: each share goes to its account, what is left over returns to the payer."""

    key: str
    hold: str
    shares: tuple[Leg, ...]


@dataclass(frozen=True, slots=True)
class Release:
    """Gives a hold back whole. `kind` is "release", or "expire" when its time ran out."""

    key: str
    hold: str
    kind: str = "release"


Step = Posting | Hold | Capture | Release


@dataclass(frozen=True, slots=True)
class HoldRow:
    """An existing hold. `closed` when it was captured, released or expired."""

    key: str
    payer: str
    amount: int
    closed: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """What was recorded. `replayed` when it had been recorded before, by an earlier call with the same key and content."""

    key: str
    replayed: bool = False


def is_guarded(address: str) -> bool:
    """Whether an account may never go below zero."""
    return not address.startswith(("platform:", "external:"))


def held_account(payer: str) -> str:
    """Where a payer's reserved Credits wait: `user:7:wallet` -> `user:7:held`, `pool:3` -> `pool:3:held`."""
    return f"{payer.removesuffix(':wallet')}:held"


HELD_SQL = r"CASE WHEN payer LIKE '%\:wallet' THEN SUBSTR(payer, 1, LENGTH(payer) - 7) ELSE payer END || '\:held'"
"""`held_account(payer)` as the databases say it; the colons are escaped, as they would name parameters."""


def wallet(user_id: int) -> str:
    """A user's spendable account."""
    return f"user:{user_id}:wallet"


def pending(user_id: int) -> str:
    """A user's earnings that wait for their release time."""
    return f"user:{user_id}:pending"


def earnings(user_id: int) -> str:
    """A user's released earnings."""
    return f"user:{user_id}:earnings"


def debt(user_id: int) -> str:
    """What a user owes: Credits that were charged back after they had been spent. It blocks spending until it is paid."""
    return f"user:{user_id}:debt"
