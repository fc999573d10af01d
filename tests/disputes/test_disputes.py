"""Disputes on both databases: who may open one, what a verdict moves, and that it moves once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.acts.errors import ReasonNeeded
from core.disputes.errors import AlreadyDecided, DisputeNotFound, NotDisputable, OwnDispute
from core.disputes.models import Dispute, Kind, State
from core.generations.errors import GenerationNotFound
from core.generations.models import Generation
from core.generations.models import State as GenerationState
from core.generations.settle import release_earnings
from core.ledger.models import earnings, pending, wallet
from core.users.errors import Frozen
from core.users.models import User
from core.worker import Worker
from tests.stage import PRICE, Stage, breaches, staged, work_off

SHARE = 3_825


@pytest.fixture
async def stage(database_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(database_url, tmp_path, credits=100_000) as opened:
        await opened.lend("sk-first")
        yield opened


async def delivered(stage: Stage) -> Generation:
    (made,) = await stage.submit("k")
    await work_off(Worker(stage.app, 1))
    return await stage.generation(made.id)


async def opened(stage: Stage, generation: Generation, user: User | None = None) -> Dispute:
    who = user or stage.creator
    return await stage.app.run(lambda work: work.disputes.open(generation.id, who, Kind.POOR_QUALITY, 3))


async def decide(stage: Stage, dispute: Dispute, *, refunds: bool, reason: str = "it is blank", by: User | None = None) -> Dispute:
    admin = by or await stage.person("olga")
    return await stage.app.run(
        lambda work: work.disputes.decide(dispute.id, admin, State.REFUNDED if refunds else State.REJECTED, reason, alone=20_000)
    )


async def test_nobody_decides_about_their_own(stage: Stage) -> None:
    dispute = await opened(stage, await delivered(stage))
    for involved in (stage.creator, stage.miner):
        with pytest.raises(OwnDispute):
            await decide(stage, dispute, refunds=True, by=involved)
    assert (await decide(stage, dispute, refunds=True)).state is State.REFUNDED


async def release(stage: Stage) -> int:
    """Releases what is due when the hold of all earnings is over."""
    later = stage.app.now() + 1000 * 3600 * 1_000_000
    return await stage.app.database.run(lambda connection: release_earnings(connection, later))


async def money(stage: Stage) -> tuple[int, int, int]:
    """(creator's wallet, miner's pending, miner's earnings)."""
    accounts = wallet(stage.creator.id), pending(stage.miner.id), earnings(stage.miner.id)
    first, second, third = [await stage.balance(each) for each in accounts]
    return first, second, third


async def test_a_refund_turns_the_capture_around_once(stage: Stage) -> None:
    made = await delivered(stage)
    assert await money(stage) == (100_000 - PRICE, SHARE, 0)
    dispute = await opened(stage, made)
    assert (await stage.generation(made.id)).state is GenerationState.DISPUTED
    assert await release(stage) == 0, "what is disputed stays pending"
    decided = await decide(stage, dispute, refunds=True)
    assert (decided.state, decided.reason) == (State.REFUNDED, "it is blank")
    assert await money(stage) == (100_000, 0, 0)
    assert (await stage.generation(made.id)).state is GenerationState.REFUNDED
    with pytest.raises(AlreadyDecided):
        await decide(stage, dispute, refunds=True)
    assert await release(stage) == 0
    assert await money(stage) == (100_000, 0, 0)
    assert not breaches(await stage.audit())


async def test_a_rejected_one_leaves_everything_and_is_not_opened_again(stage: Stage) -> None:
    made = await delivered(stage)
    dispute = await opened(stage, made)
    await decide(stage, dispute, refunds=False)
    assert (await stage.generation(made.id)).state is GenerationState.DELIVERED
    with pytest.raises(NotDisputable):
        await opened(stage, made)
    assert await release(stage) == 1
    assert await money(stage) == (100_000 - PRICE, 0, SHARE)
    assert not breaches(await stage.audit())


async def test_who_may_not_and_when(stage: Stage) -> None:
    made = await delivered(stage)
    with pytest.raises(GenerationNotFound):
        await opened(stage, made, await stage.person("other"))
    await stage.app.run(lambda work: work.users.freeze(stage.creator.id, True))
    async with stage.app.read() as work:
        frozen = await work.users.get(stage.creator.id)
    with pytest.raises(Frozen):
        await opened(stage, made, frozen)
    await stage.app.run(lambda work: work.users.freeze(stage.creator.id, False))
    await release(stage)
    with pytest.raises(NotDisputable):
        await opened(stage, made)
    (waiting,) = await stage.submit("waiting")
    with pytest.raises(NotDisputable):
        await opened(stage, waiting)


async def test_a_verdict_needs_a_reason_and_a_dispute(stage: Stage) -> None:
    dispute = await opened(stage, await delivered(stage))
    with pytest.raises(ReasonNeeded):
        await decide(stage, dispute, refunds=True, reason=" ")
    with pytest.raises(DisputeNotFound):
        await stage.app.run(lambda work: work.disputes.decide(99, stage.miner, State.REFUNDED, "so", alone=20_000))
    async with stage.app.read() as work:
        assert [each.id for each in await work.disputes.waiting()] == [dispute.id]
        assert await work.acts.newest() == []


async def test_both_sides_are_told_and_the_act_is_logged(stage: Stage) -> None:
    dispute = await opened(stage, await delivered(stage))
    await decide(stage, dispute, refunds=True)
    async with stage.app.read() as work:
        (act,) = await work.acts.newest(subject=dispute.subject)
    assert (act.by, act.act, act.reason, act.facts) == (
        (await stage.person("olga")).id,
        "verdict",
        "it is blank",
        {"amount": PRICE, "paid": PRICE, "verdict": "refunded"},
    )


async def test_many_who_open_decide_and_release_at_once_move_it_once(stage: Stage) -> None:
    made = await delivered(stage)
    opening = await asyncio.gather(*(opened(stage, made) for _ in range(8)), release(stage), return_exceptions=True)
    disputes = [each for each in opening if isinstance(each, Dispute)]
    if not disputes:  # the release was faster
        assert await money(stage) == (100_000 - PRICE, 0, SHARE)
        return
    (dispute,) = disputes
    deciding = [decide(stage, dispute, refunds=number % 2 == 0) for number in range(8)]
    verdicts = await asyncio.gather(*deciding, *(release(stage) for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(each, Dispute) for each in verdicts) == 1
    assert sum(isinstance(each, AlreadyDecided) for each in verdicts) == 7
    await release(stage)
    assert await money(stage) in ((100_000, 0, 0), (100_000 - PRICE, 0, SHARE))
    assert not breaches(await stage.audit())
