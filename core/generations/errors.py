"""What is refused to creators."""

from core.errors import NotFound, Refusal


class BadPrompt(Refusal):
    """The prompt is empty, too long or has control characters. Facts: `problem` ("empty", "long", "control"), `length`, `limit`."""

    code = "bad_prompt"


class Maintenance(Refusal):
    """Nothing new is taken for now; what waits and runs is finished."""

    code = "maintenance"


class TooManyQueued(Refusal):
    """The user has as many generations waiting as allowed. Facts: `limit`."""

    code = "too_many_queued"


class GenerationNotFound(NotFound):
    """No such generation, or not theirs. Facts: `generation`."""

    code = "generation_not_found"


class NotWaiting(Refusal):
    """It cannot be cancelled (any more): it runs or has ended. Facts: `generation`, `state`."""

    code = "not_waiting"


class NotDelivered(Refusal):
    """There is no picture to work with. Facts: `generation`, `state`."""

    code = "not_delivered"
