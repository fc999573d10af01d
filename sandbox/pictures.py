"""Pictures that stand for a model's: drawn from the prompt and the seed, the same bytes for the same two."""

import hashlib
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from random import Random

from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps, ImageStat

from sandbox import landscape

FONT = Path(__file__).parents[1] / "bots" / "chat" / "fonts" / "caption.otf"
"""The letters of the chat layer's charts: the sandbox imports nothing of ours, and reads this one file."""
NEAR = 24
PUNCTUATION = frozenset("“”‘’…—–·•、。〈〉《》「」『』【】〔〕！（），：；？％～￥")
MAX_SIDE = 8192
MARKS = {"bare": ("sexual", (255, 0, 160)), "bloody": ("violence/graphic", (150, 0, 0))}
"""Words of a prompt that show in the picture alone, as a square in its upper left corner: the category that a look finds, and its color."""


def draw(prompt: str, seed: int, width: int, height: int, style: str | None = None) -> bytes:
    """A PNG of `width` x `height` pixels (16 to 8192 each); about 35 ms of one core for a million pixels, so call it in a thread.

    Shapes are drawn at twice the size and halved, which makes their edges smooth. Styles that show: pixel-art, line-art, analog-film,
    neon-punk, anime, cinematic, photographic.
    """
    if not 16 <= min(width, height) <= max(width, height) <= MAX_SIDE:
        raise ValueError(f"a picture of {width} x {height}")
    dice = Random(int.from_bytes(hashlib.sha256(f"{seed}\n{prompt}".encode("utf-8", "replace")).digest()))
    large = landscape.paint(prompt, width * 2, height * 2, dice, neon=style == "neon-punk")
    picture = _styled(large.reduce(2), style)
    _caption(picture, prompt)
    for color in (color for word, (_, color) in MARKS.items() if word in prompt.lower().split()):
        picture.paste(color, (0, 0, max(width, height) // 8, max(width, height) // 8))
    return encode(picture)


def marks(data: bytes) -> frozenset[str]:
    """The categories of the MARKS that a picture has, whatever size and format it has by now. Raises as `decode` does."""
    picture = decode(data)
    middle = max(picture.size) // 16
    spot = ImageStat.Stat(picture.crop((middle, middle, middle + 1, middle + 1))).mean
    return frozenset(name for name, color in MARKS.values() if max(abs(a - b) for a, b in zip(spot, color, strict=True)) < NEAR)


def encode(picture: Image.Image, kind: str = "png") -> bytes:
    """The picture as "png", "jpeg" or "webp"."""
    buffer = BytesIO()
    if kind == "png":
        picture.save(buffer, "PNG", compress_level=1)
    else:
        picture.convert("RGB").save(buffer, kind.upper(), quality=90, **({"method": 0} if kind == "webp" else {}))
    return buffer.getvalue()


def decode(data: bytes) -> Image.Image:
    """The pixels of a PNG, JPEG or WebP. Raises OSError, SyntaxError or ValueError for anything else."""
    with Image.open(BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as picture:
        return picture.convert("RGB")


def size(data: bytes) -> tuple[int, int]:
    """Width and height of a PNG, JPEG or WebP. Raises as `decode` does."""
    with Image.open(BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as picture:
        return picture.size


def blur(data: bytes) -> bytes:
    """What a filter makes of a picture: nothing in it can be recognised."""
    picture = decode(data)
    small = picture.resize((max(1, picture.width // 32), max(1, picture.height // 32)), Image.Resampling.BOX)
    return encode(small.filter(ImageFilter.GaussianBlur(1.5)).resize(picture.size, Image.Resampling.BILINEAR))


def blank(data: bytes) -> bytes:
    """A white PNG of the size of a picture: what a broken model gives back."""
    return encode(Image.new("RGB", size(data), "white"))


def upscale(data: bytes, factor: float, kind: str = "png") -> bytes:
    """The picture with sides `factor` times as long, sharpened a little."""
    picture = decode(data)
    size = (round(picture.width * factor), round(picture.height * factor))
    return encode(picture.resize(size, Image.Resampling.BILINEAR), kind)


def blend(data: bytes, other: bytes, share: float) -> bytes:
    """`data` with a `share` (0 to 1) of `other` in it, in the size of `other`."""
    top = decode(other)
    return encode(Image.blend(ImageOps.fit(decode(data), top.size), top, share))


def drawable(char: str) -> bool:
    """Whether the font has the character."""
    if " " <= char <= "~" or "\xa1" <= char <= "\xff" or char in PUNCTUATION:
        return True
    try:
        return 0xB0 <= char.encode("gb2312")[0] < 0xD8  # the rows of level 1
    except UnicodeEncodeError:
        return False


def _styled(picture: Image.Image, style: str | None) -> Image.Image:
    match style:
        case "pixel-art":
            small = picture.resize((max(1, picture.width // 8), max(1, picture.height // 8)), Image.Resampling.BOX)
            return small.quantize(24, dither=Image.Dither.NONE).convert("RGB").resize(picture.size, Image.Resampling.NEAREST)
        case "line-art":
            edges = ImageOps.invert(picture.convert("L").filter(ImageFilter.FIND_EDGES))
            return edges.point(lambda value: 255 if value > 236 else value // 3).convert("RGB")
        case "analog-film":
            return ImageOps.colorize(ImageOps.autocontrast(picture.convert("L")), "#2a1d17", "#f6e7cf", "#a58164")
        case "anime" | "cinematic" | "photographic":
            return ImageEnhance.Color(picture).enhance({"anime": 1.35, "cinematic": 0.75}.get(style, 0.9))
    return picture


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(FONT, size, layout_engine=ImageFont.Layout.BASIC)


def _caption(picture: Image.Image, prompt: str) -> None:
    """The prompt's words, small, in the lower left corner. Nothing where the font lacks most of them."""
    words = " ".join("".join(char if drawable(char) else " " for char in prompt).split())
    if len(words.replace(" ", "")) < 0.6 * len("".join(prompt.split())) or not words or min(picture.size) < 128:
        return
    font = _font(max(11, round(min(picture.size) * 0.021)))
    room = picture.width - 4 * font.size
    text = words
    while font.getlength(text) > room:
        words = words[: int(len(words) * room / font.getlength(text))] if len(words) > 200 else words[:-1]
        text = words.rstrip() + "…"
    pen = ImageDraw.Draw(picture, "RGBA")
    x, y = 2 * font.size, picture.height - 2.6 * font.size
    pen.rounded_rectangle(
        (x - 0.7 * font.size, y - 0.35 * font.size, x + font.getlength(text) + 0.7 * font.size, y + 1.5 * font.size),
        0.9 * font.size,
        fill=(10, 12, 24, 96),
    )
    pen.text((x, y), text, font=font, fill=(255, 255, 255, 220))
