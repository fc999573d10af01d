"""What is refused to a user as such."""

from core.errors import Forbidden, NotFound


class Frozen(Forbidden):
    """The user is frozen: nothing that moves value, until an admin lifts it."""

    code = "frozen"


class UserNotFound(NotFound):
    """No such user. Facts: `user`."""

    code = "user_not_found"
