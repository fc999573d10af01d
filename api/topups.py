"""Buying Credits from a program or a page: packages with their prices, payments and what became of them."""

import secrets
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import Field

from api.caller import Caller, allowed
from api.idempotency import Answer, IdempotencyKey, business_key, once
from api.pages import Cursor, Limit, Page, Pager
from api.shown import MAX_ID, Asked, Credits, Shown, When, core_of, moment, moment_or_none, refusals
from core.app import App
from core.money import format_credits, format_price
from core.payments.models import CURRENCIES, Payment, State, TopUp
from core.payments.rules import rails_for

router = APIRouter(tags=["wallet"])

Buyer = Annotated[Caller, Depends(allowed("wallet:topup"))]
OPEN_SECONDS = 5.0
"""How long the answer waits for the rail's page; later it is found by asking for the payment."""


class PackageShown(Shown):
    """Credits on sale. `prices` by rail, in words."""

    id: str = Field(examples=["starter"])
    credits: Credits = Field(description="What the buyer gets, the bonus included.")
    bonus: Credits
    prices: dict[str, str] = Field(examples=[{"stripe": "$5.00", "alipay": "¥36.00"}])


class PackagesShown(Shown):
    """Everything on sale here."""

    data: list[PackageShown]


class TopUpAsked(Asked):
    """What is bought, and by which road the money comes."""

    package: str = Field(min_length=1, max_length=16, examples=["starter"])
    rail: Literal["stripe", "alipay"]
    way: Literal["page", "wap", "qr"] = Field("page", description="Alipay: a page for computers, one for phones, or a QR code.")


class PaymentShown(Shown):
    """A payment as its buyer sees it."""

    id: int
    state: State
    rail: str
    package: str
    credits: Credits
    price: str = Field(examples=["$5.00"])
    url: str | None = Field(description="Where it is paid, in a browser; null while the rail has not answered, or where it cannot be paid.")
    qr: str | None = Field(description="What a QR code for paying says.")
    created_at: When
    expires_at: When
    paid_at: When | None


@router.get("/wallet/packages", response_model=PackagesShown, responses=refusals(401, 403), summary="Credits on sale")
async def list_packages(request: Request, caller: Buyer) -> PackagesShown:
    """With the price for each rail that is open here. Telegram Stars are sold in Telegram alone."""
    app = core_of(request)
    rails = _rails(app)
    shown = []
    for package in app.packages.by_id.values():
        prices = {
            rail: format_price(package.prices[CURRENCIES[rail]], CURRENCIES[rail]) for rail in rails if CURRENCIES[rail] in package.prices
        }
        if prices:
            credits, bonus = format_credits(package.total), format_credits(package.bonus)
            shown.append(PackageShown(id=package.id, credits=credits, bonus=bonus, prices=prices))
    return PackagesShown(data=shown)


@router.post(
    "/wallet/topups", status_code=201, response_model=PaymentShown, responses=refusals(400, 401, 403, 404, 409, 413, 415, 422, 429),
    summary="Start a payment",
)  # fmt: skip
async def start_topup(request: Request, asked: TopUpAsked, caller: Buyer, key: IdempotencyKey = None) -> Response:
    """Pay at `url`, or by the code of `qr`. The Credits are there when `state` is `paid`; nothing else says so."""
    app = core_of(request)

    async def act() -> Answer:
        name = business_key(caller.user.id, key or secrets.token_hex(16))
        payment = await app.top_up(TopUp(name, caller.user.id, asked.package, asked.rail, way=asked.way))
        opened = show(await app.opened(payment, OPEN_SECONDS))
        return Answer(201, opened.model_dump_json().encode(), {"Location": f"/wallet/topups/{opened.id}"})

    done, replayed = await once(request, app, caller.user.id, key, asked.model_dump(), act)
    return done.response(replayed=replayed)


@router.get("/wallet/topups", response_model=Page[PaymentShown], responses=refusals(400, 401, 403, 422), summary="My payments")
async def list_topups(request: Request, caller: Buyer, limit: Limit = 20, cursor: Cursor = None) -> Page[PaymentShown]:
    """Newest first, by any rail."""
    app = core_of(request)
    pager = Pager(request, app, caller.user.id, limit)
    place = pager.place(cursor)
    async with app.read() as work:
        found = await work.payments.newest(caller.user.id, limit + 1, place[0] if place else None)
    return pager.page(found, lambda payment: (payment.id,), show)


@router.get("/wallet/topups/{number}", response_model=PaymentShown, responses=refusals(401, 403, 404, 422), summary="One payment")
async def read_topup(request: Request, number: Annotated[int, Path(ge=1, le=MAX_ID)], caller: Buyer) -> PaymentShown:
    """As it is now."""
    async with core_of(request).read() as work:
        return show(await work.payments.get(number, caller.user.id))


def show(payment: Payment) -> PaymentShown:
    """A payment for its buyer."""
    payable = payment.state in (State.CREATED, State.PENDING)
    return PaymentShown(
        id=payment.id, state=payment.state, rail=payment.rail, package=payment.package, credits=format_credits(payment.credits),
        price=format_price(payment.amount, payment.currency), url=payment.url if payable else None, qr=payment.code if payable else None,
        created_at=moment(payment.created_at), expires_at=moment(payment.expires_at), paid_at=moment_or_none(payment.paid_at),
    )  # fmt: skip


def _rails(app: App) -> list[str]:
    return rails_for("web", app.settings.rails)
