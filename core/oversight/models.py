"""What admins see: a user as a whole, and the market's figures."""

from dataclasses import dataclass

from core.generations.models import Generation
from core.payments.models import Payment
from core.users.models import User


@dataclass(frozen=True, slots=True)
class Dossier:
    """One user. `balances` in milli-credits by name: wallet, held, pending, earnings, debt."""

    user: User
    identities: list[tuple[str, str]]
    balances: dict[str, int]
    made: list[Generation]
    paid: list[Payment]
    lent: int
    acts: list[str]


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
