"""Doing one thing with the ledger in a transaction of its own, and proving the whole of it."""

from core.db import Database
from core.ledger.audit import Finding, audit_ledger
from core.ledger.models import GRANTS, Leg, Posting, Step, wallet
from core.ledger.rules import Answer
from core.ledger.seal import BATCH, seal
from core.ledger.service import Ledger

NOW = 1_790_000_000_000_000
LATER = NOW + 3_600_000_000


async def apply(database: Database, *steps: Step) -> list[Answer]:
    """One committed batch."""
    return await database.run(lambda connection: Ledger(connection, NOW).apply(steps))


async def grant(database: Database, user: int, amount: int, key: str = "grant") -> None:
    """Puts milli-credits into a wallet."""
    await apply(database, Posting(f"{key}:{user}", "grant", (Leg(GRANTS, -amount), Leg(wallet(user), amount))))


async def balance(database: Database, account: str) -> int:
    """Milli-credits on an account."""
    async with database.read() as connection:
        return (await Ledger(connection, NOW).balances([account]))[account]


async def seal_all(database: Database) -> None:
    """Seals until nothing is left."""
    while await database.run(lambda connection: seal(connection, NOW)) == BATCH:
        pass


async def broken(database: Database) -> dict[str, tuple[str, ...]]:
    """The breaches that an audit names, by check."""
    async with database.snapshot() as connection:
        findings: list[Finding] = await audit_ledger(connection)
    return {each.name: each.breaches for each in findings if each.breaches}
