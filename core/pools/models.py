"""Communities: groups and servers that share one pool of Credits, on any platform. The Credits are on the guarded account `pool:N`."""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, ForeignKey, Index, Integer, String, Table, Text, false, text

from core.address import MAX_CHAT, Address
from core.db import Id, Moment, metadata
from core.ledger.models import MAX_KEY

MAX_NAME = 64
MAX_NAMES = 400
"""Characters of the models, or of the presets, that a rule names."""
MAX_CHOSEN = 20
"""Roles, and channels, that a rule names at most."""

Named = tuple[str, str]
"""A platform's id of a role or channel, and how it was called when it was chosen."""


class Spenders(StrEnum):
    """Who may spend of a pool."""

    ALL = "all"
    ADMINS = "admins"  # who administers the group or server of the wish, as its platform says
    LIST = "list"  # the members that its admins let
    ROLES = "roles"  # who has one of the roles that its admins chose, as the platform says; some platforms have none


class BallotState(StrEnum):
    """Of a ballot: open -> agreed | refused | withdrawn | lapsed."""

    OPEN = "open"
    AGREED = "agreed"  # its wish has become a generation
    REFUSED = "refused"  # as many agreed as were needed, and then the rules, or what there was, did not allow it
    WITHDRAWN = "withdrawn"  # by who asked
    LAPSED = "lapsed"  # too few agreed in time


communities = Table(
    "communities",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(MAX_NAME), nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("request_cap", BigInteger),  # milli-credits; NULL: no cap of its own
    Column("member_cap", BigInteger),  # of one member and day (UTC)
    Column("day_cap", BigInteger),  # of all together in a day
    Column("models", String(MAX_NAMES), nullable=False, server_default=""),  # words between spaces; empty: all on sale
    Column("strict", Boolean, nullable=False, server_default=false()),  # further topics are not drawn, and pictures are veiled
    Column("quiet", String(5), nullable=False, server_default=""),  # "22-7": the pool pays nothing from 22 to 7 o'clock, UTC
    Column("spenders", String(8), nullable=False, server_default=Spenders.ALL.value),
    Column("prompts_since", Moment),  # NULL: members see no prompts of each other
    Column("roles", Text, nullable=False, server_default="[]"),  # JSON [[id, name], …]: who may spend, where that goes by roles
    Column("channels", Text, nullable=False, server_default="[]"),  # JSON [[platform:id, name], …]; empty: the pool pays everywhere
    Column("presets", String(MAX_NAMES), nullable=False, server_default=""),  # words between spaces; empty: with any, or with none
    Column("vote_above", BigInteger),  # milli-credits; what costs more needs `votes` members' agreement; NULL: nothing does
    Column("votes", Integer, nullable=False, server_default="0"),
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
    Column("gone_at", Moment),  # when the bot was removed from it, or it was deleted; NULL: the bot is there
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


ballots = Table(  # wishes that wait for members to agree, and what became of them
    "ballots",
    metadata,
    Column("id", Id, primary_key=True),
    Column("key", String(MAX_KEY), nullable=False, unique=True),  # the wish's, with which it is submitted
    Column("community_id", Id, ForeignKey("communities.id"), nullable=False),
    Column("user_id", Id, ForeignKey("users.id"), nullable=False),  # who asks
    Column("price", BigInteger, nullable=False),  # milli-credits
    Column("needed", Integer, nullable=False),  # as the rule was when it was asked
    Column("wish", Text, nullable=False),  # JSON while it is open; then a picture to delete, or empty
    Column("state", String(16), nullable=False),
    Column("why", String(32)),  # the code by which it was refused in the end
    Column("generation_id", Id),
    Column("platform", String(16), nullable=False),  # where it was said
    Column("chat", String(MAX_CHAT), nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Index("ix_ballots_user_id", "user_id"),
    Index("ix_ballots_open", "expires_at", postgresql_where=text("state = 'open'"), sqlite_where=text("state = 'open'")),
)

ballot_votes = Table(  # who agreed; a row is never changed
    "ballot_votes",
    metadata,
    Column("ballot_id", Id, ForeignKey("ballots.id"), primary_key=True, autoincrement=False),
    Column("user_id", Id, ForeignKey("users.id"), primary_key=True, autoincrement=False),
    Column("at", Moment, nullable=False),
    Column("rule", String(16), nullable=False),  # who might spend then, and so vote
    Index("ix_ballot_votes_user_id", "user_id"),
)


pledges = Table(  # who matches what others give, up to a limit
    "pledges",
    metadata,
    Column("id", Id, primary_key=True),
    Column("community_id", Id, ForeignKey("communities.id"), nullable=False),
    Column("user_id", Id, ForeignKey("users.id"), nullable=False),  # the sponsor
    Column("percent", Integer, nullable=False),
    Column("most", BigInteger, nullable=False),  # milli-credits in all
    Column("matched", BigInteger, nullable=False, server_default="0"),  # of them, so far
    Column("created_at", Moment, nullable=False),
    Column("ended_at", Moment),
    CheckConstraint("percent > 0 AND matched >= 0 AND matched <= most", name="limit"),
    Index("ix_pledges_community_id", "community_id"),
    Index("ix_pledges_user_id", "user_id"),
)


class Every(StrEnum):
    """How often a pool is refilled, by periods in UTC."""

    DAY = "day"
    WEEK = "week"  # from Monday on
    MONTH = "month"


refills = Table(  # who refills a pool from their wallet, once a period, up to a limit
    "refills",
    metadata,
    Column("id", Id, primary_key=True),
    Column("community_id", Id, ForeignKey("communities.id"), nullable=False),
    Column("user_id", Id, ForeignKey("users.id"), nullable=False),  # the giver
    Column("level", BigInteger, nullable=False),  # milli-credits that the pool has then
    Column("every", String(8), nullable=False),
    Column("most", BigInteger, nullable=False),  # in all
    Column("given", BigInteger, nullable=False, server_default="0"),  # of them, so far
    Column("due_at", Moment, nullable=False),
    Column("short_at", Moment),  # when the giver was told that their wallet does not suffice; NULL once it did again
    Column("created_at", Moment, nullable=False),
    Column("ended_at", Moment),
    CheckConstraint("level > 0 AND given >= 0 AND given <= most", name="limit"),
    Index("ix_refills_community_id", "community_id"),
    Index("ix_refills_user_id", "user_id"),
    Index("ix_refills_due", "due_at", postgresql_where=text("ended_at IS NULL"), sqlite_where=text("ended_at IS NULL")),
)


@dataclass(frozen=True, slots=True)
class Policy:
    """A pool's rules. Caps in milli-credits, None where there is none; `models` empty: all; `quiet` (from, to) in hours UTC.

    `prompts_since` (microseconds): members see each other's prompts of what the pool paid since then; None: none.
    `roles`: who has one of them may spend, where `spenders` says so. `channels` ("platform:id"; empty: everywhere): where the pool pays.
    `presets` (empty: any, or none): the only ones that it pays for.
    `vote_above`: what costs more needs the agreement of `votes` members beside who asks; None: nothing does.
    """

    enabled: bool = True
    request_cap: int | None = None
    member_cap: int | None = None
    day_cap: int | None = None
    models: frozenset[str] = frozenset()
    quiet: tuple[int, int] | None = None
    spenders: Spenders = Spenders.ALL
    prompts_since: int | None = None
    roles: tuple[Named, ...] = ()
    channels: tuple[Named, ...] = ()
    presets: frozenset[str] = frozenset()
    vote_above: int | None = None
    votes: int = 0


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks a pool to pay, where and for what, as the platform said when it mattered.

    `member`: they are in the group or server; `admin`: they administer it; `listed`: its admins let them spend. `roles`: the ids of theirs;
    None: the platform has none. `channels` ("platform:id"): where it was asked, and what that is a part of. `preset`: its name.
    """

    member: bool = True
    admin: bool = False
    listed: bool = False
    roles: tuple[str, ...] | None = None
    channels: tuple[str, ...] = ()
    preset: str | None = None


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


@dataclass(frozen=True, slots=True)
class Ballot:
    """A wish above a pool's amount. `price` in milli-credits, times in microseconds; `why`: the code of the refusal in the end."""

    id: int
    key: str
    community_id: int
    user_id: int
    price: int
    needed: int
    wish: str
    state: BallotState
    why: str | None
    generation_id: int | None
    address: Address
    expires_at: int

    @property
    def subject(self) -> str:
        """Its name in messages about it."""
        return f"ballot:{self.id}"


@dataclass(frozen=True, slots=True)
class Pledge:
    """A sponsor's word: `percent` of what others give, until `most` (milli-credits) is reached. `user_id`, `name`: the sponsor's now."""

    id: int
    community_id: int
    user_id: int
    name: str
    percent: int
    most: int
    matched: int

    @property
    def left(self) -> int:
        """Milli-credits that may still be matched."""
        return self.most - self.matched


@dataclass(frozen=True, slots=True)
class Refill:
    """A giver's word: the pool has `level` at the beginning of every period, until they gave `most`; milli-credits, microseconds."""

    id: int
    community_id: int
    user_id: int
    name: str
    level: int
    every: Every
    most: int
    given: int
    short_at: int | None

    @property
    def left(self) -> int:
        """Milli-credits that may still be given."""
        return self.most - self.given


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
