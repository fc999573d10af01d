"""The people, chats and messages of the Telegram stand-in.

And how they look: to the bot (Bot API objects) and to a person (the chat page).
"""

import asyncio
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from sandbox.telegram_rules import Entity, File, shown_html, units

BOT_NAME = "Aetherflow"
BOT_USERNAME = "AetherflowBot"
FIRST_BOT_ID = 7000000001

PEOPLE = (
    (1001, "Ada", "en", False),
    (1002, "Bo", "en", False),
    (1003, "陈晨", "zh-hans", False),
    (1004, "Mira", "en", False),
    (1005, "نور", "ar", False),
    (1009, "Olga", "en", True),
)
GROUPS = ((-1001000000001, "Aether Club", (1001,), "member"), (-1001000000002, "画廊", (1003,), "administrator"))


FIRST_STARS = 10_000
CURRENCY = "XTR"
PAY = "⭐"
"""What the Pay button of an invoice is called where a person presses it."""


News = asyncio.Queue[dict[str, Any] | None]


class HandsError(Exception):
    """Something that a person cannot do either: an unknown chat, a button that is not there."""


@dataclass(slots=True)
class Person:
    """`admin` marks who plays the operator in the demo. `started`: has opened the private chat. `met`: the bot has seen them in a group.

    `stars`: what they have to spend.
    """

    id: int
    name: str
    language: str | None = "en"
    admin: bool = False
    started: bool = False
    met: bool = False
    blocked: bool = False
    deactivated: bool = False
    stars: int = FIRST_STARS


@dataclass(slots=True)
class Invoice:
    """What the bot offers for `amount` Stars.

    Forwarded copies are the same invoice; with a `start_parameter` they carry a link, and no Pay button.
    `period`: seconds of a subscription, else 0. `paid_by`: the people who have paid it.
    """

    title: str
    description: str
    payload: str
    amount: int
    start_parameter: str = ""
    period: int = 0
    paid_by: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Message:
    """`sender` None is the bot. `text` is the caption where there is a file.

    `service`: what a message without words tells, as the bot sees it.
    `protected`: cannot be forwarded. `forwarded`: when the original of this copy was sent. `topic`: that of the group in which it stands.
    """

    id: int
    chat: int
    sender: int | None
    at: int
    text: str = ""
    entities: list[Entity] = field(default_factory=list)
    photo: File | None = None
    document: File | None = None
    rows: list[list[dict[str, Any]]] = field(default_factory=list)
    reply_to: int | None = None
    album: str | None = None
    spoiler: bool = False
    silent: bool = False
    edited: bool = False
    invoice: Invoice | None = None
    service: dict[str, Any] = field(default_factory=dict)
    protected: bool = False
    forwarded: int | None = None
    topic: int | None = None

    @property
    def file(self) -> File | None:
        """The picture or document, if any."""
        return self.photo or self.document


@dataclass(slots=True)
class Chat:
    """A private chat has the id of its person. `bot` is what the bot is in a group; `open` False: only admins may write there.

    `moved_to`: the group became a supergroup with another id. `hidden`: only an administrator is told about members. `topics`: of a forum,
    by the number of the message that began each, whether it is open.
    """

    id: int
    title: str
    kind: Literal["private", "supergroup"] = "supergroup"
    members: set[int] = field(default_factory=set)
    admins: set[int] = field(default_factory=set)
    bot: str = "member"
    open: bool = True
    moved_to: int | None = None
    hidden: bool = False
    topics: dict[int, bool] = field(default_factory=dict)
    messages: dict[int, Message] = field(default_factory=dict)
    last_message: int = 0


class State:
    """Everything that is kept, in memory, and the news of every change to it."""

    def __init__(self, public_url: str) -> None:
        self.public_url = public_url
        self.bot_id = FIRST_BOT_ID
        self.people = {id: Person(id, name, language, admin) for id, name, language, admin in PEOPLE}
        self.chats: dict[int, Chat] = {}
        self.files: dict[str, File] = {}
        self._numbers = itertools.count(1)
        self._changed = asyncio.Event()
        self._listeners: dict[News, Person] = {}
        for id, title, admins, bot in GROUPS:
            self.chats[id] = Chat(id, title, members=set(self.people), admins=set(admins), bot=bot)

    def person(self, id: int | str) -> Person:
        """Raises HandsError for a stranger."""
        try:
            return self.people[int(id)]
        except (KeyError, ValueError):
            raise HandsError(f"no such person: {id}") from None

    def chat(self, id: int | str) -> Chat:
        """A chat as people know it; a private one comes into being when it is looked at."""
        try:
            if (number := int(id)) in self.people and number not in self.chats:
                self.chats[number] = Chat(number, self.people[number].name, "private", {number})
            return self.chats[number]
        except (KeyError, ValueError):
            raise HandsError(f"no such chat: {id}") from None

    def seen_by(self, person: Person, chat_id: int | str) -> Chat:
        """The chat, when the person is in it."""
        chat = self.chat(chat_id)
        if person.id not in chat.members:
            raise HandsError(f"{person.name} is not in chat {chat.id}")
        return chat

    def new_message(self, chat: Chat, sender: int | None, **content: Any) -> Message:
        """Appends a message; ids rise within a chat, so that the same id means different messages in two chats."""
        chat.last_message += 1
        message = Message(chat.last_message, chat.id, sender, int(time.time()), **content)
        chat.messages[message.id] = message
        self.publish(chat, {"chat": str(chat.id), "message": self.shown(message)})
        return message

    def changed(self, message: Message) -> None:
        """Tells that a message has another content now."""
        self.publish(self.chat(message.chat), {"chat": str(message.chat), "message": self.shown(message)})

    def delete(self, message: Message) -> None:
        """Takes a message away for everyone."""
        chat = self.chat(message.chat)
        del chat.messages[message.id]
        self.publish(chat, {"chat": str(chat.id), "deleted": str(message.id)})

    def keep(self, data: bytes, name: str, media_type: str, width: int = 0, height: int = 0, smaller: File | None = None) -> File:
        """Stores a file under a new id."""
        number = next(self._numbers)
        folder = "photos" if width else "documents"
        ending = name.rpartition(".")[2] if "." in name else "bin"
        file = File(f"FILE{number:08d}", name, media_type, data, f"{folder}/file_{number}.{ending}", width, height, smaller)
        self.files[file.id] = file
        return file

    # News

    def publish(self, chat: Chat, news: dict[str, Any], only: int | None = None) -> None:
        """Wakes whoever waits, and hands the news to the streams of the chat's members (or of one person)."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        for queue, person in self._listeners.items():
            if person.id in chat.members and only in (None, person.id):
                queue.put_nowait(news)

    async def wait(self) -> None:
        """Until anything changes."""
        await self._changed.wait()

    @contextmanager
    def listening(self, person: Person) -> Iterator[News]:
        """A queue of everything new that the person can see."""
        queue: News = asyncio.Queue()
        self._listeners[queue] = person
        try:
            yield queue
        finally:
            del self._listeners[queue]

    def close(self) -> None:
        """Ends the streams."""
        for queue in self._listeners:
            queue.put_nowait(None)

    # As the bot sees it

    def bot_user(self) -> dict[str, Any]:
        """The User object of the bot."""
        return {"id": self.bot_id, "is_bot": True, "first_name": BOT_NAME, "username": BOT_USERNAME}

    def user_json(self, person: Person) -> dict[str, Any]:
        """A User object; no language_code when the person's app tells none."""
        user: dict[str, Any] = {"id": person.id, "is_bot": False, "first_name": person.name}
        return user | ({"language_code": person.language} if person.language else {})

    def chat_json(self, chat: Chat) -> dict[str, Any]:
        """A Chat object."""
        if chat.kind == "private":
            return {"id": chat.id, "type": "private", "first_name": self.people[chat.id].name}
        return {"id": chat.id, "type": chat.kind, "title": chat.title} | ({"is_forum": True} if chat.topics else {})

    def message_json(self, message: Message, with_reply: bool = True) -> dict[str, Any]:
        """A Message object."""
        chat = self.chats[message.chat]
        shown: dict[str, Any] = {
            "message_id": message.id,
            "from": self.bot_user() if message.sender is None else self.user_json(self.people[message.sender]),
            "chat": self.chat_json(chat),
            "date": message.at,
        }
        text, entities = ("caption", "caption_entities") if message.file else ("text", "entities")
        if message.text:
            shown[text] = message.text
        if message.entities:
            shown[entities] = message.entities
        if message.photo:
            smaller = [message.photo.smaller] if message.photo.smaller else []
            shown["photo"] = [_size_json(file) for file in (*smaller, message.photo)]
        if message.document:
            file = message.document
            shown["document"] = _file_json(file) | {"file_name": file.name, "mime_type": file.media_type}
        if message.rows:
            shown["reply_markup"] = {"inline_keyboard": message.rows}
        if message.album:
            shown["media_group_id"] = message.album
        if message.spoiler:
            shown["has_media_spoiler"] = True
        if message.edited:
            shown["edit_date"] = int(time.time())
        if message.invoice:
            shown["invoice"] = _invoice_json(message.invoice)
        if message.protected:
            shown["has_protected_content"] = True
        if message.forwarded is not None:
            shown["forward_origin"] = {"type": "user", "date": message.forwarded, "sender_user": self.bot_user()}
        if message.topic is not None:
            shown |= {"message_thread_id": message.topic, "is_topic_message": True}
        shown |= message.service
        if with_reply and message.reply_to is not None and (replied := chat.messages.get(message.reply_to)):
            shown["reply_to_message"] = self.message_json(replied, with_reply=False)
        return shown

    # As a person sees it

    def shown(self, message: Message) -> dict[str, Any]:
        """A message for the chat page; the same shape as the Discord stand-in's."""
        person = None if message.sender is None else self.people[message.sender]
        pictures = [file for file in (message.photo, message.document) if file and file.media_type.startswith("image/")]
        shown = {
            "id": str(message.id),
            "chat": str(message.chat),
            "from": {"id": str(self.bot_id), "name": BOT_NAME, "bot": True}
            if person is None
            else {"id": str(person.id), "name": person.name, "bot": False},
            "at": datetime.fromtimestamp(message.at, UTC).isoformat(timespec="milliseconds"),
            "html": _html_shown(message),
            "rows": _rows_shown(message),
            "pictures": [f"{self.public_url}/telegram/pictures/{file.id}" for file in pictures],
            "veiled": [message.spoiler for _ in pictures],
            "edited": message.edited,
            "ephemeral": False,
            "thinking": False,
        }
        if message.topic is not None:
            shown["topic"] = str(message.topic)
        if (invoice := message.invoice) is None:
            return shown
        offered = {"title": invoice.title, "description": invoice.description, "amount": invoice.amount, "paid": bool(invoice.paid_by)}
        return shown | {"invoice": offered}


def _file_json(file: File) -> dict[str, Any]:
    return {"file_id": file.id, "file_unique_id": f"U{file.id}", "file_size": len(file.data)}


def _size_json(file: File) -> dict[str, Any]:
    return _file_json(file) | {"width": file.width, "height": file.height}


def _invoice_json(invoice: Invoice) -> dict[str, Any]:
    return {
        "title": invoice.title, "description": invoice.description, "start_parameter": invoice.start_parameter,
        "currency": CURRENCY, "total_amount": invoice.amount,
    }  # fmt: skip


def _html_shown(message: Message) -> str:
    if (invoice := message.invoice) is not None:
        title = {"type": "bold", "offset": 0, "length": units(invoice.title)}
        return shown_html(f"{invoice.title}\n{invoice.description}", [title])
    if paid := message.service.get("successful_payment"):
        return f"⭐ Paid {paid['total_amount']}"
    if back := message.service.get("refunded_payment"):
        return f"⭐ Refunded {back['total_amount']}"
    return shown_html(message.text, message.entities)


def _rows_shown(message: Message) -> list[list[dict[str, Any]]]:
    """The buttons. An invoice has its Pay button first, though the bot gave none; a forwarded copy of a guarded one has a link instead."""
    invoice = message.invoice
    if invoice is None:
        return [[_key_shown(button) for button in row] for row in message.rows]
    if message.forwarded is not None and invoice.start_parameter:
        link = f"https://t.me/{BOT_USERNAME}?start={invoice.start_parameter}"
        return [[{"label": invoice.title, "style": "secondary", "url": link}]]
    label = f"⭐ Paid {invoice.amount}" if invoice.paid_by else f"⭐ Pay {invoice.amount}"
    pay = {"label": label, "style": "primary", "action": PAY, "pay": True}
    first, *rest = message.rows or [[{"pay": True}]]
    return [[pay, *map(_key_shown, first[1:])], *([_key_shown(button) for button in row] for row in rest)]


def _key_shown(button: dict[str, Any]) -> dict[str, Any]:
    target = {"url": button["url"]} if "url" in button else {"action": button.get("callback_data", "")}
    return {"label": button["text"], "style": button.get("style", "secondary"), **target}
