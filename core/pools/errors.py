"""Why a pool does not pay, or is not changed. `order` names the wish, so that it can be paid otherwise."""

from core.errors import Forbidden, NotFound, Refusal


class PoolNotFound(NotFound):
    """There is no pool here."""

    code = "pool_not_found"


class CommunityAdminsOnly(Forbidden):
    """Only whoever administers the group or server may do that, as its platform says now."""

    code = "community_admins_only"


class PoolExists(Refusal):
    """This group or server has a pool already."""

    code = "pool_exists"


class BadPolicy(Refusal):
    """A rule of a pool that cannot be. Facts: `field`."""

    code = "bad_policy"


class TooManySpenders(Refusal):
    """The list of who may spend of a pool is full. Facts: `limit`."""

    code = "too_many_spenders"


class PoolEmpty(Refusal):
    """The pool does not have what this costs. Facts: `needed`, `available`, `order`."""

    code = "pool_empty"


class PoolCap(Refusal):
    """A cap of the pool does not leave what this costs. Facts: `cap` ("request", "member", "day"), `needed`, `left`, `order`."""

    code = "pool_cap"


class PoolClosed(Refusal):
    """The pool's rules do not allow this now. Facts: `order`, and `why`: "off", "model", "quiet", "admins", "list" (who may spend),
    "remote", "unseen" (whoever asks over HTTP is not on the list, or was not seen in the group lately)."""

    code = "pool_closed"


NOT_PAID = (PoolEmpty, PoolCap, PoolClosed)
"""Why a pool does not pay for a wish, which can be paid otherwise."""
