"""Decisions about payments, pure: what a rail's word does to one, and how much goes back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.ledger.models import BAD_DEBT, DEBTORS, Leg, debt, earnings, wallet
from core.payments.models import Payment, State, external
from core.payments.rails.base import RailEvent, Said
from core.pools.models import pool

_BEFORE = frozenset({State.CREATED, State.PENDING})
_OVER = frozenset({State.FAILED, State.EXPIRED})
SETTLED = frozenset({State.PAID, State.PART_REFUNDED, State.REFUNDED, State.CHARGED_BACK})
"""The money came, whatever became of it later."""

WHOLE_ONLY = frozenset({"stars"})
"""Rails that give a payment back whole or not at all."""

MOVES: Mapping[Said, tuple[frozenset[State], State | None]] = {
    Said.PENDING: (frozenset({State.CREATED}), State.PENDING),
    # What a rail says was paid was paid, also after we gave it up: keeping the money and no Credits would be worse.
    Said.PAID: (_BEFORE | _OVER, State.PAID),
    Said.FAILED: (_BEFORE, State.FAILED),
    Said.EXPIRED: (_BEFORE, State.EXPIRED),
    Said.REFUNDED: (SETTLED, None),  # part_refunded or refunded, by the sum
    Said.REFUND_FAILED: (SETTLED, None),
    Said.CHARGED_BACK: (SETTLED, State.CHARGED_BACK),
    Said.CHARGEBACK_WON: (SETTLED, None),  # back to what it was before, by the sum
    Said.CHARGEBACK_LOST: (SETTLED, State.CHARGED_BACK),
}
"""The one transition table: what is said -> (the states in which it means something, the state that follows)."""


def mismatch(payment: Payment, rail: str, event: RailEvent) -> str | None:
    """What does not agree between an order and a rail's word about it; None when all of it does."""
    if payment.rail != rail:
        return "rail"
    if not event.ours:
        return "seller"
    if event.currency is not None and event.currency.upper() != payment.currency:
        return "currency"
    if event.said is Said.PAID and (event.amount != payment.amount or event.currency is None or not event.charge):
        return "amount"
    if event.said is not Said.PAID and not event.refund and payment.charge and event.charge and event.charge != payment.charge:
        return "charge"
    return None


def is_early(payment: Payment, event: RailEvent) -> bool:
    """Whether money is said to go back that we do not know to have come: the rail has to be asked first."""
    return MOVES[event.said][0] is SETTLED and payment.state not in SETTLED


def after_return(payment: Payment, refunded: int, charged_back: bool) -> State:
    """The state of a settled payment of which so much went back."""
    if charged_back:
        return State.CHARGED_BACK
    if refunded == 0:
        return State.PAID
    return State.REFUNDED if refunded == payment.amount else State.PART_REFUNDED


def share(payment: Payment, amount: int) -> int:
    """Milli-credits that so much of the money stands for: in proportion, rounded down; the whole for the whole."""
    return payment.credits * amount // payment.amount


def worth(payment: Payment, credits: int) -> int:
    """How much money so many Credits of a payment stand for, rounded down; the whole for the whole."""
    return payment.amount * credits // payment.credits


@dataclass(frozen=True, slots=True)
class Purse:
    """A user's balances, locked, and that of the pool that a payment is for; milli-credits."""

    wallet: int
    earnings: int
    debt: int
    pool: int = 0


def crediting(user_id: int, rail: str, credits: int, purse: Purse) -> tuple[Leg, ...]:
    """The legs that give Credits: a debt is paid first."""
    repaid = min(purse.debt, credits)
    legs = [Leg(external(rail), -credits), Leg(wallet(user_id), credits - repaid)]
    legs += [Leg(BAD_DEBT, repaid), Leg(debt(user_id), -repaid), Leg(DEBTORS, repaid)]
    return tuple(leg for leg in legs if leg.amount)


def taking(user_id: int, rail: str, credits: int, purse: Purse) -> tuple[Leg, ...]:
    """The legs that take Credits back: from the wallet, then from earnings; what is spent becomes a debt, carried as bad debt."""
    from_wallet = min(purse.wallet, credits)
    from_earnings = min(purse.earnings, credits - from_wallet)
    owed = credits - from_wallet - from_earnings
    legs = [Leg(wallet(user_id), -from_wallet), Leg(earnings(user_id), -from_earnings), Leg(external(rail), credits)]
    legs += [Leg(BAD_DEBT, -owed), Leg(debt(user_id), owed), Leg(DEBTORS, -owed)]
    return tuple(leg for leg in legs if leg.amount)


def pooling(user_id: int, community_id: int, rail: str, credits: int) -> tuple[Leg, ...]:
    """The legs that bring Credits into a pool, by their buyer's wallet: so it is theirs that they gave them."""
    legs = (Leg(external(rail), -credits), Leg(wallet(user_id), credits), Leg(wallet(user_id), -credits), Leg(pool(community_id), credits))
    return legs if credits else ()


def unpooling(user_id: int, community_id: int, rail: str, credits: int, purse: Purse) -> tuple[tuple[Leg, ...], int]:
    """The legs that take Credits back which were bought into a pool, and how many of them are the pool's: what it still has.

    The rest is taken as any that were bought: from the buyer's wallet, then from earnings, and what is left becomes a debt.
    """
    pooled = min(purse.pool, credits)
    back = tuple(Leg(leg.account, -leg.amount) for leg in reversed(pooling(user_id, community_id, rail, pooled)))
    return back + taking(user_id, rail, credits - pooled, purse), pooled


def collecting(user_id: int, purse: Purse) -> tuple[Leg, ...]:
    """The legs that pay a debt from what has come into the wallet since."""
    paid = min(purse.debt, purse.wallet)
    return (Leg(wallet(user_id), -paid), Leg(BAD_DEBT, paid), Leg(debt(user_id), -paid), Leg(DEBTORS, paid)) if paid else ()


def refundable(payment: Payment, purse: Purse, bought: int) -> int:
    """Milli-credits of a payment that are unspent. `bought`: all that the user ever bought and that was not taken back.

    Gifts are spent before what was bought, so what is left in the wallet is bought first, up to all that was bought; what is left in a
    pool likewise.
    """
    if payment.community_id is not None:
        return max(0, min(payment.credits - payment.returned, purse.pool))
    return max(0, min(payment.credits - payment.returned, purse.wallet, bought))


def rails_for(platform: str, rails_on: Sequence[str]) -> list[str]:
    """The rails that a platform's rules allow, of those that are on: inside Telegram digital goods are sold for Stars alone, and Stars
    exist nowhere else (Bot Developer Terms 6.2)."""
    return [each for each in rails_on if (each == "stars") == (platform == "telegram")]
