"""What miners lend: a provider key in escrow, with limits, price and health."""

from dataclasses import dataclass, field
from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, Column, Float, ForeignKey, Index, Integer, String, Table, Text, text

from core.db import Id, Moment, metadata

MAX_LABEL = 40


class State(StrEnum):
    """Of a resource's life. Only a `listed` one gets work."""

    DRAFT = "draft"  # the rule is attested; the key has not been handed over
    PROBING = "probing"  # the key is sealed; the worker is trying it
    READY = "ready"  # the key works; price and limits are to be set
    LISTED = "listed"
    PAUSED = "paused"
    WITHDRAWN = "withdrawn"  # for good; the key is wiped
    REVOKED = "revoked"  # panic: the key was wiped at once, whatever ran


class Scope(StrEnum):
    """Whose generations a resource serves; each widens the one before."""

    OWN = "own"
    COMMUNITY = "community"
    MARKET = "market"


class HealthState(StrEnum):
    """What the scheduler may do with a listed resource."""

    HEALTHY = "healthy"
    COOLING = "cooling"  # until a time
    SUSPECT = "suspect"  # one call at a time, to prove itself
    OUT = "out"  # until a probe succeeds


class Stop(StrEnum):
    """Why a resource may not be listed, whatever its owner wants."""

    NO = ""
    ADMIN = "admin"  # until an admin lifts it
    LEAK = "leak"  # its balance fell faster than by our use; until another key is handed over


resources = Table(
    "resources",
    metadata,
    Column("id", Id, primary_key=True),
    Column("owner_id", Id, ForeignKey("users.id"), nullable=False),
    Column("community_id", Id),
    Column("provider", String(32), nullable=False),
    Column("label", String(MAX_LABEL), nullable=False, server_default=""),
    Column("state", String(16), nullable=False),
    Column("stopped", String(8), nullable=False, server_default=""),
    Column("scope", String(16), nullable=False, server_default="market"),
    Column("attested_rule", String(32), nullable=False),  # version of the provider's terms that was shown
    Column("attested_locale", String(8), nullable=False),
    Column("attested_at", Moment, nullable=False),
    Column("key_version", Integer, nullable=False, server_default="0"),
    Column("models", Text),  # JSON list of provider model ids; NULL: whatever the catalog says
    # price and limits, set by the miner
    Column("price_percent", Integer, nullable=False, server_default="100"),
    Column("max_concurrency", Integer, nullable=False, server_default="1"),
    Column("per_minute", Integer, nullable=False, server_default="10"),
    Column("day_limit", BigInteger, nullable=False, server_default="0"),  # milli-credits
    Column("month_limit", BigInteger, nullable=False, server_default="0"),
    Column("opens_at", Integer, nullable=False, server_default="0"),  # minutes of the miner's day; equal to closes_at: always open
    Column("closes_at", Integer, nullable=False, server_default="0"),
    Column("utc_offset", Integer, nullable=False, server_default="0"),  # minutes
    Column("strike_limit", Integer, nullable=False, server_default="20"),
    # what is used of them
    Column("in_flight", Integer, nullable=False, server_default="0"),
    Column("day", Integer, nullable=False, server_default="0"),  # days since 1970, UTC
    Column("day_used", BigInteger, nullable=False, server_default="0"),
    Column("month", Integer, nullable=False, server_default="0"),  # months since 1970, UTC
    Column("month_used", BigInteger, nullable=False, server_default="0"),
    # health, as core/resources/rules.py judges it
    Column("health", String(16), nullable=False, server_default="healthy"),
    Column("fault", String(16)),
    Column("cool_until", Moment, nullable=False, server_default="0"),
    Column("back_off", Float, nullable=False, server_default="0"),  # seconds
    Column("successes", Float, nullable=False, server_default="0"),
    Column("failures", Float, nullable=False, server_default="0"),
    Column("counted_at", Moment, nullable=False, server_default="0"),
    Column("latency", Float, nullable=False, server_default="0"),  # seconds
    Column("latency_deviation", Float, nullable=False, server_default="0"),
    Column("delivered", Integer, nullable=False, server_default="0"),
    Column("recent", Text, nullable=False, server_default="[]"),  # JSON [[at, good], …]
    Column("strikes", Text, nullable=False, server_default="[]"),  # JSON list of when the provider refused a prompt, seconds
    Column("last_chosen_at", Moment, nullable=False, server_default="0"),
    Column("standing", Text, nullable=False, server_default="[]"),  # JSON [[day, delivered, disputes lost], …]
    Column("lost", Float, nullable=False, server_default="0"),  # what standing was before; dropped in a later release
    Column("lost_at", Moment, nullable=False, server_default="0"),
    Column("probe_at", Moment, nullable=False, server_default="0"),  # when the worker next looks at it
    Column("balance", BigInteger),  # micro-dollars that the provider says are left
    Column("synced_at", Moment),
    Column("agreed_balance", BigInteger),  # where balance and our own use last agreed; NULL: the next sync says
    Column("agreed_at", Moment),
    Column("created_at", Moment, nullable=False),
    CheckConstraint("in_flight >= 0 AND in_flight <= max_concurrency", name="concurrency"),
    CheckConstraint("day_used >= 0 AND day_used <= day_limit", name="day"),
    CheckConstraint("month_used >= 0 AND month_used <= month_limit", name="month"),
    Index("ix_resources_owner_id", "owner_id"),
    Index("ix_resources_listed", "id", postgresql_where=text("state = 'listed'"), sqlite_where=text("state = 'listed'")),
    Index("ix_resources_probe_at", "probe_at"),
)

handovers = Table(
    "handovers",
    metadata,
    Column("token_hash", String(64), primary_key=True),  # SHA-256; the token itself is in the link alone
    Column("resource_id", Id, ForeignKey("resources.id"), nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("used_at", Moment),
    Index("ix_handovers_resource_id", "resource_id"),
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a miner allows. Credits in milli-credits; hours in minutes of the miner's day, which is `utc_offset` minutes ahead of UTC.

    `strike_limit`: how many prompts its provider may refuse within a day, before it rests.
    """

    price_percent: int = 100
    max_concurrency: int = 2
    per_minute: int = 20
    day_limit: int = 1_000_000
    month_limit: int = 20_000_000
    opens_at: int = 0
    closes_at: int = 0
    utc_offset: int = 0
    strike_limit: int = 20


@dataclass(frozen=True, slots=True)
class Health:
    """What is known of a resource from its calls. Times in seconds since 1970, durations in seconds; counts decay with time."""

    state: HealthState = HealthState.HEALTHY
    fault: str | None = None
    cool_until: float = 0.0
    back_off: float = 0.0
    successes: float = 0.0
    failures: float = 0.0
    counted_at: float = 0.0
    latency: float = 0.0
    latency_deviation: float = 0.0
    delivered: int = 0
    recent: tuple[tuple[float, bool], ...] = ()
    strikes: tuple[float, ...] = ()
    days: tuple[tuple[int, int, int], ...] = ()  # days since 1970 (UTC), each with its pictures and the disputes that were lost on it


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource as its owner and the scheduler see it; never its key. `strikes`: refused prompts that count now."""

    id: int
    owner_id: int
    community_id: int | None
    provider: str
    label: str
    state: State
    scope: Scope
    key_version: int
    models: frozenset[str] | None
    limits: Limits
    health: Health
    in_flight: int
    day_left: int
    month_left: int
    last_chosen_at: float
    balance: int | None = field(default=None)
    synced_at: float | None = None
    stopped: Stop = Stop.NO
    lost: int = 0  # disputes lost within STANDING_DAYS …
    made: int = 0  # … and pictures delivered within them
    strikes: int = 0
    agreed: tuple[int, int] | None = None  # micro-dollars and the moment (microseconds) that what is gone is counted from

    @property
    def subject(self) -> str:
        """Its name in the vault and in messages about it."""
        return f"resource:{self.id}"
