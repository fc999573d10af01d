"""Every code, command, notice and label has its words in both languages; grammar and rendering."""

import ast
from pathlib import Path

import pytest

from bots.chat.ballots import WHYS
from bots.chat.chat import SENTENCES
from bots.chat.commands.wallet import MOVEMENTS
from bots.chat.grammar import parse, wish_of
from bots.chat.letters import LINK_MINUTES
from bots.chat.payments import POOLED
from core.catalog import BadParameter
from core.errors import AetherflowError
from core.generations.models import State as GenerationState
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


def test_phones_write_long_dashes() -> None:
    assert parse("a fox —ar 16:9") == {"prompt": "a fox", "ar": "16:9"}
