"""What is refused about disputes."""

from core.errors import Forbidden, NotFound, Refusal


class DisputeNotFound(NotFound):
    """No such dispute, or not theirs. Facts: `dispute`."""

    code = "dispute_not_found"


class NotDisputable(Refusal):
    """The picture is not delivered, is disputed already, or its time for disputes is over. Facts: `generation`."""

    code = "not_disputable"


class OwnDispute(Forbidden):
    """Nobody decides about a picture that they ordered or earned with. Facts: `dispute`."""

    code = "own_dispute"


class BadAmount(Refusal):
    """No part of what was paid. Facts: `most` in milli-credits."""

    code = "bad_amount"


class AlreadyDecided(Refusal):
    """The dispute has its verdict. Facts: `dispute`."""

    code = "already_decided"


class SecondAdmin(Forbidden):
    """Whoever proposed a verdict does not confirm it. Facts: `dispute`."""

    code = "second_admin"


class NotProposed(Refusal):
    """No such verdict waits to be confirmed (any more). Facts: `dispute`."""

    code = "not_proposed"


class DisputeTaken(Refusal):
    """Another admin works on it. Facts: `dispute`, `admin` (their name), `minutes` that are left."""

    code = "dispute_taken"


class NotReversible(Refusal):
    """It was not rejected, its time is over, or what was earned with it is released. Facts: `dispute`, `days`."""

    code = "not_reversible"


class NotTakenBack(Refusal):
    """Nothing was given by its verdict, it is taken back, or its time is over. Facts: `dispute`, `days`."""

    code = "not_taken_back"


class OwnVerdict(Forbidden):
    """Whoever gave a verdict does not take it back. Facts: `dispute`."""

    code = "own_verdict"


class RefundSpent(Refusal):
    """The account that got the Credits has them no more. Facts: `dispute`, `needed`, `available` (milli-credits)."""

    code = "refund_spent"


class TooManyDisputes(Refusal):
    """Many of theirs were rejected lately, so they may open one in a day. Facts: `rejected`, `hours` until the next."""

    code = "too_many_disputes"
