"""Pure decisions about generations: what may be asked, what it costs, how it is split, and what follows from an outcome."""

import hashlib
import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date
from itertools import pairwise

from core.catalog import MAX_PROMPT, MAX_SEED, BadParameter, Catalog, Model
from core.generations.errors import BadPrompt
from core.generations.models import Order, OutcomeKind, Parameters, Settlement, State, Wish
from core.ledger.models import FEES, Leg, Posting, earnings, pending
from core.money import split
from core.providers.base import Fault

NEXT: Mapping[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED, State.FAILED}),
    State.RUNNING: frozenset({State.QUEUED, State.DELIVERED, State.FAILED}),
    State.DELIVERED: frozenset({State.DISPUTED}),
    State.DISPUTED: frozenset({State.DELIVERED, State.REFUNDED}),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
    State.REFUNDED: frozenset({State.DELIVERED}),  # where the refund is taken back
}
"""The transition table of a generation's life."""

_MARKS = frozenset("\u200e\u200f\u061c")
"""What Arabic and Hebrew keyboards type beside punctuation: a mark orders its neighbors and turns nothing around."""
_JOINERS = frozenset("\u200c\u200d")
_BLANKS = frozenset("\u3164\uffa0\u2800")
"""Letters that look like none."""
_SIGNS = frozenset(map(chr, (*range(0x600, 0x606), 0x6DD)))
"""Arabic signs below numbers: Unicode counts them as format characters, yet they are seen."""
_BLACK_FLAG = "\U0001f3f4"
_TAGS = range(0xE0020, 0xE0080)


def clean_prompt(text: str, *, flag: str = "prompt", may_be_empty: bool = False) -> str:
    """A prompt as it is kept: normal form, trimmed. Raises BadPrompt when it is empty, too long, or has characters that do not show."""
    cleaned = unicodedata.normalize("NFC", text).replace("\r\n", "\n").strip()
    if len(cleaned) > MAX_PROMPT:
        raise BadPrompt(problem="long", flag=flag, length=len(cleaned), limit=MAX_PROMPT)
    for before, each in pairwise(" " + cleaned):
        if not _shows(each, before):
            raise BadPrompt(problem="control", flag=flag, character=f"U+{ord(each):04X}")
    if not cleaned.strip("".join(_MARKS | _JOINERS) + " \n\t"):
        if not may_be_empty:
            raise BadPrompt(problem="empty", flag=flag)
        return ""
    return cleaned


def _shows(each: str, before: str) -> bool:
    """Whether a character makes a prompt read as it is. Those that turn text around or hide in it do not.

    Direction marks are harmless; joiners belong to scripts and emoji that need them (they stand after such a letter or sign, never after
    one of Latin, Greek or Cyrillic; what this Python does not know yet may be an emoji), and tags to flags such as Scotland's.

    >>> _shows("\u202e", "a"), _shows("\u200f", "a"), _shows("\u200d", "👩"), _shows("\u200c", "می"[-1]), _shows("\u200d", "a")
    (False, True, True, True, False)
    """
    if each in _MARKS or each in _SIGNS or each in "\n\t":
        return True
    if each in _JOINERS:
        return unicodedata.category(before) in ("Lo", "Lm", "Mn", "Mc", "So", "Sk", "Cn")
    if ord(each) in _TAGS:
        return before == _BLACK_FLAG or ord(before) in _TAGS
    return each not in _BLANKS and unicodedata.category(each) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def check(wish: Wish, catalog: Catalog, today: date) -> tuple[Wish, Model, int]:
    """The wish with its defaults filled in, its model, and its price in milli-credits.

    Raises BadPrompt, UnknownModel, or BadParameter for the first flag that the model does not take.
    """
    defaults = {"generate": catalog.default_model, "edit": catalog.default_edit, "upscale": catalog.default_upscale}
    model = catalog.find(wish.model or defaults[wish.operation], today)
    if wish.operation not in model.operations:
        able = sorted(each.id for each in catalog.sale(today).values() if wish.operation in each.operations)
        raise BadParameter(flag="model", value=model.id, allowed=able, model=model.id)
    prompt = clean_prompt(wish.prompt, may_be_empty=wish.operation == "upscale")
    given = wish.parameters
    negative = clean_prompt(given.negative, flag="no", may_be_empty=True)
    _one_of("style", given.style, model.styles, model)
    _one_of("quality", given.quality, tuple(model.qualities), model)
    if model.ratios:
        _one_of("ar", given.ratio, model.ratios, model)
    if given.seed is not None:
        _taken("seed", str(given.seed), model.seed, model)
        if not 0 <= given.seed <= MAX_SEED:
            raise BadParameter(flag="seed", value=str(given.seed), allowed=[f"0–{MAX_SEED}"], model=model.id)
    if negative:
        _taken("no", negative[:20], model.negative, model)
    parameters = replace(given, negative=negative, quality=given.quality or model.default_quality)
    return replace(wish, prompt=prompt, model=model.id, parameters=parameters), model, model.price_of(parameters.quality)


def _one_of(flag: str, value: str | None, allowed: tuple[str, ...], model: Model) -> None:
    if value is not None and value not in allowed:
        raise BadParameter(flag=flag, value=value[:40], allowed=list(allowed), model=model.id)


def _taken(flag: str, value: str, supported: bool, model: Model) -> None:
    if not supported:
        raise BadParameter(flag=flag, value=value, allowed=[], model=model.id)


def content_of(order: Order) -> str:
    """A digest of what is asked for; the same key with another content is refused."""
    wish = order.wish
    parts = [order.user_id, wish.model, wish.operation, wish.prompt, asdict(wish.parameters), wish.parent_id, order.price, wish.preset_id]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def split_price(price: int, owner_id: int, miner_percent: int, author_id: int | None = None, royalty_percent: int = 0) -> tuple[Leg, ...]:
    """Who gets what of a captured price: the miner's share and a preset author's royalty pending, the rest as fees.

    The royalty comes out of the fees, rounded down, so the miner's share is the same with and without. The parts sum to the price.

    >>> [leg.amount for leg in split_price(4500, 1, 85, author_id=2, royalty_percent=5)]
    [3825, 225, 450]
    """
    miner, fee = split(price, [miner_percent, 100 - miner_percent])
    royalty = min(fee, price * royalty_percent // 100) if author_id is not None else 0
    if author_id == owner_id:
        return (Leg(pending(owner_id), miner + royalty), Leg(FEES, fee - royalty))
    author = (Leg(pending(author_id), royalty),) if author_id is not None and royalty else ()
    return (Leg(pending(owner_id), miner), *author, Leg(FEES, fee - royalty))


def earners(shares: Sequence[tuple[str, int]]) -> set[int]:
    """The users who earn by a picture, from the shares of its capture.

    >>> sorted(earners([("user:2:pending", 3825), ("user:3:pending", 225), ("platform:fees", 450)]))
    [2, 3]
    """
    return {int(account.split(":")[1]) for account, _ in shares if account.startswith("user:")}


def released(generation_id: int, shares: Sequence[tuple[str, int]]) -> Posting | None:
    """The entry that makes what is pending of these shares spendable, once for each generation; None when nothing is."""
    due = [
        (owner, amount)
        for owner in sorted(earners(shares))
        if (amount := sum(each for account, each in shares if account == pending(owner)))
    ]
    legs = tuple(leg for owner, amount in due for leg in (Leg(pending(owner), -amount), Leg(earnings(owner), amount)))
    return Posting(f"released:{generation_id}", "release", legs) if legs else None


def tries_left(settlement: Settlement, tried: int, most: int, now: int, deadline: int) -> str | None:
    """None when the generation goes back into the queue after a failed attempt; else why it has failed for good."""
    if settlement.fault == Fault.FORBIDDEN:
        return "forbidden_prompt"
    if settlement.fault == Fault.WITHHELD:
        return "withheld"
    if settlement.kind is OutcomeKind.REJECTED:
        return "moderated"
    if settlement.fault == Fault.BAD_REQUEST:
        return "bad_request"
    if now >= deadline:
        return "too_late"
    if tried >= most:
        return "out_of_tries"
    return None


def capability(model: Model, parameters: Parameters) -> str:
    """What a resource must be able to serve, with the quality where it has its own price: "openai:gpt-image-2@high"."""
    return f"{model.capability}@{parameters.quality}" if model.qualities else model.capability
