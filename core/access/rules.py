"""Pure decisions about coming in: addresses, passwords, scopes, and the shapes of tokens and codes."""

import hashlib
import secrets
from collections.abc import Iterable

from email_validator import EmailNotValidError, validate_email

from core.access.errors import BadAddress, BadPassword
from core.access.models import MAX_ADDRESS, MAX_PASSWORD, MIN_PASSWORD, Scope
from core.users.models import User

TOKEN_PREFIX = "aef_"  # noqa: S105  # what every token begins with, so that scanners for leaked secrets find it
TOKEN_BYTES = 24
HINT_LENGTH = 10


def read_address(text: str) -> str:
    """An e-mail address in its one spelling: lower case, domain in letters of its own. Raises BadAddress.

    Upper and lower case of the part before the @ are told apart by no provider in use, so two such accounts would be one person's.
    """
    try:
        found = validate_email(text, check_deliverability=False, test_environment=True).normalized.lower()
    except EmailNotValidError:
        raise BadAddress() from None
    if len(found) > MAX_ADDRESS:
        raise BadAddress()
    return found


def check_password(password: str, address: str) -> None:
    """Length is what makes a password good (NIST SP 800-63B, 5.1.1.2). Raises BadPassword."""
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD or password.lower() == address:
        raise BadPassword(shortest=MIN_PASSWORD, longest=MAX_PASSWORD)


def new_token() -> str:
    """A fresh API token: 192 random bits."""
    return TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)


def new_code() -> str:
    """A fresh code for a mailed link: 192 random bits."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def digest(secret: str) -> str:
    """What is stored of a token or code."""
    return hashlib.sha256(secret.encode()).hexdigest()


def allowed_scopes(user: User, scopes: Iterable[Scope]) -> frozenset[Scope]:
    """The scopes that count for this user now: "admin" is for admins alone, whatever a token was given."""
    return frozenset(scopes) - (frozenset() if user.is_admin else {Scope.ADMIN})
