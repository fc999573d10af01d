"""Pure decisions about disputes."""

from collections.abc import Sequence

from core.ledger.models import Leg, Posting


def refund(generation_id: int, payer: str, shares: Sequence[tuple[str, int]]) -> Posting:
    """The entry that turns a capture around: each share goes back whole, to whoever paid. Its key makes it once for each generation.

    >>> refund(7, "user:1:wallet", [("user:2:pending", 3825), ("platform:fees", 675)]).legs[-1]
    Leg(account='user:1:wallet', amount=4500)
    """
    back = tuple(Leg(account, -amount) for account, amount in shares if amount)
    return Posting(f"refund:generation:{generation_id}", "verdict", (*back, Leg(payer, sum(amount for _, amount in shares))))
