"""Proves generations against the ledger and resources against their attempts, from rows alone."""

from sqlalchemy.ext.asyncio import AsyncConnection

from core.ledger.audit import Finding, run_check

CHECKS: dict[str, str] = {
    "every waiting or running generation has its open hold": r"""SELECT generations.id FROM generations
        LEFT JOIN holds ON holds.key = 'hold\:' || generations.key
        WHERE generations.state IN ('queued', 'running') AND (holds.entry_id IS NULL OR holds.closed_by IS NOT NULL
        OR holds.amount <> generations.held OR holds.payer <> generations.payer) LIMIT 20""",
    "every delivered generation was captured once, at its price": r"""SELECT generations.id FROM generations
        LEFT JOIN holds ON holds.key = 'hold\:' || generations.key LEFT JOIN entries ON entries.id = holds.closed_by
        LEFT JOIN (SELECT entry_id, SUM(amount) AS amount FROM legs WHERE position > 0 AND amount > 0 GROUP BY entry_id) AS given
        ON given.entry_id = entries.id
        WHERE generations.state IN ('delivered', 'disputed', 'refunded')
        AND (entries.kind IS NULL OR entries.kind <> 'capture' OR given.amount <> generations.held) LIMIT 20""",
    "every failed or cancelled generation was given back whole": r"""SELECT generations.id FROM generations
        LEFT JOIN holds ON holds.key = 'hold\:' || generations.key LEFT JOIN entries ON entries.id = holds.closed_by
        WHERE generations.state IN ('failed', 'cancelled')
        AND (entries.kind IS NULL OR entries.kind NOT IN ('release', 'expire') OR generations.paid <> 0) LIMIT 20""",
    "every delivered generation has its picture, and no other has one": """SELECT id FROM generations
        WHERE (blob IS NOT NULL) <> (state IN ('delivered', 'disputed', 'refunded')) LIMIT 20""",
    "every hold belongs to a generation": r"""SELECT holds.key FROM holds LEFT JOIN generations ON holds.key = 'hold\:' || generations.key
        WHERE holds.key LIKE 'hold\:%' AND generations.id IS NULL LIMIT 20""",
    "every running generation has one open attempt, every other none": """SELECT generations.id FROM generations
        LEFT JOIN (SELECT generation_id, COUNT(*) AS n FROM attempts WHERE finished_at IS NULL GROUP BY generation_id) AS running
        ON running.generation_id = generations.id
        WHERE COALESCE(running.n, 0) <> CASE WHEN generations.state = 'running' THEN 1 ELSE 0 END LIMIT 20""",
    "no generation was tried twice on one resource": """SELECT generation_id FROM attempts
        GROUP BY generation_id, resource_id HAVING COUNT(*) > 1 LIMIT 20""",
    "every resource has as many calls in flight as open attempts": """SELECT resources.id FROM resources
        LEFT JOIN (SELECT resource_id, COUNT(*) AS n FROM attempts WHERE finished_at IS NULL GROUP BY resource_id) AS running
        ON running.resource_id = resources.id WHERE resources.in_flight <> COALESCE(running.n, 0) LIMIT 20""",
    "no resource is beyond its limits": """SELECT id FROM resources
        WHERE in_flight > max_concurrency OR day_used > day_limit OR month_used > month_limit LIMIT 20""",
    "no key outlives its resource": r"""SELECT sealed_secrets.subject FROM sealed_secrets
        LEFT JOIN resources ON sealed_secrets.subject = 'resource\:' || resources.id
        WHERE resources.id IS NULL OR resources.state IN ('draft', 'withdrawn', 'revoked') LIMIT 20""",
}


async def audit_generations(connection: AsyncConnection) -> list[Finding]:
    """Runs every check. `connection` must be one snapshot."""
    return [await run_check(connection, name, query) for name, query in CHECKS.items()]
