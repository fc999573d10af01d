"""Stripe's REST API: keys, idempotency, trouble on demand, and the calls that a shop needs. https://docs.stripe.com/api"""

import asyncio
import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from sandbox import stripe_params as params
from sandbox.stripe_hands import StripeHands
from sandbox.stripe_params import Refused
from sandbox.stripe_state import Session, new_id, now

LEAST_LIFE, LONGEST_LIFE = 30 * 60, 24 * 60 * 60
"""Of a session, in seconds."""
MAX_KEY = 255
KEPT = 10_000

TROUBLE = {"rate_limited": 429, "conflict": 409, "server": 500, "unavailable": 503, "hang": 0, "lost": 0, "garbage": 0}
"""What can go wrong with a call: it is answered with this status and not done; never answered and not done; done, and the connection breaks
before the answer; answered with a page and not done."""

_KINDS = {429: ("rate_limit", "invalid_request_error"), 409: ("idempotency_key_in_use", "idempotency_error")}
_KEY = re.compile(r"[sr]k_test_[A-Za-z0-9_]+")

Values = Mapping[str, Any]
Answer = tuple[int, dict[str, Any]]


@dataclass(frozen=True)
class _Call:
    """One kind of call: the parameters that it takes, and what it does with the id in its path and with them."""

    check: params.Check
    act: Callable[[str, Values], dict[str, Any]]


class StripeApi:
    """`calls`: what was called, in order, as "POST /v1/refunds". `revoked`: every key is refused."""

    def __init__(self, hands: StripeHands, page_of: Callable[[str], str]) -> None:
        self.hands = hands
        self.calls: list[str] = []
        self.revoked = False
        self._page_of = page_of
        self._trouble: list[str] = []
        self._answered: dict[str, tuple[object, Answer]] = {}
        self._closing = asyncio.Event()

    def fail_next(self, kind: str, times: int = 1) -> None:
        """The next calls go wrong in this way. Raises ValueError for an unknown one."""
        if kind not in TROUBLE:
            raise ValueError(f"one of {', '.join(TROUBLE)}")
        self._trouble += [kind] * times

    def forget_keys(self) -> None:
        """Forgets the idempotency keys, as Stripe may after a day."""
        self._answered.clear()

    def close(self) -> None:
        """Lets go of calls that hang."""
        self._closing.set()

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """The API under a prefix."""
        hands, state = self.hands, self.hands.state
        calls = [
            ("POST", "/v1/checkout/sessions", _Call(params.NEW_SESSION, lambda _, values: self._new_session(values))),
            (
                "GET",
                "/v1/checkout/sessions",
                _Call(params.SESSION_LIST, lambda _, values: _listed("/v1/checkout/sessions", _sessions(hands, values), values)),
            ),
            ("GET", "/v1/checkout/sessions/{id}", _Call(params.SESSION_VIEW, self._session)),
            ("POST", "/v1/checkout/sessions/{id}/expire", _Call(params.NOTHING, self._expire)),
            ("POST", "/v1/refunds", _Call(params.NEW_REFUND, lambda _, values: self._new_refund(values))),
            ("GET", "/v1/refunds", _Call(params.REFUND_LIST, lambda _, values: _listed("/v1/refunds", _refunds(hands, values), values))),
            ("GET", "/v1/refunds/{id}", _Call(params.NOTHING, lambda id, _: state.refund(id).shown())),
            ("GET", "/v1/payment_intents/{id}", _Call(params.NOTHING, lambda id, _: state.intent(id).shown())),
            ("GET", "/v1/events", _Call(params.EVENT_LIST, lambda _, values: _listed("/v1/events", _events(hands, values), values))),
            ("GET", "/v1/events/{id}", _Call(params.NOTHING, self._event)),
        ]
        return [web.route(method, prefix + path, self._serving(call)) for method, path, call in calls] + [
            web.route("*", prefix + "/v1/{rest:.*}", self._serving(None))
        ]

    def _serving(self, call: _Call | None) -> Callable[[web.Request], Any]:
        async def serve(request: web.Request) -> web.StreamResponse:
            path = "/v1" + request.path.partition("/v1")[2]
            self.calls.append(f"{request.method} {path}")
            trouble = self._trouble.pop(0) if self._trouble else ""
            if trouble and trouble != "lost":
                return await self._fail(trouble)
            body = await request.text()
            try:
                self._accept(request.headers.get("Authorization", ""))
                if call is None:
                    raise Refused(f"Unrecognized request URL ({request.method}: {path}).", status=404)
                status, answer = self._once(request, call, path, body)
            except Refused as refused:
                status, answer = refused.status, refused.body
            if trouble == "lost" and request.transport is not None:
                request.transport.abort()
            return web.json_response(answer, status=status, headers={"Request-Id": new_id("req_", 14)})

        return serve

    def _accept(self, header: str) -> None:
        scheme, _, key = header.partition(" ")
        if scheme.lower() == "basic":
            try:
                key = b64decode(key, validate=True).decode().partition(":")[0]
            except (NotBase64, UnicodeDecodeError):
                key = ""
        if scheme.lower() not in ("bearer", "basic") or not key:
            raise Refused("You did not provide an API key. You need to provide your API key in the Authorization header.", status=401)
        if self.revoked or not _KEY.fullmatch(key):
            raise Refused(f"Invalid API Key provided: {key[:8]}{'*' * max(0, len(key) - 12)}{key[-4:]}", status=401)

    def _once(self, request: web.Request, call: _Call, path: str, body: str) -> Answer:
        """Does it; or, for a known idempotency key, repeats the first answer. A call that is refused is not remembered."""
        source = body if request.method == "POST" else request.query_string
        pairs = parse_qsl(source, keep_blank_values=True)
        if request.method == "POST" and pairs and request.content_type != "application/x-www-form-urlencoded":
            raise Refused("Invalid request: the body must be a form")
        key = request.headers.get("Idempotency-Key", "") if request.method == "POST" else ""
        if len(key) > MAX_KEY:
            raise Refused(f"Idempotency keys have at most {MAX_KEY} characters", kind="idempotency_error")
        asked = (path, sorted(pairs))
        if key in self._answered:
            before, answer = self._answered[key]
            if before != asked:
                problem = f"Keys for idempotent requests can only be used with the same parameters they were first used with. ('{key}')"
                raise Refused(problem, kind="idempotency_error")
            return answer
        values = call.check(params.nested(pairs), "")
        answer = 200, call.act(request.match_info.get("id", ""), values)
        if key:
            self._answered[key] = asked, answer
            if len(self._answered) > KEPT:
                del self._answered[next(iter(self._answered))]
        return answer

    async def _fail(self, kind: str) -> web.StreamResponse:
        if kind == "garbage":
            return web.Response(text="<html><body>Be right back</body></html>", content_type="text/html")
        if kind == "hang":
            await self._closing.wait()
        status = TROUBLE[kind] or 503
        code, type_ = _KINDS.get(status, ("", "api_error"))
        refused = Refused("Something went wrong on Stripe's end.", code, status=status, kind=type_)
        return web.json_response(refused.body, status=status, headers={"Request-Id": new_id("req_", 14)})

    def _new_session(self, values: Values) -> dict[str, Any]:
        prices = [item["price_data"] for item in values["line_items"]]
        currency = prices[0]["currency"]
        if any(price["currency"] != currency for price in prices):
            raise Refused("All line items must have the same currency.", param="line_items")
        life = values.get("expires_at", now() + LONGEST_LIFE) - now()
        # A second of grace: the shop's clock and ours were read at different moments.
        if life < LEAST_LIFE - 1:
            raise Refused("The `expires_at` timestamp must be at least 30 minutes from Checkout Session creation.", param="expires_at")
        if life > LONGEST_LIFE + 1:
            raise Refused("The `expires_at` timestamp must be less than 24 hours from Checkout Session creation.", param="expires_at")
        id = new_id("cs_test_", 58)
        session = Session({**values}, self._page_of(id), now() + life, id)
        if session.amount < params.LEAST[currency]:
            least = params.LEAST[currency]
            raise Refused(f"The Checkout Session's total amount due must add up to at least {least} {currency}", "amount_too_small")
        if session.amount > params.MAX_AMOUNT:
            raise Refused("The total is too large", "amount_too_large")
        self.hands.state.sessions[id] = session
        self.hands.watch(session, life)
        return session.shown(values.get("expand", ()))

    def _session(self, id: str, values: Values) -> dict[str, Any]:
        return self.hands.state.session(id).shown(values.get("expand", ()))

    def _expire(self, id: str, _values: Values) -> dict[str, Any]:
        session = self.hands.state.session(id)
        if session.status != "open":
            problem = 'Only Checkout Sessions with a status in ["open"] can be expired.'
            raise Refused(f"{problem} This Checkout Session has a status of `{session.status}`.")
        self.hands.end(session)
        return session.shown()

    def _new_refund(self, values: Values) -> dict[str, Any]:
        intent = self.hands.state.intent(values["payment_intent"], 400)
        amount = values.get("amount", intent.amount - intent.refunded)
        return self.hands.give_back(intent, amount, values.get("metadata"), values.get("reason")).shown()

    def _event(self, id: str, _values: Values) -> dict[str, Any]:
        for event in self.hands.events.events:
            if event["id"] == id:
                return event
        raise Refused(f"No such event: '{id}'", "resource_missing", param="id", status=404)


def _listed(url: str, things: Iterable[dict[str, Any]], values: Values) -> dict[str, Any]:
    """The newest first, one page of them. Raises Refused for a cursor that is not there."""
    newest = list(things)[::-1]
    if (after := values.get("starting_after")) is not None:
        places = [place for place, thing in enumerate(newest) if thing["id"] == after]
        if not places:
            raise Refused(f"No such object: '{after}'", "resource_missing", param="starting_after")
        newest = newest[places[0] + 1 :]
    limit = values.get("limit", 10)
    return {"object": "list", "data": newest[:limit], "has_more": len(newest) > limit, "url": url}


def _sessions(hands: StripeHands, values: Values) -> list[dict[str, Any]]:
    shown = [session.shown() for session in hands.state.sessions.values()]
    return [one for one in shown if all(one[name] == values.get(name, one[name]) for name in ("payment_intent", "status"))]


def _refunds(hands: StripeHands, values: Values) -> list[dict[str, Any]]:
    if (intent := values.get("payment_intent")) is not None:
        return [refund.shown() for refund in hands.state.intent(intent, 400).refunds]
    return [refund.shown() for refund in hands.state.refunds.values()]


def _events(hands: StripeHands, values: Values) -> list[dict[str, Any]]:
    kinds = values.get("types") or [values["type"]] if "type" in values or "types" in values else None
    since = values.get("created", {}).get("gte", 0)
    return [event for event in hands.events.events if (kinds is None or event["type"] in kinds) and event["created"] >= since]
