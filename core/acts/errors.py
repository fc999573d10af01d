"""Why an act is refused."""

from core.errors import Forbidden, Refusal


class AdminsOnly(Forbidden):
    """Only an admin of the platform may do that."""

    code = "admins_only"


class ReasonNeeded(Refusal):
    """Every act has a reason, of 2 characters at least and `limit` at most."""

    code = "reason_needed"
