"""Stands for OpenAI's API under /openai: models, generations, edits, moderations. https://platform.openai.com/docs/api-reference/images

Every request is held against the official limits; an unknown field is refused. A prompt with the word "forbidden" is refused before, one
with "filtered" after the picture was made (and paid). Keys are `sk-proj-…`; those that begin with `sk-proj-demo-` exist with 1,000 credits
of one cent. Streaming is not played.
"""

import base64
import json
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from aiohttp import web

from sandbox import pictures
from sandbox.image_api import Account, ImageApi, Job, Refused, read_form, text_of

PREFIX = "/openai"
MAX_PROMPT = 32_000
MAX_PICTURE = 50_000_000
MAX_PICTURES = 16
MAX_BODY = 60 * 1024 * 1024
MIN_AREA = 810 * 810

MODELS: Mapping[str, str | None] = {
    "gpt-image-1-mini": "2026-12-01",
    "gpt-image-1.5": "2026-12-01",
    "gpt-image-2": None,
    "gpt-image-2.5-sunburst": None,
    "gpt-image-2.5-flare": None,
    "gpt-image-2.6-sunburst": None,
    "gpt-image-2.6-flare": None,
    "omni-moderation-latest": None,
}
"""Model -> the day it is shut down, where that is announced."""

TOKENS = {"low": 200, "medium": 1_767, "high": 7_033, "xhigh": 10_000, "max": 14_000, "auto": 1_767}
"""Output tokens of one megapixel, from the official example prices at $30 per million; the last three are this stand-in's own guess."""

FLAGGED = {
    "harassment": "harassing", "harassment/threatening": "threatening", "hate": "hateful", "hate/threatening": "genocidal",
    "illicit": "illicit", "illicit/violent": "terrorist", "self-harm": "self-harm", "self-harm/intent": "suicidal",
    "self-harm/instructions": "how to harm oneself", "sexual": "sexual", "sexual/minors": "sexualised minor", "violence": "violent",
    "violence/graphic": "gruesome",
}  # fmt: skip
"""Category of a moderation -> the word of a prompt that is flagged for it here."""

CENTS_PER_TOKEN = {"text": Decimal("0.0005"), "image": Decimal("0.0008"), "out": Decimal("0.003")}

Check = Callable[[Any], bool]


def _one_of(*options: str) -> Check:
    return lambda value: isinstance(value, str) and value in options


def _whole(low: int, high: int) -> Check:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


FIELDS: Mapping[str, Check] = {
    "model": lambda value: isinstance(value, str),
    "prompt": lambda value: isinstance(value, str) and 0 < len(value) <= MAX_PROMPT,
    "n": _whole(1, 10),
    "size": lambda value: isinstance(value, str),
    "quality": lambda value: isinstance(value, str),
    "output_format": _one_of("png", "jpeg", "webp"),
    "output_compression": _whole(0, 100),
    "background": _one_of("auto", "opaque", "transparent"),
    "moderation": _one_of("auto", "low"),
    "complexity": _one_of("low", "medium", "high"),
    "stream": lambda value: value is False,
    "user": lambda value: isinstance(value, str),
    "safety_identifier": lambda value: isinstance(value, str) and len(value) <= 64,
}
_NUMBERS = frozenset({"n", "output_compression"})
_FILES = frozenset({"image", "image[]", "mask"})

_ERRORS = {  # status, type, code, message
    "bad_request": (400, "invalid_request_error", "invalid_value", "The request is not valid."),
    "unauthorized": (401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    "empty": (
        429,
        "insufficient_quota",
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    "moderated": (400, "image_generation_user_error", "moderation_blocked", "Your request was rejected by the safety system."),
    "moderated_output": (400, "image_generation_user_error", "moderation_blocked", "Your request was rejected by the safety system."),
    "unverified": (
        403,
        "invalid_request_error",
        None,
        "Your organization must be verified to use the model. Go to the settings to verify it.",
    ),
    "model_missing": (404, "invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    "not_found": (404, "invalid_request_error", None, "Invalid URL"),
    "too_large": (413, "invalid_request_error", None, "Maximum content size limit exceeded."),
    "rate_limited": (429, "requests", "rate_limit_exceeded", "Rate limit reached for images per minute."),
    "server": (500, "server_error", None, "The server had an error while processing your request."),
    "unavailable": (503, "server_error", None, "The engine is currently overloaded, please try again later."),
}


@dataclass(frozen=True)
class _Order:
    """A checked request: how many pictures, their size in pixels, and the input pictures of an edit."""

    prompt: str
    count: int
    width: int
    height: int
    quality: str
    kind: str
    sources: tuple[bytes, ...]


class OpenAISandbox(ImageApi):
    """`add_key`, `faults`, `hold`, `release`, `arrived`, `calls`, `draft`: see ImageApi."""

    vendor = "openai"
    moderations = 0
    """Prompts and pictures that were looked at."""

    def may_be_key(self, key: str) -> bool:
        """`sk-proj-…`."""
        return re.fullmatch(r"sk-proj-[\x21-\x7e]+", key) is not None

    def is_demo(self, key: str) -> bool:
        """`sk-proj-demo-…`."""
        return key.startswith("sk-proj-demo-") and self.may_be_key(key)

    def routes(self) -> list[web.RouteDef]:
        """The API, and its switches."""
        return [
            *super().routes(),
            web.post(PREFIX + "/v1/images/{action:generations|edits}", self.on_picture),
            web.post(PREFIX + "/v1/moderations", self._moderations),
            web.get(PREFIX + "/v1/models", self._models),
            web.get(PREFIX + "/v1/models/{model}", self._model),
            web.route("*", PREFIX + "/{rest:.*}", self._nothing),
        ]

    async def read(self, request: web.Request, account: Account) -> Job:
        """Checks the JSON or the form. Raises Refused."""
        if request.match_info["action"] == "edits":
            fields, sources = await _read_edit(request)
        else:
            fields, sources = await _read_json(request), ()
        order = _order(fields, sources)
        model = str(fields.get("model", "gpt-image-2"))
        if not model.startswith("gpt-image-") or model not in MODELS or (account.models is not None and model not in account.models):
            raise Refused("model_missing", f"The model '{model}' does not exist or you do not have access to it.", param="model")
        if not account.verified:
            raise Refused("unverified", f"Your organization must be verified to use the model `{model}`.")
        usage = _usage(order)
        details = usage["input_tokens_details"]
        price = details["text_tokens"] * CENTS_PER_TOKEN["text"] + details["image_tokens"] * CENTS_PER_TOKEN["image"]
        price += usage["output_tokens"] * CENTS_PER_TOKEN["out"]

        def paint(trouble: str) -> tuple[bytes, dict[str, str]]:
            if trouble == "filtered":
                raise Refused("moderated_output")
            data = [{"b64_json": base64.b64encode(self._paint(order, blank=trouble == "blank")).decode()} for _ in range(order.count)]
            size, quality = f"{order.width}x{order.height}", "medium" if order.quality == "auto" else order.quality
            body = {"created": int(time.time()), "background": "opaque", "output_format": order.kind, "quality": quality, "size": size}
            headers = {"Content-Type": "application/json", "x-request-id": f"req_{self.new_id()}"}
            return json.dumps({**body, "data": data, "usage": usage}).encode(), headers

        return Job(order.prompt, price, paint)

    def _paint(self, order: _Order, *, blank: bool) -> bytes:
        shrink = 8 if self.draft else 1
        drawn = pictures.draw(order.prompt, self.dice.getrandbits(32), order.width // shrink, order.height // shrink)
        if order.sources:
            drawn = pictures.blend(order.sources[0], drawn, 0.6)
        drawn = pictures.blank(drawn) if blank else drawn
        return drawn if order.kind == "png" else pictures.encode(pictures.decode(drawn), order.kind)

    def refusal(self, refused: Refused) -> web.Response:
        """{"error": {"message", "type", "param", "code"}}."""
        status, kind, code, message = _ERRORS[refused.kind]
        error: dict[str, Any] = {"message": refused.message or message, "type": kind, "param": refused.param, "code": refused.code or code}
        if code == "moderation_blocked":
            stage = "output" if refused.kind == "moderated_output" else "input"
            error["moderation_details"] = {"moderation_stage": stage, "categories": ["violence"]}
        headers = {"x-request-id": f"req_{self.new_id()}"}
        if refused.retry_after is not None:
            headers["retry-after"] = f"{refused.retry_after:g}"
        return web.json_response({"error": error}, status=status, headers=headers)

    async def _models(self, request: web.Request) -> web.Response:
        try:
            account = self.authenticate_free(request)
        except Refused as refused:
            return self.refusal(refused)
        return web.json_response({"object": "list", "data": [_model(name) for name in _visible(account)]})

    async def _moderations(self, request: web.Request) -> web.Response:
        """Free of charge. A prompt is flagged for each category in FLAGGED whose word it has, a picture for those of its marks."""
        try:
            self.authenticate_free(request)
            fields = await _read_json(request)
            if fields.keys() - {"model", "input"} or fields.get("model") != "omni-moderation-latest":
                raise Refused("bad_request", "Only omni-moderation-latest is played here.")
            text, seen = _looked_at(fields.get("input"))
        except Refused as refused:
            return self.refusal(refused)
        self.moderations += 1
        found = {name: word in text.lower() or name in seen for name, word in FLAGGED.items()}
        result = {
            "flagged": any(found.values()), "categories": found, "category_scores": {name: 0.97 * hit for name, hit in found.items()},
            "category_applied_input_types": {name: ["image" if name in seen else "text"] for name in found},
        }  # fmt: skip
        return web.json_response({"id": f"modr-{self.new_id()}", "model": "omni-moderation-2024-09-26", "results": [result]})

    async def _model(self, request: web.Request) -> web.Response:
        try:
            name = request.match_info["model"]
            if name not in _visible(self.authenticate_free(request)):
                raise Refused("model_missing", param="model")
        except Refused as refused:
            return self.refusal(refused)
        return web.json_response(_model(name))

    async def _nothing(self, request: web.Request) -> web.Response:
        return self.refusal(Refused("not_found", f"Invalid URL ({request.method} {request.path.removeprefix(PREFIX)})"))


def _looked_at(asked: Any) -> tuple[str, frozenset[str]]:
    """The text and the marks of the pictures of a moderation's input: a text, or a list of parts. Raises Refused."""
    texts, seen = [], frozenset[str]()
    for part in [{"type": "text", "text": asked}] if isinstance(asked, str) else asked if isinstance(asked, list) else [None]:
        match part:
            case {"type": "text", "text": str(text)}:
                texts.append(text)
            case {"type": "image_url", "image_url": {"url": str(url)}}:
                try:
                    seen |= pictures.marks(base64.b64decode(url.partition(";base64,")[2], validate=True))
                except (OSError, SyntaxError, ValueError):
                    raise Refused("bad_request", "Invalid image.", param="input", code="invalid_image") from None
            case _:
                raise Refused("bad_request", "Invalid value for 'input'.", param="input")
    return " ".join(texts), seen


async def _read_json(request: web.Request) -> dict[str, Any]:
    if request.content_type != "application/json":
        raise Refused(
            "bad_request", f"Unsupported content type: '{request.content_type}'. Use 'application/json'.", code="unsupported_content_type"
        )
    try:
        fields = await request.json()
    except ValueError:
        raise Refused("bad_request", "We could not parse the JSON body of your request.", code="invalid_json") from None
    if not isinstance(fields, dict):
        raise Refused("bad_request", "The body must be an object.")
    return {name: value for name, value in fields.items() if value is not None}


async def _read_edit(request: web.Request) -> tuple[dict[str, Any], tuple[bytes, ...]]:
    """The fields of a form and its input pictures. Of several parts called `image[]` the last counts."""
    parts = await read_form(request, MAX_BODY)
    fields: dict[str, Any] = {}
    sources = tuple(data for name, data in parts.items() if name in ("image", "image[]"))
    for name, data in parts.items():
        if name in _FILES:
            continue
        text = text_of(data, name)
        fields[name] = int(text) if name in _NUMBERS and re.fullmatch(r"[0-9]{1,4}", text) else False if text == "false" else text
    if not sources or len(sources) > MAX_PICTURES:
        raise Refused("bad_request", "Missing required parameter: 'image'.", param="image", code="missing_required_parameter")
    for data in sources:
        try:
            pictures.size(data)
        except (OSError, SyntaxError, ValueError):
            raise Refused("bad_request", "Invalid image file or mode for image 1.", param="image", code="invalid_image_file") from None
        if len(data) >= MAX_PICTURE:
            raise Refused("too_large")
    return fields, sources


def _order(fields: Mapping[str, Any], sources: tuple[bytes, ...]) -> _Order:
    for name, value in fields.items():
        if name not in FIELDS:
            raise Refused("bad_request", f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
        if not FIELDS[name](value):
            raise Refused("bad_request", f"Invalid value for '{name}'.", param=name)
    if "prompt" not in fields:
        raise Refused("bad_request", "Missing required parameter: 'prompt'.", param="prompt", code="missing_required_parameter")
    model, quality, kind = fields.get("model", "gpt-image-2"), fields.get("quality", "auto"), fields.get("output_format", "png")
    known = ("low", "medium", "high", "auto") + (("xhigh", "max") if model.startswith("gpt-image-2.") else ())
    if quality not in known:
        raise Refused("bad_request", f"Invalid value: '{quality}'. Supported values are: {', '.join(known)}.", param="quality")
    if fields.get("background") == "transparent" and kind == "jpeg":
        raise Refused("bad_request", "Transparent background needs png or webp.", param="background")
    if "output_compression" in fields and kind == "png":
        raise Refused("bad_request", "Compression needs jpeg or webp.", param="output_compression")
    width, height = _size(fields.get("size", "auto"), free=model.startswith("gpt-image-2"))
    return _Order(fields["prompt"], fields.get("n", 1), width, height, quality, kind, sources)


def _size(text: str, *, free: bool) -> tuple[int, int]:
    """Sides of "1536x864": multiples of 16, ratio 1:3 to 3:1, the longer at most 3840 and the shorter 2160, area at least 810²."""
    if text in ("auto", "1024x1024"):
        return 1024, 1024
    if match := re.fullmatch(r"([0-9]{2,4})x([0-9]{2,4})", text):
        width, height = int(match[1]), int(match[2])
        long, short = max(width, height), min(width, height)
        standard = (long, short) == (1536, 1024)
        fits = width % 16 == 0 and height % 16 == 0 and long <= 3 * short and long <= 3840 and short <= 2160 and width * height >= MIN_AREA
        if standard or (free and fits):
            return width, height
    raise Refused("bad_request", f"Invalid size '{text}'.", param="size")


def _usage(order: _Order) -> dict[str, Any]:
    text = math.ceil(len(order.prompt) / 4) + 4
    image = sum(math.ceil(width * height / 750) for width, height in map(pictures.size, order.sources))
    output = math.ceil(TOKENS[order.quality] * order.width * order.height / 1024**2) * order.count
    details = {"text_tokens": text, "image_tokens": image}
    return {"input_tokens": text + image, "input_tokens_details": details, "output_tokens": output, "total_tokens": text + image + output}


def _visible(account: Account) -> list[str]:
    return [name for name in MODELS if account.models is None or name in account.models]


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 1_780_000_000, "owned_by": "system", "shutdown_date": MODELS[name]}
