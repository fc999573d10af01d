"""One update from beginning to end: its Event is handled by the chat layer, and the Answer is performed."""

import asyncio
import html
from dataclasses import replace
from typing import Any

import structlog
from telegram import Bot, Update
from telegram.error import TelegramError

from bots.chat.pace import Throttle
from bots.chat.ports import PayingChatPort
from bots.chat.types import Answer, Event, Key, Message, Place, SendFailed
from bots.telegram.incoming import is_checkout, is_payment, membership, moved_group, presence, read
from bots.telegram.outgoing import TelegramSender, failure
from bots.telegram.payments import Checkouts, settle
from core.users.models import locale_of

MAX_TOAST = 200

log = structlog.get_logger(__name__)


class TelegramHandlers:
    """Performs Answers; holds no words but those that the chat layer renders. `bot` must be initialised.

    `throttle`: what is said here is said at once, and counts against the pace of what is delivered later.
    """

    def __init__(self, chat: PayingChatPort, sender: TelegramSender, bot: Bot, throttle: Throttle) -> None:
        self._chat = chat
        self._sender = sender
        self._bot = bot
        self._throttle = throttle
        self.checkouts = Checkouts(chat, bot)

    async def on_update(self, raw: dict[str, Any]) -> bool:
        """Handles one update; False when there is no Event in it. Whatever Telegram refuses afterwards is the delivery loop's business.

        Raises SendFailed when a picture cannot be fetched now, and whatever the chat layer raises: the update is then not handled yet.
        """
        if is_checkout(raw):
            await self.checkouts.answer(raw)
            return False
        update = Update.de_json(raw, self._bot)
        if is_payment(raw) and update.message is not None:
            await settle(self._chat, str(update.update_id), update.message)
            return True
        if (moved := moved_group(raw)) is not None:
            await self._chat.moved("telegram", str(update.update_id), *moved)
            return True
        if (present := presence(raw)) is not None:
            await self._chat.present("telegram", str(update.update_id), present[0], here=present[1])
            return True
        press = update.callback_query.id if update.callback_query is not None else None
        try:
            event = await read(update, self._bot)
            if event is not None and (asked := await self._chat.asks(event)) is not None:
                said = await self._chat.remembered(event, asked) or await self._told(event, asked)
                event = replace(event, place=said) if asked == event.place else replace(event, about=said)
        except TelegramError as error:
            raise failure(error) from None
        if event is None:
            await self._answer_press(press, None)
            return False
        await self._perform(event, await self._chat.handle(event), press)
        return True

    async def _told(self, event: Event, asked: Place) -> Place:
        """The group, as Telegram says of the person there now."""
        said = await membership(self._bot, asked, event.person.id, there=asked == event.place and event.action is None)
        await self._chat.told(event, said)
        return said

    async def _perform(self, event: Event, answer: Answer, press: str | None) -> None:
        await self._answer_press(press, answer.toast)
        if answer.delete_event and event.action is None and event.message is not None:
            await self._delete(event.place.chat, event.message)
        if answer.message is not None:
            await self._chat.sent(answer, await self._say(event, answer, answer.message))
        elif answer.toast and press is None:
            # Only a press can be answered by a note over the chat; anything else is answered by a message.
            await self._say(event, answer, Message(html.escape(answer.toast, quote=False)))

    async def _say(self, event: Event, answer: Answer, message: Message) -> str | None:
        """The message's id; None when it could not be sent."""
        place = event.place
        aside = answer.private and not place.private
        chat = event.person.id if aside else place.chat  # a private chat has the id of its person
        nonce = f"event:{event.id}" if answer.outbox is None else str(answer.outbox)
        now = asyncio.get_running_loop().time()
        self._throttle.spend(chat, now)
        try:
            if answer.edit and event.action is not None and event.message is not None and not aside:
                return await self._replace(chat, event.message, message, nonce)
            return await self._sender.send(chat, message, nonce)
        except SendFailed as failed:
            log.info("not sent directly", event_id=event.id, kind=failed.kind, problem=failed.problem)
            if failed.retry_after is not None:
                self._throttle.hold(chat, now + failed.retry_after, now)
            if aside and failed.kind in ("blocked", "gone"):
                await self._hint(event)
            return None

    async def _replace(self, chat: str, message_id: str, message: Message, nonce: str) -> str:
        try:
            await self._sender.edit(chat, message_id, message)
        except SendFailed as failed:
            if failed.kind not in ("gone", "refused"):
                raise
            return await self._sender.send(chat, message, nonce)
        return message_id

    async def _hint(self, event: Event) -> None:
        """Tells in the group that the answer waits in the private chat, which only the person can open."""
        words = html.escape(self._chat.describe("hint.private", locale_of(event.person.language)), quote=False)
        key = Key(f"@{self._bot.username}", url=f"https://t.me/{self._bot.username}?start=1")
        self._throttle.spend(event.place.chat, asyncio.get_running_loop().time())
        try:
            await self._sender.send(event.place.chat, Message(words, ((key,),), silent=True), f"hint:{event.id}")
        except SendFailed as failed:
            log.info("no hint", event_id=event.id, kind=failed.kind, problem=failed.problem)

    async def _delete(self, chat: str, message: str) -> None:
        try:
            await self._sender.delete(chat, message)
        except SendFailed as failed:
            log.warning("a message of a person was not deleted", chat=chat, kind=failed.kind, problem=failed.problem)

    async def _answer_press(self, press: str | None, toast: str | None) -> None:
        """Every press is answered, or the button keeps spinning."""
        if press is None:
            return
        try:
            await self._bot.answer_callback_query(press, text=toast[:MAX_TOAST] if toast else None)
        except TelegramError as error:
            log.info("a press was not answered", problem=error.message)
