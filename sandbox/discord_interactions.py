"""Interactions: what a person does to the application, the one answer to it within three seconds, and what may follow through its token."""

import asyncio
import secrets
import time
from collections.abc import Callable

from aiohttp import web

from sandbox.discord_gateway import Gateway
from sandbox.discord_messages import Files, Messages, invalid, read_body
from sandbox.discord_rules import (
    ALREADY_ACKNOWLEDGED,
    EPHEMERAL,
    INVALID_TOKEN,
    LOADING,
    UNKNOWN_INTERACTION,
    UNKNOWN_MESSAGE,
    UNKNOWN_WEBHOOK,
    DiscordError,
    Json,
    check_modal,
)
from sandbox.discord_state import APPLICATION, DiscordState, Interaction, Message

COMMAND, COMPONENT, AUTOCOMPLETE, MODAL_SUBMIT = 2, 3, 4, 5
SAY, DEFER, DEFER_UPDATE, UPDATE, CHOICES, MODAL = 4, 5, 6, 7, 8, 9
TOKEN_SECONDS = 15 * 60.0
SUGGESTION_LIMIT = 25


class Interactions:
    """All interactions. `opened(interaction, modal)` and `failed(interaction)` tell the person's side."""

    def __init__(
        self,
        state: DiscordState,
        gateway: Gateway,
        messages: Messages,
        answer_seconds: float,
        opened: Callable[[Interaction, Json], None],
        failed: Callable[[Interaction], None],
    ) -> None:
        self.token_seconds = TOKEN_SECONDS
        self._state = state
        self._gateway = gateway
        self._messages = messages
        self._answer_seconds = answer_seconds
        self._opened = opened
        self._failed = failed

    def begin(self, kind: int, person: str, channel: str, data: Json, source: str | None = None) -> Interaction:
        """A person does something: the application is told, and has three seconds to answer."""
        token = f"aW50ZXJhY3Rpb24-{secrets.token_urlsafe(48)}"
        interaction = Interaction(self._state.new_id(), token, kind, person, channel, data, time.monotonic(), source)
        self._state.interactions[token] = interaction
        if kind == AUTOCOMPLETE:
            interaction.choices = asyncio.get_running_loop().create_future()
        self.send(interaction)
        self._state.stirred()
        asyncio.get_running_loop().call_later(self._answer_seconds, self._expire, interaction)
        return interaction

    def send(self, interaction: Interaction) -> None:
        """Hands the interaction to the application; a second time it is the same one once more."""
        guild = not self._state.channels[interaction.channel].private
        self._gateway.dispatch("INTERACTION_CREATE", self._state.interaction(interaction), guild=guild)

    def _expire(self, interaction: Interaction) -> None:
        if interaction.answered is None:
            self._failed(interaction)
            if interaction.choices is not None and not interaction.choices.done():
                interaction.choices.set_result([])

    async def on_callback(self, request: web.Request) -> Json | None:
        """POST /interactions/{interaction}/{token}/callback."""
        data, files = await read_body(request)
        interaction = self._state.interactions.get(request.match_info["token"])
        late = interaction is not None and interaction.answered is None and time.monotonic() - interaction.born > self._answer_seconds
        if interaction is None or interaction.id != request.match_info["interaction"] or late:
            raise DiscordError(404, UNKNOWN_INTERACTION, "Unknown interaction")
        if interaction.answered is not None:
            raise DiscordError(400, ALREADY_ACKNOWLEDGED, "Interaction has already been acknowledged.")
        kind = data.get("type")
        self._check_kind(interaction, kind)
        message = self._carry_out(interaction, kind, data.get("data") or {}, files)
        interaction.answered = kind
        self._state.stirred()
        if request.query.get("with_response", "").lower() not in ("1", "true"):
            return None
        told: Json = {"id": interaction.id, "type": interaction.kind, "channel_id": interaction.channel}
        if message is None:
            return {"interaction": told}
        told |= {
            "response_message_id": message.id,
            "response_message_loading": bool(message.flags & LOADING),
            "response_message_ephemeral": bool(message.flags & EPHEMERAL),
        }
        return {"interaction": told, "resource": {"type": kind, "message": self._state.message(message)}}

    @staticmethod
    def _check_kind(interaction: Interaction, kind: object) -> None:
        allowed: tuple[int, ...] = {
            COMMAND: (SAY, DEFER, MODAL),
            COMPONENT: (SAY, DEFER, DEFER_UPDATE, UPDATE, MODAL),
            AUTOCOMPLETE: (CHOICES,),
            MODAL_SUBMIT: (SAY, DEFER) if interaction.source is None else (SAY, DEFER, DEFER_UPDATE, UPDATE),
        }[interaction.kind]
        if kind not in allowed:
            raise invalid("type", f"Value must be one of {allowed}.")

    def _carry_out(self, interaction: Interaction, kind: int, data: Json, files: Files) -> Message | None:
        channel = self._state.channels[interaction.channel]
        owner = interaction.person if int(data.get("flags") or 0) & EPHEMERAL else None
        if kind in (SAY, DEFER):
            used = (interaction.person, str(interaction.data["name"])) if interaction.kind == COMMAND else None
            message = self._messages.create(channel, data, files, owner=owner, loading=kind == DEFER, used=used)
            interaction.original = message.id
            return message
        if kind in (DEFER_UPDATE, UPDATE):
            interaction.original = interaction.source
            message = self._source(interaction)
            return self._messages.edit(message, data, files) if kind == UPDATE else None
        if kind == MODAL:
            check_modal(data)
            self._opened(interaction, data)
        elif interaction.choices is not None:
            choices = data.get("choices") or []
            if len(choices) > SUGGESTION_LIMIT:
                raise invalid("choices", f"Must be {SUGGESTION_LIMIT} or fewer in length.")
            for choice in choices:
                if not 1 <= len(str(choice.get("name", ""))) <= 100 or len(str(choice.get("value", ""))) > 100:
                    raise invalid("choices", "Must be between 1 and 100 in length.")
            if not interaction.choices.done():
                interaction.choices.set_result(choices)
        return None

    def _source(self, interaction: Interaction) -> Message:
        message = self._state.messages.get(interaction.source or "")
        if message is None:
            raise DiscordError(404, UNKNOWN_MESSAGE, "Unknown Message")
        return message

    # the webhook that an interaction's token opens

    def _by_token(self, request: web.Request) -> Interaction:
        interaction = self._state.interactions.get(request.match_info["token"])
        if interaction is None or interaction.answered is None or request.match_info["application"] != APPLICATION:
            raise DiscordError(404, UNKNOWN_WEBHOOK, "Unknown Webhook")
        if time.monotonic() - interaction.born > self.token_seconds:
            raise DiscordError(401, INVALID_TOKEN, "Invalid Webhook Token")
        return interaction

    def _message_of(self, interaction: Interaction, which: str) -> Message:
        message = self._state.messages.get((interaction.original or "") if which == "@original" else which)
        if message is None or message.author != APPLICATION or message.channel != interaction.channel:
            raise DiscordError(404, UNKNOWN_MESSAGE, "Unknown Message")
        return message

    async def on_follow_up(self, request: web.Request) -> Json:
        """POST /webhooks/{application}/{token}. While "… is thinking" stands, the first follow-up takes its place, and its visibility."""
        data, files = await read_body(request)
        interaction = self._by_token(request)
        original = self._state.messages.get(interaction.original or "")
        if original is not None and original.flags & LOADING:
            return self._state.message(self._messages.edit(original, data, files))
        owner = interaction.person if int(data.get("flags") or 0) & EPHEMERAL else None
        return self._state.message(self._messages.create(self._state.channels[interaction.channel], data, files, owner=owner))

    async def on_get(self, request: web.Request) -> Json:
        """GET /webhooks/{application}/{token}/messages/{message}."""
        return self._state.message(self._message_of(self._by_token(request), request.match_info["message"]))

    async def on_edit(self, request: web.Request) -> Json:
        """PATCH /webhooks/{application}/{token}/messages/{message}."""
        data, files = await read_body(request)
        message = self._message_of(self._by_token(request), request.match_info["message"])
        return self._state.message(self._messages.edit(message, data, files))

    async def on_delete(self, request: web.Request) -> None:
        """DELETE /webhooks/{application}/{token}/messages/{message}."""
        self._messages.delete(self._message_of(self._by_token(request), request.match_info["message"]))
