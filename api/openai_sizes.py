"""Sizes in pixels, as OpenAI's clients ask for them, as the ratios that the catalog's models draw."""

import re

from api.language import WORDS
from api.problems import Problem
from core.catalog import Model
from core.words import Text

SIZE = re.compile(r"([1-9][0-9]{1,4})x([1-9][0-9]{1,4})")
TOLERANCE_PERCENT = 2
"""1792x1024 is asked for as 16:9; 1024x1000 is no square."""
DEFAULT = "1:1"


def ratio_of(size: str | None, model: Model, language: str) -> str:
    """The model's ratio for a size such as "1536x1024"; "auto" and none are square. Raises Problem invalid_request, which names `size`.

    Models draw in sizes of their own: the ratio is kept, the answer says the pixels.
    """
    if size is None or size == "auto":
        return DEFAULT
    match = SIZE.fullmatch(size)
    if match is not None:
        width, height = (int(side) for side in match.groups())
        fitting = [ratio for ratio in model.ratios if _fits(width, height, ratio)]
        if fitting:
            return fitting[0]
    known = ["auto", *(_pixels(ratio) for ratio in model.ratios)]
    message = WORDS.plain(Text("invalid.size", {"known": known}), language)
    raise Problem("invalid_request", errors=[{"pointer": "#/size", "message": message}])


def _fits(width: int, height: int, ratio: str) -> bool:
    across, down = (int(side) for side in ratio.split(":"))
    return abs(width * down - height * across) * 100 <= TOLERANCE_PERCENT * height * across


def _pixels(ratio: str) -> str:
    """A size of that ratio with a longer side of at most 1536."""
    across, down = (int(side) for side in ratio.split(":"))
    if across == down:
        return "1024x1024"
    unit = 1536 // max(across, down)
    return f"{across * unit}x{down * unit}"
