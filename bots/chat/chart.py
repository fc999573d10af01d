"""A chart as a picture: two kinds of bars over time, with their names in the reader's language."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from bots.chat.registry import Context
from core.address import Address
from core.db import SECOND
from core.leaving.models import CHARTS, chart_name
from core.mailbox.models import Notice
from core.words import Text, Words

WIDTH, HEIGHT, MARGIN = 900, 360, 56
GOOD, BAD, WAITS, INK, PAPER, LINE = "#2f9e62", "#d64550", "#e0a030", "#1c2540", "#ffffff", "#d5daea"
STEPS = 4
FONT = Path(__file__).parent / "fonts" / "caption.otf"
"""Latin letters and the 3,755 most frequent Chinese characters, which no other font of this machine need have."""


@dataclass(frozen=True, slots=True)
class Chart:
    """`bars`: for each stretch of the time from `since` to `until` (microseconds) the two numbers that stand on each other, in `unit`s."""

    title: Text
    names: tuple[Text, Text]
    colors: tuple[str, str]
    bars: Sequence[tuple[int, int]]
    since: int
    until: int
    unit: int = 1


async def follow(context: Context, kind: str, chart: Chart) -> None:
    """Sends a chart after the answer, to the asker alone. There is one picture of each kind and user, drawn over."""
    event, user = context.event, context.user
    blob = await context.app.blobs.put(CHARTS, draw(chart, user.locale), "image/png", chart_name(kind, user.id))
    body = {"blob": blob, "reader": user.id, "says": f"{kind}.chart"}
    await context.work.mailbox.say(
        [Notice(f"chart:{event.platform}:{event.id}", Address(event.platform, event.private_chat), "chart", body)]
    )


def draw(chart: Chart, locale: str) -> bytes:
    """A PNG."""
    image = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    pen, font, words = ImageDraw.Draw(image), ImageFont.truetype(FONT, 16, layout_engine=ImageFont.Layout.BASIC), _words()
    top = _round_up(-(-max((sum(bar) for bar in chart.bars), default=0) // chart.unit))
    left, right, bottom, height = MARGIN, WIDTH - MARGIN // 2, HEIGHT - MARGIN, HEIGHT - 2 * MARGIN
    for step in range(STEPS + 1):
        y = bottom - height * step // STEPS
        pen.line((left, y, right, y), LINE)
        pen.text((left - 8, y), f"{top * step // STEPS:,}", INK, font, anchor="rm")
    each = (right - left) / max(1, len(chart.bars))
    for number, bar in enumerate(chart.bars):
        x, y = left + number * each, bottom
        for count, color in zip(bar, chart.colors, strict=True):
            tall = height * count / (top * chart.unit)
            if count > 0:
                pen.rectangle((x + 2, y - tall, x + each - 2, y), color)
                y -= int(tall)
    for x, at, anchor in ((left, chart.since, "la"), (right, chart.until, "ra")):
        pen.text((x, bottom + 10), f"{datetime.fromtimestamp(at / SECOND, UTC):%Y-%m-%d %H:%M} UTC", INK, font, anchor=anchor)
    pen.text((left, 14), words.plain(chart.title, locale), INK, font)
    x = right
    for text, color in reversed(list(zip(chart.names, chart.colors, strict=True))):
        name = words.plain(text, locale)
        pen.text((x, 14), name, INK, font, anchor="ra")
        x -= int(font.getlength(name)) + 20
        pen.rectangle((x, 18, x + 12, 30), color)
        x -= 16
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@cache
def _words() -> Words:
    """Loaded once per process."""
    return Words(Path(__file__).with_name("locales"))


def _round_up(most: int) -> int:
    """The top of the scale: a multiple of STEPS that is not much above.

    >>> [_round_up(most) for most in (0, 3, 17, 1234)]
    [4, 4, 20, 1600]
    """
    unit = STEPS
    while unit * 10 < most:
        unit *= 10
    return max(unit, -(-most // unit) * unit)
