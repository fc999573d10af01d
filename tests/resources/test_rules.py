"""What a miner may set, when a resource is open, and what outcomes do to its health."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from core.catalog import ProviderRule, load_catalog
from core.providers.base import Fault
from core.resources.errors import BadLimit, LendingRefused
from core.resources.models import Health, HealthState, Limits, State
from core.resources.rules import (
    COOL_FIRST,
    COOL_LONGEST,
    COUNTED_FAULTS,
    NEXT,
    OUT_FAULTS,
    RANGES,
    RECENT,
    STRIKE_WINDOW,
    WAIT_DEFAULT,
    WAIT_LONGEST,
    day_and_month,
    is_open,
    may_lend,
    on_chosen,
    on_outcome,
    on_probe,
    read_limits,
    strikes_of,
)

NOW = 1_790_000_000.0
HEALTHY, COOLING, SUSPECT, OUT = HealthState.HEALTHY, HealthState.COOLING, HealthState.SUSPECT, HealthState.OUT


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("price_percent", "10", {"price_percent": 10}),
        ("price_percent", " 100 ", {"price_percent": 100}),
        ("max_concurrency", "100", {"max_concurrency": 100, "strike_limit": 100}),
        ("per_minute", "1", {"per_minute": 1}),
        ("day_limit", "12.5", {"day_limit": 12_500}),
        ("day_limit", "12,5", {"day_limit": 12_500}),
        ("month_limit", "10000000", {"month_limit": 10_000_000_000}),
        ("utc_offset", "+8", {"utc_offset": 480}),
        ("utc_offset", "-3.5", {"utc_offset": -210}),
        ("utc_offset", "14", {"utc_offset": 840}),
        ("hours", "09:00-18:00", {"opens_at": 540, "closes_at": 1_080}),
        ("hours", "9 – 18:30", {"opens_at": 540, "closes_at": 1_110}),
        ("hours", "22:00-06:00", {"opens_at": 1_320, "closes_at": 360}),
        ("hours", "18：00-24：00", {"opens_at": 1_080, "closes_at": 0}),
        ("hours", "Always", {"opens_at": 0, "closes_at": 0}),
        ("hours", "全天", {"opens_at": 0, "closes_at": 0}),
        ("label", "mine", {}),
    ],
)
def test_a_good_answer_changes_what_it_names_alone(name: str, text: str, expected: dict[str, int]) -> None:
    assert read_limits({name: text}, Limits()) == replace(Limits(), **expected)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *((name, text) for name in ("price_percent", "max_concurrency", "per_minute", "day_limit", "month_limit", "utc_offset")
          for text in ("", "many", "NaN", "Infinity", "1e99", "-15", "99999999999", "0x10", "1.2345")),
        ("price_percent", "9"), ("price_percent", "101"), ("price_percent", "50.5"),
        ("max_concurrency", "0"), ("max_concurrency", "101"), ("per_minute", "0"), ("per_minute", "1001"),
        ("day_limit", "0.999"), ("month_limit", "10000001"), ("month_limit", "999.999"),
        ("utc_offset", "14.5"), ("utc_offset", "-12.5"), ("utc_offset", "0.001"),
        *(("hours", text) for text in ("9", "25:00-26:00", "09:60-10:00", "a-b", "1-2-3", "24:01-3", "-5-6")),
    ],
)  # fmt: skip
def test_a_bad_answer_is_refused_with_its_field(name: str, text: str) -> None:
    with pytest.raises(BadLimit) as refused:
        read_limits({name: text}, Limits())
    assert refused.value.facts["field"] == name and {"value", "low", "high"} <= refused.value.facts.keys()


def test_a_month_has_room_for_a_day() -> None:
    with pytest.raises(BadLimit) as refused:
        read_limits({"day_limit": "50", "month_limit": "49"}, Limits())
    assert refused.value.facts == {"field": "month_limit", "value": "49", "low": 50, "high": 10_000_000}


@pytest.mark.parametrize(
    ("opens", "closes", "offset", "hour", "expected"),
    [
        (0, 0, 0, 3, True), (9, 18, 0, 9, True), (9, 18, 0, 8, False), (9, 18, 0, 18, False), (22, 6, 0, 23, True),
        (22, 6, 0, 5, True), (22, 6, 0, 6, False), (22, 6, 0, 12, False), (9, 18, 8, 1, True), (9, 18, 8, 10, False),
        (9, 18, -8, 17, True),
        (9, 18, -8, 16, False),
    ],
)  # fmt: skip
def test_working_hours_pass_midnight_and_follow_the_offset(opens: int, closes: int, offset: int, hour: int, expected: bool) -> None:
    moment = datetime(2026, 11, 25, hour, tzinfo=UTC).timestamp()
    assert is_open(Limits(opens_at=opens * 60, closes_at=closes * 60, utc_offset=offset * 60), moment) is expected


def test_days_and_months_are_counted_in_utc() -> None:
    last = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()
    day, month = day_and_month(last)
    assert month == 56 * 12 + 11 and day_and_month(last + 1) == (day + 1, month + 1)


@pytest.mark.parametrize("fault", sorted(OUT_FAULTS))
@pytest.mark.parametrize("state", [HEALTHY, COOLING, SUSPECT, OUT])
def test_a_fault_of_the_key_takes_it_out_and_only_a_probe_brings_it_back(fault: Fault, state: HealthState) -> None:
    out = on_outcome(Health(state=state), delivered=False, fault=fault, now=NOW)
    assert (out.state, out.fault) == (OUT, fault)
    assert on_chosen(out, NOW + 1e9) == out
    assert on_outcome(out, delivered=False, fault=Fault.RATE_LIMITED, now=NOW).state is OUT
    assert on_outcome(out, delivered=True, fault=None, now=NOW).state is OUT
    assert on_probe(out, fault).state is OUT and on_probe(out, Fault.NETWORK).state is OUT
    back = on_probe(out, None)
    assert (back.state, back.fault) == (SUSPECT, None)
    assert on_outcome(back, delivered=True, fault=None, now=NOW).state is HEALTHY


@pytest.mark.parametrize(
    ("retry_after", "wait"),
    [(None, WAIT_DEFAULT), (0.0, 0.0), (-5.0, 0.0), (12.5, 12.5), (1e9, WAIT_LONGEST), (float("inf"), WAIT_LONGEST)],
)
def test_a_rate_limit_cools_for_as_long_as_was_said(retry_after: float | None, wait: float) -> None:
    cooled = on_outcome(Health(), delivered=False, fault=Fault.RATE_LIMITED, now=NOW, retry_after=retry_after)
    assert (cooled.state, cooled.cool_until) == (COOLING, NOW + wait)
    assert on_chosen(cooled, NOW + wait - 0.1).state is COOLING
    assert on_chosen(cooled, NOW + wait).state is SUSPECT
    shorter = on_outcome(cooled, delivered=False, fault=Fault.RATE_LIMITED, now=NOW, retry_after=0.0)
    assert shorter.cool_until == cooled.cool_until


@pytest.mark.parametrize("fault", [Fault.FORBIDDEN, Fault.UNCHECKED, Fault.UNOPENED, Fault.BAD_REQUEST, Fault.MODEL_MISSING])
def test_what_is_nobodys_fault_changes_nothing(fault: Fault) -> None:
    health = Health(successes=3.0, recent=((NOW, True),))
    assert on_outcome(health, delivered=False, fault=fault, now=NOW) == health


def test_refused_content_is_a_strike_for_a_day_and_nothing_else() -> None:
    health = Health(successes=3.0, recent=((NOW, True),), strikes=(NOW - STRIKE_WINDOW, NOW - 5))
    struck = on_outcome(health, delivered=False, fault=Fault.MODERATED, now=NOW)
    assert struck == replace(health, strikes=(NOW - 5, NOW))
    assert [strikes_of(struck, at) for at in (NOW, NOW + STRIKE_WINDOW - 5, NOW + STRIKE_WINDOW)] == [2, 1, 0]
    for _ in range(300):
        struck = on_outcome(struck, delivered=False, fault=Fault.MODERATED, now=NOW)
    assert len(struck.strikes) == RANGES["strike_limit"][1]


def test_a_budget_of_strikes_follows_the_concurrency_unless_it_is_named() -> None:
    assert read_limits({"max_concurrency": "50"}, Limits()).strike_limit == 50
    assert read_limits({"max_concurrency": "50", "strike_limit": "5"}, Limits()).strike_limit == 5
    assert read_limits({"max_concurrency": "1"}, Limits(strike_limit=5)).strike_limit == 5


@pytest.mark.parametrize("fault", sorted(COUNTED_FAULTS))
def test_three_failures_in_the_window_cool_it_and_each_relapse_waits_twice_as_long(fault: Fault) -> None:
    health = Health()
    for second in range(3):
        assert health.state is HEALTHY
        health = on_outcome(health, delivered=False, fault=fault, now=NOW + second)
    assert health.state is COOLING
    waits, now = [health.back_off], NOW
    for _ in range(8):
        now = health.cool_until
        health = on_outcome(on_chosen(health, now), delivered=False, fault=fault, now=now)
        waits.append(health.cool_until - now)
    assert waits == [min(COOL_FIRST * 2**n, COOL_LONGEST) for n in range(9)]
    well = on_outcome(on_chosen(health, health.cool_until), delivered=True, fault=None, now=health.cool_until, seconds=2.0)
    assert (well.state, well.back_off, well.recent, well.fault) == (HEALTHY, 0.0, (), None)


def test_failures_far_apart_or_among_successes_do_not_cool() -> None:
    apart = among = Health()
    for number in range(20):
        apart = on_outcome(apart, delivered=False, fault=Fault.SERVER, now=NOW + 200 * number)
        among = on_outcome(among, delivered=True, fault=None, now=NOW + number, seconds=1.0)
        among = on_outcome(among, delivered=number % 2 == 0, fault=None if number % 2 == 0 else Fault.SERVER, now=NOW + number)
    assert apart.state is HEALTHY and among.state is HEALTHY
    assert len(among.recent) <= RECENT and among.successes + among.failures <= 41


def test_probes_that_say_nothing_change_nothing() -> None:
    for state in HealthState:
        health = Health(state=state)
        assert on_probe(health, Fault.NETWORK) == health and on_probe(health, Fault.SERVER) == health
    assert on_probe(Health(), None) == Health()
    assert on_probe(Health(), Fault.EMPTY).state is OUT


def test_life_ends_for_good_and_only_a_probe_makes_ready() -> None:
    assert NEXT[State.WITHDRAWN] == NEXT[State.REVOKED] == frozenset()
    assert {state for state, after in NEXT.items() if State.READY in after} == {State.PROBING}
    assert {state for state, after in NEXT.items() if State.LISTED in after} == {State.READY, State.PAUSED}
    assert all(State.WITHDRAWN in after for state, after in NEXT.items() if state not in (State.WITHDRAWN, State.REVOKED))
    assert NEXT.keys() == set(State)


def test_only_what_the_catalog_allows_may_be_lent() -> None:
    catalog = load_catalog()
    assert may_lend(catalog, "stability").lending == "attested"
    closed = replace(catalog, providers={"shut": ProviderRule("shut", "Shut", "refused", "1", "x")})
    for provider in ("shut", "unheard-of"):
        with pytest.raises(LendingRefused):
            may_lend(closed, provider)
