"""What people do around Stripe: the buyer on the checkout page, the seller in the dashboard, the buyer's bank."""

import asyncio

from sandbox.stripe_events import Events
from sandbox.stripe_params import Refused
from sandbox.stripe_state import FEE, Dispute, Intent, Refund, Session, State, new_id


class StripeHands:
    """Each method is a button. Raises ValueError where there is no such button now, Refused (404) for an unknown session.

    `refunds_pend`: refunds wait for `finish_refund` from now on. Sessions end by themselves at their time.
    """

    def __init__(self) -> None:
        self.state = State()
        self.events = Events()
        self.refunds_pend = False
        self._ends: dict[str, asyncio.TimerHandle] = {}

    def session_of(self, order: str) -> Session:
        """The newest session with this client reference. Raises KeyError."""
        for session in reversed(self.state.sessions.values()):
            if session.wanted.get("client_reference_id") == order:
                return session
        raise KeyError(order)

    def watch(self, session: Session, seconds: float) -> None:
        """Lets a session end after this time."""
        self._ends[session.id] = asyncio.get_running_loop().call_later(max(0.0, seconds), self.end, session)

    def forget_ends(self) -> None:
        """No session ends by itself any more."""
        for handle in self._ends.values():
            handle.cancel()
        self._ends.clear()

    # The buyer

    async def pay(self, session: str) -> Intent:
        """The money is there at once."""
        paying = self._open(session)
        intent = self._complete(paying, "succeeded")
        self.events.put("checkout.session.completed", paying.shown())
        return intent

    async def pay_twice(self, session: str) -> Intent:
        """Paid once and told three times: one event delivered twice, and a second event about the same session."""
        paying = self._open(session)
        intent = self._complete(paying, "succeeded")
        self.events.put("checkout.session.completed", paying.shown(), copies=2)
        self.events.put("checkout.session.completed", paying.shown())
        return intent

    async def pay_later(self, session: str) -> Intent:
        """The buyer is done and the money is on its way, as with a bank debit; then `money_arrives` or `money_fails`."""
        paying = self._open(session)
        intent = self._complete(paying, "processing")
        self.events.put("checkout.session.completed", paying.shown())
        return intent

    async def decline(self, session: str) -> None:
        """The card is refused; the page stays open."""
        trying = self._open(session)
        trying.declined = True
        trying.intent = trying.intent or self._intent(trying)
        trying.intent.charge = new_id("ch_")
        self.events.put("charge.failed", trying.intent.charge_shown())
        self.events.put("payment_intent.payment_failed", trying.intent.shown())

    async def expire(self, session: str) -> None:
        """The session ends unpaid."""
        self.end(self._open(session))

    def end(self, session: Session) -> None:
        """An open session ends: by the seller's word or by its time."""
        self._stop_watching(session)
        session.status = "expired"
        self.events.put("checkout.session.expired", session.shown())

    # Money that was on its way

    async def money_arrives(self, session: str) -> None:
        """After `pay_later`."""
        paying, intent = self._processing(session)
        intent.status, paying.payment_status = "succeeded", "paid"
        self._tell_success(intent)
        self.events.put("checkout.session.async_payment_succeeded", paying.shown())

    async def money_fails(self, session: str) -> None:
        """After `pay_later`; the session stays complete and unpaid."""
        paying, intent = self._processing(session)
        intent.status = "requires_payment_method"
        self.events.put("payment_intent.payment_failed", intent.shown())
        self.events.put("checkout.session.async_payment_failed", paying.shown())

    # The seller

    async def refund(self, session: str, amount: int | None = None) -> Refund:
        """From the dashboard: a part in the smallest unit, or all that is left."""
        intent = self.state.session(session).intent
        if intent is None:
            raise ValueError("nothing was paid")
        try:
            return self.give_back(intent, intent.amount - intent.refunded if amount is None else amount)
        except Refused as refused:
            raise ValueError(str(refused)) from None

    def give_back(self, intent: Intent, amount: int, metadata: dict[str, str] | None = None, reason: str | None = None) -> Refund:
        """Makes a refund, from the dashboard or by the API. Raises Refused."""
        if intent.status != "succeeded":
            raise Refused(f"This PaymentIntent ({intent.id}) does not have a successful charge to refund.", param="payment_intent")
        if intent.dispute is not None and not intent.dispute.shown()["is_charge_refundable"]:
            raise Refused(f"Charge {intent.charge} has been charged back; cannot issue a refund.", "charge_disputed")
        left = intent.amount - intent.refunded
        if left == 0:
            raise Refused(f"Charge {intent.charge} has already been refunded.", "charge_already_refunded")
        if not 0 < amount <= left:
            raise Refused(f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})", param="amount")
        refund = Refund(intent, amount, "pending" if self.refunds_pend else "succeeded", metadata or {}, reason)
        intent.refunds.append(refund)
        self.state.refunds[refund.id] = refund
        self.events.put("refund.created", refund.shown())
        self.events.put("charge.refunded", intent.charge_shown())
        if refund.status == "succeeded":  # told again when the bank has given it a number
            self.events.put("refund.updated", refund.shown())
        return refund

    async def finish_refund(self, refund: str, status: str = "succeeded") -> None:
        """A refund succeeds, fails or is canceled; one that succeeded can still fail later."""
        changing = self.state.refund(refund)
        if status not in ("succeeded", "failed", "canceled") or changing.status not in ("pending", "succeeded"):
            raise ValueError(f"a refund that is {changing.status} does not become {status}")
        changing.status = status
        self.events.put("refund.updated", changing.shown())
        if status == "failed":
            self.events.put("refund.failed", changing.shown())

    # The bank

    async def chargeback(self, session: str, *, inquiry: bool = False) -> Dispute:
        """The buyer's bank takes back what was not refunded; or only asks, and takes nothing yet."""
        intent = self.state.session(session).intent
        if intent is None or intent.status != "succeeded" or intent.dispute is not None or intent.refunded >= intent.amount:
            raise ValueError("there is nothing to charge back")
        amount = intent.amount - intent.refunded
        intent.dispute = Dispute(intent, amount, "warning_needs_response" if inquiry else "needs_response")
        if not inquiry:
            intent.dispute.moved.append((-amount, FEE))
        self.events.put("charge.dispute.created", intent.dispute.shown())
        if not inquiry:
            self.events.put("charge.dispute.funds_withdrawn", intent.dispute.shown())
        return intent.dispute

    async def win_chargeback(self, session: str) -> None:
        """The seller is right, and gets the money back; an inquiry just ends."""
        dispute = self._dispute(session)
        inquiry = dispute.status.startswith("warning")
        dispute.status = "warning_closed" if inquiry else "won"
        if not inquiry:
            dispute.moved.append((dispute.amount, 0))
            self.events.put("charge.dispute.funds_reinstated", dispute.shown())
        self.events.put("charge.dispute.closed", dispute.shown())

    async def lose_chargeback(self, session: str) -> None:
        """The buyer is right."""
        dispute = self._dispute(session)
        if dispute.status.startswith("warning"):
            raise ValueError("an inquiry cannot be lost")
        dispute.status = "lost"
        self.events.put("charge.dispute.closed", dispute.shown())

    # Parts of these

    def _open(self, session: str) -> Session:
        found = self.state.session(session)
        if found.status != "open":
            raise ValueError(f"this session is {found.status}")
        return found

    def _processing(self, session: str) -> tuple[Session, Intent]:
        found = self.state.session(session)
        if found.intent is None or found.intent.status != "processing":
            raise ValueError("no money is on its way")
        return found, found.intent

    def _dispute(self, session: str) -> Dispute:
        intent = self.state.session(session).intent
        if intent is None or intent.dispute is None or not intent.dispute.open:
            raise ValueError("there is no open chargeback")
        return intent.dispute

    def _intent(self, session: Session) -> Intent:
        intent = session.new_intent()
        self.state.intents[intent.id] = intent
        return intent

    def _complete(self, session: Session, status: str) -> Intent:
        self._stop_watching(session)
        session.intent = intent = session.intent or self._intent(session)
        intent.status, intent.charge = status, new_id("ch_")
        session.status, session.declined = "complete", False
        session.payment_status = "paid" if status == "succeeded" else "unpaid"
        if status == "succeeded":
            self._tell_success(intent)
        return intent

    def _tell_success(self, intent: Intent) -> None:
        self.events.put("charge.succeeded", intent.charge_shown())
        self.events.put("payment_intent.succeeded", intent.shown())

    def _stop_watching(self, session: Session) -> None:
        if (handle := self._ends.pop(session.id, None)) is not None:
            handle.cancel()
