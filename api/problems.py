"""What HTTP itself refuses, before or beside the core: one exception with a code, and its status in one table."""

from typing import Any

from starlette.exceptions import HTTPException

OWN_STATUS: dict[str, int] = {
    "malformed": 400,
    "bad_cursor": 400,
    "method_not_allowed": 405,
    "foreign_form": 403,
    "busy": 409,
    "too_large": 413,
    "unsupported_media": 415,
    "invalid_request": 422,
    "rule_not_attested": 422,
    "slow_down": 429,
    "internal": 500,
    "not_ready": 503,
    "too_slow": 504,
}
"""Codes of the api's own, beside those of the core's errors."""


class Problem(HTTPException):
    """Leaves as a problem document. `facts` fill its sentence and become its extension members; `errors` says which fields are wrong."""

    def __init__(
        self, code: str, *, headers: dict[str, str] | None = None, errors: list[dict[str, str]] | None = None, **facts: Any
    ) -> None:
        super().__init__(OWN_STATUS[code], code, headers)
        self.code = code
        self.facts = facts
        self.errors = errors or []
