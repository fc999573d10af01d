"""What becomes of the Telegram stand-in's groups: people leave and join, the bot is removed and added, a group becomes a supergroup."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from sandbox.telegram_methods import member_json
from sandbox.telegram_state import Chat, HandsError, State
from sandbox.telegram_updates import Updates

Id = int | str


class GroupHands:
    """Of people's hands, those on groups."""

    state: State
    updates: Updates

    def leave(self, person: Id, chat: Id) -> None:
        """A person leaves a group, whatever they were in it."""
        group, number = self._group(chat), self.state.person(person).id
        group.members.discard(number)
        group.admins.discard(number)

    def join(self, person: Id, chat: Id) -> None:
        """A person comes (back) into a group."""
        self._group(chat).members.add(self.state.person(person).id)

    def set_bot(self, person: Id, chat: Id, bot: str) -> None:
        """Somebody adds the bot ("member", "administrator") or takes it away ("kicked"; "left": the group is deleted, or the like)."""
        group = self._group(chat)
        before, group.bot = group.bot, bot
        by = self.state.user_json(self.state.person(person))
        self.updates.put("my_chat_member", group.id, {
            "chat": self.state.chat_json(group), "from": by, "date": int(time.time()),
            "old_chat_member": self._bot_as(before), "new_chat_member": self._bot_as(bot),
        })  # fmt: skip

    def upgrade(self, chat: Id) -> Chat:
        """A group becomes a supergroup: another chat with the same people, and without the messages. Both tell of it."""
        old = self._group(chat)
        number = min(-1001000000000, *self.state.chats) - 1
        new = self.state.chats[number] = Chat(number, old.title, members=set(old.members), admins=set(old.admins), bot=old.bot)
        old.moved_to = new.id
        for place, said in ((old, {"migrate_to_chat_id": new.id}), (new, {"migrate_from_chat_id": old.id})):
            message = self.state.new_message(place, min(place.members), service=said)
            self.updates.put("message", place.id, self.state.message_json(message))
        return new

    def open_topic(self, person: Id, chat: Id, name: str) -> int:
        """A person begins a topic, which makes the group a forum; returns its number. https://core.telegram.org/bots/api#forumtopiccreated"""
        group, speaker = self._group(chat), self.state.person(person)
        began = self.state.new_message(group, speaker.id, service={"forum_topic_created": {"name": name, "icon_color": 7322096}})
        began.topic = began.id
        group.topics[began.id] = True
        return began.id

    def close_topic(self, chat: Id, topic: int) -> None:
        """Only administrators may write there from now on."""
        self._group(chat).topics[topic] = False

    def delete_topic(self, chat: Id, topic: int) -> None:
        """With all that was said there."""
        group = self._group(chat)
        del group.topics[topic]
        for message in [each for each in group.messages.values() if each.topic == topic]:
            self.state.delete(message)

    def _group(self, chat: Id) -> Chat:
        found = self.state.chat(chat)
        if found.kind == "private":
            raise HandsError(f"{chat} is no group")
        return found

    def _bot_as(self, status: str) -> dict[str, Any]:
        shown: dict[str, Any] = member_json(status, self.state.bot_user())
        return shown | ({"until_date": 0} if status == "kicked" else {})


class GroupsOverHttp:
    """The same over HTTP, for the chat page."""

    def __init__(self, hands: GroupHands) -> None:
        self._hands = hands

    def handlers(self) -> dict[tuple[str, str], Callable[[web.Request], Awaitable[web.StreamResponse]]]:
        """By method and path."""
        return {("POST", "/hands/telegram/leave"): self._leave, ("POST", "/hands/telegram/bot"): self._bot}

    async def _leave(self, request: web.Request) -> web.StreamResponse:
        """{person, chat, back?}"""
        body = await request.json()
        (self._hands.join if body.get("back") else self._hands.leave)(body["person"], body["chat"])
        return web.json_response({})

    async def _bot(self, request: web.Request) -> web.StreamResponse:
        """{person, chat, bot}"""
        body = await request.json()
        if body["bot"] not in ("member", "administrator", "kicked", "left"):
            raise HandsError("bot is one of member, administrator, kicked, left")
        self._hands.set_bot(body["person"], body["chat"], body["bot"])
        return web.json_response({})
