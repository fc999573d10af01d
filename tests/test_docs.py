"""What outsiders rely on is written down: a setting, command, error code or route that docs/reference.md does not name fails here."""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import typer

import api
import bots
import cli
import core
from core.config import PREFIX, Settings, load
from core.errors import AetherflowError

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
NAMES = sorted(name.upper() for name in Settings.model_fields)
OUTSIDE = re.compile(r"^[a-z][a-z0-9+.-]*:", re.IGNORECASE)
EXAMPLE = re.compile(rf"^#?{PREFIX}([A-Z0-9_]+)=(.*)$", re.MULTILINE)


@pytest.fixture(scope="module")
def reference() -> str:
    return (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")


def test_every_setting_is_in_the_reference(reference: str) -> None:
    assert not [name for name in NAMES if f"`{name}`" not in reference and f"`{PREFIX}{name}`" not in reference]


def test_every_setting_is_in_the_example_with_a_word_about_it() -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert sorted(name for name, _ in EXAMPLE.findall(text)) == NAMES
    lines = text.splitlines()
    assert not [line for above, line in pairwise(lines) if EXAMPLE.match(line) and not above.startswith("# ")]


def test_the_example_shows_the_defaults() -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    shown = {PREFIX + name: value for name, value in EXAMPLE.findall(text) if value}
    assert load(shown, env_file=None).model_dump() == load({}, env_file=None).model_dump()


def test_the_containers_know_only_real_settings() -> None:
    used = set(re.findall(rf"\b{PREFIX}([A-Z0-9_]+)", (ROOT / "docker-compose.yml").read_text(encoding="utf-8")))
    assert used
    assert used <= set(NAMES)


def test_every_error_is_in_the_reference(reference: str) -> None:
    errors = _errors()
    assert len(errors) > 10
    assert not [f"{error.__module__}.{error.__name__}: {error.code}" for error in errors if f"`{error.code}`" not in reference]


def test_every_error_has_a_code_of_its_own() -> None:
    errors: list[type[AetherflowError]] = [AetherflowError, *_errors()]
    assert not [error.__name__ for error in errors if "code" not in vars(error)]
    codes = [error.code for error in errors]
    assert sorted(set(codes)) == sorted(codes)


def test_every_chat_command_is_in_the_reference(reference: str) -> None:
    commands = set(_named_by("command", "CommandSpec", ROOT / "bots" / "chat"))
    assert "imagine" in commands
    assert not [name for name in commands if not re.search(rf"`/{name}\b", reference)]


def test_every_command_of_the_shell_is_in_the_reference(reference: str) -> None:
    assert not [name for name in _shell_commands() if f"aetherflow {name}" not in reference and f"`{name}`" not in reference]


def test_every_route_is_in_the_reference(reference: str) -> None:
    assert not [route for route in _routes() if route not in reference]


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.name)
def test_what_a_readme_tells_to_type_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = re.search(r"^TARGETS := (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert targets
    made = set(re.findall(r"(?:^|`)(?:\$ )?make ([a-z]+)", text, re.MULTILINE))
    assert {"demo", "test"} <= made <= set(targets[1].split())
    assert set(re.findall(r"(?:^|`)(?:\$ )?aetherflow ([a-z]+)", text, re.MULTILINE)) <= {name.split(" ")[0] for name in _shell_commands()}


def test_links_lead_somewhere() -> None:
    broken = []
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path = target.partition("#")[0]
            if path and not OUTSIDE.match(target) and not (page.parent / path).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert not broken


def _errors() -> list[type[AetherflowError]]:
    for package in (core, bots, api):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(".__main__"):
                importlib.import_module(module.name)
    return sorted(_below(AetherflowError), key=lambda error: (error.code, error.__name__))


def _below(parent: type[AetherflowError]) -> set[type[AetherflowError]]:
    children = {child for child in parent.__subclasses__() if child.__module__.split(".")[0] in ("core", "bots", "api")}
    for child in tuple(children):
        children |= _below(child)
    return children


def _calls(folder: Path) -> Iterator[tuple[Path, ast.Call]]:
    for file in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield file, node


def _named_by(decorator: str, record: str, folder: Path) -> Iterator[str]:
    """The first argument of every `@command("imagine", …)` and `CommandSpec("imagine", …)`."""
    for _, call in _calls(folder):
        name = call.args[0] if call.args else next((word.value for word in call.keywords if word.arg == "name"), None)
        if ast.unparse(call.func).split(".")[-1] in (decorator, record) and isinstance(name, ast.Constant):
            yield str(name.value)


def _routes() -> list[str]:
    """The path of every `@router.get("/…")` in api/, behind the prefix that its file gives its router."""
    methods = ("get", "post", "put", "patch", "delete")
    calls = list(_calls(ROOT / "api"))
    prefixes = {
        file: str(word.value.value)
        for file, call in calls
        if ast.unparse(call.func).endswith("APIRouter")
        for word in call.keywords
        if word.arg == "prefix" and isinstance(word.value, ast.Constant)
    }
    return [
        prefixes.get(file, "") + first.value
        for file, call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr in methods and call.args
        if isinstance(first := call.args[0], ast.Constant) and isinstance(first.value, str) and first.value.startswith("/")
    ]


def _shell_commands() -> list[str]:
    """ "up", "vault rotate" and so on, as `aetherflow --help` knows them."""
    return list(_flatten(typer.main.get_command(cli.app), ""))


def _flatten(command: object, path: str) -> Iterator[str]:
    children = getattr(command, "commands", None)
    if not children:
        yield path
        return
    for name, child in children.items():
        yield from _flatten(child, f"{path} {name}".strip())
