"""Compiles `*/LC_MESSAGES/aetherflow.po` beside this file and in `api/locales` to `.mo`, which gettext reads and git ignores.

Refuses, and says where, when a language lacks a text, leaves one empty or fuzzy, or names other {placeholders} than English does.
`python bots/chat/locales/compile.py` compiles; `dev.py` and the Dockerfile call it. `--check` only compares.
"""

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from string import Formatter

from babel.messages.catalog import Catalog, Message
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

FOLDERS = (Path(__file__).parent, Path(__file__).parents[3] / "api" / "locales")
SOURCE = "en"
EPOCH = datetime.fromtimestamp(0, UTC)


def main(arguments: list[str]) -> int:
    """Returns the exit code: 0, or 1 when something is wrong, which is printed."""
    return max(_compile_folder(folder, arguments) for folder in FOLDERS)


def _compile_folder(folder: Path, arguments: list[str]) -> int:
    files = sorted(folder.glob("*/LC_MESSAGES/aetherflow.po"))
    catalogs = {file.parts[-3]: _read(file) for file in files}
    if SOURCE not in catalogs:
        print(f"{folder / SOURCE} has no aetherflow.po", file=sys.stderr)
        return 1
    problems = [f"{language}: {problem}" for language in catalogs for problem in problems_of(catalogs[language], catalogs[SOURCE])]
    for file in files:
        compiled = _compile(catalogs[file.parts[-3]])
        target = file.with_suffix(".mo")
        if target.is_file() and target.read_bytes() == compiled:
            continue
        if "--check" in arguments:
            problems.append(f"{target} is out of date")
        elif not problems:
            _replace(target, compiled)
    print("\n".join(problems), file=sys.stderr, end="\n" if problems else "")
    return 1 if problems else 0


def problems_of(catalog: Catalog, source: Catalog) -> Iterator[str]:
    """What is wrong with a translation, one sentence each. `source` is the English catalog, and may be the same."""
    for message in catalog:
        if not message.id:
            continue
        name = _name(message)
        if message.fuzzy:
            yield f"{name} is fuzzy"
        if not all(_forms(message)):
            yield f"{name} has no text"
        original = source.get(name, message.context)
        if original is None:
            yield f"{name} is not in {SOURCE}"
            continue
        try:
            own, expected = _placeholders(message), _placeholders(original)
        except ValueError as error:
            yield f"{name}: {error}"
            continue
        if own != expected:
            yield f"{name} names {_list(own)}, and {SOURCE} names {_list(expected)}"
    for message in source:
        if message.id and catalog.get(_name(message), message.context) is None:
            yield f"{_name(message)} is missing"
    for message in catalog.obsolete.values():
        yield f"{_name(message)} is obsolete"


def _read(file: Path) -> Catalog:
    with file.open("rb") as stream:
        catalog = read_po(stream, locale=file.parts[-3], domain="aetherflow", abort_invalid=True)
    catalog.creation_date = catalog.revision_date = EPOCH  # else the same texts would compile to something else every minute
    return catalog


def _compile(catalog: Catalog) -> bytes:
    buffer = BytesIO()
    write_mo(buffer, catalog)
    return buffer.getvalue()


def _replace(target: Path, content: bytes) -> None:
    """In one step: another process may be reading."""
    passing = target.with_name(f"{target.name}.{os.getpid()}")
    passing.write_bytes(content)
    passing.replace(target)


def _name(message: Message) -> str:
    return message.id if isinstance(message.id, str) else message.id[0]


def _forms(message: Message) -> tuple[str, ...]:
    return (message.string,) if isinstance(message.string, str) else tuple(message.string or ("",))


def _placeholders(message: Message) -> set[str]:
    """The names in braces, of all plural forms together: "one picture" need not say {count}."""
    fields = (field for form in _forms(message) for _, field, _, _ in Formatter().parse(form))
    return {field.partition(".")[0].partition("[")[0] for field in fields if field is not None}


def _list(names: set[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in sorted(names)) or "nothing"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
