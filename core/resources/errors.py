"""What is refused to miners."""

from core.errors import NotFound, Refusal


class ResourceNotFound(NotFound):
    """No such resource, or not theirs. Facts: `resource`."""

    code = "resource_not_found"


class LendingRefused(Refusal):
    """The provider's keys may not be lent here. Facts: `provider`."""

    code = "lending_refused"


class TooManyResources(Refusal):
    """The miner lends as many as allowed. Facts: `limit`."""

    code = "too_many_resources"


class NotAllowedNow(Refusal):
    """The resource is in a state in which that cannot be done. Facts: `resource`, `state`, `action`."""

    code = "not_allowed_now"


class Stopped(Refusal):
    """The platform has paused it, and its owner cannot list it. Facts: `resource`, `why` ("admin", "leak")."""

    code = "resource_stopped"


class BadLimit(Refusal):
    """A limit that is no number or out of its range. Facts: `field`, `value`, `low`, `high`."""

    code = "bad_limit"


class NotAKey(Refusal):
    """The text does not have the shape of one of the provider's keys. Facts: `provider`, `shape`."""

    code = "not_a_key"


class KeyOfAnother(Refusal):
    """The text is a key of another provider. Facts: `provider`, `other`."""

    code = "key_of_another"


class LinkExpired(Refusal):
    """The one-time link was used, is too old, or never existed."""

    code = "link_expired"
