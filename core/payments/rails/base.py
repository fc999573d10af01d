"""What a rail is: the road by which money comes. One file with one class for each, behind this protocol.

A rail moves no Credits and writes no row. It opens a checkout, reads what the other side tells us, is asked when it tells nothing, gives
money back, and closes what was not paid. Amounts are whole numbers of the currency's smallest unit: cents, fen, Stars.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from core.errors import AetherflowError

MAX_ORDER = 32
"""Of an order's name: letters, digits and underscores, so that every rail takes it as its own reference."""
MAX_REFERENCE = 255
"""Of a name that a rail gives: session, trade, charge, refund, dispute."""


class Said(StrEnum):
    """What a rail says about an order."""

    PENDING = "pending"  # opened, the buyer has not finished
    PAID = "paid"  # the money is there
    FAILED = "failed"  # it will not come; a new order is needed
    EXPIRED = "expired"  # nobody paid in time, or it was closed
    REFUNDED = "refunded"  # money went back, all or part: at our word, or at the seller's in the rail's own pages
    REFUND_FAILED = "refund_failed"  # money that should have gone back has not
    CHARGED_BACK = "charged_back"  # the buyer's bank took the money, or is about to
    CHARGEBACK_WON = "chargeback_won"  # and gave it back
    CHARGEBACK_LOST = "chargeback_lost"  # and keeps it


@dataclass(frozen=True, slots=True)
class RailEvent:
    """One thing that a rail said, its origin proved.

    `id` is unique at the rail, at most 64 characters: repeats of one notice have the same. `order` is ours, where the rail repeats it;
    `charge` is the rail's name for the money that moved (payment intent, trade number, Telegram charge id), by which refunds and disputes
    find their order. `amount` is what this event moves (PAID: the whole; REFUNDED, CHARGED_BACK: what goes back); `total` is everything
    given back so far, where the rail counts that instead. `ours` is false when the seller, the application or the mode (live or test) is
    not the configured one. `thing` is the rail's name of a refund or dispute, `refund` our own name of the refund, where repeated. `fee`:
    what the rail charges for a dispute.
    """

    id: str
    said: Said
    order: str | None = None
    charge: str | None = None
    reference: str | None = None
    amount: int | None = None
    currency: str | None = None
    total: int | None = None
    ours: bool = True
    thing: str | None = None
    refund: str | None = None
    fee: int = 0


@dataclass(frozen=True, slots=True)
class Checkout:
    """What is asked of a rail to let somebody pay. `expires_at` in microseconds since 1970; `currency` in capitals (ISO 4217, or XTR).

    `way`: "page" for a large screen, "phone" for a small one, "code" for a picture to be scanned; a rail without the difference ignores it.
    `title` is shown to the buyer. The rail calls `notify_url`; the buyer returns to `return_url`, which proves nothing.
    """

    order: str
    title: str
    amount: int
    currency: str
    expires_at: int
    locale: str
    return_url: str
    notify_url: str
    way: str = "page"


@dataclass(frozen=True, slots=True)
class Opened:
    """Where to pay: `url` is a page; or `code` is the text of a QR code that the buyer's app scans. `reference`: the rail's own name."""

    url: str | None = None
    code: str | None = None
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Refunding:
    """Money to give back. `refund` is our name of it, the same in every repetition, so that it moves once; `paid` was the whole.

    `payer`: the chat where it was paid, for rails that are a chat platform's own.
    """

    refund: str
    order: str
    charge: str
    amount: int
    paid: int
    currency: str
    reason: str = ""
    payer: str | None = None


class Returned(StrEnum):
    """What a rail answered about a refund."""

    DONE = "done"
    PENDING = "pending"  # under way; an event will tell, or asking again
    REFUSED = "refused"


class RailError(AetherflowError):
    """A rail did not do what it was asked. Facts: `problem`, in the rail's words."""

    code = "rail_error"


class RailAway(RailError):
    """It could not be reached, or was too busy: the same again later."""

    code = "rail_away"


class RailRefused(RailError):
    """It will never do this."""

    code = "rail_refused"


class BadSignature(RailError):
    """A callback that is not proved to come from the rail. Nothing of it is kept."""

    code = "bad_signature"


class Rail(Protocol):
    """One road. `name` is that of the setting and of the ledger's account `external:<name>`; `currency` what it takes."""

    name: str
    currency: str

    async def open(self, checkout: Checkout) -> Opened:
        """Lets the buyer pay. Repeating it for one order opens no second one. Raises RailAway, RailRefused."""

    def read(self, headers: Mapping[str, str], body: bytes, now: int) -> RailEvent | None:
        """A callback, as received; `headers` with lower-case names, `now` in microseconds. None: no matter of ours. Raises BadSignature."""

    async def ask(self, order: str, reference: str | None) -> RailEvent | None:
        """What became of an order; None when the rail does not know it (yet). Raises RailAway, RailRefused."""

    async def refund(self, refunding: Refunding) -> Returned:
        """Gives money back, once however often it is repeated. Raises RailAway."""

    async def close(self, order: str, reference: str | None) -> None:
        """Makes sure that an unpaid order can no longer be paid; one that is closed already is no error. Raises RailAway; RailRefused when
        it was paid meanwhile."""
