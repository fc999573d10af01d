"""A chart as a picture: bars over time, in plain figures and letters that every font has; the message beside it says what they are."""

import io
from collections.abc import Sequence
from datetime import UTC, datetime

from PIL import Image, ImageDraw, ImageFont

from core.db import SECOND
from core.oversight.models import Bar

WIDTH, HEIGHT, MARGIN = 900, 360, 56
GOOD, BAD, INK, PAPER, LINE = "#2f9e62", "#d64550", "#1c2540", "#ffffff", "#d5daea"
STEPS = 4


def draw(bars: Sequence[Bar], since: int, now: int) -> bytes:
    """A PNG: for each stretch of the time from `since` to `now` (microseconds) what was delivered, and above it what failed."""
    image = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(16)
    top = _round_up(max((bar.delivered + bar.failed for bar in bars), default=0))
    left, bottom, height = MARGIN, HEIGHT - MARGIN, HEIGHT - 2 * MARGIN
    for step in range(STEPS + 1):
        y = bottom - height * step // STEPS
        pen.line((left, y, WIDTH - MARGIN // 2, y), LINE)
        pen.text((left - 8, y), f"{top * step // STEPS:,}", INK, font, anchor="rm")
    each = (WIDTH - MARGIN - MARGIN // 2) / max(1, len(bars))
    for number, bar in enumerate(bars):
        x, y = left + number * each, bottom
        for count, color in ((bar.delivered, GOOD), (bar.failed, BAD)):
            tall = height * count / top
            if count:
                pen.rectangle((x + 2, y - tall, x + each - 2, y), color)
            y -= int(tall)
    for x, at, anchor in ((left, since, "la"), (WIDTH - MARGIN // 2, now, "ra")):
        pen.text((x, bottom + 10), f"{datetime.fromtimestamp(at / SECOND, UTC):%Y-%m-%d %H:%M} UTC", INK, font, anchor=anchor)
    pen.text(
        (left, 14), f"generations: {sum(bar.delivered for bar in bars):,} delivered, {sum(bar.failed for bar in bars):,} failed", INK, font
    )
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _round_up(most: int) -> int:
    """The top of the scale: a multiple of STEPS that is not much above.

    >>> [_round_up(most) for most in (0, 3, 17, 1234)]
    [4, 4, 20, 1600]
    """
    unit = STEPS
    while unit * 10 < most:
        unit *= 10
    return max(unit, -(-most // unit) * unit)
