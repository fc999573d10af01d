"""Callbacks over the real rails under stress: in parallel, reordered, late, lost. Credits come once, and the books agree."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from core.payments.models import Payment, State
from tests.payments.rails_stage import Rails, rails, settled

RAILS = ("stripe", "alipay")
CREDITS = 500_000
AT_ONCE = 100


@pytest.fixture
async def made(database_url: str, tmp_path: Path) -> AsyncIterator[Rails]:
    async with rails(database_url, tmp_path) as opened:
        yield opened


async def send(made: Rails, rail: str, told: dict[str, str]) -> int:
    return await (made.stripe(told) if rail == "stripe" else made.alipay(told))


async def paid(made: Rails, rail: str) -> tuple[int, dict[str, str]]:
    """A payment that the buyer has paid, and what the rail says about it."""
    payment = await made.begin(rail)
    return payment.id, await (made.session_paid(payment) if rail == "stripe" else made.trade_paid(payment))


@pytest.mark.parametrize("rail", RAILS)
async def test_a_hundred_at_once_credit_once(made: Rails, rail: str) -> None:
    number, told = await paid(made, rail)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=AT_ONCE)) as many:
        made.session, kept = many, made.session
        statuses = await asyncio.gather(*(send(made, rail, told) for _ in range(AT_ONCE)))
        made.session = kept
    assert set(statuses) == {200}
    assert (await made.payment(number)).state is State.PAID
    assert (await made.credits(), await made.topups(), await made.waiting()) == (CREDITS, 1, 0)
    await made.assert_sound()


@pytest.mark.parametrize("rail", RAILS)
async def test_many_payments_at_once_are_each_credited_once(made: Rails, rail: str) -> None:
    """Twenty payments of four people, each told three times under two ids, all at once."""
    people = [await made.stage.person(f"buyer{number}") for number in range(4)]
    told = []
    for number in range(20):
        payment = await made.begin(rail, user=people[number % 4])
        told.append(await (made.session_paid(payment) if rail == "stripe" else made.trade_paid(payment)))
    other = "id" if rail == "stripe" else "notify_id"
    again = [one | {other: f"x{one[other]}"[:60]} for one in told]
    statuses = await asyncio.gather(*(send(made, rail, one) for one in [*told, *again, *told]))
    assert set(statuses) == {200}
    assert [await made.credits(each) for each in people] == [5 * CREDITS] * 4
    assert await made.topups() == 20
    await made.assert_sound()


@pytest.mark.parametrize("rail", RAILS)
async def test_a_callback_that_never_comes_is_asked_for(made: Rails, rail: str) -> None:
    number, _ = await paid(made, rail)
    await made.desk.work()
    assert (await made.payment(number)).state is State.PENDING  # it is not time yet
    await made.age(2 / (24 * 60))
    await made.desk.work()
    assert (await made.payment(number)).state is State.PAID
    assert (await made.credits(), await made.topups()) == (CREDITS, 1)
    await made.assert_sound()


@pytest.mark.parametrize("rail", RAILS)
async def test_asking_and_being_told_at_once_credit_once(made: Rails, rail: str) -> None:
    number, told = await paid(made, rail)
    await made.age(2 / (24 * 60))
    await asyncio.gather(made.desk.work(), *(send(made, rail, told) for _ in range(10)), made.desk.work())
    assert (await made.payment(number)).state is State.PAID
    assert (await made.credits(), await made.topups(), await made.waiting()) == (CREDITS, 1, 0)
    await made.assert_sound()


@pytest.mark.parametrize("rail", RAILS)
async def test_an_unpaid_order_ends_and_cannot_be_paid_any_more(made: Rails, rail: str) -> None:
    payment = await made.begin(rail)
    if rail == "alipay":
        made.world.alipay.visit(payment.url or "")
    await made.age(1)
    while await made.desk.work():
        pass
    assert (await made.payment(payment.id)).state is State.EXPIRED
    with pytest.raises(ValueError, match=r"expired|cannot be paid"):
        await pay(made, rail, payment)
    assert await made.topups() == 0


@pytest.mark.parametrize("rail", RAILS)
@pytest.mark.parametrize("days", [1, 30])
async def test_a_callback_days_late_still_credits(made: Rails, rail: str, days: int) -> None:
    number, told = await paid(made, rail)
    await made.age(days)
    assert await send(made, rail, told) == 200
    assert (await made.payment(number)).state is State.PAID
    assert (await made.credits(), await made.topups()) == (CREDITS, 1)
    await made.assert_sound()


@pytest.mark.parametrize("rail", RAILS)
@pytest.mark.parametrize("backwards", [False, True])
async def test_everything_that_a_payment_can_say_in_any_order(made: Rails, rail: str, backwards: bool) -> None:
    """Paid, a part given back, the rest taken by the buyer's bank: forwards and backwards, by the stand-ins themselves."""
    payment = await made.begin(rail)
    if rail == "stripe":
        stripe = made.world.stripe
        await stripe.pay(payment.reference or "")
        await stripe.refund(payment.reference or "", 200)
        await stripe.chargeback(payment.reference or "")
        stripe.events.release(reverse=backwards)
    else:
        order = made.world.alipay.visit(payment.url or "")
        made.world.alipay.pay(order)
        made.world.alipay.give_back(order, 1_440)
        made.world.alipay.complain(order)
        made.world.alipay.courier.release(backwards=backwards)
    await made.world.stripe.settled()
    await made.world.alipay.courier.settled()
    while await made.desk.work():
        pass
    await made.age(0.01)
    while await made.desk.work():
        pass
    ended = await made.payment(payment.id)
    assert (ended.refunded, ended.returned) == (payment.amount, payment.credits)
    assert ended.state is (State.CHARGED_BACK if rail == "stripe" else State.REFUNDED)
    assert (await made.credits(), await made.topups(), await made.waiting()) == (0, 1, 0)
    await made.assert_sound()


@pytest.mark.parametrize("rail", RAILS)
async def test_an_api_that_is_away_is_told_again(database_url: str, tmp_path: Path, rail: str) -> None:
    """The stand-ins repeat what was not taken, as the rails do: nothing listens when the buyer pays, and then the api comes."""
    async with rails(database_url, tmp_path, hold=False) as made:
        payment = await made.begin(rail)
        real, made.app.rails = made.app.rails, {}  # the route refuses: the rail is off
        if rail == "stripe":
            await made.world.stripe.pay(payment.reference or "")
        else:
            made.world.alipay.pay(made.world.alipay.visit(payment.url or ""))
        while not refused(made, rail):  # noqa: ASYNC110  # nothing sets an event
            await asyncio.sleep(0.02)
        made.app.rails = real
        await settled(made, payment)
        assert (await made.credits(), await made.topups()) == (CREDITS, 1)
        await made.assert_sound()


async def pay(made: Rails, rail: str, payment: Payment) -> None:
    if rail == "stripe":
        await made.world.stripe.pay(payment.reference or "")
    else:
        made.world.alipay.pay(payment.order)


def refused(made: Rails, rail: str) -> bool:
    if rail == "stripe":
        return any(404 in one.answers for one in made.world.stripe.deliveries)
    return any(one.status == 404 for one in made.world.alipay.courier.deliveries)
