"""Messages of the sandbox's Discord: made, edited and deleted by the application or said by people, and who gets to know of it."""

import json
import re
import time
from dataclasses import dataclass, field
from typing import Any

from aiohttp import BodyPartReader, web

from sandbox.discord_gateway import DIRECT_MESSAGES, GUILD_MESSAGES, Gateway
from sandbox.discord_rules import (
    CANNOT_DM,
    EPHEMERAL,
    FILE_BYTES,
    INVALID_FORM,
    LOADING,
    MISSING_ACCESS,
    REQUEST_BYTES,
    SUPPRESS_NOTIFICATIONS,
    TOO_LARGE,
    UNKNOWN_CHANNEL,
    UNKNOWN_MESSAGE,
    DiscordError,
    Json,
    check_message,
)
from sandbox.discord_state import APPLICATION, GUILD, Attachment, Channel, DiscordState, Message, now_stamp

NONCE_SECONDS = 180.0
_MENTION = re.compile(r"<@!?(\d+)>")


@dataclass(slots=True)
class Upload:
    """One file of a multipart request."""

    filename: str
    content_type: str
    data: bytes = field(repr=False)


Files = dict[int, Upload]


async def read_body(request: web.Request) -> tuple[Any, Files]:
    """The JSON of a request and the files uploaded with it, by number.

    Raises DiscordError 50109 for what is no JSON, 40005 for a file above 10 MiB or a request above 25 MiB.
    """
    files: Files = {}
    if not request.content_type.startswith("multipart/"):
        raw = await request.content.read()
        return _parse(raw), files
    data: Any = {}
    total = 0
    reader = await request.multipart()
    async for part in reader:
        if not isinstance(part, BodyPartReader):
            continue
        content = bytes(await part.read())
        total += len(content)
        name = part.name or ""
        if name == "payload_json":
            data = _parse(content)
            continue
        number = re.fullmatch(r"files\[(\d+)\]", name)
        if len(content) > FILE_BYTES or total > REQUEST_BYTES:
            raise DiscordError(413, TOO_LARGE, "Request entity too large")
        if number:
            files[int(number.group(1))] = Upload(part.filename or "file", sniff(content), content)
    return data, files


def _parse(raw: bytes) -> Any:
    try:
        return json.loads(raw or b"{}")
    except ValueError:
        raise DiscordError(400, 50109, "The request body contains invalid JSON.") from None


def sniff(data: bytes) -> str:
    """The media type of a file, by its first bytes, as Discord finds it out itself."""
    for start, name in ((b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif")):
        if data.startswith(start):
            return name
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else "application/octet-stream"


class Messages:
    """All that happens to messages; tells the gateway and, through `state.changed`, whoever watches."""

    def __init__(self, state: DiscordState, gateway: Gateway, cannot_dm: set[str], missing_access: set[str]) -> None:
        self._state = state
        self._gateway = gateway
        self._cannot_dm = cannot_dm
        self._missing_access = missing_access
        self._nonces: dict[tuple[str, str], tuple[str, float]] = {}

    def channel_for_bot(self, channel_id: str, *, sending: bool = False) -> Channel:
        """A channel as the bot reaches it. Raises DiscordError: unknown, no access, or a person who takes no private messages."""
        channel = self._state.channels.get(channel_id)
        if channel is None:
            raise DiscordError(404, UNKNOWN_CHANNEL, "Unknown Channel")
        if channel_id in self._missing_access:
            raise DiscordError(403, MISSING_ACCESS, "Missing Access")
        if sending and channel.recipient in self._cannot_dm:
            raise DiscordError(403, CANNOT_DM, "Cannot send messages to this user")
        return channel

    def by_nonce(self, channel: Channel, data: Json) -> Message | None:
        """The message that the same `enforce_nonce` has made a moment ago. Raises DiscordError when it is deleted already."""
        made = self._nonces.get((channel.id, str(data.get("nonce"))))
        if not data.get("enforce_nonce") or made is None or time.monotonic() - made[1] > NONCE_SECONDS:
            return None
        if made[0] not in self._state.messages:
            raise DiscordError(404, UNKNOWN_MESSAGE, "Unknown Message")
        return self._state.messages[made[0]]

    def create(
        self,
        channel: Channel,
        data: Json,
        files: Files,
        *,
        owner: str | None = None,
        loading: bool = False,
        used: tuple[str, str] | None = None,
    ) -> Message:
        """The application writes a message; `owner` makes it ephemeral, `loading` a "… is thinking"; `used` says what it answers.

        Raises DiscordError for what Discord would not take.
        """
        if not loading:
            check_message(data, len(files))
        flags = int(data.get("flags") or 0) & SUPPRESS_NOTIFICATIONS
        flags |= (EPHEMERAL if owner else 0) | (LOADING if loading else 0)
        message = Message(self._state.new_id(), channel.id, APPLICATION, flags=flags, owner=owner, used=used)
        if data.get("nonce") is not None:
            message.nonce = str(data["nonce"])
            self._nonces[channel.id, message.nonce] = (message.id, time.monotonic())
        self._apply(message, data, files)
        self._state.messages[message.id] = message
        self._announce("MESSAGE_CREATE", message)
        return message

    def edit(self, message: Message, data: Json, files: Files) -> Message:
        """The application edits a message; what `data` does not name stays. A "… is thinking" becomes the message."""
        named = data.get("attachments")
        stay = {str(a["id"]) for a in named} if named is not None else {a.id for a in message.attachments}
        kept = [attachment for attachment in message.attachments if attachment.id in stay]
        check_message(data, len(files), kept=len(kept), editing=not message.flags & LOADING)
        message.attachments = kept
        if message.flags & LOADING:
            message.flags &= ~LOADING
        else:
            message.edited = now_stamp()
        self._apply(message, data, files)
        self._announce("MESSAGE_UPDATE", message)
        return message

    def _apply(self, message: Message, data: Json, files: Files) -> None:
        if "content" in data:
            message.content = data["content"] or ""
            self._ping(message, data.get("allowed_mentions"))
        if "components" in data:
            message.components = data["components"] or []
        if "embeds" in data:
            message.embeds = data["embeds"] or []
        described = {str(entry.get("id")): entry for entry in data.get("attachments") or []}
        for number, upload in sorted(files.items()):
            entry = described.get(str(number), {})
            filename = entry.get("filename") or upload.filename
            spoiler = bool(entry.get("is_spoiler")) or filename.startswith("SPOILER_")
            message.attachments.append(self._state.keep_file(message.channel, filename, upload.content_type, upload.data, spoiler))

    def _ping(self, message: Message, allowed: Json | None) -> None:
        """Who is notified: everybody named, unless `allowed_mentions` says less. Ephemeral messages notify nobody."""
        named = [user for user in dict.fromkeys(_MENTION.findall(message.content)) if user in self._state.people]
        kinds = ["users", "roles", "everyone"] if allowed is None else allowed.get("parse", [])
        if allowed is not None and "users" not in kinds:
            named = [user for user in named if user in allowed.get("users", [])]
        message.pinged = [] if message.owner else named
        message.everyone = "everyone" in kinds and re.search(r"@(everyone|here)\b", message.content) is not None and not message.owner

    def delete(self, message: Message) -> None:
        """Removes a message."""
        self._state.messages.pop(message.id, None)
        self._state.changed("deleted", message)
        if message.owner is None:
            channel = self._state.channels[message.channel]
            data = {"id": message.id, "channel_id": message.channel}
            if channel.private:
                self._gateway.dispatch("MESSAGE_DELETE", data, guild=False, intent=DIRECT_MESSAGES)
            else:
                self._gateway.dispatch("MESSAGE_DELETE", data | {"guild_id": GUILD}, guild=True, intent=GUILD_MESSAGES)

    def said(self, person: str, channel: Channel, text: str, picture: bytes | None) -> Message:
        """A person writes a plain message, with a picture or without."""
        attachments: list[Attachment] = []
        if picture is not None:
            kind = sniff(picture)
            attachments.append(self._state.keep_file(channel.id, f"picture.{kind.rpartition('/')[2]}", kind, picture))
        message = Message(self._state.new_id(), channel.id, person, content=text, attachments=attachments)
        known = {*self._state.people, APPLICATION}
        message.pinged = [user for user in dict.fromkeys(_MENTION.findall(text)) if user in known]
        self._state.messages[message.id] = message
        self._announce("MESSAGE_CREATE", message)
        return message

    def _announce(self, event: str, message: Message) -> None:
        self._state.changed("message", message)
        if message.owner is not None or message.flags & LOADING:
            return
        channel = self._state.channels[message.channel]
        # without the privileged intent only private chats, one's own messages and those that mention the bot have content
        hidden = not (channel.private or message.author == APPLICATION or APPLICATION in message.pinged)
        data = self._state.message(message, hidden=hidden)
        if not channel.private and message.author != APPLICATION:
            data["member"] = self._state.member(message.author)
        self._gateway.dispatch(event, data, guild=not channel.private, intent=DIRECT_MESSAGES if channel.private else GUILD_MESSAGES)


def invalid(path: str, message: str) -> DiscordError:
    """A 50035 with one mistake."""
    return DiscordError(400, INVALID_FORM, "Invalid Form Body", {path: {"_errors": [{"code": "BASE_TYPE_CHOICES", "message": message}]}})
