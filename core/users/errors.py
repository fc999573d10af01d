"""What is refused to a user as such."""

from core.errors import Forbidden, NotFound


class Frozen(Forbidden):
    """The user is frozen: nothing that moves value, until an admin lifts it."""

    code = "frozen"


class JustJoined(Forbidden):
    """The user was joined into another in the meantime: to be asked once more."""

    code = "just_joined"


class UserNotFound(NotFound):
    """No such user. Facts: `user`."""

    code = "user_not_found"
