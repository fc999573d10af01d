"""How a user comes in without a chat: passwords, sessions, API tokens, and the codes that are mailed. No secret is stored in clear."""

from dataclasses import dataclass, field
from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Integer, String, Table

from core.address import MAX_CHAT
from core.db import Id, Moment, metadata
from core.users.models import User

MAX_ADDRESS = MAX_CHAT
"""Characters of an e-mail address: it is a chat that mails are written to."""
MIN_PASSWORD, MAX_PASSWORD = 10, 128
MAX_TOKEN_NAME = 40


class Scope(StrEnum):
    """What an API token may do. A signed-in session may do all of it; "admin" counts for admins alone."""

    WALLET_READ = "wallet:read"
    WALLET_TOPUP = "wallet:topup"
    GENERATE = "generate"
    GENERATIONS_READ = "generations:read"
    RESOURCES = "resources"
    PRESETS = "presets"
    DISPUTES = "disputes"
    ADMIN = "admin"


class Purpose(StrEnum):
    """What a code is good for. Those to join are shown instead of mailed; their address is the user's."""

    VERIFY = "verify"
    RESET = "reset"
    JOIN = "join"
    POOL = "pool"


passwords = Table(
    "passwords",
    metadata,
    Column("user_id", Id, ForeignKey("users.id"), primary_key=True, autoincrement=False),
    Column("hash", String(255), nullable=False),  # argon2id, with its parameters and salt
    Column("changed_at", Moment, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("user_id", Id, ForeignKey("users.id"), nullable=False),
    Column("serial", Integer, nullable=False, server_default="0"),  # of the one refresh token that is good now
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("ended_at", Moment),
    Index("ix_sessions_user_id", "user_id"),
    Index("ix_sessions_expires_at", "expires_at"),
)

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("id", Id, primary_key=True),
    Column("user_id", Id, ForeignKey("users.id"), nullable=False),
    Column("name", String(MAX_TOKEN_NAME), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),  # SHA-256: the token has 190 random bits, so no salt is needed
    Column("hint", String(16), nullable=False),  # its first characters, to tell it from others
    Column("scopes", String(200), nullable=False),  # words between spaces
    Column("community_id", Id),  # whose pool pays for all that it orders; NULL: it is bound to none
    Column("cap", BigInteger),  # milli-credits that it may spend in all; NULL: no cap of its own
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment),
    Column("revoked_at", Moment),
    Column("last_used_at", Moment),  # to the minute
    CheckConstraint("cap IS NULL OR cap >= 0", name="cap"),
    Index("ix_api_tokens_user_id", "user_id"),
)

mailed_codes = Table(
    "mailed_codes",
    metadata,
    Column("hash", String(64), primary_key=True),  # SHA-256 of the code
    Column("purpose", String(16), nullable=False),
    Column("address", String(MAX_ADDRESS), nullable=False),
    Column("name", String(64)),  # of whoever registers
    Column("locale", String(8)),
    Column("password", String(255)),  # argon2id hash of the password that was chosen with the registration
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Index("ix_mailed_codes_address", "address", "purpose"),
    Index("ix_mailed_codes_expires_at", "expires_at"),
)


@dataclass(frozen=True, slots=True)
class ApiToken:
    """An API token as its user sees it later: without the token. Times in microseconds, `cap` and `spent` in milli-credits.

    `community_id`: the community to whose pool it is bound.
    """

    id: int
    name: str
    hint: str
    scopes: frozenset[Scope]
    community_id: int | None
    cap: int | None
    spent: int
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None


@dataclass(frozen=True, slots=True)
class Entrance:
    """Who came in, and by what: a session (`session_id`) or an API token (`token_id`) with its scopes.

    `unmarked`: that token's use is to be noted. `community_id`: whose pool pays for all that the token orders.
    """

    user: User
    scopes: frozenset[Scope]
    session_id: int | None = None
    token_id: int | None = None
    unmarked: bool = False
    community_id: int | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A registration that waits for its mailed code. `password` is a hash already."""

    address: str
    name: str
    locale: str
    password: str = field(repr=False)
