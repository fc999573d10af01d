"""Stripe: a hosted Checkout page for one payment by card or wallet, in US dollars. https://docs.stripe.com/payments/checkout

The key needs Checkout Sessions (write), Refunds (write) and PaymentIntents (read); a restricted key (`rk_…`) with these is enough. The
endpoint at Stripe has to send `stripe_events.EVENTS`. Of what Stripe writes only its short codes are passed on: a message can quote a key.
"""

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Mapping
from typing import Any

import aiohttp
import httpx
import stripe

from core.errors import Misconfigured
from core.payments.rails.base import (
    BadSignature,
    Checkout,
    Opened,
    RailAway,
    RailError,
    RailEvent,
    RailRefused,
    Refunding,
    Returned,
    Said,
)
from core.payments.rails.stripe_events import SETTLED, id_of, read_event, session_event, text_of
from core.providers.http import make_client

TOLERANCE_SECONDS = 300
"""How far the time in a signature may lie from ours, either way (docs.stripe.com/webhooks#replay-attacks)."""

TRY_SECONDS = 20
TRIES_AGAIN = 1
SECOND = 1_000_000
LEAST_LIFE_SECONDS = 30 * 60
"""A Checkout Session lives for at least this long and for a day at most, counted from when Stripe makes it."""

_CODE = re.compile(r"[a-z][a-z0-9_.\[\]]{1,63}")
_KEY = re.compile(r"[sr]k_(test|live)_[A-Za-z0-9_]{1,240}")
_RETURNED = {"succeeded": Returned.DONE, "failed": Returned.REFUSED, "canceled": Returned.REFUSED}


class StripeRail:
    """One Stripe account. `api_url` is `https://api.stripe.com`, or a stand-in with the same paths. Close it with `close_client()`."""

    name = "stripe"
    currency = "USD"

    def __init__(self, secret_key: str, webhook_secret: str, api_url: str) -> None:
        """Raises Misconfigured for a key that is none, and for an empty webhook secret: with it anybody could sign."""
        if (key := _KEY.fullmatch(secret_key)) is None:
            raise Misconfigured(setting="STRIPE_SECRET_KEY", problem="it is a secret or restricted key: sk_… or rk_…")
        if not webhook_secret.strip():
            raise Misconfigured(setting="STRIPE_WEBHOOK_SECRET", problem="without it no callback can be proved")
        stripe.enable_telemetry = False  # the library has one switch for the whole process
        logging.getLogger("stripe").setLevel(logging.WARNING)  # below that it writes addresses and Stripe's messages
        self._live = key[1] == "live"
        self._webhook_secret = webhook_secret
        self._wire = _Wire()
        self._stripe = stripe.StripeClient(
            secret_key,
            base_addresses={"api": api_url.rstrip("/")},
            http_client=self._wire,
            max_network_retries=TRIES_AGAIN,
        ).v1

    async def open(self, checkout: Checkout) -> Opened:
        """A page at Stripe that takes this payment; the same page again for the same order.

        It ends when the order does, if Stripe allows it: a session may not be made for less than 30 minutes, or for more than a day.
        Then it ends half an hour later, or after a day, and `close` ends it in time. What is tried depends on the order and not on the
        clock: a repetition with another time would be refused under the same idempotency key. Raises RailAway, RailRefused.
        """
        assert checkout.currency == self.currency
        end = checkout.expires_at // SECOND
        try:
            session = await self._create(checkout, {"expires_at": end})
        except RailRefused as refused:
            session = await self._create_longer(checkout, end, refused)
        url, reference = text_of(session.get("url"), 4096), text_of(session.get("id"))
        if url is None or reference is None:
            raise RailRefused(problem="no_page")
        return Opened(url=url, reference=reference)

    async def _create_longer(self, checkout: Checkout, end: int, refused: RailRefused) -> dict[str, Any]:
        for life in ({"expires_at": end + LEAST_LIFE_SECONDS}, {}):
            if refused.facts["problem"] not in ("expires_at", "idempotency_error"):
                raise refused
            try:
                return await self._create(checkout, life)
            except RailRefused as again:
                refused = again
        raise refused

    async def _create(self, checkout: Checkout, life: Mapping[str, int]) -> dict[str, Any]:
        price: Any = {
            "currency": checkout.currency.lower(),
            "unit_amount": checkout.amount,
            "product_data": {"name": checkout.title},
        }
        params: Any = {
            "mode": "payment",
            "line_items": [{"quantity": 1, "price_data": price}],
            "client_reference_id": checkout.order,
            "metadata": {"order": checkout.order},
            # Refunds and disputes name the payment intent and not the session.
            "payment_intent_data": {"metadata": {"order": checkout.order}},
            "success_url": checkout.return_url,
            "cancel_url": checkout.return_url,
            "locale": "zh" if checkout.locale.startswith("zh") else "en",
            "adaptive_pricing": {"enabled": False},  # what is paid is what was ordered, in its currency
            **life,
        }
        options: Any = {"idempotency_key": f"open:{checkout.order}"}
        return await _answer(self._stripe.checkout.sessions.create_async(params, options))

    def read(self, headers: Mapping[str, str], body: bytes, now: int) -> RailEvent | None:
        """An event, as posted; `headers` with lower-case names, `now` in microseconds. None: of no concern to us. Raises BadSignature."""
        event = self._proved(headers.get("stripe-signature", ""), body, now)
        # An event about a connected account of a platform names it; ours do not.
        return read_event(event, ours=event.get("livemode") is self._live and not event.get("account"))

    def _proved(self, signature: str, body: bytes, now: int) -> dict[str, Any]:
        """The event in `body`. The library checks the signature; the time is checked here, since it lets times of the future pass."""
        if not signature.isascii():  # the library's comparison raises TypeError
            raise BadSignature(problem="header")
        try:
            stripe.WebhookSignature.verify_header(body, signature, self._webhook_secret)
            sent = int(next(part for part in signature.split(",") if part.startswith("t=")).split("=")[1])
            event = json.loads(body)
        except (stripe.SignatureVerificationError, ValueError, RecursionError):
            raise BadSignature(problem="signature") from None
        if abs(now - sent * SECOND) > TOLERANCE_SECONDS * SECOND:
            raise BadSignature(problem="time")
        return event if isinstance(event, dict) else {}

    async def ask(self, order: str, reference: str | None) -> RailEvent | None:
        """What became of an order's session; None without a reference: Stripe finds it by nothing else. Raises RailAway, RailRefused."""
        if reference is None:
            return None
        try:
            session = await self._session(reference)
        except RailRefused as refused:
            if refused.facts["problem"] == "resource_missing":
                return None
            raise
        said = await self._said(session)
        event = session_event(f"ask:{order}:{said}", said, session, session.get("livemode") is self._live)
        return event if event is not None and event.order == order else None

    async def _session(self, reference: str) -> dict[str, Any]:
        return await _answer(self._stripe.checkout.sessions.retrieve_async(reference))

    async def _said(self, session: Mapping[str, Any]) -> Said:
        if session.get("status") != "complete":
            return Said.EXPIRED if session.get("status") == "expired" else Said.PENDING
        if session.get("payment_status") in SETTLED:
            return Said.PAID
        # The buyer is done and the money is on its way, or has turned back: then the intent waits for another means of payment.
        if (intent := id_of(session.get("payment_intent"))) is None:
            return Said.PENDING
        status = (await _answer(self._stripe.payment_intents.retrieve_async(intent))).get("status")
        return Said.FAILED if status in ("requires_payment_method", "canceled") else Said.PENDING

    async def refund(self, refunding: Refunding) -> Returned:
        """Gives money back. Stripe may forget an idempotency key after a day, so our number is looked for among the refunds first.

        Raises RailAway.
        """
        wanted: Any = {"payment_intent": refunding.charge, "limit": 100}
        params: Any = {
            "payment_intent": refunding.charge,
            "amount": refunding.amount,
            "metadata": {"refund": refunding.refund, "order": refunding.order},
        }
        options: Any = {"idempotency_key": f"refund:{refunding.refund}"}
        try:
            known = (await _answer(self._stripe.refunds.list_async(wanted))).get("data", [])
            found = [refund for refund in known if (refund.get("metadata") or {}).get("refund") == refunding.refund]
            made = found[0] if found else await _answer(self._stripe.refunds.create_async(params, options))
        except RailRefused:
            return Returned.REFUSED
        return _RETURNED.get(str(made.get("status")), Returned.PENDING)

    async def close(self, order: str, reference: str | None) -> None:
        """Expires the order's session. Without a reference there is nothing to name: such a session ends by itself.

        Raises RailAway; RailRefused when it was paid meanwhile (problem `paid`) or the money is on its way (`processing`).
        """
        if reference is None:
            return
        try:
            await _answer(self._stripe.checkout.sessions.expire_async(reference))
        except RailRefused as refused:
            if refused.facts["problem"] == "resource_missing":
                return
            session = await self._session(reference)
            if (said := await self._said(session)) in (Said.EXPIRED, Said.FAILED):
                return
            if session.get("status") != "complete":
                raise
            raise RailRefused(problem="paid" if said is Said.PAID else "processing") from None

    async def close_client(self) -> None:
        """Closes the connections to Stripe. Once more does nothing."""
        await self._wire.close_async()


async def _answer(call: Awaitable[stripe.StripeObject]) -> dict[str, Any]:
    """What Stripe answers, as plain values. Raises RailAway, RailRefused."""
    try:
        return (await call).to_dict()
    except stripe.StripeError as error:
        raise _failure(error) from None


def _failure(error: stripe.StripeError) -> RailError:
    """The key being refused is curable, so it is "later" as well: a refund must not be given up because a key was changed.

    APIError is 409, 5xx, and whatever is not Stripe's JSON.
    """
    problem = _problem(error)
    if isinstance(error, stripe.APIConnectionError):
        return RailAway(problem="connection")
    if isinstance(error, stripe.APIError | stripe.RateLimitError | stripe.AuthenticationError | stripe.PermissionError):
        return RailAway(problem=problem)
    return RailRefused(problem=problem)


def _problem(error: stripe.StripeError) -> str:
    """Stripe's code; else the parameter or the type; else the status. Its messages stay outside: they quote what was sent."""
    body = error.json_body
    details = body.get("error") if isinstance(body, dict) else None
    words = [details.get(name) for name in ("code", "param", "type")] if isinstance(details, dict) else []
    for word in words:
        if isinstance(word, str) and _CODE.fullmatch(word):
            return word
    return f"http_{error.http_status or 0}"


class _Wire(stripe.HTTPClient):
    """Carries the library's requests over a client of ours: no proxy, no redirect, no cookie, and an end to each try."""

    name = "httpx"

    def __init__(self) -> None:
        super().__init__()
        self._client = make_client()

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """One try. Raises stripe.APIConnectionError, without the cause: it may hold the headers."""
        try:
            async with asyncio.timeout(TRY_SECONDS):
                response = await self._client.request(method, url, headers=dict(headers), content=post_data)
        except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError, ValueError):
            raise stripe.APIConnectionError("no answer", should_retry=True) from None  # type: ignore[no-untyped-call]  # the library's
        return response.content, response.status_code, response.headers

    async def sleep_async(self, secs: Any) -> None:
        """Between two tries, in seconds."""
        await asyncio.sleep(secs)

    async def close_async(self) -> None:
        """Closes the connections."""
        await self._client.aclose()
