"""Text + locale -> string. The sentences are gettext catalogs in a folder of each surface (`bots/chat/locales`, `api/locales`), by code;
facts fill their {placeholders}, escaped."""

import gettext
import html
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.money import format_credits

LOCALES = ("en", "zh")


@dataclass(frozen=True, slots=True)
class Text:
    """Words by code: `locales/*.po` holds the sentence, `facts` fill its {placeholders}. Amounts, times and Texts read as the reader's."""

    code: str
    facts: dict[str, Any] = field(default_factory=dict)


class Amount(int):
    """Milli-credits, shown as a number of Credits."""


class Words:
    """Every language of one folder, loaded once per process."""

    def __init__(self, folder: Path) -> None:
        self._catalogs = {locale: gettext.translation("aetherflow", folder, [locale]) for locale in LOCALES}

    def say(self, text: Text, locale: str) -> str:
        """The sentence as HTML of the common markup. A code without a sentence is shown as it is; a test keeps that from happening."""
        facts = {name: self._shown(value, locale) for name, value in text.facts.items()}
        return self._catalogs[locale].gettext(text.code).format(**facts)

    def plain(self, text: Text, locale: str) -> str:
        """The sentence without markup, for labels and notes."""
        bare = self.say(text, locale)
        for tag in ("b", "i", "code"):
            bare = bare.replace(f"<{tag}>", "").replace(f"</{tag}>", "")
        return html.unescape(bare)

    def knows(self, code: str, locale: str = "en") -> bool:
        """Whether there is a sentence for a code."""
        return self._catalogs[locale].gettext(code) != code

    def _shown(self, value: Any, locale: str) -> str:
        if isinstance(value, Text):
            return self.say(value, locale)
        if isinstance(value, Amount):
            return format_credits(value)
        if isinstance(value, list | tuple):
            return ", ".join(self._shown(each, locale) for each in value)
        whole = str(value).encode(errors="replace").decode()  # half a character, as some keyboards send, cannot be stored or sent on
        return html.escape(whole, quote=False)
