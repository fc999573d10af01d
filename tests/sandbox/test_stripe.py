"""The stand-in for Stripe holds calls against the official limits, and answers the official library as Stripe does."""

import asyncio
import re
import time
from collections.abc import AsyncIterator

import pytest
import stripe

from sandbox.stripe_words import ENGLISH
from tests.sandbox.stripe_shop import FORM, KEY, Shop, open_shop


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with open_shop() as made:
        yield made


@pytest.fixture
async def http() -> AsyncIterator[stripe.HTTPXClient]:
    """What the library calls with, and does not close."""
    made = stripe.HTTPXClient()
    yield made
    await made.close_async()  # type: ignore[no-untyped-call]  # the library's


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the library's own use of httpx
async def test_the_official_library_works_unmodified(shop: Shop, http: stripe.HTTPXClient) -> None:
    client = stripe.StripeClient(KEY, base_addresses={"api": shop.url + "/stripe"}, http_client=http).v1
    made = await client.checkout.sessions.create_async(
        {
            "mode": "payment",
            "line_items": [
                {"quantity": 2, "price_data": {"currency": "usd", "unit_amount": 500, "product_data": {"name": "500 Credits"}}},
                {"quantity": 1, "price_data": {"currency": "usd", "unit_amount": 100, "product_data": {"name": "a tip"}}},
            ],
            "metadata": {"order": "1"},
            "payment_intent_data": {"metadata": {"order": "1"}},
            "success_url": "https://shop.example/",
            "expires_at": int(time.time()) + 1_800,
        }
    )
    assert re.fullmatch(r"cs_test_\w{58}", made.id)
    assert (made.amount_total, made.status, made.payment_status, made.payment_intent, made.livemode) == (
        1_100,
        "open",
        "unpaid",
        None,
        False,
    )
    assert made.url == f"{shop.url}/stripe/pay/{made.id}"
    intent = await shop.sandbox.pay(made.id)
    again = await client.checkout.sessions.retrieve_async(made.id, {"expand": ["payment_intent"]})
    assert isinstance(again.payment_intent, stripe.PaymentIntent)
    assert (again.payment_intent.id, again.payment_intent.status, again.url) == (intent.id, "succeeded", None)
    assert again.payment_intent.metadata["order"] == "1"
    first = await client.refunds.create_async({"payment_intent": intent.id, "amount": 100})
    rest = await client.refunds.create_async({"payment_intent": intent.id})
    listed = await client.refunds.list_async({"payment_intent": intent.id, "limit": 1})
    assert (rest.amount, listed.data[0].id, listed.has_more) == (1_000, rest.id, True)
    assert [refund.id async for refund in listed.auto_paging_iter()] == [rest.id, first.id]
    assert (await client.refunds.retrieve_async(first.id)).status == "succeeded"
    events = await client.events.list_async({"type": "checkout.session.completed"})
    assert [event.type for event in events.data] == ["checkout.session.completed"]
    assert (await client.events.retrieve_async(events.data[0].id)).data.object["id"] == made.id


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
async def test_the_official_library_knows_the_errors(shop: Shop, http: stripe.HTTPXClient) -> None:
    client = stripe.StripeClient(KEY, base_addresses={"api": shop.url + "/stripe"}, http_client=http).v1
    session = await shop.opened()
    intent = await shop.sandbox.pay(session)
    await shop.sandbox.refund(session)
    for call, code in (
        (client.refunds.create_async({"payment_intent": intent.id}), "charge_already_refunded"),
        (client.checkout.sessions.expire_async(session), None),
        (client.payment_intents.retrieve_async("pi_unknown"), "resource_missing"),
    ):
        with pytest.raises(stripe.InvalidRequestError) as wrong:
            await call
        assert wrong.value.code == code
        assert wrong.value.request_id is not None
    troubles: list[tuple[str, type[stripe.StripeError]]] = [
        ("rate_limited", stripe.RateLimitError),
        ("server", stripe.APIError),
        ("lost", stripe.APIConnectionError),
    ]
    for trouble, kind in troubles:
        shop.sandbox.api.fail_next(trouble)
        with pytest.raises(kind):
            await client.checkout.sessions.create_async({})
    shop.sandbox.api.revoked = True
    with pytest.raises(stripe.AuthenticationError):
        await client.refunds.list_async()


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"mode": None}, "parameter_missing", "mode"),
        ({"mode": "gift"}, None, "mode"),
        ({"success_url": None}, "parameter_missing", "success_url"),
        ({"success_url": "shop.example"}, "url_invalid", "success_url"),
        ({"success_url": "javascript:alert(1)"}, "url_invalid", "success_url"),
        ({"tip": "1"}, "parameter_unknown", "tip"),
        ({"line_items[0][colour]": "red"}, "parameter_unknown", "line_items[0][colour]"),
        ({"line_items[0][quantity]": None}, "parameter_missing", "line_items[0][quantity]"),
        ({"line_items[0][quantity]": "0"}, "parameter_invalid_integer", "line_items[0][quantity]"),
        ({"line_items[0][price_data][unit_amount]": "9.99"}, "parameter_invalid_integer", "line_items[0][price_data][unit_amount]"),
        ({"line_items[0][price_data][unit_amount]": "49"}, "amount_too_small", None),
        ({"line_items[0][price_data][unit_amount]": "99999999", "line_items[0][quantity]": "2"}, "amount_too_large", None),
        ({"line_items[0][price_data][currency]": "USD"}, None, "line_items[0][price_data][currency]"),
        (
            {"line_items[0][price_data][product_data][name]": ""},
            "parameter_invalid_empty",
            "line_items[0][price_data][product_data][name]",
        ),
        ({"client_reference_id": "x" * 201}, None, "client_reference_id"),
        ({"metadata[order]": "x" * 501}, None, "metadata[order]"),
        ({f"metadata[{'k' * 41}]": "x"}, None, f"metadata[{'k' * 40}]"),
        ({f"metadata[{n}]": "x" for n in range(51)}, None, "metadata"),
        ({"payment_intent_data[metadata][a][b]": "x"}, None, "payment_intent_data[metadata]"),
        ({"locale": "xx"}, None, "locale"),
        ({"expires_at": "soon"}, "parameter_invalid_integer", "expires_at"),
        ({"expires_at": "1"}, None, "expires_at"),
        ({"line_items": "x"}, None, "line_items[0][quantity]"),
    ],
)
async def test_a_session_is_held_against_the_limits(shop: Shop, change: dict[str, str | None], code: str | None, param: str | None) -> None:
    merged: dict[str, str | None] = {**change, **FORM, **change}
    status, answer = await shop.post("/checkout/sessions", {name: value for name, value in merged.items() if value is not None})
    error = answer["error"]
    assert (status, error["type"], error.get("code"), error.get("param")) == (400, "invalid_request_error", code, param)
    assert not shop.sandbox.state.sessions


@pytest.mark.parametrize(("seconds", "status"), [(1_790, 400), (1_810, 200), (86_390, 200), (86_410, 400)])
async def test_a_session_lives_from_half_an_hour_to_a_day(shop: Shop, seconds: int, status: int) -> None:
    got, answer = await shop.post("/checkout/sessions", FORM | {"expires_at": str(int(time.time()) + seconds)})
    assert got == status, answer


async def test_a_session_ends_at_its_time(shop: Shop) -> None:
    session = shop.sandbox.state.sessions[await shop.opened()]
    shop.sandbox.watch(session, 0.0)
    async with asyncio.timeout(5):
        await shop.news.wait()
    assert (session.status, shop.kinds()) == ("expired", ["checkout.session.expired"])
    assert ENGLISH["expired_note"] in await shop.words(session.id)


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("", 401),
        ("Bearer", 401),
        ("Bearer sk_live_4242real4242", 401),
        ("Bearer pk_test_1", 401),
        ("Bearer rk_test_1", 200),
        ("Basic c2tfdGVzdF8xOg==", 200),  # sk_test_1 as the user
        ("Basic ????", 401),
    ],
)
async def test_a_test_key_is_needed(shop: Shop, header: str, status: int) -> None:
    async with shop.session.get(f"{shop.url}/stripe/v1/events", headers={"Authorization": header}) as response:
        assert response.status == status
        answer = await response.json()
    assert status == 200 or answer["error"]["type"] == "invalid_request_error"
    assert "real" not in str(answer)


async def test_idempotency_keys(shop: Shop) -> None:
    key = {"Idempotency-Key": "one"}
    refused = await shop.post("/checkout/sessions", FORM | {"mode": "x"}, **key)
    assert refused[0] == 400  # not remembered
    first = await shop.post("/checkout/sessions", FORM, **key)
    assert await shop.post("/checkout/sessions", FORM, **key) == first
    status, answer = await shop.post("/checkout/sessions", FORM | {"client_reference_id": "2"}, **key)
    assert (status, answer["error"]["type"]) == (400, "idempotency_error")
    status, answer = await shop.post("/refunds", FORM, **key)
    assert (status, answer["error"]["type"]) == (400, "idempotency_error")
    status, answer = await shop.post("/checkout/sessions", FORM, **{"Idempotency-Key": "x" * 256})
    assert (status, answer["error"]["type"]) == (400, "idempotency_error")
    assert len(shop.sandbox.state.sessions) == 1


async def test_what_is_not_there(shop: Shop) -> None:
    for path in ("/checkout/sessions/cs_x", "/refunds/re_x", "/payment_intents/pi_x", "/events/evt_x"):
        status, answer = await shop.get(path)
        assert (status, answer["error"]["code"]) == (404, "resource_missing")
    assert (await shop.get("/customers"))[0] == 404
    assert (await shop.post("/refunds", {"payment_intent": "pi_x"}))[1]["error"]["code"] == "resource_missing"
    assert (await shop.get("/refunds?starting_after=re_x"))[0] == 400
    assert (await shop.get("/refunds?nothing=1"))[1]["error"]["code"] == "parameter_unknown"


async def test_lists(shop: Shop) -> None:
    sessions = [await shop.opened(client_reference_id=str(n)) for n in range(3)]
    intent = await shop.sandbox.pay(sessions[1])
    assert [one["id"] for one in (await shop.get("/checkout/sessions"))[1]["data"]] == sessions[::-1]
    assert [one["id"] for one in (await shop.get("/checkout/sessions?status=complete"))[1]["data"]] == [sessions[1]]
    assert [one["id"] for one in (await shop.get(f"/checkout/sessions?payment_intent={intent.id}"))[1]["data"]] == [sessions[1]]
    kinds = (await shop.get("/events?types[]=charge.succeeded&types[]=payment_intent.succeeded&created[gte]=1"))[1]["data"]
    assert [one["type"] for one in kinds] == ["payment_intent.succeeded", "charge.succeeded"]
    assert (await shop.get(f"/events?created[gte]={int(time.time()) + 60}"))[1]["data"] == []
