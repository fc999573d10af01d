"""The slash commands as Discord wants them declared, and their declaration when it has changed."""

from typing import Any

import discord
from discord.http import HTTPClient, Route

from bots.chat.types import ChatPort, CommandSpec, Option

Declaration = dict[str, Any]

_CHINESE = ("zh-CN", "zh-TW")
_EVERYWHERE = [0, 1, 2]  # contexts: servers, the private chat with the bot, other private chats
_EVERY_INSTALLATION = [0, 1]  # integration types: into a server, for oneself
_TYPES = {
    "text": discord.AppCommandOptionType.string.value,
    "integer": discord.AppCommandOptionType.integer.value,
    "picture": discord.AppCommandOptionType.attachment.value,
}


def declarations(chat: ChatPort) -> list[Declaration]:
    """The declared set. Admin commands are not in it: they would show in every server, and are given in the private chat as "/name …"."""
    return [_command(chat, spec) for spec in chat.commands if not spec.admin]


async def declare(http: HTTPClient, application: int, chat: ChatPort) -> bool:
    """Declares the commands where Discord has others. True when it had. Raises discord.HTTPException."""
    wanted = declarations(chat)
    route = Route("GET", "/applications/{application_id}/commands", application_id=application)
    present: list[Any] = await http.request(route, params={"with_localizations": "true"})
    if sorted(map(_known, present), key=_name) == sorted(map(_known, wanted), key=_name):
        return False
    await http.bulk_upsert_global_commands(application, wanted)
    return True


def _command(chat: ChatPort, spec: CommandSpec) -> Declaration:
    return {
        "type": discord.AppCommandType.chat_input.value,
        "name": spec.name,
        **_described(chat, spec.name),
        "options": [_option(chat, spec.name, option) for option in spec.options],
        "contexts": _EVERYWHERE,
        "integration_types": _EVERY_INSTALLATION,
    }


def _option(chat: ChatPort, command: str, option: Option) -> Declaration:
    declared: Declaration = {"type": _TYPES[option.kind], "name": option.name, **_described(chat, f"{command}.{option.name}")}
    if option.required:
        declared["required"] = True
    if option.complete:
        declared["autocomplete"] = True
    if option.choices:
        values: list[str | int] = [int(choice) if option.kind == "integer" else choice for choice in option.choices]
        declared["choices"] = [{"name": choice, "value": value} for choice, value in zip(option.choices, values, strict=True)]
    if option.kind == "text" and option.max_length:
        declared["max_length"] = option.max_length
    for key, limit in (("min_value", option.minimum), ("max_value", option.maximum)):
        if option.kind == "integer" and limit is not None:
            declared[key] = limit
    return declared


def _described(chat: ChatPort, code: str) -> Declaration:
    chinese = chat.describe(code, "zh")
    return {"description": chat.describe(code, "en"), "description_localizations": dict.fromkeys(_CHINESE, chinese)}


def _known(declaration: Any) -> Declaration:
    """What we declare of a command or an option, without what Discord adds, leaves out or fills in."""
    known: Declaration = {}
    for key in ("type", "name", "description", "required", "autocomplete", "max_length", "min_value", "max_value"):
        if declaration.get(key):
            known[key] = declaration[key]
        elif declaration.get(key) == 0 and key in ("min_value", "max_value"):
            known[key] = 0
    known["description_localizations"] = declaration.get("description_localizations") or {}
    known["choices"] = [(choice["name"], choice["value"]) for choice in declaration.get("choices") or []]
    known["options"] = [_known(option) for option in declaration.get("options") or []]
    for key in ("contexts", "integration_types"):
        known[key] = sorted(declaration.get(key) or [])
    return known


def _name(declaration: Declaration) -> str:
    return str(declaration["name"])
