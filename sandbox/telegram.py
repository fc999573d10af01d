"""A stand-in for Telegram: the Bot API over HTTP, checked against its official limits, and the people who use it.

/telegram/bot<token>/<method>        the Bot API; any token of digits, a colon and letters is the one bot
/telegram/file/bot<token>/<path>     downloads
/telegram/pictures/<id>              pictures for the chat page
/hands/telegram/…                    what a person does (sandbox/telegram_hands_http.py)
"""

import json
import re

from aiohttp import BodyPartReader, web

from sandbox.telegram_hands import TelegramHands
from sandbox.telegram_hands_http import HandsOverHttp
from sandbox.telegram_params import Params, Upload
from sandbox.telegram_rules import MAX_UPLOAD_BYTES, ApiError, bad_request
from sandbox.telegram_trouble import Fault

_TOKEN = re.compile(r"(\d+):[A-Za-z0-9_-]+")


class TelegramSandbox(TelegramHands):
    """One bot, its people and chats, in memory. Everything runs on the loop of the server that has the routes.

    `revoked`: the token is answered with 401. `calls`: the methods that were called, in order.
    """

    def __init__(self, public_url: str) -> None:
        super().__init__(public_url)
        self.revoked = False
        self.calls: list[str] = []

    def routes(self) -> list[web.RouteDef]:
        """Everything that the stand-in serves."""
        return [
            web.route("*", "/telegram/bot{token}/{method}", self._serve_call),
            web.get("/telegram/file/bot{token}/{path:.+}", self._serve_file),
            web.get("/telegram/pictures/{id}", self._serve_picture),
            *HandsOverHttp(self).routes(),
        ]

    async def close(self) -> None:
        """Ends whatever waits: long polls, hanging calls, the webhook's delivery."""
        self.faults.clear()
        self.state.close()
        self.stars.close()
        await self.updates.close()

    async def _serve_call(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        try:
            self._accept(request.match_info["token"])
            self.calls.append(method)
            params = await _params_of(request)
            fault = self.faults.next_for(method)
            if fault is not None and fault.kind != "lost":
                return await self._fail(fault)
            result = await self.methods.call(method, params)
        except ApiError as error:
            return web.json_response(error.body(), status=error.code)
        if fault is not None and request.transport is not None:
            request.transport.abort()
        return web.json_response({"ok": True, "result": result})

    async def _fail(self, fault: Fault) -> web.StreamResponse:
        if fault.kind == "hang":
            await self.faults.hang()
        if fault.status == 502:
            return web.Response(status=502, text="<html><body><h1>502 Bad Gateway</h1></body></html>", content_type="text/html")
        if fault.status == 429:
            raise ApiError(429, "Too Many Requests: retry after 1", retry_after=1)
        raise ApiError(fault.status, "Internal Server Error")

    def _accept(self, token: str) -> None:
        match = _TOKEN.fullmatch(token)
        if match is None:
            raise ApiError(404, "Not Found")
        if self.revoked:
            raise ApiError(401, "Unauthorized")
        self.state.bot_id = int(match[1])

    async def _serve_file(self, request: web.Request) -> web.StreamResponse:
        try:
            self._accept(request.match_info["token"])
        except ApiError as error:
            return web.json_response(error.body(), status=error.code)
        for file in self.state.files.values():
            if file.path == request.match_info["path"]:
                return web.Response(body=file.data, content_type="application/octet-stream")
        return web.json_response(ApiError(404, "Not Found").body(), status=404)

    async def _serve_picture(self, request: web.Request) -> web.StreamResponse:
        file = self.state.files.get(request.match_info["id"])
        if file is None or not file.media_type.startswith("image/"):
            raise web.HTTPNotFound
        return web.Response(body=file.data, content_type=file.media_type)


async def _params_of(request: web.Request) -> Params:
    """Parameters come in the query, as a form, as JSON or as multipart; files only in the last."""
    params = Params(dict(request.query))
    if request.content_type == "application/json":
        body = await request.json()
        params.values |= {key: value if isinstance(value, str) else json.dumps(value) for key, value in body.items()}
    elif request.content_type == "multipart/form-data":
        await _read_parts(request, params)
    elif request.method == "POST":
        params.values |= {key: str(value) for key, value in (await request.post()).items()}
    return params


async def _read_parts(request: web.Request, params: Params) -> None:
    size = 0
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader) or part.name is None:
            raise bad_request("can't parse the request")
        data = bytearray()
        while chunk := await part.read_chunk(1 << 16):
            data += chunk
            size += len(chunk)
            if size > MAX_UPLOAD_BYTES:
                raise ApiError(413, "Request Entity Too Large")
        if part.filename is None:
            params.values[part.name] = data.decode()
        else:
            media_type = part.headers.get("Content-Type", "application/octet-stream")
            params.uploads[part.name] = Upload(part.filename, media_type, bytes(data))
