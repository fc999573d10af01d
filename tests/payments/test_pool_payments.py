"""Credits bought straight for a pool: there once, whoever repeats the callback; taken back from the pool first, then from the buyer."""

import asyncio
from dataclasses import replace

import pytest

from core.ledger.errors import InDebt, KeyReused
from core.ledger.models import debt, wallet
from core.payments.errors import NothingToRefund
from core.payments.models import TopUp
from core.payments.rails.base import Returned, Said
from core.payments.receive import Applied
from core.pools.errors import PoolNotFound
from core.pools.models import Community, pool
from core.worker import Worker
from tests.payments.till import Till, moved, paid
from tests.stage import PRICE, breaches, work_off

BOUGHT = 100_000
"""Milli-credits of the package "taste", for 1 dollar."""


async def founded(shop: Till) -> Community:
    return await shop.stage.app.run(lambda work: work.pools.found("telegram", "-100", "Club"))


async def spend(shop: Till, community: Community, pictures: int) -> None:
    """So many pictures that the pool pays for."""
    await shop.stage.lend("sk-miner-0123456789abcdef")
    member = await shop.stage.person("member")
    for number in range(pictures):
        await shop.stage.app.submit(replace(shop.stage.order(f"g{number}", member), community_id=community.id))
    while await work_off(Worker(shop.stage.app, 1)):
        pass


async def top(shop: Till, community: Community) -> list[tuple[str, int]]:
    async with shop.stage.app.read() as work:
        return await work.pools.top(community)


async def test_callbacks_at_once_fill_the_pool_once(shop: Till) -> None:
    """Three buyers for one pool, each callback told four times under two ids, all at once, while somebody gives by hand."""
    community = await founded(shop)
    people = [await shop.stage.person(f"b{number}", 5_000) for number in range(3)]
    begun = [await shop.start(f"k{user.id}", user, "taste", community.id) for user in people]
    told = [shop.say(paid(each, f"evt_{each.order}_{n % 2}")) for each in begun for n in range(4)]
    give = shop.stage.app.run(lambda work: work.pools.contribute(community, people[0], 5_000, "hand"))
    answers = await asyncio.gather(*told, give)
    assert answers.count(Applied.APPLIED) == 3
    assert await shop.stage.balance(pool(community.id)) == 3 * BOUGHT + 5_000
    assert [await shop.wallet(user) for user in people] == [0, 5_000, 5_000]
    assert await top(shop, community) == [("b0", 105_000), ("b1", 100_000), ("b2", 100_000)]
    async with shop.stage.app.read() as work:
        assert await work.pools.given_by(people[0].id) == [(community, 105_000)]
    assert not breaches(await shop.stage.audit())


@pytest.mark.parametrize("own", [0, 20_000, 70_000])
async def test_a_chargeback_takes_what_the_pool_has_and_then_from_the_buyer(shop: Till, own: int) -> None:
    """20 pictures are spent of 130 Credits; then the bank takes the money, told six times, and gives it back."""
    community = await founded(shop)
    stage, buyer = shop.stage, await shop.stage.person("buyer", own)
    giver = await stage.person("giver", 30_000)
    await stage.app.run(lambda work: work.pools.contribute(community, giver, 30_000, "gift"))
    bought = await shop.bought("k1", buyer, "taste", community.id)
    await spend(shop, community, 20)
    assert await stage.balance(pool(community.id)) == 130_000 - 20 * PRICE == 40_000
    event = moved(bought, Said.CHARGED_BACK, "evt_c", "du_1", 100)
    answers = await asyncio.gather(*(shop.say(replace(event, id=f"evt_c{n % 2}")) for n in range(6)))
    assert answers.count(Applied.APPLIED) == 1
    owed = max(0, 60_000 - own)
    assert await stage.balance(pool(community.id)) == 0
    assert (await shop.wallet(buyer), await stage.balance(debt(buyer.id))) == (max(0, own - 60_000), owed)
    assert await top(shop, community) == [("buyer", 60_000), ("giver", 30_000)], "what the pool lost is not theirs any more"
    if owed:
        with pytest.raises(InDebt):
            await shop.start("k2", buyer, "taste", community.id)
    assert not breaches(await stage.audit())
    won = moved(bought, Said.CHARGEBACK_WON, "evt_w", "du_1", 100)
    assert [await shop.say(replace(won, id=each)) for each in ("evt_w", "evt_v")] == [Applied.APPLIED, Applied.KNOWN]
    assert (await stage.balance(pool(community.id)), await shop.wallet(buyer), await stage.balance(debt(buyer.id))) == (40_000, own, 0)
    assert await top(shop, community) == [("buyer", 100_000), ("giver", 30_000)]
    assert not breaches(await stage.audit())


async def test_a_chargeback_while_members_spend(shop: Till) -> None:
    """What is held for pictures is spent, and not taken twice; nothing goes below zero, in whatever order."""
    community = await founded(shop)
    buyer, members = await shop.stage.person("buyer"), [await shop.stage.person(f"m{number}") for number in range(12)]
    bought = await shop.bought("k1", buyer, "taste", community.id)
    orders = [replace(shop.stage.order(f"{user.id}:{n}", user), community_id=community.id) for user in members for n in range(2)]
    event = moved(bought, Said.CHARGED_BACK, "evt_c", "du_1", 100)
    answers = await asyncio.gather(*(shop.stage.app.submit(each) for each in orders), shop.say(event), return_exceptions=True)
    made = sum(not isinstance(each, Exception) for each in answers[:-1])
    assert answers[-1] is Applied.APPLIED
    assert await shop.stage.balance(pool(community.id)) == 0
    assert await shop.stage.balance(debt(buyer.id)) == made * PRICE
    assert not breaches(await shop.stage.audit())


async def test_an_admin_refunds_what_the_pool_still_has(shop: Till) -> None:
    community = await founded(shop)
    stage, admin = shop.stage, shop.stage.miner.id
    buyer = await stage.person("buyer", 50_000)
    bought = await shop.bought("k1", buyer, "taste", community.id)
    await spend(shop, community, 2)
    stage.rail.returns = Returned.REFUSED
    await stage.app.run(lambda work: work.payments.ask_refund(bought.id, by=admin, reason="asked"))
    assert await stage.balance(pool(community.id)) == 0, "held while the rail is told"
    assert await top(shop, community) == [("buyer", BOUGHT)]
    await shop.desk.work()
    assert await stage.balance(pool(community.id)) == 91_000, "the rail would not"
    assert await top(shop, community) == [("buyer", BOUGHT)]
    stage.rail.returns = Returned.DONE
    await stage.app.run(lambda work: work.payments.ask_refund(bought.id, by=admin, reason="asked"))
    await shop.desk.work()
    now = await shop.payment(bought.id)
    assert (now.returned, now.refunded) == (91_000, 91)
    assert (await stage.balance(pool(community.id)), await stage.balance(wallet(buyer.id))) == (0, 50_000)
    assert await top(shop, community) == [("buyer", 9_000)], "what the two pictures cost is what the buyer gave"
    with pytest.raises(NothingToRefund):
        await stage.app.run(lambda work: work.payments.ask_refund(bought.id, by=admin, reason="asked"))
    async with stage.app.read() as work:
        told = (await work.payments.refunds_of(bought.id))[-1]
    failed = moved(bought, Said.REFUND_FAILED, "evt_f", "re_1", 91, refund=told.name)
    assert await shop.say(failed) is Applied.APPLIED
    assert await stage.balance(pool(community.id)) == 91_000, "it goes back where it was taken from"
    assert await top(shop, community) == [("buyer", BOUGHT)]
    own = await shop.bought("k2", buyer, "taste")
    await stage.app.run(lambda work: work.pools.contribute(community, buyer, 150_000, "all"))
    with pytest.raises(NothingToRefund):
        await stage.app.run(lambda work: work.payments.ask_refund(own.id, by=admin, reason="asked"))
    assert not breaches(await stage.audit())


async def test_a_payment_is_for_one_pool(shop: Till) -> None:
    community = await founded(shop)
    await shop.start("k1", package="taste", community=community.id)
    app, buyer = shop.stage.app, shop.stage.creator.id
    with pytest.raises(KeyReused):
        await app.top_up(TopUp("k1", buyer, "taste", "stripe"))
    with pytest.raises(PoolNotFound):
        await app.top_up(TopUp("k2", buyer, "taste", "stripe", community_id=99))
