"""Why somebody is not erased now."""

from core.errors import Refusal


class NotYet(Refusal):
    """Something of theirs runs or is in dispute: it ends first."""

    code = "not_yet"
