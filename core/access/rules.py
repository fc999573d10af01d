"""Pure decisions about coming in: addresses, passwords, scopes, and the shapes of tokens and codes."""

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable
from urllib.parse import parse_qsl

from email_validator import EmailNotValidError, validate_email

from core.access.errors import BadAddress, BadInitData, BadPassword
from core.access.models import MAX_ADDRESS, MAX_PASSWORD, MIN_PASSWORD, Scope
from core.users.models import User

TOKEN_PREFIX = "aef_"  # noqa: S105  # what every token begins with, so that scanners for leaked secrets find it
TOKEN_BYTES = 24
HINT_LENGTH = 10
INIT_DATA_SECONDS = 15 * 60
CLOCK_SKEW = 60
"""Seconds that Telegram's clock may be ahead of ours."""
MAX_INIT_DATA = 4096


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


def read_init_data(text: str, bot_token: str, now: int) -> tuple[str, str, str | None]:
    """(id, name, language) of whoever Telegram says has opened a Mini App of the bot. `now` in seconds. Raises BadInitData.

    Source: core.telegram.org/bots/webapps#validating-data-received-via-the-mini-app. The fields but `hash`, sorted, one in a line, under
    HMAC-SHA256 with the key HMAC-SHA256("WebAppData", token). What is older than INIT_DATA_SECONDS may have been copied.
    """
    if len(text) > MAX_INIT_DATA:
        raise BadInitData()
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True)
        fields = dict(pairs)
        told = fields.pop("hash")
        lines = "\n".join(f"{name}={fields[name]}" for name in sorted(fields))
        key = hmac.digest(b"WebAppData", bot_token.encode(), "sha256")
        right = hmac.compare_digest(hmac.new(key, lines.encode(), "sha256").hexdigest().encode(), told.encode())
        person, age = json.loads(fields["user"]), now - int(fields["auth_date"])
        number, name, language = person["id"], person["first_name"], person.get("language_code")
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadInitData() from None
    whole = type(number) is int and 0 < number < 2**53 and isinstance(name, str) and isinstance(language, str | None)
    if not right or len(fields) != len(pairs) - 1 or not -CLOCK_SKEW <= age <= INIT_DATA_SECONDS or not whole:
        raise BadInitData()
    return str(number), name, language


def allowed_scopes(user: User, scopes: Iterable[Scope]) -> frozenset[Scope]:
    """The scopes that count for this user now: "admin" is for admins alone, whatever a token was given."""
    return frozenset(scopes) - (frozenset() if user.is_admin else {Scope.ADMIN})
