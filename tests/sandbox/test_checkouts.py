"""The payments panel's hands: what is listed, and that a press is the button of the page."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from core.payments.rails.alipay import AlipayRail
from core.payments.rails.stripe import StripeRail
from core.providers.http import make_client
from sandbox.world import World, refuse_real_tokens
from tests.payments.stripe_stage import KEY, SECRET, an_order, now


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.start(port=0)
    yield world
    await world.stop()


@pytest.fixture
async def session(world: World) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(world.url) as made:
        yield made


async def at_stripe(world: World, order: str = "order_1") -> str:
    """A session."""
    rail = StripeRail(KEY, SECRET, f"{world.url}/stripe")
    opened = await rail.open(an_order(order))
    await rail.close_client()
    return str(opened.reference)


async def at_alipay(world: World, order: str = "order_1") -> str:
    """A trade that the buyer has opened."""
    client = make_client()
    settings = {name.removeprefix("ALIPAY_").lower(): value for name, value in world.alipay.settings().items()}
    rail = AlipayRail(**settings, client=client, now=now)
    opened = await rail.open(replace(an_order(order), currency="CNY"))
    await client.aclose()
    return world.alipay.visit(str(opened.url))


async def press(session: aiohttp.ClientSession, rail: str, id: str, hand: str) -> tuple[int, dict[str, Any]]:
    async with session.post("/hands/checkouts", json={"rail": rail, "id": id, "hand": hand}) as answer:
        return answer.status, dict(await answer.json())


@pytest.mark.parametrize(
    ("rail", "states"), [("stripe", ["open", "open", "paid", "paid", "returned"]), ("alipay", ["open", "open", "paid", "paid", "returned"])]
)
async def test_the_buttons_are_those_of_the_page(world: World, session: aiohttp.ClientSession, rail: str, states: list[str]) -> None:
    world.stripe.set_webhook(f"{world.url}/nowhere", SECRET)
    id = await (at_stripe(world) if rail == "stripe" else at_alipay(world))
    seen = []
    for hand in ("", "decline", "pay", "tell_again", "chargeback"):
        if hand:
            status, _ = await press(session, rail, id, hand)
            assert status == 200, hand
        async with session.get("/hands/checkouts") as answer:
            (one,) = (await answer.json())["checkouts"]
        seen.append(one["state"])
        async with session.get(one["url"]) as page:
            assert page.status == 200
        assert (one["rail"], one["id"], one["order"]) == (rail, id, "order_1")
    assert seen == states
    assert one["hands"] == ["tell_again"]


@pytest.mark.parametrize(
    "wanted", [("paypal", "x", "pay"), ("stripe", "cs_none", "pay"), ("alipay", "none", "pay"), ("stripe", "x", "steal")]
)
async def test_what_is_not_there_cannot_be_pressed(session: aiohttp.ClientSession, wanted: tuple[str, str, str]) -> None:
    status, answer = await press(session, *wanted)
    assert status == 400
    assert answer["error"]


async def test_later_money_has_two_ends(world: World, session: aiohttp.ClientSession) -> None:
    for order, hand, state in (("order_1", "money_arrives", "paid"), ("order_2", "money_fails", "failed")):
        id = await at_stripe(world, order)
        await press(session, "stripe", id, "pay_later")
        _, answer = await press(session, "stripe", id, hand)
        assert next(one["state"] for one in answer["checkouts"] if one["id"] == id) == state


async def test_everything_is_told_once_more(world: World) -> None:
    world.stripe.set_webhook(f"{world.url}/nowhere", SECRET)
    world.stripe.events.first_pause = 60.0
    id = await at_stripe(world)
    with pytest.raises(ValueError, match="nothing"):
        await world.stripe.tell_again(id)
    await world.stripe.pay(id)
    told = [one.event["id"] for one in world.stripe.deliveries]
    await world.stripe.tell_again(id)
    again = [one.event["id"] for one in world.stripe.deliveries][len(told) :]
    assert sorted(again) == sorted(set(told))
    assert again


@pytest.mark.parametrize(
    ("name", "value", "address"),
    [
        ("AETHERFLOW_ALIPAY_PRIVATE_KEY", "MII", "AETHERFLOW_ALIPAY_GATEWAY_URL"),
        ("AETHERFLOW_STRIPE_SECRET_KEY", "sk_live_1", "AETHERFLOW_STRIPE_API_URL"),
        ("AETHERFLOW_SMTP_URL", "smtp://me:secret@mail.example.org:587", "AETHERFLOW_SMTP_URL"),
    ],
)
def test_the_sandbox_does_not_start_beside_real_money_or_mail(name: str, value: str, address: str) -> None:
    with pytest.raises(SystemExit, match=name) as refused:
        refuse_real_tokens({name: value})
    assert "secret" not in str(refused.value)
    local = {name: value} | {address: "http://127.0.0.1:1/x"} if name != address else {name: "smtp://a:b@127.0.0.1:25"}
    refuse_real_tokens(local)
