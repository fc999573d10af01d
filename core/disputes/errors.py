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
