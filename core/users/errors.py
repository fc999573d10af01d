"""What is refused to a user as such."""

from core.errors import Forbidden, NotFound


class Frozen(Forbidden):
    """The user is frozen: nothing that moves value, until an admin lifts it."""

    code = "frozen"


class JustJoined(Forbidden):
    """The user was joined into another in the meantime: to be asked once more."""

    code = "just_joined"


class TooManyStrikes(Forbidden):
    """So many of the user's prompts were refused that nothing is ordered for a while. Facts: `limit`, `until` in microseconds."""

    code = "too_many_strikes"


class UserNotFound(NotFound):
    """No such user. Facts: `user`."""

    code = "user_not_found"
