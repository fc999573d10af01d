"""What admins see: a user as a whole, and the market's figures."""

from dataclasses import dataclass

from sqlalchemy import Column, Integer, String, Table

from core.db import Moment, metadata
from core.generations.models import Generation
from core.payments.models import Payment
from core.resources.models import Resource
from core.users.models import User

incidents = Table(  # what is wrong now, and was said to the admins
    "incidents",
    metadata,
    Column("key", String(64), primary_key=True),  # "rail:stripe", "provider:openai", "audit"
    Column("since", Moment, nullable=False),
    Column("said_at", Moment, nullable=False),
)

failures = Table(  # what failed since it last answered, of all processes together
    "failures",
    metadata,
    Column("key", String(64), primary_key=True),  # "rail:stripe"
    Column("count", Integer, nullable=False),
)

rounds = Table(  # what one worker of all does every so often
    "rounds",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("due_at", Moment, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Dossier:
    """One user. `balances` in milli-credits by name: wallet, held, pending, earnings, debt. `strikes`: refused prompts that count now."""

    user: User
    identities: list[tuple[str, str]]
    balances: dict[str, int]
    made: list[Generation]
    paid: list[Payment]
    lent: int
    acts: list[str]
    strikes: int


@dataclass(frozen=True, slots=True)
class Try:
    """One call on a resource. `outcome` None while it runs; `reasons` are the scheduler's words for choosing it."""

    generation: int
    outcome: str | None
    fault: str | None
    seconds: float | None
    reasons: list[str]


@dataclass(frozen=True, slots=True)
class File:
    """One resource as admins see it; never its key."""

    resource: Resource
    owner: User
    tries: list[Try]
    acts: list[str]


@dataclass(frozen=True, slots=True)
class Closing:
    """Maintenance: since when (microseconds; None: it is off) and why, and what still waits and runs."""

    since: int | None
    reason: str
    waiting: int
    running: int


@dataclass(frozen=True, slots=True)
class Bar:
    """One stretch of time: how many generations ended well, and not."""

    delivered: int
    failed: int


@dataclass(frozen=True, slots=True)
class Figures:
    """A stretch of the market. Amounts in milli-credits; seconds from order to picture, None where nothing was delivered."""

    delivered: int
    failed: int
    waiting: int
    p50: float | None
    p95: float | None
    sold: int
    held: int
    owed: int
    commission: int
    bars: list[Bar]
