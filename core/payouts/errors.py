"""Why earnings are not paid out, or a payout is not decided."""

from core.errors import NotFound, Refusal


class PayoutNotFound(NotFound):
    """No such payout. Facts: `payout`."""

    code = "payout_not_found"


class PayoutOpen(Refusal):
    """One payout of theirs is under way. Facts: `payout`."""

    code = "payout_open"


class PayoutAmount(Refusal):
    """Less than a payout may be, or more than is earned and released. Facts: `needed` (the least), `available`."""

    code = "payout_amount"


class PayoutNeedsSecond(Refusal):
    """So large that who approved it does not pay it as well: another admin does. Facts: `limit`."""

    code = "payout_needs_second"


class PayoutDecided(Refusal):
    """The payout is past that step, or its own admin may not take it."""

    code = "payout_decided"
