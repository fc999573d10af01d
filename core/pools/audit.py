"""Proves what people promised to pools against the ledger, from rows alone."""

from sqlalchemy.ext.asyncio import AsyncConnection

from core.ledger.audit import Finding, run_check

CHECKS: dict[str, str] = {
    "sponsors added what their pledges count": r"""SELECT counted.community_id FROM
        (SELECT community_id, SUM(matched) AS amount FROM pledges GROUP BY community_id) AS counted
        LEFT JOIN (SELECT pooled.account, SUM(-parts.amount) AS amount FROM entries
            JOIN legs AS pooled ON pooled.entry_id = entries.id AND pooled.position = 1
            JOIN legs AS parts ON parts.entry_id = entries.id AND parts.position > 1
            WHERE entries.kind = 'contribute' GROUP BY pooled.account) AS added
        ON added.account = 'pool\:' || counted.community_id WHERE counted.amount <> COALESCE(added.amount, 0) LIMIT 20""",
    "refills gave what they count": r"""SELECT counted.community_id FROM
        (SELECT community_id, SUM(given) AS amount FROM refills GROUP BY community_id) AS counted
        LEFT JOIN (SELECT legs.account, SUM(legs.amount) AS amount FROM entries JOIN legs ON legs.entry_id = entries.id AND legs.amount > 0
            WHERE entries.kind = 'allowance' GROUP BY legs.account) AS added
        ON added.account = 'pool\:' || counted.community_id WHERE counted.amount <> COALESCE(added.amount, 0) LIMIT 20""",
}


async def audit_pools(connection: AsyncConnection) -> list[Finding]:
    """Runs every check. `connection` must be one snapshot."""
    return [await run_check(connection, name, query) for name, query in CHECKS.items()]
