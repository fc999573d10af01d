"""/app: the wallet as a page, in a browser or inside Telegram: balance, statement, pictures, and where to buy Credits.

Whoever opens it signs in by address and password, or is known by what Telegram hands to its Mini Apps. The session is in a cookie that no
script reads; forms count only when they come from this very site (`api/html.py`).
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from api.caller import accounts_of
from api.html import attribute, form_of, page, problem, say
from api.language import language_of
from api.limits import count_signing_in
from api.pictures import here, link
from api.receipts import HEADERS as PRINTED
from api.receipts import receipt_page
from api.shown import core_of
from core.access.errors import BadAddress, BadInitData, Unauthenticated, WrongPassword
from core.access.models import MAX_ADDRESS, MAX_PASSWORD, Entrance
from core.app import App
from core.db import SECOND
from core.errors import Refusal
from core.generations.models import Generation, State
from core.generations.pages import page as generations_page
from core.ledger.models import earnings, held_account, pending, wallet
from core.ledger.statement import Line, statement
from core.money import format_credits, format_price
from core.payments.errors import PaymentNotFound, RailOff
from core.payments.models import CURRENCIES, Payment, TopUp
from core.payments.rules import rails_for
from core.receipts import receipt_of
from core.words import Amount, Text

router = APIRouter(include_in_schema=False)
TITLE = Text("wallet_page.title")
COOKIE = "aetherflow"
SECONDS = 24 * 3600
LINES, PICTURES, PAYMENTS = 10, 12, 20
OPEN_SECONDS = 5.0
FRAMES = "frame-ancestors https://web.telegram.org"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
    f"form-action 'self'; {FRAMES}; base-uri 'none'"
}
"""Telegram's web client shows Mini Apps in a frame; where there is `frame-ancestors`, X-Frame-Options counts for nothing (CSP3, 6.4.2)."""
RECEIPT_HEADERS = {**PRINTED, "Content-Security-Policy": PRINTED["Content-Security-Policy"].replace("frame-ancestors 'none'", FRAMES)}
SCRIPT = """const data = new URLSearchParams(location.hash.slice(1)).get("tgWebAppData");
if (data) {
  fetch("/app/telegram", {method: "POST", headers: {"Content-Type": "application/x-www-form-urlencoded"},
    body: new URLSearchParams({data})}).then((answer) => { if (answer.ok) { location.replace("/app"); } });
}
"""
"""Inside Telegram the page's address carries who opened it, behind # (core.telegram.org/bots/webapps, "Initializing Mini Apps")."""


@dataclass(frozen=True)
class Wallet:
    """What the page shows of one user."""

    balances: dict[str, int]
    lines: list[Line]
    older: str | None
    made: list[Generation]
    paid: list[Payment]


@router.get("/static/app.js")
async def script() -> Response:
    """The one script of the page."""
    return Response(SCRIPT, media_type="text/javascript", headers={"Cache-Control": "public, max-age=3600"})


@router.get("/app")
async def show(request: Request, before: str = "") -> HTMLResponse:
    """The wallet of whoever is signed in; else the form to sign in."""
    entrance = await _entrance(request)
    if entrance is None:
        return _sign_in(request)
    request.state.chosen = entrance.user.locale
    return _page(request, _shown(request, entrance, await _wallet(core_of(request), entrance.user.id, before)), wide=True)


@router.post("/app/login")
async def login(request: Request) -> Response:
    """A session by address and password; how often is counted as in the API."""
    form = await form_of(request)
    app, address = core_of(request), form.get("email", "")
    try:
        await count_signing_in(request, app, address)
        _, pair = await accounts_of(request).login(address, form.get("password", "")[: MAX_PASSWORD + 1])
    except (WrongPassword, BadAddress):
        return _sign_in(request, WrongPassword(), address, 401)
    return _signed_in(app, pair.access)


@router.post("/app/telegram")
async def from_telegram(request: Request) -> Response:
    """A session for whoever Telegram says has opened the Mini App. Raises BadInitData."""
    form = await form_of(request)
    app = core_of(request)
    if not app.settings.telegram_token.get_secret_value():
        raise BadInitData()
    pair = await accounts_of(request).from_telegram(form.get("data", ""))
    answer = _signed_in(app, pair.access)
    answer.status_code = 204
    return answer


@router.post("/app/logout")
async def logout(request: Request) -> Response:
    """This session ends."""
    await form_of(request)
    entrance = await _entrance(request)
    if entrance is not None:
        await accounts_of(request).logout(entrance, everywhere=False)
    answer = RedirectResponse("/app", 303)
    answer.delete_cookie(COOKIE, path="/app")
    return answer


@router.post("/app/topup")
async def topup(request: Request) -> Response:
    """Begins a payment, and leads to the rail's page."""
    form = await form_of(request)
    entrance = await _entrance(request)
    if entrance is None:
        return _sign_in(request, status=401)
    app = core_of(request)
    rail, open_ = form.get("rail", ""), rails_for("email", app.settings.rails)
    try:
        if rail not in open_:
            raise RailOff(rail=rail, open=open_)
        name = f"app:{form.get('key', '')[:40]}:{entrance.user.id}"
        payment = await app.top_up(TopUp(name, entrance.user.id, form.get("package", ""), rail))
    except Refusal as error:
        return _page(request, problem(request, error) + f"<p><a href=/app>{say(request, TITLE)}</a></p>", 409)
    await app.opened(payment, OPEN_SECONDS)
    return RedirectResponse(f"/pay/{payment.order}", 303)


@router.get("/app/receipts/{number}")
async def receipt(request: Request, number: str) -> HTMLResponse:
    """The receipt of a payment of whoever is signed in."""
    entrance = await _entrance(request)
    if entrance is None:
        return _sign_in(request, status=401)
    request.state.chosen = entrance.user.locale
    back = f"<p class=screen><a href=/app>{say(request, TITLE)}</a></p>"
    try:
        found = await receipt_of(core_of(request), int(number) if re.fullmatch(r"\d{1,18}", number, re.ASCII) else 0, entrance.user.id)
    except PaymentNotFound as error:
        return _page(request, problem(request, error) + back, 404)
    return receipt_page(request, found, back, RECEIPT_HEADERS)


async def _entrance(request: Request) -> Entrance | None:
    try:
        return await accounts_of(request).enter(request.cookies.get(COOKIE, ""))
    except Unauthenticated:
        return None


def _signed_in(app: App, access: str) -> Response:
    """Inside Telegram's web client the page is in a frame of another site: there the cookie must say so, which only https allows."""
    https = app.settings.public_url.startswith("https://")
    answer = RedirectResponse("/app", 303)
    answer.set_cookie(COOKIE, access, max_age=SECONDS, path="/app", httponly=True, secure=https, samesite="none" if https else "lax")
    return answer


async def _wallet(app: App, user_id: int, before: str) -> Wallet:
    mine = wallet(user_id)
    names = {"balance": mine, "held": held_account(mine), "pending": pending(user_id), "earnings": earnings(user_id)}
    place = re.fullmatch(r"(\d{1,18})-(\d{1,9})", before, re.ASCII)
    async with app.read() as work:
        balances = await work.ledger.balances(names.values())
        lines = await statement(work.connection, mine, LINES + 1, (int(place[1]), int(place[2])) if place else None)
        made = await generations_page(work.connection, user_id, PICTURES, state=State.DELIVERED)
        paid = [each for each in await work.payments.newest(user_id, PAYMENTS) if each.paid_at is not None]
    older = f"{lines[LINES - 1].entry}-{lines[LINES - 1].position}" if len(lines) > LINES else None
    return Wallet({name: balances[account] for name, account in names.items()}, lines[:LINES], older, made, paid)


def _page(request: Request, body: str, status: int = 200, *, wide: bool = False) -> HTMLResponse:
    return page(request, TITLE, body, status, headers=HEADERS, head="<script src=/static/app.js defer></script>", wide=wide)


def _sign_in(request: Request, error: Refusal | None = None, address: str = "", status: int = 200) -> HTMLResponse:
    said = problem(request, error) if error else f"<p>{say(request, Text('wallet_page.sign_in'))}</p>"
    email, password, send = (say(request, Text(f"wallet_page.{name}")) for name in ("email", "password", "send"))
    fields = (
        f"<label for=email>{email}</label><input id=email name=email type=email required maxlength={MAX_ADDRESS} autocomplete=username "
        f'value="{attribute(address[:MAX_ADDRESS])}"><label for=password>{password}</label>'
        f"<input id=password name=password type=password required maxlength={MAX_PASSWORD} autocomplete=current-password>"
    )
    return _page(request, f"{said}<form method=post action=/app/login>{fields}<button>{send}</button></form>", status)


def _shown(request: Request, entrance: Entrance, found: Wallet) -> str:
    balances = {name: Amount(value) for name, value in found.balances.items()}
    head = f"<p>{say(request, Text('wallet_page.hello', {'name': entrance.user.name}))}</p>"
    big = f"<p class=big id=balance>{say(request, Text('wallet_page.credits', {'amount': balances['balance']}))}</p>"
    rest = f"<p class=quiet>{say(request, Text('wallet_page.rest', balances))}</p>"
    out = f"<form method=post action=/app/logout><button class=quiet>{say(request, Text('wallet_page.logout'))}</button></form>"
    return (
        head + big + rest + _topups(request, found) + _statement(request, found) + _paid(request, found) + _pictures(request, found) + out
    )


def _topups(request: Request, found: Wallet) -> str:
    app = core_of(request)
    rails = rails_for("email", app.settings.rails)
    key = f"{len(found.lines)}-{found.lines[0].entry if found.lines else 0}-{app.now() // SECOND}"
    buttons = "".join(
        f"<form method=post action=/app/topup><input type=hidden name=key value={key}><input type=hidden name=package value={package.id}>"
        f"<input type=hidden name=rail value={rail}><button>"
        + say(request, Text("wallet_page.buy", {
            "credits": Amount(package.total), "price": format_price(package.prices[CURRENCIES[rail]], CURRENCIES[rail]),
            "rail": Text(f"wallet_page.{rail}"),
        }))
        + "</button></form>"
        for package in app.packages.by_id.values() for rail in rails if CURRENCIES[rail] in package.prices
    )  # fmt: skip
    body = f"<div class=row>{buttons}</div>" if buttons else f"<p>{say(request, Text('wallet_page.no_rail'))}</p>"
    return f"<h2>{say(request, Text('wallet_page.topup'))}</h2>{body}"


def _statement(request: Request, found: Wallet) -> str:
    if not found.lines:
        return f"<h2>{say(request, Text('wallet_page.statement'))}</h2><p>{say(request, Text('wallet_page.nothing'))}</p>"
    rows = "".join(
        f"<tr><td>{datetime.fromtimestamp(each.at / SECOND, UTC):%Y-%m-%d %H:%M}</td><td>{attribute(_what(request, each))}</td>"
        f"<td class=n>{'+' if each.amount > 0 else ''}{format_credits(each.amount)}</td>"
        f"<td class=n>{format_credits(each.balance_after)}</td></tr>"
        for each in found.lines
    )
    names = "".join(
        f"<th{' class=n' if name in ('amount', 'after') else ''}>{say(request, Text(f'wallet_page.{name}'))}</th>"
        for name in ("at", "what", "amount", "after")
    )
    older = f"<p><a href='/app?before={found.older}'>{say(request, Text('wallet_page.older'))}</a></p>" if found.older else ""
    return f"<h2>{say(request, Text('wallet_page.statement'))}</h2><table><tr>{names}</tr>{rows}</table>{older}"


def _what(request: Request, line: Line) -> str:
    code = f"wallet_page.movement.{line.movement}"
    return say(request, Text(code)) if say(request, Text(code)) != code else line.kind


def _paid(request: Request, found: Wallet) -> str:
    lines = "".join(
        f"<li><a href=/app/receipts/{each.id}>{datetime.fromtimestamp((each.paid_at or 0) / SECOND, UTC):%Y-%m-%d} · "
        f"{format_price(each.amount, each.currency)} · {format_credits(each.credits)}</a></li>"
        for each in found.paid
    )
    return f"<h2>{say(request, Text('wallet_page.receipts'))}</h2><ul id=receipts>{lines}</ul>" if lines else ""


def _pictures(request: Request, found: Wallet) -> str:
    if not found.made:
        return ""
    app = core_of(request)
    figures = "".join(
        f'<figure><img loading=lazy alt="{attribute(each.prompt[:200])}" src="{here(link(app, each, "webp", 80))}">'
        f"<figcaption>#{each.id} · {format_credits(each.paid)}</figcaption></figure>"
        for each in found.made
        if each.blob
    )
    return f"<h2>{say(request, Text('wallet_page.pictures'))}</h2><div class=row lang={language_of(request)}>{figures}</div>"
