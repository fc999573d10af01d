"""What Telegram hands to a Mini App: believed when its mark is right and it is fresh, and for nothing else."""

import hmac
import json
from collections.abc import Mapping
from urllib.parse import urlencode

import pytest

from core.access.errors import BadInitData
from core.access.rules import CLOCK_SKEW, INIT_DATA_SECONDS, MAX_INIT_DATA, read_init_data

TOKEN, NOW = "1:secret", 1_800_000_000
PERSON = {"id": 1001, "first_name": "Ada & Bo", "language_code": "zh-hans"}


def init_data(changes: Mapping[str, str | None] | None = None, token: str = TOKEN) -> str:
    """As Telegram makes it; `changes` come before the mark."""
    fields: dict[str, str | None] = {"auth_date": str(NOW), "query_id": "q", "user": json.dumps(PERSON), "signature": "ed25519"}
    kept = {name: value for name, value in (fields | dict(changes or {})).items() if value is not None}
    key = hmac.digest(b"WebAppData", token.encode(), "sha256")
    lines = "\n".join(f"{name}={kept[name]}" for name in sorted(kept))
    return urlencode(kept | {"hash": hmac.new(key, lines.encode(), "sha256").hexdigest()})


def test_whoever_telegram_says() -> None:
    assert read_init_data(init_data(), TOKEN, NOW) == ("1001", "Ada & Bo", "zh-hans")
    assert read_init_data(init_data({"user": json.dumps({"id": 7, "first_name": "x"})}), TOKEN, NOW) == ("7", "x", None)
    assert read_init_data(init_data({"auth_date": str(NOW - INIT_DATA_SECONDS)}), TOKEN, NOW)
    assert read_init_data(init_data({"auth_date": str(NOW + CLOCK_SKEW)}), TOKEN, NOW)


WRONG = {
    "empty": "",
    "no form": "a",
    "no mark": urlencode({"auth_date": NOW, "user": "{}"}),
    "another bot": init_data(token="2:other"),
    "no bot": init_data(token=""),
    "a changed name": init_data().replace("Ada", "Eve"),
    "an added field": init_data() + "&extra=1",
    "a field twice": init_data() + "&query_id=q",
    "two marks": init_data() + "&hash=00",
    "too old": init_data({"auth_date": str(NOW - INIT_DATA_SECONDS - 1)}),
    "of tomorrow": init_data({"auth_date": str(NOW + CLOCK_SKEW + 1)}),
    "no date": init_data({"auth_date": None}),
    "a date in words": init_data({"auth_date": "today"}),
    "nobody": init_data({"user": None}),
    "a user without id": init_data({"user": '{"first_name": "x"}'}),
    "an id in words": init_data({"user": '{"id": "1001", "first_name": "x"}'}),
    "an id that is true": init_data({"user": '{"id": true, "first_name": "x"}'}),
    "an id below zero": init_data({"user": '{"id": -1, "first_name": "x"}'}),
    "a name that is none": init_data({"user": '{"id": 1, "first_name": 5}'}),
    "a language that is none": init_data({"user": '{"id": 1, "first_name": "x", "language_code": []}'}),
    "a user that is a list": init_data({"user": "[]"}),
    "endlessly deep": init_data({"user": "[" * 1500}),
    "huge": init_data({"query_id": "x" * MAX_INIT_DATA}),
    "a mark in capitals": init_data()[:-64] + init_data()[-64:].upper(),
    "a mark that is not ASCII": init_data()[:-64] + "%E4%B8%AD",
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_whoever_says_so_themselves(text: str) -> None:
    with pytest.raises(BadInitData):
        read_init_data(text, TOKEN, NOW)
