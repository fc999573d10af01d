"""Pure decisions about pools: whether one pays, and what a rule may be."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from core.db import DAY
from core.errors import Refusal
from core.money import parse_credits
from core.pools.errors import BadPledge, BadPolicy, PoolCap, PoolClosed, PoolEmpty, TooManyChosen, VotesNeeded
from core.pools.models import MAX_CHOSEN, MAX_NAMES, Asker, Every, Named, Pledge, Policy, Refill, Spenders

HOUR_SECONDS, DAY_HOURS, SECOND = 3600, 24, 1_000_000
NONE = ("", "-", "none")
MAX_VOTES = 20
"""Members whose agreement a rule may ask for at most."""
MAX_PERCENT = 100
"""Of a gift, what a sponsor adds at most."""
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
    asker: Asker,
    now: float,
    agreed: bool = False,
) -> Refusal | None:
    """Why the pool does not pay `price` (milli-credits) for this, or None. `now` in seconds; the sums are of its day (UTC).

    `agreed`: as many members as are needed do.
    """
    if why := closed(policy, asker, model, now):
        return PoolClosed(why=why, order=order)
    caps = (("request", policy.request_cap, 0), ("member", policy.member_cap, member_today), ("day", policy.day_cap, all_today))
    for cap, most, used in caps:
        if most is not None and used + price > most:
            return PoolCap(cap=cap, needed=price, left=max(0, most - used), order=order)
    if balance < price:
        return PoolEmpty(needed=price, available=balance, order=order)
    if policy.vote_above is not None and price > policy.vote_above and not agreed:
        return VotesNeeded(votes=policy.votes, above=policy.vote_above, order=order)
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


def voting(policy: Policy) -> str:
    """A word for who may vote by these rules: another word, other people.

    >>> voting(Policy()), voting(Policy(spenders=Spenders.ROLES, roles=(("7", "Painters"),)))
    ('all', 'roles:d7e47d2')
    """
    if policy.spenders is not Spenders.ROLES:
        return policy.spenders.value
    return f"roles:{sha256(' '.join(sorted(key for key, _ in policy.roles)).encode()).hexdigest()[:7]}"


def votes_needed(policy: Policy, price: int, said: int) -> int:
    """How many have to agree to a price now: as many as was said, or more where the rule has become stricter since.

    >>> [votes_needed(Policy(vote_above=above, votes=votes), 20_000, 2) for above, votes in ((9_000, 3), (9_000, 1), (None, 0))]
    [3, 2, 2]
    """
    asks = policy.vote_above is not None and price > policy.vote_above
    return max(said, policy.votes) if asks else said


def read_votes(answers: Mapping[str, str], now: Policy) -> Policy:
    """The policy with the rule of votes as a form says it; an amount of nothing ends the rule. Raises BadPolicy."""
    above = _cap("vote_above", answers.get("vote_above", ""))
    if above is None:
        return replace(now, vote_above=None, votes=0)
    text = answers.get("votes", "").strip()
    votes = int(text) if re.fullmatch(r"\d{1,3}", text, re.ASCII) else 0
    if not 1 <= votes <= MAX_VOTES:
        raise BadPolicy(field="votes")
    return replace(now, vote_above=above, votes=votes)


def match(pledges: Sequence[Pledge], giver: int, amount: int, wallets: Mapping[int, int]) -> list[tuple[Pledge, int]]:
    """What each sponsor adds to a gift of `amount`: their percentage rounded down, up to what is left of their word and of their wallet.

    `wallets`: milli-credits by sponsor; who is not in it adds nothing, and nobody adds to what they give themselves.

    >>> one, two = Pledge(1, 1, 7, "a", 100, 50, 30), Pledge(2, 1, 8, "b", 50, 90, 0)
    >>> [added for _, added in match([one, two], 9, 25, {7: 100, 8: 5})], [added for _, added in match([one, two], 7, 25, {7: 100, 8: 99})]
    ([20, 5], [12])
    """
    left = dict(wallets)
    found = []
    for pledge in pledges:
        added = min(amount * pledge.percent // 100, pledge.left, left.get(pledge.user_id, 0))
        if pledge.user_id != giver and added > 0:
            left[pledge.user_id] -= added
            found.append((pledge, added))
    return found


def read_pledge(answers: Mapping[str, str]) -> tuple[int, int]:
    """A pledge as a form says it: per cent, and the most in milli-credits. Raises BadPledge."""
    percent = answers.get("percent", "").strip().removesuffix("%")
    if not re.fullmatch(r"\d{1,3}", percent, re.ASCII) or not 1 <= int(percent) <= MAX_PERCENT:
        raise BadPledge(field="percent")
    return int(percent), read_amount(answers, "most")


def read_amount(answers: Mapping[str, str], field: str) -> int:
    """An amount above nothing as a form says it, in milli-credits. Raises BadPledge."""
    try:
        amount = parse_credits(answers.get(field, ""))
    except ValueError:
        amount = 0
    if amount <= 0:
        raise BadPledge(field=field)
    return amount


def refill(found: Refill, balance: int, purse: int) -> int | None:
    """Milli-credits that a refill gives now: what the pool lacks, or what is left of the word; None: the wallet has less, so nothing moves.

    >>> word = Refill(1, 1, 7, "a", 50, Every.DAY, 90, 60, None)
    >>> refill(word, 10, 99), refill(word, 45, 99), refill(word, 60, 0), refill(word, 10, 9)
    (30, 5, 0, None)
    """
    amount = max(0, min(found.level - balance, found.left))
    return amount if amount <= purse else None


def period(every: Every, now: int) -> tuple[str, int]:
    """The name of the period (UTC) in which `now` is, and when the next begins; microseconds.

    >>> [(name, datetime.fromtimestamp(at / 10**6, UTC).day) for name, at in (period(each, 1_798_675_200_000_000) for each in Every)]
    [('2026-12-31', 1), ('2026-W53', 4), ('2026-12', 1)]
    """
    today = datetime.fromtimestamp(now // SECOND, UTC).replace(hour=0, minute=0, second=0)
    if every is Every.DAY:
        name, following = f"{today:%Y-%m-%d}", today + timedelta(days=1)
    elif every is Every.WEEK:
        name, following = f"{today:%G-W%V}", today + timedelta(days=7 - today.weekday())
    else:
        name, following = f"{today:%Y-%m}", (today.replace(day=1) + timedelta(days=32)).replace(day=1)
    return name, int(following.timestamp()) * SECOND


def read_refill(answers: Mapping[str, str]) -> tuple[int, Every, int]:
    """A refill as a form says it: the level, how often, and the most in all, in milli-credits. Raises BadPledge."""
    every = answers.get("every", "")
    if every not in list(Every):
        raise BadPledge(field="every")
    return read_amount(answers, "level"), Every(every), read_amount(answers, "most")


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
