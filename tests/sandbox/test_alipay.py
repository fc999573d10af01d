"""The stand-in for Alipay: its limits, its pages with every button, and its notices, which come again until they are taken."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import aiohttp
import pytest

from core.payments.rails.base import RailEvent, Said
from sandbox.alipay_hands import HandsError
from sandbox.alipay_rules import key_pair, sign, text_to_sign
from tests.sandbox.alipay_stage import MINUTE, Stage, served

ORDER = {"out_trade_no": "order_1", "total_amount": "12.34", "subject": "五百积分 100% + 5"}


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with served() as made:
        yield made


@pytest.fixture
async def browser() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


def request_of(stage: Stage, method: str, content: dict[str, Any] | str, **changed: str) -> dict[str, str]:
    """A signed request, made from Alipay's rules; an empty parameter is sent and not signed, `sign` may be replaced."""
    fields = {
        "app_id": stage.sandbox.app_id,
        "method": method,
        "format": "JSON",
        "charset": "utf-8",
        "sign_type": "RSA2",
        "timestamp": "2026-09-24 12:00:00",
        "version": "1.0",
        "biz_content": content if isinstance(content, str) else json.dumps(content, ensure_ascii=False),
    } | changed
    kept = {name: value for name, value in fields.items() if value and name != "sign"}
    return {"sign": sign(text_to_sign(kept), key_pair("app"))} | fields


async def call(stage: Stage, browser: aiohttp.ClientSession, method: str, content: dict[str, Any] | str, **changed: str) -> dict[str, Any]:
    """The answer to an API call, its signature checked where there is one."""
    fields = request_of(stage, method, content, **changed)
    async with browser.post(stage.sandbox.gateway_url, data=fields) as response:
        text = await response.text()
    answer = json.loads(text)
    name = next(name for name in answer if name.endswith("_response"))
    if "sign" in answer:
        raw = text.removeprefix(f'{{"{name}":').rpartition(',"sign"')[0]
        assert answer["sign"] == sign(raw, key_pair("alipay"))
    told: dict[str, Any] = answer[name]
    return {"name": name, "signed": "sign" in answer} | told


@pytest.mark.parametrize(
    ("changed", "code", "sub_code"),
    [
        ({}, "10000", None),
        ({"app_id": ""}, "40001", "isv.missing-app-id"),
        ({"app_id": "2021000000000002"}, "40002", "isv.invalid-app-id"),
        ({"sign": ""}, "40001", "isv.missing-signature"),
        ({"sign": "AAAA"}, "40002", "isv.invalid-signature"),
        ({"sign": "!"}, "40002", "isv.invalid-signature"),
        ({"sign_type": ""}, "40001", "isv.missing-signature-type"),
        ({"sign_type": "RSA"}, "40002", "isv.invalid-signature-type"),
        ({"timestamp": ""}, "40001", "isv.missing-timestamp"),
        ({"timestamp": "2026-09-24T12:00:00"}, "40002", "isv.invalid-timestamp"),
        ({"timestamp": "2026-09-24 04:00:00"}, "40002", "isv.invalid-timestamp"),  # universal time
        ({"timestamp": "2026-02-30 12:00:00"}, "40002", "isv.invalid-timestamp"),
        ({"version": ""}, "40001", "isv.missing-version"),
        ({"version": "2.0"}, "40002", "isv.invalid-parameter"),
        ({"charset": "GBK"}, "40002", "isv.invalid-charset"),
        ({"format": "XML"}, "40002", "isv.invalid-format"),
        ({"notify_url": "merchant"}, "40002", "isv.invalid-parameter"),
        ({"notify_url": ""}, "10000", None),  # empty: not signed
        ({"content": "{"}, "40002", "isv.illegal-json"),
        ({"method": "alipay.trade.create"}, "40002", "isv.invalid-method"),
    ],
)
async def test_common_parameters(
    stage: Stage, browser: aiohttp.ClientSession, changed: dict[str, str], code: str, sub_code: str | None
) -> None:
    asked = {"method": "alipay.trade.precreate", "content": json.dumps(ORDER)} | changed
    answer = await call(stage, browser, **asked)
    assert (answer["code"], answer.get("sub_code"), answer["signed"]) == (code, sub_code, code == "10000")
    assert bool(stage.sandbox.trades) is (code == "10000")


async def test_a_signature_covers_sign_type_and_every_parameter(stage: Stage, browser: aiohttp.ClientSession) -> None:
    good = request_of(stage, "alipay.trade.precreate", ORDER)
    without = {name: value for name, value in good.items() if name not in ("sign", "sign_type")}
    for fields in (
        good | {"sign": sign(text_to_sign(without), key_pair("app"))},
        good | {"notify_url": "http://127.0.0.1/else"},
        good | {"biz_content": good["biz_content"].replace("12.34", "0.01")},
        good | {"sign": sign(text_to_sign(without | {"sign_type": "RSA2"}), key_pair("alipay"))},
    ):
        async with browser.post(stage.sandbox.gateway_url, data=fields) as response:
            assert "isv.invalid-signature" in await response.text()
    async with browser.post(f"{stage.sandbox.gateway_url}?app_id=1", data=good) as response:
        assert "isv.invalid-parameter" in await response.text()
    assert not stage.sandbox.trades


@pytest.mark.parametrize(
    ("changed", "good"),
    [
        ({}, True),
        ({"total_amount": "0.01"}, True),
        ({"total_amount": "100000000"}, True),
        ({"subject": "长" * 256, "body": "b" * 128, "time_expire": "2026-10-09 12:00:00"}, True),
        ({"timeout_express": "90m"}, True),
        ({"out_trade_no": "a_Z9" * 16}, True),
        ({"total_amount": "0.00"}, False),
        ({"total_amount": "100000000.01"}, False),
        ({"total_amount": "12.345"}, False),
        ({"total_amount": "012.34"}, False),
        ({"total_amount": 12.34}, False),
        ({"total_amount": "-1"}, False),
        ({"out_trade_no": "a" * 65}, False),
        ({"out_trade_no": "order-1"}, False),
        ({"out_trade_no": ""}, False),
        ({"out_trade_no": 5}, False),
        ({"subject": ""}, False),
        ({"subject": "长" * 257}, False),
        ({"subject": "a/b"}, False),
        ({"subject": "a=b"}, False),
        ({"subject": "a&b"}, False),
        ({"body": "b" * 129}, False),
        ({"goods_type": "2"}, False),
        ({"product_code": "QUICK_WAP_WAY"}, False),
        ({"time_expire": "2026-10-09 12:00:01"}, False),
        ({"time_expire": "2026-09-24 12:00:00"}, False),
        ({"time_expire": "30m"}, False),
        ({"timeout_express": "1.5h"}, False),
        ({"timeout_express": "16d"}, False),
    ],
)
async def test_the_limits_of_an_order(stage: Stage, browser: aiohttp.ClientSession, changed: dict[str, Any], good: bool) -> None:
    answer = await call(stage, browser, "alipay.trade.precreate", ORDER | changed)
    assert answer["name"] == "alipay_trade_precreate_response" and answer["signed"]
    assert (answer["code"] == "10000") is good, answer
    assert answer["code"] in ("10000", "40004")


async def test_one_order_is_one_trade(stage: Stage, browser: aiohttp.ClientSession) -> None:
    first = await call(stage, browser, "alipay.trade.precreate", ORDER)
    assert await call(stage, browser, "alipay.trade.precreate", ORDER) == first
    changed = await call(stage, browser, "alipay.trade.precreate", ORDER | {"total_amount": "0.01"})
    assert changed["sub_code"] == "ACQ.CONTEXT_INCONSISTENT"
    assert (await call(stage, browser, "alipay.trade.query", {"out_trade_no": "order_1"}))["sub_code"] == "ACQ.TRADE_NOT_EXIST"
    assert (await call(stage, browser, "alipay.trade.close", {"out_trade_no": "order_1"}))["sub_code"] == "ACQ.TRADE_NOT_EXIST"
    async with browser.get(first["qr_code"]) as response:
        assert response.url.path.startswith("/alipay/cashier/") and "12.34" in await response.text()
    found = await call(stage, browser, "alipay.trade.query", {"out_trade_no": "order_1"})
    assert (found["trade_status"], found["total_amount"], "send_pay_date" in found) == ("WAIT_BUYER_PAY", "12.34", False)
    stage.sandbox.pay("order_1")
    found = await call(stage, browser, "alipay.trade.query", {"trade_no": found["trade_no"]})
    assert (found["trade_status"], found["send_pay_date"]) == ("TRADE_SUCCESS", "2026-09-24 12:00:00")
    async with browser.get(f"{stage.sandbox.public_url}/alipay/qr/nothing") as response:
        assert response.status == 404


REFUND = {"out_trade_no": "order_1", "refund_amount": "2.00", "out_request_no": "r1"}


async def test_refunds_are_kept_by_their_number(stage: Stage, browser: aiohttp.ClientSession) -> None:
    async def refund(**changed: str) -> tuple[str, str | None, str | None]:
        answer = await call(stage, browser, "alipay.trade.refund", REFUND | changed)
        return answer["code"], answer.get("sub_code"), answer.get("fund_change")

    assert await refund() == ("40004", "ACQ.TRADE_NOT_EXIST", None)
    await stage.opened()
    assert await refund() == ("40004", "ACQ.TRADE_STATUS_ERROR", None)
    stage.sandbox.pay("order_1")
    assert await refund() == ("10000", None, "Y")
    assert await refund() == ("10000", None, "N")
    assert await refund(refund_amount="2.01") == ("40004", "ACQ.DISCORDANT_REPEAT_REQUEST", None)
    assert await refund(out_request_no="r2", refund_amount="10.35") == ("40004", "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL", None)
    assert await refund(out_request_no="") == ("40004", "ACQ.INVALID_PARAMETER", None)
    stage.sandbox.poor = True
    assert await refund(out_request_no="r2") == ("40004", "ACQ.SELLER_BALANCE_NOT_ENOUGH", None)
    stage.sandbox.poor = False
    assert await refund(out_request_no="r2", refund_amount="10.34") == ("10000", None, "Y")
    assert await refund(out_request_no="r3", refund_amount="0.01") == ("40004", "ACQ.TRADE_HAS_CLOSE", None)
    found = await call(stage, browser, "alipay.trade.fastpay.refund.query", REFUND)
    assert (found["refund_status"], found["refund_amount"]) == ("REFUND_SUCCESS", "2.00")
    nothing = await call(stage, browser, "alipay.trade.fastpay.refund.query", REFUND | {"out_request_no": "r3"})
    assert (nothing["code"], "refund_status" in nothing) == ("10000", False)


# Pages.


async def shown(stage: Stage, browser: aiohttp.ClientSession, way: str = "phone") -> tuple[str, str]:
    """The cashier's address and text of a new order, as the rail sends the buyer there."""
    opened = await stage.rail().open(stage.checkout(way=way, title="<b>Credits</b>"))
    async with browser.get(opened.url or "") as response:
        assert response.status == 200
        return str(response.url), await response.text()


async def press(browser: aiohttp.ClientSession, page: str, button: str, **form: str) -> str:
    """The page after a button that the page before it showed."""
    home = page.partition("?")[0]
    async with browser.get(home) as response:
        assert f'action="{urlsplit(home).path}/{button}"' in await response.text(), button
    async with browser.post(f"{home}/{button}", data=form) as response:
        assert response.status == 200 and response.url.path == urlsplit(home).path
        return await response.text()


async def test_the_cashier_page(stage: Stage, browser: aiohttp.ClientSession) -> None:
    page, text = await shown(stage, browser)
    for words in (
        "确认付款 ¥12.34",
        "Pay before",
        "2026-09-24 12:30:00",
        "等待付款 Waiting for payment",
        "&lt;b&gt;Credits&lt;",
        "No real money",
    ):
        assert words in text
    assert "<b>Credits" not in text and "<script" not in text
    assert stage.received == []
    text = await press(browser, page, "decline")
    assert "余额不足" in text and "等待付款" in text
    text = await press(browser, page, "pay_later")
    assert "已保留订单" in text and "WAIT_BUYER_PAY" in text
    text = await press(browser, page, "pay")
    assert "支付成功 Paid" in text and "success ✓" in text
    link = next(part.partition('"')[0] for part in text.split('class="go" href="')[1:]).replace("&amp;", "&")
    assert dict(parse_qsl(urlsplit(link).query))["out_trade_no"] == "order_1" and link.startswith(stage.checkout().return_url + "&")
    async with browser.get(link) as response:
        assert await response.text() == "welcome back"
    said = [event and event.said for event in await stage.events()]
    assert said == [Said.PENDING, Said.PAID]


async def test_the_merchants_side(stage: Stage, browser: aiohttp.ClientSession) -> None:
    page, _ = await shown(stage, browser, "page")
    await press(browser, page, "pay")
    assert "现在不能这样做" in await press(browser, page, "give_back", amount="12.35")
    assert "现在不能这样做" in await press(browser, page, "give_back", amount="many")
    text = await press(browser, page, "give_back", amount="2.00")
    assert "部分退款 Refunded in part" in text and "退款 ¥2.00" in text
    text = await press(browser, page, "complain")
    assert "已全额退款 Refunded" in text and "退款 ¥12.34" in text
    events = [event for event in await stage.events() if event is not None]
    assert [(event.said, event.amount, event.total) for event in events] == [
        (Said.PAID, 1_234, None),
        (Said.REFUNDED, None, 200),
        (Said.REFUNDED, None, 1_234),
    ]
    assert [(event.refund or "")[:3] for event in events] == ["", "MER", "CPL"]
    async with browser.post(f"{page}/pay") as response:
        assert "现在不能这样做" in await response.text()


async def test_pages_of_what_is_not_there(stage: Stage, browser: aiohttp.ClientSession) -> None:
    page, _ = await shown(stage, browser)
    for method, url, status in (
        ("GET", page + "1", 404),
        ("POST", page + "/nothing", 404),
        ("GET", stage.sandbox.gateway_url, 400),
        ("GET", f"{stage.sandbox.gateway_url}?{urlencode(request_of(stage, 'alipay.trade.query', ORDER))}", 400),
    ):
        async with browser.request(method, url) as response:
            assert response.status == status, url


async def test_an_address_that_was_changed_is_refused(stage: Stage, browser: aiohttp.ClientSession) -> None:
    url = (await stage.rail().open(stage.checkout())).url or ""
    async with browser.get(url.replace("12.34", "0.01")) as response:
        text = await response.text()
        assert response.status == 400 and "isv.invalid-signature" in text and "无法付款" in text
    with pytest.raises(HandsError, match=r"isv\.invalid-signature"):
        stage.sandbox.visit(url.replace("12.34", "0.01"))
    with pytest.raises(HandsError, match="no such code"):
        stage.sandbox.visit(f"{stage.sandbox.public_url}/alipay/qr/1")
    assert not stage.sandbox.trades
    assert stage.sandbox.visit(url) == "order_1"
    stage.sandbox.pay("order_1")
    async with browser.get(url) as response:
        assert response.status == 400 and "ACQ.TRADE_HAS_SUCCESS" in await response.text()


async def test_a_page_that_is_opened_too_late(stage: Stage, browser: aiohttp.ClientSession) -> None:
    first = (await stage.rail().open(stage.checkout("order_1"))).url or ""
    second = (await stage.rail().open(stage.checkout("order_2"))).url or ""
    stage.sandbox.visit(first)
    stage.now += 31 * MINUTE
    async with browser.get(second) as response:
        assert "ACQ.NOW_TIME_AFTER_EXPIRE_TIME_ERROR" in await response.text()
    async with browser.get(first) as response:
        text = await response.text()
        assert "交易关闭 Closed" in text and "/pay" not in text
    with pytest.raises(HandsError):
        stage.sandbox.pay("order_1")
    assert [event and event.said for event in await stage.events()] == [Said.EXPIRED]


@pytest.mark.parametrize(
    ("hands", "expected"),
    [
        (["pay"], [("TRADE_SUCCESS", "")]),
        (["pay_twice"], [("TRADE_SUCCESS", "")] * 3),
        (["pay_later"], [("WAIT_BUYER_PAY", "")]),
        (["decline"], []),
        (["close_trade"], [("TRADE_CLOSED", "")]),
        (["pay", "give_back"], [("TRADE_SUCCESS", ""), ("TRADE_CLOSED", "12.34")]),
        (["pay", "complain"], [("TRADE_SUCCESS", ""), ("TRADE_CLOSED", "12.34")]),
        (["pay", "finish"], [("TRADE_SUCCESS", ""), ("TRADE_FINISHED", "")]),
    ],
)
async def test_every_button_from_python(stage: Stage, hands: list[str], expected: list[tuple[str, str]]) -> None:
    await stage.opened()
    for hand in hands:
        getattr(stage.sandbox, hand)("order_1")
    await stage.sandbox.courier.settled()
    told = [(one.trade_status, one.refund_fee) for one in stage.sandbox.courier.deliveries]
    assert sorted(told) == sorted(expected)
    assert all(one.taken and one.status == 200 for one in stage.sandbox.courier.deliveries)
    assert None not in await stage.events()  # all of them are signed


async def test_what_cannot_be_done_by_hand(stage: Stage) -> None:
    hands = stage.sandbox
    with pytest.raises(HandsError):
        hands.pay("order_1")
    await stage.opened()
    for act in (hands.give_back, hands.complain, hands.finish):
        with pytest.raises(HandsError):
            act("order_1")
    hands.pay("order_1")
    for pay in (hands.pay, hands.decline, hands.pay_later, hands.close_trade):
        with pytest.raises(HandsError):
            pay("order_1")
    for amount in (0, 1_235):
        with pytest.raises(HandsError):
            hands.give_back("order_1", amount)
    with pytest.raises(HandsError, match="kind"):
        hands.fail("nonsense")
    await hands.courier.settled()


# Notices.


def ids(stage: Stage) -> list[str]:
    return [one.notify_id for one in stage.sandbox.courier.deliveries]


@pytest.mark.parametrize("answer", ["failure", "Success", "success\n", " success", "<b>success</b>", ""])
async def test_a_notice_comes_again_until_the_answer_is_success(stage: Stage, answer: str) -> None:
    stage.answers = [answer, answer]
    await stage.opened()
    stage.sandbox.pay("order_1")
    events = await stage.events()
    assert [one.taken for one in stage.sandbox.courier.deliveries] == [False, False, True]
    assert [one.answer for one in stage.sandbox.courier.deliveries] == [answer, answer, "success"]
    assert len(set(ids(stage))) == 1 and len(set(map(RailEvent.__hash__, filter(None, events)))) == 1


async def test_a_notice_is_given_up_in_the_end(stage: Stage) -> None:
    stage.answers = ["failure"] * 20
    await stage.opened()
    stage.sandbox.pay("order_1")
    await stage.sandbox.courier.settled()
    assert len(stage.received) == len(stage.sandbox.courier.pauses) + 1
    stage.answers = []
    stage.sandbox.courier.repeat()
    assert (await stage.events())[-1] == stage.rail().read({}, stage.received[0], stage.now)


async def test_a_notice_that_nobody_hears(stage: Stage, unused_tcp_port: int) -> None:
    gone = f"http://127.0.0.1:{unused_tcp_port}/notify"
    for order, url in (("order_1", gone), ("order_2", "http://example.org/notify"), ("order_3", "")):
        await stage.opened(order)
        stage.sandbox.trades[order].notify_url = url
        stage.sandbox.pay(order)
    await stage.sandbox.courier.settled()
    told = {one.out_trade_no for one in stage.sandbox.courier.deliveries}
    assert told == {"order_1", "order_2"}  # and the test's closed network saw nobody leave this machine
    assert not any(one.taken or one.status for one in stage.sandbox.courier.deliveries)


async def test_paying_twice(stage: Stage) -> None:
    await stage.opened()
    stage.sandbox.pay_twice("order_1")
    events = [event for event in await stage.events() if event is not None]
    assert sorted(ids(stage).count(one) for one in set(ids(stage))) == [1, 2]
    assert {(event.said, event.order, event.amount) for event in events} == {(Said.PAID, "order_1", 1_234)}


async def test_notices_that_come_late_and_in_another_order(stage: Stage) -> None:
    courier = stage.sandbox.courier
    courier.hold()
    await stage.opened()
    stage.sandbox.pay("order_1")
    stage.sandbox.give_back("order_1", 200)
    stage.sandbox.give_back("order_1")
    await courier.settled()
    assert stage.received == []
    courier.release(backwards=True)
    said = [(event.said, event.total) for event in await stage.events() if event is not None]
    assert said == [(Said.REFUNDED, 1_234), (Said.REFUNDED, 200), (Said.PAID, None)]
    courier.repeat(ids(stage)[-1])
    await courier.settled()
    assert ids(stage)[-1] == ids(stage)[-2]
    with pytest.raises(ValueError, match="no such notice"):
        courier.repeat("1")


async def test_deliveries_end_with_the_application() -> None:
    async with served() as stage:
        stage.answers = ["failure"] * 5
        stage.sandbox.courier.pauses = (3_600.0,)
        await stage.opened()
        stage.sandbox.pay("order_1")
        with pytest.raises(TimeoutError):
            await stage.sandbox.courier.settled(within=0.05)
    assert len(asyncio.all_tasks()) == 1
    stage.sandbox.courier.repeat()
    await stage.sandbox.courier.settled(within=0.05)


async def test_a_call_that_hangs_ends_with_the_application(browser: aiohttp.ClientSession) -> None:
    async with served() as stage, asyncio.TaskGroup() as tasks:
        stage.sandbox.fail("hang", "alipay.trade.query")
        waiting = tasks.create_task(call(stage, browser, "alipay.trade.query", ORDER))
        await stage.sandbox.hanging.wait()
        assert not waiting.done()
        await stage.sandbox.close()
    assert waiting.result()["code"] == "20000"


async def test_the_settings_for_another_process(stage: Stage, browser: aiohttp.ClientSession) -> None:
    async with browser.get(f"{stage.sandbox.public_url}/hands/alipay/settings") as response:
        assert await response.json() == stage.sandbox.settings()
    assert stage.sandbox.settings().keys() == {
        "ALIPAY_APP_ID",
        "ALIPAY_SELLER_ID",
        "ALIPAY_PRIVATE_KEY",
        "ALIPAY_PUBLIC_KEY",
        "ALIPAY_GATEWAY_URL",
    }
