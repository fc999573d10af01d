"""Copies, two admins, who works on what, what waits, who loses often, and verdicts that take the place of a rejection."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from core.db import DAY, HOUR
from core.disputes.alert import escalate
from core.disputes.errors import (
    AlreadyDecided,
    DisputeTaken,
    NotProposed,
    NotReversible,
    OwnDispute,
    SecondAdmin,
    TooManyDisputes,
)
from core.disputes.models import Dispute, Kind, State
from core.disputes.rules import REVERSE_DAYS, TAKEN, is_copy
from core.errors import Refusal
from core.generations.models import Generation
from core.generations.models import State as GenerationState
from core.generations.settle import release_earnings
from core.ledger.models import earnings, pending, wallet
from core.providers.base import Delivered, Picture
from core.resources.rules import STANDING_DAYS
from core.unit_of_work import UnitOfWork
from core.users.models import User
from core.worker import Worker
from tests.disputes.test_evidence import drawn, inspected, opened, told
from tests.generations.test_ends import WAITING_FOR_A_LOCK
from tests.stage import PRICE, Stage, breaches, staged, work_off

MOST = 3
"""Rejected disputes, as the settings have it."""
SHARE = 3_825


@pytest.fixture
async def stage(database_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(database_url, tmp_path, credits=100_000) as opened:
        await opened.lend("sk-first")
        opened.provider.answer = lambda _request, _key: Delivered(Picture(drawn(), "image/png", 64, 64), seed=7, cost=30_000)
        yield opened


async def made(stage: Stage, key: str, *, user: User | None = None, prompt: str = "a cat") -> Generation:
    submitted = await stage.app.submit(stage.order(key, user, prompt))
    await work_off(Worker(stage.app, 1))
    return await stage.generation(submitted.generation.id)


async def admins_of(stage: Stage, *names: str) -> list[User]:
    return [await stage.admin(name) for name in names]


async def at(stage: Stage, now: int, act: Any) -> Any:
    """Does something at another time."""
    async with stage.app.begin() as work:
        return await act(UnitOfWork(work.connection, now))


async def decide(stage: Stage, dispute: Dispute, by: User, *, refunds: bool = True, alone: int = 20_000) -> Dispute:
    return await stage.app.run(
        lambda work: work.disputes.decide(dispute.id, by, State.REFUNDED if refunds else State.REJECTED, "as seen", alone=alone)
    )


@pytest.mark.parametrize("whose", ["another wish", "another user", "the same wish"])
async def test_the_bytes_of_an_earlier_picture(stage: Stage, whose: str) -> None:
    user = await stage.person("other", 50_000) if whose == "another user" else None
    first = await made(stage, "first", user=user, prompt="a dog" if whose == "another wish" else "a cat")
    dispute = await inspected(stage, await opened(stage, await made(stage, "second")))
    assert dispute.evidence is not None
    if whose == "the same wish":
        assert (dispute.state, dispute.evidence["copy_of"]) == (State.OPEN, first.id), "seen, and people's to decide"
        return
    assert (dispute.state, dispute.reason, dispute.evidence["copy_of"]) == (State.REFUNDED, "duplicate", first.id)
    original = await inspected(stage, await stage.app.run(lambda work: work.disputes.open(first.id, user or stage.creator, Kind.OTHER, 3)))
    assert original.state is State.OPEN, "the earlier one is no copy"


def test_what_is_a_copy() -> None:
    wish = {"user_id": 1, "operation": "generate", "prompt": "a cat", "parameters": '{"seed": null}'}
    others = (wish | {"user_id": 2}, wish | {"prompt": "a dog"})
    assert [is_copy(wish, each) for each in (*others, wish)] == [True, True, False]
    for change in ({"parameters": '{"seed": 7}'}, {"operation": "upscale"}, {"operation": "edit"}):
        assert not any(is_copy(wish | change, each | change) for each in others), "whoever wants the same bytes twice gets them"


async def test_a_second_admin_confirms_what_is_large(stage: Stage) -> None:
    first, second, third = await admins_of(stage, "olga", "petra", "quentin")
    dispute = await opened(stage, picture := await made(stage, "k"))
    proposed = await decide(stage, dispute, first, alone=PRICE - 1)
    assert (proposed.state, proposed.proposed, proposed.proposed_by) == (State.OPEN, State.REFUNDED, first.id)
    assert await told(stage) == ["dispute_confirm", "dispute_confirm"], "the two who may"
    assert await stage.balance(wallet(stage.creator.id)) == 100_000 - PRICE
    with pytest.raises(SecondAdmin):
        await decide(stage, dispute, first, alone=PRICE - 1)

    async def confirm(by: User, verdict: State = State.REFUNDED, amount: int = PRICE) -> Dispute:
        return await stage.app.run(lambda work: work.disputes.confirm(dispute.id, by, verdict, amount))

    for who, verdict, amount, why in (
        (first, State.REFUNDED, PRICE, SecondAdmin), (stage.miner, State.REFUNDED, PRICE, OwnDispute),
        (stage.creator, State.REFUNDED, PRICE, OwnDispute), (second, State.PARTLY, PRICE, NotProposed),
        (second, State.REFUNDED, 1, NotProposed),
    ):  # fmt: skip
        with pytest.raises(why):
            await confirm(who, verdict, amount)
    answers = await asyncio.gather(*(confirm(each) for each in (second, third, second, third, first)), return_exceptions=True)
    assert sum(isinstance(each, Dispute) for each in answers) == 1
    assert all(isinstance(each, Dispute | NotProposed | SecondAdmin) for each in answers), answers
    assert (await stage.generation(picture.id)).state is GenerationState.REFUNDED
    assert await stage.balance(wallet(stage.creator.id)) == 100_000
    assert not breaches(await stage.audit())


async def test_the_same_verdict_of_another_confirms_and_another_takes_its_place(stage: Stage) -> None:
    first, second = await admins_of(stage, "olga", "petra")
    dispute = await opened(stage, await made(stage, "k"))
    await decide(stage, dispute, first, alone=0)
    changed = await stage.app.run(lambda work: work.disputes.decide(dispute.id, second, State.PARTLY, "half", amount=2_000, alone=0))
    assert (changed.state, changed.proposed_by, changed.proposed_amount) == (State.OPEN, second.id, 2_000)
    decided = await stage.app.run(lambda work: work.disputes.decide(dispute.id, first, State.PARTLY, "half", amount=2_000, alone=0))
    assert (decided.state, decided.amount, decided.proposed) == (State.PARTLY, 2_000, None)
    assert not breaches(await stage.audit())


async def test_what_somebody_works_on_is_theirs_for_a_while(stage: Stage) -> None:
    first, second = await admins_of(stage, "olga", "petra")
    dispute = await opened(stage, await made(stage, "k"))
    taken = await stage.app.run(lambda work: work.disputes.take(dispute.id, first))
    assert taken.taken_by == first.id
    for act in ("take", "decide"):
        with pytest.raises(DisputeTaken) as refused:
            await (
                decide(stage, dispute, second) if act == "decide" else stage.app.run(lambda work: work.disputes.take(dispute.id, second))
            )
        assert (refused.value.facts["admin"], refused.value.facts["minutes"]) == ("olga", 30)
    with pytest.raises(OwnDispute):
        await stage.app.run(lambda work: work.disputes.take(dispute.id, stage.miner))
    later = int(taken.taken_until or 0)
    assert later == pytest.approx(stage.app.now() + TAKEN, abs=60_000_000)
    assert (await at(stage, later, lambda work: work.disputes.take(dispute.id, second))).taken_by == second.id
    decided = await decide(stage, dispute, second)
    assert (decided.state, decided.taken_by) == (State.REFUNDED, None)
    with pytest.raises(AlreadyDecided):
        await stage.app.run(lambda work: work.disputes.take(dispute.id, first))


async def test_what_waits_is_said_twice_and_never_decided(stage: Stage) -> None:
    await admins_of(stage, "olga", "petra")
    dispute = await opened(stage, await made(stage, "k"))

    async def said(hours: int) -> int:
        async with stage.app.begin() as work:
            await escalate(work.connection, dispute.created_at + hours * HOUR, 24)
            return int(await work.connection.scalar(text("SELECT COUNT(*) FROM outbox WHERE kind = 'alert'")) or 0)

    assert [await said(hours) for hours in (23, 24, 30, 48, 49, 1000)] == [0, 2, 2, 4, 4, 4]
    async with stage.app.read() as work:
        assert (await work.disputes.get(dispute.id)).state is State.OPEN


async def test_lost_disputes_fade_and_rejected_ones_limit(stage: Stage) -> None:
    (admin,) = await admins_of(stage, "olga")
    disputes = [await opened(stage, await made(stage, f"k{number}")) for number in range(MOST + 3)]
    await decide(stage, disputes[0], admin)
    async with stage.app.read() as work:
        lent = await work.resources.get(1)
        assert (lent.lost, lent.made) == (1, MOST + 3)
        forgotten = await UnitOfWork(work.connection, work.now + STANDING_DAYS * DAY).resources.get(1)
        assert (forgotten.lost, forgotten.made) == (0, 0)
    for each in disputes[1:-2]:
        await decide(stage, each, admin, refunds=False)
    once_more = await opened(stage, await made(stage, "may"))
    await decide(stage, disputes[-2], admin, refunds=False)
    picture = await made(stage, "may not")
    with pytest.raises(TooManyDisputes) as refused:
        await opened(stage, picture)
    assert refused.value.facts == {"rejected": MOST + 1, "hours": 24}
    pictures = [picture, await made(stage, "nor this")]
    tomorrow = once_more.created_at + DAY
    answers = await asyncio.gather(
        *(at(stage, tomorrow, lambda work, p=each: work.disputes.open(p.id, stage.creator, Kind.OTHER, 3)) for each in pictures),
        return_exceptions=True,
    )
    assert sorted(type(each).__name__ for each in answers) == ["Dispute", "TooManyDisputes"]


async def test_whoever_is_limited_opens_one_after_the_other(postgres_url: str, tmp_path: Path) -> None:
    """Of two that are opened at the same moment the second waits for the first, and counts it: it is not let through unseen."""
    async with staged(postgres_url, tmp_path, credits=100_000) as stage:
        await stage.lend("sk-first")
        (admin,) = await admins_of(stage, "olga")
        await decide(stage, await opened(stage, await made(stage, "rejected")), admin, refunds=False)
        pictures = [(await made(stage, key)).id for key in ("first", "second")]
        tomorrow = stage.app.now() + DAY

        def open_at(work: UnitOfWork, picture: int) -> Any:
            return UnitOfWork(work.connection, tomorrow).disputes.open(picture, stage.creator, Kind.OTHER, 0)

        async with stage.app.begin() as first, stage.app.read() as watching:
            await open_at(first, pictures[0])
            second = asyncio.create_task(stage.app.run(lambda work: open_at(work, pictures[1])))
            while not second.done() and not await watching.connection.scalar(text(WAITING_FOR_A_LOCK)):  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.01)
            assert not second.done(), "it saw no other and went through"
        with pytest.raises(TooManyDisputes):
            await second


async def test_a_rejection_is_reversed_while_it_can(stage: Stage) -> None:
    first, second = await admins_of(stage, "olga", "petra")
    pictures = [await made(stage, f"k{number}") for number in range(3)]
    refund, released, late = [await opened(stage, each) for each in pictures]

    async def reverse(dispute: Dispute, verdict: State = State.REFUNDED, amount: int = 0, **facts: Any) -> Dispute:
        return await stage.app.run(
            lambda work: work.disputes.decide(
                dispute.id, first, verdict, "seen again", amount=amount, reverses=True, **({"alone": 20_000} | facts)
            )
        )

    with pytest.raises(NotReversible):
        await reverse(refund)
    for each in (refund, released, late):
        await decide(stage, each, first, refunds=False)
    with pytest.raises(NotReversible):
        await reverse(refund, State.REJECTED)
    assert (await reverse(refund, alone=0)).state is State.REJECTED, "proposed"
    assert (await stage.app.run(lambda work: work.disputes.confirm(refund.id, second, State.REFUNDED, PRICE))).state is State.REFUNDED
    for verdict, amount in ((State.REFUNDED, 0), (State.PARTLY, 1_000), (State.COMPENSATED, 1_000)):
        with pytest.raises(NotReversible):
            await reverse(refund, verdict, amount)
    assert len(await told(stage)) == 3 * 2 + 1 + 2, "both sides of each verdict, and who may confirm"
    after = stage.app.now() + 1000 * HOUR
    await stage.app.database.run(lambda connection: release_earnings(connection, after))
    for verdict, amount in ((State.REFUNDED, 0), (State.PARTLY, 1_000)):
        with pytest.raises(NotReversible):
            await reverse(released, verdict, amount)
    assert (await reverse(released, State.COMPENSATED, 1_000)).state is State.COMPENSATED
    with pytest.raises(NotReversible):
        await at(
            stage,
            stage.app.now() + REVERSE_DAYS * DAY,
            lambda work: work.disputes.decide(late.id, first, State.COMPENSATED, "seen", amount=1_000, reverses=True, alone=20_000),
        )
    assert await stage.balance(wallet(stage.creator.id)) == 100_000 - 2 * PRICE + 1_000
    assert await stage.balance(earnings(stage.miner.id)) == 2 * SHARE
    assert await stage.balance(pending(stage.miner.id)) == 0
    assert not breaches(await stage.audit())


async def test_everything_at_once_turns_each_leg_around_once(stage: Stage) -> None:
    admins = await admins_of(stage, "olga", "petra")
    pictures = [await made(stage, f"k{number}") for number in range(4)]
    run = stage.app.run

    async def argue(picture: Generation, turn: int) -> None:
        admin, number = admins[turn % 2], picture.id
        async with stage.app.read() as work:
            mine = [each.id for each in await work.disputes.of_user(stage.creator.id) if each.generation_id == number]
        if not mine:
            await run(lambda work: work.disputes.open(number, stage.creator, Kind.OTHER, 3))
            return
        alone = 0 if turn % 3 else 20_000
        acts = (
            lambda work: work.disputes.decide(mine[0], admin, State.REJECTED, "as asked", alone=alone),
            lambda work: work.disputes.answer(mine[0], stage.miner, "as asked"),
            lambda work: work.disputes.decide(mine[0], admin, State.PARTLY, "half", amount=2_000, alone=alone),
            lambda work: work.disputes.decide(mine[0], admin, State.REFUNDED, "seen again", amount=0, reverses=True, alone=alone),
            lambda work: work.disputes.confirm(mine[0], admin, State.REFUNDED, PRICE),
            lambda work: work.disputes.take(mine[0], admin),
            lambda work: work.disputes.decide(mine[0], admin, State.COMPENSATED, "sorry", amount=1_000, alone=alone),
        )
        await run(acts[turn % len(acts)])

    async def release() -> None:
        await stage.app.database.run(lambda connection: release_earnings(connection, stage.app.now() + 1000 * HOUR))

    async def ban(banned: bool) -> None:
        await run(lambda work: work.users.freeze(stage.miner.id, banned))

    await asyncio.gather(*(opened(stage, each) for each in pictures[:2]))
    for turn in range(3):
        rounds = [argue(each, 7 * turn + step) for step in range(7) for each in pictures]
        others = [ban(turn % 2 == 0), Worker(stage.app, 1).sweep(), *([release()] if turn else [])]
        answers = await asyncio.gather(*rounds, *others, return_exceptions=True)
        assert all(each is None or isinstance(each, Refusal) for each in answers), answers
    async with stage.app.read() as work:
        verdicts = text("SELECT COUNT(*) FROM entries WHERE kind = 'verdict' GROUP BY REPLACE(key, 'partial', 'refund')")
        turned = list(await work.connection.scalars(verdicts))
        states = {each.state for each in await work.disputes.of_user(stage.creator.id)}
    assert set(turned) <= {1}
    assert states - {State.OPEN}, "some were decided"
    assert not breaches(await stage.audit())
