"""Messages of ours as Discord takes them, and the Sender that posts them through the channel routes with the bot's token."""

import asyncio
import hashlib
import html
import io
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import discord

from bots.chat.types import Key, Message, Picture, Platform, SendFailed
from bots.discord.answers import Answers

CONTENT_LIMIT = 2000
LABEL_LIMIT = 80
ROW_LIMIT = 5
BUTTONS_PER_ROW = 5
NONCE_LIMIT = 25
PICTURE_BYTES = 10 * 1024 * 1024  # of each file, for accounts and servers that pay Discord nothing
CALL_SECONDS = 90.0  # discord.py waits for rate limits and tries again by itself; longer than this is a failure
PRIVATE_CHAT = "dm:"

# discord.com/developers/docs/topics/opcodes-and-status-codes#json
_BLOCKED = {50001, 50007, 50009, 50013, 50278, 40007}  # no access, no private messages, not allowed, no server in common, banned
_GONE = {10003, 10004, 10008, 10013, 50033}  # unknown channel, server, message, user; no such recipient
_LATER = {20016, 20028, 30046, 40003, 40333}  # slow mode, write limits, old message edited too often, too many new chats, network
_REFUSED = {20009, 50005, 200000}  # explicit content, somebody else's message, the server's own filter
_MESSAGE_GONE = 10008
_TOKEN_REFUSED = {401, 403, 404}  # of an interaction's token; what the channel says then counts

_TAG = re.compile(r"<(/?)(b|i|code)>")
_MARKS = {"b": "**", "i": "*"}
# A web address as every Discord client sees it; characters that could begin another markup end it.
_LITERAL = re.compile(
    r"(?P<url>https?://[A-Za-z0-9./_~:?#@!$&'+,;=%-]*[A-Za-z0-9/_=&%#-])"
    r"|(?P<mark>[\\*_~|`\[\]<])"
    r"|(?P<start>^[ \t]*(?:[#>+-]|\d+(?=\.)))"
    r"|(?P<all>@(?=everyone|here))",
    re.MULTILINE,
)
_STYLES = {"primary": discord.ButtonStyle.primary, "secondary": discord.ButtonStyle.secondary, "danger": discord.ButtonStyle.danger}
_ENDINGS = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}


def plain(text: str) -> str:
    """Literal text: whatever is markup or a mention to Discord loses its meaning; web addresses stay whole.

    discord.utils.escape_markdown is not enough: it leaves everything from the first "[" to the last ")" of a line unescaped.
    """

    def escaped(found: re.Match[str]) -> str:
        if found["url"]:
            return found["url"]
        if found["start"]:
            head, last = found["start"][:-1], found["start"][-1]
            return f"{head}{last}\\" if last.isdigit() else f"{head}\\{last}"
        return "@\u200b" if found["all"] else f"\\{found['mark']}"

    return _LITERAL.sub(escaped, text)


def content(text: str) -> str:
    """The common markup as Discord's markdown, cut at a word to what one message holds."""
    segments = _segments(text)
    whole = _render(segments)
    if len(whole) <= CONTENT_LIMIT:
        return whole
    low, high = 0, sum(len(words) for _, words in segments)
    while low < high:
        middle = (low + high + 1) // 2
        if len(_render(_shortened(segments, middle))) <= CONTENT_LIMIT:
            low = middle
        else:
            high = middle - 1
    return _render(_shortened(segments, low))


Segment = tuple[tuple[str, ...], str]


def _segments(text: str) -> list[Segment]:
    """The text in pieces of one kind, each with the tags that it stands in."""
    segments: list[Segment] = []
    opened: list[str] = []
    at = 0
    for tag in [*_TAG.finditer(text), None]:
        words = html.unescape(text[at : tag.start() if tag else None])
        if words:
            segments.append((tuple(opened), words))
        if tag:
            at = tag.end()
            if tag[1] and tag[2] in opened:
                opened.remove(tag[2])
            elif not tag[1]:
                opened.append(tag[2])
    return segments


def _shortened(segments: list[Segment], length: int) -> list[Segment]:
    """The first `length` characters, back to the end of a word where one is near, and an ellipsis."""
    kept: list[Segment] = []
    for tags, words in segments:
        if len(words) > length:
            cut = words[:length]
            word_end = max(cut.rfind(" "), cut.rfind("\n"))
            kept.append((tags, (cut[:word_end] if word_end > length - 200 and word_end > 0 else cut).rstrip() + "…"))
            break
        kept.append((tags, words))
        length -= len(words)
    return kept


def _render(segments: list[Segment]) -> str:
    return "".join(_code(words) if "code" in tags else _marked(tags, words) for tags, words in segments)


def _marked(tags: tuple[str, ...], words: str) -> str:
    """Marks hug the words: with a space inside Discord would show them as they are."""
    inner = words.strip()
    if not inner or not tags:
        return plain(words)
    marks = "".join(_MARKS[tag] for tag in dict.fromkeys(tags))
    start, _, end = words.partition(inner)
    return f"{start}{marks}{plain(inner)}{marks[::-1]}{end}"


def _code(words: str) -> str:
    """Code has no escapes: backticks inside are kept apart, so that two of them end it; several lines are a block."""
    apart = re.sub("`(?=`)", "`\u200b", words)
    if "\n" in words:
        return f"```\n{apart}\n```"
    return f"`` {apart} ``" if "`" in words else f"`{words}`"


def view(rows: tuple[tuple[Key, ...], ...]) -> discord.ui.View | None:
    """The buttons, at most five rows of five; None when there are none.

    The view is stopped before it is ever shown: presses are taken from the raw interaction, so they work after a restart too, and the
    library keeps nothing in memory.
    """
    lines = [row[at : at + BUTTONS_PER_ROW] for row in rows for at in range(0, len(row), BUTTONS_PER_ROW)][:ROW_LIMIT]
    shown = discord.ui.View(timeout=None)
    seen: set[str] = set()
    for number, line in enumerate(lines):
        for key in line:
            if key.url is None and key.action in seen:
                continue  # Discord refuses a message with the same custom_id twice
            seen.add(key.action)
            shown.add_item(_button(key, number))
    shown.stop()
    return shown if shown.children else None


def _button(key: Key, row: int) -> discord.ui.Button[discord.ui.View]:
    label = key.label[:LABEL_LIMIT]
    if key.url is not None:
        return discord.ui.Button(label=label, url=key.url, row=row)
    return discord.ui.Button(label=label, custom_id=key.action, style=_STYLES[key.style], row=row)


def files(pictures: tuple[Picture, ...]) -> list[discord.File]:
    """The pictures as uploads, to be used once."""
    return [discord.File(io.BytesIO(picture.data), filename=_filename(picture), spoiler=picture.spoiler) for picture in pictures]


def _filename(picture: Picture) -> str:
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", picture.name).strip("-.") or "picture"
    ending = _ENDINGS.get(picture.media_type, "")
    return stem if stem.endswith(ending) else stem + ending


def failure(error: Exception) -> SendFailed:
    """What became of a call to Discord, in the chat layer's words."""
    if isinstance(error, discord.RateLimited):
        return SendFailed("later", "rate limited", error.retry_after)
    if not isinstance(error, discord.HTTPException):
        return SendFailed("later", f"no answer from Discord: {type(error).__name__}")
    problem = f"Discord answered {error.status}, code {error.code}: {error.text[:200]}"
    if error.status == 429:
        headers = error.response.headers
        wait = headers.get("Retry-After", "")
        # discord.com/developers/docs/topics/rate-limits: told of the whole bot, and not of one route
        everywhere = "X-RateLimit-Global" in headers or headers.get("X-RateLimit-Scope") == "global"
        return SendFailed("later", problem, float(wait) if wait.replace(".", "", 1).isdigit() else None, everywhere=everywhere)
    if error.status >= 500 or error.code in _LATER:
        return SendFailed("later", problem)
    if error.code in _GONE or error.status == 404:
        return SendFailed("gone", problem)
    if error.code in _BLOCKED or (error.status == 403 and error.code not in _REFUSED):
        return SendFailed("blocked", problem)
    return SendFailed("refused", problem)


class DiscordSender:
    """The Sender for Discord, on a client that has logged in; its gateway need not be connected.

    `chat` is a channel's id, or "dm:<person>" for the private chat with a person, which is opened when there is none. What is in `answers`
    is changed through its interaction.
    """

    platform: Platform = "discord"
    max_picture_bytes = PICTURE_BYTES

    def __init__(self, client: discord.Client, answers: Answers) -> None:
        self._client = client
        self._answers = answers

    async def send(self, chat: str, message: Message, nonce: str) -> str:
        """Posts; the same `nonce` again within some minutes is the same message. Raises SendFailed."""
        async with self._calling():
            channel = await self._channel(chat)
            try:
                sent = await channel.send(
                    content(message.text) or None,
                    files=files(message.pictures),
                    view=view(message.rows) or discord.utils.MISSING,
                    nonce=_short(nonce),
                    silent=message.silent,
                    allowed_mentions=discord.AllowedMentions.none(),
                )
            except discord.NotFound as error:
                if error.code == _MESSAGE_GONE:  # this nonce was sent before, and the message has been deleted since
                    raise SendFailed("refused", "already sent, and deleted") from error
                raise
        return str(sent.id)

    async def edit(self, chat: str, message_id: str, message: Message) -> None:
        """Replaces text, buttons and pictures of an earlier message. Raises SendFailed."""
        number = _number(message_id)

        async def change(said: discord.Webhook | None) -> None:
            new: dict[str, Any] = {
                "content": content(message.text) or None,
                "attachments": files(message.pictures),
                "view": view(message.rows),
                "allowed_mentions": discord.AllowedMentions.none(),
            }
            if said is not None:
                await said.edit_message(number, **new)
            else:
                await (await self._channel(chat)).get_partial_message(number).edit(**new)

        async with self._calling():
            await self._through(number, change)

    async def delete(self, chat: str, message_id: str) -> None:
        """Removes a message; one that is gone already is no error. Raises SendFailed."""
        number = _number(message_id)

        async def remove(said: discord.Webhook | None) -> None:
            if said is not None:
                await said.delete_message(number)
            else:
                await (await self._channel(chat)).get_partial_message(number).delete()

        async with self._calling():
            try:
                await self._through(number, remove)
            except discord.NotFound as error:
                if error.code != _MESSAGE_GONE:
                    raise
            self._answers.forget(number)

    async def _through(self, message_id: int, call: Callable[[discord.Webhook | None], Awaitable[None]]) -> None:
        """The call, through the interaction that the message answered while that is good, else through its channel (None)."""
        said = self._answers.through(message_id)
        if said is None:
            return await call(None)
        try:
            await call(said)
        except discord.HTTPException as error:
            if error.status not in _TOKEN_REFUSED or error.code == _MESSAGE_GONE:
                raise
            self._answers.forget(message_id)
            await call(None)

    async def _channel(self, chat: str) -> discord.DMChannel | discord.PartialMessageable:
        if chat.startswith(PRIVATE_CHAT):
            return await self._client.create_dm(discord.Object(_number(chat.removeprefix(PRIVATE_CHAT))))
        return self._client.get_partial_messageable(_number(chat))

    @asynccontextmanager
    async def _calling(self) -> AsyncIterator[None]:
        """What Discord or the network does in here becomes a SendFailed."""
        if self._client.is_closed() or not self._client.http.token:
            raise SendFailed("later", "not connected to Discord")
        try:
            async with asyncio.timeout(CALL_SECONDS):
                yield
        except (discord.HTTPException, discord.RateLimited, aiohttp.ClientError, OSError) as error:
            raise failure(error) from error
        except RuntimeError as error:  # aiohttp: "Session is closed", where the bot goes down in the middle of a call
            if self._client.is_closed():
                raise SendFailed("later", "not connected to Discord") from error
            raise


def _number(text: str) -> int:
    if not text.isdigit():
        raise SendFailed("gone", "not an id of Discord's")
    return int(text)


def _short(nonce: str) -> str:
    return nonce if len(nonce) <= NONCE_LIMIT else hashlib.sha256(nonce.encode()).hexdigest()[:NONCE_LIMIT]
