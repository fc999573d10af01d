"""Scheduling policies compared in virtual time: `python -m bench.simulator`.

One run is one scenario, one seed and one policy: generations arrive, are queued, tried, tried again elsewhere, delivered or given up.
What outcomes do to a resource's health is the product's own `core.resources.rules`. Arrivals, and what a given generation meets on a
given resource, are drawn from the seed alone, so that every policy faces the same luck. Weights were tuned on seeds 1 to 20; reports
use 101 to 140.
"""

import heapq
import sys
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from statistics import fmean
from time import process_time
from typing import Any

from bench.oracle import ORACLES, POLICIES, Policy, World, floor
from bench.scenarios import DEADLINE, HELD, MODEL, SCENARIOS, START, Scenario, Truth
from core.providers.base import Fault
from core.resources.models import Health, HealthState
from core.resources.rules import on_chosen, on_outcome, on_probe
from core.scheduler.policy import Choice, Job, NoChoice, Offer

TUNING_SEEDS = range(1, 21)
REPORT_SEEDS = range(101, 141)

MAX_TRIES = 4
HANG = 30.0  # seconds until a call without an answer is given up
PROBE = 300.0  # seconds between probes of a resource that is out
MINUTE = 60.0  # the provider's window …
MINUTE_MARGIN = 1.0  # … and so many seconds more in ours, for what the network may add
NETWORK = 0.3  # seconds at most until the provider sees a call
RETRY_AFTER = 10.0  # seconds that a 429 asks for

SUCCESS_TARGET = 0.999
SURE = ("tight limits",)  # where every single one has to be delivered, and no 429 met
P95_TARGET = 1.25  # times the better of the oracles
PRICE_TARGET = 1.15  # times usage-weighted random
CPU_TARGET = 0.5  # milliseconds per choice


@dataclass(slots=True)
class Tally:
    """What one run came to. Latencies in seconds from arrival to delivery, credits in milli-credits."""

    arrived: int = 0
    latencies: list[float] = field(default_factory=list)
    paid: int = 0
    tries: int = 0
    too_many: int = 0  # 429s
    cpu: float = 0.0  # seconds in the policy
    decisions: int = 0
    served: Counter[int] = field(default_factory=Counter)  # tries per resource
    first_work: dict[int, float] = field(default_factory=dict)  # resource -> seconds after it joined
    longest_idle: float = 0.0  # seconds that a resource went without a try


@dataclass(slots=True)
class _Waiting:
    number: int
    arrived: float
    tried: frozenset[int] = frozenset()

    def job(self, now: float) -> Job:
        return Job(
            id=self.number,
            owner=1_000 + self.number % 50,
            community=None,
            provider_models=frozenset({MODEL}),
            operation="generate",
            held=HELD,
            tried=self.tried,
            waited=now - self.arrived,
            deadline=self.arrived + DEADLINE - now,
        )


@dataclass(slots=True)
class _Lent:
    """One resource as the product knows it, without a database."""

    truth: Truth
    health: Health = field(default_factory=Health)
    last_chosen: float = 0.0
    calls: list[tuple[float, float]] = field(default_factory=list)  # start and end of those in flight
    starts: deque[float] = field(default_factory=deque)  # within the last minute of ours …
    seen: deque[float] = field(default_factory=deque)  # … and of the provider's

    def offer(self, now: float) -> Offer:
        _forget(self.starts, now - MINUTE - MINUTE_MARGIN)
        health = self.health
        limit = 1 if on_chosen(health, now).state is HealthState.SUSPECT else self.truth.slots
        return Offer(
            id=self.truth.id,
            owner=self.truth.id,
            community=None,
            scope="market",
            provider="stability",
            models=frozenset({MODEL}),
            asks={MODEL: self.truth.ask},
            health=health.state,
            cool_until=health.cool_until,
            free_slots=max(0, limit - len(self.calls)),
            minute_left=self.truth.per_minute - len(self.starts),
            budget_left=10**12,
            open_now=True,
            listed=True,
            successes=health.successes,
            failures=health.failures,
            latency=health.latency,
            latency_deviation=health.latency_deviation,
            delivered_total=health.delivered,
            last_chosen=self.last_chosen,
            slot_at=min(start for start, _ in self.calls) + health.latency if self.calls else 0.0,
            minute_at=self.starts[0] + MINUTE + MINUTE_MARGIN if self.starts else 0.0,
        )


class _Run:
    """One scenario, one seed, one policy."""

    def __init__(self, scenario: Scenario, seed: int, policy: Policy) -> None:
        self.scenario, self.seed, self.policy = scenario, seed, policy
        random = Random(seed)
        self.lent = {each.id: _Lent(each) for each in scenario.resources(random)}
        self.truth: Mapping[int, Truth] = {each: lent.truth for each, lent in self.lent.items()}
        self.queue: dict[int, _Waiting] = {}
        self.events: list[tuple[float, int, str, tuple[Any, ...]]] = []
        self.pushed = 0
        self.next_wake = float("inf")
        self.tally = Tally()
        self._arrivals(random)

    def play(self) -> Tally:
        while self.events:
            now, _, kind, data = heapq.heappop(self.events)
            if kind == "arrive":
                waiting = _Waiting(data[0], now)
                self.queue[waiting.number] = waiting
                self._push(now + DEADLINE, "wake", ())
            elif kind == "settle":
                self._settle(now, *data)
            elif kind == "probe":
                self._probe(now, data[0])
            elif now >= self.next_wake:
                self.next_wake = float("inf")
            if not self.events or self.events[0][0] > now:
                self._claim(now)
        return self.tally

    def _arrivals(self, random: Random) -> None:
        at = 0.0
        mean_burst = (1 + self.scenario.burst) / 2
        while (at := at + random.expovariate(self.scenario.rate / mean_burst)) < self.scenario.seconds:
            for _ in range(random.randint(1, self.scenario.burst)):
                self.tally.arrived += 1
                self._push(START + at, "arrive", (self.tally.arrived,))

    def _push(self, at: float, kind: str, data: tuple[Any, ...]) -> None:
        self.pushed += 1
        heapq.heappush(self.events, (at, self.pushed, kind, data))

    def _claim(self, now: float) -> None:
        for waiting in [each for each in self.queue.values() if now >= each.arrived + DEADLINE]:
            del self.queue[waiting.number]
        if not self.queue:
            return
        jobs = [each.job(now) for each in self.queue.values()]
        there = [each for each in self.lent.values() if each.truth.joins_at <= now - START]
        offers, world = [each.offer(now) for each in there], self._world(now, there)
        before = process_time()
        answers = self.policy(jobs, offers, now, self.seed * 1_000_003 + self.pushed, world)
        self.tally.cpu += process_time() - before
        self.tally.decisions += len(answers)
        for answer in answers:
            if isinstance(answer, Choice):
                self._start(now, self.queue.pop(answer.job), answer)
            else:
                self._postpone(now, answer)

    def _world(self, now: float, there: Sequence[_Lent]) -> World:
        free = {each.truth.id: each.truth.slots - len(each.calls) for each in there}
        ends = {each.truth.id: min((end for _, end in each.calls), default=0.0) for each in there}
        return World(now - START, self.truth, free, ends)

    def _postpone(self, now: float, answer: NoChoice) -> None:
        if answer.final:
            del self.queue[answer.job]
        elif answer.retry_at is not None and now < answer.retry_at < self.next_wake:
            self.next_wake = answer.retry_at
            self._push(answer.retry_at, "wake", ())

    def _start(self, now: float, waiting: _Waiting, choice: Choice) -> None:
        lent = self.lent[choice.offer]
        joined = START + lent.truth.joins_at
        self.tally.longest_idle = max(self.tally.longest_idle, now - (lent.last_chosen or joined))
        self.tally.first_work.setdefault(choice.offer, now - joined)
        self.tally.tries += 1
        self.tally.served[choice.offer] += 1
        lent.health = on_chosen(lent.health, now)
        lent.last_chosen = now
        lent.starts.append(now)
        fault, seconds = self._meet(now, waiting.number, lent)
        lent.calls.append((now, now + seconds))
        self._push(now + seconds, "settle", (waiting, choice, fault, seconds, (now, now + seconds)))

    def _meet(self, now: float, number: int, lent: _Lent) -> tuple[Fault | None, float]:
        """What this generation meets on this resource, whichever policy sends it there."""
        luck = Random((self.seed * 1_009 + number) * 1_009 + lent.truth.id)
        arrives = now + luck.uniform(0.0, NETWORK)
        phase = lent.truth.at(now - START)
        typical = lent.truth.latency * phase.slowdown
        seconds = typical * luck.lognormvariate(-(lent.truth.spread**2) / 2, lent.truth.spread)
        fails = luck.random() < phase.p_fail
        _forget(lent.seen, arrives - MINUTE)
        if len(lent.seen) >= lent.truth.per_minute:
            self.tally.too_many += 1
            return Fault.RATE_LIMITED, 2 * NETWORK
        lent.seen.append(arrives)
        if not fails:
            return None, seconds
        return phase.fault, HANG if phase.fault is Fault.TIMEOUT else min(seconds, 1.0 + luck.random())

    def _settle(
        self, now: float, waiting: _Waiting, choice: Choice, fault: Fault | None, seconds: float, call: tuple[float, float]
    ) -> None:
        lent = self.lent[choice.offer]
        lent.calls.remove(call)
        was_out = lent.health.state is HealthState.OUT
        lent.health = on_outcome(
            lent.health, delivered=fault is None, fault=fault, now=now, seconds=seconds, retry_after=RETRY_AFTER
        )  # fmt: skip
        if lent.health.state is HealthState.OUT and not was_out:
            self._push(now + PROBE, "probe", (choice.offer,))
        in_time = now < waiting.arrived + DEADLINE
        tried = waiting.tried | {choice.offer}
        if fault is None and in_time:
            self.tally.latencies.append(now - waiting.arrived)
            self.tally.paid += choice.price
        elif fault is not None and in_time and len(tried) < MAX_TRIES:
            # What failed has waited longest: it goes before what has just arrived.
            self.queue = {waiting.number: replace(waiting, tried=tried), **self.queue}

    def _probe(self, now: float, resource: int) -> None:
        lent = self.lent[resource]
        phase = lent.truth.at(now - START)
        lent.health = on_probe(lent.health, phase.fault if phase.fault is Fault.EMPTY else None)
        if lent.health.state is HealthState.OUT:
            self._push(now + PROBE, "probe", (resource,))


def simulate(scenario: Scenario, seed: int, policy: Policy) -> Tally:
    """One run: deterministic but for `cpu`."""
    return _Run(scenario, seed, policy).play()


Figures = Mapping[str, float]
Results = Mapping[str, Mapping[str, Figures]]


def run(
    seeds: Iterable[int] = REPORT_SEEDS, scenarios: Sequence[Scenario] = SCENARIOS, policies: Sequence[str] = tuple(POLICIES)
) -> Results:
    """scenario -> policy -> figures over all seeds together.

    `success` share of generations delivered in time; `p50`, `p95` seconds from arrival to delivery; `price` milli-credits per picture;
    `tries` per generation; `too_many` count of 429s; `cpu` milliseconds per decision; `idle` the longest that a resource went without a
    try, seconds; and where the scenario watches a resource, its `share` of the tries and the mean wait for its `first_work`, seconds.
    """
    seeds = list(seeds)
    return {
        scenario.name: {policy: _figures(scenario, [simulate(scenario, seed, POLICIES[policy]) for seed in seeds]) for policy in policies}
        for scenario in scenarios
    }


def _figures(scenario: Scenario, tallies: Sequence[Tally]) -> Figures:
    latencies = sorted(each for tally in tallies for each in tally.latencies)
    arrived, tries = sum(each.arrived for each in tallies), sum(each.tries for each in tallies)
    figures = {
        "generations": float(arrived),
        "success": len(latencies) / arrived,
        "p50": quantile(latencies, 0.50),
        "p95": quantile(latencies, 0.95),
        "price": sum(each.paid for each in tallies) / len(latencies),
        "tries": tries / arrived,
        "too_many": float(sum(each.too_many for each in tallies)),
        "cpu": 1_000 * sum(each.cpu for each in tallies) / sum(each.decisions for each in tallies),
        "idle": max(each.longest_idle for each in tallies),
    }
    if scenario.watched is not None:
        figures["share"] = sum(each.served[scenario.watched] for each in tallies) / tries
        figures["first_work"] = fmean(each.first_work.get(scenario.watched, scenario.seconds) for each in tallies)
    return figures


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` of the ordered values lie, by nearest rank."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _forget(times: deque[float], before: float) -> None:
    while times and times[0] <= before:
        times.popleft()


def missed(scenario: str, policies: Mapping[str, Figures], slack: float = 1.0) -> list[str]:
    """The targets that our policy misses in a scenario, in words; `policies` holds ours, the random one and at least one oracle.

    `slack` widens the target for p95, which scatters when there are few seeds.
    """
    mine, sure = policies["ours"], scenario in SURE
    p95, price = _against(policies)
    checks = {
        f"delivered {mine['success']:.3%}": mine["success"] >= (1.0 if sure else SUCCESS_TARGET),
        f"{mine['too_many']:.0f} times 429": not sure or mine["too_many"] == 0,
        f"p95 {p95:.3f} x oracle": p95 <= P95_TARGET * slack,
        f"price {price:.3f} x random": price <= PRICE_TARGET,
        f"{mine['cpu']:.3f} ms a choice": mine["cpu"] < CPU_TARGET,
    }
    return [words for words, met in checks.items() if not met]


def _against(policies: Mapping[str, Figures]) -> tuple[float, float]:
    """Our p95 as a multiple of the better oracle's, our price as a multiple of usage-weighted random's."""
    oracle = min(policies[name]["p95"] for name in ORACLES if name in policies)
    return policies["ours"]["p95"] / oracle, policies["ours"]["price"] / policies["usage-weighted random"]["price"]


def report(seeds: Iterable[int] = REPORT_SEEDS, scenarios: Sequence[Scenario] = SCENARIOS) -> str:
    """A section of Markdown: every target in every scenario, and how the other policies do."""
    seeds = list(seeds)
    results = run(seeds, scenarios)
    generations = sum(policies["ours"]["generations"] for policies in results.values())
    lines = [
        "## Scheduler",
        "",
        f"`python -m bench.simulator`: virtual time, seeds {seeds[0]} to {seeds[-1]} (tuned on {TUNING_SEEDS[0]} to {TUNING_SEEDS[-1]}),",
        f"{generations:,.0f} generations. {_EXPLANATION}",
        "",
        "| scenario | delivered | 429s | p95, s | oracle | floor | x oracle | price x random | CPU, ms a choice | targets |",
        "|---|---|---|---|---|---|---|---|---|---|",
        f"| *target* | ≥ {SUCCESS_TARGET:.1%}, tight: 100 % | tight: 0 | | | | ≤ {P95_TARGET} | ≤ {PRICE_TARGET} | < {CPU_TARGET} | |",
        *(_target_line(scenario, results[scenario.name], floor(scenario, seeds)) for scenario in scenarios),
        "",
        "p95 in seconds, and milli-credits per picture, of every policy:",
        "",
        f"| scenario | {' | '.join(POLICIES)} |",
        "|---|" + "---|" * len(POLICIES),
        *(_policies_line(name, policies) for name, policies in results.items()),
        "",
        *_work_lines(results),
    ]
    return "\n".join(lines)


_EXPLANATION = """Every policy meets the same arrivals and the same luck. The oracles obey the same limits, and know every
resource's true latency and failure rate of the moment and when each call in flight ends; ours is held against the better of them. The
floor is what no policy can be below, even if nothing ever waited. Usage-weighted random takes a resource that is free with a chance in
proportion to what its limits have left."""


def _target_line(scenario: Scenario, policies: Mapping[str, Figures], lowest: float) -> str:
    mine, misses = policies["ours"], missed(scenario.name, policies)
    p95, price = _against(policies)
    return (
        f"| {scenario.name} | {mine['success']:.3%} | {mine['too_many']:.0f} | {mine['p95']:.2f} | {mine['p95'] / p95:.2f} | {lowest:.2f} "
        f"| {p95:.3f} | {price:.3f} | {mine['cpu']:.3f} | {'met' if not misses else 'missed: ' + ', '.join(misses)} |"
    )


def _policies_line(scenario: str, policies: Mapping[str, Figures]) -> str:
    return f"| {scenario} | " + " | ".join(f"{each['p95']:.2f} s, {each['price']:.0f}" for each in policies.values()) + " |"


def _work_lines(results: Results) -> list[str]:
    mine = {name: policies["ours"] for name, policies in results.items()}
    return [
        f"- {name}: the resource gets {each['share']:.1%} of the tries, its first {each['first_work']:.0f} s after it came (mean)."
        if "share" in each
        else f"- {name}: no resource went longer than {each['idle']:.0f} s without a try."
        for name, each in mine.items()
        if "share" in each or name == "calm"
    ]


if __name__ == "__main__":
    sys.stdout.write(report() + "\n")
