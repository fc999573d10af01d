"""Pure decisions about resources: what a miner may set, when it is open, and what an outcome does to its health."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from core.catalog import Catalog, ProviderRule
from core.money import CREDIT, parse_credits
from core.providers.base import Fault
from core.resources.errors import BadLimit, LendingRefused
from core.resources.models import Health, HealthState, Limits, Resource, Scope, State

RANGES: Mapping[str, tuple[int, int]] = {
    "price_percent": (10, 100),
    "max_concurrency": (1, 100),
    "per_minute": (1, 1_000),
    "day_limit": (1 * CREDIT, 1_000_000 * CREDIT),
    "month_limit": (1 * CREDIT, 10_000_000 * CREDIT),
    "utc_offset": (-12 * 60, 14 * 60),
    "strike_limit": (1, 200),
}
"""Smallest and largest value of each limit, milli-credits for the two in Credits."""

NEXT: Mapping[State, frozenset[State]] = {
    State.DRAFT: frozenset({State.PROBING, State.WITHDRAWN}),
    State.PROBING: frozenset({State.READY, State.DRAFT, State.WITHDRAWN, State.REVOKED}),
    State.READY: frozenset({State.LISTED, State.PROBING, State.WITHDRAWN, State.REVOKED}),
    State.LISTED: frozenset({State.PAUSED, State.PROBING, State.WITHDRAWN, State.REVOKED}),
    State.PAUSED: frozenset({State.LISTED, State.PROBING, State.WITHDRAWN, State.REVOKED}),
    State.WITHDRAWN: frozenset(),
    State.REVOKED: frozenset(),
}
"""The transition table of a resource's life."""

OUT_FAULTS = frozenset({Fault.BAD_KEY, Fault.EMPTY, Fault.UNVERIFIED})
"""The key or its account is to blame; only a probe brings it back."""
COUNTED_FAULTS = frozenset({Fault.SERVER, Fault.NETWORK, Fault.TIMEOUT, Fault.BAD_ANSWER})
"""Trouble that may pass: judged by how often it happens."""

HALF_LIFE = 3_600.0  # of counted successes and failures, seconds
STANDING_DAYS = 30  # the pictures and the lost disputes by which a resource stands, today included
EVIDENCE = 40.0  # counted tries at most, so that a change shows after dozens of calls whatever the traffic
SMOOTHING = 0.2  # of the moving averages of latency
FAILURE_WINDOW = 300.0  # seconds
FAILURES_TO_COOL = 3  # within the window, and more than half of all tries there
RECENT = 50  # tries remembered for the window
COOL_FIRST, COOL_LONGEST = 15.0, 900.0  # seconds, doubled each time
STRIKE_WINDOW = 86_400.0  # seconds that a refused prompt counts against a resource
WAIT_DEFAULT, WAIT_LONGEST = 60.0, 3_600.0  # seconds after a 429: without Retry-After, and at most


def may_lend(catalog: Catalog, provider: str) -> ProviderRule:
    """The provider's rule. Raises LendingRefused where its keys may not be lent."""
    rule = catalog.providers.get(provider)
    if rule is None or rule.lending == "refused":
        raise LendingRefused(provider=provider)
    return rule


def read_scope(text: str) -> Scope:
    """Raises BadLimit for a word that is no scope."""
    if text not in list(Scope):
        raise BadLimit(field="scope", value=text[:20], low=Scope.OWN, high=Scope.MARKET)
    return Scope(text)


def read_limits(answers: Mapping[str, str], current: Limits) -> Limits:
    """A miner's answers over the current limits. Raises BadLimit for the first that is no number or out of range.

    Credits may have decimals; `hours` is "09:00-18:00" or "always"; `utc_offset` is in hours, such as "+8" or "-3.5".
    """
    changed: dict[str, int] = {}
    for name, text in answers.items():
        if name == "hours":
            changed["opens_at"], changed["closes_at"] = _hours(text)
        elif name in RANGES:
            changed[name] = _number(name, text)
    limits = replace(current, **changed)
    if "strike_limit" not in answers:  # else a higher concurrency would have no effect: what is in flight may be refused, too
        limits = replace(limits, strike_limit=max(limits.strike_limit, limits.max_concurrency))
    if limits.month_limit < limits.day_limit:
        low, high = limits.day_limit, RANGES["month_limit"][1]
        raise BadLimit(field="month_limit", value=str(limits.month_limit // CREDIT), low=low // CREDIT, high=high // CREDIT)
    return limits


def _number(name: str, text: str) -> int:
    low, high = RANGES[name]
    scale = CREDIT if name in ("day_limit", "month_limit") else 60 if name == "utc_offset" else 1
    try:
        milli = parse_credits(text)
        value = milli * scale // CREDIT
        whole = milli * scale % CREDIT == 0
    except ValueError:
        value, whole = 0, False
    if not whole or not low <= value <= high:
        raise BadLimit(field=name, value=text[:20], low=low // scale, high=high // scale)
    return value


def _hours(text: str) -> tuple[int, int]:
    cleaned = text.strip().replace("–", "-").replace("：", ":").lower()  # noqa: RUF001  # what people type
    if cleaned in ("", "always", "24h", "00:00-24:00", "全天"):
        return 0, 0
    try:
        opens, closes = (_minute(part) for part in cleaned.split("-"))
    except ValueError:
        raise BadLimit(field="hours", value=text[:20], low="00:00", high="24:00") from None
    return opens, closes


def show_hours(limits: Limits) -> str:
    """The working hours as `read_limits` reads them.

    >>> show_hours(Limits()), show_hours(Limits(opens_at=540, closes_at=1080))
    ('always', '09:00-18:00')
    """
    opens, closes = (f"{minute // 60:02d}:{minute % 60:02d}" for minute in (limits.opens_at, limits.closes_at))
    return "always" if opens == closes else f"{opens}-{closes}"


def show_offset(limits: Limits) -> str:
    """The hours that the miner's day is ahead of UTC, as `read_limits` reads them.

    >>> [show_offset(Limits(utc_offset=minutes)) for minutes in (480, -210, 0)]
    ['+8', '-3.5', '+0']
    """
    return f"{limits.utc_offset / 60:+g}"


def _minute(text: str) -> int:
    hour, _, minute = text.strip().partition(":")
    value = int(hour) * 60 + int(minute or 0)
    if not (0 <= value <= 24 * 60 and 0 <= int(minute or 0) < 60):
        raise ValueError(text)
    return value % (24 * 60)


def strikes_of(health: Health, now: float) -> int:
    """How many refused prompts count at `now` (seconds since 1970)."""
    return sum(at > now - STRIKE_WINDOW for at in health.strikes)


def is_open(limits: Limits, now: float) -> bool:
    """Whether `now` (seconds since 1970) is within the working hours; a span may pass midnight."""
    if limits.opens_at == limits.closes_at:
        return True
    minute = int(now // 60 + limits.utc_offset) % (24 * 60)
    if limits.opens_at < limits.closes_at:
        return limits.opens_at <= minute < limits.closes_at
    return minute >= limits.opens_at or minute < limits.closes_at


def day_and_month(now: float) -> tuple[int, int]:
    """Days and months since 1970, UTC: limits count by them."""
    moment = datetime.fromtimestamp(now, UTC)
    return int(now // 86_400), (moment.year - 1970) * 12 + moment.month - 1


def on_outcome(
    health: Health, *, delivered: bool, fault: Fault | None, now: float, seconds: float = 0.0, retry_after: float | None = None
) -> Health:
    """What one outcome does to a resource's health. `seconds` is how long a delivered call took; refused content
    blames nobody, and counts as a strike."""
    if delivered:
        better = _measured(_counted(health, now, good=True), seconds)
        better = replace(better, days=on_day(better.days, int(now // 86_400), made=1))
        if health.state is HealthState.SUSPECT:
            return replace(better, state=HealthState.HEALTHY, fault=None, back_off=0.0, recent=())
        return better
    if fault in OUT_FAULTS:
        return replace(health, state=HealthState.OUT, fault=fault)
    if fault is Fault.MODERATED:
        strikes = (*health.strikes, now)[-RANGES["strike_limit"][1] :]
        return replace(health, strikes=tuple(at for at in strikes if at > now - STRIKE_WINDOW))
    if fault is Fault.RATE_LIMITED:
        wait = WAIT_DEFAULT if retry_after is None else min(max(retry_after, 0.0), WAIT_LONGEST)
        return _cooling(health, now + wait, fault)
    if fault not in COUNTED_FAULTS:
        return health
    worse = _counted(health, now, good=False)
    if health.state is HealthState.SUSPECT or (health.state is HealthState.HEALTHY and _fails_often(worse)):
        wait = min(2 * worse.back_off, COOL_LONGEST) if worse.back_off else COOL_FIRST
        return replace(_cooling(worse, now + wait, fault), back_off=wait)
    return worse


def on_chosen(health: Health, now: float) -> Health:
    """A resource whose cooling time is over proves itself with one call."""
    if health.state is HealthState.COOLING and health.cool_until <= now:
        return replace(health, state=HealthState.SUSPECT)
    return health


def on_probe(health: Health, fault: Fault | None) -> Health:
    """What a free look at the key says: it comes back on trial, or stays or goes out. A probe that could not be made says nothing."""
    if fault is None:
        return replace(health, state=HealthState.SUSPECT, fault=None) if health.state is HealthState.OUT else health
    if fault in OUT_FAULTS and health.state is not HealthState.OUT:
        return replace(health, state=HealthState.OUT, fault=fault)
    return health


Days = tuple[tuple[int, int, int], ...]


def on_day(days: Days, today: int, *, made: int = 0, lost: int = 0) -> Days:
    """The days by which a resource stands, with what is new of today; what is older than STANDING_DAYS is forgotten.

    >>> on_day(((69, 5, 1), (71, 2, 0), (100, 3, 0)), 100, lost=1)
    ((71, 2, 0), (100, 3, 1))
    """
    kept = {day: (old_made, old_lost) for day, old_made, old_lost in days if day > today - STANDING_DAYS}
    old_made, old_lost = kept.get(today, (0, 0))
    return tuple((day, *counts) for day, counts in sorted((kept | {today: (old_made + made, old_lost + lost)}).items()))


def regained(days: Days, day: int) -> Days:
    """The same without one of the disputes that were lost on that day.

    >>> regained(((71, 2, 1), (100, 3, 1)), 100), regained(((71, 2, 1),), 100)
    (((71, 2, 1), (100, 3, 0)), ((71, 2, 1),))
    """
    return tuple((each, made, max(0, lost - 1) if each == day else lost) for each, made, lost in days)


def standing(days: Days, today: int) -> tuple[int, int]:
    """(pictures delivered, disputes lost) within STANDING_DAYS.

    >>> standing(((70, 5, 1), (71, 2, 1), (100, 3, 1)), 100)
    (5, 2)
    """
    lately = [(made, lost) for day, made, lost in days if day > today - STANDING_DAYS]
    return sum(made for made, _ in lately), sum(lost for _, lost in lately)


def _cooling(health: Health, until: float, fault: Fault) -> Health:
    if health.state is HealthState.OUT:
        return health
    return replace(health, state=HealthState.COOLING, cool_until=max(until, health.cool_until), fault=fault)


def _fails_often(health: Health) -> bool:
    bad = sum(not good for _, good in health.recent)
    return bad >= FAILURES_TO_COOL and 2 * bad > len(health.recent)


def _counted(health: Health, now: float, *, good: bool) -> Health:
    recent = [*health.recent, (now, good)]
    factor = 0.5 ** (max(0.0, now - health.counted_at) / HALF_LIFE)
    factor *= min(1.0, (EVIDENCE - 1) / max(1.0, (health.successes + health.failures) * factor))
    return replace(
        health,
        recent=tuple(each for each in recent if each[0] >= now - FAILURE_WINDOW)[-RECENT:],
        successes=health.successes * factor + good,
        failures=health.failures * factor + (not good),
        counted_at=now,
    )


def news_of_probe(before: Resource, after: Resource) -> str | None:
    """What the miner is told after a probe, as the kind of a notice."""
    if before.state is State.PROBING and after.state is State.READY:
        return "resource_ready"
    if before.state is State.PROBING and after.state is State.DRAFT:
        return "resource_refused"
    if before.health.state is not HealthState.OUT and after.health.state is HealthState.OUT:
        return "resource_out"
    if before.health.state is HealthState.OUT and after.health.state is not HealthState.OUT:
        return "resource_back"
    return None


def _measured(health: Health, seconds: float) -> Health:
    if health.delivered == 0:
        return replace(health, latency=seconds, latency_deviation=seconds / 4, delivered=1)
    return replace(
        health,
        latency_deviation=health.latency_deviation + SMOOTHING * (abs(seconds - health.latency) - health.latency_deviation),
        latency=health.latency + SMOOTHING * (seconds - health.latency),
        delivered=health.delivered + 1,
    )
