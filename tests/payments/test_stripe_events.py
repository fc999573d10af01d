"""What the Stripe rail reads: every event that the stand-in sends, and events as it would not send them."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from core.payments.rails.base import RailEvent, Returned, Said
from core.payments.rails.stripe_events import EVENTS
from tests.payments.stripe_stage import SESSION, Stage, a_refund, an_event, paid_event, read, said, stage


@pytest.fixture
async def shop() -> AsyncIterator[Stage]:
    async with stage() as made:
        yield made


def bare(events: list[RailEvent]) -> list[RailEvent]:
    """Without their ids, which all differ."""
    assert len({event.id for event in events}) == len(events)
    assert all(event.id.startswith("evt_") for event in events)
    return [replace(event, id="") for event in events]


async def test_paid_at_once(shop: Stage) -> None:
    session = await shop.opened()
    charge = (await shop.sandbox.pay(session)).id
    told = await shop.told()
    assert {kind for kind, event in told if event is None} == {"charge.succeeded", "payment_intent.succeeded"}
    assert bare([event for _, event in told if event]) == [paid_event(session, charge, Said.PAID)]


async def test_one_notice_twice_and_one_more(shop: Stage) -> None:
    session = await shop.opened()
    charge = (await shop.sandbox.pay_twice(session)).id
    events = await shop.heard()
    assert [replace(event, id="") for event in events] == [paid_event(session, charge, Said.PAID)] * 3
    assert len({event.id for event in events}) == 2


async def test_a_card_that_is_declined_says_nothing(shop: Stage) -> None:
    session = await shop.opened()
    await shop.sandbox.decline(session)
    assert await shop.heard() == []
    assert (await said(shop, session)) is Said.PENDING
    await shop.sandbox.pay(session)
    assert [event.said for event in await shop.heard()] == [Said.PAID]


@pytest.mark.parametrize("arrives", [True, False])
async def test_paid_later(shop: Stage, arrives: bool) -> None:
    session = await shop.opened()
    charge = (await shop.sandbox.pay_later(session)).id
    assert bare(await shop.heard()) == [paid_event(session, charge, Said.PENDING)]
    assert (await said(shop, session)) is Said.PENDING
    await (shop.sandbox.money_arrives if arrives else shop.sandbox.money_fails)(session)
    end = Said.PAID if arrives else Said.FAILED
    assert bare(await shop.heard()) == [paid_event(session, charge, end)]
    assert (await said(shop, session)) is end


async def test_nobody_pays(shop: Stage) -> None:
    session = await shop.opened()
    await shop.sandbox.expire(session)
    assert bare(await shop.heard()) == [paid_event(session, None, Said.EXPIRED)]
    assert (await said(shop, session)) is Said.EXPIRED


async def test_our_refund_is_told_with_our_number(shop: Stage) -> None:
    _, charge = await shop.paid()
    assert await shop.rail.refund(a_refund(charge)) is Returned.DONE
    thing = next(iter(shop.sandbox.state.refunds))
    told = RailEvent("", Said.REFUNDED, "order_1", charge, None, 400, "USD", thing=thing, refund="refund_1")
    assert bare(await shop.heard()) == [told, told]  # made, and then numbered by the bank


async def test_the_sellers_own_refund_is_told_without_a_number(shop: Stage) -> None:
    session, charge = await shop.paid()
    refund = await shop.sandbox.refund(session, 250)
    told = RailEvent("", Said.REFUNDED, None, charge, None, 250, "USD", thing=refund.id)
    assert bare(await shop.heard()) == [told, told]
    await shop.sandbox.finish_refund(refund.id, "failed")
    assert bare(await shop.heard()) == [replace(told, said=Said.REFUND_FAILED)] * 2  # updated, failed


@pytest.mark.parametrize(
    ("status", "expected", "returned"),
    [("succeeded", [Said.REFUNDED], Returned.DONE), ("canceled", [Said.REFUND_FAILED], Returned.REFUSED)],
)
async def test_a_refund_that_takes_its_time(shop: Stage, status: str, expected: list[Said], returned: Returned) -> None:
    _, charge = await shop.paid()
    shop.sandbox.refunds_pend = True
    assert await shop.rail.refund(a_refund(charge)) is Returned.PENDING
    assert await shop.heard() == []
    await shop.sandbox.finish_refund(next(iter(shop.sandbox.state.refunds)), status)
    assert [event.said for event in await shop.heard()] == expected
    assert await shop.rail.refund(a_refund(charge)) is returned
    assert len(shop.sandbox.state.refunds) == 1


@pytest.mark.parametrize("won", [True, False])
async def test_a_chargeback(shop: Stage, won: bool) -> None:
    session, charge = await shop.paid()
    dispute = await shop.sandbox.chargeback(session)
    told = RailEvent("", Said.CHARGED_BACK, None, charge, None, 1_000, "USD", thing=dispute.id, fee=1_500)
    assert bare(await shop.heard()) == [told, told]  # created, withdrawn
    await (shop.sandbox.win_chargeback if won else shop.sandbox.lose_chargeback)(session)
    end = replace(told, said=Said.CHARGEBACK_WON if won else Said.CHARGEBACK_LOST, fee=0)
    assert bare(await shop.heard()) == ([end, end] if won else [end])  # reinstated, closed


async def test_a_bank_that_only_asks(shop: Stage) -> None:
    session, charge = await shop.paid()
    dispute = await shop.sandbox.chargeback(session, inquiry=True)
    told = RailEvent("", Said.CHARGED_BACK, None, charge, None, 1_000, "USD", thing=dispute.id)
    assert bare(await shop.heard()) == [told]
    await shop.sandbox.win_chargeback(session)
    assert bare(await shop.heard()) == [replace(told, said=Said.CHARGEBACK_WON)]


REFUND = {"id": "re_1", "amount": 5, "currency": "usd", "payment_intent": "pi_1", "status": "succeeded", "metadata": None}
DISPUTE = {"id": "du_1", "amount": 5, "currency": "usd", "payment_intent": {"id": "pi_1"}, "status": "won", "balance_transactions": []}
WITHDRAWN = [{"fee": 1_500, "currency": "usd"}, {"fee": 900, "currency": "hkd"}]


@pytest.mark.parametrize(
    ("kind", "thing", "expected"),
    [
        ("checkout.session.completed", SESSION, (Said.PAID, "order_1", None)),
        ("checkout.session.completed", SESSION | {"payment_status": "no_payment_required"}, (Said.PAID, "order_1", None)),
        ("checkout.session.completed", SESSION | {"payment_status": "unpaid"}, (Said.PENDING, "order_1", None)),
        ("checkout.session.completed", SESSION | {"payment_status": None}, (Said.PENDING, "order_1", None)),
        ("checkout.session.async_payment_succeeded", SESSION | {"payment_status": "unpaid"}, (Said.PENDING, "order_1", None)),
        ("checkout.session.completed", SESSION | {"payment_intent": {"id": "pi_1"}}, (Said.PAID, "order_1", "pi_1")),
        ("checkout.session.completed", SESSION | {"client_reference_id": None, "metadata": {"order": "o"}}, (Said.PAID, "o", None)),
        ("checkout.session.completed", SESSION | {"client_reference_id": None}, None),
        ("checkout.session.completed", SESSION | {"client_reference_id": "x" * 33}, None),
        ("checkout.session.completed", SESSION | {"mode": "subscription"}, None),
        ("checkout.session.created", SESSION, None),
        ("refund.created", REFUND, (Said.REFUNDED, None, "pi_1")),
        ("refund.created", REFUND | {"status": "pending"}, None),
        ("refund.updated", REFUND | {"status": "requires_action"}, None),
        ("refund.updated", REFUND | {"status": "failed"}, (Said.REFUND_FAILED, None, "pi_1")),
        ("refund.updated", REFUND | {"status": "canceled"}, (Said.REFUND_FAILED, None, "pi_1")),
        ("refund.failed", REFUND | {"status": "pending"}, (Said.REFUND_FAILED, None, "pi_1")),
        ("charge.refunded", REFUND, None),
        ("charge.dispute.created", DISPUTE | {"status": "needs_response"}, (Said.CHARGED_BACK, None, "pi_1")),
        ("charge.dispute.closed", DISPUTE, (Said.CHARGEBACK_WON, None, "pi_1")),
        ("charge.dispute.closed", DISPUTE | {"status": "lost"}, (Said.CHARGEBACK_LOST, None, "pi_1")),
        ("charge.dispute.closed", DISPUTE | {"status": "warning_closed"}, (Said.CHARGEBACK_WON, None, "pi_1")),
        ("charge.dispute.closed", DISPUTE | {"status": "prevented"}, (Said.CHARGEBACK_WON, None, "pi_1")),
        ("charge.dispute.closed", DISPUTE | {"status": "under_review"}, None),
        ("charge.dispute.funds_reinstated", DISPUTE, (Said.CHARGEBACK_WON, None, "pi_1")),
        ("charge.dispute.funds_reinstated", DISPUTE | {"status": "needs_response"}, None),
        ("charge.dispute.funds_withdrawn", DISPUTE | {"status": "needs_response"}, (Said.CHARGED_BACK, None, "pi_1")),
        ("charge.dispute.updated", DISPUTE, None),
        ("customer.created", {"id": "cus_1"}, None),
        ("checkout.session.completed", [], None),
        ("checkout.session.completed", None, None),
    ],
)
def test_what_an_event_means(kind: str, thing: Any, expected: tuple[Said, str | None, str | None] | None) -> None:
    event = read(an_event(kind, thing))
    assert (event and (event.said, event.order, event.charge)) == expected
    if event is not None:
        assert (event.id, event.amount, event.currency, event.ours) == ("evt_1", 5, "USD", True)
        assert kind in EVENTS


@pytest.mark.parametrize(
    ("key", "fields", "ours"),
    [
        ("sk_test_1", {}, True),
        ("rk_test_1", {}, True),
        ("sk_test_1", {"livemode": True}, False),
        ("sk_live_1", {"livemode": True}, True),
        ("rk_live_1", {"livemode": True}, True),
        ("sk_live_1", {}, False),
        ("sk_live_1", {"livemode": 1}, False),
        ("sk_live_1", {"livemode": None}, False),
        ("sk_test_1", {"account": "acct_1"}, False),
    ],
)
def test_whose_event_it_is(key: str, fields: dict[str, Any], ours: bool) -> None:
    for kind, thing in (("checkout.session.completed", SESSION), ("refund.created", REFUND), ("charge.dispute.closed", DISPUTE)):
        event = read(an_event(kind, thing, **fields), key=key)
        assert event is not None
        assert event.ours is ours


def test_only_a_fee_in_the_same_currency_counts() -> None:
    event = read(an_event("charge.dispute.created", DISPUTE | {"balance_transactions": WITHDRAWN}))
    assert event is not None
    assert event.fee == 1_500


@pytest.mark.parametrize("body", [b"[]", b"null", b"{}", b'{"object": "v2.core.event", "id": "evt_1"}', an_event("x", {}, id=None)])
def test_what_is_no_event_is_of_no_concern(body: bytes) -> None:
    assert read(body) is None
