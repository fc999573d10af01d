"""What a person does in Telegram, and the switches of the stand-in, as plain Python: for tests in the same process."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any, TypeVar

from sandbox.telegram_groups import GroupHands
from sandbox.telegram_methods import Methods
from sandbox.telegram_rules import ApiError, File, check_photo, found_entities, picture_size
from sandbox.telegram_stars_hands import StarsHands
from sandbox.telegram_state import BOT_NAME, BOT_USERNAME, PAY, Chat, HandsError, Message, Person, State
from sandbox.telegram_trouble import Fault, Faults, Flood, FloodLimits, Kind
from sandbox.telegram_updates import Updates

_THUMBNAIL = 320
Id = int | str
Shown = dict[str, Any]
T = TypeVar("T")


class TelegramHands(GroupHands, StarsHands):
    """People, chats and trouble. Ids are taken as numbers or as text."""

    def __init__(self, public_url: str) -> None:
        self.state = State(public_url)
        self.updates = Updates()
        self.flood = Flood()
        self.faults = Faults()
        self.methods = Methods(self.state, self.updates, self.flood)
        self.stars = self.methods.stars
        self._presses = itertools.count(1)

    async def say(
        self, person: Id, chat: Id, text: str, picture: bytes | None = None, reply_to: Id | None = None, document: bool = False,
        *, topic: int | None = None,
    ) -> str:  # fmt: skip
        """A message, with a picture as a photo (or as a document). Saying something in the private chat starts and unblocks the bot.

        Returns the message's id. In a `topic` what is no reply replies to the message that began it. Raises HandsError for a chat that the
        person is not in.
        """
        speaker = self.state.person(person)
        place = self.state.seen_by(speaker, chat)
        if place.kind == "private":
            speaker.started, speaker.blocked = True, False
        content: dict[str, Any] = {}
        if picture is not None:
            content["document" if document else "photo"] = self._kept(picture, document)
        message = self.state.new_message(
            place, speaker.id, text=text, entities=found_entities(text), topic=topic, reply_to=topic if reply_to is None else int(reply_to),
            **content,
        )  # fmt: skip
        if self._bot_sees(place, message):
            speaker.met = True
            self.updates.put("message", place.id, self.state.message_json(message))
        return str(message.id)

    async def press(self, person: Id, chat: Id, message: Id, action: str) -> str:
        """Presses a button; returns the id of the callback query. Raises HandsError when there is no such button.

        The Pay button of an invoice returns the charge instead, empty when there was none; why, is a toast.
        """
        if action == PAY:
            return str((await self.pay(person, chat, message)).get("charge", ""))
        speaker = self.state.person(person)
        place = self.state.seen_by(speaker, chat)
        pressed = place.messages.get(int(message))
        if pressed is None or not any(button.get("callback_data") == action for row in pressed.rows for button in row):
            raise HandsError(f"no button {action!r} on message {message}")
        query = f"{self.state.bot_id}{next(self._presses):06d}"
        self.methods.presses[query] = (place.id, speaker.id)
        self.updates.put("callback_query", place.id, {
            "id": query, "from": self.state.user_json(speaker), "message": self.state.message_json(pressed),
            "chat_instance": str(place.id), "data": action,
        })  # fmt: skip
        return query

    async def edit(self, person: Id, chat: Id, message: Id, text: str) -> None:
        """A person edits their own message."""
        speaker = self.state.person(person)
        place = self.state.seen_by(speaker, chat)
        edited = place.messages.get(int(message))
        if edited is None or edited.sender != speaker.id:
            raise HandsError(f"{speaker.name} has no message {message}")
        edited.text, edited.entities, edited.edited = text, found_entities(text), True
        self.state.changed(edited)
        if self._bot_sees(place, edited):
            self.updates.put("edited_message", place.id, self.state.message_json(edited))

    def messages(self, person: Id, chat: Id) -> list[Shown]:
        """A chat as the person sees it."""
        place = self.state.seen_by(self.state.person(person), chat)
        return [self.state.shown(message) for message in place.messages.values()]

    def toasts(self, person: Id) -> list[str]:
        """What answerCallbackQuery showed to the person; an empty text where it only stopped the waiting."""
        return [text for shown_to, text in self.methods.toasts if shown_to == int(person)]

    async def wait_for(self, person: Id, chat: Id, predicate: Callable[[Shown], bool], timeout: float = 10.0) -> Shown:  # noqa: ASYNC109 - part of the sandbox's interface
        """The newest message that fits, once there is one. Raises TimeoutError, telling what was there."""
        return await self._until(
            lambda: next(filter(predicate, reversed(self.messages(person, chat))), None), timeout, lambda: self.messages(person, chat)
        )

    async def wait_for_toast(self, person: Id, count: int = 1, timeout: float = 10.0) -> str:  # noqa: ASYNC109 - part of the sandbox's interface
        """The `count`-th toast of the person."""
        return await self._until(
            lambda: toasts[count - 1] if len(toasts := self.toasts(person)) >= count else None, timeout, lambda: self.toasts(person)
        )

    async def _until(self, found: Callable[[], T | None], seconds: float, seen: Callable[[], object]) -> T:
        try:
            async with asyncio.timeout(seconds):
                while (result := found()) is None:
                    await self.state.wait()
                return result
        except TimeoutError:
            raise TimeoutError(f"not within {seconds} s; there was {seen()}") from None

    def people(self) -> list[Shown]:
        """Everybody: id, name, language, admin."""
        return [_person_shown(person) for person in self.state.people.values()]

    def chats(self, person: Id) -> list[Shown]:
        """The private chat with the bot and the groups that the person is in."""
        number = self.state.person(person).id
        groups = [chat for chat in self.state.chats.values() if chat.kind != "private" and number in chat.members]
        shown = [{"id": self.private_chat(number), "title": BOT_NAME, "kind": "private"}]
        return shown + [{"id": str(chat.id), "title": chat.title, "kind": "group"} for chat in groups]

    def private_chat(self, person: Id) -> str:
        """The chat id of a person's private chat with the bot."""
        return str(self.state.chat(self.state.person(person).id).id)

    def commands(self, language: str = "") -> list[Shown]:
        """The declared commands as somebody with this language sees them in a private chat."""
        declared = self.methods.commands
        for scope in ("all_private_chats", "default"):
            for code in (language[:2], ""):
                if listed := declared.get((scope, code)):
                    return [{"name": item["command"], "description": item["description"], "options": []} for item in listed]
        return []

    # Switches

    def add_person(self, name: str, language: str | None = "en", person_id: Id | None = None, *, admin: bool = False) -> Shown:
        """A new person, a member of every group. One whose id is known starts anew."""
        number = int(person_id) if person_id is not None else max(self.state.people) + 1
        self.state.people[number] = Person(number, name, language, admin)
        for chat in self.state.chats.values():
            if chat.kind != "private":
                chat.members.add(number)
        return _person_shown(self.state.people[number])

    def add_group(self, title: str, members: list[int], admins: list[int] | None = None, bot: str = "member") -> Chat:
        """A new group. `bot`: "member" (privacy mode), "administrator" (sees everything, may delete), "kicked" or "left"."""
        number = min(-1001000000000, *self.state.chats) - 1
        self.state.chats[number] = Chat(number, title, members=set(members), admins=set(admins or ()), bot=bot)
        return self.state.chats[number]

    def block(self, person: Id, blocked: bool = True) -> None:
        """The person blocks the bot, or unblocks it."""
        self.state.person(person).blocked = blocked

    def fail(self, method: str, kind: Kind = "error", status: int = 500, times: int = 1) -> None:
        """The next `times` calls of `method` ("*": any) go wrong; see Fault."""
        self.faults.add(Fault(method, kind, status, times))

    @property
    def flood_limits(self) -> FloodLimits | None:
        """The limits in force."""
        return self.flood.limits

    @flood_limits.setter
    def flood_limits(self, limits: FloodLimits | None) -> None:
        self.flood.limits = limits

    def _bot_sees(self, chat: Chat, message: Message) -> bool:
        """Privacy mode: in a group the bot sees commands that may be its own and replies to it, and as an administrator everything."""
        if chat.kind == "private" or chat.bot == "administrator":
            return True
        if chat.bot != "member":
            return False
        replied = chat.messages.get(message.reply_to or 0)
        command = next(iter(message.entities), None)
        if replied is not None and replied.sender is None:
            return True
        if command is None or command["offset"] != 0:
            return False
        _, _, name = message.text[: command["length"]].partition("@")
        return not name or name.lower() == BOT_USERNAME.lower()

    def _kept(self, picture: bytes, as_document: bool) -> File:
        if as_document:
            found = picture_size(picture)
            media_type = found[2] if found else "application/octet-stream"
            return self.state.keep(picture, f"file.{media_type.rpartition('/')[2]}", media_type)
        try:
            width, height, media_type = check_photo(picture)
        except ApiError as error:
            raise HandsError(error.description) from None
        scale = min(1.0, _THUMBNAIL / max(width, height))
        # The smaller size is listed with the same bytes: the sandbox does not recompress.
        smaller = self.state.keep(picture, "thumbnail.jpg", media_type, max(1, int(width * scale)), max(1, int(height * scale)))
        return self.state.keep(picture, "photo.jpg", media_type, width, height, smaller)


def _person_shown(person: Person) -> Shown:
    return {"id": str(person.id), "name": person.name, "language": person.language, "admin": person.admin}
