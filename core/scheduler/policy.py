"""Which resource serves which generation, and why. Pure: a snapshot goes in, choices and their reasons come out.

Two steps. First what *may* serve: `eligible`, hard rules without exception. Then what *should*: the lowest expected total cost
in milli-credits,

    price + (wait + seconds) x value of a second + p_fail x (cost of a failed try + seconds x value of a second)
    + p_lost x (cost of a picture that loses its dispute + seconds x value of a second)

where the wait is that for the next slot or start of a resource that is full; a generation may be told to wait for it. Offers that
cost nearly the same take turns, and a bounded share of the choices is spent on exploring, so that new resources get work, resources
that failed get their trial, and no miner starves.
A batch is decided at once: every choice takes its slot, start and price out of the batch's own copy of the limits, so none is overshot.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

MAX_REASONS = 12
PERMANENT = frozenset({"model", "scope", "tried", "price"})  # reasons that time does not change for one generation

_SOON = 0.1  # seconds at least between looks at one generation
_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Weights:
    """What things are worth. Tuned with `bench/simulator.py` on its seeds 1 to 20."""

    second: float = 2_500.0  # milli-credits that one second of a creator's time is worth
    deviation: float = 0.5  # an offer counts as slow as its mean latency plus so many deviations
    failed_try: float = 10_000.0  # milli-credits that a failed try costs besides its time: nerves, and a try fewer
    lost_picture: float = 20_000.0  # milli-credits that a picture costs which loses its dispute: it was waited for in vain
    near: float = 0.03  # offers within this share of the lowest cost count as equal and take turns
    explore_share: float = 0.015  # share of first tries spent on the resource that has waited longest for work
    trial_share: float = 0.05  # share of first tries that may be a trial of a resource that is new or comes back from failure
    proven: float = 3.0  # counted tries after which a resource is new no more
    patience: float = 4.0  # explore only with a generation that has so many times the expected seconds left
    hesitation: float = 0.5  # seconds that a wait must save, for it is an estimate and the free slot is not
    prior_failures: float = 0.2  # what is believed of a resource before it has worked: so many failures in `prior_tries`
    prior_tries: float = 4.0
    prior_latency: float = 8.0  # seconds, when no resource of the kind has ever worked
    recheck: float = 1.0  # seconds after which a limit whose end is not known is looked at again


@dataclass(frozen=True, slots=True)
class Job:
    """One queued generation. Credits in milli-credits, times in seconds."""

    id: int
    owner: int
    community: int | None
    provider_models: frozenset[str]  # which "provider:model" may serve it; the catalog's provider rule is applied already
    operation: str  # "generate" | "edit" | "upscale"; `provider_models` reflects it already
    held: int  # reserved: the most that may be captured
    tried: frozenset[int]  # resources that this generation has used: never again
    waited: float  # seconds in the queue
    deadline: float  # seconds left before the generation is given up
    strikes: int = 0  # refused prompts of its owner that count


@dataclass(frozen=True, slots=True)
class Offer:
    """One resource as it stands now. Credits in milli-credits, times in seconds on the axis of `now`."""

    id: int
    owner: int
    community: int | None
    scope: str  # "own" | "community" | "market"
    provider: str
    models: frozenset[str]  # "provider:model" that it is known to serve
    asks: Mapping[str, int]  # "provider:model" -> its price floor; a model without one cannot be used
    health: str  # "healthy" | "cooling" | "suspect" | "out"
    cool_until: float  # absolute; 0 when not cooling
    free_slots: int  # concurrency limit less what is in flight; for a suspect at most 1 less what is in flight
    minute_left: int  # requests it may still start in the current 60 s window
    budget_left: int  # of the tighter of its daily and monthly limit
    open_now: bool  # inside its working hours
    listed: bool
    successes: float  # exponentially decayed counts
    failures: float
    latency: float  # moving average of delivered calls, and of its absolute deviation; 0 when never used
    latency_deviation: float
    delivered_total: int
    last_chosen: float  # absolute; 0 = never
    slot_at: float = 0.0  # absolute; when the first of its calls in flight is expected to end; 0 = none, or not known
    lost: int = 0  # disputes lost lately, …
    made: int = 0  # … and pictures delivered in the same time
    wary: bool = False  # half of its budget of refused prompts is used
    minute_at: float = 0.0  # absolute; when the oldest start leaves the 60 s window; 0 = none, or not known


@dataclass(frozen=True, slots=True)
class Choice:
    """`offer` serves `job` with `model` for `price` milli-credits. `reasons` are kept with the attempt."""

    job: int
    offer: int
    model: str
    price: int
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NoChoice:
    """Nothing may serve `job` now, or what may is worth less than waiting a moment for a better one.

    `retry_at` is the earliest known time (absolute, seconds) at which that may change by itself; None when only an event can change
    it: a slot that is freed, a probe, a miner, a new day. `final` means that no resource that exists could ever serve it, whatever
    time passes.
    """

    job: int
    reasons: tuple[str, ...]
    retry_at: float | None
    final: bool


@dataclass(slots=True)
class _Room:
    """The batch's own copy of what one resource still allows, used up as the batch is decided."""

    offer: Offer
    on_trial: bool
    free_slots: int
    minute_left: int
    budget_left: int
    given: int = 0  # choices of this batch
    awaited: bool = False  # its next slot is promised to a generation of this batch

    def take(self, price: int) -> None:
        self.free_slots -= 1
        self.minute_left -= 1
        self.budget_left -= price
        self.given += 1


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A resource that serves one kind of job, with what it is expected to cost."""

    cost: float
    tie: float  # in [0, 1), from the seed: the order of equals
    room: _Room
    model: str
    price: int
    seen: float  # tries that the figures rest on
    p_fail: float
    seconds: float


def eligible(job: Job, offer: Offer, now: float) -> str | None:
    """None when `offer` may serve `job` at `now`, else the first rule that forbids it, in one word.

    For ever: `model` (cannot serve it, or asks no price), `scope`, `tried`, `price` (its floor is above what is held).
    For now: `listed`, `hours`, `out`, `cooling`, `strikes` (it is wary, and the creator has some), `budget`, `minute`, `slots`.
    """
    found = _cheapest_model(job.provider_models, offer)
    if found is None:
        return "model"
    return _refusal(job, _room(offer), found[1], now)


def choose(jobs: Sequence[Job], offers: Sequence[Offer], *, now: float, seed: int, weights: Weights = Weights()) -> list[Choice | NoChoice]:
    """Decides a batch, in the order of `jobs`, which the caller has made fair; one answer for each, in that order.

    `now` is in seconds on the axis of the offers' times. All randomness comes from `seed`: the same arguments give
    the same answers, and the order of `offers` does not matter. Raises nothing.
    """
    rooms = [_room(offer) for offer in offers]
    rankings = {models: _rank(models, rooms, seed, weights) for models in {job.provider_models for job in jobs}}
    return [_decide(job, rankings[job.provider_models], now, seed, weights) for job in jobs]


def _decide(job: Job, ranking: Sequence[_Candidate], now: float, seed: int, weights: Weights) -> Choice | NoChoice:
    if job.deadline <= 0:
        return NoChoice(job.id, ("deadline",), None, False)
    refused: list[tuple[_Candidate, str]] = []
    chosen, facts = _explore(job, ranking, now, seed, weights), ["explored"]
    if chosen is None:
        chosen, facts = _best(job, ranking, refused, now, weights)
        if chosen is None:
            return _nothing(job, ranking, refused, now, weights)
        better = _worth_waiting(job, chosen, refused, now, weights)
        if better is not None:
            return better
    chosen.room.take(chosen.price)
    reasons = [
        f"price={chosen.price}",
        f"p_fail={chosen.p_fail:.3f}",
        f"latency={chosen.seconds:.1f}",
        f"score={chosen.cost:.0f}",
        *(["trial"] if chosen.room.on_trial else []),
        *facts,
        *_rejections(refused),
    ]
    return Choice(job.id, chosen.room.offer.id, chosen.model, chosen.price, tuple(reasons[:MAX_REASONS]))


def _best(
    job: Job, ranking: Sequence[_Candidate], refused: list[tuple[_Candidate, str]], now: float, weights: Weights
) -> tuple[_Candidate | None, list[str]]:
    """The cheapest that is in time, and facts about the runner-up; among near equals the one longest without work.

    `refused` receives what would have been preferred, and why not. The ranking is ordered, so the walk ends early.
    """
    equals: list[_Candidate] = []
    late: _Candidate | None = None
    runner_up: _Candidate | None = None
    limit = 0.0
    for candidate in ranking:
        reason = _refusal(job, candidate.room, candidate.price, now)
        if reason is not None:
            if not equals:
                refused.append((candidate, reason))
        elif candidate.seconds > job.deadline:
            late = late or candidate
        elif not equals:
            equals, limit = [candidate], candidate.cost * (1 + weights.near)
        elif candidate.cost <= limit:
            equals.append(candidate)
        else:
            runner_up = candidate
            break
    if not equals:
        return late, ["late"]
    chosen = min(equals, key=lambda each: (each.room.given, each.room.offer.last_chosen, each.tie))
    if len(equals) > 1:
        return chosen, [f"in_turn={len(equals)}"]
    if runner_up is None:
        return chosen, ["only_eligible"]
    return chosen, [f"next:{runner_up.room.offer.id}={runner_up.cost:.0f}"]


def _worth_waiting(
    job: Job, chosen: _Candidate, refused: Sequence[tuple[_Candidate, str]], now: float, weights: Weights
) -> NoChoice | None:
    """An order to wait for a resource that is full, where that is cheaper than what is free, wait included.

    No generation waits longer in all than what is free would have taken, so that a wrong estimate at most doubles its time.
    """
    for each, reason in refused:
        room = each.room
        if reason not in ("slots", "minute") or room.awaited or room.on_trial:
            continue
        wait = _expected_wait(each, now)
        if wait is None or job.waited + wait > chosen.seconds or wait + each.seconds > job.deadline:
            continue
        cost = each.cost + wait * weights.second
        if cost + weights.hesitation * weights.second < chosen.cost:
            room.awaited = True
            reasons = ("wait", f"for:{room.offer.id}={cost:.0f}", f"instead_of:{chosen.room.offer.id}={chosen.cost:.0f}")
            return NoChoice(job.id, reasons, now + max(wait, _SOON), False)
    return None


def _expected_wait(full: _Candidate, now: float) -> float | None:
    """Seconds until a full resource may start again; None when that is not known."""
    room, offer = full.room, full.room.offer
    wait = 0.0
    if room.free_slots <= 0:
        if offer.slot_at > 0:
            # A call that is overdue by so much is expected to need as much again.
            wait = abs(offer.slot_at - now)
        elif room.given > 0:
            wait = full.seconds
        else:
            return None
    if room.minute_left <= 0:
        if offer.minute_at <= 0:
            return None
        wait = max(wait, offer.minute_at - now)
    return wait


def _explore(job: Job, ranking: Sequence[_Candidate], now: float, seed: int, weights: Weights) -> _Candidate | None:
    """Now and then a resource that the lowest cost would pass over: one not (yet) proven, else the longest without work.

    Only first tries with time to spare explore, so that the price of learning is never a failed generation. The time
    without work is discounted by the probability of failure: a resource that fails often is asked again, but less often.
    """
    draw = _unit(seed, job.id)
    if job.tried or draw >= max(weights.explore_share, weights.trial_share):
        return None
    open_ = [
        each for each in ranking if each.seconds * weights.patience <= job.deadline and _refusal(job, each.room, each.price, now) is None
    ]
    unproven = [each for each in open_ if each.room.on_trial or each.seen < weights.proven]
    if unproven and draw < weights.trial_share:
        open_ = unproven
    elif draw >= weights.explore_share:
        return None

    def urgency(each: _Candidate) -> tuple[int, bool, float, float]:
        last = each.room.offer.last_chosen
        return -each.room.given, last == 0, (now - last) * (1 - each.p_fail), each.tie

    return max(open_, key=urgency, default=None)


def _rank(models: frozenset[str], rooms: Iterable[_Room], seed: int, weights: Weights) -> list[_Candidate]:
    """Everything that serves one of `models`, lowest expected total cost first; the same for all jobs of the kind."""
    serving = [(room, found) for room in rooms if (found := _cheapest_model(models, room.offer)) is not None]
    known = [room.offer.latency for room, _ in serving if room.offer.delivered_total > 0]
    peers = median(known) if known else weights.prior_latency
    ranking = []
    for room, (model, price) in serving:
        offer = room.offer
        seen = offer.successes + offer.failures
        p_fail = (offer.failures + weights.prior_failures) / (seen + weights.prior_tries)
        # The first deliveries count against what its peers need: one lucky call proves no fast resource.
        mean = (offer.latency * offer.delivered_total + peers) / (offer.delivered_total + 1)
        seconds = mean + weights.deviation * offer.latency_deviation
        time = seconds * weights.second
        # Lost disputes for each picture; like failures they are believed after some pictures, not after one.
        p_lost = min(1.0, offer.lost / (offer.made + weights.prior_tries))
        cost = price + time + p_fail * (weights.failed_try + time) + p_lost * (weights.lost_picture + time)
        ranking.append(_Candidate(cost, _unit(seed, -offer.id - 1), room, model, price, seen, p_fail, seconds))
    ranking.sort(key=lambda each: (each.cost, each.tie, each.room.offer.id))
    return ranking


def _room(offer: Offer) -> _Room:
    # A resource that comes back from failure has to prove itself with one call before it gets a second.
    on_trial = offer.health in ("suspect", "cooling")
    slots = min(1, offer.free_slots) if on_trial else offer.free_slots
    return _Room(offer, on_trial, slots, offer.minute_left, offer.budget_left)


def _refusal(job: Job, room: _Room, price: int, now: float) -> str | None:
    """The rules of `eligible` but for `model`, against what the batch has left of the resource."""
    offer = room.offer
    if not _in_scope(job, offer):
        return "scope"
    if offer.id in job.tried:
        return "tried"
    if price > job.held:
        return "price"
    if not offer.listed:
        return "listed"
    if not offer.open_now:
        return "hours"
    if offer.health == "cooling" and offer.cool_until > now:
        return "cooling"
    if offer.health not in ("healthy", "cooling", "suspect"):
        return "out"
    if offer.wary and job.strikes and offer.owner != job.owner:
        return "strikes"
    if price > room.budget_left:
        return "budget"
    if room.minute_left <= 0:
        return "minute"
    if room.free_slots <= 0:
        return "slots"
    return None


def _in_scope(job: Job, offer: Offer) -> bool:
    """Each scope widens the one before: owner, then community, then everyone. An unknown scope serves no one."""
    if offer.scope == "market":
        return True
    if offer.scope not in ("own", "community"):
        return False
    if offer.owner == job.owner:
        return True
    return offer.scope == "community" and offer.community is not None and offer.community == job.community


def _cheapest_model(models: frozenset[str], offer: Offer) -> tuple[str, int] | None:
    """The model that `offer` serves for the least, and its price. A missing price is no price of zero."""
    best: tuple[int, str] | None = None
    for model in models & offer.models:
        price = offer.asks.get(model)
        if price is not None and price >= 0 and (best is None or (price, model) < best):
            best = (price, model)
    return None if best is None else (best[1], best[0])


def _nothing(job: Job, ranking: Sequence[_Candidate], refused: Sequence[tuple[_Candidate, str]], now: float, weights: Weights) -> NoChoice:
    if not ranking:
        return NoChoice(job.id, ("no_resource", "model"), None, True)
    final = all(reason in PERMANENT for _, reason in refused)
    times = [each.room.offer.cool_until for each, reason in refused if reason == "cooling"]
    minutes = [each.room.offer.minute_at for each, reason in refused if reason == "minute"]
    times += [at if at > now else now + weights.recheck for at in minutes]
    head = "no_resource" if final else "busy"
    reasons = (head, *_rejections(refused))[:MAX_REASONS]
    return NoChoice(job.id, reasons, min(times, default=None), final)


def _rejections(refused: Sequence[tuple[_Candidate, str]]) -> list[str]:
    return [f"rejected:{each.room.offer.id}:{reason}" for each, reason in refused[:MAX_REASONS]]


def _unit(seed: int, number: int) -> float:
    """A number in [0, 1) that looks random and depends on nothing else: SplitMix64 (Steele, Lea, Flood 2014)."""
    z = (seed * 0x9E3779B97F4A7C15 + number * 0xD1342543DE82EF95 + 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((z ^ (z >> 31)) >> 11) / (1 << 53)
