"""Update -> Event: what Telegram says, in the words that the two bots share."""

import re
from dataclasses import replace
from typing import Any

from telegram import Bot, CallbackQuery, MaybeInaccessibleMessage, Message, Update, User
from telegram.constants import ChatMemberStatus, ChatType
from telegram.error import BadRequest, Forbidden

from bots.chat.types import MAX_ATTACHMENT_BYTES, Event, Person, Place

# The kinds of updates that we ask for. Edited messages are not among them: a command is said once.
ALLOWED_UPDATES = ("message", "callback_query", "my_chat_member", "pre_checkout_query")
_PAYMENTS = ("successful_payment", "refunded_payment")
_HIDDEN = ("chat_admin_required", "member list is inaccessible")
_ADMINS = (ChatMemberStatus.OWNER, ChatMemberStatus.ADMINISTRATOR)
_MEMBERS = (*_ADMINS, ChatMemberStatus.MEMBER)

# Keyboards for right-to-left writing put invisible marks before the slash.
_INVISIBLE = "\u061c\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
_COMMAND = re.compile(r"/([A-Za-z0-9_]{1,32})(?:@([A-Za-z0-9_]{1,64}))?(?![A-Za-z0-9_/@])")


def chat_key(raw: dict[str, Any]) -> str:
    """The chat within which the order of updates is kept; an update without a chat is its person's.

    Payments have an order of their own, so that they neither wait for what is said in the chat nor hold it up.
    """
    if is_payment(raw):
        return f"pay:{raw['message'].get('chat', {}).get('id')}"
    for content in raw.values():
        if isinstance(content, dict):
            message = content.get("message")
            chat = (message if isinstance(message, dict) else content).get("chat")
            for holder in (chat, content.get("from")):
                if isinstance(holder, dict) and "id" in holder:
                    return str(holder["id"])
    return f"update:{raw.get('update_id')}"


def is_checkout(raw: dict[str, Any]) -> bool:
    """Whether an update is the question before a payment, which has ten seconds."""
    return "pre_checkout_query" in raw


def is_payment(raw: dict[str, Any]) -> bool:
    """Whether an update tells of money that has moved."""
    message = raw.get("message")
    return isinstance(message, dict) and any(kind in message for kind in _PAYMENTS)


def moved_group(raw: dict[str, Any]) -> tuple[str, str] | None:
    """The old and the new id of a group that has become a supergroup. Telegram says it in both; nobody but itself can.

    https://core.telegram.org/bots/api#message (migrate_to_chat_id, migrate_from_chat_id)
    """
    message = raw.get("message")
    if not isinstance(message, dict):
        return None
    here, to, from_ = message.get("chat", {}).get("id"), message.get("migrate_to_chat_id"), message.get("migrate_from_chat_id")
    if to is not None:
        return str(here), str(to)
    return None if from_ is None else (str(from_), str(here))


def presence(raw: dict[str, Any]) -> tuple[str, bool] | None:
    """A group, and whether the bot is in it from now on; None for anything else, also for private chats.

    https://core.telegram.org/bots/api#chatmemberupdated
    """
    changed = raw.get("my_chat_member")
    if not isinstance(changed, dict) or changed.get("chat", {}).get("type") not in (ChatType.GROUP, ChatType.SUPERGROUP):
        return None
    return str(changed["chat"]["id"]), _is_member(changed.get("new_chat_member", {}))


def _is_member(member: dict[str, Any]) -> bool:
    status = member.get("status")
    return status in _MEMBERS or (status == ChatMemberStatus.RESTRICTED and bool(member.get("is_member")))


async def read(update: Update, bot: Bot) -> Event | None:
    """The Event in an update, with the picture fetched; None when there is none for us. Network failures of the fetch are raised.

    Ignored: other bots, channels and anonymous administrators (they all speak with one shared id, which must not own a wallet), commands
    for other bots, service messages and stickers.
    """
    if update.callback_query is not None:
        return _press(update.update_id, update.callback_query)
    message = update.message
    if message is None or message.from_user is None or message.from_user.is_bot or message.sender_chat is not None:
        return None
    said = (message.text or message.caption or "").strip()
    command, addressee, argument = _command(said)
    if addressee and addressee.lower() != bot.username.lower():
        return None
    if not said and message.media_group_id is not None:
        return None  # the first picture of an album carries its words
    ours = command is not None or message.chat.type == ChatType.PRIVATE or _is_reply_to(message, bot)
    attachment = await _fetch(message, bot) if ours else None
    if not said and attachment is None:
        return None
    return Event(
        id=str(update.update_id),
        platform="telegram",
        person=person_of(message.from_user),
        place=_place(message),
        command=command,
        argument=argument,
        text=said if command is None else "",
        attachment=attachment,
        message=str(message.message_id),
    )


def person_of(user: User) -> Person:
    """Who spoke, pressed or paid."""
    return Person(str(user.id), user.full_name, user.language_code)


async def membership(bot: Bot, place: Place, person: str, *, there: bool = False) -> Place:
    """The group with what Telegram says of the person now; of whom it does not know there, nothing. Network failures are raised.

    Where a group hides its members from a bot that is no administrator, only administrators are told; then whoever was heard in the group
    (`there`) counts as a member. https://core.telegram.org/bots/api#getchatmember
    """
    group = str(place.community)
    try:
        found = await bot.get_chat_member(group, int(person))
    except (BadRequest, Forbidden) as error:
        hidden = isinstance(error, BadRequest) and any(words in error.message.lower() for words in _HIDDEN)
        admin = hidden and int(person) in [each.user.id for each in await bot.get_chat_administrators(group)]
        return replace(place, member=admin or (hidden and there), admin=admin)
    return replace(place, member=_is_member(found.to_dict()), admin=found.status in _ADMINS)


def _press(update_id: int, query: CallbackQuery) -> Event | None:
    if query.message is None or not query.data:
        return None
    return Event(
        id=str(update_id),
        platform="telegram",
        person=person_of(query.from_user),
        place=replace(_place(query.message), member=False),  # a press is no proof of it; where it matters Telegram is asked
        action=query.data,
        message=str(query.message.message_id),
    )


def _command(said: str) -> tuple[str | None, str, str]:
    """Name, addressed bot and argument; no name in a plain text."""
    match = _COMMAND.match(said.lstrip(_INVISIBLE))
    if match is None:
        return None, "", ""
    return match[1].lower(), match[2] or "", match.string[match.end() :].strip()


def _place(message: MaybeInaccessibleMessage) -> Place:
    chat = message.chat
    if chat.type == ChatType.PRIVATE:
        return Place(chat=str(chat.id), private=True)
    group, title, topic = str(chat.id), chat.title or "", _topic(message)
    channels = (group,) if topic is None else (f"{group}/{topic[0]}", group)
    return Place(channels[0], private=False, community=group, channels=channels, title=title, channel=title if topic is None else topic[1])


def _topic(message: MaybeInaccessibleMessage) -> tuple[int, str] | None:
    """The number and the name of the topic of a forum. What is no reply in a topic replies to the message that began it."""
    if not isinstance(message, Message) or not message.is_topic_message or message.message_thread_id is None:
        return None
    begun = message.reply_to_message.forum_topic_created if message.reply_to_message is not None else None
    return message.message_thread_id, f"{message.chat.title} / {begun.name if begun is not None else message.message_thread_id}"


def _is_reply_to(message: Message, bot: Bot) -> bool:
    replied = message.reply_to_message
    return replied is not None and replied.from_user is not None and replied.from_user.id == bot.id


async def _fetch(message: Message, bot: Bot) -> bytes | None:
    """The largest size of the photo, or the picture sent as a file, that is within the limit; None where there is none."""
    sizes = [(size.file_size or 0, size.file_id) for size in message.photo]
    if (document := message.document) is not None and (document.mime_type or "").startswith("image/"):
        sizes.append((document.file_size or 0, document.file_id))
    fitting = [size for size in sizes if size[0] <= MAX_ATTACHMENT_BYTES]
    if not fitting:
        return None
    try:
        file = await bot.get_file(max(fitting)[1])
        data = bytes(await file.download_as_bytearray())
    except BadRequest:
        return None
    return data if len(data) <= MAX_ATTACHMENT_BYTES else None
