"""Every error of the core and of the api has a status, a title and a sentence in both languages, and its facts fill the sentence."""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest
from starlette.requests import Request

import api
import core
from api.errors import SAID_APART, STATUS, answer, sentence_of, status_of
from api.language import WORDS, preferred
from api.problems import OWN_STATUS, Problem
from api.validation import SENTENCES
from core.errors import AetherflowError
from core.generations.errors import BadPrompt
from core.generations.models import State as GenerationState
from core.ledger.errors import InsufficientCredits
from core.resources.models import State as ResourceState
from core.words import LOCALES

ROOT = Path(__file__).parents[2]
VARIANTS = {
    "bad_prompt": ["bad_prompt.empty", "bad_prompt.long", "bad_prompt.control"],
    "bad_parameter": ["bad_parameter", "bad_parameter.unsupported"],
    "bad_preset": [f"bad_preset.{each}" for each in ("name", "title", "long", "fields", "braces", "tags", "option", "cover")],
    "pool_closed": ["pool_closed", *(f"pool_closed.{each}" for each in sorted(SAID_APART))],
}
"""Codes that are said in more than one way."""
FILLED_IN = {"bad_prompt": {"flag"}, "bad_prompt.empty": {"flag"}, "bad_prompt.long": {"flag"}, "bad_prompt.control": {"flag"}}
"""What `sentence_of` adds to an error's own facts."""


def errors() -> list[type[AetherflowError]]:
    """The whole tree, as far as it is ours."""
    for package in (core, api):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    found, kinds = [], [AetherflowError]
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        if kind.__module__.split(".")[0] in ("core", "api"):
            found.append(kind)
    return found


def codes() -> set[str]:
    """Every sentence that the api may have to say."""
    said = {f"error.{variant}" for kind in errors() for variant in VARIANTS.get(kind.code, [kind.code])}
    said |= {f"error.{code}" for code in OWN_STATUS} | {f"title.{status}" for status in {*STATUS.values(), *OWN_STATUS.values()}}
    said |= {f"invalid.{name}" for name in {*SENTENCES.values(), "other"}}
    said |= {f"state.{each}" for each in GenerationState} | {f"resource.state.{each}" for each in ResourceState}
    for file in (ROOT / "api").rglob("*.py"):
        for call in calls(file):
            if isinstance(call.func, ast.Name) and call.func.id == "Text" and call.args and isinstance(call.args[0], ast.Constant):
                said.add(str(call.args[0].value))
    return said


def calls(file: Path) -> Iterator[ast.Call]:
    yield from (node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))


@pytest.mark.parametrize("locale", LOCALES)
def test_every_code_has_its_words(locale: str) -> None:
    wanted = codes()
    assert len(wanted) > 80
    assert not sorted(code for code in wanted if not WORDS.knows(code, locale))


def test_every_error_has_a_status_of_the_table() -> None:
    kinds = errors()
    assert len(kinds) > 30
    for kind in kinds:
        assert 400 <= status_of(kind.__new__(kind)) <= 503, kind
    assert all(100 <= status <= 599 for status in STATUS.values())


def test_no_refusal_is_our_mistake() -> None:
    mistakes = {kind.code for kind in errors() if status_of(kind.__new__(kind)) == 500}
    assert mistakes == {"error", "misconfigured", "cannot_open"}


def test_where_an_error_is_raised_its_facts_fill_the_sentence() -> None:
    by_name = {kind.__name__: kind for kind in errors()}
    lacking = []
    for file in [*(ROOT / "core").rglob("*.py"), *(ROOT / "api").rglob("*.py")]:
        for call in calls(file):
            name = call.func.id if isinstance(call.func, ast.Name) else ""
            if name == "Problem" and call.args and isinstance(call.args[0], ast.Constant):
                wanted, code = [str(call.args[0].value)], str(call.args[0].value)
            elif name in by_name:
                code = by_name[name].code
                wanted = variants_of(call, code)
            else:
                continue
            given = {word.arg for word in call.keywords} | FILLED_IN.get(code, set())
            for variant in wanted:
                needed = {field for _, field, _, _ in Formatter().parse(WORDS._catalogs["en"].gettext(f"error.{variant}")) if field}
                if None not in given and needed - given:
                    lacking.append(f"{file.relative_to(ROOT)}:{call.lineno} {variant!s} lacks {needed - given}")
    assert not lacking


def variants_of(call: ast.Call, code: str) -> list[str]:
    """The sentences that this very call may need."""
    problems = [word.value.value for word in call.keywords if word.arg == "problem" and isinstance(word.value, ast.Constant)]
    return [f"{code}.{problems[0]!s}"] if code in ("bad_prompt", "bad_preset") and problems else VARIANTS.get(code, [code])


def request(**headers: str) -> Request:
    listed = [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "path": "/x", "headers": listed, "query_string": b"", "request_id": "r"})


def test_facts_read_as_people_read_them() -> None:
    shown = answer(request(), InsufficientCredits(account="user:1:wallet", needed=4_500, available=20))
    assert bytes(shown.body) == (
        b'{"type":"urn:aetherflow:insufficient_credits","title":"Not enough Credits","status":402,'
        b'"detail":"That costs 4.5 Credits, and 0.02 are there. Choose a cheaper model, or buy Credits.","instance":"r",'
        b'"needed":"4.5","available":"0.02"}'
    )
    assert sentence_of(BadPrompt(problem="long", flag="no", length=3, limit=2)).facts["flag"] == "negative"
    marked = bytes(answer(request(), Problem("rule_not_attested", rule="<b>&amp;")).body).decode()
    assert "version <b>&amp; as" in marked


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("zh", "zh"), ("zh-Hans-CN", "zh"), ("zh_TW", "zh"), ("de", None), ("", None), ("de, zh;q=0.2", "zh"), ("en;q=0.1, zh;q=0.2", "zh"),
        ("zh;q=0, en;q=0.1", "en"), ("zh;q=x", None), ("*", None), (",;,=", None), ("x" * 10_000, None),
    ],
)  # fmt: skip
def test_languages_are_weighed(header: str, language: str | None) -> None:
    assert preferred(header) == language


def test_no_sentence_tells_of_a_chat_command_but_the_form() -> None:
    for code in codes():
        if not code.startswith(("handover.", "payment_page.", "account_page.", "wallet_page.")):
            assert not re.search(r"(^|\s)/[a-z]+", WORDS._catalogs["en"].gettext(code)), code
