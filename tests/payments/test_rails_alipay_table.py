"""Every way in which a notice of Alipay can come: exactly the valid ones credit, once. On both databases, over the api's real socket."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from sandbox.alipay_rules import key_pair, sign, text_to_sign
from tests.payments.cases import Case, Try, a_table, judge
from tests.payments.rails_stage import Rails, sealed

pytestmark = pytest.mark.asyncio(loop_scope="module")
Fields = dict[str, str]
STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OURS = key_pair("app")  # the application's own key, which the merchant has too
PAID = ("gmt_payment", "receipt_amount", "buyer_pay_amount", "point_amount", "invoice_amount", "fund_bill_list")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["sqlite", "postgresql"])
async def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rails]:
    async with a_table(request, tmp_path_factory.mktemp("alipay")) as opened:
        yield opened


def put(told: Mapping[str, str], changes: Mapping[str, str | None]) -> Fields:
    """A copy with other values; None takes a field out."""
    return {name: value for name, value in (dict(told) | dict(changes)).items() if value is not None}


def with_(key: Any = None, **changes: Any) -> Callable[[Try], Any]:
    """One notice with these values, signed as it should be, or with another key."""

    async def act(its: Try) -> Sequence[int]:
        return [await its.made.alipay(put(its.told, changes), key)]

    return act


def raw(change: Callable[[bytes], bytes]) -> Callable[[Try], Any]:
    """The bytes of a signed notice changed."""

    async def act(its: Try) -> Sequence[int]:
        return [await its.made.post("alipay", change(sealed(its.told)))]

    return act


def signed_as(make: Callable[[Fields], Fields]) -> Callable[[Try], Any]:
    """A notice with a signature of its own making."""

    async def act(its: Try) -> Sequence[int]:
        return [await its.made.post("alipay", urlencode(make(its.told)).encode())]

    return act


def several(*notices: Mapping[str, str | None], at_once: bool = False) -> Callable[[Try], Any]:
    """Notices with these changes, in this order or all at once."""

    async def act(its: Try) -> Sequence[int]:
        calls = [its.made.alipay(put(its.told, changes)) for changes in notices]
        return await asyncio.gather(*calls) if at_once else [await call for call in calls]

    return act


def field(name: str, change: Callable[[str], str]) -> Callable[[bytes], bytes]:
    """One field of a form changed after the signature."""

    def changed(body: bytes) -> bytes:
        fields = dict(parse_qsl(body.decode(), keep_blank_values=True))
        return urlencode(fields | {name: change(fields[name])}).encode()

    return changed


def sha1(fields: Fields) -> Fields:
    made = OURS_AT_ALIPAY.sign(text_to_sign(fields).encode(), padding.PKCS1v15(), hashes.SHA1())  # noqa: S303  # the old RSA kind
    return fields | {"sign_type": "RSA", "sign": base64.b64encode(made).decode()}


OURS_AT_ALIPAY = key_pair("alipay")


async def of_another_order(its: Try) -> Sequence[int]:
    """It names an order of somebody else's that costs more."""
    other = await its.made.begin("alipay", "medium", await its.made.stage.person(f"else{its.payment.id}"))
    status = await its.made.alipay(put(its.told, {"out_trade_no": other.order}))
    assert (await its.made.payment(other.id)).problem == "amount"
    return [status]


async def of_another_rail(its: Try) -> Sequence[int]:
    """It names an order that is to be paid at Stripe."""
    other = await its.made.begin("stripe", "small", await its.made.stage.person(f"else{its.payment.id}"))
    status = await its.made.alipay(put(its.told, {"out_trade_no": other.order}))
    assert (await its.made.payment(other.id)).problem == "rail"
    return [status]


async def days_late(its: Try) -> Sequence[int]:
    """Repetitions go on for more than a day, and keep their first signature."""
    await its.made.age(3)
    return [await its.made.alipay(its.told)]


async def with_our_rail_off(its: Try) -> Sequence[int]:
    """Without its keys the rail is off."""
    real, its.made.app.rails = its.made.app.rails, {}
    try:
        return [await its.made.alipay(its.told)]
    finally:
        its.made.app.rails = real


async def to_stripe(its: Try) -> Sequence[int]:
    """It goes to the other rail's address."""
    return [await its.made.post("stripe", sealed(its.told))]


def refused(problem: str) -> dict[str, Any]:
    return {"why": f"callback_refused:{problem}", "statuses": frozenset({403})}


FORGED = refused("bad signature")
AGAIN, OPEN, CLOSED = {"notify_id": "9" * 30}, {"trade_status": "WAIT_BUYER_PAY"}, {"trade_status": "TRADE_CLOSED"}
UNPAID: dict[str, str | None] = dict.fromkeys(PAID)
VALID = [
    Case("as sent", with_()),
    Case("twice, one after the other", several({}, {})),
    Case("replayed 30 times at once", several(*[{}] * 30, at_once=True)),
    Case("told under two ids", several({}, AGAIN)),
    Case("told under ten ids at once", several(*({"notify_id": f"{number}" * 30} for number in range(10)), at_once=True)),
    Case("open before paid", several(OPEN | UNPAID | AGAIN, {})),
    Case("reordered: paid, then open", several({}, OPEN | UNPAID | AGAIN)),
    Case("closed before paid", several(CLOSED | UNPAID | AGAIN, {})),
    Case("closed unpaid after paid", several({}, CLOSED | UNPAID | AGAIN)),
    Case("finished instead of success", with_(trade_status="TRADE_FINISHED")),
    Case("success, then finished", several({}, AGAIN | {"trade_status": "TRADE_FINISHED"})),
    Case("days late", days_late),
    Case("a notice of long ago", with_(notify_time="2016-01-01 00:00:00", gmt_payment="2016-01-01 00:00:00")),
    Case("unknown fields", with_(brand_new="1", another="充值 + 100% & =")),
    Case("blank fields", with_(body="", buyer_id="", passback_params="", version="")),
    Case("a blank refund", with_(refund_fee="", gmt_refund="", out_biz_no="")),
    Case("a refund of nothing", with_(refund_fee="0.00")),
    Case("fields left out", with_(body=None, buyer_id=None, gmt_create=None, fund_bill_list=None, version=None, charset=None)),
    Case("no kind of notice", with_(notify_type=None)),
    Case("the amount without cents", with_(total_amount="36")),
    Case("the amount with one place", with_(total_amount="36.0")),
    Case("a coupon paid a part", with_(buyer_pay_amount="30.00", receipt_amount="35.00")),
    Case("the charset in capitals", with_(charset="UTF-8")),
    Case(
        "signed with its kind",
        signed_as(lambda told: told | {"sign_type": "RSA2", "sign": sign(text_to_sign(told | {"sign_type": "RSA2"}), OURS_AT_ALIPAY)}),
    ),
    Case("no kind of signature", signed_as(lambda told: told | {"sign": sign(text_to_sign(told), OURS_AT_ALIPAY)})),
    Case("in another order", raw(lambda body: b"&".join(sorted(body.split(b"&"), reverse=True)))),
    Case("a long subject", with_(subject="长" * 256)),
    Case("many fields", with_(**{f"extra_{number}": "1" for number in range(150)})),
]
INVALID = [
    # Forged and unsigned.
    Case("no signature", signed_as(lambda told: told | {"sign_type": "RSA2"}), **FORGED),
    Case("an empty signature", signed_as(lambda told: told | {"sign_type": "RSA2", "sign": ""}), **FORGED),
    Case("a word as signature", signed_as(lambda told: told | {"sign": "true"}), **FORGED),
    Case("a stranger's key", with_(STRANGER), **FORGED),
    Case("our own key", with_(OURS), **FORGED),
    Case("half a signature", raw(field("sign", lambda sign: sign[: len(sign) // 2])), **FORGED),
    Case("a longer signature", raw(field("sign", lambda sign: sign + "AAAA")), **FORGED),
    Case("the signature in small letters", raw(field("sign", str.lower)), **FORGED),
    Case("a digest as signature", signed_as(lambda told: told | {"sign": base64.b64encode(b"0" * 32).decode()}), **FORGED),
    Case("RSA with SHA-1", signed_as(sha1), **refused("charset or sign_type")),
    Case("no kind of signature that we take", signed_as(lambda told: told | {"sign_type": "MD5", "sign": "0" * 32}),
         **refused("charset or sign_type")),
    Case("an empty kind of signature", signed_as(lambda told: told | {"sign_type": "", "sign": sign(text_to_sign(told), OURS_AT_ALIPAY)}),
         **refused("charset or sign_type")),
    Case("another charset", with_(charset="GBK"), **refused("charset or sign_type")),
    Case("more money than was signed", raw(field("total_amount", lambda _: "3600.00")), **FORGED),
    Case("less money than was signed", raw(field("total_amount", lambda _: "0.01")), **FORGED),
    Case("another order than was signed", raw(field("out_trade_no", lambda order: order[::-1])), **FORGED),
    Case("another state than was signed", raw(field("trade_status", lambda _: "TRADE_FINISHED")), **FORGED),
    Case("a field more than was signed", raw(lambda body: body + b"&more=1"), **FORGED),
    Case("a blank field more than was signed", raw(lambda body: body + b"&more="), **FORGED),
    Case("a field less than was signed", raw(lambda body: body[body.index(b"&") + 1 :]), **FORGED),
    Case("decoded twice", raw(field("subject", quote)), **FORGED),
    Case("the rail is off", with_our_rail_off, why="callback_refused:off", statuses=frozenset({404})),
    Case("at another rail's address", to_stripe, **refused("signature")),
    # Not a form.
    Case("nothing", raw(lambda _: b""), **FORGED),
    Case("truncated", raw(lambda body: body[:-20]), **FORGED),
    Case("truncated in a field's name", raw(lambda body: body[: body.index(b"=")]), **refused("no form")),
    Case("no text", raw(lambda _: b"\xff\xfe"), **refused("no form")),
    Case("JSON", raw(lambda _: b'{"trade_status":"TRADE_SUCCESS"}'), **refused("no form")),
    Case("bytes that are no text", raw(lambda body: body + b"&x=%ff%fe"), **refused("no form")),
    Case("a field twice", raw(lambda body: body + b"&total_amount=36.00"), **refused("a field twice")),
    Case("a signature twice", raw(lambda body: body + b"&sign=x"), **refused("a field twice")),
    Case("too many fields", raw(lambda body: body + b"&a=1" * 300), **refused("no form")),
    Case("large", raw(lambda body: body + b"&a=" + b"x" * 70_000), **refused("too large")),
    Case("huge", raw(lambda body: body + b"&a=" + b"x" * 1024 * 1024), statuses=frozenset({413})),
    # Signed, and no payment.
    Case("another kind of notice", with_(notify_type="batch_refund_notify")),
    Case("still open", with_(**OPEN, **UNPAID)),
    Case("closed unpaid", with_(**CLOSED, **UNPAID)),
    Case("a state of the future", with_(trade_status="TRADE_PENDING")),
    Case("a state in small letters", with_(trade_status="trade_success")),
    Case("a refund without its sum", with_(gmt_refund="2026-09-24 12:00:00.320"), **refused("a refund without its sum")),
    Case("a refund before its payment", with_(refund_fee="36.00", gmt_refund="2026-09-24 12:00:00.320", out_biz_no="refund_1")),
    *(
        Case(f"no {name}", with_(**{name: value}), **refused(f"missing {name}"))
        for name, value in (("notify_id", None), ("app_id", None), ("seller_id", None), ("trade_no", None), ("out_trade_no", None),
                            ("trade_status", None), ("total_amount", None))
    ),
    *(
        Case(f"a blank {name}", with_(**{name: ""}), **refused(f"missing {name}"))
        for name in ("notify_id", "app_id", "seller_id", "trade_no", "out_trade_no", "total_amount")
    ),
    Case("too long an order", with_(out_trade_no="a" * 256), **refused("too long a name")),
    Case("too long a trade", with_(trade_no="1" * 256), **refused("too long a name")),
    # Another merchant, order, amount, rail.
    Case("another application", with_(app_id="2021000000000009"), why="payment_mismatch:seller"),
    Case("another seller", with_(seller_id="2088000000000009"), why="payment_mismatch:seller"),
    Case("a blank more in the seller", with_(seller_id="2088000000000001 "), why="payment_mismatch:seller"),
    Case("an unknown order", with_(out_trade_no="af" + "0" * 24), why="payment_foreign"),
    Case("an order of 255 letters", with_(out_trade_no="a" * 255), why="payment_foreign"),
    Case("an order with a zero byte", with_(out_trade_no="af\0"), **refused("an unreadable name")),
    Case("an id with a zero byte", with_(notify_id="1\0"), **refused("an unreadable name")),
    Case("another order", of_another_order, why="payment_mismatch:amount"),
    Case("an order of another rail", of_another_rail, why="payment_mismatch:rail"),
    *(
        Case(f"the amount {amount}", with_(total_amount=amount), why="payment_mismatch:amount")
        for amount in ("36.01", "35.99", "0.01", "0.00", "3600", "100000000.00")
    ),
    *(
        Case(f"the amount {amount!r}", with_(total_amount=amount), **refused("amount"))
        for amount in ("-36.00", "36.000", "36,00", "3.6e1", "NaN", "٣٦.00", " 36.00", "1000000000.00", "¥36.00")
    ),
    *(Case(f"a refund of {amount!r}", with_(refund_fee=amount), **refused("amount")) for amount in ("-1.00", "x", "1.234")),
]  # fmt: skip
CASES = [Case(each.name, each.act, credited=True) for each in VALID] + INVALID


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_notice_of_alipay(made: Rails, case: Case) -> None:
    payment = await made.begin("alipay", user=await made.stage.person(f"buyer of {case.name}"[:60]))
    await judge(made, payment, await made.trade_paid(payment), case)


async def test_the_table_is_long_enough() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 60
