"""What admins do to users, on both databases: a ban is whole, holds against whatever runs beside it, and keeps earnings pending."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.access.errors import Unauthenticated
from core.accounts import Accounts
from core.acts.errors import ReasonNeeded
from core.db import DAY
from core.generations.models import State
from core.generations.pages import page
from core.ledger.errors import KeyReused
from core.ledger.models import earnings, held_account, pending, wallet
from core.oversight.errors import GrantTooLarge, NotOneself, StandsSo
from core.resources.models import State as ResourceState
from core.users.errors import Frozen, UserNotFound
from core.users.models import User
from core.worker import Worker
from tests.stage import PRICE, Stage, breaches, staged, work_off

WHY = "sells stolen keys"


@pytest.fixture
async def stage(database_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(database_url, tmp_path) as opened:
        yield opened


async def ban(stage: Stage, admin: User, user: User, reason: str = WHY) -> None:
    await stage.app.run(lambda work: work.oversight.ban(admin, user.id, reason))


async def test_a_ban_is_all_in_one(stage: Stage) -> None:
    admin, user = await stage.admin("root"), await stage.person("bad", 10 * PRICE)
    await stage.lend("sk-bad-one", user)
    await stage.lend("sk-good-one")
    pair = await Accounts(stage.app)._begin(user)
    waiting = await stage.submit("a", "b", "c", user=user)
    await ban(stage, admin, user)
    assert {(await stage.generation(each.id)).state for each in waiting} == {State.CANCELLED}
    assert (await stage.balance(wallet(user.id)), await stage.balance(held_account(wallet(user.id)))) == (10 * PRICE, 0)
    async with stage.app.read() as work:
        assert {each.state for each in await work.resources.list_of(user.id)} == {ResourceState.PAUSED}
        (act,) = await work.acts.newest(subject=f"user:{user.id}")
    assert (act.act, act.reason, act.by) == ("ban", WHY, admin.id)
    with pytest.raises(Unauthenticated):
        await Accounts(stage.app).enter(pair.access)
    with pytest.raises(Frozen):
        await stage.app.submit(stage.order("more", user))
    with pytest.raises(StandsSo):
        await ban(stage, admin, user)
    await stage.app.run(lambda work: work.oversight.unban(admin, user.id, "was a mistake"))
    assert await stage.submit("again", user=user)
    assert not breaches(await stage.audit())


async def test_earnings_stay_pending_while_banned(stage: Stage) -> None:
    admin = await stage.admin("root")
    await stage.lend("sk-miner-one")
    await stage.submit("a")
    worker = Worker(stage.app, 1)
    await work_off(worker)
    share = await stage.balance(pending(stage.miner.id))
    await ban(stage, admin, stage.miner)
    for banned in (True, False):
        async with stage.app.begin() as work:
            await work.connection.exec_driver_sql("UPDATE generations SET release_at = 1 WHERE release_at IS NOT NULL")
        await worker.sweep()
        assert await stage.balance(pending(stage.miner.id)) == (share if banned else 0)
        if banned:
            await stage.app.run(lambda work: work.oversight.unban(admin, stage.miner.id, "cleared"))
    assert await stage.balance(earnings(stage.miner.id)) == share > 0
    assert not breaches(await stage.audit())


async def test_a_ban_in_the_midst_of_everything(stage: Stage) -> None:
    """Submits, claims, settles and releases beside it: nothing waits for the banned afterwards, and the books agree."""
    admin, user = await stage.admin("root"), await stage.person("bad", 100 * PRICE)
    await stage.lend("sk-bad-one", user)
    await stage.lend("sk-good-one")
    worker = Worker(stage.app, 1)

    async def order(number: int) -> bool:
        try:
            await stage.app.submit(stage.order(f"k{number}", user))
        except Frozen:
            return False
        return True

    orders = [order(number) for number in range(16)]
    await asyncio.gather(*orders[:8], work_off(worker), ban(stage, admin, user), *orders[8:], worker.sweep())
    await work_off(worker)
    async with stage.app.read() as work:
        states = {each.state for each in await page(work.connection, user.id, 50)}
    assert states <= {State.DELIVERED, State.CANCELLED}
    assert await stage.balance(held_account(wallet(user.id))) == 0
    assert not breaches(await stage.audit())


async def test_who_may_be_banned_and_given_to(stage: Stage) -> None:
    admin, other = await stage.admin("root"), await stage.admin("root2")
    for user in (admin, other):
        with pytest.raises(NotOneself):
            await ban(stage, admin, user)
    with pytest.raises(ReasonNeeded):
        await ban(stage, admin, stage.creator, " ")
    with pytest.raises(UserNotFound):
        await stage.app.run(lambda work: work.oversight.ban(admin, 999, WHY))
    before = await stage.balance(wallet(stage.creator.id))

    async def give(amount: int, key: str, user: User = stage.creator) -> None:
        await stage.app.run(lambda work: work.oversight.grant(admin, user.id, amount, "a mistake of ours", key, 5_000))

    await give(5_000, "same")
    with pytest.raises(KeyReused):
        await give(4_000, "same")
    assert await stage.balance(wallet(stage.creator.id)) == before + 5_000
    for amount in (0, -1, 5_001):
        with pytest.raises(GrantTooLarge):
            await give(amount, f"k{amount}")
    with pytest.raises(NotOneself):
        await give(1, "own", admin)


async def test_a_user_is_found_by_what_is_known(stage: Stage) -> None:
    user = await stage.person("Ada_1")
    async with stage.app.read() as work:
        for text in (str(user.id), "telegram:Ada_1", "@Ada_1", " Ada_1 "):
            assert (await work.oversight.look_up(text)).id == user.id
        for text in ("", "nobody", "ada_1", "discord:5", "²", "9" * 30, "%", "x@example.org"):
            with pytest.raises(UserNotFound):
                await work.oversight.look_up(text)


async def test_the_figures(stage: Stage) -> None:
    await stage.lend("sk-good-one")
    async with stage.app.read() as work:
        none = await work.oversight.figures(work.now - DAY)
    assert (none.delivered, none.p50, none.p95) == (0, None, None)
    await stage.submit("a", "b")
    await work_off(Worker(stage.app, 1))
    await stage.submit("c")
    async with stage.app.read() as work:
        found = await work.oversight.figures(work.now - DAY)
    assert (found.delivered, found.failed, found.waiting, found.held) == (2, 0, 1, PRICE)
    assert (found.bars[-1].delivered, sum(each.delivered for each in found.bars)) == (2, 2)
    assert found.commission == 2 * 675
    assert found.p50 is not None and found.p95 is not None and 0 < found.p50 <= found.p95
    assert found.owed == 1_000_000 - 2 * 675
