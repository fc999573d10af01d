"""The worlds in which scheduling policies are compared: data only. Seconds are virtual; prices are milli-credits."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from core.providers.base import Fault

MODEL = "stability:core"
HELD = 9_000  # milli-credits held for each generation: above every price here
DEADLINE = 180.0  # seconds until a generation is given up
START = 1_000_000.0  # virtual time does not begin at 0, which means "never" in an offer


@dataclass(frozen=True, slots=True)
class Phase:
    """Between `start` and `end` (seconds after the start of the run) a resource behaves otherwise.

    A failure with Fault.TIMEOUT takes as long as a call may; one with Fault.EMPTY puts the resource out until it is paid.
    """

    start: float
    end: float
    p_fail: float
    slowdown: float = 1.0
    fault: Fault = Fault.SERVER


@dataclass(frozen=True, slots=True)
class Truth:
    """What a resource really is; only the oracles see it."""

    id: int
    ask: int
    latency: float  # mean seconds of a delivered call
    spread: float  # sigma of its lognormal distribution
    p_fail: float
    slots: int
    per_minute: int
    phases: tuple[Phase, ...] = ()
    joins_at: float = 0.0

    def at(self, elapsed: float) -> Phase:
        """How it behaves `elapsed` seconds after the start of the run."""
        for phase in self.phases:
            if phase.start <= elapsed < phase.end:
                return phase
        return Phase(0, 0, self.p_fail)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A world: `rate` is generations per second (arriving in bursts of 1 to `burst`), for `seconds`."""

    name: str
    rate: float
    seconds: float
    resources: Callable[[Random], list[Truth]]
    burst: int = 4
    watched: int | None = None  # the resource whose share and first work are reported


def _ordinary(random: Random, *, count: int = 10, per_minute: int = 150) -> list[Truth]:
    """Resources of one model as miners lend them: quicker ones tend to ask more."""
    resources = []
    for number in range(1, count + 1):
        latency = random.uniform(2.5, 9.0)
        ask = int(4_500 + 150 * (5.75 - latency) + random.uniform(-900, 900))
        p_fail = random.uniform(0.002, 0.02)
        resources.append(Truth(number, ask, latency, random.uniform(0.15, 0.35), p_fail, random.randint(2, 6), per_minute))
    return resources


def _quickest(random: Random, *phases: tuple[Phase, ...]) -> list[Truth]:
    """Ordinary resources of which the quickest get one tuple of `phases` each: what happens to those hurts most."""
    resources = sorted(_ordinary(random), key=lambda each: each.latency)
    changed = [replace(each, phases=own) for each, own in zip(resources, phases, strict=False)]
    return [*changed, *resources[len(phases) :]]


def _brownout(random: Random) -> list[Truth]:
    return _quickest(random, (Phase(300, 700, 0.25, 4.0),), (Phase(500, 900, 0.10, 3.0),))


def _outage(random: Random) -> list[Truth]:
    return _quickest(random, (Phase(300, 700, 1.0),))


def _hang(random: Random) -> list[Truth]:
    return _quickest(random, (Phase(300, 700, 1.0, fault=Fault.TIMEOUT),))


def _unpaid(random: Random) -> list[Truth]:
    return _quickest(random, (Phase(300, 700, 1.0, fault=Fault.EMPTY),))


def _tight(random: Random) -> list[Truth]:
    return _ordinary(random, per_minute=8)


def _newcomer(random: Random) -> list[Truth]:
    return [*_ordinary(random), Truth(99, 4_300, 3.0, 0.2, 0.005, 4, 150, joins_at=300.0)]


def _dear_newcomer(random: Random) -> list[Truth]:
    return [*_ordinary(random), Truth(99, 6_500, 9.0, 0.2, 0.005, 4, 150, joins_at=300.0)]


def _liar(random: Random) -> list[Truth]:
    return [*_ordinary(random), Truth(99, 3_000, 3.0, 0.2, 0.5, 6, 150)]


def _unequal(random: Random) -> list[Truth]:
    """A quick provider of few slots beside people's own slow hardware: whether to wait for the quick one is the question."""
    slow = [Truth(number, 4_400, random.uniform(20, 30), 0.2, 0.01, 3, 150) for number in (3, 4, 5)]
    return [Truth(1, 4_600, 3.0, 0.2, 0.01, 2, 150), Truth(2, 4_600, 4.0, 0.2, 0.01, 1, 150), *slow]


SCENARIOS = (
    Scenario("calm", 1.2, 1200, _ordinary),
    Scenario("brownout", 1.2, 1200, _brownout),
    Scenario("outage", 1.2, 1200, _outage),
    Scenario("outage, calls hang", 1.2, 1200, _hang),
    Scenario("outage, not paid", 1.2, 1200, _unpaid),
    Scenario("tight limits", 1.0, 1200, _tight),
    Scenario("new resource", 1.2, 1200, _newcomer, watched=99),
    Scenario("new, dear, slow", 1.2, 1200, _dear_newcomer, watched=99),
    Scenario("liar", 1.2, 1200, _liar, watched=99),
    Scenario("few and unequal", 0.5, 1200, _unequal, burst=2),
)
