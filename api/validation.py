"""What FastAPI finds wrong with a request, as places and sentences: a JSON pointer into the body, or the name of a parameter."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError

from api.language import WORDS
from core.words import Text

MAX_ERRORS = 20
SENTENCES: Mapping[str, str] = {
    "missing": "missing",
    "extra_forbidden": "extra",
    "string_too_short": "short",
    "string_too_long": "long",
    "string_type": "string",
    "int_type": "integer",
    "int_parsing": "integer",
    "int_from_float": "integer",
    "int_parsing_size": "integer",
    "bool_type": "boolean",
    "bool_parsing": "boolean",
    "literal_error": "choice",
    "enum": "choice",
    "greater_than_equal": "low",
    "less_than_equal": "high",
    "string_pattern_mismatch": "pattern",
    "model_attributes_type": "object",
    "model_type": "object",
    "dict_type": "object",
}
"""pydantic's kind of error -> our sentence `invalid.…`; any other kind is `invalid.other`."""


def is_malformed(error: RequestValidationError) -> bool:
    """Whether the body is no JSON at all."""
    return any(each["type"] == "json_invalid" for each in error.errors())


def is_other_media(error: RequestValidationError, content_type: str) -> bool:
    """Whether a body came that does not say that it is JSON, where JSON is asked for."""
    kind = content_type.partition(";")[0].strip().lower()
    is_json = kind.startswith("application/") and (kind.endswith(("/json", "+json")))
    return not is_json and any(each["type"] == "model_attributes_type" and each["loc"] == ("body",) for each in error.errors())


def read_errors(error: RequestValidationError, language: str) -> list[dict[str, str]]:
    """At most MAX_ERRORS of them. What was sent is not repeated: it may be a secret in the wrong place."""
    return [_read(each, language) for each in error.errors()[:MAX_ERRORS]]


def _read(found: Mapping[str, Any], language: str) -> dict[str, str]:
    limits = found.get("ctx") or {}
    name = SENTENCES.get(found["type"], "other")
    facts = {
        "limit": next((limits[key] for key in ("max_length", "min_length", "ge", "le") if key in limits), ""),
        "expected": str(limits.get("expected", "")),
    }
    return _place(found["loc"]) | {"message": WORDS.plain(Text(f"invalid.{name}", facts), language)}


def _place(location: Sequence[str | int]) -> dict[str, str]:
    where, *path = location or ("body",)
    if where == "body":
        return {"pointer": "#" + "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)}
    return {"parameter": ".".join(map(str, path))}
