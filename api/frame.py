"""What stands around every route: a request id, security headers, the limit of a body, and the last resort. Plain ASGI, no task groups."""

import re
import secrets
from collections.abc import Mapping

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import refuse
from api.problems import Problem

JSON_BYTES = 64 * 1024
PICTURE_BYTES = 10 * 1024 * 1024
WEBHOOK_BYTES = 1024 * 1024
"""The largest body: of JSON and forms, of a picture, of what a platform or a rail calls back with."""

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
"""A request id that a caller may bring along; anything else is replaced, as it is written to the log."""

SECURITY: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""On every answer, where the route does not say otherwise."""
HSTS = "max-age=31536000; includeSubDomains"

log = structlog.get_logger(__name__)


class Frame:
    """Outermost: gives every request an id, every answer its headers, and an exception that nobody caught a problem document."""

    def __init__(self, app: ASGIApp, *, https: bool) -> None:
        self._app = app
        self._headers = {**SECURITY, "Strict-Transport-Security": HSTS} if https else dict(SECURITY)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        brought = Headers(scope=scope).get("x-request-id", "")
        scope["request_id"] = brought if REQUEST_ID.fullmatch(brought) else secrets.token_hex(12)
        began = False

        async def send_framed(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = scope["request_id"]
                for name, value in (self._headers | scope.get("limit_headers", {})).items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, send_framed)
        except Exception:
            log.exception("request_failed", request=scope["request_id"], method=scope["method"])
            if began:
                raise  # half an answer is out: the server breaks the connection off
            await refuse(Request(scope), "internal")(scope, receive, send_framed)


class BodyLimit:
    """Refuses a body that says that it is too large, and stops reading one that turns out to be."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        limit = limit_of(scope["path"], headers.get("content-type", ""))
        announced = headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > limit:
            await self._refuse(scope, receive, send, limit)
            return
        read = 0

        async def receive_counted() -> Message:
            nonlocal read
            message = await receive()
            if message["type"] == "http.request":
                read += len(message.get("body", b""))
                if read > limit:
                    raise Problem("too_large", headers={"Connection": "close"}, limit=limit)
            return message

        await self._app(scope, receive_counted, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        response = refuse(Request(scope), "too_large", limit=limit)
        response.headers["Connection"] = "close"  # what is still on its way is not read
        await response(scope, receive, send)


def limit_of(path: str, content_type: str) -> int:
    """The most bytes that a body may have."""
    if path.startswith("/webhooks/"):
        return WEBHOOK_BYTES
    kind = content_type.partition("/")[0].strip().lower()
    return PICTURE_BYTES if kind in ("image", "multipart") else JSON_BYTES
