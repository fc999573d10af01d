"""Who is in the back office: an admin, by e-mail address and password, for a short time.

The cookie carries a signed name of the session and when it was last used; whether the session still stands, and whether its user is an
admin who is not banned, is looked up at every request. So signing out everywhere, a ban and a lost role end it at once.
"""

import secrets
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette_admin.auth import AdminUser, AuthProvider
from starlette_admin.exceptions import LoginFailed
from starlette_admin.helpers import index_url, safe_redirect_url
from starlette_admin.i18n import get_locale, set_locale

from api.caller import accounts_of
from api.errors import sentence_of
from api.language import WORDS, language_of
from api.limits import count_signing_in
from api.problems import Problem
from api.shown import core_of
from core.access.errors import BadAddress, Unauthenticated, WrongPassword
from core.access.models import MAX_PASSWORD, Entrance
from core.access.sign import Claim
from core.app import App
from core.db import SECOND
from core.users.models import User
from core.vault.sign import read_signed, sign
from core.words import Text

COOKIE = "aetherflow_admin"
PATH = "/admin"
IDLE = 30 * 60
LONGEST = 8 * 3600
"""Seconds that a session lives without a request, and at most."""
POLICY = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src-elem 'self' 'nonce-{nonce}'; style-src-attr 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
"""No foreign host and no script but starlette-admin's own; its templates set some styles by attribute, and its style sheet has `data:`
pictures."""


class Session(AuthProvider):
    """Signing in and out, and the look at every request."""

    async def login(self, username: str, password: str, remember_me: bool, request: Request) -> Response:
        """A session for an admin; anybody else is told what a wrong password is told. Raises LoginFailed."""
        app, accounts = core_of(request), accounts_of(request)
        try:
            await count_signing_in(request, app, username)
            user, pair = await accounts.login(username, password[: MAX_PASSWORD + 1])
        except (WrongPassword, BadAddress):
            raise LoginFailed(_said(Text("error.wrong_password"))) from None
        except Problem as problem:
            raise LoginFailed(_said(Text(f"error.{problem.code}", problem.facts))) from None
        entrance = await accounts.enter(pair.access)
        if not _may(user):
            await accounts.logout(entrance, everywhere=False)
            raise LoginFailed(_said(sentence_of(WrongPassword())))
        _renew(request, user.id, entrance.session_id or 0, app.now() // SECOND)
        home = index_url(request)
        return RedirectResponse(safe_redirect_url(request.query_params.get("next") or home, request, home), 303)

    async def logout(self, request: Request) -> Response:
        """This session ends."""
        entrance: Entrance | None = getattr(request.state, "entrance", None)
        if entrance is not None:
            await accounts_of(request).logout(entrance, everywhere=False)
        request.state.cookie = _cookie("", 0, secure=request.url.scheme == "https")
        return RedirectResponse(index_url(request), 303)

    async def authenticate(self, request: Request) -> AdminUser | None:
        """The admin of the cookie, as they are now; None for anybody else."""
        app = core_of(request)
        marked = read_signed(app.vault, COOKIE, request.cookies.get(COOKIE, ""))
        if marked is None:
            return None
        user_id, session_id, began, seen = map(int, marked.split(","))
        now = app.now() // SECOND
        if not (began <= now < began + LONGEST and seen <= now < seen + IDLE):
            return None
        try:
            async with app.read() as work:
                entrance = await work.access.by_session(Claim(user_id, session_id, 0))
        except Unauthenticated:
            return None
        if not _may(entrance.user):
            return None
        request.state.entrance, request.state.chosen = entrance, entrance.user.locale
        set_locale(language_of(request))
        _renew(request, user_id, session_id, began)
        return AdminUser(entrance.user.name)


class Shell:
    """Around the back office: its language, its policy, and the cookie that the session was renewed with. Plain ASGI."""

    def __init__(self, asgi: ASGIApp, app: App) -> None:
        self._asgi = asgi
        self._https = urlsplit(app.settings.public_url).scheme == "https"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. Behind a proxy that ends TLS, addresses are made with https all the same."""
        if self._https:
            scope["scheme"] = "https"
        request = Request(scope)
        request.state.nonce = secrets.token_urlsafe(16)
        set_locale(language_of(request))

        async def framed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = POLICY.format(nonce=request.state.nonce)
                if "/static/" in scope["path"] and message["status"] == 200:
                    headers["Cache-Control"] = "public, max-age=3600"
                elif cookie := getattr(request.state, "cookie", None):
                    headers.append("Set-Cookie", cookie)
            await send(message)

        await self._asgi(scope, receive, framed)


def admin_of(request: Request) -> User:
    """The admin who asks."""
    entrance: Entrance = request.state.entrance
    return entrance.user


def _may(user: User) -> bool:
    return user.is_admin and not user.frozen


def _renew(request: Request, user_id: int, session_id: int, began: int) -> None:
    app = core_of(request)
    value = sign(app.vault, COOKIE, f"{user_id},{session_id},{began},{app.now() // SECOND}")
    request.state.cookie = _cookie(value, IDLE, secure=request.url.scheme == "https")


def _cookie(value: str, seconds: int, *, secure: bool) -> str:
    carrier = Response()
    carrier.set_cookie(COOKIE, value, max_age=seconds, path=PATH, httponly=True, secure=secure, samesite="strict")
    return carrier.headers["set-cookie"]


def _said(text: Text) -> str:
    return WORDS.plain(text, get_locale())
