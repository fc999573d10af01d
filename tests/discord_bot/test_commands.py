"""The declared slash commands."""

from dataclasses import replace

from bots.chat.types import CommandSpec, Option
from bots.discord.commands import declarations
from sandbox.discord import DiscordSandbox
from sandbox.discord_declarations import check_commands
from tests.discord_bot.fakes import COMMANDS, FakeChat, running


def puts(sandbox: DiscordSandbox) -> int:
    return sum(call.startswith("PUT") for call in sandbox.rest.calls)


def test_discord_takes_the_declarations(chat: FakeChat) -> None:
    declared = declarations(chat)
    check_commands(declared)
    assert [command["name"] for command in declared] == ["imagine", "balance", "help"]
    imagine = declared[0]
    assert imagine["description"] == "Make a picture"
    assert imagine["description_localizations"] == {"zh-CN": "画一张图", "zh-TW": "画一张图"}
    assert (imagine["contexts"], imagine["integration_types"]) == ([0, 1, 2], [0, 1])
    assert "default_member_permissions" not in imagine
    assert [{k: v for k, v in option.items() if "description" not in k} for option in imagine["options"]] == [
        {"type": 3, "name": "prompt", "required": True, "max_length": 1000},
        {"type": 3, "name": "model", "autocomplete": True},
        {"type": 3, "name": "ar", "choices": [{"name": c, "value": c} for c in ("1:1", "16:9", "9:16")]},
        {"type": 4, "name": "seed", "min_value": 0, "max_value": 4294967294},
        {"type": 11, "name": "picture"},
    ]


async def test_they_are_declared_only_when_they_have_changed(chat: FakeChat, sandbox: DiscordSandbox) -> None:
    async with running(chat, sandbox):
        assert puts(sandbox) == 1
        assert [command["name"] for command in sandbox.commands()] == ["imagine", "balance", "help"]
    first = [command["id"] for command in sandbox.commands()]
    async with running(chat, sandbox):
        assert puts(sandbox) == 1
    changed = FakeChat(commands=(*COMMANDS, CommandSpec("pool")))
    async with running(changed, sandbox):
        assert puts(sandbox) == 2
    assert [command["id"] for command in sandbox.commands()][:3] == first
    limit = replace(COMMANDS[0], options=(Option("prompt", required=True, max_length=900), *COMMANDS[0].options[1:]))
    async with running(FakeChat(commands=(limit, *COMMANDS[1:])), sandbox):
        assert puts(sandbox) == 3


async def test_declarations_that_discord_refuses_do_not_keep_the_bot_away(sandbox: DiscordSandbox) -> None:
    async with running(FakeChat(commands=(CommandSpec("Not Allowed"),)), sandbox):
        assert sandbox.commands() == [] and puts(sandbox) == 1
