"""Payouts on both databases: what may leave, that it leaves once, in two steps, and that many at once are one."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from core.acts.errors import ReasonNeeded
from core.ledger.errors import InDebt
from core.ledger.models import Leg, Posting, earnings, wallet
from core.mailbox.models import outbox
from core.payments.rules import Purse, taking
from core.payouts.errors import PayoutAmount, PayoutDecided, PayoutNeedsSecond, PayoutNotFound, PayoutOpen
from core.payouts.models import PAID_OUT, Payout, State
from core.users.errors import Frozen
from core.users.models import User, users
from tests.stage import Stage, breaches, staged

LEAST, EARNED, ALONE = 50_000, 120_000, 60_000


@pytest.fixture
async def stage(database_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(database_url, tmp_path) as opened:
        legs = (Leg("platform:fees", -EARNED), Leg(earnings(opened.miner.id), EARNED))
        await opened.app.run(lambda work: work.ledger.post(Posting("earned", "release", legs)))
        yield opened


async def ask(stage: Stage, amount: int = LEAST, key: str = "k", user: User | None = None) -> Payout:
    return await stage.app.run(lambda work: work.payouts.ask(user or stage.miner, amount, key, LEAST))


async def take(stage: Stage, step: str, payout: Payout, admin: User) -> Payout:
    alone = () if step == "refuse" else (ALONE,)
    done: Payout = await stage.app.run(lambda work: getattr(work.payouts, step)(payout.id, admin, "a reason", *alone))
    return done


async def test_earnings_leave_in_two_steps(stage: Stage) -> None:
    admin, payout = await stage.admin(), await ask(stage)
    assert await stage.balance(earnings(stage.miner.id)) == EARNED - LEAST
    assert await ask(stage) == payout, "the same once more"
    with pytest.raises(PayoutOpen):
        await ask(stage, key="other")
    with pytest.raises(PayoutDecided):
        await stage.app.run(lambda work: work.payouts.paid(payout.id, admin, "bank 1", ALONE))
    with pytest.raises(ReasonNeeded):
        await stage.app.run(lambda work: work.payouts.approve(payout.id, admin, "", ALONE))
    await stage.app.run(lambda work: work.payouts.approve(payout.id, admin, "known for long", ALONE))
    paid = await stage.app.run(lambda work: work.payouts.paid(payout.id, admin, "bank 1", ALONE))
    assert (paid.state, paid.reference, paid.approved_by, paid.decided_by) == (State.PAID, "bank 1", admin.id, admin.id)
    for step in ("approve", "paid", "refuse"):
        with pytest.raises(PayoutDecided):
            await take(stage, step, payout, admin)
    assert await stage.balance(earnings(stage.miner.id)) == EARNED - LEAST
    async with stage.app.read() as work:
        assert [each.act for each in await work.acts.newest(subject=f"payout:{payout.id}")] == ["pay_payout", "approve_payout"]
    assert not breaches(await stage.audit())
    assert PAID_OUT.startswith("external:")


async def test_what_is_refused_is_earnings_again(stage: Stage) -> None:
    admin, payout = await stage.admin(), await ask(stage)
    refused = await stage.app.run(lambda work: work.payouts.refuse(payout.id, admin, "no account given"))
    assert refused.state is State.REFUSED
    assert await stage.balance(earnings(stage.miner.id)) == EARNED
    assert (await ask(stage, key="next")).id != payout.id
    assert not breaches(await stage.audit())


async def test_what_does_not_leave(stage: Stage) -> None:
    for amount in (0, -1, LEAST - 1, EARNED + 1):
        with pytest.raises(PayoutAmount):
            await ask(stage, amount)
    with pytest.raises(PayoutAmount):
        await ask(stage, user=stage.creator)
    assert await stage.balance(wallet(stage.creator.id)) == 1_000_000, "gifts and bought Credits stay"
    with pytest.raises(PayoutNotFound):
        await stage.app.run(lambda work: work.payouts.get(99))
    legs = taking(stage.miner.id, "stripe", 700, Purse(0, 0, 0))
    await stage.app.run(lambda work: work.ledger.post(Posting("owes", "chargeback", legs)))
    with pytest.raises(InDebt):
        await ask(stage)
    await stage.app.run(lambda work: work.users.freeze(stage.miner.id, True))
    with pytest.raises(Frozen):
        await ask(stage)


async def test_nobody_decides_about_their_own(stage: Stage) -> None:
    payout = await ask(stage)
    for step in ("approve", "refuse"):
        with pytest.raises(PayoutDecided):
            await take(stage, step, payout, stage.miner)


async def test_many_at_once_are_one(stage: Stage) -> None:
    answers = await asyncio.gather(*(ask(stage, key=f"k{number}") for number in range(8)), return_exceptions=True)
    assert [type(each) for each in answers].count(Payout) == 1
    assert all(isinstance(each, Payout | PayoutOpen) for each in answers), answers
    (payout,) = [each for each in answers if isinstance(each, Payout)]
    admin = await stage.admin()
    await stage.app.run(lambda work: work.payouts.approve(payout.id, admin, "fine", ALONE))
    steps = [take(stage, step, payout, admin) for step in ("paid", "refuse") * 4]
    decided = await asyncio.gather(*steps, return_exceptions=True)
    assert [type(each) for each in decided].count(Payout) == 1
    assert not breaches(await stage.audit())


async def test_a_large_one_takes_two_admins(stage: Stage) -> None:
    olga, petr = await stage.admin(), await stage.admin("petr")
    payout = await ask(stage, ALONE + 1)
    answers = await asyncio.gather(*(take(stage, "approve", payout, each) for each in (olga, petr) * 3), return_exceptions=True)
    assert [type(each) for each in answers].count(Payout) == 1
    assert all(isinstance(each, Payout | PayoutDecided) for each in answers), answers
    (approved,) = [each for each in answers if isinstance(each, Payout)]
    first, second = (olga, petr) if approved.approved_by == olga.id else (petr, olga)
    async with stage.app.begin() as work:
        keys = list(await work.connection.scalars(select(outbox.c.key).where(outbox.c.key.like("payout_new:%:approved:%"))))
    assert keys == [f"payout_new:{payout.id}:approved:{second.id}"], "the other one is told that it was approved"
    with pytest.raises(PayoutNeedsSecond):
        await take(stage, "paid", payout, first)
    answers = await asyncio.gather(*(take(stage, "paid", payout, each) for each in (first, second) * 3), return_exceptions=True)
    assert [type(each) for each in answers].count(Payout) == 1
    assert all(isinstance(each, Payout | PayoutDecided | PayoutNeedsSecond) for each in answers), answers
    paid = await stage.app.run(lambda work: work.payouts.get(payout.id))
    assert (paid.state, paid.approved_by, paid.decided_by) == (State.PAID, first.id, second.id)
    assert await stage.balance(earnings(stage.miner.id)) == EARNED - ALONE - 1
    assert not breaches(await stage.audit())


async def test_two_accounts_of_one_person_are_one_admin(stage: Stage) -> None:
    olga, other = await stage.admin(), await stage.admin("olga2")
    payout = await ask(stage, ALONE + 1)
    await take(stage, "approve", payout, other)
    await stage.app.run(lambda work: work.connection.execute(update(users).where(users.c.id == other.id).values(merged_into=olga.id)))
    with pytest.raises(PayoutNeedsSecond):
        await take(stage, "paid", payout, olga)
