"""A caller who is cancelled in the middle of a transaction leaves nothing behind: no lock, no connection, no half of a change."""

import asyncio
import random

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db import Database

WRITERS, ROUNDS = 6, 60


async def _write(connection: AsyncConnection) -> None:
    for row in await connection.execute(text("SELECT address FROM accounts LIMIT 5")):
        assert row
    await connection.execute(text("UPDATE accounts SET balance = balance + 1 WHERE address = 'user:1:wallet'"))
    await connection.execute(text("UPDATE accounts SET balance = balance - 1 WHERE address = 'user:1:held'"))


async def test_nothing_stays_locked_and_nothing_is_half_done(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    async with database.begin() as connection:
        for address in ("user:1:wallet", "user:1:held"):
            add = text("INSERT INTO accounts (address, guarded, balance) VALUES (:address, true, 100000)")
            await connection.execute(add, {"address": address})
    chance = random.Random(7)
    for _ in range(ROUNDS):
        async with asyncio.TaskGroup() as group:
            writers = [group.create_task(database.run(_write)) for _ in range(WRITERS)]
            await asyncio.sleep(chance.random() * 0.004)
            for writer in writers[::2]:
                writer.cancel()
        async with asyncio.timeout(5), database.begin() as connection:
            total = await connection.execute(text("SELECT sum(balance) FROM accounts"))
            assert total.scalar_one() == 200_000
    await database.close()
