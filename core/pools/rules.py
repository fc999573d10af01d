"""Pure decisions about pools: whether one pays, and what a rule may be."""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace

from core.db import DAY
from core.errors import Refusal
from core.money import parse_credits
from core.pools.errors import BadPolicy, PoolCap, PoolClosed, PoolEmpty
from core.pools.models import Policy, Spenders

HOUR_SECONDS, DAY_HOURS = 3600, 24
NONE = ("", "-", "none")
CAPS = ("request_cap", "member_cap", "day_cap")
SEEN = 30 * DAY
"""How long it counts over HTTP that somebody was let spend, or ordered from the pool in its group."""


def refusal(
    policy: Policy,
    *,
    order: str,
    model: str,
    price: int,
    balance: int,
    member_today: int,
    all_today: int,
    admin: bool,
    listed: bool,
    now: float,
) -> Refusal | None:
    """Why the pool does not pay `price` (milli-credits) for this, or None. `now` in seconds; the sums are of its day (UTC).

    `admin`: the asker administers the group or server; `listed`: its admins let them spend.
    """
    if not policy.enabled:
        return PoolClosed(why="off", order=order)
    if (policy.spenders is Spenders.ADMINS and not admin) or (policy.spenders is Spenders.LIST and not listed):
        return PoolClosed(why=policy.spenders.value, order=order)
    if policy.models and model not in policy.models:
        return PoolClosed(why="model", order=order)
    if policy.quiet is not None and is_quiet(policy.quiet, now):
        return PoolClosed(why="quiet", order=order)
    caps = (("request", policy.request_cap, 0), ("member", policy.member_cap, member_today), ("day", policy.day_cap, all_today))
    for cap, most, used in caps:
        if most is not None and used + price > most:
            return PoolCap(cap=cap, needed=price, left=max(0, most - used), order=order)
    if balance < price:
        return PoolEmpty(needed=price, available=balance, order=order)
    return None


def closed_to(policy: Policy, *, order: str, listed: bool, seen: bool) -> PoolClosed | None:
    """Why a pool does not pay for whoever asks without a group, or None: its admins name who may spend, `listed` is among them, and was
    `seen` there within SEEN. Every rule but the list refuses: it asks what only a platform knows.

    >>> policy = Policy(spenders=Spenders.LIST)
    >>> closed_to(policy, order="", listed=True, seen=True) is None
    True
    >>> [closed_to(policy, order="", listed=each, seen=False).facts["why"] for each in (False, True)]
    ['remote', 'unseen']
    >>> closed_to(Policy(), order="", listed=True, seen=True).facts["why"]
    'remote'
    """
    if policy.spenders is not Spenders.LIST or not listed:
        return PoolClosed(why="remote", order=order)
    return None if seen else PoolClosed(why="unseen", order=order)


def is_quiet(hours: tuple[int, int], now: float) -> bool:
    """Whether `now` (seconds) is within quiet hours, which may go over midnight.

    >>> is_quiet((22, 7), 23 * 3600), is_quiet((22, 7), 6 * 3600), is_quiet((22, 7), 7 * 3600), is_quiet((9, 17), 12 * 3600)
    (True, True, False, True)
    """
    start, end = hours
    hour = int(now // HOUR_SECONDS) % DAY_HOURS
    return start <= hour < end if start < end else hour >= start or hour < end


def read_policy(answers: Mapping[str, str], now: Policy, models: Collection[str]) -> Policy:
    """The policy as a form says it; what the form does not ask stays. Raises BadPolicy with the field that is wrong."""
    caps = {name: _cap(name, answers[name]) if name in answers else getattr(now, name) for name in CAPS}
    named = answers.get("models")
    chosen = now.models if named is None else frozenset(() if named.strip() in NONE else named.replace(",", " ").split())
    if named is not None and chosen - set(models):
        raise BadPolicy(field="models")
    quiet = now.quiet if "quiet" not in answers else _quiet(answers["quiet"])
    return replace(now, request_cap=caps["request_cap"], member_cap=caps["member_cap"], day_cap=caps["day_cap"], models=chosen, quiet=quiet)


def read_quiet(text: str) -> tuple[int, int] | None:
    """Quiet hours as they are kept.

    >>> read_quiet("22-7"), read_quiet("")
    ((22, 7), None)
    """
    start, _, end = text.partition("-")
    return (int(start), int(end)) if end else None


def _cap(name: str, text: str) -> int | None:
    if text.strip().lower() in NONE:
        return None
    try:
        amount = parse_credits(text)
    except ValueError:
        raise BadPolicy(field=name) from None
    if amount <= 0:
        raise BadPolicy(field=name)
    return amount


def _quiet(text: str) -> tuple[int, int] | None:
    if text.strip().lower() in NONE:
        return None
    found = re.fullmatch(r"\s*(\d{1,2})\s*-\s*(\d{1,2})\s*", text, re.ASCII)
    if found is None or not (int(found[1]) < DAY_HOURS and int(found[2]) < DAY_HOURS) or int(found[1]) == int(found[2]):
        raise BadPolicy(field="quiet")
    return int(found[1]), int(found[2])
