"""What the stand-in for Discord refuses in messages, forms and declarations, as Discord does."""

from typing import Any

import pytest

from sandbox.discord_declarations import check_commands, parse_line
from sandbox.discord_markdown import to_html
from sandbox.discord_rules import DiscordError, check_message, check_modal

IMAGINE_COMMAND: dict[str, Any] = {
    "name": "imagine",
    "description": "Make a picture",
    "options": [
        {"type": 3, "name": "prompt", "description": "what", "required": True, "max_length": 20},
        {"type": 3, "name": "ar", "description": "ratio", "choices": [{"name": "wide", "value": "16:9"}, {"name": "1:1", "value": "1:1"}]},
        {"type": 4, "name": "seed", "description": "seed", "min_value": 0, "max_value": 9},
        {"type": 3, "name": "model", "description": "model", "autocomplete": True},
        {"type": 11, "name": "picture", "description": "a picture"},
    ],
    "contexts": [0, 1],
}
INPUT: dict[str, Any] = {"type": 4, "custom_id": "prompt", "style": 1, "max_length": 5}
TEXT = {"type": 18, "label": "Prompt", "component": INPUT}
OPTION: dict[str, Any] = {"type": 3, "name": "a", "description": "d"}
CHOICES = [{"name": "n" * 50 + str(n), "value": "v" * 20} for n in range(25)]
BUTTON = {"type": 2, "style": 1, "label": "Go", "custom_id": "go"}


def mistakes(error: DiscordError) -> set[str]:
    """The paths of a 50035."""
    found = set()

    def walk(node: dict[str, Any], path: str) -> None:
        for key, value in node.items():
            if key == "_errors":
                found.add(path)
            else:
                walk(value, f"{path}.{key}".strip("."))

    walk(error.body["errors"], "")
    return found


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"name": "Imagine"}, "0.name"),
        ({"name": "a" * 33}, "0.name"),
        ({"description": ""}, "0.description"),
        ({"description": "a" * 101}, "0.description"),
        ({"description_localizations": {"zh": "x"}}, "0.description_localizations.zh"),
        ({"description_localizations": {"zh-CN": "字" * 101}}, "0.description_localizations.zh-CN"),
        ({"options": [{"type": 3, "name": f"o{n}", "description": "d"} for n in range(26)]}, "0.options"),
        ({"options": [OPTION, OPTION | {"name": "b", "required": True}]}, "0.options.1"),
        ({"options": [OPTION | {"choices": [{"name": "x", "value": 1}]}]}, "0.options.0.choices.0.value"),
        ({"options": [OPTION | {"type": 4, "max_length": 3}]}, "0.options.0.max_length"),
        ({"options": [{"type": 3, "name": f"o{n}", "description": "d" * 100, "choices": CHOICES} for n in range(5)]}, "0"),
        ({"contexts": [0, 3]}, "0.contexts"),
        ({"integration_types": []}, "0.integration_types"),
    ],
)
def test_declarations_that_discord_refuses(change: dict[str, Any], where: str) -> None:
    check_commands([IMAGINE_COMMAND])
    with pytest.raises(DiscordError) as refused:
        check_commands([IMAGINE_COMMAND | change])
    assert where in mistakes(refused.value)


@pytest.mark.parametrize(
    ("message", "where"),
    [
        ({"content": "a" * 2001}, "content"),
        ({"content": "a", "nonce": "n" * 26}, "nonce"),
        ({"components": [{"type": 1, "components": [BUTTON] * 2}]}, "components"),
        ({"components": [{"type": 1, "components": [BUTTON | {"custom_id": f"a{n}"} for n in range(6)]}]}, "components.0.components"),
        ({"components": [{"type": 1, "components": [BUTTON | {"custom_id": f"a{n}"}]} for n in range(6)]}, "components"),
        ({"components": [{"type": 1, "components": [BUTTON | {"label": "a" * 81}]}]}, "components.0.components.0.label"),
        ({"components": [{"type": 1, "components": [BUTTON | {"custom_id": "a" * 101}]}]}, "components.0.components.0.custom_id"),
        ({"components": [{"type": 1, "components": [BUTTON | {"style": 5, "url": "ftp://x"}]}]}, "components.0.components.0.url"),
        ({"components": [BUTTON]}, "components.0.type"),
    ],
)
def test_messages_that_discord_refuses(message: dict[str, Any], where: str) -> None:
    check_message({"content": "a" * 2000, "components": [{"type": 1, "components": [BUTTON]}]}, 0)
    with pytest.raises(DiscordError) as refused:
        check_message(message, 0)
    assert where in mistakes(refused.value)


def test_an_empty_message_is_refused() -> None:
    check_message({"content": ""}, 1)
    with pytest.raises(DiscordError) as refused:
        check_message({"content": ""}, 0)
    assert refused.value.body["code"] == 50006


@pytest.mark.parametrize(
    ("modal", "where"),
    [
        ({"title": "a" * 46}, "data.title"),
        ({"components": []}, "data.components"),
        ({"components": [TEXT | {"component": INPUT | {"custom_id": str(n)}} for n in range(6)]}, "data.components"),
        ({"components": [TEXT, TEXT]}, "data.components"),
        ({"components": [TEXT | {"label": "a" * 46}]}, "data.components.0.label"),
        ({"components": [TEXT | {"component": INPUT | {"max_length": 2, "value": "abc"}}]}, "data.components.0.component.value"),
        ({"components": [TEXT | {"component": {"type": 3, "custom_id": "p", "options": []}}]}, "data.components.0.component.options"),
    ],
)
def test_forms_that_discord_refuses(modal: dict[str, Any], where: str) -> None:
    fine = {"custom_id": "edit 1", "title": "Edit", "components": [TEXT]}
    check_modal(fine)
    with pytest.raises(DiscordError) as refused:
        check_modal(fine | modal)
    assert where in mistakes(refused.value)


def test_a_typed_line_becomes_options() -> None:
    command = IMAGINE_COMMAND
    assert parse_line(command, "a red fox ar:16:9 seed:7") == {"prompt": "a red fox", "ar": "16:9", "seed": "7"}
    assert parse_line(command, "seed:7 prompt:一只狐狸: 红色") == {"seed": "7", "prompt": "一只狐狸: 红色"}
    assert parse_line(command, "") == {}


def test_markdown_as_the_app_shows_it() -> None:
    assert to_html("**a** *b* `c*` ||d|| [e](https://f.g) \\*h\\* <@1>", lambda _id: "Ada") == (
        '<b>a</b> <i>b</i> <code>c*</code> <span class="spoiler">d</span> <a href="https://f.g">e</a> *h* <span class="mention">@Ada</span>'
    )
    assert (
        to_html("# t\n> q\n- l\n```py\n<x>\n```", lambda _id: "")
        == "<h1>t</h1>\n<blockquote>q</blockquote>\n<li>l</li>\n<pre>&lt;x&gt;</pre>"
    )
