"""Telegram Stars: invoices, the question before a payment, the payment, and what goes back (Bot API 10.1).

Nothing but Stars is sold here. Error names are the server's where they are known to be.
"""

import asyncio
import itertools
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sandbox.telegram_messages import Messages
from sandbox.telegram_params import Params
from sandbox.telegram_rules import ApiError, bad_request, decoded, units
from sandbox.telegram_state import CURRENCY, Chat, HandsError, Invoice, Person, State
from sandbox.telegram_updates import Updates

CHECKOUT_SECONDS = 10.0
MAX_TITLE = 32
MAX_DESCRIPTION = 255
MAX_PAYLOAD = 128  # bytes
MAX_AMOUNT = 100_000
MAX_SUBSCRIPTION = 10_000
SUBSCRIPTION_SECONDS = 30 * 24 * 3600
MAX_PAGE = 100
_START_PARAMETER = re.compile(r"[A-Za-z0-9_-]{0,64}")
_NOT_FOR_STARS = (
    "max_tip_amount", "suggested_tip_amounts", "need_name", "need_phone_number", "need_email", "need_shipping_address",
    "send_phone_number_to_provider", "send_email_to_provider", "is_flexible",
)  # fmt: skip
_TOO_LATE = "query is too old and response timeout expired or query ID is invalid"
Result = Any


@dataclass(slots=True)
class Charge:
    """A payment that went through. `back`: it was refunded or charged back."""

    id: str
    person: int
    chat: int
    invoice: Invoice
    service: dict[str, Any]
    back: bool = False


class Stars:
    """Invoices and Stars of the one bot. `transactions` in the order in which they happened, as getStarTransactions shows them."""

    def __init__(self, state: State, updates: Updates, messages: Messages) -> None:
        self._state = state
        self._updates = updates
        self._messages = messages
        self._numbers = itertools.count(1)
        self._asked: dict[str, asyncio.Future[str]] = {}
        self.links: dict[str, Invoice] = {}
        self.charges: dict[str, Charge] = {}
        self.transactions: list[dict[str, Any]] = []

    # What the bot calls

    def send_invoice(self, params: Params) -> Result:
        """sendInvoice."""
        chat = self._messages.writable(params)
        return self._messages.post(chat, params, invoice=_invoice(params))

    def create_link(self, params: Params) -> Result:
        """createInvoiceLink."""
        invoice = _invoice(params)
        if params.text("subscription_period"):
            invoice.period = params.integer("subscription_period")
            if invoice.period != SUBSCRIPTION_SECONDS:
                raise bad_request("SUBSCRIPTION_PERIOD_INVALID")
            if invoice.amount > MAX_SUBSCRIPTION:
                raise bad_request("SUBSCRIPTION_AMOUNT_INVALID")
        link = f"https://t.me/$stars{next(self._numbers)}"
        self.links[link] = invoice
        return link

    def answer(self, params: Params) -> Result:
        """answerPreCheckoutQuery; too late is error 400."""
        refusal = "" if params.flag("ok") else params.text("error_message")
        if not params.flag("ok") and not refusal:
            raise bad_request("error message must be non-empty")
        asked = self._asked.pop(params.text("pre_checkout_query_id"), None)
        if asked is None or asked.done():
            raise bad_request(_TOO_LATE)
        asked.set_result(refusal)
        return True

    def refund(self, params: Params) -> Result:
        """refundStarPayment."""
        charge = self.charges.get(params.text("telegram_payment_charge_id"))
        if params.integer("user_id") not in self._state.people:
            raise bad_request("invalid user_id specified")
        if charge is None or charge.person != params.integer("user_id"):
            raise bad_request("CHARGE_NOT_FOUND")
        if charge.back:
            raise bad_request("CHARGE_ALREADY_REFUNDED")
        self._give_back(charge)
        paid = charge.service["successful_payment"]
        kept = ("currency", "total_amount", "invoice_payload", "telegram_payment_charge_id")
        self._tell(charge, {"refunded_payment": {name: paid[name] for name in kept}})
        return True

    def list(self, params: Params) -> Result:
        """getStarTransactions: the oldest first."""
        offset, limit = max(0, params.integer("offset")), min(max(params.integer("limit", MAX_PAGE), 1), MAX_PAGE)
        return {"transactions": self.transactions[offset : offset + limit]}

    def balance(self, _params: Params) -> Result:
        """getMyStarBalance; below zero when chargebacks took more than there was."""
        return {"amount": sum(each["amount"] if "source" in each else -each["amount"] for each in self.transactions)}

    # What people do

    async def pay(self, payer: Person, invoice: Invoice, place: Chat, seconds: float) -> Charge:
        """Asks the bot, and takes the Stars when it agrees within `seconds`. Raises HandsError with the words that the person sees."""
        _check_purse(payer, invoice)
        with self._question(payer, invoice) as asked:
            try:
                refusal = await asyncio.wait_for(asked, seconds)
            except TimeoutError:
                raise HandsError("The bot did not answer in time: nothing was paid.") from None
        if refusal:
            raise HandsError(refusal)
        _check_purse(payer, invoice)
        payer.stars -= invoice.amount
        invoice.paid_by.add(payer.id)
        charge = self._charged(payer, invoice, place)
        for message in [each for chat in self._state.chats.values() for each in chat.messages.values() if each.invoice is invoice]:
            self._state.changed(message)
        self._tell(charge, charge.service)
        return charge

    def charge(self, id: str) -> Charge:
        """Raises HandsError for an unknown charge."""
        try:
            return self.charges[id]
        except KeyError:
            raise HandsError(f"no such charge: {id}") from None

    def take_back(self, charge: Charge) -> None:
        """A store (Apple, Google) takes the Stars from the bot, without an update. Raises HandsError when they are back already."""
        if charge.back:
            raise HandsError(f"charge {charge.id} was given back")
        self._give_back(charge)

    def repeat(self, charge: Charge) -> None:
        """The bot gets the payment once more, in a new update."""
        told = (each for each in self._state.chat(charge.chat).messages.values() if each.service is charge.service)
        for message in told:
            self._updates.put("message", charge.chat, self._state.message_json(message))

    def close(self) -> None:
        """Ends whoever waits for the bot's answer."""
        for asked in self._asked.values():
            if not asked.done():
                asked.set_result("The sandbox closes.")

    @contextmanager
    def _question(self, payer: Person, invoice: Invoice) -> Iterator[asyncio.Future[str]]:
        """A pre-checkout query, and where its answer will be: empty, or why not."""
        query = f"{self._state.bot_id}{next(self._numbers):06d}"
        asked: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._asked[query] = asked
        self._updates.put("pre_checkout_query", payer.id, {
            "id": query, "from": self._state.user_json(payer), "currency": CURRENCY, "total_amount": invoice.amount,
            "invoice_payload": invoice.payload,
        })  # fmt: skip
        try:
            yield asked
        finally:
            self._asked.pop(query, None)

    def _charged(self, payer: Person, invoice: Invoice, place: Chat) -> Charge:
        number, now = next(self._numbers), int(time.time())
        id = f"stx{self._state.bot_id}_{number:012d}"
        told: dict[str, Any] = {
            "currency": CURRENCY, "total_amount": invoice.amount, "invoice_payload": invoice.payload,
            "telegram_payment_charge_id": id, "provider_payment_charge_id": f"{payer.id}_{number}",
        }  # fmt: skip
        if invoice.period:
            told |= {"subscription_expiration_date": now + invoice.period, "is_recurring": True, "is_first_recurring": True}
        charge = self.charges[id] = Charge(id, payer.id, place.id, invoice, {"successful_payment": told})
        self._record(charge, "source")
        return charge

    def _give_back(self, charge: Charge) -> None:
        charge.back = True
        self._state.people[charge.person].stars += charge.invoice.amount
        self._record(charge, "receiver")

    def _record(self, charge: Charge, side: str) -> None:
        """A refund has the id of its payment. That a chargeback looks like a refund is not published; it is the nearest that is."""
        user = self._state.user_json(self._state.people[charge.person])
        partner: dict[str, Any] = {
            "type": "user",
            "transaction_type": "invoice_payment",
            "user": user,
            "invoice_payload": charge.invoice.payload,
        }
        if charge.invoice.period:
            partner["subscription_period"] = charge.invoice.period
        self.transactions.append({"id": charge.id, "amount": charge.invoice.amount, "date": int(time.time()), side: partner})

    def _tell(self, charge: Charge, service: dict[str, Any]) -> None:
        message = self._state.new_message(self._state.chat(charge.chat), charge.person, service=service)
        self._updates.put("message", charge.chat, self._state.message_json(message))


def _check_purse(payer: Person, invoice: Invoice) -> None:
    """The app does not offer to pay what is too dear."""
    if payer.stars < invoice.amount:
        raise HandsError(f"{payer.name} has {payer.stars} Stars, and {invoice.amount} are asked for.")


def _invoice(params: Params) -> Invoice:
    """The invoice of a call, checked. Raises ApiError."""
    title, description = _words(params, "title", MAX_TITLE), _words(params, "description", MAX_DESCRIPTION)
    if not 1 <= len(params.text("payload").encode()) <= MAX_PAYLOAD:
        raise bad_request("INVOICE_PAYLOAD_INVALID")
    if params.text("currency") != CURRENCY:
        raise bad_request("PAYMENT_PROVIDER_INVALID")
    if params.text("provider_token") or any(params.text(name) not in ("", "0", "[]", "false", "False") for name in _NOT_FOR_STARS):
        raise bad_request("STARS_INVOICE_INVALID")
    if not _START_PARAMETER.fullmatch(params.text("start_parameter")):
        raise bad_request("START_PARAM_INVALID")
    return Invoice(title, description, params.text("payload"), _amount(params), params.text("start_parameter"))


def _words(params: Params, name: str, limit: int) -> str:
    words = params.text(name).strip()
    if not words:
        raise bad_request(f"invoice {name} must be non-empty")
    if units(words) > limit:
        raise bad_request(f"invoice {name} is too long")
    return words


def _amount(params: Params) -> int:
    prices = decoded(params.text("prices"), "prices")
    if not isinstance(prices, list) or len(prices) != 1:
        raise bad_request("STARS_INVOICE_INVALID")
    (price,) = prices
    if not isinstance(price, dict) or not isinstance(price.get("label"), str) or not price["label"].strip():
        raise bad_request("can't parse labeled price")
    amount = price.get("amount")
    if not isinstance(amount, int) or not 1 <= amount <= MAX_AMOUNT:
        raise ApiError(400, "Bad Request: CURRENCY_TOTAL_AMOUNT_INVALID")
    return amount
