"""A stand-in for Stripe: the API under /stripe, the hosted checkout page, the dashboard, and the callbacks, signed.

/stripe/v1/…                         the API: `AETHERFLOW_STRIPE_API_URL=<world>/stripe`, with any key `sk_test_…`
/stripe/pay/<session>                the page where the buyer pays; afterwards what the seller and the bank can do
/stripe/dashboard                    all of these pages
/hands/stripe/webhook, …/deliveries  where events go, and what became of them
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from sandbox import stripe_pages
from sandbox.stripe_api import StripeApi
from sandbox.stripe_events import Delivery
from sandbox.stripe_hands import StripeHands
from sandbox.stripe_params import Refused
from sandbox.stripe_state import Session
from sandbox.stripe_words import words_for

PREFIX = "/stripe"
BUYER_LEAVES = ("pay", "pay_later", "pay_twice")
"""After these buttons the buyer is sent back to the shop."""


class StripeSandbox(StripeHands):
    """One Stripe account in test mode, in memory. The methods of StripeHands are the buttons; `events` and `api` have the switches."""

    def __init__(self, public_url: str, webhook_url: str = "", webhook_secret: str = "") -> None:
        super().__init__()
        self.public_url = public_url
        self.api = StripeApi(self, lambda session: f"{self.public_url}{PREFIX}/pay/{session}")
        self.set_webhook(webhook_url, webhook_secret)

    def set_webhook(self, url: str, secret: str, old_secret: str = "") -> None:
        """Where events go from now on, and with which secret they are signed (two while it is rolled). Raises ValueError."""
        self.events.set_webhook(url, secret, old_secret)

    @property
    def deliveries(self) -> list[Delivery]:
        """What was sent, oldest first."""
        return [*self.events.deliveries]

    async def tell_again(self, session: str) -> None:
        """Sends the seller every event about a session once more, as if the answers had been lost."""
        told = {one.event["id"]: one.event for one in self._about(self.state.session(session))}
        if not told:
            raise ValueError("nothing has been told yet")
        for event in told.values():
            self.events.send(event)

    async def settled(self, within: float = 10.0) -> None:
        """Waits until every event has been taken by the endpoint. Raises TimeoutError after `within` seconds."""
        await self.events.settled(within)

    async def close(self) -> None:
        """Ends whatever waits: calls that hang, deliveries, the ends of sessions."""
        self.forget_ends()
        self.api.close()
        await self.events.close()

    def routes(self) -> list[web.RouteDef]:
        """Everything that the stand-in serves."""
        return [
            *self.api.routes(PREFIX),
            web.get(PREFIX + "/pay/{session}", self._on_page),
            web.post(PREFIX + "/pay/{session}/{button}", self._on_button),
            web.get(PREFIX + "/dashboard", self._on_dashboard),
            web.post("/hands/stripe/webhook", self._on_webhook),
            web.get("/hands/stripe/deliveries", self._on_deliveries),
        ]

    async def _on_page(self, request: web.Request) -> web.StreamResponse:
        return self._page(request, "")

    async def _on_button(self, request: web.Request) -> web.StreamResponse:
        name, id = request.match_info["button"], request.match_info["session"]
        buttons = self._buttons(request.query.get("refund", ""))
        if name not in buttons:
            raise web.HTTPNotFound
        try:
            if name == "refund":
                form = await request.post()
                amount = _amount(form.get("amount"), self.state.session(id))
                await self.refund(id, amount)
            else:
                await buttons[name](id)
        except (ValueError, Refused):
            return self._page(request, "cannot")
        session = self.state.session(id)
        shop = str(session.wanted["success_url"]).replace("{CHECKOUT_SESSION_ID}", id)
        raise web.HTTPSeeOther(shop if name in BUYER_LEAVES else f"{PREFIX}/pay/{id}")

    def _buttons(self, refund: str) -> dict[str, Callable[[str], Awaitable[object]]]:
        return {
            "pay": self.pay,
            "pay_later": self.pay_later,
            "pay_twice": self.pay_twice,
            "decline": self.decline,
            "expire": self.expire,
            "money_arrives": self.money_arrives,
            "money_fails": self.money_fails,
            "refund": self.refund,
            "finish_refund": lambda _: self.finish_refund(refund),
            "fail_refund": lambda _: self.finish_refund(refund, "failed"),
            "chargeback": self.chargeback,
            "inquiry": lambda session: self.chargeback(session, inquiry=True),
            "win_chargeback": self.win_chargeback,
            "lose_chargeback": self.lose_chargeback,
            "tell_again": self.tell_again,
        }

    def _page(self, request: web.Request, problem: str) -> web.Response:
        language = request.headers.get("Accept-Language", "")
        try:
            session = self.state.session(request.match_info["session"])
        except Refused:
            text, status = stripe_pages.missing(words_for(None, language)), 404
        else:
            words = words_for(session.wanted.get("locale"), language)
            text, status = stripe_pages.checkout(session, self._about(session), words, problem), 409 if problem else 200
        return web.Response(text=text, status=status, content_type="text/html", headers={"Cache-Control": "no-store"})

    def _about(self, session: Session) -> list[Delivery]:
        """The deliveries that speak of a session, or of its payment."""
        names = {session.id} | ({session.intent.id} if session.intent else set())
        return [one for one in self.deliveries if names & _names(one.event["data"]["object"])]

    async def _on_dashboard(self, request: web.Request) -> web.StreamResponse:
        words = words_for(None, request.headers.get("Accept-Language", ""))
        return web.Response(text=stripe_pages.dashboard([*self.state.sessions.values()], words), content_type="text/html")

    async def _on_webhook(self, request: web.Request) -> web.StreamResponse:
        """{"url", "secret", "old_secret"?}"""
        try:
            wanted = await request.json()
            self.set_webhook(str(wanted["url"]), str(wanted["secret"]), str(wanted.get("old_secret", "")))
        except (AttributeError, KeyError, TypeError, ValueError) as problem:
            raise web.HTTPBadRequest(text=f"url and secret: {problem}") from None
        return web.json_response({})

    async def _on_deliveries(self, _request: web.Request) -> web.StreamResponse:
        rows: list[dict[str, Any]] = [
            {"event": one.event["id"], "type": one.kind, "url": one.url, "answers": one.answers, "done": one.done}
            for one in self.deliveries
        ]
        return web.json_response(rows)


def _names(thing: dict[str, Any]) -> set[Any]:
    return {thing.get("id"), thing.get("payment_intent")}


def _amount(text: object, session: Session) -> int | None:
    """What a person typed, in the smallest unit; None for nothing. Raises ValueError."""
    if text is None:
        return None
    if not isinstance(text, str) or not re.fullmatch(r"[0-9]{1,8}(\.[0-9]{1,2})?", text):
        raise ValueError("not an amount")
    whole, _, cents = text.partition(".")
    if session.currency in stripe_pages.NO_CENTS:
        return int(whole)
    return int(whole) * 100 + int(cents.ljust(2, "0") or 0)
