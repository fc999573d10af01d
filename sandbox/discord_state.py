"""What the sandbox's Discord remembers: one application, one server, its people, channels, messages and interactions, all in memory.

Rendering into Discord's payloads is here too, so that a message looks the same in a REST answer, a gateway event and an interaction.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from sandbox.discord_markdown import to_html
from sandbox.discord_rules import EPHEMERAL, FILE_BYTES, LINK, LOADING, Json

APPLICATION = "100000000000000001"
GUILD = "300000000000000001"
EVERYONE = GUILD  # the role of everyone has the server's id
ADMIN_ROLE = "300000000000000002"
ROLES = {ADMIN_ROLE: "Admins", "300000000000000003": "Painters", "300000000000000004": "Patrons"}
"""The server's roles beside the one of everyone; only Admins have more rights."""
IMAGINE = "400000000000000001"
ADMIN_CHANNEL = "400000000000000002"
SERVER_NAME = "Aether Lounge"
BOT_NAME = "Aetherflow"

_EPOCH_MS = 1_420_070_400_000  # Discord's: the first second of 2015
_MEMBER_RIGHTS = 1 << 10 | 1 << 11 | 1 << 15 | 1 << 16 | 1 << 31  # see and write messages, files, history, commands
_ADMIN_RIGHTS = _MEMBER_RIGHTS | 1 << 3 | 1 << 5 | 1 << 13  # administrator, manage the server, manage messages
_BOT_RIGHTS = _MEMBER_RIGHTS | 1 << 13
_STYLES = {1: "primary", 2: "secondary", 3: "success", 4: "danger", LINK: "link"}


@dataclass(slots=True)
class Person:
    """Somebody with a Discord account. `admin`: administers the server; `roles`: further ones of ROLES."""

    id: str
    name: str
    language: str
    admin: bool = False
    roles: set[str] = field(default_factory=set)

    @property
    def all_roles(self) -> list[str]:
        """In the order of ROLES."""
        return [role for role in ROLES if role in self.roles or (self.admin and role == ADMIN_ROLE)]


@dataclass(slots=True)
class Channel:
    """A channel of the server, or the private chat of `recipient` with the bot. `foreign`: the bot is not there, people bring it along."""

    id: str
    name: str
    recipient: str | None = None
    admin_only: bool = False
    nsfw: bool = False
    foreign: bool = False

    @property
    def private(self) -> bool:
        """Whether this is somebody's private chat with the bot."""
        return self.recipient is not None


@dataclass(slots=True)
class Attachment:
    """An uploaded file."""

    id: str
    channel: str
    filename: str
    content_type: str
    data: bytes = field(repr=False)
    spoiler: bool = False


@dataclass(slots=True)
class Message:
    """A message; `owner` is set for an ephemeral one: the only person who sees it. `pinged` are the people who were notified."""

    id: str
    channel: str
    author: str
    content: str = ""
    components: list[Json] = field(default_factory=list)
    embeds: list[Json] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    flags: int = 0
    owner: str | None = None
    edited: str | None = None
    pinged: list[str] = field(default_factory=list)
    everyone: bool = False
    nonce: str | None = None
    used: tuple[str, str] | None = None  # who used which command, where it answers one


@dataclass(slots=True)
class Interaction:
    """Something that a person did and the application has to answer. `kind`: 2 command, 3 component, 4 autocomplete, 5 modal."""

    id: str
    token: str
    kind: int
    person: str
    channel: str
    data: Json
    born: float
    source: str | None = None  # the message whose button was pressed
    answered: int | None = None  # the callback type that answered it
    original: str | None = None  # the message that @original names
    choices: asyncio.Future[list[Json]] | None = None


class DiscordState:
    """All of it. `changed` is called for each message that was made, edited or "deleted"; `stirred` whenever anything has happened."""

    def __init__(self, public_url: str) -> None:
        self.public_url = public_url
        self.people: dict[str, Person] = {}
        self.channels: dict[str, Channel] = {}
        self.messages: dict[str, Message] = {}
        self.interactions: dict[str, Interaction] = {}  # by token
        self.files: dict[str, Attachment] = {}
        self.commands: list[Json] = []
        self.guild_commands: list[Json] = []
        self.changed: Callable[[str, Message], None] = lambda _what, _message: None
        self.stirred: Callable[[], None] = lambda: None
        self.file_lifetime = 24 * 3600.0
        self.bot_is_there = True  # in the server
        self._last_id = 0
        self.add_channel(Channel(IMAGINE, "imagine"))
        self.add_channel(Channel(ADMIN_CHANNEL, "admin", admin_only=True))

    def new_id(self) -> str:
        """A snowflake: milliseconds since 2015, then a number; always larger than the last."""
        self._last_id = max(self._last_id + 1, (int(time.time() * 1000) - _EPOCH_MS) << 22)
        return str(self._last_id)

    def add_person(self, person: Person) -> Person:
        """A new account, a member of the server, with its private chat."""
        self.people[person.id] = person
        if all(channel.recipient != person.id for channel in self.channels.values()):
            self.add_channel(Channel(self.new_id(), BOT_NAME, recipient=person.id))
        return person

    def add_channel(self, channel: Channel) -> Channel:
        """A new channel."""
        self.channels[channel.id] = channel
        return channel

    def private_channel(self, person: str) -> Channel:
        """The private chat of a person with the bot. Raises KeyError for a stranger."""
        for channel in self.channels.values():
            if channel.recipient == person:
                return channel
        raise KeyError(person)

    def sees(self, person: Person, channel: Channel) -> bool:
        """Whether a person may open a channel at all."""
        return channel.recipient == person.id if channel.private else person.admin or not channel.admin_only

    def visible(self, person: str, channel: str) -> list[Message]:
        """The messages of a channel as this person sees it, oldest first."""
        return [m for m in self.messages.values() if m.channel == channel and m.owner in (None, person)]

    def keep_file(self, channel: str, filename: str, content_type: str, data: bytes, spoiler: bool = False) -> Attachment:
        """Stores an upload."""
        attachment = Attachment(self.new_id(), channel, filename, content_type, data, spoiler)
        self.files[attachment.id] = attachment
        return attachment

    def file_url(self, attachment: Attachment) -> str:
        """The signed address of a file; it stops working after `file_lifetime` seconds, as Discord's do."""
        until = f"{max(0, int(time.time() + self.file_lifetime)):x}"
        path = f"/discord/cdn/attachments/{attachment.channel}/{attachment.id}/{attachment.filename}"
        return f"{self.public_url}{quote(path)}?ex={until}&hm={self.signature(path, until)}&"

    @staticmethod
    def signature(path: str, until: str) -> str:
        """What makes a file's address valid until a time (hexadecimal seconds)."""
        return hashlib.sha256(f"sandbox {path} {until}".encode()).hexdigest()

    # Discord's payloads

    def user(self, user_id: str) -> Json:
        """A user object."""
        bot = user_id == APPLICATION
        name = BOT_NAME if bot else self.people[user_id].name
        plain: Json = {"id": user_id, "username": name.lower(), "global_name": name, "discriminator": "0", "avatar": None}
        return plain | {"public_flags": 0} | ({"bot": True} if bot else {})

    def member(self, user_id: str, *, rights: bool = False) -> Json:
        """A member object; `rights` adds the permissions, as interactions do."""
        admin = user_id != APPLICATION and self.people[user_id].admin
        member: Json = {
            "user": self.user(user_id),
            "nick": None,
            "avatar": None,
            "roles": [] if user_id == APPLICATION else self.people[user_id].all_roles,
            "joined_at": "2026-01-01T00:00:00.000000+00:00",
            "premium_since": None,
            "deaf": False,
            "mute": False,
            "pending": False,
            "flags": 0,
            "communication_disabled_until": None,
        }
        return member | {"permissions": str(_ADMIN_RIGHTS if admin else _MEMBER_RIGHTS)} if rights else member

    def channel(self, channel: Channel) -> Json:
        """A channel object."""
        if channel.recipient is not None:
            return {"id": channel.id, "type": 1, "last_message_id": None, "flags": 0, "recipients": [self.user(channel.recipient)]}
        hidden = {"id": EVERYONE, "type": 0, "allow": "0", "deny": str(1 << 10)}
        return {
            "id": channel.id,
            "type": 0,
            "guild_id": GUILD,
            "name": channel.name,
            "position": list(self.channels).index(channel.id),
            "nsfw": channel.nsfw,
            "topic": None,
            "parent_id": None,
            "last_message_id": None,
            "rate_limit_per_user": 0,
            "permission_overwrites": [hidden] if channel.admin_only else [],
            "flags": 0,
        }

    def guild(self) -> Json:
        """The server, as GUILD_CREATE carries it."""
        owner = next((person.id for person in self.people.values() if person.admin), APPLICATION)
        return {
            "id": GUILD,
            "name": SERVER_NAME,
            "owner_id": owner,
            "preferred_locale": "en-US",
            "features": [],
            "roles": [_role(EVERYONE, "@everyone", _MEMBER_RIGHTS, 0), *self._roles()],
            "emojis": [],
            "stickers": [],
            "channels": [self.channel(channel) for channel in self.channels.values() if not channel.private],
            "members": [self.member(APPLICATION)],
            "member_count": len(self.people) + 1,
            "threads": [],
            "voice_states": [],
            "presences": [],
            "stage_instances": [],
            "guild_scheduled_events": [],
            "soundboard_sounds": [],
            "unavailable": False,
            "large": False,
            "joined_at": "2026-01-01T00:00:00.000000+00:00",
            "nsfw_level": 0,
            "mfa_level": 0,
            "premium_tier": 0,
            "verification_level": 0,
            "default_message_notifications": 1,
            "explicit_content_filter": 2,
        }

    def _roles(self) -> list[Json]:
        rights = {role: _ADMIN_RIGHTS if role == ADMIN_ROLE else _MEMBER_RIGHTS for role in ROLES}
        return [_role(role, name, rights[role], len(ROLES) - place) for place, (role, name) in enumerate(ROLES.items())]

    def attachment(self, attachment: Attachment) -> Json:
        """An attachment object with a freshly signed address."""
        url = self.file_url(attachment)
        return {
            "id": attachment.id,
            "filename": attachment.filename,
            "size": len(attachment.data),
            "url": url,
            "proxy_url": url,
            "content_type": attachment.content_type,
            "flags": 1 << 5 if attachment.spoiler else 0,
        }

    def message(self, message: Message, *, hidden: bool = False) -> Json:
        """A message object; `hidden` leaves out what needs the privileged message-content intent."""
        channel = self.channels[message.channel]
        payload: Json = {
            "id": message.id,
            "channel_id": message.channel,
            "type": 0,
            "author": self.user(message.author),
            "content": "" if hidden else message.content,
            "timestamp": _stamp(message.id),
            "edited_timestamp": message.edited,
            "tts": False,
            "mention_everyone": message.everyone,
            "mentions": [self.user(user) for user in message.pinged],
            "mention_roles": [],
            "attachments": [] if hidden else [self.attachment(a) for a in message.attachments],
            "embeds": [] if hidden else message.embeds,
            "components": [] if hidden else message.components,
            "pinned": False,
            "flags": message.flags,
        }
        if message.nonce is not None:
            payload["nonce"] = message.nonce
        return payload if channel.private else payload | {"guild_id": GUILD}

    def interaction(self, interaction: Interaction) -> Json:
        """An interaction as INTERACTION_CREATE carries it."""
        person, channel = self.people[interaction.person], self.channels[interaction.channel]
        payload: Json = {
            "id": interaction.id,
            "application_id": APPLICATION,
            "type": interaction.kind,
            "token": interaction.token,
            "version": 1,
            "data": interaction.data,
            "channel_id": channel.id,
            "channel": self.channel(channel),
            "locale": person.language,
            "app_permissions": str(_BOT_RIGHTS),
            "entitlements": [],
            "context": 1 if channel.private else 0,
            "authorizing_integration_owners": {"1": person.id} if channel.foreign else {"0": "0" if channel.private else GUILD},
            "attachment_size_limit": FILE_BYTES,
        }
        if interaction.source is not None:
            payload["message"] = self.message(self.messages[interaction.source])
        if channel.private:
            return payload | {"user": self.user(person.id)}
        server = {"id": GUILD, "locale": "en-US", "features": []}
        return payload | {"guild_id": GUILD, "guild": server, "guild_locale": "en-US", "member": self.member(person.id, rights=True)}

    def view(self, message: Message) -> Json:
        """A message as a person sees it, in the shape that both chats of the sandbox share."""
        author = self.user(message.author)
        return {
            "id": message.id,
            "chat": message.channel,
            "from": {"id": message.author, "name": author["global_name"], "bot": bool(author.get("bot"))},
            "at": _stamp(message.id),
            "html": to_html(message.content, self._name_of),
            "rows": [[_key(item) for item in row["components"]] for row in message.components],
            "pictures": [self.file_url(attachment) for attachment in message.attachments],
            "veiled": [attachment.spoiler for attachment in message.attachments],
            "edited": message.edited is not None,
            "ephemeral": bool(message.flags & EPHEMERAL),
            "thinking": bool(message.flags & LOADING),
            "used": None if message.used is None else [self.user(message.used[0])["global_name"], message.used[1]],
        }

    def _name_of(self, some_id: str) -> str:
        if some_id in self.channels:
            return self.channels[some_id].name
        return BOT_NAME if some_id == APPLICATION else self.people[some_id].name if some_id in self.people else "unknown"


def _key(item: Json) -> dict[str, Any]:
    style = _STYLES.get(item.get("style", 0), "secondary")
    target = {"url": item["url"]} if item.get("url") else {"action": item.get("custom_id", "")}
    return {"label": item.get("label", ""), **target, "style": style}


def _role(role_id: str, name: str, rights: int, position: int) -> Json:
    colours = {"primary_color": 0, "secondary_color": None, "tertiary_color": None}
    plain = {"id": role_id, "name": name, "permissions": str(rights), "position": position, "color": 0, "colors": colours, "flags": 0}
    return plain | {"hoist": False, "managed": False, "mentionable": False}


def _stamp(snowflake: str) -> str:
    return datetime.fromtimestamp(((int(snowflake) >> 22) + _EPOCH_MS) / 1000, UTC).isoformat(timespec="milliseconds")


def now_stamp() -> str:
    """This moment as Discord writes it."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
