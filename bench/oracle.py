"""The policies that the simulator compares: ours, three common ones, and two that know the truth.

All of them obey the same rules of eligibility, the same limits, health and retries: what differs is the preference. The
oracles know every resource's true figures of this very moment, its free slots and when each of its calls ends; the luck of
a call not yet made nobody knows. `floor` is what no policy can be below, by arithmetic instead of by simulation.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import exp, log, pi, sqrt
from random import Random
from statistics import NormalDist

from bench.scenarios import Scenario, Truth
from core.scheduler.policy import Choice, Job, NoChoice, Offer, Weights, choose, eligible


@dataclass(frozen=True, slots=True)
class World:
    """What only an oracle looks at. `slot_at`: when the first call in flight really ends, 0 without any."""

    elapsed: float  # seconds since the start of the run
    truth: Mapping[int, Truth]
    free_slots: Mapping[int, int]
    slot_at: Mapping[int, float]


Answers = list[Choice | NoChoice]
Policy = Callable[[Sequence[Job], Sequence[Offer], float, int, World], Answers]
Preference = Callable[[Offer, Job, Random], float]  # the highest is taken

_SURE = 1e9  # tries behind a figure that is known rather than estimated


def ours(jobs: Sequence[Job], offers: Sequence[Offer], now: float, seed: int, world: World) -> Answers:
    """The policy of the product."""
    return choose(jobs, offers, now=now, seed=seed)


def knowing(weights: Weights) -> Policy:
    """`choose` with the truth in place of estimates; it has nothing left to explore."""
    weights = replace(weights, explore_share=0.0, trial_share=0.0)

    def policy(jobs: Sequence[Job], offers: Sequence[Offer], now: float, seed: int, world: World) -> Answers:
        return choose(jobs, [_revealed(each, world) for each in offers], now=now, seed=seed, weights=weights)

    return policy


def _revealed(offer: Offer, world: World) -> Offer:
    truth = world.truth[offer.id]
    phase = truth.at(world.elapsed)
    mean = truth.latency * phase.slowdown
    standard = mean * sqrt(exp(truth.spread**2) - 1)
    return replace(
        offer,
        health="healthy" if phase.p_fail < 1 else "out",
        free_slots=world.free_slots[offer.id],
        slot_at=world.slot_at[offer.id],
        successes=_SURE * (1 - phase.p_fail),
        failures=_SURE * phase.p_fail,
        latency=mean,
        latency_deviation=standard * sqrt(2 / pi),  # the mean absolute deviation, were it a normal distribution
        delivered_total=int(_SURE),
    )


def preferring(preference: Preference) -> Policy:
    """Every generation, in its turn, to the resource that may serve it and is preferred most."""

    def policy(jobs: Sequence[Job], offers: Sequence[Offer], now: float, seed: int, world: World) -> Answers:
        random = Random(seed)
        left = {each.id: each for each in offers}
        answers: Answers = []
        for job in jobs:
            open_ = [each for each in left.values() if eligible(job, each, now) is None]
            if not open_:
                answers.append(NoChoice(job.id, (), now + 1.0, False))
                continue
            best = max(open_, key=lambda each: preference(each, job, random))
            (model,) = job.provider_models
            slots = 0 if best.health != "healthy" else best.free_slots - 1
            left[best.id] = replace(best, free_slots=slots, minute_left=best.minute_left - 1, last_chosen=now)
            answers.append(Choice(job.id, best.id, model, best.asks[model], ()))
        return answers

    return policy


def _by_usage(offer: Offer, job: Job, random: Random) -> float:
    """Random, each with a chance in proportion to what its limits have left (Efraimidis and Spirakis 2006)."""
    return float(random.random() ** (1.0 / min(offer.free_slots, offer.minute_left)))


def _longest_unused(offer: Offer, job: Job, random: Random) -> float:
    return -offer.last_chosen


def _cheapest(offer: Offer, job: Job, random: Random) -> float:
    return -float(offer.asks[next(iter(job.provider_models))])


POLICIES: Mapping[str, Policy] = {
    "ours": ours,
    "usage-weighted random": preferring(_by_usage),
    "round robin": preferring(_longest_unused),
    "cheapest first": preferring(_cheapest),
    "oracle": knowing(Weights()),
    "fastest oracle": knowing(Weights(second=1e6, failed_try=0.0, near=0.0)),
}
ORACLES = ("oracle", "fastest oracle")


def floor(scenario: Scenario, seeds: Iterable[int], share: float = 0.95) -> float:
    """Seconds within which no policy whatever can be expected to deliver `share` of the generations of all `seeds`.

    A bound from below: everything flows without waiting, a failure costs no time, and each second's work goes to whatever
    most probably delivers in time, as far as its slots and its starts per minute reach.
    """
    worlds = [scenario.resources(Random(seed)) for seed in seeds]
    low, high = 0.1, 600.0
    while high - low > 0.001:
        middle = (low + high) / 2
        delivered = sum(_delivered(scenario, each, middle) for each in worlds) / len(worlds)
        low, high = (middle, high) if delivered < share else (low, middle)
    return high


def _delivered(scenario: Scenario, resources: Sequence[Truth], limit: float) -> float:
    """The largest share of generations that can be delivered within `limit` seconds."""
    edges = {0.0, scenario.seconds, *(each.joins_at for each in resources)}
    edges |= {edge for each in resources for phase in each.phases for edge in (phase.start, phase.end)}
    ordered, total = sorted(edges), 0.0
    for start, end in pairwise(ordered):
        need = scenario.rate * (end - start)
        there = [(each, each.at(start)) for each in resources if each.joins_at <= start]
        timely = {each.id: _within(each.latency * phase.slowdown, each.spread, limit) for each, phase in there if phase.p_fail < 1}
        best = max(timely.values())
        flows = []
        for each, phase in there:
            if phase.p_fail < 1:
                held = (1 - phase.p_fail) * each.latency * phase.slowdown
                room = min(each.slots * ((end - start) / held + 1), each.per_minute * ((end - start) / 60 + 1))
                flows.append(((1 - phase.p_fail) * timely[each.id] + phase.p_fail * best, room))
        for chance, room in sorted(flows, reverse=True):
            part = min(need, room)
            total, need = total + part * chance, need - part
    return total / (scenario.rate * scenario.seconds)


def _within(mean: float, spread: float, limit: float) -> float:
    """The chance that a lognormal time of this mean is within `limit`."""
    return NormalDist(log(mean) - spread**2 / 2, spread).cdf(log(limit))
