"""A payment from its start to its end, and everything that must not credit."""

import asyncio
from dataclasses import replace

import pytest

from core.errors import Refusal
from core.ledger.errors import KeyReused
from core.mailbox.models import Received
from core.payments.errors import PackageNotFound, PaymentNotFound, RailOff, TooManyPayments
from core.payments.models import State, TopUp
from core.payments.rails.base import RailAway, RailRefused, Said
from core.payments.receive import Applied, decode, encode
from core.payments.service import ASK_AFTER
from core.users.errors import Frozen
from tests.payments.till import Till, moved, paid
from tests.stage import breaches


async def test_a_payment_is_opened_paid_and_credited_once(shop: Till) -> None:
    begun = await shop.start()
    assert begun.state is State.PENDING
    assert begun.url == f"https://pay.example/{begun.order}"
    checkout = shop.stage.rail.opened[0]
    assert (checkout.amount, checkout.currency, checkout.notify_url) == (500, "USD", "http://127.0.0.1:8000/webhooks/stripe")
    answers = [await shop.say(paid(begun, event)) for event in ("evt_1", "evt_1", "evt_2")]
    assert answers == [Applied.APPLIED, Applied.KNOWN, Applied.KNOWN]
    assert await shop.wallet() == 500_000
    now = await shop.payment(begun.id)
    assert (now.state, now.charge, now.problem) == (State.PAID, f"pi_{begun.order}", None)
    assert breaches(await shop.stage.audit()) == {}


async def test_many_at_once_credit_once(shop: Till) -> None:
    begun = await shop.start()
    events = [paid(begun, f"evt_{n % 3}") for n in range(12)]
    answers = await asyncio.gather(*(shop.say(event) for event in events))
    assert answers.count(Applied.APPLIED) == 1
    assert await shop.wallet() == 500_000
    assert breaches(await shop.stage.audit()) == {}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"amount": 499}, "amount"),
        ({"amount": None}, "amount"),
        ({"currency": "EUR"}, "currency"),
        ({"currency": None}, "amount"),
        ({"charge": None}, "amount"),
        ({"ours": False}, "seller"),
    ],
)
async def test_what_does_not_agree_moves_nothing(shop: Till, changes: dict[str, object], problem: str) -> None:
    begun = await shop.start()
    assert await shop.say(replace(paid(begun), **changes)) is Applied.MISMATCH  # type: ignore[arg-type]  # by field
    now = await shop.payment(begun.id)
    assert (now.state, now.problem) == (State.PENDING, problem)
    assert await shop.wallet() == 0
    assert await shop.say(paid(begun, "evt_right")) is Applied.APPLIED


async def test_an_order_of_another_rail_moves_nothing(shop: Till) -> None:
    begun = await shop.start()
    assert await shop.say(paid(begun), rail="alipay") is Applied.MISMATCH
    assert await shop.wallet() == 0


async def test_an_unknown_order_is_none_of_ours(shop: Till) -> None:
    begun = await shop.start()
    assert await shop.say(replace(paid(begun), order="af000000000000000000000000")) is Applied.FOREIGN
    assert await shop.wallet() == 0


async def test_failed_and_expired_change_nothing_after_paid(shop: Till) -> None:
    bought = await shop.bought()
    for said in (Said.FAILED, Said.EXPIRED, Said.PENDING):
        assert await shop.say(replace(paid(bought, f"evt_{said}"), said=said, amount=None)) is Applied.KNOWN
    assert (await shop.payment(bought.id)).state is State.PAID


async def test_what_was_paid_after_we_gave_up_is_credited(shop: Till) -> None:
    begun = await shop.start()
    assert await shop.say(replace(paid(begun, "evt_x"), said=Said.EXPIRED, amount=None)) is Applied.APPLIED
    assert (await shop.payment(begun.id)).state is State.EXPIRED
    assert await shop.say(paid(begun)) is Applied.APPLIED
    assert await shop.wallet() == 500_000


async def test_a_bonus_is_part_of_what_is_bought(shop: Till) -> None:
    await shop.bought(package="medium")
    assert await shop.wallet() == 2_100_000


async def test_the_same_key_is_one_payment(shop: Till) -> None:
    first = await shop.start("k")
    again = await shop.start("k")
    assert first.id == again.id
    with pytest.raises(KeyReused):
        await shop.stage.app.top_up(TopUp("k", shop.stage.creator.id, "large", "stripe"))
    many = await asyncio.gather(*(shop.stage.app.top_up(TopUp("k2", shop.stage.creator.id, "small", "stripe")) for _ in range(5)))
    assert len({each.id for each in many}) == 1


async def test_limits_on_what_is_begun(shop: Till) -> None:
    limit = shop.stage.app.settings.unpaid_payments
    wishes = [TopUp(f"k{n}", shop.stage.creator.id, "small", "stripe") for n in range(limit + 5)]
    answers = await asyncio.gather(*(shop.stage.app.top_up(each) for each in wishes), return_exceptions=True)
    refused = [each for each in answers if isinstance(each, TooManyPayments)]
    assert len(refused) == 5
    assert refused[0].facts == {"limit": limit}


@pytest.mark.parametrize(
    ("wish", "refusal"),
    [
        (TopUp("k", 0, "small", "alipay"), RailOff),
        (TopUp("k", 0, "small", "stars"), RailOff),
        (TopUp("k", 0, "huge", "stripe"), PackageNotFound),
    ],
)
async def test_what_is_not_for_sale(shop: Till, wish: TopUp, refusal: type[Refusal]) -> None:
    with pytest.raises(refusal):
        await shop.stage.app.top_up(replace(wish, user_id=shop.stage.creator.id))


async def test_a_frozen_user_buys_nothing(shop: Till) -> None:
    await shop.stage.app.run(lambda work: work.users.freeze(shop.stage.creator.id, True))
    with pytest.raises(Frozen):
        await shop.start()


async def test_a_payment_is_its_buyers_alone(shop: Till) -> None:
    begun = await shop.start()
    async with shop.stage.app.read() as work:
        with pytest.raises(PaymentNotFound):
            await work.payments.get(begun.id, shop.stage.miner.id)


async def test_a_silent_rail_is_asked(shop: Till) -> None:
    begun = await shop.start()
    assert await shop.desk.work() == 0, "not due yet"
    shop.stage.rail.said[begun.order] = paid(begun, f"ask:{begun.order}:paid")
    await shop.age(ASK_AFTER[0])
    assert await shop.desk.work() == 1
    assert (await shop.payment(begun.id)).state is State.PAID
    assert await shop.say(paid(begun)) is Applied.KNOWN, "the callback comes after all"
    assert await shop.wallet() == 500_000


async def test_what_nobody_pays_is_closed(shop: Till) -> None:
    begun = await shop.start()
    await shop.age(shop.stage.app.settings.payment_minutes)
    await shop.desk.work()
    assert (await shop.payment(begun.id)).state is State.EXPIRED
    assert shop.stage.rail.closed == [begun.order]
    assert await shop.desk.work() == 0


async def test_a_rail_that_is_away_is_tried_again(shop: Till) -> None:
    shop.stage.rail.trouble.append(RailAway(problem="connect"))
    begun = await shop.start()
    assert begun.state is State.CREATED
    await shop.age(ASK_AFTER[0])
    await shop.desk.work()
    assert (await shop.payment(begun.id)).state is State.PENDING


async def test_a_rail_that_refuses_ends_the_payment(shop: Till) -> None:
    shop.stage.rail.trouble.append(RailRefused(problem="account_invalid"))
    begun = await shop.start()
    assert (begun.state, begun.problem) == (State.FAILED, "account_invalid")


async def test_an_event_that_was_kept_and_not_applied_is_found(shop: Till) -> None:
    """The process died between the two transactions of `receive`."""
    begun = await shop.start()
    event, app = paid(begun), shop.stage.app
    body = app.vault.veil(encode(event), f"stripe:{event.id}")
    assert decode(app.vault.unveil(body, f"stripe:{event.id}")) == event
    await app.run(lambda work: work.mailbox.store("stripe", [Received(event.id, begun.order, body)]))
    assert await shop.desk.work() == 1
    assert await shop.wallet() == 500_000
    assert await shop.desk.work() == 0


async def test_money_back_before_money_is_known(shop: Till) -> None:
    begun = await shop.start()
    event = moved(begun, Said.REFUNDED, "evt_r", "re_1", 500, order=begun.order)
    assert await shop.say(event) is Applied.EARLY
    shop.stage.rail.said[begun.order] = paid(begun, f"ask:{begun.order}:paid")
    await shop.desk.work()
    await shop.age(1)
    await shop.desk.work()
    now = await shop.payment(begun.id)
    assert (now.state, now.returned) == (State.REFUNDED, 500_000)
    assert await shop.wallet() == 0
    assert breaches(await shop.stage.audit()) == {}


async def test_money_back_by_charge_alone_waits_for_its_payment(shop: Till) -> None:
    """Refunds in the rail's pages and chargebacks do not name the order, and may be told first."""
    begun = await shop.start()
    assert await shop.say(moved(begun, Said.REFUNDED, "evt_r", "re_1", 200)) is Applied.EARLY
    assert await shop.say(paid(begun)) is Applied.APPLIED
    await shop.age(1)
    await shop.desk.work()
    now = await shop.payment(begun.id)
    assert (now.state, now.refunded, now.returned) == (State.PART_REFUNDED, 200, 200_000)
    assert breaches(await shop.stage.audit()) == {}


async def test_money_back_of_nobodys_charge_is_given_up(shop: Till) -> None:
    begun = await shop.start()
    event = moved(begun, Said.REFUNDED, "evt_r", "re_1", 200, charge="pi_of_another_shop")
    assert await shop.say(event) is Applied.EARLY
    await shop.age(4 * 24 * 60)
    assert await shop.say(event) is Applied.FOREIGN
    assert await shop.say(event) is Applied.KNOWN


async def test_a_second_charge_goes_back_by_itself(shop: Till) -> None:
    bought = await shop.bought()
    assert await shop.say(paid(bought, "evt_again", charge="pi_other")) is Applied.APPLIED
    assert await shop.say(paid(bought, "evt_again_2", charge="pi_other")) is Applied.KNOWN
    await shop.desk.work()
    (told,) = shop.stage.rail.refunds
    assert (told.charge, told.amount) == ("pi_other", 500)
    assert await shop.wallet() == 500_000
    now = await shop.payment(bought.id)
    assert (now.state, now.refunded, now.returned) == (State.PAID, 0, 0)
    assert breaches(await shop.stage.audit()) == {}
