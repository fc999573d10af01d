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


class TooManyChosen(Refusal):
    """A rule of a pool names as many roles or channels as it can. Facts: `limit`."""

    code = "too_many_chosen"


class PoolNotGone(Refusal):
    """A group or server of the pool still has the bot: whoever administers it can share the pool."""

    code = "pool_not_gone"


class PoolEmpty(Refusal):
    """The pool does not have what this costs. Facts: `needed`, `available`, `order`."""

    code = "pool_empty"


class PoolCap(Refusal):
    """A cap of the pool does not leave what this costs. Facts: `cap` ("request", "member", "day"), `needed`, `left`, `order`."""

    code = "pool_cap"


class PoolClosed(Refusal):
    """The pool's rules do not allow this now. Facts: `why`, `order`.

    `why`: "off", "model", "preset", "channel", "quiet"; "left": not in the group; "admins", "list", "roles": who may spend; "no_roles": as
    "roles", where the platform has none; "remote", "unseen": over HTTP somebody is not on the list, or was not seen in the group lately.
    """

    code = "pool_closed"


class VotesNeeded(Refusal):
    """The pool pays that much only when members agree. Facts: `votes` (how many), `above` (the amount), `order`."""

    code = "votes_needed"


class BallotNotFound(NotFound):
    """No such wish waits for agreement here. Facts: `ballot`."""

    code = "ballot_not_found"


class BallotOver(Refusal):
    """It is agreed, refused, withdrawn or lapsed already. Facts: `state`."""

    code = "ballot_over"


class MayNotVote(Forbidden):
    """Facts: `why`: "own" (who asks does not agree), "twice" (has agreed already), or why they may not spend: see `shut_out`."""

    code = "may_not_vote"


class NotYourWish(Forbidden):
    """Only who asked withdraws a wish."""

    code = "not_your_wish"


class TooManyBallots(Refusal):
    """As many wishes of one member wait for agreement as may. Facts: `limit`."""

    code = "too_many_ballots"


class BadPledge(Refusal):
    """A pledge or refill that cannot be. Facts: `field`."""

    code = "bad_pledge"


class PledgeNotFound(NotFound):
    """No such pledge or refill of theirs goes on."""

    code = "pledge_not_found"


class AdminsOrSponsors(Forbidden):
    """Only whoever administers the group, or is a sponsor of its pool."""

    code = "admins_or_sponsors"


class TooManyPledges(Refusal):
    """As many sponsors, or refills, as a pool may have. Facts: `limit`."""

    code = "too_many_pledges"


NOT_PAID = (PoolEmpty, PoolCap, PoolClosed)
"""Why a pool does not pay for a wish, which can be paid otherwise."""
