"""Stands for Stability AI's REST API under /stability: generate, upscale, balance. https://platform.stability.ai/docs/api-reference

Every request is held against the official limits. A prompt with the word "forbidden" is refused (403), one with "filtered" gives 200 and a
blurred picture. Keys are `sk-…`; those that begin with `sk-demo-` exist with 1,000 credits.
"""

import base64
import json
import math
import re
from dataclasses import dataclass
from decimal import Decimal

from aiohttp import web

from sandbox import pictures
from sandbox.image_api import Account, ImageApi, Job, Refused, read_form, text_of

MAX_BODY = 10 * 1024 * 1024
MAX_PROMPT = 10_000
MAX_SEED = 4_294_967_294
PREFIX = "/stability"

SIZES = {  # of one megapixel
    "21:9": (1536, 640),
    "16:9": (1344, 768),
    "3:2": (1216, 832),
    "5:4": (1088, 896),
    "1:1": (1024, 1024),
    "4:5": (896, 1088),
    "2:3": (832, 1216),
    "9:16": (768, 1344),
    "9:21": (640, 1536),
}
STYLES = frozenset(
    {"enhance", "anime", "photographic", "digital-art", "comic-book", "fantasy-art", "line-art", "analog-film", "neon-punk"}
    | {"isometric", "low-poly", "origami", "modeling-compound", "cinematic", "3d-model", "pixel-art", "tile-texture"}
)
SD3_PRICES = {"sd3.5-large": "6.5", "sd3.5-large-turbo": "4", "sd3.5-medium": "3.5", "sd3.5-flash": "2.5"}
FORMATS = ("png", "jpeg", "webp")
_WORDS = {"prompt", "negative_prompt", "seed", "output_format"}


@dataclass(frozen=True)
class _Endpoint:
    fields: frozenset[str]
    price: str
    formats: tuple[str, ...] = FORMATS
    min_side: int = 64
    max_side: int = 16_384
    min_area: int = 4_096
    max_area: int = 9_437_184


ENDPOINTS = {
    "generate/core": _Endpoint(frozenset(_WORDS | {"aspect_ratio", "style_preset"}), "3"),
    "generate/ultra": _Endpoint(frozenset(_WORDS | {"aspect_ratio", "image", "strength"}), "8", max_area=16_384**2),
    "generate/sd3": _Endpoint(frozenset(_WORDS | {"aspect_ratio", "image", "strength", "mode", "model", "cfg_scale"}), "", ("png", "jpeg")),
    "upscale/fast": _Endpoint(frozenset({"image", "output_format"}), "2", FORMATS, 32, 1_536, 1_024, 1_048_576),
    "upscale/conservative": _Endpoint(frozenset(_WORDS | {"image", "creativity"}), "40"),
}

_ERRORS = {
    "bad_request": (400, "bad_request", "the request is not valid"),
    "unauthorized": (401, "unauthorized", "missing or incorrect API key"),
    "empty": (402, "payment_required", "You lack sufficient credits to make this request. Please purchase more credits and try again."),
    "moderated": (
        403,
        "content_moderation",
        "Your request was flagged by our content moderation system, as a result your request was denied and you were not charged.",
    ),
    "unverified": (403, "permission_denied", "this account may not use this service"),
    "model_missing": (404, "not_found", "there is no such model"),
    "not_found": (404, "not_found", "there is nothing here"),
    "too_large": (413, "payload_too_large", "the body must not exceed 10MiB"),
    "rate_limited": (429, "rate_limit_exceeded", "more than 150 requests in 10 seconds"),
    "server": (500, "internal_error", "an unexpected server error has occurred"),
    "unavailable": (503, "service_unavailable", "try again later"),
}


class StabilitySandbox(ImageApi):
    """`add_key`, `faults`, `hold`, `release`, `arrived`, `calls`, `draft`: see ImageApi."""

    vendor = "stability"
    rate_limit: tuple[int, float] | None = (150, 10.0)

    def may_be_key(self, key: str) -> bool:
        """`sk-`, but not a key of OpenAI."""
        return re.fullmatch(r"sk-(?!proj-)[\x21-\x7e]+", key) is not None

    def is_demo(self, key: str) -> bool:
        """`sk-demo-…`."""
        return key.startswith("sk-demo-") and self.may_be_key(key)

    def routes(self) -> list[web.RouteDef]:
        """The API, and its switches."""
        return [
            *super().routes(),
            web.post(PREFIX + "/v2beta/stable-image/{group}/{name}", self.on_picture),
            web.get(PREFIX + "/v1/user/balance", self._balance),
            web.get(PREFIX + "/v1/user/account", self._account),
            web.get(PREFIX + "/v1/engines/list", self._engines),
            web.route("*", PREFIX + "/{rest:.*}", self._nothing),
        ]

    async def read(self, request: web.Request, account: Account) -> Job:
        """Checks the form of one endpoint. Raises Refused."""
        path = f"{request.match_info['group']}/{request.match_info['name']}"
        if path not in ENDPOINTS:
            raise Refused("not_found")
        accept = request.headers.get("Accept", "*/*")
        if accept not in ("image/*", "application/json", "*/*"):
            raise Refused("bad_request", "accept: must be image/* or application/json")
        for header in ("stability-client-id", "stability-client-user-id", "stability-client-version"):
            if len(request.headers.get(header, "")) > 256:
                raise Refused("bad_request", f"{header}: at most 256 characters")
        form = _Form(await read_form(request, MAX_BODY), ENDPOINTS[path])
        return self._upscale(path, form, accept) if path.startswith("upscale/") else self._generate(path, form, accept)

    def _generate(self, path: str, form: "_Form", accept: str) -> Job:
        prompt, price = form.words("prompt", required=True), form.endpoint.price
        negative = form.words("negative_prompt")
        picture, strength = form.picture(), form.number("strength", 0, 1, 1)
        seed, kind = int(form.number("seed", 0, MAX_SEED, 0)), form.choice("output_format", form.endpoint.formats, "png")
        style = form.choice("style_preset", tuple(STYLES), "") or None
        with_picture = {"image", "strength"} <= form.names
        if path == "generate/sd3":
            price = SD3_PRICES[model := form.choice("model", tuple(SD3_PRICES), "sd3.5-large")]
            from_picture = form.choice("mode", ("text-to-image", "image-to-image"), "text-to-image") == "image-to-image"
            form.number("cfg_scale", 1, 10, 4)
            if from_picture != with_picture or (from_picture and "aspect_ratio" in form.names):
                raise Refused(
                    "bad_request", "mode: image-to-image takes image and strength and no aspect_ratio, text-to-image the opposite"
                )
            if negative and model == "sd3.5-large-turbo":
                raise Refused("bad_request", "negative_prompt: not with this model")
        if with_picture != bool({"image", "strength"} & form.names):
            raise Refused("bad_request", "strength: required with image, and only then")
        ratio = form.choice("aspect_ratio", tuple(SIZES), "1:1")
        if picture and path == "generate/sd3":
            ratio = min(SIZES, key=lambda name: abs(math.log(SIZES[name][0] * picture.height / (SIZES[name][1] * picture.width))))
        scale = (math.sqrt(1.5) if path == "generate/core" else 1.0) / (8 if self.draft else 1)
        width, height = (max(64, round(side * scale / 16) * 16) for side in SIZES[ratio])
        seed = seed or self.dice.randint(1, MAX_SEED)

        def paint(trouble: str) -> tuple[bytes, dict[str, str]]:
            drawn = pictures.draw(prompt, seed, width, height, style)
            drawn = pictures.blend(picture.data, drawn, strength) if picture else drawn
            return self._success(drawn, kind, trouble, seed, accept)

        return Job(prompt, Decimal(price), paint)

    def _upscale(self, path: str, form: "_Form", accept: str) -> Job:
        prompt = form.words("prompt", required=path == "upscale/conservative")
        form.words("negative_prompt")
        form.number("creativity", 0.2, 0.5, 0.35)
        seed = int(form.number("seed", 0, MAX_SEED, 0)) or self.dice.randint(1, MAX_SEED)
        kind = form.choice("output_format", FORMATS, "png")
        picture = form.picture()
        if picture is None:
            raise Refused("bad_request", "image: required")
        factor = 4.0 if path == "upscale/fast" else max(1.0, math.sqrt(4_000_000 / (picture.width * picture.height)))

        def paint(trouble: str) -> tuple[bytes, dict[str, str]]:
            return self._success(pictures.upscale(picture.data, 1.0 if self.draft else factor), kind, trouble, seed, accept)

        return Job(prompt, Decimal(form.endpoint.price), paint)

    def _success(self, png: bytes, kind: str, trouble: str, seed: int, accept: str) -> tuple[bytes, dict[str, str]]:
        data = {"filtered": pictures.blur, "blank": pictures.blank}[trouble](png) if trouble else png
        data = data if kind == "png" else pictures.encode(pictures.decode(data), kind)
        reason = "CONTENT_FILTERED" if trouble == "filtered" else "SUCCESS"
        if accept == "application/json":
            body = {"image": base64.b64encode(data).decode(), "finish_reason": reason, "seed": seed}
            return json.dumps(body).encode(), {"Content-Type": "application/json", "x-request-id": self.new_id()}
        return data, {"Content-Type": f"image/{kind}", "finish-reason": reason, "seed": str(seed), "x-request-id": self.new_id()}

    def refusal(self, refused: Refused) -> web.Response:
        """{"id", "name", "errors"}; `Retry-After` only where a test asked for it: the specification names none."""
        status, name, message = _ERRORS[refused.kind]
        body = {"id": self.new_id(), "name": name, "errors": [refused.message or message]}
        return web.json_response(body, status=status, headers=_wait(refused) | {"x-request-id": self.new_id()})

    def _refusal_v1(self, refused: Refused) -> web.Response:
        status, name, message = _ERRORS[refused.kind]
        return web.json_response({"id": self.new_id(), "name": name, "message": refused.message or message}, status=status)

    async def _balance(self, request: web.Request) -> web.Response:
        try:
            return web.json_response({"credits": float(self.balance(self.authenticate_free(request)))})
        except Refused as refused:
            return self._refusal_v1(refused)

    async def _account(self, request: web.Request) -> web.Response:
        try:
            name = self.authenticate_free(request).key[-4:]
        except Refused as refused:
            return self._refusal_v1(refused)
        organization = {"id": f"org-{name}", "name": f"Organization {name}", "role": "OWNER", "is_default": True}
        return web.json_response(
            {"email": f"{name}@example.com", "id": f"user-{name}", "organizations": [organization], "profile_picture": ""}
        )

    async def _engines(self, request: web.Request) -> web.Response:
        try:
            self.authenticate_free(request)
        except Refused as refused:
            return self._refusal_v1(refused)
        engine = {"id": "stable-diffusion-xl-1024-v1-0", "name": "Stable Diffusion XL v1.0", "description": "", "type": "PICTURE"}
        return web.json_response([engine])

    async def _nothing(self, _request: web.Request) -> web.Response:
        return self.refusal(Refused("not_found"))


@dataclass(frozen=True)
class _Picture:
    data: bytes
    width: int
    height: int


class _Form:
    """The parts of a request, read field by field; every method raises Refused.

    A field that the endpoint does not have is refused, which is stricter than the real API: there, official samples send a file `none`.
    """

    def __init__(self, parts: dict[str, bytes], endpoint: _Endpoint) -> None:
        self.endpoint = endpoint
        self._parts = {name: data for name, data in parts.items() if name != "none"}
        self.names = set(self._parts)
        if unknown := sorted(self.names - endpoint.fields):
            raise Refused("bad_request", f"{unknown[0]}: unknown field")

    def words(self, name: str, *, required: bool = False) -> str:
        """A prompt of at most 10,000 characters."""
        text = text_of(self._parts.get(name, b""), name)
        if len(text) > MAX_PROMPT or (required and not text.strip()):
            raise Refused("bad_request", f"{name}: must have 1 to {MAX_PROMPT} characters")
        return text

    def choice(self, name: str, options: tuple[str, ...], default: str) -> str:
        """One of the options."""
        text = text_of(self._parts[name], name) if name in self.names else default
        if name in self.names and text not in options:
            raise Refused("bad_request", f"{name}: must be one of {', '.join(sorted(options))}")
        return text

    def number(self, name: str, low: float, high: float, default: float) -> float:
        """A plain decimal number from low to high; a whole one where the default is whole and high is large."""
        if name not in self.names:
            return default
        text = text_of(self._parts[name], name)
        pattern = r"[0-9]{1,10}" if high > 100 else r"[0-9]{1,3}(\.[0-9]{1,6})?"
        if not re.fullmatch(pattern, text) or not low <= float(text) <= high:
            raise Refused("bad_request", f"{name}: must be a number from {low:g} to {high:g}")
        return float(text)

    def picture(self) -> _Picture | None:
        """The field `image`, of a size that the endpoint takes."""
        if "image" not in self.names:
            return None
        data, limits = self._parts["image"], self.endpoint
        try:
            width, height = pictures.size(data)
        except (OSError, SyntaxError, ValueError):
            raise Refused("bad_request", "image: must be a PNG, JPEG or WebP") from None
        if not (limits.min_side <= min(width, height) and max(width, height) <= limits.max_side):
            raise Refused("bad_request", f"image: sides must have {limits.min_side} to {limits.max_side} pixels")
        if not limits.min_area <= width * height <= limits.max_area:
            raise Refused("bad_request", f"image: must have {limits.min_area} to {limits.max_area} pixels")
        return _Picture(data, width, height)


def _wait(refused: Refused) -> dict[str, str]:
    return {} if refused.retry_after is None else {"Retry-After": f"{refused.retry_after:g}"}
