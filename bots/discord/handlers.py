"""What is done about an interaction or a message: the chat layer is asked, and its Answer is performed.

Discord wants the first answer to an interaction within three seconds; then its token is good for fifteen minutes. An answer that takes
longer than `first_answer_seconds` is announced first ("… is thinking") and follows. Every interaction is answered, whatever goes wrong.
"""

import asyncio
import html
from collections import OrderedDict
from collections.abc import Collection
from typing import Any

import aiohttp
import discord
import structlog

from bots.chat.ports import GroupChatPort
from bots.chat.types import Answer, Message, Sender, SendFailed
from bots.discord.answers import Answers
from bots.discord.incoming import Interaction, from_interaction, from_message, is_private_chat, typing_event
from bots.discord.outgoing import PRIVATE_CHAT, failure
from bots.discord.turn import NOT_EDITABLE, AnsweredElsewhere, Turn

FIRST_ANSWER_SECONDS = 2.0
SUGGESTION_SECONDS = 2.5
SUGGESTION_LIMIT = 25
SUGGESTION_LENGTH = 100
REMEMBERED = 2000
HINT_AGAIN = "hint.again"

_ANSWERABLE = (discord.InteractionType.application_command, discord.InteractionType.component, discord.InteractionType.modal_submit)
_PLATFORM = (discord.HTTPException, discord.RateLimited, aiohttp.ClientError, OSError)

log = structlog.get_logger(__name__)


class Handlers:
    """The adapter's incoming half. `answers` are shared with `sender`; `prefixes` are the addresses that attachments may come from."""

    def __init__(
        self,
        chat: GroupChatPort,
        sender: Sender,
        answers: Answers,
        prefixes: tuple[str, ...],
        first_answer_seconds: float = FIRST_ANSWER_SECONDS,
    ) -> None:
        self._chat = chat
        self._sender = sender
        self._answers = answers
        self._prefixes = prefixes
        self._first_answer_seconds = first_answer_seconds
        self._seen: OrderedDict[int, None] = OrderedDict()
        self._public = {spec.name for spec in chat.commands if not (spec.private or spec.admin)}

    async def on_interaction(self, interaction: Interaction) -> None:
        """Answers an interaction; one that Discord delivers twice is answered once. Raises nothing."""
        if interaction.id in self._seen:
            return
        self._seen[interaction.id] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        if interaction.type is discord.InteractionType.autocomplete:
            await self._on_typing(interaction)
        elif interaction.type in _ANSWERABLE:
            await self._on_answerable(interaction)

    async def on_message(self, message: discord.Message, client: discord.Client) -> None:
        """Answers a plain message to the bot. Raises nothing."""
        try:
            event = await from_message(message, client, self._prefixes)
            if event is None:
                return
            answer = await self._chat.handle(event)
        except Exception:
            log.exception("a message could not be handled")
            answer = Answer(message=Message(html.escape(self._chat.describe(HINT_AGAIN, "en"), quote=False)))
        if answer.delete_event:
            await self._delete(message)
        await self._reply(message, answer)

    async def on_presence(self, guild: str, *, here: bool) -> None:
        """The bot was added to a server, or removed from it. Raises whatever the chat layer raises."""
        await self._chat.present("discord", "", guild, here=here)

    async def on_known(self, guilds: Collection[str]) -> None:
        """These are all servers that the bot is in, those included that cannot be reached now. Raises whatever the chat layer raises."""
        await self._chat.known("discord", guilds)

    async def _delete(self, message: discord.Message) -> None:
        try:
            await message.delete()
        except _PLATFORM as error:  # in private chats, or without the right to: the chat layer's words have said what to do
            log.info("a person's message was not deleted", problem=failure(error).problem)

    async def _reply(self, message: discord.Message, answer: Answer) -> None:
        """A message has no ephemeral answers and opens no modals: what is private goes to the private chat."""
        said = answer.message
        if said is None:
            words = answer.toast or (self._chat.describe(HINT_AGAIN, "en") if answer.questions else "")
            said = Message(html.escape(words, quote=False)) if words else None
        if said is None:
            return
        aside = (answer.private or answer.message is None) and message.guild is not None
        chat = f"{PRIVATE_CHAT}{message.author.id}" if aside else str(message.channel.id)
        message_id: str | None
        try:
            message_id = await self._sender.send(chat, said, f"e{message.id}")
        except SendFailed as error:
            log.warning("an answer was not sent", problem=error.problem)
            message_id = None
        await self._sent(answer, NOT_EDITABLE if aside and message_id else message_id)

    async def _on_typing(self, interaction: Interaction) -> None:
        choices: list[discord.app_commands.Choice[str]] = []
        try:
            event, option, typed = typing_event(interaction)
            async with asyncio.timeout(SUGGESTION_SECONDS):
                found = await self._chat.complete(event, option, typed)
            choices = [
                discord.app_commands.Choice(name=label[:SUGGESTION_LENGTH], value=value)
                for value, label in found[:SUGGESTION_LIMIT]
                if label and len(value) <= SUGGESTION_LENGTH
            ]
        except Exception:
            log.exception("no suggestions")
        try:
            await interaction.response.autocomplete(choices)
        except _PLATFORM as error:
            log.info("suggestions came too late", problem=failure(error).problem)

    async def _on_answerable(self, interaction: Interaction) -> None:
        turn = Turn(interaction, self._answers, quiet=self._is_quiet(interaction))
        async with asyncio.TaskGroup() as tasks:
            thinking = tasks.create_task(self._think(interaction))
            await asyncio.wait({thinking}, timeout=self._first_answer_seconds)
            if not thinking.done():
                await turn.defer()
        answer = thinking.result()
        if turn.elsewhere:
            log.info("another process answers", interaction=interaction.id)
        elif answer is None:
            await self._apologise(turn)
        else:
            await self._perform(turn, answer)

    def _is_quiet(self, interaction: Interaction) -> bool:
        """Whether "… is thinking" is shown to the asker alone: for commands whose answer is private, and for sent forms."""
        data: Any = interaction.data or {}
        return not is_private_chat(interaction) and data.get("name") not in self._public

    async def _think(self, interaction: Interaction) -> Answer | None:
        try:
            return await self._chat.handle(await from_interaction(interaction, self._prefixes))
        except Exception:
            log.exception("an interaction could not be handled")
            return None

    async def _perform(self, turn: Turn, answer: Answer) -> None:
        message_id: str | None = None
        try:
            if answer.questions is not None and turn.may_ask:
                await turn.ask(answer.questions)
            elif answer.questions is not None:
                await self._apologise(turn)
            elif answer.message is not None:
                message_id = await turn.say(answer.message, private=answer.private, edit=answer.edit)
            elif answer.toast is None:
                await turn.nothing()
            if answer.toast is not None:
                await turn.toast(answer.toast)
        except AnsweredElsewhere:
            return  # whatever that process does not deliver, the outbox does
        except SendFailed as error:
            log.warning("an answer was not taken", problem=error.problem)
            if not turn.answered:
                await self._apologise(turn)
        await self._sent(answer, message_id)

    async def _apologise(self, turn: Turn) -> None:
        """Says to try again, to the asker alone."""
        try:
            await turn.toast(self._chat.describe(HINT_AGAIN, turn.locale))
        except (SendFailed, AnsweredElsewhere) as error:
            log.warning("an interaction stays without an answer", problem=str(error))

    async def _sent(self, answer: Answer, message_id: str | None) -> None:
        if answer.message is None:
            return
        try:
            await self._chat.sent(answer, message_id)
        except Exception:
            log.exception("the arrival of an answer was not recorded; it will be delivered again")
