"""Delivered pictures in the formats that are asked for, and behind links that need no token and end by themselves."""

import asyncio
from io import BytesIO
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Request, Response
from PIL import Image

from api.shown import core_of, refusals
from core.app import App
from core.blobs import BlobsUnavailable
from core.db import SECOND
from core.errors import NotFound
from core.generations.models import Generation, State
from core.presets.models import Preset, PresetState
from core.vault.sign import read_signed, sign

router = APIRouter(tags=["generations"])

Format = Literal["png", "jpeg", "webp"]
FORMATS: tuple[Format, ...] = ("png", "jpeg", "webp")
LINK_SECONDS = 3600
"""How long a link is good, as long as OpenAI's are."""
PURPOSE, COVER = "picture", "cover"
BEST = 100


def link(app: App, generation: Generation, kind: Format, compression: int) -> str:
    """A link to a delivered picture, good for LINK_SECONDS for whoever has it."""
    until = app.now() // SECOND + LINK_SECONDS
    signed = sign(app.vault, PURPOSE, f"{generation.id},{until},{kind},{compression}")
    return f"{app.settings.public_url.rstrip('/')}/pictures/{signed}"


def cover_link(app: App, preset: Preset) -> str:
    """A link to a preset's cover, good for LINK_SECONDS for whoever has it."""
    signed = sign(app.vault, COVER, f"{preset.id},{app.now() // SECOND + LINK_SECONDS}")
    return f"{app.settings.public_url.rstrip('/')}/covers/{signed}"


def here(address: str) -> str:
    """A link of ours within this page, whatever name the reader reached us by."""
    return address[address.index("/pictures/") :]


async def picture(app: App, generation: Generation, kind: Format, compression: int) -> bytes:
    """A delivered picture's bytes as `kind`, unchanged where it is that already. `compression` 0–100 is the quality of jpeg and webp.

    Raises BlobNotFound, BlobsUnavailable.
    """
    assert generation.blob is not None
    data = await app.blobs.get(generation.blob)
    if generation.media_type == f"image/{kind}" and (kind == "png" or compression == BEST):
        return data
    try:
        return await asyncio.to_thread(_convert, data, kind, compression)
    except (OSError, Image.DecompressionBombError) as error:
        raise BlobsUnavailable(problem=type(error).__name__) from error


@router.get(
    "/pictures/{signed}", summary="A picture behind a link", response_class=Response,
    responses={
        200: {"description": "The bytes.", "content": {f"image/{kind}": {"schema": {"type": "string", "format": "binary"}}
                                                       for kind in FORMATS}},
        **refusals(404, 422, 503),
    },
)  # fmt: skip
async def read_picture(request: Request, signed: Annotated[str, Path(max_length=300)]) -> Response:
    """The picture of a link that POST /v1/images/generations answered. Needs no token; the link ends after an hour."""
    app = core_of(request)
    text = read_signed(app.vault, PURPOSE, signed)
    if text is None:
        raise NotFound()
    number, until, kind, compression = text.split(",")
    if app.now() // SECOND >= int(until):
        raise NotFound()
    async with app.read() as work:
        found = await work.generations.get(int(number))
    wanted = next(each for each in FORMATS if each == kind)
    if found.blob is None or found.state not in (State.DELIVERED, State.DISPUTED):
        raise NotFound()
    data = await picture(app, found, wanted, int(compression))
    left = int(until) - app.now() // SECOND
    headers = {"Cache-Control": f"private, max-age={max(0, left)}", "Cross-Origin-Resource-Policy": "cross-origin"}
    return Response(data, headers=headers, media_type=f"image/{wanted}")


@router.get(
    "/covers/{signed}", summary="A preset's cover behind a link", response_class=Response, tags=["presets"],
    responses={
        200: {"description": "The bytes.", "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
        **refusals(404, 422, 503),
    },
)  # fmt: skip
async def read_cover(request: Request, signed: Annotated[str, Path(max_length=300)]) -> Response:
    """The cover of a preset that GET /presets listed. Needs no token; the link ends after an hour, and with the preset."""
    app = core_of(request)
    number, _, until = (read_signed(app.vault, COVER, signed) or "0,0").partition(",")
    left = int(until) - app.now() // SECOND
    if left <= 0:
        raise NotFound()
    async with app.read() as work:
        found = await work.presets.get(int(number))
    if found.cover is None or found.state is not PresetState.LISTED:
        raise NotFound()
    headers = {"Cache-Control": f"private, max-age={left}", "Cross-Origin-Resource-Policy": "cross-origin"}
    return Response(await app.blobs.get(found.cover), headers=headers, media_type="image/jpeg")


def _convert(data: bytes, kind: Format, compression: int) -> bytes:
    """Re-encodes; jpeg has no transparency, which becomes white. Runs in a thread."""
    buffer = BytesIO()
    with Image.open(BytesIO(data)) as opened:
        if kind == "png":
            opened.save(buffer, "PNG")
        elif kind == "webp":
            opened.save(buffer, "WEBP", quality=compression)
        else:
            flat = Image.new("RGB", opened.size, "white")
            rgba = opened.convert("RGBA")
            flat.paste(rgba, mask=rgba.getchannel("A"))
            flat.save(buffer, "JPEG", quality=max(1, min(compression, 95)))  # above 95 Pillow only makes files larger
    return buffer.getvalue()
