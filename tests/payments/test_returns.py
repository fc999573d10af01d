"""Money that goes back: refunds of ours, refunds at the rail, chargebacks won and lost; and the debt that they may leave."""

import asyncio
from dataclasses import replace

import pytest

from core.ledger.errors import InDebt
from core.payments.errors import NothingToRefund, NotPayable
from core.payments.models import Payment, RefundState, State
from core.payments.rails.base import RailAway, Returned, Said
from core.payments.receive import Applied
from core.worker import Worker
from tests.payments.till import Till, moved, paid
from tests.stage import PRICE, breaches, work_off


async def _refund(shop: Till, payment: Payment, credits: int | None = None) -> None:
    admin = shop.stage.miner.id
    await shop.stage.app.run(lambda work: work.payments.ask_refund(payment.id, by=admin, reason="asked", credits=credits))


async def _spend(shop: Till, count: int) -> None:
    await shop.stage.lend("sk-miner-0123456789abcdef")
    await shop.stage.submit(*(f"g{n}" for n in range(count)))
    worker = Worker(shop.stage.app, 1)
    while await work_off(worker):
        pass


async def test_an_unspent_payment_is_refunded_whole(shop: Till) -> None:
    bought = await shop.bought()
    await _refund(shop, bought)
    assert await shop.wallet() == 0, "held while the rail is told"
    await shop.desk.work()
    now = await shop.payment(bought.id)
    assert (now.state, now.refunded, now.returned) == (State.REFUNDED, 500, 500_000)
    told = shop.stage.rail.refunds[0]
    assert (told.charge, told.amount, told.paid) == (bought.charge, 500, 500)
    event = moved(bought, Said.REFUNDED, "evt_r", "re_1", 500, refund=told.refund)
    assert await shop.say(event) is Applied.KNOWN
    assert breaches(await shop.stage.audit()) == {}


async def test_only_what_is_unspent_is_refunded(shop: Till) -> None:
    bought = await shop.bought()
    await _spend(shop, 3)
    await _refund(shop, bought)
    await shop.desk.work()
    now = await shop.payment(bought.id)
    assert now.returned == 500_000 - 3 * PRICE
    assert now.refunded == now.returned * 500 // 500_000
    assert now.state is State.PART_REFUNDED
    with pytest.raises(NothingToRefund):
        await _refund(shop, bought)
    assert breaches(await shop.stage.audit()) == {}


async def test_gifts_are_never_refunded(shop: Till) -> None:
    await shop.stage.app.grant(shop.stage.creator.id, 300_000, "gift")
    bought = await shop.bought()
    await _refund(shop, bought)
    await shop.desk.work()
    assert await shop.wallet() == 300_000
    assert (await shop.payment(bought.id)).returned == 500_000
    with pytest.raises(NotPayable):
        await _refund(shop, bought)


async def test_two_refunds_at_once_give_back_once(shop: Till) -> None:
    bought = await shop.bought()
    answers = await asyncio.gather(*(_refund(shop, bought) for _ in range(4)), return_exceptions=True)
    assert sum(each is None for each in answers) == 1
    await shop.desk.work()
    assert (await shop.payment(bought.id)).refunded == 500
    assert len(shop.stage.rail.refunds) == 1
    assert breaches(await shop.stage.audit()) == {}


async def test_a_refund_in_parts_adds_up(shop: Till) -> None:
    bought = await shop.bought()
    for part in (123_456, 111_111, None):
        await _refund(shop, bought, part)
        await shop.desk.work()
    now = await shop.payment(bought.id)
    assert (now.refunded, now.returned, now.state) == (500, 500_000, State.REFUNDED)
    assert breaches(await shop.stage.audit()) == {}


async def test_a_refund_that_the_rail_refuses_is_given_back(shop: Till) -> None:
    bought = await shop.bought()
    shop.stage.rail.returns = Returned.REFUSED
    await _refund(shop, bought)
    await shop.desk.work()
    assert await shop.wallet() == 500_000
    assert (await shop.payment(bought.id)).state is State.PAID
    assert breaches(await shop.stage.audit()) == {}


async def test_a_refund_under_way_is_told_again_with_the_same_name(shop: Till) -> None:
    bought = await shop.bought()
    shop.stage.rail.trouble.append(RailAway(problem="connect"))
    await _refund(shop, bought)
    await shop.desk.work()
    assert await shop.desk.work() == 0
    shop.stage.rail.returns = Returned.PENDING
    await shop.age(2)
    await shop.desk.work()
    name = shop.stage.rail.refunds[0].refund
    assert await shop.say(moved(bought, Said.REFUNDED, "evt_r", "re_1", 500, refund=name)) is Applied.APPLIED
    await shop.age(60)
    assert await shop.desk.work() == 0, "it is done"
    assert (await shop.payment(bought.id)).state is State.REFUNDED
    assert breaches(await shop.stage.audit()) == {}


async def test_a_refund_in_the_rails_own_pages_takes_credits_back_once(shop: Till) -> None:
    bought = await shop.bought()
    first = moved(bought, Said.REFUNDED, "evt_1", "re_1", 200)
    assert [await shop.say(replace(first, id=each)) for each in ("evt_1", "evt_1", "evt_2")] == [
        Applied.APPLIED,
        Applied.KNOWN,
        Applied.KNOWN,
    ]
    assert await shop.wallet() == 300_000
    counted = moved(bought, Said.REFUNDED, "evt_3", "re_2", None, total=350)
    assert await shop.say(counted) is Applied.APPLIED
    assert await shop.wallet() == 150_000
    assert (await shop.payment(bought.id)).state is State.PART_REFUNDED
    assert await shop.say(moved(bought, Said.REFUNDED, "evt_4", "re_3", 999)) is Applied.APPLIED, "never more than was paid"
    assert await shop.wallet() == 0
    assert (await shop.payment(bought.id)).state is State.REFUNDED
    assert breaches(await shop.stage.audit()) == {}


async def test_a_refund_that_failed_later_is_restored(shop: Till) -> None:
    bought = await shop.bought()
    await shop.say(moved(bought, Said.REFUNDED, "evt_1", "re_1", 500))
    assert await shop.say(moved(bought, Said.REFUND_FAILED, "evt_2", "re_1", 500)) is Applied.APPLIED
    assert await shop.wallet() == 500_000
    assert (await shop.payment(bought.id)).state is State.PAID
    assert await shop.say(moved(bought, Said.REFUND_FAILED, "evt_3", "re_1", 500)) is Applied.KNOWN
    assert breaches(await shop.stage.audit()) == {}


@pytest.mark.parametrize("spent", [0, 40])
async def test_a_chargeback_takes_back_and_leaves_a_debt(shop: Till, spent: int) -> None:
    bought = await shop.bought(package="taste")
    if spent:
        await shop.stage.app.grant(shop.stage.creator.id, 200_000, "gift")
        await _spend(shop, spent)
    before = await shop.wallet()
    event = moved(bought, Said.CHARGED_BACK, "evt_c", "du_1", 100, fee=1500)
    answers = await asyncio.gather(*(shop.say(replace(event, id=f"evt_c{n % 2}")) for n in range(6)))
    assert answers.count(Applied.APPLIED) == 1
    owed = max(0, 100_000 - before)
    assert await shop.wallet() == max(0, before - 100_000)
    assert await shop.stage.balance(f"user:{shop.stage.creator.id}:debt") == owed
    async with shop.stage.app.read() as work:
        (row,) = await work.payments.refunds_of(bought.id)
    assert (row.state, row.fee, row.credits) == (RefundState.OPEN, 1500, 100_000)
    assert breaches(await shop.stage.audit()) == {}


async def test_a_debt_blocks_spending_until_it_is_paid(shop: Till) -> None:
    bought = await shop.bought(package="taste")
    await _spend(shop, 20)
    assert await shop.wallet() == 100_000 - 20 * PRICE
    await shop.say(moved(bought, Said.CHARGED_BACK, "evt_c", "du_1", 100))
    owed = 20 * PRICE
    with pytest.raises(InDebt) as refused:
        await shop.stage.submit("g-later")
    assert refused.value.facts == {"debt": owed}
    await shop.bought("k2", package="small")
    assert await shop.wallet() == 500_000 - owed, "the debt is paid first"
    assert await shop.stage.balance(f"user:{shop.stage.creator.id}:debt") == 0
    await shop.stage.submit("g-later")
    assert breaches(await shop.stage.audit()) == {}


async def test_a_debt_is_collected_from_what_comes_in(shop: Till) -> None:
    bought = await shop.bought(package="taste")
    await _spend(shop, 20)
    await shop.say(moved(bought, Said.CHARGED_BACK, "evt_c", "du_1", 100))
    await shop.stage.app.grant(shop.stage.creator.id, 50_000, "gift")
    await Worker(shop.stage.app, 1).sweep()
    assert await shop.wallet() == 0
    assert await shop.stage.balance(f"user:{shop.stage.creator.id}:debt") == 20 * PRICE - 50_000
    assert breaches(await shop.stage.audit()) == {}


async def test_a_chargeback_that_was_won_is_given_back(shop: Till) -> None:
    bought = await shop.bought()
    await shop.say(moved(bought, Said.CHARGED_BACK, "evt_1", "du_1", 500))
    assert (await shop.payment(bought.id)).state is State.CHARGED_BACK
    assert await shop.say(moved(bought, Said.CHARGEBACK_WON, "evt_2", "du_1", 500)) is Applied.APPLIED
    assert await shop.say(moved(bought, Said.CHARGEBACK_WON, "evt_3", "du_1", 500)) is Applied.KNOWN
    assert await shop.wallet() == 500_000
    assert (await shop.payment(bought.id)).state is State.PAID
    assert breaches(await shop.stage.audit()) == {}


async def test_a_chargeback_that_was_lost_stays(shop: Till) -> None:
    bought = await shop.bought()
    await shop.say(moved(bought, Said.CHARGED_BACK, "evt_1", "du_1", 500))
    assert await shop.say(moved(bought, Said.CHARGEBACK_LOST, "evt_2", "du_1", 500, fee=1500)) is Applied.APPLIED
    assert await shop.wallet() == 0
    assert (await shop.payment(bought.id)).state is State.CHARGED_BACK
    assert breaches(await shop.stage.audit()) == {}


@pytest.mark.parametrize(
    ("end", "begin", "thing"),
    [(Said.CHARGEBACK_WON, Said.CHARGED_BACK, "du_1"), (Said.REFUND_FAILED, Said.REFUNDED, "re_1")],
)
async def test_the_end_told_before_the_beginning_moves_nothing(shop: Till, end: Said, begin: Said, thing: str) -> None:
    bought = await shop.bought()
    assert await shop.say(moved(bought, end, "evt_1", thing, 500)) is Applied.KNOWN
    assert await shop.say(moved(bought, begin, "evt_2", thing, 500)) is Applied.KNOWN
    assert await shop.wallet() == 500_000
    assert (await shop.payment(bought.id)).state is State.PAID
    assert breaches(await shop.stage.audit()) == {}


async def test_a_chargeback_after_a_refund_takes_the_rest(shop: Till) -> None:
    bought = await shop.bought()
    await shop.say(moved(bought, Said.REFUNDED, "evt_1", "re_1", 200))
    await shop.say(moved(bought, Said.CHARGED_BACK, "evt_2", "du_1", 500))
    now = await shop.payment(bought.id)
    assert (now.refunded, now.returned, now.state) == (500, 500_000, State.CHARGED_BACK)
    assert await shop.wallet() == 0
    assert breaches(await shop.stage.audit()) == {}


async def test_money_of_another_charge_is_not_this_payments(shop: Till) -> None:
    bought = await shop.bought()
    event = moved(bought, Said.REFUNDED, "evt_1", "re_1", 200, order=bought.order, charge="pi_other")
    assert await shop.say(event) is Applied.MISMATCH
    assert await shop.wallet() == 500_000
    assert paid(bought).charge != "pi_other"
