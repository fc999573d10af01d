"""Communities: groups and servers that share one pool of Credits, on any platform. The Credits are on the guarded account `pool:N`."""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, ForeignKey, Index, String, Table, false

from core.address import MAX_CHAT
from core.db import Id, Moment, metadata

MAX_NAME = 64


class Spenders(StrEnum):
    """Who may spend of a pool."""

    ALL = "all"
    ADMINS = "admins"  # who administers the group or server of the wish, as its platform says
    LIST = "list"  # the members that its admins let


communities = Table(
    "communities",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(MAX_NAME), nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("request_cap", BigInteger),  # milli-credits; NULL: no cap of its own
    Column("member_cap", BigInteger),  # of one member and day (UTC)
    Column("day_cap", BigInteger),  # of all together in a day
    Column("models", String(400), nullable=False, server_default=""),  # words between spaces; empty: all on sale
    Column("strict", Boolean, nullable=False, server_default=false()),  # further topics are not drawn, and pictures are veiled
    Column("quiet", String(5), nullable=False, server_default=""),  # "22-7": the pool pays nothing from 22 to 7 o'clock, UTC
    Column("spenders", String(8), nullable=False, server_default=Spenders.ALL.value),
    Column("prompts_since", Moment),  # NULL: members see no prompts of each other
    Column("created_at", Moment, nullable=False),
    CheckConstraint("COALESCE(request_cap, 0) >= 0 AND COALESCE(member_cap, 0) >= 0 AND COALESCE(day_cap, 0) >= 0", name="caps"),
)

community_chats = Table(
    "community_chats",
    metadata,
    Column("platform", String(16), primary_key=True),
    Column("place", String(MAX_CHAT), primary_key=True),  # the platform's id of the group or server
    Column("community_id", Id, ForeignKey("communities.id"), nullable=False),
    Column("added_at", Moment, nullable=False),
    Index("ix_community_chats_community_id", "community_id"),
)


community_spenders = Table(  # the members that may spend of a pool whose rule is the list
    "community_spenders",
    metadata,
    Column("community_id", Id, ForeignKey("communities.id"), primary_key=True, autoincrement=False),
    Column("user_id", Id, ForeignKey("users.id"), primary_key=True, autoincrement=False),
    Column("added_at", Moment, nullable=False),
    Index("ix_community_spenders_user_id", "user_id"),
)


@dataclass(frozen=True, slots=True)
class Policy:
    """A pool's rules. Caps in milli-credits, None where there is none; `models` empty: all; `quiet` (from, to) in hours UTC.

    `prompts_since` (microseconds): members see each other's prompts of what the pool paid since then; None: none.
    """

    enabled: bool = True
    request_cap: int | None = None
    member_cap: int | None = None
    day_cap: int | None = None
    models: frozenset[str] = frozenset()
    quiet: tuple[int, int] | None = None
    spenders: Spenders = Spenders.ALL
    prompts_since: int | None = None


@dataclass(frozen=True, slots=True)
class Community:
    """A community with its rules."""

    id: int
    name: str
    policy: Policy
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Use:
    """What was spent of a pool: by whom, when, on which model, how much. `prompt` None: it is the creator's own."""

    generation: int
    user: str
    model: str
    amount: int
    at: int
    prompt: str | None


def pool(community_id: int) -> str:
    """The account of a community's Credits."""
    return f"pool:{community_id}"


def pool_of(account: str) -> int | None:
    """The community whose account it is; None for an account of anybody else.

    >>> pool_of("pool:3"), pool_of("user:3:wallet")
    (3, None)
    """
    kind, _, number = account.partition(":")
    return int(number) if kind == "pool" else None
