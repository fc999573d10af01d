"""Proves payments and refunds against the ledger, from rows alone."""

from sqlalchemy.ext.asyncio import AsyncConnection

from core.ledger.audit import Finding, run_check

_SETTLED = "('paid', 'part_refunded', 'refunded', 'charged_back')"

CHECKS: dict[str, str] = {
    "every payment that came was credited once, whole": rf"""SELECT payments.id FROM payments
        LEFT JOIN entries ON entries.key = 'payment\:' || payments."order" AND entries.kind = 'topup'
        LEFT JOIN legs ON legs.entry_id = entries.id AND legs.account = 'external\:' || payments.rail
        WHERE payments.state IN {_SETTLED}
        AND (legs.amount IS NULL OR legs.amount <> -payments.credits OR payments.charge IS NULL) LIMIT 20""",
    "every payment for a pool went to that pool, whole": rf"""SELECT payments.id FROM payments
        LEFT JOIN entries ON entries.key = 'payment\:' || payments."order"
        LEFT JOIN legs ON legs.entry_id = entries.id AND legs.account = 'pool\:' || payments.community_id
        WHERE payments.community_id IS NOT NULL AND payments.state IN {_SETTLED} AND COALESCE(legs.amount, 0) <> payments.credits
        LIMIT 20""",
    "no other payment was credited": rf"""SELECT entries.id FROM entries
        LEFT JOIN payments ON entries.key = 'payment\:' || payments."order" AND payments.state IN {_SETTLED}
        WHERE entries.kind = 'topup' AND payments.id IS NULL LIMIT 20""",
    "every payment counts what went back": """SELECT payments.id FROM payments
        LEFT JOIN (SELECT payment_id, SUM(amount) AS amount, SUM(credits) AS credits FROM refunds
            WHERE state IN ('done', 'open', 'lost') AND kind <> 'surplus' GROUP BY payment_id) AS gone ON gone.payment_id = payments.id
        WHERE payments.refunded <> COALESCE(gone.amount, 0) OR payments.returned <> COALESCE(gone.credits, 0) LIMIT 20""",
    "every rail's account is what was bought less what went back": r"""SELECT bought.account FROM
        (SELECT 'external\:' || rail AS account, SUM(credits - returned) AS credits FROM payments
            WHERE state IN ('paid', 'part_refunded', 'refunded', 'charged_back') GROUP BY rail) AS bought
        LEFT JOIN (SELECT account, SUM(amount) AS amount FROM legs GROUP BY account) AS moved ON moved.account = bought.account
        WHERE bought.credits <> -COALESCE(moved.amount, 0) LIMIT 20""",
    "every refund that was asked for has its hold, open until it ended": r"""SELECT refunds.id FROM refunds
        LEFT JOIN holds ON holds.key = 'refund\:' || refunds.name LEFT JOIN entries ON entries.id = holds.closed_by
        WHERE refunds."by" IS NOT NULL AND (holds.entry_id IS NULL OR holds.amount <> refunds.credits AND refunds.state = 'requested'
        OR (refunds.state = 'requested') <> (holds.closed_by IS NULL)) LIMIT 20""",
    "every hold for a refund belongs to one": r"""SELECT holds.key FROM holds LEFT JOIN refunds ON holds.key = 'refund\:' || refunds.name
        WHERE holds.key LIKE 'refund\:%' AND refunds.id IS NULL LIMIT 20""",
    "debts are what the debtors' account says": r"""SELECT owed.total FROM
        (SELECT COALESCE(SUM(CASE WHEN account LIKE 'user\:%\:debt' THEN amount END), 0) AS total,
            COALESCE(SUM(CASE WHEN account = 'platform\:debtors' THEN amount END), 0) AS mirrored,
            COALESCE(SUM(CASE WHEN account = 'platform\:bad-debt' THEN amount END), 0) AS carried FROM legs) AS owed
        WHERE owed.total + owed.mirrored <> 0 OR owed.total + owed.carried <> 0 LIMIT 20""",
}


async def audit_payments(connection: AsyncConnection) -> list[Finding]:
    """Runs every check. `connection` must be one snapshot."""
    return [await run_check(connection, name, query) for name, query in CHECKS.items()]
