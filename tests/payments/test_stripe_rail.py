"""The Stripe rail against the stand-in, over real sockets and through the official library."""

import asyncio
import json
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest

from core.payments.rails.base import BadSignature, Rail, RailAway, RailRefused, Returned, Said
from core.payments.rails.stripe import StripeRail
from tests.payments.stripe_stage import KEY, MINUTE, SECRET, Stage, a_refund, an_order, now, paid_event, stage


@pytest.fixture
async def shop() -> AsyncIterator[Stage]:
    async with stage() as made:
        yield made


# Opening


async def test_an_order_opens_one_page(shop: Stage) -> None:
    rail: Rail = shop.rail
    order = an_order(locale="zh-CN")
    opened = [await rail.open(order) for _ in range(2)]
    assert opened[0] == opened[1]
    assert (opened[0].url, opened[0].code) == (f"{shop.url}/stripe/pay/{opened[0].reference}", None)
    (session,) = shop.sandbox.state.sessions.values()
    assert session.wanted == {
        "mode": "payment",
        "line_items": [{"quantity": 1, "price_data": {"currency": "usd", "unit_amount": 1_000, "product_data": {"name": order.title}}}],
        "client_reference_id": "order_1",
        "metadata": {"order": "order_1"},
        "payment_intent_data": {"metadata": {"order": "order_1"}},
        "success_url": order.return_url,
        "cancel_url": order.return_url,
        "locale": "zh",
        "adaptive_pricing": {"enabled": "false"},
        "expires_at": order.expires_at // 1_000_000,
    }


@pytest.mark.parametrize(("minutes", "later"), [(31, 0), (23 * 60, 0), (1, 30), (29, 30), (25 * 60, None)])
async def test_a_session_ends_with_the_order_where_stripe_allows_it(shop: Stage, minutes: int, later: int | None) -> None:
    order = an_order(minutes=minutes)
    assert await shop.rail.open(order) == await shop.rail.open(order)
    (session,) = shop.sandbox.state.sessions.values()
    if later is None:
        assert abs(session.expires_at - now() // 1_000_000 - 24 * 3_600) <= 2
    else:
        assert session.expires_at == (order.expires_at + later * MINUTE) // 1_000_000


async def test_what_stripe_does_not_sell_is_refused(shop: Stage) -> None:
    with pytest.raises(RailRefused) as refused:
        await shop.rail.open(an_order(amount=49))
    assert refused.value.facts == {"problem": "amount_too_small"}
    await shop.rail.open(an_order())
    with pytest.raises(RailRefused) as refused:
        await shop.rail.open(an_order(amount=999))  # another price under the same order
    assert refused.value.facts == {"problem": "idempotency_error"}
    assert len(shop.sandbox.state.sessions) == 1


async def test_an_answer_that_was_lost_opens_no_second_page(shop: Stage) -> None:
    order = an_order()
    shop.sandbox.api.fail_next("lost", 2)
    with pytest.raises(RailAway) as away:
        await shop.rail.open(order)
    assert away.value.facts == {"problem": "connection"}
    assert len(shop.sandbox.state.sessions) == 1
    shop.sandbox.api.fail_next("lost")
    opened = await shop.rail.open(order)
    assert [opened.reference] == [*shop.sandbox.state.sessions]
    assert shop.sandbox.api.calls == ["POST /v1/checkout/sessions"] * 4


# Asking, giving back, closing


async def test_what_became_of_an_order(shop: Stage) -> None:
    assert await shop.rail.ask("order_1", None) is None
    assert await shop.rail.ask("order_1", "cs_test_unknown") is None
    session = await shop.opened()
    pending = paid_event(session, None, Said.PENDING)
    assert await shop.rail.ask("order_1", session) == replace(pending, id="ask:order_1:pending")
    assert await shop.rail.ask("order_2", session) is None  # it is another's
    charge = (await shop.sandbox.pay(session)).id
    paid = replace(pending, id="ask:order_1:paid", said=Said.PAID, charge=charge)
    assert [await shop.rail.ask("order_1", session) for _ in range(2)] == [paid, paid]


async def test_a_refund_moves_once(shop: Stage) -> None:
    _, charge = await shop.paid()
    answers = await asyncio.gather(*(shop.rail.refund(a_refund(charge)) for _ in range(5)))
    shop.sandbox.api.forget_keys()  # as Stripe does after a day
    answers += [await shop.rail.refund(a_refund(charge))]
    assert answers == [Returned.DONE] * 6
    assert [refund.amount for refund in shop.sandbox.state.refunds.values()] == [400]
    assert await shop.rail.refund(a_refund(charge, refund="refund_2", amount=600)) is Returned.DONE
    assert await shop.rail.refund(a_refund(charge, refund="refund_3", amount=1)) is Returned.REFUSED


async def test_refunds_that_will_never_be(shop: Stage) -> None:
    session, charge = await shop.paid()
    assert await shop.rail.refund(a_refund("pi_unknown")) is Returned.REFUSED
    assert await shop.rail.refund(a_refund(charge, amount=1_001)) is Returned.REFUSED
    await shop.sandbox.chargeback(session)
    assert await shop.rail.refund(a_refund(charge, refund="refund_2")) is Returned.REFUSED
    assert not shop.sandbox.state.refunds


async def test_a_refund_is_not_given_up_for_a_wrong_key(shop: Stage) -> None:
    _, charge = await shop.paid()
    shop.sandbox.api.revoked = True
    with pytest.raises(RailAway):
        await shop.rail.refund(a_refund(charge))
    shop.sandbox.api.revoked = False
    assert await shop.rail.refund(a_refund(charge)) is Returned.DONE


async def test_a_closed_order_cannot_be_paid(shop: Stage) -> None:
    session = await shop.opened()
    for _ in range(2):
        await shop.rail.close("order_1", session)
    with pytest.raises(ValueError, match="expired"):
        await shop.sandbox.pay(session)
    assert [event.said for event in await shop.heard()] == [Said.EXPIRED]
    await shop.rail.close("order_1", None)
    await shop.rail.close("order_1", "cs_test_unknown")


async def test_what_was_paid_meanwhile_is_not_closed(shop: Stage) -> None:
    session, _ = await shop.paid()
    with pytest.raises(RailRefused) as refused:
        await shop.rail.close("order_1", session)
    assert refused.value.facts == {"problem": "paid"}
    later = await shop.opened("order_2")
    await shop.sandbox.pay_later(later)
    with pytest.raises(RailRefused) as refused:
        await shop.rail.close("order_2", later)
    assert refused.value.facts == {"problem": "processing"}
    await shop.sandbox.money_fails(later)
    await shop.rail.close("order_2", later)


# Trouble

CALLS: list[Callable[[StripeRail], Awaitable[object]]] = [
    lambda rail: rail.open(an_order()),
    lambda rail: rail.ask("order_1", "cs_test_1"),
    lambda rail: rail.refund(a_refund("pi_1")),
    lambda rail: rail.close("order_1", "cs_test_1"),
]


async def problems(rail: StripeRail) -> list[tuple[object, object]]:
    """What each of the calls raises, made at once: the library waits half a second before it tries again."""
    raised = await asyncio.gather(*(call(rail) for call in CALLS), return_exceptions=True)
    return [(type(error), getattr(error, "facts", {}).get("problem")) for error in raised]


@pytest.mark.parametrize(
    ("kind", "times", "problem"),
    [
        ("rate_limited", 1, "rate_limit"),
        ("conflict", 2, "idempotency_key_in_use"),
        ("server", 2, "api_error"),
        ("unavailable", 2, "api_error"),
        ("garbage", 1, "http_200"),
    ],
)
async def test_stripe_is_away(shop: Stage, kind: str, times: int, problem: str) -> None:
    shop.sandbox.api.fail_next(kind, times * len(CALLS))
    assert await problems(shop.rail) == [(RailAway, problem)] * len(CALLS)
    assert len(shop.sandbox.api.calls) == times * len(CALLS)


async def test_a_moment_of_trouble_is_not_noticed(shop: Stage) -> None:
    shop.sandbox.api.fail_next("unavailable")
    assert (await shop.rail.open(an_order())).reference in shop.sandbox.state.sessions


async def test_nobody_there(unused_tcp_port: int) -> None:
    rail = StripeRail(KEY, SECRET, f"http://127.0.0.1:{unused_tcp_port}/stripe")
    assert await problems(rail) == [(RailAway, "connection")] * len(CALLS)
    await rail.close_client()
    await rail.close_client()


async def test_the_key_is_in_no_error_and_no_log(shop: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    errors: list[BaseException] = []
    shop.sandbox.api.revoked = True
    for call in CALLS:
        with pytest.raises(RailAway) as away:
            await call(shop.rail)
        errors.append(away.value)
    shop.sandbox.api.revoked = False
    with pytest.raises(RailRefused) as refused:
        await shop.rail.open(an_order(amount=1))
    shop.sandbox.api.fail_next("lost", 2)
    with pytest.raises(RailAway) as away:
        await shop.rail.open(an_order())
    with pytest.raises(BadSignature) as bad:
        shop.rail.read({"stripe-signature": "t=1,v1=1"}, b"{}", now())
    for error in [*errors, refused.value, away.value, bad.value]:
        text = "".join(traceback.format_exception(error)) + str(error) + repr(error) + repr(error.args) + repr(vars(error))
        assert KEY not in text
        assert KEY[-4:] not in text  # what Stripe's own message shows of it
        assert SECRET not in text
        assert json.dumps(error.__cause__) == "null"
    assert KEY not in caplog.text
    assert KEY[-4:] not in caplog.text
    assert KEY not in repr(shop.rail)
