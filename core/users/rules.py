"""Pure decisions about users: how refused prompts count."""

import json
from collections.abc import Sequence

from core.db import DAY

STRIKE_WINDOW = DAY
"""How long a refused prompt counts, in microseconds."""


def strikes_in(text: str, now: int) -> list[int]:
    """The strikes of a row that count at `now`, the oldest first; all in microseconds.

    >>> strikes_in("[5, 90000000000]", 90000000001)
    [90000000000]
    """
    return [] if text == "[]" else [at for at in json.loads(text) if at > now - STRIKE_WINDOW]


def struck(before: Sequence[int], count: int, most: int, now: int) -> tuple[list[int], int]:
    """The strikes after `count` more, and until when nothing is ordered (0: it may be): with `most` of them until the oldest is out.

    >>> struck([7], 1, 3, 8), struck([7, 8], 1, 3, 9)
    (([7, 8], 0), ([7, 8, 9], 86400000007))
    """
    strikes = [*before, *[now] * count][-most:]
    return strikes, strikes[0] + STRIKE_WINDOW if len(strikes) >= most else 0
