"""The events of the Stripe stand-in: signed, delivered until they are taken, and out of order when asked to."""

from collections.abc import AsyncIterator

import pytest
import stripe

from sandbox.stripe_events import signature
from tests.sandbox.stripe_shop import SECRET, Shop, open_shop


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with open_shop() as made:
        yield made


async def test_events_are_signed_as_the_library_expects(shop: Shop) -> None:
    await shop.sandbox.pay(await shop.opened())
    await shop.sandbox.settled()
    assert sorted(shop.kinds()) == ["charge.succeeded", "checkout.session.completed", "payment_intent.succeeded"]
    for header, body, event in shop.received:
        assert stripe.Webhook.construct_event(body, header, SECRET).id == event["id"]
        with pytest.raises(stripe.SignatureVerificationError):
            stripe.Webhook.construct_event(body, header, "whsec_other")
    shop.sandbox.set_webhook(shop.url + "/hook", "whsec_new", SECRET)
    await shop.sandbox.pay(await shop.opened(client_reference_id="order_2"))
    await shop.sandbox.settled()
    header, body, _ = shop.received[-1]
    assert all(stripe.Webhook.construct_event(body, header, secret) for secret in ("whsec_new", SECRET))
    known = stripe.WebhookSignature.generate_signature_header("{}", SECRET, timestamp=5)
    assert signature(b"{}", [SECRET], 5).startswith(known + ",v0=")


async def test_an_event_comes_again_until_it_is_taken(shop: Shop) -> None:
    shop.answers = [500, 302, 404]
    await shop.sandbox.expire(await shop.opened())
    await shop.sandbox.settled()
    assert len(shop.received) == 4
    assert len({event["id"] for _, _, event in shop.received}) == 1
    (delivery,) = shop.sandbox.deliveries
    assert (delivery.kind, delivery.answers, delivery.done) == ("checkout.session.expired", [500, 302, 404, 200], True)
    async with shop.session.get(shop.url + "/hands/stripe/deliveries") as response:
        assert [row["answers"] for row in await response.json()] == [[500, 302, 404, 200]]


async def test_pauses_grow_and_can_be_ended(shop: Shop) -> None:
    shop.sandbox.events.first_pause = 3_600.0
    shop.answers = [500]
    await shop.sandbox.expire(await shop.opened())
    with pytest.raises(TimeoutError):
        await shop.sandbox.settled(0.05)
    shop.sandbox.events.hurry()
    await shop.sandbox.settled()
    assert shop.sandbox.deliveries[0].answers == [500, 200]


async def test_nobody_listens(shop: Shop, unused_tcp_port: int) -> None:
    shop.sandbox.set_webhook(f"http://127.0.0.1:{unused_tcp_port}/hook", SECRET)
    await shop.sandbox.expire(await shop.opened())
    with pytest.raises(TimeoutError):
        await shop.sandbox.settled(0.1)
    (delivery,) = shop.sandbox.deliveries
    assert set(delivery.answers) == {0}
    await shop.sandbox.close()  # gives it up
    await shop.sandbox.settled()


async def test_events_held_and_sent_the_wrong_way_round(shop: Shop) -> None:
    shop.sandbox.events.hold()
    session = await shop.opened()
    await shop.sandbox.pay(session)
    await shop.sandbox.refund(session, 100)
    assert not shop.received
    shop.sandbox.events.release(reverse=True)
    await shop.sandbox.settled()
    forth = ["charge.succeeded", "payment_intent.succeeded", "checkout.session.completed"]
    forth += ["refund.created", "charge.refunded", "refund.updated"]
    assert shop.kinds() == forth[::-1]
    assert shop.received[-1][2]["data"]["object"]["amount_refunded"] == 0  # as it was then


async def test_events_more_than_once(shop: Shop) -> None:
    shop.sandbox.events.copies = 3
    await shop.sandbox.expire(await shop.opened())
    await shop.sandbox.settled()
    assert shop.kinds() == ["checkout.session.expired"] * 3
    assert len({event["id"] for _, _, event in shop.received}) == 1


async def test_where_events_go(shop: Shop) -> None:
    for url, secret in (("https://shop.example/hook", SECRET), ("http://127.0.0.1.example.org/hook", SECRET), (shop.url, "")):
        with pytest.raises(ValueError):
            shop.sandbox.set_webhook(url, secret)
    shop.sandbox.set_webhook("", "")
    await shop.sandbox.expire(await shop.opened())
    assert shop.sandbox.deliveries == []
    assert (await shop.get("/events"))[1]["data"][0]["type"] == "checkout.session.expired"
    for body, status in (
        ({"url": shop.url + "/hook", "secret": "whsec_other"}, 200),
        ({"url": "http://example.org", "secret": "x"}, 400),
        ([], 400),
    ):
        async with shop.session.post(shop.url + "/hands/stripe/webhook", json=body) as response:
            assert response.status == status
    await shop.sandbox.expire(await shop.opened())
    await shop.sandbox.settled()
    assert stripe.Webhook.construct_event(shop.received[0][1], shop.received[0][0], "whsec_other")


async def test_buttons_that_are_not_there_now(shop: Shop) -> None:
    sandbox, session = shop.sandbox, await shop.opened()
    with pytest.raises(ValueError):
        await sandbox.refund(session)
    with pytest.raises(ValueError):
        await sandbox.chargeback(session)
    with pytest.raises(ValueError):
        await sandbox.money_arrives(session)
    await sandbox.pay(session)
    for again in (sandbox.pay, sandbox.pay_later, sandbox.pay_twice, sandbox.decline, sandbox.expire, sandbox.money_fails):
        with pytest.raises(ValueError):
            await again(session)
    with pytest.raises(ValueError):
        await sandbox.win_chargeback(session)
    await sandbox.chargeback(session, inquiry=True)
    with pytest.raises(ValueError, match="inquiry"):
        await sandbox.lose_chargeback(session)
    with pytest.raises(ValueError):
        sandbox.api.fail_next("rain")
    assert sandbox.session_of("order_1").id == session
    with pytest.raises(KeyError):
        sandbox.session_of("order_9")
