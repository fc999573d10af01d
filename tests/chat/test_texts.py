"""Every code, command, notice and label has its words in both languages; grammar and rendering."""

import ast
from pathlib import Path

import pytest

from bots.chat.ballots import WHYS
from bots.chat.chat import SENTENCES
from bots.chat.commands.account import ORDER
from bots.chat.commands.wallet import MOVEMENTS
from bots.chat.grammar import asked_of, parse, wish_of
from bots.chat.letters import LINK_MINUTES
from bots.chat.payments import POOLED
from bots.chat.registry import REGISTRY
from core.catalog import BadParameter
from core.errors import AetherflowError
from core.generations.errors import BadPrompt
from core.generations.models import State as GenerationState
from core.generations.rules import clean_prompt
from core.payments.models import CURRENCIES
from core.payments.models import State as PaymentState
from core.payments.receive import NEWS
from core.pools.models import BallotState, Every
from core.providers.base import Fault
from core.resources.models import HealthState, Scope
from core.resources.models import State as ResourceState
from core.words import LOCALES, Amount, Text, Words

PARTS = {"bad_prompt": "empty", "bad_preset": "name", "pool_cap": "day", "pool_closed": "off", "may_not_vote": "own"}
"""Codes that are worded by what is wrong."""
FOLDER = Path(__file__).parents[2] / "bots" / "chat"


def _codes() -> set[str]:
    """Every literal code given to Text(...) in the chat layer, and those made from enums and errors."""
    found = set()
    for file in FOLDER.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Text" and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    found.add(str(first.value))
    found |= {f"state.{each}" for each in GenerationState} | {f"resource.state.{each}" for each in ResourceState}
    found |= {f"health.{each}" for each in HealthState} | {f"scope.{each}" for each in Scope} | {f"fault.{each}" for each in Fault}
    found |= {f"payment.state.{each}" for each in PaymentState} | {f"payment.{each}" for each in PaymentState}
    found |= {f"rail.{each}" for each in CURRENCIES} | {f"movement.{each}" for each in MOVEMENTS | {"other"}}
    found |= {f"payment_news.{each}" for each in NEWS} | {f"payment_news.{each}.pool" for each in POOLED} | {"payment.paid_pool"}
    found |= {f"ballot.{each}" for each in BallotState} | {f"ballot.state.{each}" for each in BallotState}
    found |= {f"ballot.why.{each}" for each in (*WHYS, "other")} | {f"every.{each}" for each in Every} | {"refill.short", "refill.over"}
    found |= {f"error.may_not_vote.{each}" for each in ("own", "twice", "admins", "list", "roles", "no_roles", "left")}
    found |= {f"pledge.ask.{each}" for each in ("percent", "most", "level", "every")}
    found |= LINK_MINUTES.keys() | {"mail.hours", "mail.minutes"}
    kinds = [AetherflowError]
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        found.add(f"error.{kind.code}" if kind.code not in PARTS else f"error.{kind.code}.{PARTS[kind.code]}")
    return found


@pytest.mark.parametrize("locale", LOCALES)
def test_every_code_has_its_words(locale: str) -> None:
    words = Words(SENTENCES)
    codes = _codes()
    assert len(codes) > 100
    assert not [code for code in codes if not words.knows(code, locale)]


def test_help_has_every_command_once_and_those_of_admins_last() -> None:
    declared = {name: entry.spec.admin for name, entry in REGISTRY.commands.items() if entry.spec}
    listed = [name for group in ORDER for name in group]
    assert sorted(listed) == sorted(declared)
    assert listed[0] == "imagine"
    assert [declared[name] for name in listed] == sorted(declared[name] for name in listed)
    assert {name for name in declared if declared[name]} == set(ORDER[-1])


def test_dispute_has_one_word_in_chinese() -> None:
    """申诉, as products for consumers have it; 争议 is what lawyers say."""
    root = SENTENCES.parents[2]
    for file in [*(root / "bots").rglob("*.po"), *(root / "api").rglob("*.po"), root / "README.zh-CN.md"]:
        assert "争议" not in file.read_text("utf-8"), file


def test_facts_are_escaped_and_amounts_are_credits() -> None:
    words = Words(SENTENCES)
    said = words.say(Text("error.unknown_model", {"model": "<b>x</b>", "known": ["a", "b"]}), "en")
    assert "&lt;b&gt;x" in said
    assert "a, b" in said
    assert "4.5 Credits" in words.plain(Text("error.insufficient_credits", {"needed": Amount(4500), "available": Amount(0)}), "en")


def test_flags_and_options_mean_the_same() -> None:
    flags = parse('a red fox --ar 16:9 --model core --seed 7 --no "text, people" --style anime')
    assert flags == {"prompt": "a red fox", "ar": "16:9", "model": "core", "seed": "7", "no": "text, people", "style": "anime"}
    wish = wish_of(flags)
    assert (wish.parameters.ratio, wish.parameters.seed, wish.parameters.negative) == ("16:9", 7, "text, people")


@pytest.mark.parametrize("text", ["x --wings 3", "x --ar", "x --ar --seed 1", 'x --no "open', "x --seed=abc"])
def test_a_bad_flag_is_named(text: str) -> None:
    with pytest.raises(BadParameter):
        wish_of(parse(text))


TYPED: list[tuple[str, dict[str, str]]] = [
    ("a fox —ar 16:9", {"prompt": "a fox", "ar": "16:9"}),
    ("a fox –AR 16:9 —no text", {"prompt": "a fox", "ar": "16:9", "no": "text"}),
    ("a fox ——ar 16:9", {"prompt": "a fox", "ar": "16:9"}),
    ("一只狐狸 \uff0d\uff0dratio 16:9", {"prompt": "一只狐狸", "ar": "16:9"}),
    ("—ar 16:9", {"prompt": "", "ar": "16:9"}),
    ("a fox\n—seed=7", {"prompt": "a fox", "seed": "7"}),
    ("a fox — at night", {"prompt": "a fox — at night"}),
    ("a fox—ar 16:9", {"prompt": "a fox—ar 16:9"}),
    ("a fox —at night", {"prompt": "a fox —at night"}),
    ("a fox —arctic light", {"prompt": "a fox —arctic light"}),
    ("1990 – 2000, a street -- at night --- rain", {"prompt": "1990 – 2000, a street -- at night --- rain"}),
    ("a fox — at night —ar 16:9", {"prompt": "a fox — at night", "ar": "16:9"}),
    ("a fox —no “fog — rain” —seed 7", {"prompt": "a fox", "no": "fog — rain", "seed": "7"}),
    ("a fox --no fog -- rain — snow", {"prompt": "a fox", "no": "fog -- rain — snow"}),
    ("ثعلب أحمر \u200f--ar\u200f 16:9\u200f", {"prompt": "ثعلب أحمر", "ar": "16:9"}),
    ("שועל\u200f \u200f—seed \u200e7", {"prompt": "שועל\u200f", "seed": "7"}),
]
"""What is typed, and what is read of it: phones make long dashes of two hyphens, and people write them in prose, too."""


def test_a_dash_is_a_flag_or_prose() -> None:
    for typed, read in TYPED:
        assert parse(typed) == read, typed
        assert asked_of({"prompt": typed}, "") == read, typed


SHOWN = [
    "ثعلب\u200f أحمر (16)\u200f", "\u061cثعلب", "שועל\u200e!", "می\u200cخواهم", "क्\u200dष", "\u0600\u0661", "a line\nand\ta tab",
    "👩\u200d🚀 in space", "🧑🏽\u200d🎨", "❤️\u200d🔥", "🏳️\u200d🌈", "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "é", "Ⅷ ½ ﷽", "a \U0001fae8 and a \U0001faef\u200d\u2640",
]  # fmt: skip
HIDDEN = {
    "a \u202acat": "U+202A", "a \u202ecat": "U+202E", "a \u2066cat": "U+2066", "a \u2069cat": "U+2069", "a\u200bcat": "U+200B",
    "a c\u200dat": "U+200D", "a \u200ccat": "U+200C", "ко\u200dт": "U+200D", "a\u2060cat": "U+2060", "\ufeffa cat\ufeff": "U+FEFF",
    "a\u00adcat": "U+00AD", "a \U000e0061cat": "U+E0061", "a \u3164 cat": "U+3164", "a \u2028cat": "U+2028", "a \ud800cat": "U+D800",
}  # fmt: skip


def test_marks_that_scripts_need_are_taken_and_tricks_are_not() -> None:
    for text in SHOWN:
        assert clean_prompt(text) == text, ascii(text)
    for text, character in HIDDEN.items():
        with pytest.raises(BadPrompt) as caught:
            clean_prompt(text)
        assert (caught.value.facts["problem"], caught.value.facts["character"]) == ("control", character), ascii(text)
    for text in ("\u200f", " \u200e \u061c\n", ""):
        assert clean_prompt(text, may_be_empty=True) == ""
        with pytest.raises(BadPrompt) as caught:
            clean_prompt(text)
        assert caught.value.facts["problem"] == "empty"
