"""What a verdict gave is taken back once, by another admin, while it is still there; whoever gave it has exactly that again."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import text

from core.acts.errors import ReasonNeeded
from core.db import DAY, HOUR
from core.disputes.errors import NotProposed, NotReversible, NotTakenBack, OwnDispute, OwnVerdict, RefundSpent, SecondAdmin
from core.disputes.models import Dispute, Kind, State
from core.disputes.rules import NEXT, REVERSE_DAYS
from core.errors import Refusal
from core.generations.models import Generation
from core.generations.models import State as GenerationState
from core.generations.settle import release_earnings
from core.ledger.models import FEES, INSURANCE, Leg, Posting, earnings, pending, wallet
from core.ledger.seal import floorless_balances
from core.providers.base import Delivered, Picture
from core.resources.models import State as ResourceState
from core.users.models import User
from core.worker import Worker
from tests.disputes.test_evidence import drawn, opened, told
from tests.disputes.test_verdicts import admins_of, at, made
from tests.presets.test_royalties import ordered, publish
from tests.stage import PRICE, Stage, breaches, staged

AMOUNTS = {State.REFUNDED: 0, State.PARTLY: 2_000, State.COMPENSATED: 1_000}
SHARE, ROYALTY = 3_825, 225


@pytest.fixture
async def stage(database_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(database_url, tmp_path, credits=4 * PRICE) as opened:
        await opened.lend("sk-first")
        opened.provider.answer = lambda _request, _key: Delivered(Picture(drawn(), "image/png", 64, 64), seed=7, cost=30_000)
        yield opened


async def decided(stage: Stage, picture: Generation, by: User, verdict: State) -> Dispute:
    dispute = await opened(stage, picture)
    return await stage.app.run(lambda work: work.disputes.decide(dispute.id, by, verdict, "so", amount=AMOUNTS[verdict], alone=20_000))


async def take_back(stage: Stage, dispute: Dispute, by: User, alone: int = 20_000, reason: str = "it was not blank") -> Dispute:
    return await stage.app.run(lambda work: work.disputes.decide(dispute.id, by, State.TAKEN_BACK, reason, alone=alone))


async def money(stage: Stage, *people: User) -> dict[str, int]:
    """What everybody and the platform have; the books are proved on the way."""
    assert not breaches(await stage.audit())
    async with stage.app.read() as work:
        theirs = await work.ledger.balances([name(each.id) for name in (wallet, pending, earnings) for each in people])
        return theirs | {name: (await floorless_balances(work.connection)).get(name, 0) for name in (FEES, INSURANCE)}


@pytest.mark.parametrize("verdict", list(AMOUNTS))
async def test_everybody_has_again_what_they_gave(stage: Stage, verdict: State) -> None:
    (first, second), author = await admins_of(stage, "olga", "petra"), await stage.person("author")
    (picture,) = await ordered(stage, await publish(stage, author), "k")
    people = (stage.creator, stage.miner, author)
    before = await money(stage, *people)
    given = await decided(stage, picture, first, verdict)
    for who, why in ((first, OwnVerdict), *((each, OwnDispute) for each in people)):
        with pytest.raises(why):
            await take_back(stage, given, who)
    with pytest.raises(ReasonNeeded):
        await take_back(stage, given, second, reason=" ")
    taken = await take_back(stage, given, second)
    assert (taken.state, taken.decided_by, taken.amount) == (State.TAKEN_BACK, second.id, AMOUNTS[verdict] or PRICE)
    assert (await stage.generation(picture.id)).state is GenerationState.DELIVERED
    await Worker(stage.app, 1).sweep()  # what was refunded is due now; with a part the verdict itself had released the rest
    released = {pending(who.id): 0 for who in (stage.miner, author)} | {earnings(stage.miner.id): SHARE, earnings(author.id): ROYALTY}
    if verdict is State.COMPENSATED:
        released = {}  # their time has not come
    assert await money(stage, *people) == before | released
    async with stage.app.read() as work:
        assert ((await work.resources.get(1)).lost, (await work.resources.get(1)).made) == (0, 1)
        act = (await work.acts.newest(subject=taken.subject))[0]
    assert (act.by, act.facts["verdict"], act.reason) == (second.id, "taken_back", "it was not blank")
    assert (await told(stage)).count("verdict") == 2 * 3, "of both verdicts the creator, the miner and the author"
    for who in (first, second):
        with pytest.raises(NotTakenBack):
            await take_back(stage, taken, who)
    with pytest.raises(NotReversible):
        await stage.app.run(lambda work: work.disputes.decide(taken.id, first, State.REFUNDED, "so", reverses=True, alone=20_000))


async def test_what_is_spent_is_not_taken_back_and_no_debt_is_made(stage: Stage) -> None:
    first, second = await admins_of(stage, "olga", "petra")
    refunded = await decided(stage, await made(stage, "k"), first, State.REFUNDED)
    legs = (Leg(wallet(stage.creator.id), -3 * PRICE), Leg(FEES, 3 * PRICE))
    await stage.app.run(lambda work: work.ledger.post(Posting("spent", "grant", legs)))
    await stage.submit("more")  # what it holds is not there either
    before = await money(stage, stage.creator, stage.miner)
    with pytest.raises(RefundSpent) as refused:
        await take_back(stage, refunded, second)
    assert refused.value.facts == {"dispute": refunded.id, "needed": PRICE, "available": 0}
    assert await money(stage, stage.creator, stage.miner) == before
    async with stage.app.read() as work:
        assert (await work.disputes.get(refunded.id)).state is State.REFUNDED
        assert (await work.resources.get(1)).lost == 1


async def test_when_and_by_how_many(stage: Stage) -> None:
    first, second, third = await admins_of(stage, "olga", "petra", "quentin")
    refunded, waiting = await decided(stage, await made(stage, "k"), first, State.REFUNDED), await opened(stage, await made(stage, "open"))
    with pytest.raises(NotTakenBack):
        await take_back(stage, waiting, second)
    late = (refunded.decided_at or 0) + REVERSE_DAYS * DAY
    with pytest.raises(NotTakenBack):
        await at(stage, late, lambda work: work.disputes.decide(refunded.id, second, State.TAKEN_BACK, "late", alone=20_000))
    proposed = await take_back(stage, refunded, second, alone=PRICE - 1)
    assert (proposed.state, proposed.proposed, proposed.proposed_amount) == (State.REFUNDED, State.TAKEN_BACK, PRICE)
    assert await told(stage) == ["dispute_confirm", "verdict", "verdict"], "the third alone may confirm it"

    async def confirm(by: User, amount: int = PRICE) -> Dispute:
        return await stage.app.run(lambda work: work.disputes.confirm(refunded.id, by, State.TAKEN_BACK, amount))

    for who, amount, why in (
        (first, PRICE, OwnVerdict),
        (second, PRICE, SecondAdmin),
        (third, 1, NotProposed),
        (stage.miner, 1, OwnDispute),
    ):
        with pytest.raises(why):
            await confirm(who, amount)
    assert (await confirm(third)).state is State.TAKEN_BACK
    await money(stage)


async def test_a_rule_is_taken_back_by_anybody_and_from_whom_its_opener_became(stage: Stage) -> None:
    (admin,), other = await admins_of(stage, "olga"), await stage.person("zoe")
    later = await stage.person("later", PRICE)
    picture = await made(stage, "k", user=later)
    dispute = await stage.app.run(lambda work: work.disputes.open(picture.id, later, Kind.OTHER, 3))
    await stage.app.run(lambda work: work.disputes.inspected(dispute.id, {"varies": 0.0}))
    code = await stage.app.run(lambda work: work.joining.new_code(other))
    kept = await stage.app.run(lambda work: work.joining.join(later, code))
    assert (kept.id, await stage.balance(wallet(kept.id))) == (other.id, PRICE)
    assert (await take_back(stage, dispute, admin)).state is State.TAKEN_BACK
    assert await stage.balance(wallet(kept.id)) == 0
    await money(stage)


async def test_whoever_earned_as_somebody_else_before_is_a_party_all_the_same(stage: Stage) -> None:
    boss, lender = await stage.person("boss"), await stage.person("lender")
    async with stage.app.begin() as work:
        await work.resources.move(await work.resources.get(1), ResourceState.PAUSED)
    await stage.lend("sk-second", lender)
    dispute, _ = await opened(stage, await made(stage, "k")), await made(stage, "released when it may be")
    code = await stage.app.run(lambda work: work.joining.new_code(boss))
    await stage.app.run(lambda work: work.joining.join(lender, code))
    boss, (olga,) = await stage.admin("boss"), await admins_of(stage, "olga")
    for verdict in (State.REJECTED, State.REFUNDED):
        with pytest.raises(OwnDispute):
            await stage.app.run(lambda work, v=verdict: work.disputes.decide(dispute.id, boss, v, "mine", alone=20_000))  # type: ignore[misc]  # a default
    refunded = await stage.app.run(lambda work: work.disputes.decide(dispute.id, olga, State.REFUNDED, "so", alone=20_000))
    assert (await told(stage)).count("verdict") == 2, "the creator, and whoever earned, as who they are now"
    with pytest.raises(OwnDispute):
        await take_back(stage, refunded, boss)
    for frozen, released in ((True, 0), (False, SHARE)):
        await stage.app.run(lambda work, f=frozen: work.users.freeze(boss.id, f))  # type: ignore[misc]  # as above
        later = stage.app.now() + (1000 if frozen else 2000) * HOUR
        await stage.app.database.run(lambda connection, at=later: release_earnings(connection, at))  # type: ignore[misc]  # as above
        assert await stage.balance(earnings(lender.id)) == released


def test_a_dispute_s_life_has_an_end() -> None:
    assert {state for state, after in NEXT.items() if not after} == {State.TAKEN_BACK}
    assert {state for state, after in NEXT.items() if State.TAKEN_BACK in after} == set(AMOUNTS)


async def test_all_at_once_turn_each_leg_around_once(stage: Stage) -> None:
    """Verdicts are taken back while what they gave is spent, while those who gave it cash out, are banned, and their earnings released."""
    first, second, third = await admins_of(stage, "olga", "petra", "quentin")
    verdicts = (State.REFUNDED, State.PARTLY, State.COMPENSATED, State.REFUNDED)
    disputes = [await decided(stage, await made(stage, f"k{place}"), first, each) for place, each in enumerate(verdicts)]
    legs = (Leg(FEES, -50_000), Leg(earnings(stage.miner.id), 50_000))
    await stage.app.run(lambda work: work.ledger.post(Posting("earned", "release", legs)))
    run, later = stage.app.run, stage.app.now() + 1000 * HOUR

    async def propose(dispute: Dispute) -> None:
        await take_back(stage, dispute, second, alone=0)
        await run(lambda work: work.disputes.confirm(dispute.id, third, State.TAKEN_BACK, dispute.amount or 0))

    async def ban(banned: bool) -> None:
        await run(lambda work: work.users.freeze(stage.miner.id, banned))

    async def cash_out(key: str) -> None:
        payout = await run(lambda work: work.payouts.ask(stage.miner, 10_000, key, 1_000))
        await run(lambda work: work.payouts.refuse(payout.id, third, "another time"))

    async def release() -> None:
        await stage.app.database.run(lambda connection: release_earnings(connection, later))

    for turn in range(2):
        acts: list[Coroutine[Any, Any, object]] = [take_back(stage, each, by) for each in disputes for by in (second, third)]
        acts += [propose(each) for each in disputes]
        acts += [stage.app.submit(stage.order(f"more{turn}{place}")) for place in range(2)]
        acts += [release(), ban(turn == 0), cash_out(f"p{turn}"), Worker(stage.app, 1).sweep()]
        Random(turn).shuffle(acts)
        answers = await asyncio.gather(*acts, return_exceptions=True)
        assert all(not isinstance(each, BaseException) or isinstance(each, Refusal) for each in answers), answers
    async with stage.app.read() as work:
        entries = text("SELECT COUNT(*) FROM entries WHERE kind = 'taken_back' GROUP BY key")
        turned = list(await work.connection.scalars(entries))
        states = [(await work.disputes.get(each.id)).state for each in disputes]
    assert turned == [1] * states.count(State.TAKEN_BACK)
    assert turned, "some were taken back"
    await money(stage)
