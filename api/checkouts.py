"""The buyer's way to a rail's page, and back: a short address that leads there, and where the rail sends the buyer afterwards.

A rail's own address can be longer than a chat's button may hold (Discord takes 512 characters). An order's name cannot be guessed; whoever
has it learns what a payment costs and how it stands, and can pay it.
"""

from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from api.html import page, say
from api.shown import core_of
from core.money import format_price
from core.payments.errors import PaymentNotFound
from core.payments.models import Payment, State
from core.words import Amount, Text

router = APIRouter(include_in_schema=False)
REFRESH_SECONDS = 3
OPEN = (State.CREATED, State.PENDING)
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}


@router.get("/pay/{order}")
async def pay(request: Request, order: str) -> Response:
    """Leads to the rail's page while the payment can be paid; else to how it stands."""
    payment = await _find(request, order)
    if payment is not None and payment.state is State.PENDING and urlsplit(payment.url or "").scheme in ("https", "http"):
        return RedirectResponse(payment.url or "", 303, HEADERS)
    return (
        RedirectResponse(f"/payments/{order}", 303, HEADERS) if payment is not None else _page(request, Text("payment_page.unknown"), 404)
    )


@router.get("/payments/{order}")
async def show(request: Request, order: str) -> HTMLResponse:
    """How a payment stands. That the buyer has come here proves nothing: the page waits for the rail's word, as everybody does."""
    payment = await _find(request, order)
    if payment is None:
        return _page(request, Text("payment_page.unknown"), 404)
    state = (
        "open" if payment.state in OPEN else payment.state.value if payment.state in (State.PAID, State.FAILED, State.EXPIRED) else "over"
    )
    facts = {"id": payment.id, "credits": Amount(payment.credits), "price": format_price(payment.amount, payment.currency)}
    return _page(request, Text(f"payment_page.{state}", facts), waits=state == "open")


async def _find(request: Request, order: str) -> Payment | None:
    try:
        async with core_of(request).read() as work:
            return await work.payments.by_order(order)
    except PaymentNotFound:
        return None


def _page(request: Request, said: Text, status: int = 200, *, waits: bool = False) -> HTMLResponse:
    again = f"<meta http-equiv=refresh content={REFRESH_SECONDS}>" if waits else ""
    return page(request, Text("payment_page.title"), f"<p role=status>{say(request, said)}</p>", status, headers=HEADERS, head=again)
