"""Why two users are not joined."""

from core.errors import Forbidden, Refusal


class JoinCodeExpired(Refusal):
    """The code was used, is too old, or never existed."""

    code = "join_code_expired"


class SameUser(Refusal):
    """The code is of the very user who uses it: there is nothing to join."""

    code = "same_user"


class AdminApart(Forbidden):
    """One of the two is an admin: the operator says who is one, and nobody becomes one by a code."""

    code = "admin_apart"


class TooManyCodes(Refusal):
    """The user has had as many codes as an hour allows. Facts: `limit`."""

    code = "too_many_codes"
