"""Slash commands as Discord takes them: what a declaration may say, how it is kept, and how a typed line becomes its options.

The limits are those of Discord's published API description (August 2026).
"""

import re
from collections.abc import Sequence
from typing import Any

from sandbox.discord_rules import INVALID_FORM, DiscordError, Json, Problems

COMMAND_LIMIT = 100
OPTION_LIMIT = 25
CHOICE_LIMIT = 25
NAME_LIMIT = 32
DESCRIPTION_LIMIT = 100
TOTAL_LIMIT = 8000
TEXT_LIMIT = 6000

STRING, INTEGER, BOOLEAN, NUMBER, ATTACHMENT = 3, 4, 5, 10, 11
OPTION_TYPES = (STRING, INTEGER, BOOLEAN, NUMBER, ATTACHMENT)
GUILD, BOT_DM, PRIVATE_CHANNEL = 0, 1, 2
# the languages of Discord's reference, "Locales"
LOCALES = {
    "id", "da", "de", "en-GB", "en-US", "es-ES", "es-419", "fr", "hr", "it", "lt", "hu", "nl", "no", "pl", "pt-BR", "ro",
    "fi", "sv-SE", "vi", "tr", "cs", "el", "bg", "ru", "uk", "hi", "th", "zh-CN", "ja", "zh-TW", "ko",
}  # fmt: skip
_NAME = re.compile(r"[-_'\w]{1,32}")


class HandsError(ValueError):
    """A person cannot do that: Discord's own app would not have let them."""


def check_commands(commands: Any) -> None:
    """Checks a whole set of declarations. Raises DiscordError 50035 with the place of every mistake."""
    if not isinstance(commands, list):
        mistake = {"code": "LIST_TYPE_CONVERT", "message": "Only iterables may be used in a ListType"}
        raise DiscordError(400, INVALID_FORM, "Invalid Form Body", {"_errors": [mistake]})
    problems = Problems()
    if len(commands) > COMMAND_LIMIT:
        problems.add([], "APPLICATION_COMMANDS_TOO_MANY", f"Maximum number of application commands reached ({COMMAND_LIMIT}).")
    for number, command in enumerate(commands):
        _check_command(problems, number, command)
    names = [str(command.get("name")) for command in commands]
    if len(names) != len(set(names)):
        problems.add([], "APPLICATION_COMMANDS_DUPLICATE_NAME", "Application command names must be unique")
    problems.raise_if_any()


def _check_command(problems: Problems, number: int, command: Json) -> None:
    path: tuple[str | int, ...] = (number,)
    _check_words(problems, path, command)
    options = command.get("options") or []
    if len(options) > OPTION_LIMIT:
        problems.add([*path, "options"], "BASE_TYPE_MAX_LENGTH", f"Must be {OPTION_LIMIT} or fewer in length.")
    optional_seen = False
    for place, option in enumerate(options):
        _check_option(problems, (*path, "options", place), option)
        if option.get("required") and optional_seen:
            code = "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID"
            problems.add([*path, "options", place], code, "Required options must be placed before non-required options")
        optional_seen = optional_seen or not option.get("required")
    names = [str(option.get("name")) for option in options]
    if len(names) != len(set(names)):
        problems.add([*path, "options"], "APPLICATION_COMMAND_OPTIONS_NAME_INVALID", "Option names must be unique")
    for key, allowed in (("contexts", {GUILD, BOT_DM, PRIVATE_CHANNEL}), ("integration_types", {0, 1})):
        values = command.get(key)
        if values is not None and (not values or len(values) != len(set(values)) or not set(values) <= allowed):
            problems.add([*path, key], "BASE_TYPE_CHOICES", f"Values must be unique and one of {sorted(allowed)}.")
    if weight(command) > TOTAL_LIMIT:
        problems.add([*path], "APPLICATION_COMMAND_TOO_LARGE", f"Command exceeds maximum size ({TOTAL_LIMIT})")


def _check_words(problems: Problems, path: Sequence[str | int], thing: Json) -> None:
    _check_name(problems, [*path, "name"], thing.get("name"))
    problems.length([*path, "description"], thing.get("description"), 1, DESCRIPTION_LIMIT)
    for locale, name in (thing.get("name_localizations") or {}).items():
        _check_name(problems, [*path, "name_localizations", locale], name)
        _check_locale(problems, [*path, "name_localizations"], locale)
    for locale, text in (thing.get("description_localizations") or {}).items():
        problems.length([*path, "description_localizations", locale], text, 1, DESCRIPTION_LIMIT)
        _check_locale(problems, [*path, "description_localizations"], locale)


def _check_name(problems: Problems, path: Sequence[str | int], name: object) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name != name.lower():
        problems.add(path, "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid")


def _check_locale(problems: Problems, path: Sequence[str | int], locale: str) -> None:
    if locale not in LOCALES:
        problems.add([*path, locale], "ENUM_TYPE_COERCE", "Value is not a valid locale.")


def _check_option(problems: Problems, path: Sequence[str | int], option: Json) -> None:
    _check_words(problems, path, option)
    kind = option.get("type")
    if kind not in OPTION_TYPES:
        problems.add([*path, "type"], "BASE_TYPE_CHOICES", f"Value must be one of {OPTION_TYPES}.")
    choices = option.get("choices") or []
    if len(choices) > CHOICE_LIMIT:
        problems.add([*path, "choices"], "BASE_TYPE_MAX_LENGTH", f"Must be {CHOICE_LIMIT} or fewer in length.")
    if choices and option.get("autocomplete"):
        problems.add([*path], "APPLICATION_COMMAND_AUTOCOMPLETE_NO_CHOICES", "Autocomplete options cannot have choices")
    if (choices or option.get("autocomplete")) and kind not in (STRING, INTEGER, NUMBER):
        problems.add([*path], "APPLICATION_COMMAND_OPTION_TYPE_INVALID", "Only texts and numbers have choices")
    for number, choice in enumerate(choices):
        problems.length([*path, "choices", number, "name"], choice.get("name"), 1, 100)
        if not isinstance(choice.get("value"), str if kind == STRING else (int, float)):
            problems.add([*path, "choices", number, "value"], "BASE_TYPE_CHOICES", "The value does not fit the option's type.")
    limits = {"min_length": (STRING,), "max_length": (STRING,), "min_value": (INTEGER, NUMBER), "max_value": (INTEGER, NUMBER)}
    for key, kinds in limits.items():
        value = option.get(key)
        if value is None:
            continue
        if kind not in kinds or not isinstance(value, (int, float)):
            problems.add([*path, key], "NUMBER_TYPE_COERCE", f"{key} does not go with this type.")
        elif key.endswith("length") and not (1 if key == "max_length" else 0) <= value <= TEXT_LIMIT:
            problems.add([*path, key], "NUMBER_TYPE_MAX", f"Must be {TEXT_LIMIT} or less.")


def weight(thing: Json) -> int:
    """The characters that count towards the 8,000 of a command: of each text the longest of its translations, and all below it."""
    total = len(str(thing.get("value", "")))
    for key in ("name", "description"):
        texts = [str(thing.get(key) or ""), *(thing.get(f"{key}_localizations") or {}).values()]
        total += max(map(len, texts))
    return total + sum(weight(part) for part in [*(thing.get("options") or []), *(thing.get("choices") or [])])


def kept(command: Json, command_id: str, application: str, version: str) -> Json:
    """A declaration as Discord keeps and returns it: defaults filled in at the top, what is false or empty left out in the options."""
    return {
        "id": command_id,
        "application_id": application,
        "version": version,
        "type": command.get("type") or 1,
        "name": command["name"],
        "name_localizations": command.get("name_localizations"),
        "description": command["description"],
        "description_localizations": command.get("description_localizations"),
        "default_member_permissions": command.get("default_member_permissions"),
        "dm_permission": command.get("dm_permission", True),
        "contexts": command.get("contexts"),
        "integration_types": command.get("integration_types") or [0],
        "nsfw": bool(command.get("nsfw")),
        "options": [_kept_option(option) for option in command.get("options") or []],
    }


def _kept_option(option: Json) -> Json:
    plain = {key: value for key, value in option.items() if not (value is None or value is False or value == [])}
    return plain | {"type": option["type"], "name": option["name"], "description": option["description"]}


def without_translations(command: Json) -> Json:
    """What a GET shows that does not ask `with_localizations`."""
    bare = {key: value for key, value in command.items() if not key.endswith("_localizations")}
    return bare | {"options": [{k: v for k, v in option.items() if not k.endswith("_localizations")} for option in command["options"]]}


def parse_line(command: Json, text: str) -> dict[str, str]:
    """What a person typed behind the command's name, "a red fox ar:16:9 seed:7", as options.

    `name:` starts an option; words in front of the first one belong to the first text option.
    """
    names = [option["name"] for option in command["options"]]
    found: dict[str, str] = {}
    if names:
        marks = list(re.finditer(rf"(?:^|(?<=\s))({'|'.join(map(re.escape, names))}):", text))
        ends = [*(mark.start() for mark in marks[1:]), len(text)]
        for mark, end in zip(marks, ends, strict=False):
            found[mark.group(1)] = text[mark.end() : end].strip()
        text = text[: marks[0].start()] if marks else text
    if text.strip():
        first = next((option["name"] for option in command["options"] if option["type"] == STRING and option["name"] not in found), None)
        if first is None:
            raise HandsError(f"/{command['name']} takes no such text")
        found[first] = text.strip()
    return found


def fill(command: Json, given: dict[str, Any]) -> list[Json]:
    """The options as an interaction carries them, in order. An attachment is given by its id.

    Raises HandsError for what Discord's app would not send: an unknown or missing option, a text too long, a number out of bounds.
    """
    known = {option["name"]: option for option in command["options"]}
    unknown = set(given) - set(known)
    if unknown:
        raise HandsError(f"/{command['name']} has no option {', '.join(sorted(unknown))}")
    filled = []
    for name, option in known.items():
        if name in given:
            filled.append({"name": name, "type": option["type"], "value": _value(option, given[name])})
        elif option.get("required"):
            raise HandsError(f"/{command['name']} needs {name}")
    return filled


def _value(option: Json, given: Any) -> Any:
    name, kind = option["name"], option["type"]
    if kind == ATTACHMENT:
        return given
    try:
        value: Any = str(given) if kind == STRING else int(given) if kind == INTEGER else given
    except ValueError:
        raise HandsError(f"{name} must be a whole number") from None
    if kind == STRING and not option.get("min_length", 0) <= len(value) <= option.get("max_length", TEXT_LIMIT):
        raise HandsError(f"{name} is too short or too long")
    if kind == INTEGER and not option.get("min_value", value) <= value <= option.get("max_value", value):
        raise HandsError(f"{name} is out of bounds")
    if option.get("choices") and value not in [choice["value"] for choice in option["choices"]]:
        raise HandsError(f"{value!r} is not one of the choices of {name}")
    return value
