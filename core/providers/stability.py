"""Stability AI, REST v2beta. https://platform.stability.ai/docs/api-reference

Every call is a multipart form, also where no file is sent; the answer is the picture itself, with `finish-reason`, `seed` and
`x-request-id` as headers, or a JSON error `{"id", "name", "errors"}`. Failed and refused generations are not charged; a filtered
picture comes with status 200 and is.
"""

import asyncio
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, ImageOps

from core.providers.base import (
    Delivered,
    FailedCost,
    FailedFree,
    Fault,
    ImageRequest,
    Operation,
    Outcome,
    Probe,
    Rejected,
    Unknown,
)
from core.providers.http import MEDIA_TYPES, Answer, Client, Part, call, may_have_worked, read_picture, retry_after, sendable, unanswered
from core.vault.secret import Secret

CREDIT = 10_000
"""Micro-dollars in one Stability credit: $0.01."""

RATIOS = {"21:9": 21 / 9, "16:9": 16 / 9, "3:2": 1.5, "5:4": 1.25, "1:1": 1.0, "4:5": 0.8, "2:3": 2 / 3, "9:16": 9 / 16, "9:21": 9 / 21}
STYLES = frozenset(
    {"enhance", "anime", "photographic", "digital-art", "comic-book", "fantasy-art", "line-art", "analog-film", "neon-punk"}
    | {"isometric", "low-poly", "origami", "modeling-compound", "cinematic", "3d-model", "pixel-art", "tile-texture"}
)
MAX_PROMPT = 10_000
MAX_SEED = 4_294_967_294
MAX_UPLOAD = 10 * 1024 * 1024 - 64 * 1024
"""The body may have 10 MiB (else 413); the rest is for the other fields."""

DEFAULT_STRENGTH = 70
PROBE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class _Frame:
    """Which pictures an endpoint takes: sides and area in pixels. A larger one is made smaller, a smaller one is refused."""

    min_side: int = 64
    max_side: int = 16_384
    min_area: int = 4_096
    max_area: int = 9_437_184


@dataclass(frozen=True, slots=True)
class _Model:
    path: str  # below /v2beta/stable-image/
    cost: int  # micro-dollars per success
    operations: tuple[Operation, ...]
    variant: str = ""  # the field `model` of sd3
    style: bool = False
    negative: bool = True
    frame: _Frame = _Frame()


_DRAW, _EDIT, _UPSCALE = (Operation.GENERATE,), (Operation.GENERATE, Operation.EDIT), (Operation.UPSCALE,)

# Generate prices: official, 2024, unchanged in June 2026. Unconfirmed: flash (a third party's figure), the two upscalers (1 and 25 credits
# in 2024; implied by resellers' prices of 2026; the higher figure, so that a miner's budget is rather under- than overspent), whether
# flash takes a negative prompt (its elder sd3-large-turbo refuses it, so both distilled models go without).
MODELS = {
    "core": _Model("generate/core", 3 * CREDIT, _DRAW, style=True),
    "ultra": _Model("generate/ultra", 8 * CREDIT, _EDIT),
    "sd3.5-large": _Model("generate/sd3", 65 * CREDIT // 10, _EDIT, "sd3.5-large"),
    "sd3.5-large-turbo": _Model("generate/sd3", 4 * CREDIT, _EDIT, "sd3.5-large-turbo", negative=False),
    "sd3.5-medium": _Model("generate/sd3", 35 * CREDIT // 10, _EDIT, "sd3.5-medium"),
    "sd3.5-flash": _Model("generate/sd3", 25 * CREDIT // 10, _EDIT, "sd3.5-flash", negative=False),
    "upscale-fast": _Model("upscale/fast", 2 * CREDIT, _UPSCALE, frame=_Frame(32, 1_536, 1_024, 1_048_576)),
    "upscale-conservative": _Model("upscale/conservative", 40 * CREDIT, _UPSCALE),
}
CHEAPEST = min(model.cost for model in MODELS.values())

# The name decides before the status: an empty balance was seen as `payment_required` with 402 and with 403, where moderation lives too.
_BY_NAME = {
    "content_moderation": Fault.MODERATED,
    "payment_required": Fault.EMPTY,
    "unauthorized": Fault.BAD_KEY,
    "rate_limit_exceeded": Fault.RATE_LIMITED,
}
_BY_STATUS = {
    401: Fault.BAD_KEY,
    402: Fault.EMPTY,
    403: Fault.BAD_KEY,
    404: Fault.MODEL_MISSING,  # the model is in the path
    410: Fault.MODEL_MISSING,
    429: Fault.RATE_LIMITED,
}


class StabilityProvider:
    """Generates, edits and upscales. The client is shared with other providers; `close()` closes it for all."""

    name = "stability"
    costs: Mapping[str, int] = {name: model.cost for name, model in MODELS.items()}

    def __init__(self, base_url: str, client: Client) -> None:
        self._url = base_url.rstrip("/")
        self._client = client

    def looks_like_key(self, text: str) -> bool:
        """`sk-` and letters, digits, dashes; not one of the other vendors that begin with `sk-` too."""
        return re.fullmatch(r"sk-(?!proj-|svcacct-|admin-|ant-|or-|\w*T3BlbkFJ)[A-Za-z0-9_-]{6,200}", text) is not None

    async def generate(self, request: ImageRequest, key: Secret, *, timeout: float) -> Outcome:  # noqa: ASYNC109  # the protocol's word
        """Makes one picture with one call, preparation included in `timeout` seconds. What the model cannot do is BAD_REQUEST, unsent."""
        model = MODELS.get(request.model)
        started = asyncio.get_running_loop().time()
        parts = await _parts(request, model) if model else None
        if model is None or parts is None:
            return FailedFree(Fault.BAD_REQUEST)
        answer = await call(
            self._client,
            "POST",
            f"{self._url}/v2beta/stable-image/{model.path}",
            key,
            seconds=timeout - (asyncio.get_running_loop().time() - started),
            headers={"Accept": "image/*", "stability-client-id": "aetherflow", **_client_user(request.end_user)},
            parts=parts,
        )
        if isinstance(answer, Fault):
            return unanswered(answer)
        return _made(answer, model.cost) if answer.ok else _refused(answer)

    async def probe(self, key: Secret) -> Probe:
        """Asks for the balance: free, and 401 for a wrong key. A balance that buys nothing counts as EMPTY."""
        answer = await call(self._client, "GET", f"{self._url}/v1/user/balance", key, seconds=PROBE_SECONDS, limit=64 * 1024)
        if isinstance(answer, Fault):
            return Probe(answer)
        if not answer.ok:
            return Probe(_fault_of(answer), retry_after=retry_after(answer.headers))
        credit = answer.json().get("credits")
        if isinstance(credit, bool) or not isinstance(credit, int | float) or not abs(credit) < 1e12:  # NaN is not smaller either
            return Probe(answer.fault or Fault.BAD_ANSWER)
        balance = max(0, round(credit * CREDIT))
        return Probe(Fault.EMPTY if balance < CHEAPEST else None, balance=balance)

    async def close(self) -> None:
        """Closes the shared client; once more does nothing."""
        await self._client.aclose()


def _made(answer: Answer, cost: int) -> Outcome:
    """What a status of 200 brought: it is charged, whatever it is."""
    reason = answer.headers.get("finish-reason")
    if reason == "CONTENT_FILTERED":
        return Rejected(charged=True, cost=cost, reference=answer.reference)
    picture = read_picture(answer.body) if answer.status == 200 and answer.fault is None and reason == "SUCCESS" else None
    if picture is None:
        return FailedCost(answer.fault or Fault.BAD_ANSWER, cost, answer.reference)
    seed = answer.headers.get("seed", "")
    return Delivered(picture, int(seed) if re.fullmatch(r"[0-9]{1,10}", seed) else None, cost, answer.reference)


def _refused(answer: Answer) -> Outcome:
    fault = _fault_of(answer)
    if fault is Fault.MODERATED:
        return Rejected(reference=answer.reference)
    if may_have_worked(answer.status):
        return Unknown(fault, answer.reference)
    return FailedFree(fault, retry_after(answer.headers), answer.reference)


def _fault_of(answer: Answer) -> Fault:
    """The class of an answer that is no success."""
    name = answer.json().get("name")
    if answer.status < 400:
        return Fault.BAD_ANSWER  # a redirect: not followed
    if answer.status >= 500 or answer.status == 408:
        return Fault.SERVER
    if isinstance(name, str) and name in _BY_NAME:
        return _BY_NAME[name]
    return _BY_STATUS.get(answer.status, Fault.BAD_REQUEST)


def _client_user(end_user: str) -> Mapping[str, str]:
    """Lets Stability tell one of our users from another; at most 256 characters, a pseudonym is welcome."""
    return {"stability-client-user-id": end_user} if re.fullmatch(r"[A-Za-z0-9._:-]{1,256}", end_user) else {}


async def _parts(request: ImageRequest, model: _Model) -> dict[str, Part] | None:
    """The form that the model takes, without what it does not take; None where it cannot do what is asked."""
    fields = _fields(request, model)
    if fields is None:
        return None
    parts: dict[str, Part] = {name: (None, sendable(value).encode()) for name, value in fields.items()}
    if request.operation is Operation.GENERATE:
        return parts
    upload = await asyncio.to_thread(_fitted, request.image, model.frame) if request.image else None
    if upload is None:
        return None
    data, media_type, ratio = upload
    parts["image"] = ("image", data, media_type)
    if request.model == "ultra":  # it would crop to 1:1 otherwise
        parts["aspect_ratio"] = (None, ratio.encode())
    return parts


def _fields(request: ImageRequest, model: _Model) -> dict[str, str] | None:
    """The fields that are text; None where the model would refuse them."""
    if request.operation not in model.operations:
        return None
    if request.model == "upscale-fast":
        return {"output_format": "jpeg"}  # 16 megapixels as PNG are more than a chat takes
    fields = _own_fields(request)
    if not request.prompt.strip() or max(len(request.prompt), len(request.negative_prompt)) > MAX_PROMPT or fields is None:
        return None
    fields["prompt"] = request.prompt
    if request.negative_prompt.strip() and model.negative:
        fields["negative_prompt"] = request.negative_prompt
    if request.seed is not None:
        if not 0 <= request.seed <= MAX_SEED:
            return None
        fields["seed"] = str(request.seed)
    if model.variant:
        fields["model"] = model.variant
        fields["mode"] = "image-to-image" if request.operation is Operation.EDIT else "text-to-image"
    if model.style and request.style in STYLES:
        fields["style_preset"] = str(request.style)
    return fields


def _own_fields(request: ImageRequest) -> dict[str, str] | None:
    """What belongs to one operation alone."""
    match request.operation:
        case Operation.UPSCALE:
            return {"output_format": "jpeg"}
        case Operation.EDIT:
            strength = DEFAULT_STRENGTH if request.strength is None else request.strength
            return {"output_format": "png", "strength": f"{strength / 100:.2f}"} if 0 <= strength <= 100 else None
        case Operation.GENERATE:
            return {"output_format": "png", "aspect_ratio": request.aspect_ratio} if request.aspect_ratio in RATIOS else None


def _fitted(data: bytes, frame: _Frame) -> tuple[bytes, str, str] | None:
    """A picture as an endpoint takes it: bytes, media type, nearest ratio. None for what is no picture, or too small. Runs in a thread."""
    picture = read_picture(data)
    if picture is None:
        return None
    width, height = picture.width, picture.height
    ratio = min(RATIOS, key=lambda name: abs(math.log(RATIOS[name] * height / width)))
    scale = min(1.0, frame.max_side / max(width, height), math.sqrt(frame.max_area / (width * height)))
    if min(width, height) * scale < frame.min_side or width * height * scale * scale < frame.min_area:
        return None
    if scale == 1.0 and len(data) <= MAX_UPLOAD:
        return data, picture.media_type, ratio
    try:
        with Image.open(BytesIO(data), formats=tuple(MEDIA_TYPES)) as image:
            smaller = image.convert("RGB").resize((int(width * scale), int(height * scale)), Image.Resampling.BICUBIC, reducing_gap=2.0)
            smaller.info["exif"] = image.info.get("exif", b"")  # which side is up
    except (OSError, SyntaxError, ValueError):  # its frame was whole, its pixels are not
        return None
    buffer = BytesIO()
    ImageOps.exif_transpose(smaller).save(buffer, "JPEG", quality=90)
    return (buffer.getvalue(), "image/jpeg", ratio) if buffer.tell() <= MAX_UPLOAD else None
