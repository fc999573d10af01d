"""What prompts may not say, refused before any cost, with the words that it is about. Lists by topic, in a file that the operator replaces.

This is the first of three: providers refuse by their own rules, and admins take down what people report.
"""

import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from core.datafile import Table, read
from core.errors import Refusal

DEFAULT_FILE = Path(__file__).with_name("moderation.toml")
MAX_QUOTED = 40


class ForbiddenPrompt(Refusal):
    """A phrase that is not drawn here. Facts: `words` as it stands in the list, `topic`."""

    code = "forbidden_prompt"


class Moderation:
    """The lists, compiled: one pattern for each topic."""

    def __init__(self, topics: Mapping[str, tuple[str, ...]]) -> None:
        self._patterns = {topic: re.compile("|".join(map(_pattern, phrases))) for topic, phrases in topics.items() if phrases}

    def check(self, prompt: str) -> None:
        """Raises ForbiddenPrompt for the first phrase that the prompt has."""
        text = _plain(prompt)
        for topic, pattern in self._patterns.items():
            if (found := pattern.search(text)) is not None:
                raise ForbiddenPrompt(words=found[0][:MAX_QUOTED], topic=topic)


def load_moderation(path: Path | None = None) -> Moderation:
    """Reads the lists. Raises Misconfigured with the place of what is wrong."""
    return read(path or DEFAULT_FILE, "MODERATION_FILE", _moderation)


def _moderation(file: Table) -> Moderation:
    file.only("topics")
    topics = file.within("topics")
    return Moderation({name: topics.words(name) for name in topics.names()})


def _pattern(phrase: str) -> str:
    """Whole words where they are of Latin letters, however many blanks are between them; else wherever they stand.

    >>> _pattern("Nude  child"), _pattern("假钞")
    ('\\\\bnude\\\\W+child\\\\b', '假钞')
    """
    words = [re.escape(word) for word in _plain(phrase).split()]
    return r"\b" + r"\W+".join(words) + r"\b" if phrase.isascii() else "".join(words)


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
