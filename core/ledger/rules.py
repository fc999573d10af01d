"""What a batch of steps does to balances: decided here, in memory, over rows that the service has locked."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from core.errors import Refusal
from core.ledger.errors import CaptureExceedsHold, HoldClosed, HoldNotFound, InsufficientCredits, KeyReused
from core.ledger.models import (
    GRANTS,
    MAX_KEY,
    MAX_LEGS,
    Capture,
    Entry,
    Hold,
    HoldRow,
    Leg,
    Posting,
    Release,
    Step,
    held_account,
    is_guarded,
    wallet,
)
from core.money import MAX_AMOUNT

Answer = Entry | Refusal


@dataclass(slots=True)
class Plan:
    """What has to be written: one tuple per row, in the order of the columns named."""

    answers: list[Answer] = field(default_factory=list)
    entries: list[tuple[str, str, str]] = field(default_factory=list)  # key, kind, content
    legs: list[tuple[str, int, str, int, int | None]] = field(default_factory=list)  # key, position, account, amount, balance after
    holds: list[tuple[str, str, int, int]] = field(default_factory=list)  # key, payer, amount, expires at
    closed: list[tuple[str, str]] = field(default_factory=list)  # hold's key, closing entry's key
    deltas: dict[str, int] = field(default_factory=dict)  # guarded accounts only


def gift(key: str, user_id: int, amount: int) -> Posting:
    """Credits out of nothing but somebody's word, into a user's wallet."""
    return Posting(key, "grant", (Leg(GRANTS, -amount), Leg(wallet(user_id), amount)))


def content_of(step: Step) -> str:
    """A digest of what a step asks for. A replay must have the same; the time of expiry does not count."""
    match step:
        case Posting(_, kind, legs):
            parts: list[object] = ["post", kind, legs]
        case Hold(_, payer, amount):
            parts = ["hold", payer, amount]
        case Capture(_, hold, shares):
            parts = ["capture", hold, shares]
        case Release(_, hold, kind):
            parts = [kind, hold]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def accounts_of(steps: Sequence[Step], holds: Mapping[str, HoldRow]) -> set[str]:
    """Every account that a batch may touch."""
    touched: set[str] = set()
    payers = {hold.key: hold.payer for hold in holds.values()} | {step.key: step.payer for step in steps if isinstance(step, Hold)}
    for step in steps:
        match step:
            case Posting(_, _, legs):
                touched.update(leg.account for leg in legs)
            case Hold(_, payer):
                touched.update((payer, held_account(payer)))
            case Capture(_, hold) | Release(_, hold):
                if known := payers.get(hold):
                    touched.update((known, held_account(known)))
                if isinstance(step, Capture):
                    touched.update(share.account for share in step.shares)
    return touched


def decide(steps: Sequence[Step], balances: Mapping[str, int], seen: Mapping[str, str], holds: Mapping[str, HoldRow]) -> Plan:
    """Answers each step in order, as if it had come alone; a refused step leaves no trace on the next.

    `balances`: guarded accounts, locked. `seen`: business key -> content of entries that exist. `holds`: those that the steps name.
    Raises AssertionError for what only a bug can ask for: legs that do not sum to zero, an amount that is not positive.
    """
    plan = Plan()
    now = dict(balances)
    known = dict(seen)
    open_holds = dict(holds)
    for step in steps:
        assert len(step.key) <= MAX_KEY
        content = content_of(step)
        if (before := known.get(step.key)) is not None:
            plan.answers.append(Entry(step.key, replayed=True) if before == content else KeyReused(key=step.key))
            continue
        legs = _legs_of(step, open_holds)
        refusal = legs if isinstance(legs, Refusal) else _shortage(legs, now)
        if refusal is not None:
            plan.answers.append(refusal)
            continue
        assert not isinstance(legs, Refusal)
        known[step.key] = content
        _record(plan, step, content, legs, now)
        match step:
            case Hold(key, payer, amount, expires_at):
                plan.holds.append((key, payer, amount, expires_at))
                open_holds[key] = HoldRow(key, payer, amount, closed=False)
            case Capture(key, hold) | Release(key, hold):
                plan.closed.append((hold, key))
                row = open_holds[hold]
                open_holds[hold] = HoldRow(hold, row.payer, row.amount, closed=True)
            case Posting():
                pass
        plan.answers.append(Entry(step.key))
    return plan


def _legs_of(step: Step, holds: Mapping[str, HoldRow]) -> tuple[Leg, ...] | Refusal:
    match step:
        case Posting(_, _, legs):
            assert 2 <= len(legs) <= MAX_LEGS and sum(leg.amount for leg in legs) == 0, step
            assert all(leg.amount and abs(leg.amount) <= MAX_AMOUNT for leg in legs), step
            return legs
        case Hold(_, payer, amount):
            assert 0 < amount <= MAX_AMOUNT, step
            return (Leg(payer, -amount), Leg(held_account(payer), amount))
        case Capture(_, name) | Release(_, name):
            hold = holds.get(name)
            if hold is None:
                return HoldNotFound(hold=name)
            if hold.closed:
                return HoldClosed(hold=name)
            taken = (Leg(held_account(hold.payer), -hold.amount),)
            shares = tuple(share for share in step.shares if share.amount) if isinstance(step, Capture) else ()
            assert all(share.amount > 0 for share in shares), step
            rest = hold.amount - sum(share.amount for share in shares)
            if rest < 0:
                return CaptureExceedsHold(hold=name, held=hold.amount, asked=hold.amount - rest)
            return taken + shares + ((Leg(hold.payer, rest),) if rest else ())


def _shortage(legs: Sequence[Leg], balances: Mapping[str, int]) -> Refusal | None:
    needed: dict[str, int] = {}
    for leg in legs:
        if is_guarded(leg.account):
            needed[leg.account] = needed.get(leg.account, 0) + leg.amount
    for account, change in needed.items():
        if balances[account] + change < 0:
            return InsufficientCredits(account=account, needed=-change, available=balances[account])
    return None


def _record(plan: Plan, step: Step, content: str, legs: Sequence[Leg], balances: dict[str, int]) -> None:
    kind = step.kind if isinstance(step, Posting | Release) else type(step).__name__.lower()
    plan.entries.append((step.key, kind, content))
    for position, (account, amount) in enumerate(legs):
        after: int | None = None
        if is_guarded(account):
            after = balances[account] = balances[account] + amount
            plan.deltas[account] = plan.deltas.get(account, 0) + amount
        plan.legs.append((step.key, position, account, amount, after))
