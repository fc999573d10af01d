"""Generations (one request each) and attempts (one try each on one resource)."""

from dataclasses import dataclass, field
from enum import StrEnum

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, ForeignKey, Index, Integer, String, Table, Text, false, text, true

from core.acts.models import MAX_REASON
from core.address import MAX_CHAT, Address
from core.db import Id, Moment, metadata
from core.moderation import ALONE, Audience
from core.vault.models import Sealed

MAX_KEY = 100


class State(StrEnum):
    """Of a generation: queued -> running -> delivered | failed | cancelled | disputed -> refunded (NEXT in core/generations/rules.py)."""

    QUEUED = "queued"
    RUNNING = "running"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DISPUTED = "disputed"
    REFUNDED = "refunded"


class OutcomeKind(StrEnum):
    """What came back from one attempt."""

    DELIVERED = "delivered"
    REJECTED = "rejected"
    FAILED_FREE = "failed_free"
    FAILED_COST = "failed_cost"
    UNKNOWN = "unknown"


generations = Table(
    "generations",
    metadata,
    Column("id", Id, primary_key=True),
    Column("key", String(MAX_KEY), nullable=False, unique=True),  # the chat event's or the caller's idempotency key
    Column("content", String(64), nullable=False),  # digest of what was asked: a replay must have the same
    Column("user_id", Id, ForeignKey("users.id"), nullable=False),
    Column("community_id", Id),
    Column("token_id", Id),  # the API token that asked, whose spending cap counts it
    Column("parent_id", Id, ForeignKey("generations.id")),
    Column("preset_id", Id),  # the version of a preset that it, or the picture it is a remix of, was made with
    Column("lane", String(16), nullable=False, server_default="normal"),
    Column("payer", String(64), nullable=False),
    Column("model", String(64), nullable=False),
    Column("operation", String(16), nullable=False),
    Column("prompt", Text, nullable=False),
    Column("parameters", Text, nullable=False),  # JSON
    Column("source_blob", String(128)),  # the picture to edit or to enlarge
    Column("held", BigInteger, nullable=False),  # milli-credits: the price that was shown, the most that is captured
    Column("state", String(16), nullable=False),
    Column("turn", BigInteger, nullable=False),  # place in the fair queue
    Column("due_at", Moment, nullable=False),
    Column("deadline", Moment, nullable=False),
    Column("fence", Integer, nullable=False, server_default="0"),  # counts attempts; only the newest may settle
    Column("tried", Text, nullable=False, server_default="[]"),  # JSON list of resource ids
    Column("created_at", Moment, nullable=False),
    Column("finished_at", Moment),
    Column("reason", String(32)),  # why it failed
    Column("paid", BigInteger, nullable=False, server_default="0"),
    Column("shares", Text),  # JSON [[account, amount], …] of the capture
    Column("release_at", Moment),  # when pending earnings become spendable; NULL: never, or done
    Column("blob", String(128)),
    Column("media_type", String(16)),
    Column("digest", String(64)),  # SHA-256 of the picture's bytes, by which copies are found
    Column("width", Integer),
    Column("height", Integer),
    Column("seed", BigInteger),
    Column("platform", String(16)),  # where the result is said; NULL: nowhere
    Column("chat", String(MAX_CHAT)),
    Column("strict", Boolean, nullable=False, server_default=false()),  # who sees it, as core/moderation.py has it
    Column("adult", Boolean, nullable=False, server_default=true()),
    Column("spoiler", Boolean, nullable=False, server_default=false()),
    CheckConstraint("paid >= 0 AND paid <= held", name="price"),
    Index("ix_generations_queue", "model", "turn", "id", postgresql_where=text("state = 'queued'"), sqlite_where=text("state = 'queued'")),
    Index(
        "ix_generations_active",
        "user_id",
        "state",
        "turn",
        postgresql_where=text("state IN ('queued', 'running')"),
        sqlite_where=text("state IN ('queued', 'running')"),
    ),
    Index("ix_generations_turn", "turn", postgresql_where=text("state = 'queued'"), sqlite_where=text("state = 'queued'")),
    Index("ix_generations_deadline", "deadline", postgresql_where=text("state = 'queued'"), sqlite_where=text("state = 'queued'")),
    Index("ix_generations_user_id", "user_id", "id"),
    Index(
        "ix_generations_community_id",
        "community_id",
        "created_at",
        postgresql_where=text("community_id IS NOT NULL"),
        sqlite_where=text("community_id IS NOT NULL"),
    ),
    Index("ix_generations_digest", "digest", postgresql_where=text("digest IS NOT NULL"), sqlite_where=text("digest IS NOT NULL")),
    Index("ix_generations_token_id", "token_id", postgresql_where=text("token_id IS NOT NULL"), sqlite_where=text("token_id IS NOT NULL")),
    Index(
        "ix_generations_release_at",
        "release_at",
        postgresql_where=text("release_at IS NOT NULL"),
        sqlite_where=text("release_at IS NOT NULL"),
    ),
)

attempts = Table(
    "attempts",
    metadata,
    Column("generation_id", Id, ForeignKey("generations.id"), primary_key=True),
    Column("fence", Integer, primary_key=True, autoincrement=False),
    Column("resource_id", Id, ForeignKey("resources.id"), nullable=False),
    Column("provider_model", String(64), nullable=False),
    Column("price", BigInteger, nullable=False),  # reserved of the resource's limits
    Column("reasons", Text, nullable=False),  # JSON list of the scheduler's words
    Column("started_at", Moment, nullable=False),
    Column("lease_until", Moment, nullable=False),
    Column("finished_at", Moment),
    Column("outcome", String(16)),
    Column("fault", String(16)),
    Column("cost", BigInteger),  # micro-dollars
    Column("reference", String(128)),
    Index("ix_attempts_started_at", "started_at", "resource_id"),
    Index("ix_attempts_resource_id", "resource_id", "started_at"),
    Index("ix_attempts_open", "lease_until", postgresql_where=text("finished_at IS NULL"), sqlite_where=text("finished_at IS NULL")),
)


maintenance = Table(  # while its one row is there, no new generation is taken
    "maintenance",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("since", Moment, nullable=False),
    Column("reason", String(MAX_REASON), nullable=False),
    CheckConstraint("id = 1", name="one"),
)


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a creator may choose besides prompt and model. `strength` 0–100 says how far an edit may move away from its source."""

    ratio: str = "1:1"
    seed: int | None = None
    negative: str = ""
    style: str | None = None
    quality: str | None = None
    strength: int | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for, checked against the catalog by `rules.check`. `model` None: the catalog's default for the operation.

    `spoiler`: the picture is veiled where it is sent.
    """

    prompt: str
    model: str | None = None
    operation: str = "generate"
    parameters: Parameters = Parameters()
    source_blob: str | None = None
    parent_id: int | None = None
    preset_id: int | None = None
    spoiler: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """A checked wish with its price: what `submit` takes. `key` makes it unique, whoever repeats it.

    `address`: where its progress and result are said (None: nowhere, the caller asks). `event` (platform, event id, chat) is marked as
    handled in the same transaction; whoever handles it says the first message itself. `token_id`: the API token, whose cap counts.
    `community_id`: the community whose pool pays, within its rules; None: the user pays. `audience`: who sees it.
    `by_member`, `by_admin`, `roles`, `channels`, `preset`: who asks, where and with which preset, as `core.pools.models.Asker` has it.
    `agreed`: as many of the community's members as are needed agree.
    `remote`: no platform says that the user is in the group or server at all.
    """

    key: str
    user_id: int
    wish: Wish
    price: int
    address: Address | None = None
    community_id: int | None = None
    by_admin: bool = False
    by_member: bool = True
    roles: tuple[str, ...] | None = None
    channels: tuple[str, ...] = ()
    preset: str | None = None
    agreed: bool = False
    remote: bool = False
    event: tuple[str, str, str] | None = None
    token_id: int | None = None
    audience: Audience = ALONE


@dataclass(frozen=True, slots=True)
class Generation:
    """A generation as its creator sees it. Amounts in milli-credits, times in microseconds."""

    id: int
    key: str
    user_id: int
    parent_id: int | None
    preset_id: int | None
    model: str
    operation: str
    prompt: str
    parameters: Parameters
    source_blob: str | None
    held: int
    paid: int
    state: State
    turn: int
    fence: int
    created_at: int
    deadline: int
    finished_at: int | None
    reason: str | None
    blob: str | None
    media_type: str | None
    width: int | None
    height: int | None
    seed: int | None
    payer: str
    address: Address | None
    audience: Audience
    spoiler: bool

    @property
    def subject(self) -> str:
        """Its name in messages about it."""
        return f"generation:{self.id}"


@dataclass(frozen=True, slots=True)
class Told:
    """What is said of a generation. `name` and `locale` of its creator; `author_id` of its preset, None: there is none, or it is the
    platform's. `place` in line while it waits, 1 being next; `since` (microseconds) when its attempt began while it runs."""

    generation: Generation
    name: str
    locale: str
    author_id: int | None
    place: int | None
    since: int | None


@dataclass(frozen=True, slots=True)
class Submitted:
    """The answer to an Order. `outbox` is the row of its notice, None when it was written by an earlier call."""

    generation: Generation
    replayed: bool
    outbox: int | None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to make one attempt on one resource until `lease_until` (microseconds), and all that the call needs."""

    generation: Generation
    fence: int
    resource_id: int
    owner_id: int
    provider: str
    provider_model: str
    price: int
    started_at: int
    lease_until: int
    sealed: Sealed | None = field(repr=False)  # None for a lease found lapsed: nobody will call


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of a lease. `blob` and the picture's facts only when delivered; `seconds` how long the call took; `spoiler`: veiled."""

    lease: Lease
    kind: OutcomeKind
    fault: str | None = None
    retry_after: float | None = None
    cost: int | None = None
    reference: str = ""
    seconds: float = 0.0
    blob: str | None = None
    media_type: str | None = None
    width: int | None = None
    height: int | None = None
    seed: int | None = None
    digest: str | None = None
    spoiler: bool = False
