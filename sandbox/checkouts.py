"""Every checkout of both rails with its hands, in one place: GET and POST /hands/checkouts, for the page's payments panel.

A checkout is listed from the moment at which its page exists: at Stripe when the product asks for it, at Alipay when the buyer opens it.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from sandbox.alipay import AlipaySandbox
from sandbox.alipay_hands import SUCCESS, WAITING
from sandbox.alipay_pages import PREFIX as ALIPAY
from sandbox.alipay_rules import Refused as AlipayRefused
from sandbox.alipay_rules import Trade, show_fen
from sandbox.stripe import PREFIX as STRIPE
from sandbox.stripe import StripeSandbox
from sandbox.stripe_pages import money, state_of
from sandbox.stripe_params import Refused
from sandbox.stripe_state import Session

SHOWN = 20
STATES: Mapping[str, tuple[str, ...]] = {
    "open": ("pay", "decline", "pay_later", "pay_twice"),
    "processing": ("money_arrives", "money_fails"),
    "paid": ("refund", "chargeback", "tell_again"),
}
"""What can be done in a state; whoever waits for its end can only look."""


@dataclass(frozen=True)
class Checkouts:
    """Reads and presses the buttons of both rails' pages."""

    stripe: StripeSandbox
    alipay: AlipaySandbox

    def routes(self) -> list[web.RouteDef]:
        """What an application has to add. A mistake is answered with 400 and {"error": …}."""
        return [web.get("/hands/checkouts", self._on_get), web.post("/hands/checkouts", self._on_post)]

    def shown(self) -> list[dict[str, Any]]:
        """[{rail, id, order, amount, title, state, url, hands}], the newest of each rail first. `url` is the page, on this server."""
        sessions = [*reversed(self.stripe.state.sessions.values())][:SHOWN]
        trades = [trade for trade in reversed(self.alipay.trades.values()) if trade.status][:SHOWN]
        return [*map(_session, sessions), *map(_trade, trades)]

    async def press(self, rail: str, id: str, hand: str) -> None:
        """Presses a button of a checkout. Raises ValueError where there is none now."""
        hands = self._stripe_hands() if rail == "stripe" else self._alipay_hands() if rail == "alipay" else {}
        if hand not in hands:
            raise ValueError(f"hand: one of {', '.join(hands)}" if hands else "rail: one of stripe, alipay")
        try:
            await hands[hand](id)
        except (Refused, AlipayRefused):
            raise ValueError("there is no such checkout") from None

    def _stripe_hands(self) -> Mapping[str, Callable[[str], Awaitable[object]]]:
        stripe = self.stripe
        return {
            "pay": stripe.pay, "decline": stripe.decline, "pay_later": stripe.pay_later, "pay_twice": stripe.pay_twice,
            "money_arrives": stripe.money_arrives, "money_fails": stripe.money_fails, "refund": stripe.refund,
            "chargeback": stripe.chargeback, "tell_again": stripe.tell_again,
        }  # fmt: skip

    def _alipay_hands(self) -> Mapping[str, Callable[[str], Awaitable[object]]]:
        alipay = self.alipay

        def by(hand: Callable[[str], object]) -> Callable[[str], Awaitable[object]]:
            async def press(order: str) -> object:
                return hand(order)

            return press

        return {
            "pay": by(alipay.pay), "decline": by(alipay.decline), "pay_later": by(alipay.pay_later), "pay_twice": by(alipay.pay_twice),
            "refund": by(alipay.give_back), "chargeback": by(alipay.complain), "tell_again": by(alipay.tell_again),
        }  # fmt: skip

    async def _on_get(self, _request: web.Request) -> web.Response:
        return web.json_response({"checkouts": self.shown()})

    async def _on_post(self, request: web.Request) -> web.Response:
        """{"rail", "id", "hand"}; answers like GET."""
        try:
            wanted = await request.json()
            if not isinstance(wanted, dict):
                raise TypeError("a JSON object is needed")
            await self.press(*(str(wanted.get(name)) for name in ("rail", "id", "hand")))
        except (TypeError, ValueError) as problem:
            return web.json_response({"error": str(problem)}, status=400)
        return await self._on_get(request)


def _session(session: Session) -> dict[str, Any]:
    state, intent = state_of(session), session.intent
    back = intent is not None and (intent.refunded or intent.dispute is not None)
    hands = ("tell_again",) if state == "paid" and back else STATES.get(state, ())
    return {
        "rail": "stripe", "id": session.id, "order": session.wanted.get("client_reference_id"),
        "amount": money(session.amount, session.currency), "title": session.title,
        "state": "returned" if back and state == "paid" else state, "url": f"{STRIPE}/pay/{session.id}", "hands": hands,
    }  # fmt: skip


def _trade(trade: Trade) -> dict[str, Any]:
    state = {WAITING: "open", SUCCESS: "paid"}.get(trade.status, "expired")
    if trade.back:
        state = "returned"
    return {
        "rail": "alipay", "id": trade.out_trade_no, "order": trade.out_trade_no, "amount": f"¥{show_fen(trade.total)}",
        "title": trade.subject, "state": state, "url": f"{ALIPAY}/cashier/{trade.trade_no}",
        "hands": ("tell_again",) if state == "returned" else STATES.get(state, ()),
    }  # fmt: skip
