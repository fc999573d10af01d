"""The hash chain: entries are sealed in batches, seconds after they were written, off the hot path.

Each seal's hash covers the one before it and the whole content of its entries, so a changed, removed or inserted entry breaks every later
seal. The same step carries the floor-less accounts' rows forward, whose legs nobody else sums up.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import delete, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db import Rows, one_of, run_rows
from core.ledger.models import accounts, entries, is_guarded, legs, seals, unsealed

BATCH = 500
GENESIS = "0" * 64
_CHAIN_LOCK = 7_001

_CARRY = Rows("carried", address="text", amount="bigint")
_CARRY_FORWARD = """
INSERT INTO accounts (address, guarded, balance) SELECT address, false, amount FROM {carried} WHERE true ORDER BY address
ON CONFLICT (address) DO UPDATE SET balance = accounts.balance + excluded.balance"""
_UNQUEUE = delete(unsealed).where(one_of(unsealed.c.entry_id, "ids"))
_LEGS = select(legs).where(one_of(legs.c.entry_id, "ids")).order_by(legs.c.entry_id, legs.c.position)
_ENTRIES = select(entries).where(one_of(entries.c.id, "ids"))


async def seal(connection: AsyncConnection, now: int) -> int:
    """Seals the next at most BATCH entries; returns how many. Call again until it returns less than BATCH. `now` in microseconds."""
    if connection.dialect.name == "postgresql":
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _CHAIN_LOCK})
    ids = list(await connection.scalars(select(unsealed.c.entry_id).order_by(unsealed.c.entry_id).limit(BATCH)))
    if not ids:
        return 0
    previous = await connection.scalar(select(seals.c.hash).order_by(seals.c.id.desc()).limit(1)) or GENESIS
    content = await read_content(connection, ids)
    carried: dict[str, int] = {}
    for entry in content:
        for _, account, amount, _ in entry[4]:
            if not is_guarded(account):
                carried[account] = carried.get(account, 0) + amount
    digest = chain(previous, content)
    await connection.execute(insert(seals).values(at=now, entry_ids=json.dumps(ids), previous=previous, hash=digest))
    await connection.execute(_UNQUEUE, {"ids": ids})
    if carried:
        await run_rows(connection, _CARRY_FORWARD, {_CARRY: sorted(carried.items())})
    return len(ids)


async def read_content(connection: AsyncConnection, ids: Sequence[int]) -> list[tuple[Any, ...]]:
    """Entries with all their legs, in the order of `ids`: (id, key, kind, at, [(position, account, amount, balance after)])."""
    lines: dict[int, list[tuple[Any, ...]]] = {entry_id: [] for entry_id in ids}
    rows = await connection.execute(_LEGS, {"ids": ids})
    for entry_id, *line in rows:
        lines[entry_id].append(tuple(line))
    found = {row.id: row for row in await connection.execute(_ENTRIES, {"ids": ids})}
    return [(row.id, row.key, row.kind, row.at, lines[row.id]) for row in (found[i] for i in ids if i in found)]


def chain(previous: str, content: Iterable[tuple[Any, ...]]) -> str:
    """The hash of a seal: SHA-256 over the previous one and the canonical JSON of its entries."""
    body = json.dumps([previous, list(content)], separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(body.encode()).hexdigest()


async def floorless_balances(connection: AsyncConnection) -> dict[str, int]:
    """Floor-less accounts up to the last seal, seconds behind, in milli-credits."""
    rows = await connection.execute(select(accounts.c.address, accounts.c.balance).where(accounts.c.guarded.is_(False)).limit(1000))
    return {address: balance for address, balance in rows}
