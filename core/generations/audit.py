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
        LEFT JOIN (SELECT holds.entry_id, SUM(legs.amount) AS amount, SUM(CASE WHEN legs.account = holds.payer THEN 0 ELSE legs.amount END)
        AS paid FROM holds JOIN legs ON legs.entry_id = holds.closed_by AND legs.position > 0 AND legs.amount > 0 GROUP BY holds.entry_id)
        AS given ON given.entry_id = holds.entry_id
        WHERE generations.state IN ('delivered', 'disputed', 'refunded') AND (entries.kind IS NULL OR entries.kind <> 'capture'
        OR given.amount <> generations.held OR given.paid <> generations.paid OR generations.shares IS NULL)
        UNION SELECT id FROM (SELECT generations.id, {account} AS account, {amount} AS amount FROM generations, {shares}
        WHERE generations.shares IS NOT NULL AND {amount} <> 0 EXCEPT SELECT generations.id, legs.account, legs.amount FROM generations
        JOIN holds ON holds.key = 'hold\:' || generations.key JOIN legs ON legs.entry_id = holds.closed_by AND legs.position > 0) AS kept
        LIMIT 20""",
    "every refunded generation was paid back whole, and no other": r"""SELECT generations.id FROM generations
        LEFT JOIN entries ON entries.key = 'refund\:generation\:' || generations.id
        LEFT JOIN entries AS undone ON undone.key = 'taken_back\:' || entries.key
        LEFT JOIN (SELECT entry_id, SUM(amount) AS amount FROM legs WHERE amount > 0 GROUP BY entry_id) AS back
        ON back.entry_id = entries.id
        WHERE COALESCE(back.amount, 0) <> CASE WHEN generations.state = 'refunded' OR undone.id IS NOT NULL THEN generations.paid ELSE 0 END
        OR (generations.state = 'refunded' AND undone.id IS NOT NULL) LIMIT 20""",
    "every verdict gave what it says, and no two of one dispute": r"""SELECT disputes.id FROM disputes
        LEFT JOIN entries AS refund ON refund.key = 'refund\:generation\:' || disputes.generation_id
        LEFT JOIN entries AS part ON part.key = 'partial\:generation\:' || disputes.generation_id
        LEFT JOIN entries AS goodwill ON goodwill.key = 'compensation\:dispute\:' || disputes.id
        LEFT JOIN (SELECT entry_id, SUM(amount) AS amount FROM legs WHERE amount > 0 GROUP BY entry_id) AS given
        ON given.entry_id = COALESCE(refund.id, part.id, goodwill.id)
        WHERE COALESCE(given.amount, 0) <> CASE WHEN disputes.state IN ('open', 'rejected') THEN 0 ELSE disputes.amount END
        OR (refund.id IS NOT NULL AND disputes.state NOT IN ('refunded', 'taken_back'))
        OR (part.id IS NOT NULL AND (refund.id IS NOT NULL OR disputes.state NOT IN ('partly', 'taken_back')))
        OR (goodwill.id IS NOT NULL AND (COALESCE(refund.id, part.id) IS NOT NULL OR disputes.state NOT IN ('compensated', 'taken_back')))
        LIMIT 20""",
    "whatever was taken back is its verdict turned around, once, and nothing else was": r"""SELECT disputes.id FROM disputes
        LEFT JOIN entries ON entries.kind = 'taken_back' AND entries.key IN ('taken_back\:refund\:generation\:' || disputes.generation_id,
        'taken_back\:partial\:generation\:' || disputes.generation_id, 'taken_back\:compensation\:dispute\:' || disputes.id)
        GROUP BY disputes.id, disputes.state HAVING COUNT(entries.id) <> CASE WHEN disputes.state = 'taken_back' THEN 1 ELSE 0 END
        UNION SELECT entries.id FROM entries LEFT JOIN entries AS verdict ON verdict.key = SUBSTR(entries.key, 12)
        AND verdict.kind IN ('verdict', 'goodwill') LEFT JOIN disputes ON disputes.state = 'taken_back'
        AND verdict.key IN ('refund\:generation\:' || disputes.generation_id, 'partial\:generation\:' || disputes.generation_id,
        'compensation\:dispute\:' || disputes.id) WHERE entries.kind = 'taken_back' AND disputes.id IS NULL
        UNION SELECT undone.id FROM entries AS undone JOIN entries AS verdict ON verdict.key = SUBSTR(undone.key, 12)
        LEFT JOIN legs AS given ON given.entry_id = verdict.id
        LEFT JOIN legs AS back ON back.entry_id = undone.id AND back.position = given.position AND back.amount = -given.amount
        AND (back.account = given.account OR given.amount > 0) WHERE undone.kind = 'taken_back' AND back.entry_id IS NULL
        LIMIT 20""",
    "every payout has its hold, and left or came back as it says": r"""SELECT payouts.id FROM payouts
        LEFT JOIN holds ON holds.key = payouts.hold LEFT JOIN entries ON entries.id = holds.closed_by
        WHERE holds.entry_id IS NULL OR holds.amount <> payouts.amount
        OR (payouts.state IN ('requested', 'approved')) <> (holds.closed_by IS NULL)
        OR COALESCE(entries.kind, '')
        <> CASE payouts.state WHEN 'paid' THEN 'capture' WHEN 'refused' THEN 'release' ELSE '' END LIMIT 20""",
    "nothing of a disputed or refunded generation was released": r"""SELECT generations.id FROM generations
        JOIN entries ON entries.key = 'released\:' || generations.id WHERE generations.state IN ('disputed', 'refunded') LIMIT 20""",
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
        WHERE COALESCE(fault, '') NOT IN ('unopened', 'unchecked')
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

_ELEMENTS = {
    "postgresql": {
        "shares": "jsonb_array_elements(CAST(generations.shares AS jsonb)) AS share(part)",
        "account": "(share.part ->> 0)",
        "amount": "CAST(share.part ->> 1 AS bigint)",
    },
    "sqlite": {
        "shares": "json_each(generations.shares) AS share",
        "account": "json_extract(share.value, '$[0]')",
        "amount": "json_extract(share.value, '$[1]')",
    },
}
"""The shares of a generation, [[account, amount], …], as rows."""


async def audit_generations(connection: AsyncConnection) -> list[Finding]:
    """Runs every check. `connection` must be one snapshot."""
    elements = _ELEMENTS[connection.dialect.name]
    return [await run_check(connection, name, query.format(**elements)) for name, query in CHECKS.items()]
