"""Why somebody does not come in."""

from core.errors import Forbidden, NotFound, Refusal


class Unauthenticated(Refusal):
    """No token, or one that is wrong, too old, revoked or of an ended session."""

    code = "unauthenticated"


class WrongPassword(Refusal):
    """The address and the password do not go together; which of them is wrong is not said."""

    code = "wrong_password"


class ScopeMissing(Forbidden):
    """The token does not have the scope. Facts: `scope`."""

    code = "scope_missing"


class SessionNeeded(Forbidden):
    """Only a signed-in person may do that, not an API token."""

    code = "session_needed"


class BadAddress(Refusal):
    """No e-mail address, or one too long."""

    code = "bad_address"


class BadPassword(Refusal):
    """Too short, too long, or the address itself. Facts: `shortest`, `longest`."""

    code = "bad_password"


class CodeExpired(Refusal):
    """The mailed code was used, is too old, or never existed."""

    code = "code_expired"


class BadInitData(Refusal):
    """What should come from Telegram's Mini App does not, or is too old."""

    code = "bad_init_data"


class MailOff(Refusal):
    """This installation sends no mail, so there are no accounts by e-mail."""

    code = "mail_off"


class TooManyTokens(Refusal):
    """The user has as many API tokens as allowed. Facts: `limit`."""

    code = "too_many_tokens"


class TokenNotFound(NotFound):
    """No such API token, or not theirs. Facts: `token`."""

    code = "token_not_found"


class TokenBound(Forbidden):
    """The API token is bound to a pool, and another one is to pay. Facts: `pool`, its number."""

    code = "token_bound"


class CapReached(Refusal):
    """The API token's spending cap does not suffice. Facts: `needed`, `left` in milli-credits."""

    code = "cap_reached"
