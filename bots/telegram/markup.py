"""The small common markup, measured, cut and split the way Telegram counts: in what is left after parsing, in UTF-16 units.

Telegram does not publish the unit of its limits; this is the one in which it measures entities, and never the smaller.
"""

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

_TOKEN = re.compile(r"<(/?)([a-z][a-z-]*)([^<>]*)>|&(?:lt|gt|amp|quot|#\d+);|[^<&]+|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Run:
    """Plain text within the same open tags (as they were written)."""

    text: str
    tags: tuple[str, ...]


def units(text: str) -> int:
    """Length of plain text in UTF-16 units: 2 for an emoji."""
    return len(text) + sum(character > "\uffff" for character in text)


def length(markup: str) -> int:
    """How long Telegram finds a text."""
    return sum(units(run.text) for run in _runs(markup))


def split(markup: str, limit: int) -> list[str]:
    """Parts of at most `limit` units, divided at line ends or spaces where that is possible; each part is whole markup."""
    if length(markup) <= limit:
        return [markup]
    parts, rest = [], list(_runs(markup))
    while rest:
        head, rest = _divide(rest, limit)
        parts.append(_written(head))
    return parts


def cut(markup: str, limit: int) -> str:
    """The text, or its beginning and an ellipsis when it is too long."""
    if length(markup) <= limit:
        return markup
    head, _ = _divide(list(_runs(markup)), limit - 1)
    return _written([*head, _Run("…", ())])


def _runs(markup: str) -> Iterator[_Run]:
    tags: list[str] = []
    for token in _TOKEN.finditer(markup):
        if not token[2]:
            yield _Run(html.unescape(token[0]), tuple(tags))
        elif token[1]:
            if tags:
                tags.pop()
        else:
            tags.append(token[0])


def _written(runs: Sequence[_Run]) -> str:
    written = ""
    for tags, same in groupby(runs, key=lambda run: run.tags):
        closing = "".join(f"</{tag[1:-1].split()[0]}>" for tag in reversed(tags))
        written += "".join(tags) + html.escape("".join(run.text for run in same), quote=False) + closing
    return written


def _divide(runs: list[_Run], limit: int) -> tuple[list[_Run], list[_Run]]:
    """The longest head within the limit that ends well, and the rest without the space between them."""
    plain = "".join(run.text for run in runs)
    end = _fitting(plain, limit)
    if end < len(plain):
        well = max(plain.rfind("\n", 0, end + 1), 0) or max(plain.rfind(" ", 0, end + 1), 0)
        end = well if well > end // 2 else end
    start = end + (len(plain[end:]) - len(plain[end:].lstrip()))
    return _between(runs, 0, end), _between(runs, start, len(plain))


def _fitting(plain: str, limit: int) -> int:
    """How many characters fit into `limit` units."""
    taken = 0
    for index, character in enumerate(plain):
        taken += 2 if character > "\uffff" else 1
        if taken > limit:
            return index
    return len(plain)


def _between(runs: list[_Run], start: int, end: int) -> list[_Run]:
    kept, at = [], 0
    for run in runs:
        piece = run.text[max(0, start - at) : max(0, end - at)]
        if piece:
            kept.append(_Run(piece, run.tags))
        at += len(run.text)
    return kept
