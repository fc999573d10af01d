"""The hands of people over HTTP, under /hands/discord: JSON in and out, one shape for both chats of the sandbox."""

import asyncio
import base64
import binascii
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiohttp import web

from sandbox.discord_declarations import HandsError
from sandbox.discord_rules import Json

if TYPE_CHECKING:
    from sandbox.discord import DiscordSandbox

ROOT = "/hands/discord"
KEEP_ALIVE_SECONDS = 15.0
Handler = Callable[[web.Request], Awaitable[Any]]


def hands_routes(sandbox: "DiscordSandbox") -> list[web.RouteDef]:
    """What an application has to add. A refusal is a 400 with {"error": …}."""
    hands = _Hands(sandbox)
    table: list[tuple[str, str, Handler]] = [
        ("GET", "/people", hands.on_people),
        ("POST", "/people", hands.on_add_person),
        ("GET", "/chats", hands.on_chats),
        ("GET", "/commands", hands.on_commands),
        ("GET", "/autocomplete", hands.on_autocomplete),
        ("GET", "/messages", hands.on_messages),
        ("POST", "/say", hands.on_say),
        ("POST", "/press", hands.on_press),
        ("POST", "/submit", hands.on_submit),
        ("POST", "/block", hands.on_block),
        ("GET", "/roles", hands.on_roles),
        ("POST", "/roles", hands.on_set_role),
        ("POST", "/bot", hands.on_bot),
        ("POST", "/faults", hands.on_faults),
    ]
    routes = [web.route(method, ROOT + path, _as_json(handler)) for method, path, handler in table]
    return [*routes, web.get(f"{ROOT}/stream", hands.on_stream)]


async def _next(changes: asyncio.Queue[Json | None]) -> Json | None:
    """The next change; an empty one after a while of silence, None at the end."""
    try:
        return await asyncio.wait_for(changes.get(), KEEP_ALIVE_SECONDS)
    except TimeoutError:
        return {}


def _as_json(handler: Handler) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        try:
            return web.json_response(await handler(request))
        except (HandsError, binascii.Error) as error:
            return web.json_response({"error": str(error)}, status=400)
        except (KeyError, AttributeError, json.JSONDecodeError) as error:
            return web.json_response({"error": f"missing or unknown: {error}"}, status=400)

    return answer


async def _body(request: web.Request) -> dict[str, Any]:
    """The whole body, however long: a picture is larger than what aiohttp reads by default."""
    body = json.loads(await request.content.read() or b"{}")
    return body if isinstance(body, dict) else {}


class _Hands:
    def __init__(self, sandbox: "DiscordSandbox") -> None:
        self._sandbox = sandbox

    async def on_people(self, _request: web.Request) -> Any:
        return self._sandbox.people()

    async def on_add_person(self, request: web.Request) -> Any:
        body = await _body(request)
        return self._sandbox.add_person(body["name"], body["language"], body.get("id"), admin=bool(body.get("admin")))

    async def on_chats(self, request: web.Request) -> Any:
        return self._sandbox.chats(request.query["person"])

    async def on_commands(self, _request: web.Request) -> Any:
        return self._sandbox.commands()

    async def on_autocomplete(self, request: web.Request) -> Any:
        query = request.query
        return await self._sandbox.autocomplete(query["person"], query["chat"], query["command"], query["option"], query.get("typed", ""))

    async def on_messages(self, request: web.Request) -> Any:
        return self._sandbox.messages(request.query["person"], request.query["chat"])

    async def on_say(self, request: web.Request) -> Any:
        """{person, chat, text, picture?} or {person, chat, command, options, picture?}; pictures as base64."""
        body = await _body(request)
        picture = base64.b64decode(body["picture"]) if body.get("picture") else None
        if "command" not in body:
            return {"id": await self._sandbox.say(body["person"], body["chat"], body["text"], picture)}
        options = dict(body.get("options") or {})
        if picture is not None:
            options[body.get("picture_option", "picture")] = picture
        return {"id": await self._sandbox.command(body["person"], body["chat"], body["command"], options)}

    async def on_press(self, request: web.Request) -> Any:
        body = await _body(request)
        return {"id": await self._sandbox.press(body["person"], body["chat"], body["message"], body["action"])}

    async def on_submit(self, request: web.Request) -> Any:
        body = await _body(request)
        return {"id": await self._sandbox.submit(body["person"], body["modal"], body["values"])}

    async def on_block(self, request: web.Request) -> Any:
        body = await _body(request)
        self._sandbox.block(body["person"], bool(body.get("blocked", True)))
        return {}

    async def on_roles(self, _request: web.Request) -> Any:
        return self._sandbox.roles()

    async def on_set_role(self, request: web.Request) -> Any:
        """{person, role, on?}; answers with everybody."""
        body = await _body(request)
        self._sandbox.set_role(body["person"], body["role"], bool(body.get("on", True)))
        return self._sandbox.people()

    async def on_bot(self, request: web.Request) -> Any:
        """{there}"""
        self._sandbox.set_bot(bool((await _body(request)).get("there")))
        return {}

    async def on_faults(self, request: web.Request) -> Any:
        body = await _body(request)
        for name in body.pop("gateway", []):
            {"drop": self._sandbox.gateway.drop_connections, "reconnect": self._sandbox.gateway.ask_to_reconnect}[name]()
        self._sandbox.faults.set(**body)
        return {}

    async def on_stream(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events, one JSON each."""
        if request.query.get("person") not in self._sandbox.state.people:
            return web.json_response({"error": "there is no such person"}, status=400)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        with self._sandbox.watching(request.query["person"]) as changes, suppress(ConnectionError):  # the reader may leave at any time
            await response.prepare(request)
            await response.write(b": open\n\n")
            while (change := await _next(changes)) is not None:
                await response.write(f"data: {json.dumps(change)}\n\n".encode() if change else b": still here\n\n")
        return response
