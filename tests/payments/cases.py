"""A table of callbacks: each case is done to a payment of its own, and says whether Credits come of it, and why not."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

import demo
from core.payments.models import Payment, State
from tests import databases, services
from tests.payments.rails_stage import TELEGRAM_SECRET, Rails, rails

REFUSALS = ("callback_refused", "payment_mismatch", "payment_foreign", "an update was not handled")
SECRETS = (demo.STRIPE_KEY, demo.STRIPE_SECRET, TELEGRAM_SECRET)


@dataclass
class Try:
    """What a case works with: its payment, and what the rail says of it, which a case may change."""

    made: Rails
    payment: Payment
    told: dict[str, Any]


Act = Callable[[Try], Awaitable[Sequence[int]]]


@dataclass(frozen=True)
class Case:
    """`act` returns the statuses of its answers. `why`: what is logged, as "event" or "event:problem"; empty for what is no refusal.

    `credited`: whether the payment's Credits come, which they do once.
    """

    name: str
    act: Act
    credited: bool = False
    why: str = ""
    statuses: frozenset[int] = frozenset({200})


async def nothing() -> None:
    """What is left to be done where callbacks are applied at once."""


async def judge(made: Rails, payment: Payment, told: dict[str, Any], case: Case, drain: Callable[[], Awaitable[None]] = nothing) -> None:
    """Does a case, and what is left to be done after it, and compares."""
    before = await made.topups()
    with capture_logs() as logs:
        statuses = await case.act(Try(made, payment, told))
        await drain()
        while await made.desk._unapplied():
            pass
    assert set(statuses) == case.statuses
    now = await made.payment(payment.id)
    assert (now.state is State.PAID) is case.credited, now
    assert await made.topups() - before == (1 if case.credited else 0)
    assert await made.stage.balance(f"user:{payment.user_id}:wallet") == (payment.credits if case.credited else 0)
    _compare_logs(logs, case.why)


def _compare_logs(logs: Sequence[Any], why: str) -> None:
    """What was refused says so once with its reason, what was not says nothing; and no secret is told."""
    told = [line for line in logs if line["event"] in REFUSALS]
    reasons = {":".join([line["event"], *(line[name] for name in ("problem", "kind") if name in line)]) for line in told}
    assert reasons == ({why} if why else set())
    text = str(logs)
    assert not [secret for secret in SECRETS if secret in text]
    assert "BEGIN" not in text


@contextmanager
def a_database(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """A fresh migrated database of the engine that a module's fixture is at."""
    if request.param == "sqlite":
        file = folder / "table.sqlite3"
        file.write_bytes(Path(request.getfixturevalue("_sqlite_template")).read_bytes())
        yield f"sqlite+aiosqlite:///{file}"
    else:
        with databases.lent(services.postgres(), request.getfixturevalue("_postgres_template")) as url:
            yield url


@asynccontextmanager
async def a_table(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Rails]:
    """One market for a whole table; in the end the books of all cases together agree."""
    with a_database(request, folder) as url:
        async with rails(url, folder) as made:
            yield made
            await made.assert_sound()
