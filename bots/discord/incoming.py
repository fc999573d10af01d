"""What Discord sent, as an Event: slash commands, presses, sent forms, private messages and messages that mention the bot.

No privileged intent is needed: Discord fills in the text of messages to the bot and of those that mention it.
"""

import asyncio
import re
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import discord

from bots.chat.types import CHOOSE_ROLES, MAX_ATTACHMENT_BYTES, Event, Person, Place

Interaction = discord.Interaction[discord.Client]

FETCH_SECONDS = 20.0
_PUBLIC_API_HOST = "discord.com"
_CDN = ("https://cdn.discordapp.com/", "https://media.discordapp.net/")
_ATTACHMENT = discord.AppCommandOptionType.attachment.value
_COMMAND = re.compile(r"/([A-Za-z0-9_-]{1,32})(?:\s+(.*))?", re.DOTALL)


def cdn_prefixes(api_url: str) -> tuple[str, ...]:
    """The only addresses that an attachment is fetched from: Discord's own, or those of the stand-in that `api_url` names."""
    parts = urlsplit(api_url)
    return _CDN if parts.hostname == _PUBLIC_API_HOST else (f"{parts.scheme}://{parts.netloc}/",)


async def from_interaction(interaction: Interaction, prefixes: tuple[str, ...]) -> Event:
    """A slash command, a press or a sent form. Fetches the picture that came as an option; its option holds the file's name.

    Raises aiohttp.ClientError, discord.HTTPException or TimeoutError when the picture cannot be fetched.
    """
    data: Any = interaction.data or {}
    event_id, place = str(interaction.id), place_of(interaction)
    person = Person(str(interaction.user.id), interaction.user.display_name, str(interaction.locale.value))
    if interaction.type is discord.InteractionType.application_command:
        options, files = _options(data)
        attachment = await _fetch(interaction.client, files, prefixes)
        return Event(
            event_id, "discord", person, place, command=str(data["name"]), options=options, attachment=attachment, opens_forms=True
        )
    sent_form = interaction.type is discord.InteractionType.modal_submit
    answers = _answers(data["components"]) if sent_form else {}
    pressed = None if interaction.message is None else str(interaction.message.id)
    action = str(data["custom_id"])
    event = Event(event_id, "discord", person, place, action=action, answers=answers, message=pressed, opens_forms=not sent_form)
    return replace(event, offered=_offered(interaction.guild)) if event.word in CHOOSE_ROLES else event


def typing_event(interaction: Interaction) -> tuple[Event, str, str]:
    """A command that is being typed, the option that wants suggestions, and what stands in it so far."""
    data: Any = interaction.data or {}
    options, _ = _options(data)
    focused = next(str(option["name"]) for option in data["options"] if option.get("focused"))
    person = Person(str(interaction.user.id), interaction.user.display_name, str(interaction.locale.value))
    event = Event(str(interaction.id), "discord", person, place_of(interaction), command=str(data["name"]), options=options)
    return event, focused, options.get(focused, "")


async def from_message(message: discord.Message, client: discord.Client, prefixes: tuple[str, ...]) -> Event | None:
    """A private message, or one that mentions the bot; None for everything else, and for what bots say.

    "/name …" is that command with its argument: so a command that is not declared to Discord can be given all the same.
    Raises like `from_interaction`.
    """
    private, me = message.guild is None, client.user
    if me is None or message.author.bot or message.webhook_id is not None or not (private or me in message.mentions):
        return None
    text = re.sub(rf"<@!?{me.id}>", "", message.content).strip()
    files = [{"url": file.url, "size": file.size, "content_type": file.content_type} for file in message.attachments]
    attachment = await _fetch(client, files, prefixes)
    if not text and attachment is None:
        return None
    rights = getattr(message.author, "guild_permissions", discord.Permissions.none())
    place = Place(
        chat=str(message.channel.id),
        private=private,
        community=None if message.guild is None else str(message.guild.id),
        age_restricted=_is_age_restricted(message.channel),
        admin=not private and _administers(rights),
        **_inside(message.guild, message.author, message.channel),
    )
    command = _COMMAND.fullmatch(text)
    return Event(
        id=str(message.id),
        platform="discord",
        person=Person(str(message.author.id), message.author.display_name),
        place=place,
        command=command.group(1).lower() if command else None,
        argument=(command.group(2) or "").strip() if command else "",
        text="" if command else text,
        attachment=attachment,
        message=str(message.id),
    )


def place_of(interaction: Interaction) -> Place:
    """Where an interaction happened. `chat` is the channel, or "dm:<person>" where the bot cannot write to the channel."""
    chat = str(interaction.channel_id) if is_reachable(interaction) else f"dm:{interaction.user.id}"
    return Place(
        chat=chat,
        private=is_private_chat(interaction),
        community=None if interaction.guild_id is None else str(interaction.guild_id),
        age_restricted=_is_age_restricted(interaction.channel),
        admin=interaction.guild_id is not None and _administers(interaction.permissions),
        **_inside(interaction.guild, interaction.user, interaction.channel),
    )


def is_private_chat(interaction: Interaction) -> bool:
    """Whether this is the person's own chat with the bot, where nobody else reads along."""
    return interaction.guild_id is None and interaction.context.dm_channel


def is_reachable(interaction: Interaction) -> bool:
    """Whether the bot itself may write to the channel: not where only the person has installed it (in others' servers and chats)."""
    if interaction.channel_id is None:
        return False
    return is_private_chat(interaction) if interaction.guild_id is None else interaction.is_guild_integration()


def _inside(guild: discord.Guild | None, person: discord.abc.User, channel: object) -> dict[str, Any]:
    """Of a Place in a server: the person's roles (every interaction and message brings them), the channel, and what they are called.

    A thread is a part of its channel. Interactions come from members alone.
    """
    if guild is None:
        return {}
    roles = person.roles if isinstance(person, discord.Member) else []
    ids = (getattr(channel, "id", None), getattr(channel, "parent_id", None) if isinstance(channel, discord.Thread) else None)
    return {
        "roles": tuple(str(role.id) for role in roles if not role.is_default()),
        "channels": tuple(str(each) for each in ids if each is not None),
        "title": guild.name or "",
        "channel": f"#{getattr(channel, 'name', None) or ids[0]}",
    }


def _offered(guild: discord.Guild | None) -> tuple[tuple[str, str], ...]:
    """The roles that somebody can be given, the highest first: not the one of everyone, nor those of bots and the like."""
    roles = [] if guild is None else sorted(guild.roles, key=lambda role: role.position, reverse=True)
    return tuple((str(role.id), role.name) for role in roles if not role.is_default() and not role.managed)


def _administers(rights: discord.Permissions) -> bool:
    return rights.administrator or rights.manage_guild


def _is_age_restricted(channel: object) -> bool:
    """Threads ask their parent; private chats are never marked."""
    return isinstance(channel, discord.abc.GuildChannel | discord.Thread) and bool(getattr(channel, "is_nsfw", bool)())


def _options(data: Any) -> tuple[dict[str, str], list[Any]]:
    """Options as texts, and the uploaded files among them."""
    options: dict[str, str] = {}
    files = []
    for option in data.get("options", []):
        value = option.get("value", "")
        if option["type"] == _ATTACHMENT:
            file = data["resolved"]["attachments"][str(value)]
            files.append(file)
            value = file["filename"]
        options[option["name"]] = str(value).lower() if isinstance(value, bool) else str(value)
    return options, files


def _answers(components: list[Any]) -> dict[str, str]:
    """What was entered into a modal, by the names of its inputs: each stands in a label, or (older clients) in a row."""
    answers: dict[str, str] = {}
    for component in components:
        inner = [component["component"]] if "component" in component else component.get("components", [])
        for item in inner:
            if "custom_id" in item:
                values = item.get("values", [])
                answers[item["custom_id"]] = str(item["value"]) if "value" in item else ",".join(map(str, values))
    return answers


async def _fetch(client: discord.Client, files: list[Any], prefixes: tuple[str, ...]) -> bytes | None:
    """The first picture among the files; None when there is none that is small enough and lies where attachments lie."""
    for file in files:
        is_picture = str(file.get("content_type") or "").startswith("image/")
        if is_picture and file["size"] <= MAX_ATTACHMENT_BYTES and file["url"].startswith(prefixes):
            async with asyncio.timeout(FETCH_SECONDS):
                data = await client.http.get_from_cdn(file["url"])
            return data if len(data) <= MAX_ATTACHMENT_BYTES else None
    return None
