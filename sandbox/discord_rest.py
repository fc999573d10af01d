"""Discord's REST API v10, as far as a bot of slash commands, buttons and messages uses it."""

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import hdrs, web

from sandbox.discord_declarations import check_commands, kept, without_translations
from sandbox.discord_gateway import Gateway
from sandbox.discord_interactions import Interactions
from sandbox.discord_limits import Faults, RateLimits, forced_429
from sandbox.discord_messages import Messages, read_body
from sandbox.discord_rules import INVALID_RECIPIENT, NOT_YOUR_MESSAGE, UNKNOWN_MESSAGE, DiscordError, Json
from sandbox.discord_state import APPLICATION, BOT_NAME, GUILD, DiscordState, Message

Handler = Callable[[web.Request], Awaitable[Any]]
ROOT = "/discord/api/v10"


class Rest:
    """All routes under /discord/api/v10."""

    def __init__(
        self, state: DiscordState, gateway: Gateway, messages: Messages, interactions: Interactions, limits: RateLimits, faults: Faults
    ) -> None:
        self._state = state
        self._gateway = gateway
        self._messages = messages
        self._interactions = interactions
        self._limits = limits
        self._faults = faults
        self.calls: list[str] = []  # "POST /channels/…/messages", what a test counts

    def routes(self) -> list[web.RouteDef]:
        """What an application has to add."""
        message = "/channels/{channel}/messages/{message}"
        hook = "/webhooks/{application}/{token}"
        commands = "/applications/{application}/commands"
        in_guild = "/applications/{application}/guilds/{guild}/commands"
        table: list[tuple[str, str, Handler]] = [
            (hdrs.METH_GET, "/gateway", self._on_gateway),
            (hdrs.METH_GET, "/gateway/bot", self._on_gateway),
            (hdrs.METH_GET, "/users/@me", self._on_me),
            (hdrs.METH_POST, "/users/@me/channels", self._on_open_private),
            (hdrs.METH_GET, "/oauth2/applications/@me", self._on_application),
            (hdrs.METH_GET, "/applications/@me", self._on_application),
            (hdrs.METH_GET, "/applications/{application}", self._on_application),
            (hdrs.METH_GET, commands, self._on_get_commands),
            (hdrs.METH_PUT, commands, self._on_put_commands),
            (hdrs.METH_GET, in_guild, self._on_get_commands),
            (hdrs.METH_PUT, in_guild, self._on_put_commands),
            (hdrs.METH_GET, "/channels/{channel}", self._on_channel),
            (hdrs.METH_GET, "/guilds/{guild}", self._on_guild),
            (hdrs.METH_GET, "/guilds/{guild}/channels", self._on_guild_channels),
            (hdrs.METH_GET, "/guilds/{guild}/members/{user}", self._on_member),
            (hdrs.METH_POST, "/channels/{channel}/messages", self._on_send),
            (hdrs.METH_GET, message, self._on_get_message),
            (hdrs.METH_PATCH, message, self._on_edit),
            (hdrs.METH_DELETE, message, self._on_delete),
        ]
        open_table: list[tuple[str, str, Handler]] = [  # the token in the path is the right
            (hdrs.METH_POST, "/interactions/{interaction}/{token}/callback", self._interactions.on_callback),
            (hdrs.METH_POST, hook, self._interactions.on_follow_up),
            (hdrs.METH_GET, hook + "/messages/{message}", self._interactions.on_get),
            (hdrs.METH_PATCH, hook + "/messages/{message}", self._interactions.on_edit),
            (hdrs.METH_DELETE, hook + "/messages/{message}", self._interactions.on_delete),
        ]
        return [web.route(method, ROOT + path, self._guarded(handler, ROOT + path, secured=True)) for method, path, handler in table] + [
            web.route(method, ROOT + path, self._guarded(handler, ROOT + path, secured=False)) for method, path, handler in open_table
        ]

    def _guarded(self, handler: Handler, template: str, *, secured: bool) -> Handler:
        """Faults, authorisation and rate limits around a handler; its result as JSON, None as 204."""

        async def answer(request: web.Request) -> web.StreamResponse:
            self._state.stirred()
            if self._faults.strikes("drop", request.path):
                return _cut(request)
            self.calls.append(f"{request.method} {request.path.removeprefix(ROOT)}")
            if secured and (self._faults.refuse_token or not request.headers.get("Authorization", "").startswith("Bot ")):
                return _json({"message": "401: Unauthorized", "code": 0}, status=401)
            if self._faults.strikes("too_many", request.path):
                headers, refusal = forced_429(self._faults.too_many_seconds)
                return _json(refusal, status=429, headers=headers)
            headers, too_many = self._limits.admit(request, template)
            if too_many is not None:
                return _json(too_many, status=429, headers=headers)
            if self._faults.strikes("statuses", request.path):
                return _json({"message": "Something is wrong", "code": 0}, status=self._faults.status, headers=headers)
            try:
                body = await handler(request)
            except DiscordError as error:
                return _json(error.body, status=error.status, headers=headers)
            if self._faults.strikes("lose_answers", request.path):
                return _cut(request)
            return web.Response(status=204, headers=headers) if body is None else _json(body, headers=headers)

        return answer

    async def _on_gateway(self, request: web.Request) -> Json:
        if request.path.endswith("/gateway"):
            return {"url": self._gateway.url}
        limit = {"total": 1000, "remaining": 1000, "reset_after": 14_400_000, "max_concurrency": 1}
        return {"url": self._gateway.url, "shards": self._gateway.recommended_shards, "session_start_limit": limit}

    async def _on_me(self, _request: web.Request) -> Json:
        return self._state.user(APPLICATION) | {"verified": True, "mfa_enabled": False, "email": None, "flags": 0}

    async def _on_application(self, request: web.Request) -> Json:
        if request.match_info.get("application", APPLICATION) != APPLICATION:
            raise DiscordError(404, 10002, "Unknown Application")
        owner = next(iter(self._state.people))
        return {
            "id": APPLICATION,
            "name": BOT_NAME,
            "icon": None,
            "description": "",
            "bot_public": True,
            "bot_require_code_grant": False,
            "verify_key": "0" * 64,
            "flags": 0,
            "owner": self._state.user(owner),
            "team": None,
            "interactions_endpoint_url": None,
        }

    async def _on_get_commands(self, request: web.Request) -> list[Json]:
        self._check_application(request)
        commands = self._state.guild_commands if "guild" in request.match_info else self._state.commands
        translated = request.query.get("with_localizations", "").lower() in ("1", "true")
        return commands if translated else [without_translations(command) for command in commands]

    async def _on_put_commands(self, request: web.Request) -> list[Json]:
        self._check_application(request)
        declared, _ = await read_body(request)
        check_commands(declared)
        before = self._state.guild_commands if "guild" in request.match_info else self._state.commands
        ids = {command["name"]: command["id"] for command in before}
        version = self._state.new_id()
        commands = [kept(command, ids.get(command["name"]) or self._state.new_id(), APPLICATION, version) for command in declared]
        if "guild" in request.match_info:
            self._state.guild_commands = commands
        else:
            self._state.commands = commands
        return commands

    @staticmethod
    def _check_application(request: web.Request) -> None:
        if request.match_info["application"] != APPLICATION:
            raise DiscordError(403, 20012, "You are not authorized to perform this action on this application")

    async def _on_channel(self, request: web.Request) -> Json:
        return self._state.channel(self._messages.channel_for_bot(request.match_info["channel"]))

    def _check_guild(self, request: web.Request) -> None:
        if request.match_info["guild"] != GUILD:
            raise DiscordError(404, 10004, "Unknown Guild")

    async def _on_guild(self, request: web.Request) -> Json:
        self._check_guild(request)
        return self._state.guild()

    async def _on_guild_channels(self, request: web.Request) -> list[Json]:
        self._check_guild(request)
        return [self._state.channel(channel) for channel in self._state.channels.values() if not channel.private]

    async def _on_member(self, request: web.Request) -> Json:
        self._check_guild(request)
        user = request.match_info["user"]
        if user not in self._state.people and user != APPLICATION:
            raise DiscordError(404, 10007, "Unknown Member")
        return self._state.member(user)

    async def _on_open_private(self, request: web.Request) -> Json:
        data, _ = await read_body(request)
        try:
            return self._state.channel(self._state.private_channel(str(data.get("recipient_id"))))
        except KeyError:
            raise DiscordError(400, INVALID_RECIPIENT, "Invalid Recipient(s)") from None

    async def _on_send(self, request: web.Request) -> Json:
        data, files = await read_body(request)
        channel = self._messages.channel_for_bot(request.match_info["channel"], sending=True)
        message = self._messages.by_nonce(channel, data) or self._messages.create(channel, data, files)
        return self._state.message(message)

    def _message(self, request: web.Request) -> Message:
        self._messages.channel_for_bot(request.match_info["channel"])
        message = self._state.messages.get(request.match_info["message"])
        if message is None or message.channel != request.match_info["channel"] or message.owner is not None:
            raise DiscordError(404, UNKNOWN_MESSAGE, "Unknown Message")
        return message

    async def _on_get_message(self, request: web.Request) -> Json:
        return self._state.message(self._message(request))

    async def _on_edit(self, request: web.Request) -> Json:
        data, files = await read_body(request)
        message = self._message(request)
        if message.author != APPLICATION:
            raise DiscordError(403, NOT_YOUR_MESSAGE, "Cannot edit a message authored by another user")
        return self._state.message(self._messages.edit(message, data, files))

    async def _on_delete(self, request: web.Request) -> None:
        message = self._message(request)
        if message.author != APPLICATION and self._state.channels[message.channel].private:
            raise DiscordError(403, 50003, "Cannot execute action on a DM channel")
        self._messages.delete(message)


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Discord names no charset, and discord.py reads as JSON only what is called exactly application/json."""
    return web.Response(body=json.dumps(body).encode(), status=status, headers=headers, content_type="application/json")


def _cut(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


async def on_file(state: DiscordState, request: web.Request) -> web.Response:
    """GET /discord/cdn/attachments/{channel}/{file}/{name}: 404 when the signature is wrong or its time is over."""
    attachment = state.files.get(request.match_info["file"])
    until = request.query.get("ex", "")
    valid = request.query.get("hm") == state.signature(request.path, until) and until and int(until, 16) > time.time()
    if attachment is None or not valid:
        return web.Response(status=404, text="This content is no longer available.")
    return web.Response(body=attachment.data, content_type=attachment.content_type)
