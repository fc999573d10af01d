"""OpenAI images: `POST /v1/images/generations` as JSON, `POST /v1/images/edits` as a form. https://platform.openai.com/docs/api-reference/images

The answer is JSON with the picture as base64 and `usage` in tokens; an error is `{"error": {"message", "type", "param", "code"}}`. A field
that a model does not know is refused with 400, so only what it takes is sent: there is no seed and no negative prompt.
"""

import asyncio
import base64
import binascii
import math
import re
from collections.abc import Mapping
from typing import Any

from core.providers.base import (
    MAX_PICTURE_BYTES,
    Delivered,
    FailedCost,
    FailedFree,
    Fault,
    ImageRequest,
    Operation,
    Outcome,
    Picture,
    Probe,
    Rejected,
    Unknown,
)
from core.providers.http import Answer, Client, Part, call, may_have_worked, read_picture, retry_after, sendable, unanswered
from core.vault.secret import Secret

_QUALITIES = frozenset({"low", "medium", "high", "auto"})
_MORE_QUALITIES = _QUALITIES | {"xhigh", "max"}

MODELS = {
    "gpt-image-2": _QUALITIES,
    "gpt-image-2.5-sunburst": _MORE_QUALITIES,
    "gpt-image-2.5-flare": _MORE_QUALITIES,
    "gpt-image-2.6-sunburst": _MORE_QUALITIES,
    "gpt-image-2.6-flare": _MORE_QUALITIES,
}
"""Model -> the qualities that it knows."""

DEFAULT_QUALITY = "medium"
"""Sent where the request names none: left to itself the model chooses, and the dearest choice costs four times this one."""

# Micro-dollars per token: $5, $8, $30 per million, one price for all five models (2.6-flare: a third party's figure). Cached input is
# cheaper, but the answer does not say how much of it was, so the cost errs upwards.
TEXT_IN, IMAGE_IN, IMAGE_OUT = 5, 8, 30

SIZES = {
    "21:9": "1568x672",
    "16:9": "1536x864",
    "3:2": "1536x1024",
    "4:3": "1280x960",
    "5:4": "1280x1024",
    "1:1": "1024x1024",
    "4:5": "1024x1280",
    "3:4": "960x1280",
    "2:3": "1024x1536",
    "9:16": "864x1536",
    "9:21": "672x1568",
}
"""Sides are multiples of 16, ratios within 1:3 to 3:1, areas between 810² and 2560 x 1440; the standard sizes where there is one."""

MAX_PROMPT = 32_000
MAX_UPLOAD = 50_000_000 - 1
MAX_BODY = MAX_PICTURE_BYTES * 4 // 3 + 64 * 1024
"""The largest picture as base64, and what stands around it."""

MAX_TOKENS = 10_000_000
MAX_MODELS = 10_000
PROBE_SECONDS = 15.0

# The code decides, not the type or the status: billing refusals carry the type `insufficient_quota` with other codes, and come with 429.
_BY_CODE = {
    "moderation_blocked": Fault.MODERATED,
    "content_policy_violation": Fault.MODERATED,
    "invalid_api_key": Fault.BAD_KEY,
    "model_not_found": Fault.MODEL_MISSING,
    "rate_limit_exceeded": Fault.RATE_LIMITED,
    "slow_down": Fault.RATE_LIMITED,
    "insufficient_quota": Fault.EMPTY,
    "credit_balance_exhausted": Fault.EMPTY,
    "billing_hard_limit_reached": Fault.EMPTY,
    "organization_spend_limit_exceeded": Fault.EMPTY,
    "project_spend_limit_exceeded": Fault.EMPTY,
    "organization_usage_limit_exceeded": Fault.EMPTY,
}
_BY_STATUS = {
    401: Fault.BAD_KEY,
    402: Fault.EMPTY,
    403: Fault.BAD_KEY,  # a country that is not supported, an address that is not allowed
    429: Fault.RATE_LIMITED,
}


class OpenAIProvider:
    """Generates and edits. The client is shared with other providers; `close()` closes it for all."""

    name = "openai"
    costs: Mapping[str, int] = {}

    def __init__(self, base_url: str, client: Client) -> None:
        self._url = base_url.rstrip("/")
        self._client = client

    def looks_like_key(self, text: str) -> bool:
        """A key of a project or a service account, or one of the old kind, which has `T3BlbkFJ` in its middle."""
        return re.fullmatch(r"sk-(proj|svcacct)-[A-Za-z0-9_-]{4,300}|sk-[A-Za-z0-9]{16,32}T3BlbkFJ[A-Za-z0-9]{16,32}", text) is not None

    async def generate(self, request: ImageRequest, key: Secret, *, timeout: float) -> Outcome:  # noqa: ASYNC109  # the protocol's word
        """Makes one picture with one call, within `timeout` seconds. What the model cannot do is BAD_REQUEST, unsent."""
        picture = read_picture(request.image) if request.operation is Operation.EDIT and request.image else None
        fields = _fields(request, picture)
        if fields is None:
            return FailedFree(Fault.BAD_REQUEST)
        parts: dict[str, Part] = {name: (None, value.encode()) for name, value in fields.items()}
        if picture:
            parts["image"] = (f"image.{picture.media_type.removeprefix('image/')}", picture.data, picture.media_type)
        answer = await call(
            self._client,
            "POST",
            f"{self._url}/v1/images/{'edits' if picture else 'generations'}",
            key,
            seconds=timeout,
            limit=MAX_BODY,
            content=None if picture else fields,
            parts=parts if picture else None,
        )
        if isinstance(answer, Fault):
            return unanswered(answer)
        return await asyncio.to_thread(_made, answer) if answer.ok else _refused(answer)

    async def probe(self, key: Secret) -> Probe:
        """Lists the models: free, and 401 for a wrong key. It does not show a balance, nor whether the organisation is verified."""
        answer = await call(self._client, "GET", f"{self._url}/v1/models", key, seconds=PROBE_SECONDS, limit=4 * 1024 * 1024)
        if isinstance(answer, Fault):
            return Probe(answer)
        if not answer.ok:
            if answer.status in (401, 403) and "missing scopes" in _text(_error(answer).get("message")).lower():
                return Probe()  # a restricted key that may not list models is a true key, and may still make pictures
            return Probe(_fault_of(answer), retry_after=_wait(answer))
        listed = answer.json().get("data")
        if not isinstance(listed, list):
            return Probe(answer.fault or Fault.BAD_ANSWER)
        ids = (_text(item.get("id")) for item in listed[:MAX_MODELS] if isinstance(item, dict))
        return Probe(models=frozenset(name for name in ids if 0 < len(name) <= 100))

    async def close(self) -> None:
        """Closes the shared client; once more does nothing."""
        await self._client.aclose()


def _fields(request: ImageRequest, picture: Picture | None) -> dict[str, str] | None:
    """What the model takes of a request; None where it cannot do what is asked."""
    qualities = MODELS.get(request.model)
    size = _size(request, picture)
    if qualities is None or size is None or not request.prompt.strip() or len(request.prompt) > MAX_PROMPT:
        return None
    quality = request.quality if request.quality in qualities else None
    fields = {"model": request.model, "prompt": sendable(request.prompt), "size": size, "quality": quality or DEFAULT_QUALITY}
    if re.fullmatch(r"[A-Za-z0-9._:-]{1,64}", request.end_user):
        fields["safety_identifier"] = request.end_user
    return fields


def _size(request: ImageRequest, picture: Picture | None) -> str | None:
    """The size in pixels. An edit keeps the shape of its picture as nearly as there is a size for it."""
    if request.operation is Operation.GENERATE:
        return SIZES.get(request.aspect_ratio)
    if picture is None or len(picture.data) > MAX_UPLOAD:
        return None
    shape = picture.width / picture.height

    def distance(size: str) -> float:
        width, height = size.split("x")
        return abs(math.log(int(width) / int(height) / shape))

    return min(SIZES.values(), key=distance)


def _made(answer: Answer) -> Outcome:
    """What a status of 200 brought: it is charged, whatever it is. In a thread: there are megabytes of base64 to undo."""
    content = answer.json()
    cost = _cost(content.get("usage"))
    picture = None
    match content.get("data"):
        case [{"b64_json": str(encoded)}, *_] if answer.status == 200:
            try:
                picture = read_picture(base64.b64decode(encoded, validate=True))
            except (binascii.Error, ValueError):
                picture = None
    if picture is None or len(picture.data) > MAX_PICTURE_BYTES:
        return FailedCost(answer.fault or Fault.BAD_ANSWER, cost, answer.reference)
    return Delivered(picture, None, cost, answer.reference)


def _cost(usage: object) -> int | None:
    """Micro-dollars for the tokens used; None where the answer does not say it in whole, plausible numbers."""
    match usage:
        case {"input_tokens_details": {"text_tokens": int(text), "image_tokens": int(image)}, "output_tokens": int(out)}:
            if min(text, image, out) >= 0 and max(text, image, out) <= MAX_TOKENS:
                return text * TEXT_IN + image * IMAGE_IN + out * IMAGE_OUT
    return None


def _refused(answer: Answer) -> Outcome:
    fault = _fault_of(answer)
    if fault is Fault.MODERATED:
        # Whether refusals are billed is nowhere stated. One that came after the picture was made is taken for billed: a miner's
        # budget must not be overspent for want of a statement.
        details = _error(answer).get("moderation_details")
        stage = details.get("moderation_stage") if isinstance(details, Mapping) else None
        return Rejected(charged=stage == "output", reference=answer.reference)
    if may_have_worked(answer.status):
        return Unknown(fault, answer.reference)
    return FailedFree(fault, _wait(answer), answer.reference)


def _fault_of(answer: Answer) -> Fault:
    """The class of an answer that is no success."""
    error = _error(answer)
    code, kind, message = _text(error.get("code")), _text(error.get("type")), _text(error.get("message")).lower()
    if answer.status < 400:
        return Fault.BAD_ANSWER  # a redirect: not followed
    if answer.status >= 500 or answer.status == 408:
        return Fault.SERVER
    if code in _BY_CODE:
        return _BY_CODE[code]
    if kind == "insufficient_quota":
        return Fault.EMPTY
    if answer.status in (400, 403) and "must be verified" in message:
        return Fault.UNVERIFIED  # it has no code of its own
    if answer.status in (400, 404) and error.get("param") == "model":
        return Fault.MODEL_MISSING
    return _BY_STATUS.get(answer.status, Fault.BAD_REQUEST)


def _error(answer: Answer) -> Mapping[str, Any]:
    error = answer.json().get("error")
    return error if isinstance(error, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _wait(answer: Answer) -> float | None:
    """Seconds to wait: `retry-after`, else the reset of whichever limit is used up ("6m0s", "250ms")."""
    waits = []
    for limit in ("requests", "tokens"):
        reset = answer.headers.get(f"x-ratelimit-reset-{limit}", "")
        if answer.headers.get(f"x-ratelimit-remaining-{limit}") == "0" and re.fullmatch(
            r"(\d{1,6}(\.\d{1,6})?(ms|s|m|h))+", reset, re.ASCII
        ):
            units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
            waits.append(sum(float(n) * units[unit] for n, unit in re.findall(r"([\d.]+)(ms|s|m|h)", reset)))
    told = retry_after(answer.headers)
    return told if told is not None or not waits else max(waits)
