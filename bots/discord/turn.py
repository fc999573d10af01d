"""One interaction being answered: what Discord still allows at each moment, and the calls for it.

    nothing yet   --> a message, an edit of the pressed message, a modal; or a deferral
    deferred      --> "… is thinking" becomes the message; its visibility is fixed
    pressed, deferred silently --> the pressed message is edited, or new messages follow

Source: discord.com/developers/docs/interactions/receiving-and-responding.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import aiohttp
import discord

from bots.chat.types import Message, Question, Questions, SendFailed
from bots.discord.answers import Answers
from bots.discord.incoming import Interaction, is_private_chat, is_reachable
from bots.discord.outgoing import CALL_SECONDS, content, failure, files, plain, view
from core.words import LOCALES

NOT_EDITABLE = "-"
"""Stands for a message that has arrived and that no one can edit through the channel: an ephemeral one."""

_ALREADY_ACKNOWLEDGED = 40060
_UNKNOWN_INTERACTION = 10062
_TITLE_LIMIT = 45
_LABEL_LIMIT = 45
_HINT_LIMIT = 100
_OPTION_LIMIT = 25
_OPTION_TEXT = 100
_QUESTION_LIMIT = 5
_LONG_TEXT = 200
_INPUT_LIMIT = 4000
_NOBODY = discord.AllowedMentions.none()
_CONNECTION = (aiohttp.ClientError, OSError)
_PLATFORM = (discord.HTTPException, discord.RateLimited, *_CONNECTION)

T = TypeVar("T")


class AnsweredElsewhere(Exception):
    """Somebody else has answered this interaction already: another process of ours that was handed it too."""


class Turn:
    """`quiet`: a deferral shows to the asker alone. Raises SendFailed or AnsweredElsewhere for what Discord does, and nothing else."""

    def __init__(self, interaction: Interaction, answers: Answers, *, quiet: bool) -> None:
        self.answered = False
        self.elsewhere = False
        self._interaction = interaction
        self._answers = answers
        self._quiet = quiet
        self._thinking = False  # a "… is thinking" stands
        self._silent = False  # a press was acknowledged without a sign
        self._gone = False  # Discord takes no more answers to this interaction

    @property
    def may_ask(self) -> bool:
        """Whether a modal may be opened: only as the first answer, and not to a modal."""
        first = not (self.answered or self._thinking or self._silent or self._gone)
        return first and self._interaction.type is not discord.InteractionType.modal_submit

    @property
    def locale(self) -> str:
        """The person's language, one of ours."""
        language = str(self._interaction.locale.value)
        return next((locale for locale in LOCALES if language.startswith(locale)), LOCALES[0])

    async def defer(self) -> None:
        """Announces an answer: a press silently, everything else as "… is thinking". Raises nothing: what failed shows in the answer."""
        pressed = self._interaction.message is not None
        try:
            await self._first(lambda: self._interaction.response.defer(thinking=not pressed, ephemeral=self._quiet and not pressed))
            self._silent, self._thinking = pressed, not pressed
        except AnsweredElsewhere:
            self.elsewhere = True
        except SendFailed:
            self._gone = True

    async def say(self, message: Message, *, private: bool, edit: bool) -> str:
        """Says it, `private` to the asker alone; `edit` puts it in the place of the pressed message. Returns its id, or NOT_EDITABLE."""
        if self._gone:
            raise SendFailed("later", "Discord takes no more answers to this interaction")
        hidden = private and not is_private_chat(self._interaction)
        if edit and self._interaction.message is not None:
            return await self._replace(self._interaction.message, message)
        if self._silent or (self._thinking and hidden and not self._quiet):
            await self._stop_thinking()
            sent = await _reach(lambda: self._interaction.followup.send(ephemeral=hidden, wait=True, **_new(message)))
            self.answered = True
            return self._id(sent.id, hidden=hidden)
        if self._thinking:
            edited = await _reach(lambda: self._interaction.edit_original_response(**_changed(message)), again=True)
            self.answered, self._thinking = True, False
            return self._id(edited.id, hidden=self._quiet)
        taken = await self._first(lambda: self._interaction.response.send_message(ephemeral=hidden, **_new(message)))
        self.answered = True
        if taken is None and not hidden:
            return self._id((await _reach(self._interaction.original_response, again=True)).id, hidden=False)
        return self._id(None if taken is None else taken.message_id, hidden=hidden)

    async def toast(self, words: str) -> None:
        """A short note to the asker alone; nothing where Discord takes no more answers."""
        if self._gone:
            return
        note: dict[str, Any] = {"content": plain(words), "ephemeral": True, "allowed_mentions": _NOBODY}
        if self.answered or self._silent or self._thinking:
            await self._stop_thinking()
            await _reach(lambda: self._interaction.followup.send(**note))
        else:
            await self._first(lambda: self._interaction.response.send_message(**note))
        self.answered = True

    async def ask(self, questions: Questions) -> None:
        """Opens a modal."""
        await self._first(lambda: self._interaction.response.send_modal(modal(questions)))
        self.answered = True

    async def nothing(self) -> None:
        """Ends the waiting without a word."""
        if not (self._thinking or self._silent or self._gone):
            await self.defer()
        await self._stop_thinking()
        self.answered = True

    async def _replace(self, pressed: discord.Message, message: Message) -> str:
        if self._silent:
            await _reach(lambda: self._interaction.edit_original_response(**_changed(message)), again=True)
        else:
            await self._first(lambda: self._interaction.response.edit_message(**_changed(message)))
        self.answered = True
        return NOT_EDITABLE if pressed.flags.ephemeral or not is_reachable(self._interaction) else str(pressed.id)

    async def _stop_thinking(self) -> None:
        """Takes "… is thinking" away: a first follow-up would take its place, and its visibility."""
        if not self._thinking:
            return
        try:
            await _reach(self._interaction.delete_original_response, again=True)
        except SendFailed as error:
            if error.kind != "gone":
                raise
        self._thinking = False

    async def _first(self, call: Callable[[], Awaitable[T]]) -> T | None:
        """The first answer, tried again when its connection broke; None when only the answer to the first try was lost."""
        try:
            return await _timed(call)
        except _CONNECTION:
            return await self._first_again(call)
        except (discord.HTTPException, discord.RateLimited) as error:
            raise self._refused(error) from error

    async def _first_again(self, call: Callable[[], Awaitable[T]]) -> T | None:
        try:
            return await _timed(call)
        except _PLATFORM as error:
            if isinstance(error, discord.HTTPException) and error.code == _ALREADY_ACKNOWLEDGED:
                return None
            raise self._refused(error) from error

    def _refused(self, error: Exception) -> SendFailed | AnsweredElsewhere:
        code = error.code if isinstance(error, discord.HTTPException) else 0
        if code == _ALREADY_ACKNOWLEDGED:
            return AnsweredElsewhere(self._interaction.id)
        self._gone = self._gone or code == _UNKNOWN_INTERACTION
        return failure(error)

    def _id(self, message_id: int | None, *, hidden: bool) -> str:
        if hidden or message_id is None or not is_reachable(self._interaction):
            return NOT_EDITABLE
        self._answers.remember(message_id, self._interaction.followup)
        return str(message_id)


async def _timed(call: Callable[[], Awaitable[T]]) -> T:
    async with asyncio.timeout(CALL_SECONDS):
        return await call()


async def _reach(call: Callable[[], Awaitable[T]], *, again: bool = False) -> T:
    """A later call. `again`: it may be carried out twice, so it is tried once more when its connection breaks. Raises SendFailed."""
    try:
        return await _timed(call)
    except _PLATFORM as error:
        if again and isinstance(error, _CONNECTION):
            return await _reach(call)
        raise failure(error) from error


def _new(message: Message) -> dict[str, Any]:
    """Built anew for each try: files are used up by sending them."""
    buttons = view(message.rows)
    said: dict[str, Any] = {"content": content(message.text) or None, "silent": message.silent, "allowed_mentions": _NOBODY}
    said |= {"files": files(message.pictures)} if message.pictures else {}
    return said if buttons is None else said | {"view": buttons}


def _changed(message: Message) -> dict[str, Any]:
    return {
        "content": content(message.text) or None,
        "attachments": files(message.pictures),
        "view": view(message.rows),
        "allowed_mentions": _NOBODY,
    }


def modal(questions: Questions) -> discord.ui.Modal:
    """The form. Stopped before it is shown, like every view of ours: what is sent comes back as a raw interaction.

    Only a choice has to be answered: whether a text may stay empty is the chat layer's to say.
    """
    form = discord.ui.Modal(title=questions.title[:_TITLE_LIMIT], custom_id=questions.action)
    for question in questions.questions[:_QUESTION_LIMIT]:
        hint = question.hint[:_HINT_LIMIT] or None
        form.add_item(discord.ui.Label(text=question.label[:_LABEL_LIMIT], description=hint, component=_input(question)))
    form.stop()
    return form


def _input(question: Question) -> discord.ui.Item[discord.ui.Modal]:
    if question.kind == "choice":
        options = [
            discord.SelectOption(label=label[:_OPTION_TEXT], value=value, default=value == question.default)
            for value, label in question.choices[:_OPTION_LIMIT]
        ]
        return discord.ui.Select(custom_id=question.name, options=options, required=True)
    length = min(question.max_length, _INPUT_LIMIT)
    style = discord.TextStyle.paragraph if length > _LONG_TEXT else discord.TextStyle.short
    default = question.default[:length] or None
    return discord.ui.TextInput(custom_id=question.name, style=style, default=default, required=False, max_length=length)
