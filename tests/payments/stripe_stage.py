"""A Stripe that is not there: the stand-in on a real socket, a shop's endpoint beside it, and our rail before both."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from core.payments.rails.base import Checkout, Opened, RailEvent, Refunding, Said
from core.payments.rails.stripe import StripeRail
from sandbox.stripe import StripeSandbox
from sandbox.stripe_events import signature

KEY, SECRET = "sk_test_51Secret0Key", "whsec_of_the_tests"
MINUTE = 60 * 1_000_000
SESSION = {
    "id": "cs_1",
    "mode": "payment",
    "client_reference_id": "order_1",
    "amount_total": 5,
    "currency": "usd",
    "payment_status": "paid",
}
"""A session as an event has it."""

AT = 1_800_000_000
"""The second at which `read` and its signatures take place."""


def now() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1_000


def an_order(order: str = "order_1", *, amount: int = 1_000, minutes: int = 60, locale: str = "en") -> Checkout:
    """Ten dollars, an hour."""
    return Checkout(
        order=order,
        title="1,000 Credits",
        amount=amount,
        currency="USD",
        expires_at=now() + minutes * MINUTE,
        locale=locale,
        return_url="https://shop.example/back?order=1&x=ä",
        notify_url="https://shop.example/webhooks/stripe",
    )


def a_refund(charge: str, *, refund: str = "refund_1", amount: int = 400, order: str = "order_1") -> Refunding:
    """Four of ten dollars."""
    return Refunding(refund=refund, order=order, charge=charge, amount=amount, paid=1_000, currency="USD")


@dataclass
class Stage:
    """`answers`: what the shop's endpoint says next; 200 when it is empty. `received`: what it took, headers with lower-case names."""

    sandbox: StripeSandbox
    url: str = ""
    rail: StripeRail = field(init=False)
    answers: list[int] = field(default_factory=list)
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def on_hook(self, request: web.Request) -> web.StreamResponse:
        """The shop's endpoint."""
        status = self.answers.pop(0) if self.answers else 200
        if status == 200:
            headers = {name.lower(): value for name, value in request.headers.items()}
            self.received.append((headers, await request.read()))
        return web.Response(status=status)

    async def told(self) -> list[tuple[str, RailEvent | None]]:
        """What the rail reads in everything that came since the last time, with the type of the event."""
        await self.sandbox.settled()
        read = [(str(json.loads(body)["type"]), self.rail.read(headers, body, now())) for headers, body in self.received]
        self.received.clear()
        return read

    async def heard(self) -> list[RailEvent]:
        """The same, without what is of no concern."""
        return [event for _, event in await self.told() if event is not None]

    async def opened(self, order: str = "order_1") -> str:
        """The name of a new session for an order."""
        opened: Opened = await self.rail.open(an_order(order))
        assert opened.reference is not None
        return opened.reference

    async def paid(self, order: str = "order_1") -> tuple[str, str]:
        """The names of a session and of its payment, with the shop told."""
        session = await self.opened(order)
        intent = await self.sandbox.pay(session)
        await self.told()
        return session, intent.id


@asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    """Everything up, and closed afterwards."""
    made = Stage(StripeSandbox(public_url=""))
    app = web.Application()
    app.add_routes([*made.sandbox.routes(), web.post("/hook", made.on_hook)])

    async def close(_app: web.Application) -> None:
        await made.sandbox.close()

    app.on_shutdown.append(close)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = made.sandbox.public_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    made.sandbox.events.first_pause = 0.01
    made.sandbox.set_webhook(made.url + "/hook", SECRET)
    made.rail = StripeRail(KEY, SECRET, made.url + "/stripe/")
    yield made
    await made.rail.close_client()
    await runner.cleanup()


def an_event(kind: str, thing: Any, **fields: Any) -> bytes:
    """The body of an event that the stand-in would not make by itself."""
    event = {"id": "evt_1", "object": "event", "livemode": False, "type": kind, "data": {"object": thing}}
    return json.dumps(event | fields).encode()


def paid_event(session: str, charge: str | None, said: Said, amount: int = 1_000) -> RailEvent:
    """What is said of a session of `order_1`, its id left out."""
    return RailEvent("", said, order="order_1", charge=charge, reference=session, amount=amount, currency="USD")


async def said(shop: Stage, session: str) -> Said | None:
    """What the rail answers when asked about `order_1`."""
    event = await shop.rail.ask("order_1", session)
    return None if event is None else event.said


def a_rail(key: str = KEY, secret: str = SECRET) -> StripeRail:
    """A rail that only reads."""
    return StripeRail(key, secret, "http://127.0.0.1:1")


def read(body: bytes, header: str | None = None, *, key: str = KEY, secret: str = SECRET, at: int = AT * 1_000_000) -> RailEvent | None:
    """What a rail reads in a body that comes with this header, or with a good one. Raises BadSignature."""
    headers = {"stripe-signature": signature(body, [secret], AT) if header is None else header}
    return a_rail(key).read(headers, body, at)
