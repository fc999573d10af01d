"""The one tree of errors. An error carries a code and facts, never a sentence.

    AetherflowError
      Refusal      a person asked for something that is not to be had; nothing has changed
        NotFound   it is not there, or not theirs: the two are not told apart
        Forbidden  the person's role or state does not allow it
      Misconfigured  the operator has to change a setting; the process does not start

`bots/chat/errors.py` and `api/errors.py` turn codes into words and statuses.
"""

from typing import Any, ClassVar


class AetherflowError(Exception):
    """Something went wrong that has a name. `facts` are plain values that the words may mention."""

    code: ClassVar[str] = "error"

    def __init__(self, **facts: Any) -> None:
        super().__init__(self.code, facts)
        self.facts = facts

    def __str__(self) -> str:
        return f"{self.code} {self.facts}" if self.facts else self.code


class Refusal(AetherflowError):
    """A person asked for something that is not to be had; nothing has changed."""

    code = "refused"


class NotFound(Refusal):
    """It is not there, or not theirs: the two are not told apart."""

    code = "not_found"


class Forbidden(Refusal):
    """The person's role or state does not allow it."""

    code = "forbidden"


class Misconfigured(AetherflowError):
    """A setting is missing or wrong; facts: `setting`, `problem`."""

    code = "misconfigured"
