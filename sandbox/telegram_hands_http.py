"""What a person does in Telegram, over HTTP: for the chat page, and for tests that run in another process."""

import asyncio
import base64
import binascii
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from sandbox.telegram_groups import GroupsOverHttp
from sandbox.telegram_hands import TelegramHands
from sandbox.telegram_stars_hands import StarsOverHttp
from sandbox.telegram_state import HandsError, News

_KEEP_ALIVE_SECONDS = 15.0
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HandsOverHttp:
    """The routes under /hands/telegram. A mistake is answered with 400 and {"error": …}."""

    def __init__(self, hands: TelegramHands) -> None:
        self._hands = hands

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        return [
            web.get("/hands/telegram/people", self._people),
            web.post("/hands/telegram/people", _explained(self._add_person)),
            web.get("/hands/telegram/chats", _explained(self._chats)),
            web.get("/hands/telegram/commands", self._commands),
            web.post("/hands/telegram/say", _explained(self._say)),
            web.post("/hands/telegram/press", _explained(self._press)),
            web.get("/hands/telegram/messages", _explained(self._messages)),
            web.get("/hands/telegram/stream", _explained(self._stream)),
            web.post("/hands/telegram/block", _explained(self._block)),
            web.post("/hands/telegram/faults", _explained(self._add_fault)),
            *(
                web.route(method, path, _explained(handler))
                for part in (StarsOverHttp(self._hands), GroupsOverHttp(self._hands))
                for (method, path), handler in part.handlers().items()
            ),
        ]

    async def _people(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._hands.people())

    async def _add_person(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        person = self._hands.add_person(body["name"], body.get("language"), body.get("id"), admin=bool(body.get("admin")))
        return web.json_response(person)

    async def _chats(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._hands.chats(request.query["person"]))

    async def _commands(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._hands.commands(request.query.get("language", "")))

    async def _say(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        picture = base64.b64decode(body["picture"]) if body.get("picture") else None
        message = await self._hands.say(body["person"], body["chat"], body.get("text", ""), picture, body.get("reply_to"))
        return web.json_response({"id": message})

    async def _press(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        query = await self._hands.press(body["person"], body["chat"], body["message"], body["action"])
        return web.json_response({"id": query})

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._hands.messages(request.query["person"], request.query["chat"]))

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        person = self._hands.state.person(request.query["person"])
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        with self._hands.state.listening(person) as news, contextlib.suppress(ConnectionError):  # the reader may leave at any time
            await response.prepare(request)
            await response.write(b": hello\n\n")
            while (item := await _next(news)) is not None:
                await response.write(f"data: {json.dumps(item)}\n\n".encode() if item else b": still here\n\n")
        return response

    async def _block(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self._hands.block(body["person"], bool(body.get("blocked", True)))
        return web.json_response({})

    async def _add_fault(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if body.get("kind") not in ("error", "hang", "lost"):
            raise HandsError("kind is one of error, hang, lost")
        self._hands.fail(body["method"], body["kind"], int(body.get("status", 500)), int(body.get("times", 1)))
        return web.json_response({})


async def _next(news: News) -> dict[str, Any] | None:
    """The next news; empty after a while of silence, None at the end."""
    try:
        return await asyncio.wait_for(news.get(), _KEEP_ALIVE_SECONDS)
    except TimeoutError:
        return {}


def _explained(handler: Handler) -> Handler:
    async def explained(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except (HandsError, KeyError, ValueError, TypeError, binascii.Error) as error:
            problem = f"missing {error}" if isinstance(error, KeyError) else str(error)
            return web.json_response({"error": problem}, status=400)

    return explained
