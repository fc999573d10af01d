"""One person in either chat, as the demo and the tests play them: says, presses, fills in, reads. Where the chats differ stands here."""

from collections.abc import Mapping
from typing import Any

from sandbox.world import World

SECONDS = 30.0
"""How long an answer may take."""
Message = dict[str, Any]


class Actor:
    """Somebody of the sandbox's Telegram or Discord. `chat`: their private chat with the bot, which is meant where no other is named.

    What is read is newer than the last thing that the person did: a new message, or one that has changed since.
    """

    def __init__(self, world: World, platform: str, person: str) -> None:
        self.hands: Any = world.telegram if platform == "telegram" else world.discord
        self.telegram = platform == "telegram"
        self.id = person
        self.chat: str = self.hands.private_chat(person)
        self._seen: set[str] = set()
        self._asked_singly = self.telegram

    async def says(self, text: str, *words: str, chat: str = "") -> None:
        """Types a line ("/imagine a fox") and, where some are given, reads what has `words`."""
        self._look(chat)
        declared = {each["name"] for each in self.hands.commands()} if not self.telegram else set()
        self._asked_singly = text.removeprefix("/").split()[0] not in declared
        await self.hands.say(self.id, chat or self.chat, text)
        if words:
            await self.reads(*words, chat=chat)

    async def presses(self, action: str, *words: str, chat: str = "") -> Message:
        """Presses the newest button whose action is or begins with `action`, and reads what has `words`; without words, nothing new."""
        found = await self.hands.wait_for(self.id, chat or self.chat, lambda message: action_of(message, action) is not None, SECONDS)
        self._look(chat)
        self._asked_singly = self.telegram
        await self.hands.press(self.id, chat or self.chat, found["id"], action_of(found, action))
        return await self.reads(*words, chat=chat) if words else found

    async def fills(self, answers: Mapping[str, str], *words: str, chat: str = "") -> Message:
        """Answers a form, and reads what has `words`. Telegram, and Discord after a command that is not declared there, ask in the private
        chat, question by question, and answer there; else Discord shows all of it at once and answers in `chat`."""
        if not self._asked_singly:
            modal = await self.hands.wait_for_modal(self.id, SECONDS)
            self._look(chat)
            await self.hands.submit(self.id, modal["id"], dict(answers))
            return await self.reads(*words, chat=chat)
        for number, answer in enumerate(answers.values(), start=1):
            await self.reads(f"{number}/{len(answers)}")
            self._look(chat)
            await self.hands.say(self.id, self.chat, answer)
        return await self.reads(*words)

    async def reads(self, *words: str, chat: str = "", picture: bool = False) -> Message:
        """The newest message of the bot that has all of `words`, and a picture if that is wanted. Raises TimeoutError."""

        def fits(message: Message) -> bool:
            told = message["from"]["bot"] and not message.get("thinking") and _state(message) not in self._seen
            return told and all(word in message["html"] for word in words) and (bool(message["pictures"]) or not picture)

        found: Message = await self.hands.wait_for(self.id, chat or self.chat, fits, SECONDS)
        return found

    def _look(self, chat: str) -> None:
        """What stands there now is not new any more, here and in private."""
        self._seen |= {_state(message) for place in {chat or self.chat, self.chat} for message in self.hands.messages(self.id, place)}


def action_of(message: Message, word: str) -> str | None:
    """The action of the first button that is `word`, or begins with it and a blank."""
    actions = (key.get("action") or "" for row in message["rows"] for key in row)
    return next((action for action in actions if action == word or action.startswith(f"{word} ")), None)


def _state(message: Message) -> str:
    return repr((message["id"], message["html"], message["rows"], len(message["pictures"])))
