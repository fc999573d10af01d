"""An audit names what was tampered with, and a clean ledger names nothing."""

import json

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from core.db import Database
from core.ledger.models import FEES, Capture, Hold, Leg, Release, wallet
from tests.ledger.books import LATER, NOW, apply, broken, grant, seal_all

CHAIN = "the hash chain is whole"
SUM, RUNNING = "every entry sums to zero", "every balance after is the running sum"
ACCOUNT, HELD = "every guarded account equals its legs", "every held account equals its open holds"
FLOORLESS, LEGS = "every floor-less account equals its sealed legs", "every entry has at least two legs"
HOLD, TWICE = "every hold has its entry, and its closing one", "no entry closes two holds"
LEG_ACCOUNT = "every leg on a guarded account has its account"

ENTRY = "(SELECT id FROM entries WHERE key = 'c1')"


@pytest.fixture
async def books(database: Database) -> Database:
    """A sealed ledger with a grant, a capture, a release and an open hold."""
    await grant(database, 1, 10_000)
    holds = [Hold(f"h{i}", wallet(1), 1_000, LATER) for i in (1, 2, 3)]
    await apply(database, *holds, Capture("c1", "h1", (Leg("user:2:pending", 850), Leg(FEES, 150))), Release("r2", "h2"))
    await seal_all(database)
    assert not await broken(database)
    return database


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        (f"UPDATE legs SET amount = amount + 1 WHERE position = 1 AND entry_id = {ENTRY}", {CHAIN, SUM, RUNNING, ACCOUNT}),
        (f"UPDATE legs SET account = 'platform:insurance' WHERE position = 2 AND entry_id = {ENTRY}", {CHAIN, FLOORLESS}),
        (f"DELETE FROM legs WHERE position > 0 AND entry_id = {ENTRY}", {CHAIN, SUM, LEGS, ACCOUNT, FLOORLESS}),
        (f"UPDATE legs SET balance_after = balance_after + 1 WHERE position = 0 AND entry_id = {ENTRY}", {CHAIN, RUNNING}),
        ("UPDATE entries SET kind = 'gift' WHERE key = 'c1'", {CHAIN, HOLD}),
        ("UPDATE entries SET at = at + 1 WHERE key = 'r2'", {CHAIN}),
        ("UPDATE entries SET key = 'c9' WHERE key = 'c1'", {CHAIN}),
        ("UPDATE seals SET previous = 'a' WHERE id = 1", {CHAIN}),
        ("UPDATE accounts SET balance = balance + 5 WHERE address = 'user:1:wallet'", {ACCOUNT}),
        ("UPDATE accounts SET balance = balance + 5 WHERE address = 'user:1:held'", {ACCOUNT, HELD}),
        ("UPDATE accounts SET balance = balance + 5 WHERE address = 'platform:fees'", {FLOORLESS}),
        ("DELETE FROM accounts WHERE address = 'user:2:pending'", {LEG_ACCOUNT}),
        ("UPDATE holds SET closed_by = NULL WHERE key = 'h1'", {HELD}),
        ("UPDATE holds SET amount = amount + 1 WHERE key = 'h3'", {HELD}),
        (f"UPDATE holds SET closed_by = {ENTRY} WHERE key = 'h2'", {TWICE}),
    ],
)
async def test_tampering_is_named(books: Database, statement: str, named: set[str]) -> None:
    async with books.begin() as connection:
        assert (await connection.execute(text(statement))).rowcount >= 1
    assert set(await broken(books)) == named


async def test_an_entry_slipped_in_without_a_seal_is_named(books: Database) -> None:
    async with books.begin() as connection:
        await connection.execute(text(f"INSERT INTO entries (key, kind, content, at) VALUES ('x', 'grant', 'x', {NOW})"))
        for position, (account, amount) in enumerate((("platform:fees", -7), ("external:grants", 7))):
            await connection.execute(
                text(
                    "INSERT INTO legs (entry_id, position, account, amount) "
                    f"SELECT id, {position}, '{account}', {amount} FROM entries WHERE key = 'x'"
                )
            )
    assert set(await broken(books)) == {CHAIN, FLOORLESS}


async def test_a_seal_that_was_removed_breaks_the_chain(books: Database) -> None:
    await grant(books, 3, 500, "later")
    await seal_all(books)
    async with books.begin() as connection:
        ids = json.loads(await connection.scalar(text("SELECT entry_ids FROM seals ORDER BY id LIMIT 1")) or "[]")
        assert len(ids) == 6
        await connection.execute(text("DELETE FROM seals WHERE id = (SELECT MIN(id) FROM seals)"))
    assert CHAIN in await broken(books)


async def test_the_table_itself_refuses_a_guarded_balance_below_zero(books: Database) -> None:
    async with books.begin() as connection:
        with pytest.raises(IntegrityError):
            await connection.execute(text("UPDATE accounts SET balance = -1 WHERE address = 'user:1:wallet'"))
