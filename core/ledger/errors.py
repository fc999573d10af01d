"""What the ledger refuses."""

from core.errors import Forbidden, Refusal


class InsufficientCredits(Refusal):
    """A guarded account would go below zero. Facts: `account`, `needed`, `available` (milli-credits)."""

    code = "insufficient_credits"


class KeyReused(Refusal):
    """The business key was used before for something else. Facts: `key`."""

    code = "key_reused"


class HoldNotFound(Refusal):
    """No such hold. Facts: `hold`."""

    code = "hold_not_found"


class HoldClosed(Refusal):
    """The hold was captured, released or expired before. Facts: `hold`."""

    code = "hold_closed"


class CaptureExceedsHold(Refusal):
    """The shares sum to more than was held. Facts: `hold`, `held`, `asked` (milli-credits)."""

    code = "capture_exceeds_hold"


class InDebt(Forbidden):
    """Credits that were charged back had been spent: nothing more is spent until they are paid. Facts: `debt` (milli-credits)."""

    code = "in_debt"
