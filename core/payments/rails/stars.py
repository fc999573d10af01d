"""Telegram Stars as a rail. Only the bot can reach it, so it stands on what the bot lends: its refund call and its list of transactions.

There is nothing to open: the invoice is a message. There is no single order to ask about: what was missed is found in the list.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from core.payments.rails.base import BadSignature, Checkout, Opened, RailAway, RailEvent, Refunding, Returned, Said

PAGE = 100
"""Transactions asked for at once; the Bot API gives at most as many."""


@dataclass(frozen=True, slots=True)
class Move:
    """One movement of the bot's Stars. `id`: the charge for a payment, and the same again for what takes it back.

    `amount`: whole Stars, above zero. `order` and `user` (Telegram's id) are known for payments by invoice and their refunds. `at`: Unix
    time in microseconds.
    """

    id: str
    order: str | None
    amount: int
    direction: Literal["in", "out"]
    user: str | None
    at: int


class StarsAway(Exception):
    """Telegram cannot be asked now."""


class Bank(Protocol):
    """What the bot can do about its Stars. Raises StarsAway."""

    async def refund(self, user_external_id: str, charge: str) -> Literal["done", "refused"]:
        """Gives a payment back to who made it."""

    async def transactions(self, offset: int, limit: int) -> Sequence[Move]:
        """Movements from the `offset`-th on, the oldest first."""


def charge_id(direction: str, charge: str) -> str:
    """The id of what Telegram says about a charge, whether by message or in its list: charge ids are longer than an event's may be."""
    return f"{direction}:{hashlib.sha256(charge.encode()).hexdigest()[:48]}"


def event_of(move: Move) -> RailEvent | None:
    """A movement as what it says: a payment of ours, or its way back (a refund, or the store's chargeback)."""
    if move.direction == "out":
        return RailEvent(charge_id("out", move.id), Said.REFUNDED, charge=move.id)
    if move.order is None:
        return None
    return RailEvent(charge_id("in", move.id), Said.PAID, move.order, move.id, amount=move.amount, currency="XTR")


class StarsRail:
    """See Rail."""

    name = "stars"
    currency = "XTR"

    def __init__(self, bank: Bank) -> None:
        self._bank = bank

    async def open(self, checkout: Checkout) -> Opened:
        """Nothing to do: the invoice was the answer to /topup."""
        return Opened()

    def read(self, headers: Mapping[str, str], body: bytes, now: int) -> RailEvent | None:
        """Stars have no callback over HTTP."""
        raise BadSignature(problem="no callbacks")

    async def ask(self, order: str, reference: str | None) -> RailEvent | None:
        """Telegram cannot be asked about one order."""
        return None

    async def refund(self, refunding: Refunding) -> Returned:
        """See Rail. Stars go back whole."""
        if refunding.payer is None or refunding.amount != refunding.paid:
            return Returned.REFUSED
        try:
            done = await self._bank.refund(refunding.payer, refunding.charge)
        except StarsAway as error:
            raise RailAway(problem=str(error)) from None
        return Returned.DONE if done == "done" else Returned.REFUSED

    async def close(self, order: str, reference: str | None) -> None:
        """Nothing to do: an expired order is refused at the checkout."""

    async def missed(self, offset: int) -> tuple[list[RailEvent], int]:
        """What a page of transactions says, and how many they were. Raises RailAway."""
        try:
            moves = await self._bank.transactions(offset, PAGE)
        except StarsAway as error:
            raise RailAway(problem=str(error)) from None
        return [event for move in moves if (event := event_of(move)) is not None], len(moves)
