"""Pure decisions about pools: whether one pays, and what a rule may be."""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace

from core.errors import Refusal
from core.money import parse_credits
from core.pools.errors import BadPolicy, PoolCap, PoolClosed, PoolEmpty, TooManyChosen
from core.pools.models import MAX_CHOSEN, MAX_NAMES, Asker, Named, Policy, Spenders

HOUR_SECONDS, DAY_HOURS = 3600, 24
NONE = ("", "-", "none")
CAPS = ("request_cap", "member_cap", "day_cap")


def refusal(
    policy: Policy,
    *,
    order: str,
    model: str,
    price: int,
    balance: int,
    member_today: int,
    all_today: int,
    asker: Asker,
    now: float,
) -> Refusal | None:
    """Why the pool does not pay `price` (milli-credits) for this, or None. `now` in seconds; the sums are of its day (UTC)."""
    if why := closed(policy, asker, model, now):
        return PoolClosed(why=why, order=order)
    caps = (("request", policy.request_cap, 0), ("member", policy.member_cap, member_today), ("day", policy.day_cap, all_today))
    for cap, most, used in caps:
        if most is not None and used + price > most:
            return PoolCap(cap=cap, needed=price, left=max(0, most - used), order=order)
    if balance < price:
        return PoolEmpty(needed=price, available=balance, order=order)
    return None


def closed(policy: Policy, asker: Asker, model: str, now: float) -> str:
    """The word for what the rules do not allow, as PoolClosed has it, whatever there is to spend; empty where they allow it."""
    if not policy.enabled:
        return "off"
    if why := shut_out(policy, asker):
        return why
    if policy.models and model not in policy.models:
        return "model"
    if policy.presets and asker.preset not in policy.presets:
        return "preset"
    if policy.channels and not {key for key, _ in policy.channels} & set(asker.channels):
        return "channel"
    return "quiet" if policy.quiet is not None and is_quiet(policy.quiet, now) else ""


def shut_out(policy: Policy, asker: Asker) -> str:
    """Why somebody may not spend at all, or an empty text.

    >>> shut_out(Policy(spenders=Spenders.ROLES, roles=(("7", "Painters"),)), Asker(roles=("7", "8")))
    ''
    >>> shut_out(Policy(spenders=Spenders.ROLES), Asker(roles=("7",))), shut_out(Policy(spenders=Spenders.ROLES), Asker())
    ('roles', 'no_roles')
    """
    if not asker.member:
        return "left"
    if policy.spenders is Spenders.ADMINS:
        return "" if asker.admin else "admins"
    if policy.spenders is Spenders.LIST:
        return "" if asker.listed else "list"
    if policy.spenders is Spenders.ROLES and asker.roles is None:
        return "no_roles"
    has = policy.spenders is not Spenders.ROLES or {key for key, _ in policy.roles} & set(asker.roles or ())
    return "" if has else "roles"


def toggled(chosen: tuple[Named, ...], one: Named) -> tuple[Named, ...]:
    """One role or channel more, or one less where it was among them. Raises TooManyChosen.

    >>> toggled((("1", "a"),), ("2", "b")), toggled((("1", "a"), ("2", "b")), ("1", "c"))
    ((('1', 'a'), ('2', 'b')), (('2', 'b'),))
    """
    left = tuple(each for each in chosen if each[0] != one[0])
    if left != chosen:
        return left
    if len(chosen) >= MAX_CHOSEN:
        raise TooManyChosen(limit=MAX_CHOSEN)
    return (*chosen, one)


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
    chosen = now.models if "models" not in answers else read_names(answers["models"])
    if "models" in answers and chosen - set(models):
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


def read_names(text: str) -> frozenset[str]:
    """Names between spaces or commas; none for "-".

    >>> sorted(read_names("core, ultra")), read_names("-")
    (['core', 'ultra'], frozenset())
    """
    return frozenset(() if text.strip().lower() in NONE else text.replace(",", " ").lower().split())


def read_presets(text: str, known: Collection[str]) -> frozenset[str]:
    """The presets that a rule names, of those that there are. Raises BadPolicy."""
    named = read_names(text)
    if named - set(known) or len(" ".join(named)) > MAX_NAMES:
        raise BadPolicy(field="presets")
    return named


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
