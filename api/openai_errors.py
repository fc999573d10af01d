"""Errors as clients of OpenAI's API know them: `{"error": {"message", "type", "param", "code"}}`.

Programs recognise a few codes, so ours are translated: an empty wallet or a reached cap is `insufficient_quota` with 429, as theirs is
(platform.openai.com/docs/guides/error-codes). Their SDK tries 409, 429 and 5xx again by itself; `x-should-retry: false` keeps it from
ordering pictures twice.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.responses import JSONResponse

CODES = {
    "unauthenticated": "invalid_api_key",
    "insufficient_credits": "insufficient_quota",
    "in_debt": "insufficient_quota",
    "cap_reached": "insufficient_quota",
    "pool_cap": "insufficient_quota",
    "pool_empty": "insufficient_quota",
    "unknown_model": "model_not_found",
    "moderated": "moderation_blocked",
    "forbidden_prompt": "moderation_blocked",
    "too_many_strikes": "rate_limit_exceeded",
    "slow_down": "rate_limit_exceeded",
    "too_many_queued": "rate_limit_exceeded",
}
STATUS = {"insufficient_credits": 429, "in_debt": 429, "cap_reached": 429, "pool_cap": 429, "pool_empty": 429, "unknown_model": 404}
"""Where OpenAI uses another status than the rest of the api."""
RETRIED = frozenset({"slow_down", "busy"})
"""What a client may try again by itself: nothing was ordered."""
FIELDS = {"ratio": "size", "negative": "negative_prompt"}


def openai_error(
    status: int, code: str, message: str, facts: Mapping[str, Any], errors: Sequence[Mapping[str, str]], headers: Mapping[str, str]
) -> JSONResponse:
    """The response to an error of that status, code and sentence. The first of `errors` names the parameter."""
    status = STATUS.get(code, 400 if status == 422 else status)
    place = errors[0] if errors else {}
    name = place.get("pointer", "").removeprefix("#/") or place.get("parameter")
    if errors and "message" in place:
        message = f"{name}: {place['message']}" if name else place["message"]
    kind = _type_of(status, code)
    body: dict[str, Any] = {
        "message": message,
        "type": kind,
        "param": FIELDS.get(name, name) if name else None,
        "code": CODES.get(code, code),
    }
    generations = facts.get("generations")
    if generations:
        body["generations"] = list(generations)
    retry = {} if code in RETRIED else {"x-should-retry": "false"}
    return JSONResponse({"error": body}, status, {**headers, **retry})


def _type_of(status: int, code: str) -> str:
    if code == "moderated":
        return "image_generation_user_error"
    if status == 429:
        return "insufficient_quota" if CODES.get(code) == "insufficient_quota" else "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"
