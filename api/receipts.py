"""Receipts of payments: a page to print, behind a link that ends or for whoever is signed in, and the same as JSON."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Request
from fastapi.responses import HTMLResponse
from pydantic import Field

from api.html import attribute, page, say
from api.shown import MAX_ID, Credits, Shown, When, core_of, moment, moment_or_none, refusals
from api.topups import Buyer
from core.db import SECOND
from core.money import format_credits, format_price
from core.payments.errors import PaymentNotFound
from core.payments.models import RefundKind, State
from core.receipts import Receipt, receipt_by_link, receipt_link, receipt_of
from core.words import Amount, Text

router = APIRouter(tags=["wallet"])
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}
TITLE = Text("receipt.title")


class ReturnedShown(Shown):
    """Money that went back, or is on its way."""

    kind: Literal["refund", "chargeback"]
    state: str = Field(examples=["done"])
    amount: str = Field(examples=["$5.00"])
    credits: Credits = Field(description="That were taken back for it.")
    created_at: When = Field(description="Since when it is on its way.")
    finished_at: When | None = Field(description="When it was done; null: not yet.")


class ReceiptShown(Shown):
    """What a receipt says. `url` is the same as a page to print, good for an hour."""

    number: str = Field(examples=["AF-000017"])
    payment: int
    state: State
    paid_at: When
    buyer: str
    package: str
    credits: Credits
    price: str = Field(examples=["$5.00"])
    currency: str = Field(examples=["USD"])
    rail: str
    order: str = Field(description="Our name for it at the rail.")
    reference: str | None = Field(description="The rail's own name for the money that moved.")
    returned: list[ReturnedShown]
    url: str


@router.get(
    "/wallet/payments/{number}/receipt", response_model=ReceiptShown, responses=refusals(401, 403, 404, 422), summary="A payment's receipt"
)
async def read_receipt(request: Request, number: Annotated[int, Path(ge=1, le=MAX_ID)], caller: Buyer) -> ReceiptShown:
    """Of a payment of the caller's that was paid, whatever became of it since."""
    app = core_of(request)
    found = await receipt_of(app, number, caller.user.id)
    payment = found.payment
    returned = [
        ReturnedShown(
            kind="chargeback" if each.kind is RefundKind.CHARGEBACK else "refund", state=each.state,
            amount=format_price(each.amount, payment.currency), credits=format_credits(each.credits),
            created_at=moment(each.created_at), finished_at=moment_or_none(each.finished_at),
        )
        for each in found.returned
    ]  # fmt: skip
    return ReceiptShown(
        number=found.number, payment=payment.id, state=payment.state, paid_at=moment(payment.paid_at or 0), buyer=found.buyer.name,
        package=payment.package, credits=format_credits(payment.credits), price=format_price(payment.amount, payment.currency),
        currency=payment.currency, rail=payment.rail, order=payment.order, reference=payment.charge, returned=returned,
        url=receipt_link(app, payment),
    )  # fmt: skip


@router.get("/receipts/{signed}", include_in_schema=False)
async def show_receipt(request: Request, signed: Annotated[str, Path(max_length=300)]) -> HTMLResponse:
    """The page behind a link of a chat or of the API. Whoever has the link sees it, until it ends."""
    try:
        found = await receipt_by_link(core_of(request), signed)
    except PaymentNotFound:
        return page(request, TITLE, f"<p role=status>{say(request, Text('receipt.gone'))}</p>", 404, headers=HEADERS)
    request.state.chosen = found.buyer.locale
    return receipt_page(request, found)


def receipt_page(request: Request, found: Receipt, back: str = "", headers: Mapping[str, str] = HEADERS) -> HTMLResponse:
    """The document; `back` is a link that is not printed."""
    payment = found.payment
    state = say(request, Text(f"receipt.state.{payment.state}"))
    credits = {"amount": Amount(payment.credits)}
    lines = [
        ("number", found.number),
        ("date", _at(payment.paid_at or 0)),
        ("buyer", f"{attribute(found.buyer.name)} (#{found.buyer.id})"),
        ("package", f"{attribute(payment.package)}: {say(request, Text('wallet_page.credits', credits))}"),
        ("paid", f"{format_price(payment.amount, payment.currency)} ({payment.currency})"),
        ("rail", say(request, Text(f"receipt.rail.{payment.rail}"))),
        ("order", attribute(payment.order)),
        ("reference", attribute(payment.charge or "—")),
        ("state", state),
    ]
    for each in found.returned:
        went = Text("receipt.returned.line", {
            "date": _at(each.finished_at or each.created_at), "price": format_price(each.amount, payment.currency),
            "credits": Amount(each.credits), "state": Text(f"receipt.returned.{each.state}"),
        })  # fmt: skip
        lines.append((f"returned.{each.kind}", say(request, went)))
    if payment.refunded:
        lines.append(("left", format_price(payment.amount - payment.refunded, payment.currency)))
    rows = "".join(f"<tr><th scope=row>{say(request, Text(f'receipt.{name}'))}</th><td>{value}</td></tr>" for name, value in lines)
    settings = core_of(request).settings
    contact = f" · {attribute(settings.support_contact)}" if settings.support_contact else ""
    seller = f"<p class=quiet>Aetherflow · {attribute(settings.public_url)}{contact}</p>"
    return page(request, TITLE, f"<table id=receipt>{rows}</table>{seller}{back}", headers=headers, wide=True)


def _at(microseconds: int) -> str:
    return f"{datetime.fromtimestamp(microseconds / SECOND, UTC):%Y-%m-%d %H:%M} UTC"
