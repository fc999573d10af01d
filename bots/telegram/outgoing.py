"""Message -> calls of the Bot API, and what Telegram's refusals mean."""

import html
import io
import os
from collections import OrderedDict
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

from PIL import Image, UnidentifiedImageError
from telegram import (
    Bot,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    InputFile,
    InputMediaDocument,
    InputMediaPhoto,
    LabeledPrice,
    LinkPreviewOptions,
    WebAppInfo,
)
from telegram.constants import ParseMode
from telegram.error import BadRequest, ChatMigrated, Forbidden, RetryAfter, TelegramError

from bots.chat.types import Bill, Key, Message, Picture, Platform, SendFailed
from bots.telegram.markup import cut, length, split
from core.address import whole

# RetryAfter warns at each construction unless this opts into its newer type, a timedelta.
os.environ.setdefault("PTB_TIMEDELTA", "1")

# Bot API 10.1: texts and captions after parsing, photos in bytes and pixels, files that a bot uploads.
MAX_TEXT = 4096
MAX_CAPTION = 1024
MAX_PHOTO_BYTES = 10 * 1024 * 1024
MAX_PHOTO_SIDES = 10_000
MAX_PHOTO_RATIO = 20
MAX_ALBUM = 10
MAX_REQUEST_BYTES = 49 * 1024 * 1024  # 50 MB with the form around it
MAX_REMEMBERED = 10_000
MAX_TITLE = 32
MAX_DESCRIPTION = 255
STARS = "XTR"
# Forwarded copies of an invoice carry a Pay button, unless it has a start parameter: then they open the bot with it.
START_PARAMETER = "topup"

_SHUT_OUT = (
    "blocked by the user", "user is deactivated", "can't initiate conversation", "can't send messages to bots", "not enough rights",
    "have no rights", "chat_write_forbidden", "need administrator rights", "chat_restricted",
)  # fmt: skip
_GONE = (
    "chat not found", "message to edit not found", "message can't be edited", "was kicked", "not a member", "was deleted",
    "was deactivated", "chat_id is empty", "peer_id_invalid", "message_id_invalid",
)  # fmt: skip
_NO_TOPIC = ("message thread not found", "topic_closed", "topic_deleted")
_NOT_MODIFIED = "message is not modified"
_NO_TEXT = "no text in the message to edit"
_NOTHING_TO_DELETE = "message to delete not found"
_STYLES = {"primary": "primary", "danger": "danger"}  # the secondary style is Telegram's own


@dataclass(frozen=True, slots=True)
class _Part:
    """What one call sends."""

    text: str
    pictures: tuple[Picture, ...]
    keyboard: InlineKeyboardMarkup | None
    silent: bool
    bill: Bill | None = None


class TelegramSender:
    """The outgoing half; implements `bots.chat.types.Sender`.

    Telegram has no key against sending twice. A `nonce` is remembered within the process: a message of several parts goes on where it
    failed, one that has arrived is not sent again. A message whose answer is lost on the way comes twice.
    """

    platform: Platform = "telegram"
    max_picture_bytes = MAX_REQUEST_BYTES

    def __init__(self, bot: Bot) -> None:
        self._bot = bot
        self._arrived: OrderedDict[tuple[str, str], list[int]] = OrderedDict()  # chat, nonce -> message id of each part

    async def send(self, chat: str, message: Message, nonce: str) -> str:
        """See Sender. Long texts come in parts, several pictures as albums; the id is that of the part with the buttons, the last.

        A group that has become a supergroup is not followed: what stands there cannot be edited, so its new id is told. What a topic does
        not take, as it is closed or deleted, is said in the group itself.
        """
        parts = _parts(message)
        arrived = self._remembered(chat, nonce)
        with _failures():
            for part in parts[len(arrived) :]:
                try:
                    sent = await self._send(chat, part)
                except BadRequest as error:
                    if chat == whole(chat) or not any(words in error.message.lower() for words in _NO_TOPIC):
                        raise
                    chat = whole(chat)
                    sent = await self._send(chat, part)
                arrived.append(sent)
        return str(arrived[-1])

    async def edit(self, chat: str, message_id: str, message: Message) -> None:
        """See Sender. What cannot be edited in is cut: a picture cannot be taken away again, and its caption is shorter than a text.

        The first picture takes the message's place; further ones are sent after it. An invoice is refused: it can only be sent.
        """
        if message.bill is not None:
            raise SendFailed("refused", "an invoice cannot take the place of a message")
        place = {"chat_id": whole(chat), "message_id": int(message_id), "reply_markup": _keyboard(message.rows)}
        with self._forgetting(chat, message_id), _failures():
            if message.pictures:
                media = _input_media(message.pictures[0], _is_photo(message.pictures[0]), cut(message.text, MAX_CAPTION))
                await _unless_unchanged(self._bot.edit_message_media(media=media, **place))  # type: ignore[arg-type]  # mixed values
            else:
                await self._edit_words(message.text, place)
        if rest := message.pictures[1:]:
            await self.send(chat, Message("", pictures=rest, silent=message.silent), f"edit:{chat}:{message_id}:{hash(rest)}")

    async def delete(self, chat: str, message_id: str) -> None:
        """See Sender."""
        with _failures():
            try:
                await self._bot.delete_message(whole(chat), int(message_id))
            except BadRequest as error:
                if _NOTHING_TO_DELETE not in error.message.lower():
                    raise
        self._forget(chat, message_id)

    async def _edit_words(self, text: str, place: dict[str, object]) -> None:
        bot = self._bot
        try:
            await _unless_unchanged(
                bot.edit_message_text(cut(text, MAX_TEXT), parse_mode=ParseMode.HTML, link_preview_options=_NO_PREVIEW, **place)  # type: ignore[arg-type]  # mixed values
            )
        except BadRequest as error:
            if _NO_TEXT not in error.message.lower():
                raise
            caption = cut(text, MAX_CAPTION)
            await _unless_unchanged(bot.edit_message_caption(caption=caption, parse_mode=ParseMode.HTML, **place))  # type: ignore[arg-type]  # mixed values

    async def _send(self, chat: str, part: _Part) -> int:
        bot, group, topic = self._bot, whole(chat), _topic(chat)
        if part.bill is not None:
            return await self._send_bill(chat, part.bill, part)
        if not part.pictures:
            sent = await bot.send_message(
                group, part.text, parse_mode=ParseMode.HTML, link_preview_options=_NO_PREVIEW, disable_notification=part.silent,
                reply_markup=part.keyboard, message_thread_id=topic,
            )  # fmt: skip
            return sent.message_id
        if len(part.pictures) > 1:
            as_photos = all(map(_is_photo, part.pictures))
            media = [_input_media(picture, as_photos, "") for picture in part.pictures]
            album = await bot.send_media_group(group, media, disable_notification=part.silent, message_thread_id=topic)
            return album[0].message_id
        (picture,) = part.pictures
        if _is_photo(picture):
            sent = await bot.send_photo(
                group, _file(picture), caption=part.text or None, parse_mode=ParseMode.HTML, has_spoiler=picture.spoiler,
                disable_notification=part.silent, reply_markup=part.keyboard, message_thread_id=topic,
            )  # fmt: skip
        else:
            sent = await bot.send_document(
                group, _file(picture), caption=part.text or None, parse_mode=ParseMode.HTML, disable_content_type_detection=True,
                disable_notification=part.silent, reply_markup=part.keyboard, message_thread_id=topic,
            )  # fmt: skip
        return sent.message_id

    async def _send_bill(self, chat: str, bill: Bill, part: _Part) -> int:
        """An invoice for its buyer alone. Whoever pays it all the same is refused at the checkout."""
        title = _cut_plain(bill.title, MAX_TITLE)
        sent = await self._bot.send_invoice(
            whole(chat), title, _cut_plain(bill.description, MAX_DESCRIPTION), bill.order, STARS, [LabeledPrice(title, bill.amount)],
            provider_token="", start_parameter=START_PARAMETER, protect_content=True, disable_notification=part.silent,
            reply_markup=part.keyboard, message_thread_id=_topic(chat),
        )  # fmt: skip
        return sent.message_id

    def _remembered(self, chat: str, nonce: str) -> list[int]:
        arrived = self._arrived.setdefault((whole(chat), nonce), [])
        self._arrived.move_to_end((whole(chat), nonce))
        if len(self._arrived) > MAX_REMEMBERED:
            self._arrived.popitem(last=False)
        return arrived

    def _forget(self, chat: str, message_id: str) -> None:
        """A message that is no more may be sent anew with its nonce."""
        for key in [key for key, arrived in self._arrived.items() if key[0] == whole(chat) and int(message_id) in arrived]:
            del self._arrived[key]

    @contextmanager
    def _forgetting(self, chat: str, message_id: str) -> Iterator[None]:
        try:
            yield
        except SendFailed as failed:
            if failed.kind == "gone":
                self._forget(chat, message_id)
            raise


_NO_PREVIEW = LinkPreviewOptions(is_disabled=True)


def _topic(chat: str) -> int | None:
    """The number of the topic that a chat is; None for a whole one."""
    return None if chat == whole(chat) else int(chat.rpartition("/")[2])


def failure(error: TelegramError) -> SendFailed:
    """What a refusal means for the message; the Bot API says it in English sentences only."""
    problem = error.message.lower()
    if isinstance(error, RetryAfter):
        wait = error.retry_after
        return SendFailed("later", error.message, wait.total_seconds() if isinstance(wait, timedelta) else float(wait))
    if isinstance(error, ChatMigrated):
        return SendFailed("gone", error.message, moved_to=str(error.new_chat_id))
    if isinstance(error, BadRequest | Forbidden) and any(words in problem for words in _GONE):
        return SendFailed("gone", error.message)
    if isinstance(error, Forbidden) or (isinstance(error, BadRequest) and any(words in problem for words in _SHUT_OUT)):
        return SendFailed("blocked", error.message)
    if isinstance(error, BadRequest) or "request entity too large" in problem:
        return SendFailed("refused", error.message)
    return SendFailed("later", error.message)


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except TelegramError as error:
        # Without the cause: it holds the request, whose address holds the token.
        raise failure(error) from None


async def _unless_unchanged(call: Awaitable[object]) -> None:
    try:
        await call
    except BadRequest as error:
        if _NOT_MODIFIED not in error.message.lower():
            raise


def _parts(message: Message) -> list[_Part]:
    """The calls that a message takes, in order; the buttons are on the last."""
    pictures, silent, keyboard = message.pictures, message.silent, _keyboard(message.rows)
    if (bill := message.bill) is not None:
        before = _parts(replace(message, rows=(), bill=None)) if message.text or pictures else []
        return [*before, _Part("", (), _with_pay_button(keyboard, bill), silent, bill)]
    if len(pictures) == 1 and length(message.text) <= MAX_CAPTION:
        return [_Part(message.text, pictures, keyboard, silent)]
    albums = [_Part("", batch, None, silent) for batch in _batches(pictures)]
    texts = split(message.text, MAX_TEXT) if message.text or keyboard or not pictures else []
    parts = albums + [_Part(text, (), None, silent) for text in texts]
    last = parts[-1]
    return [*parts[:-1], _Part(last.text, last.pictures, keyboard, silent)]


def _batches(pictures: Sequence[Picture]) -> list[tuple[Picture, ...]]:
    batches: list[tuple[Picture, ...]] = []
    size = 0
    for picture in pictures:
        size += len(picture.data)
        if batches and len(batches[-1]) < MAX_ALBUM and size <= MAX_REQUEST_BYTES:
            batches[-1] += (picture,)
        else:
            batches.append((picture,))
            size = len(picture.data)
    return batches


def _keyboard(rows: Sequence[Sequence[Key]]) -> InlineKeyboardMarkup | None:
    buttons = [[_button(key) for key in row] for row in rows if row]
    return InlineKeyboardMarkup(buttons) if buttons else None


def _with_pay_button(keyboard: InlineKeyboardMarkup | None, bill: Bill) -> InlineKeyboardMarkup | None:
    """An invoice without buttons gets its own from Telegram; with others, the Pay button must be the first."""
    if keyboard is None:
        return None
    return InlineKeyboardMarkup([[InlineKeyboardButton(f"⭐ {bill.amount}", pay=True)], *keyboard.inline_keyboard])


def _cut_plain(text: str, limit: int) -> str:
    return html.unescape(cut(html.escape(text, quote=False), limit))


def _button(key: Key) -> InlineKeyboardButton:
    style = _STYLES.get(key.style)
    if key.url is not None and key.app:
        return InlineKeyboardButton(key.label, web_app=WebAppInfo(key.url), style=style)
    if key.url is not None:
        return InlineKeyboardButton(key.label, url=key.url, style=style)
    return InlineKeyboardButton(key.label, callback_data=key.action, style=style)


def _input_media(picture: Picture, as_photo: bool, caption: str) -> InputMediaPhoto | InputMediaDocument:
    if as_photo:
        return InputMediaPhoto(_file(picture, attach=True), caption=caption or None, parse_mode=ParseMode.HTML, has_spoiler=picture.spoiler)
    return InputMediaDocument(
        _file(picture, attach=True), caption=caption or None, parse_mode=ParseMode.HTML, disable_content_type_detection=True
    )


def _file(picture: Picture, attach: bool = False) -> InputFile:
    """`attach`: the file is named from within a structure, as in an album."""
    return InputFile(picture.data, filename=f"{picture.name}.{picture.media_type.rpartition('/')[2]}", attach=attach)


def _is_photo(picture: Picture) -> bool:
    """Whether Telegram takes a picture as a photo; otherwise it goes as a document, unchanged."""
    if len(picture.data) > MAX_PHOTO_BYTES:
        return False
    try:
        with Image.open(io.BytesIO(picture.data)) as image:
            width, height = image.size
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        return False
    return width + height <= MAX_PHOTO_SIDES and max(width, height) <= MAX_PHOTO_RATIO * min(width, height)
