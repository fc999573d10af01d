"""How Alipay writes: amounts, times, titles, and answers whose signature covers the very bytes. Pure.

https://opendocs.alipay.com/common/02kf5q
"""

import json
import re
from datetime import UTC, datetime, timedelta, timezone

from core.payments.rails.base import RailAway
from core.providers.http import sendable

BEIJING = timezone(timedelta(hours=8))
MAX_AMOUNT = 10_000_000_000
"""In fen: Alipay takes 0.01 to 100,000,000 yuan."""
MAX_SUBJECT = 256


def yuan(amount: int) -> str:
    """Fen as Alipay writes an amount: 1234 -> "12.34"."""
    return f"{amount // 100}.{amount % 100:02}"


def fen(text: str) -> int | None:
    """An amount of Alipay in fen; None for what is no amount of at most 100,000,000 yuan."""
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,2})?", text, re.ASCII):
        return None
    whole, _, part = text.partition(".")
    amount = int(whole) * 100 + int(part.ljust(2, "0"))
    return amount if amount <= MAX_AMOUNT else None


def beijing(microseconds: int) -> str:
    """A time as Alipay writes it, in Beijing's hours, rounded down to the second."""
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC).astimezone(BEIJING).strftime("%Y-%m-%d %H:%M:%S")


def subject(title: str) -> str:
    """A title without what Alipay refuses: `/`, `=`, `&`, control characters, more than 256 characters."""
    clean = re.sub(r"[/=&\x00-\x1f\x7f]+", " ", sendable(title))
    return " ".join(clean.split())[:MAX_SUBJECT].strip()


def plain_code(text: str) -> str:
    """A code of the outside, if it is a plain one: its other texts are not passed on."""
    return text if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", text) else "unreadable"


def read_answer(text: str, name: str) -> tuple[dict[str, str], bytes, str]:
    """(fields, the very bytes that are signed, signature) of an answer: `{"<name>": {…}, "sign": "…"}` or with `error_response`.

    The object is cut out as received: written anew it would lose escapes and order, and the signature with them. Raises RailAway.
    """
    members: dict[str, tuple[object, str]] = {}
    decoder = json.JSONDecoder(parse_float=str, parse_int=str)
    try:
        at = _after(text, 0, "{")
        while True:
            key, at = decoder.raw_decode(text, at)
            start = _after(text, at, ":")
            value, at = decoder.raw_decode(text, start)
            if not isinstance(key, str) or key in members:
                raise ValueError("a name twice")
            members[key] = value, text[start:at]
            if text[_skip(text, at) :].strip() == "}":
                break
            at = _after(text, at, ",")
    except (ValueError, RecursionError):
        raise RailAway(problem="no answer of Alipay's") from None
    found, raw = members.get(name) or members.get("error_response") or (None, "")
    signature = members.get("sign", ("", ""))[0]
    if not isinstance(found, dict) or not isinstance(signature, str):
        raise RailAway(problem="no answer of Alipay's")
    return {key: value for key, value in found.items() if isinstance(value, str)}, raw.encode(), signature


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _after(text: str, at: int, mark: str) -> int:
    """The place of what follows `mark`, white space left out. Raises ValueError when something else stands there."""
    at = _skip(text, at)
    if text[at : at + 1] != mark:
        raise ValueError(mark)
    return _skip(text, at + 1)
