"""The last line of defence behind `Secret`: what looks like a secret, or is known to be one, is written to no log.

A composition root makes one Redactor of `known(settings)`, calls `install` once the handlers stand, and puts `line` last among structlog's
processors, behind the renderer.
"""

import logging
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, urlsplit

from pydantic import SecretStr

from core.config import Settings
from core.vault.secret import MASK

SHORTEST = 8
"""A known value with fewer characters is left alone: it would blot out ordinary words."""

_START = r"(?:(?<![A-Za-z0-9%])(?<!%[0-9A-Fa-f])|(?<=%[0-9A-Fa-f]{2}))"  # where a word starts, also behind an escape of an address
_SHAPES = (
    rf"{_START}(?:sk|rk|whsec)[-_][A-Za-z0-9_-]{{17,}}",  # providers of pictures and of payments
    rf"(?:bot|{_START})[0-9]{{6,20}}(?::|%3[Aa])[A-Za-z0-9_-]{{35,}}",  # Telegram: core.telegram.org/bots/api#authorizing-your-bot
    rf"{_START}[A-Za-z0-9_-]{{23,32}}\.[A-Za-z0-9_-]{{6}}\.[A-Za-z0-9_-]{{27,}}",  # Discord: person, time and signature
    rf"{_START}(?:hv[sbr]|[sbr])\.[A-Za-z0-9_-]{{24,}}",  # Vault, OpenBao: developer.hashicorp.com/vault/docs/concepts/tokens
    rf"{_START}eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*",  # a signed token: RFC 7519
    r"(?P<kept>(?i:bearer)(?:\s+|%20)|/handover/)[A-Za-z0-9._~+/=-]{8,}",  # RFC 6750; our own one-time links
)


class Redactor(logging.Filter):
    """Puts `[secret]` in the place of secrets. `secrets`: the values that are known at the start, whatever their shape."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__()
        forms = {form for secret in secrets if len(secret) >= SHORTEST for form in (secret, quote(secret, safe=""))}
        self._pattern = re.compile("|".join([*map(re.escape, sorted(forms, key=len, reverse=True)), *_SHAPES]))

    def text(self, text: str) -> str:
        """The text without its secrets."""
        return self._pattern.sub(lambda found: (found["kept"] or "") + MASK, text)

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets every record pass, without secrets in its message, arguments, exception, stack and extra texts."""
        try:
            message = record.getMessage()
        except Exception as error:  # noqa: BLE001  # any argument's own code may fail, and a log line must not raise
            message = f"{record.msg!s} [arguments left out: {type(error).__name__}]"
        record.msg, record.args = message, None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        record.exc_info = None  # the text says it all; nobody behind this may format it anew
        for name, value in vars(record).items():
            if isinstance(value, str):
                setattr(record, name, self.text(value))
        return True

    def line(self, _logger: Any, _method: str, rendered: Any) -> str:
        """A processor of structlog: the rendered line without its secrets."""
        return self.text(str(rendered))

    def install(self) -> None:
        """Stands before every handler that the root logger has now; once more changes nothing."""
        for handler in logging.getLogger().handlers:
            handler.addFilter(self)


def known(settings: Settings) -> list[str]:
    """Every secret among the settings: tokens, the parts of the key ring, and the passwords in addresses."""
    secrets = [value.get_secret_value() for _, value in settings if isinstance(value, SecretStr)]
    ring = settings.vault_keys.get_secret_value().split(",")
    passwords = [urlsplit(url).password or "" for url in (settings.database_url, settings.redis_url)]
    return [*secrets, *(item.strip().partition(":")[2] for item in ring), *passwords]
