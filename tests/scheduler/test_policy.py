"""What may serve, what should, and that a batch oversteps nothing."""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from time import process_time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.scheduler.policy import MAX_REASONS, PERMANENT, Choice, Job, NoChoice, Offer, Weights, choose, eligible

MINER, CREATOR, NOW, MODEL, WEIGHTS = 1, 2, 1_000_000.0, "stability:core", Weights()


def a_job(id_: int = 1, **changes: Any) -> Job:
    job = Job(
        id=id_, owner=CREATOR, community=None, provider_models=frozenset({MODEL}), operation="generate", held=5_000, tried=frozenset(),
        waited=0.0, deadline=170.0,
    )  # fmt: skip
    return replace(job, **changes)


def an_offer(id_: int = 1, **changes: Any) -> Offer:
    offer = Offer(
        id=id_, owner=MINER, community=None, scope="market", provider="stability", models=frozenset({MODEL}), asks={MODEL: 4_000},
        health="healthy", cool_until=0.0, free_slots=4, minute_left=50, budget_left=1_000_000, open_now=True, listed=True,
        successes=30.0, failures=0.0, latency=5.0, latency_deviation=1.0, delivered_total=100, last_chosen=NOW - 30,
    )  # fmt: skip
    return replace(offer, **changes)


def one(jobs: Job | Sequence[Job], *offers: Offer, seed: int = 1, weights: Weights = WEIGHTS) -> Choice | NoChoice:
    """The answer for the last job, with nothing explored."""
    calm = replace(weights, explore_share=0.0, trial_share=0.0)
    return choose([jobs] if isinstance(jobs, Job) else jobs, offers, now=NOW, seed=seed, weights=calm)[-1]


def the_choice(jobs: Job | Sequence[Job], *offers: Offer, weights: Weights = WEIGHTS) -> Choice:
    answer = one(jobs, *offers, weights=weights)
    assert isinstance(answer, Choice)
    return answer


def no_choice(jobs: Job | Sequence[Job], *offers: Offer) -> NoChoice:
    answer = one(jobs, *offers)
    assert isinstance(answer, NoChoice)
    return answer


RULES: list[tuple[str | None, dict[str, Any], dict[str, Any]]] = [
    (None, {}, {}),
    ("model", {}, {"provider_models": frozenset({"openai:gpt-image-1"})}),
    ("model", {}, {"provider_models": frozenset()}),
    ("model", {"models": frozenset()}, {}),
    ("model", {"asks": {}}, {}),  # a missing price is not a price of zero
    ("model", {"asks": {MODEL: -1}}, {}),
    (None, {"asks": {MODEL: 0}}, {}),
    ("scope", {"scope": "own"}, {}),
    (None, {"scope": "own"}, {"owner": MINER}),
    ("scope", {"scope": "own", "community": 7}, {"community": 7}),
    ("scope", {"scope": "community", "community": 7}, {"community": 8}),
    ("scope", {"scope": "community", "community": None}, {"community": None}),
    (None, {"scope": "community", "community": 7}, {"community": 7}),
    (None, {"scope": "community", "community": 7}, {"owner": MINER}),
    ("scope", {"scope": "friends", "community": 7}, {"owner": MINER, "community": 7}),
    ("tried", {}, {"tried": frozenset({1})}),
    (None, {}, {"tried": frozenset({2})}),
    ("price", {"asks": {MODEL: 5_001}}, {}),
    (None, {"asks": {MODEL: 5_000}}, {}),
    ("listed", {"listed": False}, {}),
    ("hours", {"open_now": False}, {}),
    ("out", {"health": "out"}, {}),
    ("out", {"health": "on fire"}, {}),
    ("cooling", {"health": "cooling", "cool_until": NOW + 0.1}, {}),
    (None, {"health": "cooling", "cool_until": NOW}, {}),
    (None, {"health": "suspect"}, {}),
    (None, {"health": "healthy", "cool_until": NOW + 9}, {}),
    ("budget", {"budget_left": 3_999}, {}),
    (None, {"budget_left": 4_000}, {}),
    ("minute", {"minute_left": 0}, {}),
    ("minute", {"minute_left": -2}, {}),
    ("slots", {"free_slots": 0}, {}),
    ("slots", {"free_slots": -1, "health": "suspect"}, {}),
    ("tried", {"listed": False, "free_slots": 0}, {"tried": frozenset({1})}),  # what lasts is said before what passes
]


@pytest.mark.parametrize(("reason", "offer", "job"), RULES)
def test_each_rule_of_eligibility(reason: str | None, offer: dict[str, Any], job: dict[str, Any]) -> None:
    assert eligible(a_job(**job), an_offer(**offer), NOW) == reason
    answer = one(a_job(**job), an_offer(**offer))
    if reason is None:
        assert isinstance(answer, Choice)
        assert (answer.job, answer.offer, answer.model) == (1, 1, MODEL)
    else:
        assert isinstance(answer, NoChoice)
        assert answer.final == (reason in PERMANENT | {"model"})
        assert answer.reasons[0] == ("no_resource" if answer.final else "busy")
        assert reason in answer.reasons[-1]


def test_a_generation_is_hopeless_only_when_no_resource_could_ever_serve_it() -> None:
    dear, tried, asleep = an_offer(1, asks={MODEL: 9_000}), an_offer(2), an_offer(3, open_now=False)
    job = a_job(tried=frozenset({2}))
    assert no_choice(job).final
    assert no_choice(job, dear, tried).final
    assert not no_choice(job, dear, tried, asleep).final
    assert not no_choice(a_job(deadline=0.0), an_offer()).final  # it is over for another reason


def test_when_to_look_again() -> None:
    cooling, later = an_offer(1, health="cooling", cool_until=NOW + 9), an_offer(2, health="cooling", cool_until=NOW + 90)
    used_up = an_offer(3, minute_left=0)
    assert no_choice(a_job(), later, cooling).retry_at == NOW + 9
    assert no_choice(a_job(), cooling, used_up).retry_at == NOW + WEIGHTS.recheck
    assert no_choice(a_job(), cooling, replace(used_up, minute_at=NOW + 4)).retry_at == NOW + 4
    assert no_choice(a_job(), an_offer(free_slots=0)).retry_at is None  # an event: a call ends
    assert no_choice(a_job(), an_offer(health="out")).retry_at is None


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"asks": {MODEL: 3_000}}, {"asks": {MODEL: 4_500}}),
        ({"latency": 3.0}, {"latency": 6.0}),
        ({"latency_deviation": 0.5}, {"latency_deviation": 3.0}),
        ({"failures": 0.0}, {"failures": 10.0}),
        ({"latency": 4.0, "asks": {MODEL: 4_500}}, {"latency": 6.0, "asks": {MODEL: 4_000}}),  # a second is worth more than half a Credit
        ({"latency": 4.1, "asks": {MODEL: 1_500}}, {"latency": 4.0, "asks": {MODEL: 4_900}}),  # … but a tenth of one is not worth three
        ({"latency": 6.0}, {"latency": 4.0, "successes": 15.0, "failures": 15.0}),
        ({"latency": 5.0}, {"latency": 0.0, "delivered_total": 0, "successes": 0.0}),  # not known: as its peers, but less sure
        ({"latency": 5.0}, {"latency": 200.0, "asks": {MODEL: 0}}),  # too late for the deadline, however cheap
    ],
)
def test_the_lowest_expected_total_cost_wins(better: dict[str, Any], worse: dict[str, Any]) -> None:
    for good, bad in ((1, 2), (2, 1)):
        choice = the_choice(a_job(), an_offer(bad, **worse), an_offer(good, **better))
        assert choice.offer == good


def test_what_is_late_serves_when_nothing_else_is_there() -> None:
    choice = the_choice(a_job(deadline=3.0), an_offer(latency=100.0))
    assert "late" in choice.reasons


def test_the_cheapest_of_the_models_that_serve_is_taken() -> None:
    asks = {"a:x": 4_000, "a:y": 3_000, "a:z": 1}
    choice = the_choice(a_job(provider_models=frozenset({"a:x", "a:y"})), an_offer(models=frozenset(asks), asks=asks))
    assert (choice.model, choice.price) == ("a:y", 3_000)


def test_lost_disputes_lower_the_standing() -> None:
    steady, disputed = an_offer(1, last_chosen=NOW), an_offer(2, lost=20, made=100)
    assert the_choice(a_job(), steady, disputed).offer == 1, "though the other waited longer"
    assert the_choice(a_job(), steady, replace(disputed, lost=0)).offer == 2
    assert the_choice(a_job(), steady, replace(disputed, made=100_000)).offer == 2, "few of many are forgiven"
    assert the_choice(a_job(), steady, replace(disputed, delivered_total=100_000)).offer == 1, "a long past forgives nothing"
    assert the_choice(a_job(), replace(steady, free_slots=0, minute_left=0), disputed).offer == 2, "it may still serve"


def test_reasons_say_what_was_weighed() -> None:
    offers = [an_offer(1, latency=3.0, free_slots=0), an_offer(2, latency=5.0), an_offer(3, latency=9.0)]
    reasons = the_choice(a_job(), *offers).reasons
    assert {reason.partition("=")[0] for reason in reasons} == {"price", "p_fail", "latency", "score", "next:3", "rejected:1:slots"}
    alone = the_choice(a_job(), an_offer(health="suspect", free_slots=1))
    assert {"trial", "only_eligible"} <= set(alone.reasons)


def test_reasons_are_bounded() -> None:
    offers = [an_offer(id_, latency=1.0, free_slots=0) for id_ in range(2, 40)]
    for answer in (one(a_job(), an_offer(1), *offers), one(a_job(), *offers)):
        assert len(answer.reasons) == MAX_REASONS


@pytest.mark.parametrize("limit", [{"free_slots": 3}, {"minute_left": 3}, {"budget_left": 15_999}])
def test_a_batch_uses_up_what_a_resource_allows(limit: dict[str, int]) -> None:
    roomy = {"free_slots": 90, "minute_left": 90, "budget_left": 1_000_000, "latency": 3.0}
    jobs = [a_job(id_) for id_ in range(8)]
    answers = choose(jobs, [an_offer(1, **roomy | limit)], now=NOW, seed=1)
    assert [isinstance(answer, Choice) for answer in answers] == [True] * 3 + [False] * 5
    reason = {"free_slots": "slots", "minute_left": "minute", "budget_left": "budget"}[next(iter(limit))]
    assert all(answer.reasons == ("busy", f"rejected:1:{reason}") for answer in answers[3:])
    shared = choose(jobs, [an_offer(1, **roomy | limit), an_offer(2, **roomy | {"latency": 4.0})], now=NOW, seed=1)
    assert Counter(answer.offer for answer in shared if isinstance(answer, Choice)) == {1: 3, 2: 5}


def test_equals_take_turns() -> None:
    offers = [an_offer(id_, free_slots=50, last_chosen=NOW - id_) for id_ in (1, 2, 3)]
    assert the_choice(a_job(), *offers).offer == 3  # the longest without work
    batch = choose([a_job(id_) for id_ in range(30)], offers, now=NOW, seed=1)
    assert set(Counter(answer.offer for answer in batch if isinstance(answer, Choice)).values()) == {10}
    firsts = Counter(
        answer.offer
        for seed in range(300)
        if isinstance(answer := one(a_job(), *(replace(each, last_chosen=0.0) for each in offers), seed=seed), Choice)
    )
    assert all(70 <= firsts[id_] <= 130 for id_ in (1, 2, 3))  # the seed breaks ties, evenly


QUICK = an_offer(1, latency=3.0, free_slots=0, slot_at=NOW + 1.0)
SLOW = an_offer(2, latency=25.0)


def test_waiting_a_moment_for_the_quick_beats_the_slow() -> None:
    answer = no_choice(a_job(), QUICK, SLOW)
    assert answer.reasons[0] == "wait" and answer.retry_at == NOW + 1.0 and not answer.final
    by_minute = replace(QUICK, free_slots=4, minute_left=0, minute_at=NOW + 2.0)
    assert no_choice(a_job(), by_minute, SLOW).retry_at == NOW + 2.0


def test_only_one_waits_for_one_slot() -> None:
    assert the_choice([a_job(1), a_job(2)], QUICK, SLOW).offer == 2


@pytest.mark.parametrize(
    ("quick", "slow", "job"),
    [
        ({"slot_at": 0.0}, {}, {}),  # when, is not known
        ({"slot_at": NOW + 24}, {}, {}),  # no gain
        ({"slot_at": NOW - 24}, {}, {}),  # overdue: as long again
        ({}, {"latency": 4.3}, {}),  # too little gain
        ({}, {}, {"waited": 26.0}),  # it has waited as long as the slow one needs
        ({}, {}, {"deadline": 3.0}),  # it would be too late
        ({"minute_left": 0}, {}, {}),  # its minute is used up too, until nobody knows when
        ({"minute_left": 0, "minute_at": NOW + 50}, {}, {}),
        ({"health": "suspect"}, {}, {}),  # a trial may fail
    ],
)
def test_when_not_to_wait(quick: dict[str, Any], slow: dict[str, Any], job: dict[str, Any]) -> None:
    assert the_choice(a_job(**job), replace(QUICK, **quick), replace(SLOW, **slow)).offer == 2


def explored(answers: Sequence[Choice | NoChoice]) -> int:
    return sum(isinstance(each, Choice) and "explored" in each.reasons for each in answers)


def market(count: int, rounds: int, offers: Sequence[Offer]) -> list[int]:
    """Who serves each of `rounds` generations, one every `count` seconds, when all figures but `last_chosen` stay as they are."""
    known, served = {each.id: each for each in offers}, []
    for number in range(rounds):
        now = NOW + number * count
        (answer,) = choose([a_job(number)], list(known.values()), now=now, seed=number)
        assert isinstance(answer, Choice)
        served.append(answer.offer)
        known[answer.offer] = replace(known[answer.offer], last_chosen=now)
    return served


def test_no_miner_starves_and_exploring_is_bounded() -> None:
    ladder = [an_offer(id_, latency=3.0 + id_, asks={MODEL: 3_000 + 150 * id_}, failures=float(id_)) for id_ in range(1, 9)]
    served = market(1, 6_000, ladder)
    counts = Counter(served)
    others = 6_000 - counts[1]
    assert 0.5 * WEIGHTS.explore_share <= others / 6_000 <= 1.5 * WEIGHTS.explore_share
    assert min(counts[id_] for id_ in range(2, 9)) >= 6  # even the dearest, slowest and worst


def test_a_new_resource_and_one_that_failed_get_trials_though_others_are_better() -> None:
    best = an_offer(1, latency=3.0)
    new = an_offer(2, asks={MODEL: 5_000}, latency=0.0, delivered_total=0, successes=0.0, last_chosen=0.0)
    failed = an_offer(3, health="suspect", latency=9.0, failures=20.0, free_slots=1)
    for unproven in (new, failed):
        counts = Counter(market(1, 3_000, [best, unproven]))
        assert 0.5 * WEIGHTS.trial_share <= counts[unproven.id] / 3_000 <= 1.5 * WEIGHTS.trial_share


def test_who_has_waited_longest_is_explored_first_and_who_fails_less_often() -> None:
    eager = replace(WEIGHTS, explore_share=1.0)
    long_ago = an_offer(1, latency=20.0, last_chosen=NOW - 900)
    lately = an_offer(2, last_chosen=NOW - 600)
    for offers, expected in (
        ((long_ago, lately), 1),
        ((replace(long_ago, failures=30.0), lately), 2),
        ((long_ago, replace(lately, last_chosen=0.0)), 2),  # never is longest
    ):
        (answer,) = choose([a_job()], offers, now=NOW, seed=1, weights=eager)
        assert isinstance(answer, Choice)
        assert (answer.offer, "explored" in answer.reasons) == (expected, True)


def test_a_trial_is_one_call() -> None:
    for health in ("suspect", "cooling"):
        jobs = [a_job(id_) for id_ in range(20)]
        answers = choose(jobs, [an_offer(health=health, cool_until=NOW - 1, free_slots=5)], now=NOW, seed=1)
        assert sum(isinstance(answer, Choice) for answer in answers) == 1


def test_only_first_tries_with_time_to_spare_explore() -> None:
    offers = [an_offer(1, latency=3.0, free_slots=999, minute_left=999), an_offer(2, latency=9.0, free_slots=999, minute_left=999)]
    eager = replace(WEIGHTS, explore_share=1.0)
    for job, expected in ((a_job(), 50), (a_job(tried=frozenset({7})), 0), (a_job(deadline=11.0), 0)):
        answers = choose([replace(job, id=id_) for id_ in range(50)], offers, now=NOW, seed=3, weights=eager)
        assert explored(answers) == expected


NAMES = ("a:x", "a:y", "b:z")
names = st.frozensets(st.sampled_from(NAMES), max_size=3)


@st.composite
def offers_of(draw: st.DrawFn) -> list[Offer]:
    offers = []
    for id_ in range(1, draw(st.integers(0, 6)) + 1):
        models = draw(names) if draw(st.integers(0, 3)) == 0 else frozenset(NAMES)
        offers.append(
            an_offer(
                id_,
                owner=draw(st.integers(1, 3)),
                community=draw(st.sampled_from([None, 1, 2])),
                scope=draw(st.sampled_from(["market"] * 4 + ["community", "own"])),
                models=models,
                asks={name: draw(st.integers(-1, 4)) for name in sorted(models) if draw(st.integers(0, 9))},
                health=draw(st.sampled_from(["healthy"] * 5 + ["suspect", "cooling", "out"])),
                cool_until=NOW + draw(st.sampled_from([-5.0, 0.0, 5.0])),
                free_slots=draw(st.integers(-1, 4)),
                minute_left=draw(st.integers(-1, 5)),
                budget_left=draw(st.integers(0, 9)),
                open_now=draw(st.integers(0, 9)) > 0,
                listed=draw(st.integers(0, 9)) > 0,
                successes=draw(st.floats(0, 40)),
                failures=draw(st.floats(0, 40)),
                latency=draw(st.floats(0, 60)),
                latency_deviation=draw(st.floats(0, 20)),
                delivered_total=draw(st.integers(0, 9)),
                last_chosen=draw(st.sampled_from([0.0, NOW - 100, NOW])),
                slot_at=draw(st.sampled_from([0.0, NOW - 1, NOW + 1])),
                minute_at=draw(st.sampled_from([0.0, NOW - 1, NOW + 1])),
            )
        )
    return offers


job_fields = st.fixed_dictionaries(
    {
        "owner": st.integers(1, 3),
        "community": st.sampled_from([None, 1, 2]),
        "provider_models": st.one_of(names, st.just(frozenset(NAMES))),
        "held": st.integers(0, 4).map(lambda low: 4 - low),
        "tried": st.one_of(st.just(frozenset()), st.frozensets(st.integers(1, 6), max_size=2)),
        "waited": st.floats(0, 100),
        "deadline": st.one_of(st.just(170.0), st.floats(-1, 200)),
    }
)
batches = st.lists(job_fields, max_size=12).map(lambda all_: [a_job(100 + at, **each) for at, each in enumerate(all_)])


def take(offer: Offer, price: int) -> Offer:
    return replace(offer, free_slots=offer.free_slots - 1, minute_left=offer.minute_left - 1, budget_left=offer.budget_left - price)


@pytest.mark.uncounted
@settings(max_examples=200)
@given(jobs=batches, offers=offers_of(), seed=st.integers(0, 1 << 48), share=st.sampled_from([0.0, 0.05, 1.0]))
def test_a_batch_keeps_every_rule_and_every_limit(jobs: list[Job], offers: list[Offer], seed: int, share: float) -> None:
    weights = Weights(explore_share=share, trial_share=share)
    answers = choose(jobs, offers, now=NOW, seed=seed, weights=weights)
    assert answers == choose(jobs, list(reversed(offers)), now=NOW, seed=seed, weights=weights)
    assert [answer.job for answer in answers] == [job.id for job in jobs]
    left = {each.id: each if each.health == "healthy" else replace(each, free_slots=min(1, each.free_slots)) for each in offers}
    for job, answer in zip(jobs, answers, strict=True):
        assert answer.reasons and len(answer.reasons) <= MAX_REASONS and all(len(each) < 60 for each in answer.reasons)
        refusals = {each.id: eligible(job, each, NOW) for each in left.values()}
        if isinstance(answer, Choice):
            assert refusals[answer.offer] is None  # so limits, price, scope and what was tried are respected to the last call
            assert answer.model in job.provider_models and answer.price == left[answer.offer].asks[answer.model] <= job.held
            assert answer.offer not in job.tried
            left[answer.offer] = take(left[answer.offer], answer.price)
            continue
        assert answer.retry_at is None or answer.retry_at > NOW
        head = answer.reasons[0]
        assert (head == "deadline") == (job.deadline <= 0)
        if head in ("busy", "no_resource"):
            assert None not in refusals.values()  # nothing idles while a generation waits for nothing
            assert answer.final == (set(refusals.values()) <= PERMANENT | {"model"}) == (head == "no_resource")
        elif head == "wait":
            full = int(answer.reasons[1].removeprefix("for:").partition("=")[0])
            assert refusals[full] in ("slots", "minute") and answer.retry_at is not None and not answer.final


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("kinds", [1, 20])
def test_a_choice_takes_less_than_half_a_millisecond(full: bool, kinds: int) -> None:
    free = 0 if full else 3
    offers = [an_offer(id_, latency=3.0 + id_ % 60 / 10, asks={MODEL: 3_000 + 7 * id_}, free_slots=free) for id_ in range(100)]
    jobs = [a_job(id_, provider_models=frozenset({MODEL, f"other:{id_ % kinds}"})) for id_ in range(100)]
    tracer = sys.gettrace()
    sys.settrace(None)  # coverage costs more than what it watches
    try:
        spent = []
        for seed in range(5):
            before = process_time()
            choose(jobs, offers, now=NOW, seed=seed)
            spent.append((process_time() - before) / len(jobs))
    finally:
        sys.settrace(tracer)
    assert min(spent) < 0.0005
