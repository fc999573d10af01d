"""The policy in virtual time: every scenario's targets in short, and that the simulator would show what is bad."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from bench.oracle import POLICIES, Answers, World, floor, ours
from bench.scenarios import SCENARIOS, Scenario
from bench.simulator import REPORT_SEEDS, TUNING_SEEDS, missed, report, run, simulate
from core.scheduler.policy import Job, Offer

pytestmark = pytest.mark.uncounted
SEEDS = REPORT_SEEDS[:2]
NAMED = {each.name: each for each in SCENARIOS}


def short(name: str, seconds: float) -> Scenario:
    return replace(NAMED[name], seconds=seconds)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.name)
def test_every_target_is_met(scenario: Scenario) -> None:
    policies = run(SEEDS, [scenario], ("ours", "usage-weighted random", "oracle"))[scenario.name]
    assert missed(scenario.name, policies, slack=1.1) == []  # two seeds scatter; bench reports forty, without slack
    assert policies["ours"]["p95"] < policies["usage-weighted random"]["p95"]
    if scenario.watched is not None:
        assert policies["ours"]["first_work"] < 60
        assert policies["ours"]["share"] < (0.06 if scenario.name in ("liar", "new, dear, slow") else 0.6)


def test_reports_are_on_seeds_that_nothing_was_tuned_on() -> None:
    assert not set(REPORT_SEEDS) & set(TUNING_SEEDS)


def test_a_run_is_repeatable_and_all_policies_meet_the_same_arrivals() -> None:
    calm = short("calm", 200)
    first, again, other = (simulate(calm, 7, POLICIES[name]) for name in ("ours", "ours", "round robin"))
    assert first.latencies == again.latencies and first.served == again.served
    assert first.arrived == other.arrived and first.served != other.served


def test_a_limit_overstepped_is_met_with_429() -> None:
    def greedy(jobs: Sequence[Job], offers: Sequence[Offer], now: float, seed: int, world: World) -> Answers:
        return ours(jobs, [replace(each, minute_left=9) for each in offers], now, seed, world)

    tight = short("tight limits", 200)
    assert simulate(tight, 101, greedy).too_many > 0
    assert simulate(tight, 101, ours).too_many == 0


def test_a_policy_that_never_learns_misses_the_targets() -> None:
    def stubborn(jobs: Sequence[Job], offers: Sequence[Offer], now: float, seed: int, world: World) -> Answers:
        return ours(jobs, [replace(each, successes=0.0, failures=0.0, latency=0.0, delivered_total=0) for each in offers], now, seed, world)

    liar = NAMED["liar"]
    policies = dict(run([101], [liar], ("ours", "usage-weighted random", "oracle"))["liar"])
    honest = simulate(liar, 101, ours)
    fooled = simulate(liar, 101, stubborn)
    assert fooled.served[99] > 3 * honest.served[99]
    latencies = sorted(fooled.latencies)
    policies["ours"] = {**policies["ours"], "p95": latencies[int(0.95 * len(latencies))]}
    assert missed("liar", policies)


def test_the_oracle_is_near_the_floor_and_not_below() -> None:
    calm = NAMED["calm"]
    policies = run(SEEDS, [calm], ("oracle", "fastest oracle"))["calm"]
    lowest = floor(calm, SEEDS)
    for oracle in policies.values():
        assert lowest < oracle["p95"] < 1.3 * lowest


def test_the_report_names_every_scenario_policy_and_miss() -> None:
    worlds = [short(name, 120) for name in ("calm", "new resource", "few and unequal")]
    text = report([1], worlds)
    assert text.startswith("## Scheduler\n")
    assert all(f"\n| {each.name} | 100.000% | 0 |" in text for each in worlds)
    assert all(f" {name} |" in text for name in POLICIES)
    assert "- calm: no resource went longer than" in text and "- new resource: the resource gets" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows[:6]} == {11} and {line.count("|") for line in rows[6:]} == {2 + len(POLICIES)}
