"""Proves the ledger from its rows alone. Read-only; every figure comes from one snapshot of the database."""

import json
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from core.ledger.models import HELD_SQL
from core.ledger.seal import GENESIS, chain, read_content

# Each query returns breaches: rows that must not exist. The name is what is printed.
CHECKS: dict[str, str] = {
    "every entry sums to zero": "SELECT entry_id FROM legs GROUP BY entry_id HAVING SUM(amount) <> 0 LIMIT 20",
    "every entry has at least two legs": """SELECT entries.id FROM entries LEFT JOIN legs ON legs.entry_id = entries.id
        GROUP BY entries.id HAVING COUNT(legs.entry_id) < 2 LIMIT 20""",
    "no guarded account is below zero": "SELECT address FROM accounts WHERE guarded AND balance < 0 LIMIT 20",
    "every guarded account equals its legs": """SELECT accounts.address FROM accounts
        LEFT JOIN (SELECT account, SUM(amount) AS total FROM legs GROUP BY account) AS summed ON summed.account = accounts.address
        WHERE accounts.guarded AND accounts.balance <> COALESCE(summed.total, 0) LIMIT 20""",
    "every floor-less account equals its sealed legs": """SELECT accounts.address FROM accounts
        LEFT JOIN (SELECT account, SUM(amount) AS total FROM legs
            WHERE NOT EXISTS (SELECT 1 FROM unsealed WHERE unsealed.entry_id = legs.entry_id) GROUP BY account) AS summed
        ON summed.account = accounts.address
        WHERE NOT accounts.guarded AND accounts.balance <> COALESCE(summed.total, 0) LIMIT 20""",
    "every leg on a guarded account has its account": """SELECT legs.entry_id FROM legs
        LEFT JOIN accounts ON accounts.address = legs.account
        WHERE legs.balance_after IS NOT NULL AND accounts.address IS NULL LIMIT 20""",
    "every balance after is the running sum": """SELECT entry_id FROM (
        SELECT entry_id, balance_after, SUM(amount) OVER (PARTITION BY account ORDER BY entry_id, position) AS running FROM legs
        WHERE balance_after IS NOT NULL) AS checked WHERE balance_after <> running LIMIT 20""",
    "every held account equals its open holds": f"""SELECT accounts.address FROM accounts LEFT JOIN (
        SELECT {HELD_SQL} AS address,
        SUM(amount) AS total FROM holds WHERE closed_by IS NULL GROUP BY 1) AS open ON open.address = accounts.address
        WHERE accounts.address LIKE '%\\:held' AND accounts.balance <> COALESCE(open.total, 0) LIMIT 20""",
    "every hold has its entry, and its closing one": """SELECT holds.entry_id FROM holds
        LEFT JOIN entries AS opening ON opening.id = holds.entry_id AND opening.kind = 'hold'
        LEFT JOIN entries AS closing ON closing.id = holds.closed_by AND closing.kind IN ('capture', 'release', 'expire')
        WHERE opening.id IS NULL OR (holds.closed_by IS NOT NULL AND closing.id IS NULL) LIMIT 20""",
    "no entry closes two holds": "SELECT closed_by FROM holds WHERE closed_by IS NOT NULL GROUP BY closed_by HAVING COUNT(*) > 1 LIMIT 20",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was proved or not: `breaches` names at most 20 offending rows."""

    name: str
    breaches: tuple[str, ...] = ()


async def audit_ledger(connection: AsyncConnection) -> list[Finding]:
    """Runs every check of the ledger itself. `connection` must be one snapshot."""
    findings = [await run_check(connection, name, query) for name, query in CHECKS.items()]
    return [*findings, await _check_chain(connection)]


async def run_check(connection: AsyncConnection, name: str, query: str) -> Finding:
    """One query that returns the rows which must not exist."""
    return Finding(name, tuple(str(value) for value in await connection.scalars(text(query))))


async def figures(connection: AsyncConnection) -> dict[str, int]:
    """Counts and sums that an audit prints; amounts in milli-credits."""
    row = (
        await connection.execute(
            text("""SELECT (SELECT COUNT(*) FROM accounts), (SELECT COUNT(*) FROM entries), (SELECT COUNT(*) FROM legs),
            (SELECT COUNT(*) FROM unsealed), (SELECT COUNT(*) FROM seals), (SELECT COUNT(*) FROM holds WHERE closed_by IS NULL),
            (SELECT COALESCE(SUM(amount), 0) FROM legs),
            (SELECT COALESCE(SUM(balance), 0) FROM accounts WHERE guarded AND address NOT LIKE '%\\:debt'),
            (SELECT COALESCE(SUM(balance), 0) FROM accounts WHERE address LIKE '%\\:debt')""")
        )
    ).one()
    names = (
        "accounts",
        "entries",
        "legs",
        "unsealed entries",
        "seals",
        "open holds",
        "sum of all legs",
        "Credits owed to people",
        "Credits owed by people",
    )
    return {name: int(value) for name, value in zip(names, row, strict=True)}


async def _check_chain(connection: AsyncConnection) -> Finding:
    name = "the hash chain is whole"
    previous, seen = GENESIS, 0
    rows = await connection.execute(text("SELECT id, entry_ids, previous, hash FROM seals ORDER BY id"))
    for seal_id, entry_ids, claimed, digest in rows:
        ids = json.loads(entry_ids)
        content = await read_content(connection, ids)
        if claimed != previous or len(content) != len(ids) or chain(previous, content) != digest:
            return Finding(name, (f"seal {seal_id}",))
        previous, seen = digest, seen + len(ids)
    expected = await connection.scalar(text("SELECT (SELECT COUNT(*) FROM entries) - (SELECT COUNT(*) FROM unsealed)"))
    return Finding(name, () if expected == seen else (f"{expected} sealed entries, {seen} in the chain",))
