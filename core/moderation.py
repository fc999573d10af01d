"""What prompts may not say, refused before any cost, with the words that it is about. Lists by topic, in a file that the operator replaces.

This is the first of five: a moderation provider may look at what these lists let through (core/providers/moderator.py), image providers
refuse by their own rules, made pictures are looked at (core/judge.py), and admins take down what people report.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from core.datafile import Table, read
from core.errors import Refusal

DEFAULT_FILE = Path(__file__).with_name("moderation.toml")
MAX_QUOTED = 40


class ForbiddenPrompt(Refusal):
    """A phrase that is not drawn here. Facts: `words` as it stands in the list, `topic`, `level`: where it is not drawn."""

    code = "forbidden_prompt"


class Level(StrEnum):
    """Where a topic is not drawn."""

    ALWAYS = "always"  # nowhere
    STRICT = "strict"  # in strict communities
    ADULT = "adult"  # wherever others see it, unless the platform marks the channel as age-restricted


@dataclass(frozen=True, slots=True)
class Audience:
    """Who sees a picture. `adult`: its creator alone, or people in a channel marked as age-restricted. `strict`: a strict community."""

    strict: bool = False
    adult: bool = True

    def forbids(self, level: Level) -> bool:
        """Whether a topic of that level is not drawn for them."""
        return level is Level.ALWAYS or (self.strict if level is Level.STRICT else not self.adult)


ALONE = Audience()
"""The creator alone: a private chat, the API."""


class Verdict(StrEnum):
    """What follows from the categories that a moderation provider found."""

    FINE = "fine"
    VEILED = "veiled"  # the picture is sent as a spoiler
    REFUSED = "refused"


class Moderation:
    """The lists, compiled: one pattern for each topic, the level of each, and the level of each category of a moderation provider."""

    def __init__(
        self,
        topics: Mapping[str, tuple[str, ...]],
        levels: Mapping[str, Level] | None = None,
        categories: Mapping[str, Level] | None = None,
    ) -> None:
        known = levels or {}
        order = list(Level)  # what is forbidden everywhere is found first
        patterns = [
            (known.get(topic, Level.ALWAYS), topic, re.compile("|".join(map(_pattern, phrases))))
            for topic, phrases in topics.items()
            if phrases
        ]
        self._patterns = sorted(patterns, key=lambda each: order.index(each[0]))
        self._categories = categories or {}

    def check(self, prompt: str, audience: Audience = ALONE) -> bool:
        """Whether the picture is to be veiled. Raises ForbiddenPrompt for the first phrase that this audience is not shown."""
        text = _plain(prompt)
        veiled = audience.strict
        for level, topic, pattern in self._patterns:
            if (found := pattern.search(text)) is None:
                continue
            if audience.forbids(level):
                raise ForbiddenPrompt(words=found[0][:MAX_QUOTED], topic=topic, level=level)
            veiled = veiled or level is Level.ADULT
        return veiled

    def judge(self, categories: Iterable[str], audience: Audience) -> Verdict:
        """What follows from what was found in a prompt or a picture.

        A category that the file does not name is forbidden everywhere.
        """
        levels = [self._categories.get(each, Level.ALWAYS) for each in categories]
        if any(audience.forbids(level) for level in levels):
            return Verdict.REFUSED
        return Verdict.VEILED if Level.ADULT in levels else Verdict.FINE


def load_moderation(path: Path | None = None) -> Moderation:
    """Reads the lists. Raises Misconfigured with the place of what is wrong."""
    return read(path or DEFAULT_FILE, "MODERATION_FILE", _moderation)


def _moderation(file: Table) -> Moderation:
    file.only("topics", "levels", "categories")
    topics, levels, categories = (file.within(name) for name in ("topics", "levels", "categories"))
    for name in levels.names():
        if name not in topics.names():
            raise levels.wrong(name, "is the level of no topic")
    return Moderation({name: topics.words(name) for name in topics.names()}, _levels(levels), _levels(categories))


def _levels(table: Table) -> dict[str, Level]:
    return {name: Level(table.one_of(name, *Level)) for name in table.names()}


def _pattern(phrase: str) -> str:
    """Whole words where they are of Latin letters, however many blanks are between them; else wherever they stand.

    >>> _pattern("Nude  child"), _pattern("假钞")
    ('\\\\bnude\\\\W+child\\\\b', '假钞')
    """
    words = [re.escape(word) for word in _plain(phrase).split()]
    return r"\b" + r"\W+".join(words) + r"\b" if phrase.isascii() else "".join(words)


def _plain(text: str) -> str:
    """Without case and width, and without what does not show: a mark within a word hides it from nobody.

    >>> _plain("Nu\u200fDe") == "nude"
    True
    """
    shown = "".join(each for each in text if unicodedata.category(each) != "Cf" and not "\ufe00" <= each <= "\ufe0f")
    return unicodedata.normalize("NFKC", shown).casefold()
