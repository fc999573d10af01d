"""The pages of the Stripe stand-in, by HTTP: both languages, and every button when it is there and when it is not."""

from collections.abc import AsyncIterator

import pytest

from sandbox.stripe_words import CHINESE, ENGLISH
from tests.sandbox.stripe_shop import Shop, open_shop


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with open_shop() as made:
        yield made


async def test_the_page_in_both_languages(shop: Shop) -> None:
    assert ENGLISH.keys() == CHINESE.keys()
    name = {"line_items[0][price_data][product_data][name]": "<b>100 & 积分</b>"}
    english, chinese = await shop.opened(locale="en", **name), await shop.opened(locale="zh", **name)
    for session, words in ((english, ENGLISH), (chinese, CHINESE)):
        status, text = await shop.page(session)
        assert status == 200
        assert f'<html lang="{words["language"]}">' in text
        assert "&lt;b&gt;100 &amp; 积分&lt;/b&gt;" in text
        for word in ("decline", "pay_later", "pay_twice", "expire", "back"):
            assert words[word] in text
        assert words["pay"].format(amount="US$10.00") in text
        assert text.count("<form") == 5
        assert "<script" not in text
    undecided = await shop.opened()
    assert CHINESE["decline"] in (await shop.page(undecided, "zh-CN,zh;q=0.9"))[1]
    assert ENGLISH["decline"] in (await shop.page(undecided, "de"))[1]
    assert (await shop.page("cs_test_unknown"))[0] == 404


async def test_yen_have_no_cents(shop: Shop) -> None:
    session = await shop.opened(**{"line_items[0][price_data][currency]": "jpy"})
    assert "JP¥1,000" in await shop.words(session)
    await shop.press(session, "pay")
    await shop.press(session, "refund", {"amount": "300"})
    assert [refund.amount for refund in shop.sandbox.state.refunds.values()] == [300]


@pytest.mark.parametrize("button", ["pay", "pay_later", "pay_twice"])
async def test_after_paying_the_buyer_is_back_in_the_shop(shop: Shop, button: str) -> None:
    session = await shop.opened()
    assert await shop.press(session, button) == (303, f"https://shop.example/back?session={session}")
    assert (await shop.press(session, button))[0] == 409
    assert len(shop.sandbox.state.intents) == 1


async def test_the_buttons_of_a_payment(shop: Shop) -> None:
    session = await shop.opened()
    own = f"/stripe/pay/{session}"
    assert await shop.press(session, "decline") == (303, own)
    assert ENGLISH["declined"] in await shop.words(session)
    await shop.press(session, "pay")
    text = await shop.words(session)
    assert ENGLISH["declined"] not in text
    assert ENGLISH["refund_all"].format(amount="US$10.00") in text
    assert await shop.press(session, "refund", {"amount": "2.5"}) == (303, own)
    for wrong in ("", "-1", "1.234", "1e3", "0", "7.51", "99999999"):
        assert (await shop.press(session, "refund", {"amount": wrong}))[0] == 409
    assert await shop.press(session, "refund") == (303, own)
    assert [refund.amount for refund in shop.sandbox.state.refunds.values()] == [250, 750]
    assert (await shop.press(session, "refund"))[0] == 409
    assert (await shop.press(session, "chargeback"))[0] == 409  # nothing is left
    text = await shop.words(session)
    assert ENGLISH["refunded"].format(amount="US$2.50") in text
    assert [line for line in text.splitlines() if "<form" in line and "/tell_again" not in line] == []
    assert (await shop.press(session, "steal"))[0] == 404
    assert (await shop.press("cs_test_unknown", "pay"))[0] == 404


@pytest.mark.parametrize(("button", "word"), [("win_chargeback", "won"), ("lose_chargeback", "lost")])
async def test_the_buttons_of_the_bank(shop: Shop, button: str, word: str) -> None:
    session = await shop.opened()
    await shop.press(session, "pay")
    assert (await shop.press(session, button))[0] == 409
    await shop.press(session, "chargeback")
    assert (await shop.press(session, "refund"))[0] == 409
    assert ENGLISH["bank_took"].format(amount="US$10.00") in await shop.words(session)
    await shop.press(session, button)
    text = await shop.words(session)
    assert ENGLISH[word] in text
    assert [line for line in text.splitlines() if "<form" in line and "/tell_again" not in line] == []


async def test_the_buttons_of_what_takes_time(shop: Shop) -> None:
    session, other = await shop.opened(), await shop.opened(client_reference_id="order_2")
    await shop.press(session, "pay_later")
    assert ENGLISH["money_arrives"] in await shop.words(session)
    await shop.press(session, "money_arrives")
    await shop.press(other, "pay_later")
    await shop.press(other, "money_fails")
    assert ENGLISH["failed"] in await shop.words(other)
    shop.sandbox.refunds_pend = True
    await shop.press(session, "refund", {"amount": "1"})
    await shop.press(session, "refund", {"amount": "2"})
    one, two = shop.sandbox.state.refunds
    assert (await shop.press(session, f"finish_refund?refund={one}"))[0] == 303
    assert (await shop.press(session, f"fail_refund?refund={two}"))[0] == 303
    assert (await shop.press(session, f"fail_refund?refund={two}"))[0] == 409
    assert [refund.status for refund in shop.sandbox.state.refunds.values()] == ["succeeded", "failed"]
    await shop.press(session, "inquiry")
    text = await shop.words(session)
    assert ENGLISH["bank_asks"] in text
    assert ENGLISH["lose"] not in text


async def test_the_dashboard(shop: Shop) -> None:
    session = await shop.opened()
    await shop.press(session, "expire")
    async with shop.session.get(shop.url + "/stripe/dashboard") as response:
        text = await response.text()
    assert f"/stripe/pay/{session}" in text
    assert ENGLISH["expired"] in text
