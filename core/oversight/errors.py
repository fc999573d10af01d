"""What is refused to an admin."""

from core.errors import Forbidden, Refusal


class NotOneself(Forbidden):
    """Admins neither give to themselves nor ban themselves or each other: the operator takes the role away first."""

    code = "not_oneself"


class GrantTooLarge(Refusal):
    """More than one grant may be. Facts: `limit` in milli-credits."""

    code = "grant_too_large"


class StandsSo(Refusal):
    """The user is banned, or is not banned, already."""

    code = "stands_so"
