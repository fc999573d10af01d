"""Pure decisions about disputes: what a picture looks like, what is clear by rule, and what goes back to whom."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any

from PIL import Image, ImageStat

from core.db import DAY, MINUTE
from core.disputes.errors import BadAmount
from core.disputes.models import Dispute, State
from core.generations.rules import released
from core.ledger.models import INSURANCE, Leg, Posting, wallet
from core.money import split

FLAT = 1.5
"""Standard deviation of a channel (0 to 255) below which a picture shows nothing."""
RATIO_OFF = 0.04
"""How far the sides may be from what was asked: providers round to multiples of their own."""
SAMPLE = 256
"""Pixels of the longer side that are looked at."""
TAKEN = 30 * MINUTE
"""How long a dispute is an admin's who took it."""
REVERSE_DAYS = 30
"""How long after a rejection another verdict may take its place, and how long what another verdict gave may be taken back."""
REJECTED_WINDOW = 30 * DAY
"""The rejected disputes by which an opener is limited."""
NEXT: Mapping[State, frozenset[State]] = {
    State.OPEN: frozenset({State.REFUNDED, State.PARTLY, State.REJECTED, State.COMPENSATED}),
    State.REJECTED: frozenset({State.REFUNDED, State.PARTLY, State.COMPENSATED}),
    State.REFUNDED: frozenset({State.TAKEN_BACK}),
    State.PARTLY: frozenset({State.TAKEN_BACK}),
    State.COMPENSATED: frozenset({State.TAKEN_BACK}),
    State.TAKEN_BACK: frozenset(),
}
"""The transition table of a dispute's life."""


def refund(generation_id: int, payer: str, shares: Sequence[tuple[str, int]]) -> Posting:
    """The entry that turns a capture around: each share goes back whole, to whoever paid. Its key makes it once for each generation.

    >>> refund(7, "user:1:wallet", [("user:2:pending", 3825), ("platform:fees", 675)]).legs[-1]
    Leg(account='user:1:wallet', amount=4500)
    """
    back = tuple(Leg(account, -amount) for account, amount in shares if amount)
    return Posting(f"refund:generation:{generation_id}", "verdict", (*back, Leg(payer, sum(amount for _, amount in shares))))


def refund_part(generation_id: int, payer: str, shares: Sequence[tuple[str, int]], amount: int) -> tuple[Posting, Posting | None]:
    """The entry that takes `amount` back from all shares in proportion, and the one that releases what is left of what is pending: the case
    is closed, so nobody waits any longer. 0 < `amount` < the sum of the shares.

    >>> first, second = refund_part(7, "user:1:wallet", [("user:2:pending", 3825), ("platform:fees", 675)], 2000)
    >>> [leg.amount for leg in first.legs], [leg.amount for leg in second.legs]
    ([-1700, -300, 2000], [-2125, 2125])
    """
    parts = split(amount, [share for _, share in shares])
    back = tuple(Leg(account, -part) for (account, _), part in zip(shares, parts, strict=True) if part)
    rest = [(account, share - part) for (account, share), part in zip(shares, parts, strict=True)]
    return Posting(f"partial:generation:{generation_id}", "verdict", (*back, Leg(payer, amount))), released(generation_id, rest)


def compensation(dispute_id: int, user_id: int, amount: int) -> Posting:
    """Goodwill of the platform's insurance; the shares stay as they are."""
    return Posting(f"compensation:dispute:{dispute_id}", "goodwill", (Leg(INSURANCE, -amount), Leg(wallet(user_id), amount)))


def given_by(dispute: Dispute) -> str:
    """The business key of the entry by which its verdict gave Credits."""
    match dispute.state:
        case State.REFUNDED:
            return f"refund:generation:{dispute.generation_id}"
        case State.PARTLY:
            return f"partial:generation:{dispute.generation_id}"
        case State.COMPENSATED:
            return f"compensation:dispute:{dispute.id}"
    raise AssertionError(dispute.state)


def turn_around(key: str, legs: Sequence[Leg], debtors: Mapping[str, str]) -> Posting:
    """The entry that takes back what the entry of `key` gave: every account gets exactly what it had given. `debtors` names who gives
    it back where that is no longer the account that got it. Its key makes it once for each verdict.

    >>> turn_around("refund:generation:7", [Leg("platform:fees", -675), Leg("user:1:wallet", 675)], {"user:1:wallet": "user:4:wallet"}).legs
    (Leg(account='platform:fees', amount=675), Leg(account='user:4:wallet', amount=-675))
    """
    back = tuple(Leg(debtors.get(account, account) if amount > 0 else account, -amount) for account, amount in legs)
    return Posting(f"taken_back:{key}", "taken_back", back)


def release_again(generation_id: int, mirror: Posting) -> Posting | None:
    """What goes back to whoever earned by a part refund is spendable at once, as the rest was with the verdict; None when nothing goes."""
    due = released(generation_id, [leg for leg in mirror.legs if leg.amount > 0])
    return due and replace(due, key=f"released:taken_back:{generation_id}")


def examine(data: bytes, ratio: str | None) -> dict[str, Any]:
    """What is seen of a picture: its size, how much its brightness varies, and whether its sides are as promised (None: nothing is).

    Bytes that cannot be read vary by nothing: nobody sees a picture.
    """
    try:
        with Image.open(BytesIO(data)) as image:
            width, height = image.size
            image.draft("RGB", (SAMPLE, SAMPLE))
            small = image.convert("RGB")
            small.thumbnail((SAMPLE, SAMPLE))
    except Exception as error:  # noqa: BLE001  # pillow's parsers raise anything at all on nonsense; whatever it is, it means "no picture"
        return {"problem": type(error).__name__, "varies": 0.0}
    varies = max(ImageStat.Stat(small).stddev)
    fits = None
    if ratio is not None:
        across, _, down = ratio.partition(":")
        fits = abs(width / height * int(down) / int(across) - 1) <= RATIO_OFF
    return {"width": width, "height": height, "varies": round(varies, 2), "ratio": ratio, "fits": fits}


def clear(evidence: Mapping[str, Any]) -> str | None:
    """What is clear without asking anybody, as the reason's code: an empty picture (one of a single color is), a copy of an earlier one,
    or sides that are not as asked. None: people decide.

    >>> clear({"varies": 0.2, "fits": True}), clear({"varies": 40, "fits": False}), clear({"varies": 40, "fits": None})
    ('blank', 'wrong_size', None)
    >>> clear({"varies": 40, "fits": True, "copied": True}), clear({"varies": 40, "fits": True, "copy_of": 3, "copied": False})
    ('duplicate', None)
    """
    if evidence.get("varies", 255) < FLAT:
        return "blank"
    if evidence.get("copied"):
        return "duplicate"
    return "wrong_size" if evidence.get("fits") is False else None


def checks(evidence: Mapping[str, Any]) -> list[tuple[str, bool | None]]:
    """What was looked at, by name: whether it is as it should be; None where there is nothing to hold it against, or people decide.

    >>> checks({"varies": 0.2, "fits": None, "copy_of": 3, "copied": False})
    [('readable', True), ('shows', False), ('fits', None), ('own', None)]
    >>> checks({"varies": 40, "fits": True, "copy_of": None})[-2:], checks({"varies": 40, "copy_of": 3, "copied": True})[-1]
    ([('fits', True), ('own', True)], ('own', False))
    """
    own = True if evidence.get("copy_of") is None else False if evidence.get("copied") else None
    shows = evidence.get("varies", 255) >= FLAT
    return [("readable", "problem" not in evidence), ("shows", shows), ("fits", evidence.get("fits")), ("own", own)]


def is_copy(mine: Mapping[str, Any], earlier: Mapping[str, Any]) -> bool:
    """Whether it is clear that a picture with the very bytes of an `earlier` one should not have them: it was drawn from words alone, its
    seed was left to the provider, and the earlier one was made for another prompt or another user.

    All else may well give the same picture, also on purpose: a seed that was chosen with words that mean the same to a model, or a picture
    that is sent and enlarged twice. People decide about it.
    """
    if mine["operation"] != "generate" or json.loads(mine["parameters"]).get("seed") is not None:
        return False
    return bool(mine["prompt"] != earlier["prompt"] or mine["user_id"] != earlier["user_id"])


def moved(verdict: State, paid: int, amount: int) -> int:
    """Milli-credits that a verdict moves. Raises BadAmount where `amount` is no part of what was paid.

    >>> moved(State.REFUNDED, 4500, 0), moved(State.PARTLY, 4500, 2000), moved(State.REJECTED, 4500, 0)
    (4500, 2000, 0)
    """
    if verdict in (State.REFUNDED, State.REJECTED):
        return paid if verdict is State.REFUNDED else 0
    if not 0 < amount < paid + (verdict is State.COMPENSATED):
        raise BadAmount(most=paid)
    return amount
