"""Alipay's rail: what it believes, what it makes of it, and what it sends, over real sockets against the stand-in and canned answers."""

import base64
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat, load_der_private_key
from hypothesis import given
from hypothesis import strategies as st

from core.payments.rails import rsa2
from core.payments.rails.alipay_wire import MAX_AMOUNT, fen, read_answer, subject, yuan
from core.payments.rails.base import MAX_REFERENCE, BadSignature, RailAway, RailEvent, RailRefused, Refunding, Returned, Said
from sandbox.alipay_rules import key_pair, show_fen, sign, text_to_sign
from tests.providers.test_http import served as serving
from tests.sandbox.alipay_stage import MINUTE, NOON, Stage, served

KEY = """
MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQDKajRv1RqdZCKYgzSmrBuI0oQL7AavV/y8xAgkJkMyMq8oEUUttqnq8lWEl5vuSlGlGW75XOM5JEf1
ceq7405Ar+JhkXe+KC+OjEAa9+Fgkzy7UyQyX7qpxj0kpEptCTgTQu0grSwkkM8x8vqqxWJNvTnlLNSVFoYe/nWb9HXXSmI8YGPGVet7kUj00Zbi+LYQuniQ/G+ySIVO
11GzJBNquScpEnngCr6fKC6kfxZR6ROrIx5klgk43+T8pnsHwyQQIyFIiskPrRzjBECT8GYP9MU6sZjLo0XFWKc8ucHIh9FfZRmyVDBRNd/HTF67WrkzOz4AH96EVMA4
GTr7Xm2lAgMBAAECggEADKanfoTcdrwDNd00zXpXdzf8b6KnG/mdGYQ2uQxY1KVFJsqGNHBPUu37U9VGS5YCtSsE3ATcS8joJB+kVZgZnuKPUjH4Fgm8x9qdXWzNkzkT
SZGi+HCyFznavkn0FTgHX0bRJiLErfK3Yc5nWy8z23ApU0OidBYAuHpcH0JKb4lBa2/J+qbd+APudaBeG3GaSQNcgQZPcHY1ZerXwgZFeYmCn2HX3+qQcbCikoDNP/nT
Cz6inUoxMzvB76XNrFhmiWTI+RdaFMUomQ/L7QDnfB5b9BKotGN2693ipQYBBv/+xeRidsTm1UexsHXl5uD911qQkvko4j8XDTx3SisoyQKBgQDm+5FTuzTW5rkxy17q
yELfH4xnXMoVrDWh6ljN4ihDYaQHJgG7tJe3fAwHvNLo734tU6xr7G2BySWuva/kc09657ThI7A+KNKccgqNZOHUDGccW1b6edeqUJqf+yg8Ur15k02ydKgRh8LGsnbH
f+BS8EeYOGSj6FI8VdD4jUJ13QKBgQDgVopHFR99U4NcAX769/v+6ckYH1FucEf4Bl8mgkJrrgCBkEc4cVOkM47Mx0Ox4UkM3ih2dwD2eFbYDPhZb7lWrtG8bNpNeo3l
nkHRrMNNQjZ+11OHP9JTy9Cq+izZK/UIik6OlwHOCaD+qn9p4fM8xvnMPEGMMmt75m/0ebIOaQKBgQCKc5JpwRXsFoI9caykSIOk4HE1Z64ODZpcQm8WgZAmy3kZe9Og
IqCqL+W6IZm+XAeivbvlOONu3xYCRtsOsXubrRWDufOjXq7XbZgbprOiegi4O5vIKY53HTeB23cDqYi/Peddp4UydNDwbvq5nFHnBPW1LWBNyyy306ydv3Zt1QKBgAFo
KYfWlxL3IhzCmaRDR95KYwt2rtENfTYN/CzGpln8hl5JpFizRT4DYMLiAQetjQK6pfBQQL5K9Oh39FrDO5tSj1gqKphPy3IEMw94kOT8JFFZUlnHya7i2VUpKnzWLLw3
+dQlGErNfqf6M8BbPWZFLS3dtt+FNW1afZs/5CD5AoGBANbb3OGxKaUHs8TyWmk3jo/ot5Fo0XCPjCLgECFYg/y4RUnq83TUUVMGC7Qgfqsk0OrW6+SkCigZhRF9SdV8
dJTwv8yIcxv4AWQV5OHD5MlI+phB6xx0LE83sGLrVOG2SRyO+gQK+Fx8UESbwrhz7/W15rTmBLO3qLRe7M5OPDgR
"""
SIGNATURE = """
Ha9GS6FFLE62MP0uGRoRgT/dSAdwgUDLZLn6X7o2ds9u1rQPtvOhhS9kW3qu/2q7ch83mU7ZaHvP18RdBnkjzMtZEAIiiSAabPDZyoFcSRviXt/qxbCiZbLwMFkrozpa
OCwdmRirPSt/4q46SiryYd2z7VVnBjA1PGSWPc9lGHIrojTKBVjRAOdrCVa2bbYwDUurSwe6ajmmI4PIxr2ex6ktHaTfTO4Ll9XqjQWssZQ0sOGrKbqjZwN+VUdAhO5n
U97eShWhx15YWDBx6pNbc52TZg+okkwfCYNjeFXerL5frznqwzIgEvZeHdJ4vq/oQIP1PMe95CH4m4bWCAbLHw==
"""
MESSAGE = {"subject": "充值 100% + 5", "body": "", "app_id": "2021000000000001", "total_amount": "12.34"}

PAID = {
    "notify_type": "trade_status_sync",
    "notify_id": "2026092400222120000000001",
    "app_id": "2021000000000001",
    "charset": "utf-8",
    "version": "1.0",
    "seller_id": "2088000000000001",
    "trade_no": "2026092422001400000000000001",
    "out_trade_no": "order_1",
    "trade_status": "TRADE_SUCCESS",
    "total_amount": "12.34",
    "subject": "充值 100% + 5 & = %E4%BD%A0",
    "body": "",
    "passback_params": "a%3Db",
    "gmt_payment": "2026-09-24 12:00:00",
}
REFUNDED = PAID | {"refund_fee": "2.00", "gmt_refund": "2026-09-24 12:05:00.320", "out_biz_no": "refund_1"}
CLOSED = {name: value for name, value in PAID.items() if name != "gmt_payment"} | {"trade_status": "TRADE_CLOSED"}


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with served() as made:
        yield made


def signed(fields: dict[str, str], *, keep: bool = False, key: rsa.RSAPrivateKey | None = None, kind: str = "RSA2") -> dict[str, str]:
    """A notice as Alipay signs it, or with `sign_type` in the signed text."""
    content = fields | ({"sign_type": kind} if keep else {})
    return content | {"sign_type": kind, "sign": sign(text_to_sign(content), key or key_pair("alipay"))}


def form(fields: dict[str, str]) -> bytes:
    return urlencode(fields).encode()


def read(stage: Stage, body: bytes) -> RailEvent | None:
    return stage.rail().read({"content-type": "application/x-www-form-urlencoded"}, body, NOON)


# Signatures.


def test_a_known_answer() -> None:
    """Made with `openssl dgst -sha256 -sign`, from the text that Alipay's rules give."""
    content = "app_id=2021000000000001&body=&subject=充值 100% + 5&total_amount=12.34".encode()
    key, expected = rsa2.read_private_key(KEY, "X"), "".join(SIGNATURE.split())
    assert rsa2.joined(MESSAGE) == content
    assert rsa2.sign(content, key) == expected
    assert rsa2.is_signed(content, expected, key.public_key())
    assert not rsa2.is_signed(content + b" ", expected, key.public_key())
    assert not rsa2.is_signed(content, expected[:-4] + "AA==", key.public_key())
    for nonsense in ("", "!", "é", expected * 10, expected + "\n"):
        assert not rsa2.is_signed(content, nonsense, key.public_key())


def test_every_form_of_a_key() -> None:
    key = load_der_private_key(base64.b64decode(KEY), password=None)
    forms = [KEY, "".join(KEY.split())]
    for shape in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        pem = key.private_bytes(Encoding.PEM, shape, NoEncryption()).decode()
        bare = base64.b64encode(key.private_bytes(Encoding.DER, shape, NoEncryption())).decode()
        forms += [pem, pem.replace("\n", "\\n"), f"\n {pem}\n", bare]
    for form in forms:
        assert rsa2.sign(rsa2.joined(MESSAGE), rsa2.read_private_key(form, "X")) == "".join(SIGNATURE.split())
    for public in (PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1):
        pem = key.public_key().public_bytes(Encoding.PEM, public).decode()
        bare = base64.b64encode(key.public_key().public_bytes(Encoding.DER, public)).decode()
        for form in (pem, bare, pem.replace("\n", "\\n")):
            assert rsa2.is_signed(rsa2.joined(MESSAGE), "".join(SIGNATURE.split()), rsa2.read_public_key(form, "X"))


def pem_of(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


NO_KEYS: dict[str, Callable[[], str]] = {
    "empty": lambda: "",
    "blank": lambda: " ",
    "words": lambda: "secret-secret",
    "base64": lambda: "c2VjcmV0LXNlY3JldA==",
    "cut": lambda: KEY[:-100],
    "broken": lambda: "-----BEGIN PRIVATE KEY-----\nsecret-secret\n",
    "chinese": lambda: "密钥",
    "short": lambda: pem_of(rsa.generate_private_key(65_537, 1_024)),  # noqa: S505  # this is what is refused
    "curve": lambda: pem_of(ec.generate_private_key(ec.SECP256R1())),
}


@pytest.mark.parametrize("kind", NO_KEYS)
async def test_what_is_no_key_is_named_and_not_shown(kind: str, stage: Stage) -> None:
    text = NO_KEYS[kind]()
    for setting in ("private_key", "public_key"):
        with pytest.raises(ValueError, match=f"ALIPAY_{setting.upper()}") as caught:
            stage.rail(**{setting: text})
        assert caught.value.__context__ is None
        for line in text.split("\n"):
            assert not line.strip() or line not in str(caught.value)


async def test_a_rail_without_its_settings_does_not_come_up(stage: Stage) -> None:
    for setting, value in (("app_id", ""), ("seller_id", ""), ("gateway_url", ""), ("gateway_url", "ftp://x/"), ("app_id", "a b")):
        with pytest.raises(ValueError, match=f"ALIPAY_{setting.upper()}"):
            stage.rail(**{setting: value})
    own = key_pair("app").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    with pytest.raises(ValueError, match="ALIPAY_PUBLIC_KEY is the application's own"):
        stage.rail(public_key=own)
    shown = repr(vars(stage.rail()))
    assert stage.sandbox.app_private_key[40:80] not in shown


@pytest.mark.parametrize("keep", [False, True])
async def test_a_signed_notice_is_believed(stage: Stage, keep: bool) -> None:
    event = read(stage, form(signed(PAID, keep=keep)))
    assert event == RailEvent(
        PAID["notify_id"], Said.PAID, order="order_1", charge=PAID["trade_no"], amount=1_234, currency="CNY", total=None, ours=True
    )


async def test_a_notice_without_sign_type_is_believed(stage: Stage) -> None:
    fields = signed(PAID)
    del fields["sign_type"]
    assert read(stage, form(fields)) == read(stage, form(signed(PAID)))


@pytest.mark.parametrize("name", sorted({*PAID, "sign"}))
async def test_no_field_can_be_changed_dropped_or_emptied(stage: Stage, name: str) -> None:
    good = signed(PAID)
    changed: list[dict[str, str]] = [good | {name: good[name] + "0"}, {key: value for key, value in good.items() if key != name}]
    changed += [good | {name: ""}] if good[name] else []
    for fields in changed:
        with pytest.raises(BadSignature):
            read(stage, form(fields))


FORGERIES: dict[str, Callable[[], bytes]] = {
    "a field more": lambda: form(signed(PAID) | {"refund_fee": "1.00"}),
    "our own key": lambda: form(signed(PAID, key=key_pair("app"))),
    "somebody's key": lambda: form(signed(PAID, key=rsa.generate_private_key(65_537, 2_048))),
    "the old algorithm": lambda: form(signed(PAID, kind="RSA")),
    "the old algorithm, signed": lambda: form(signed(PAID, keep=True, kind="RSA")),
    "another charset": lambda: form(signed(PAID | {"charset": "GBK"})),
    "two signatures": lambda: form(signed(PAID)) + b"&sign=" + b"A" * 344,
    "two orders": lambda: form(signed(PAID)) + b"&out_trade_no=order_2",
    "two algorithms": lambda: form(signed(PAID)) + b"&sign_type=RSA2",
    "a plus sign not escaped": lambda: form(signed(PAID)).replace(b"%2B", b"+"),
    "decoded once before": lambda: form(signed(PAID)).replace(b"%25", b"%"),
    "a field without a value": lambda: form(signed(PAID)).replace(b"body=&", b"body&"),
    "too large": lambda: form(signed(PAID | {"body": "x" * 70_000})),
    "too many fields": lambda: form(signed(PAID | {f"field{number}": "" for number in range(200)})),
    "not UTF-8": lambda: form(signed(PAID)).replace(b"%E5", b"%FF"),
    "nothing": lambda: b"",
    "an empty signature": lambda: b"sign=",
    "bytes": lambda: b"\xff\xfe",
    "json": lambda: b'{"sign": "x"}',
}


@pytest.mark.parametrize("kind", FORGERIES)
async def test_anything_else_is_a_bad_signature(stage: Stage, kind: str) -> None:
    with pytest.raises(BadSignature):
        read(stage, FORGERIES[kind]())


@pytest.mark.parametrize("name", ["notify_id", "app_id", "seller_id", "trade_no", "out_trade_no", "trade_status", "total_amount"])
async def test_a_signed_notice_needs_its_fields(stage: Stage, name: str) -> None:
    with pytest.raises(BadSignature, match=name):
        read(stage, form(signed({key: value for key, value in PAID.items() if key != name})))
    with pytest.raises(BadSignature, match=name):
        read(stage, form(signed(PAID | {name: ""})))


@pytest.mark.parametrize(
    ("fields", "said", "amount", "total", "refund"),
    [
        (CLOSED | {"trade_status": "WAIT_BUYER_PAY"}, Said.PENDING, None, None, None),
        (PAID, Said.PAID, 1_234, None, None),
        (PAID | {"trade_status": "TRADE_FINISHED"}, Said.PAID, 1_234, None, None),
        (PAID | {"refund_fee": "0.00", "gmt_refund": "", "out_biz_no": ""}, Said.PAID, 1_234, None, None),
        (PAID | {"total_amount": "100000000"}, Said.PAID, MAX_AMOUNT, None, None),
        (REFUNDED, Said.REFUNDED, None, 200, "refund_1"),
        (REFUNDED | {"gmt_refund": ""}, Said.REFUNDED, None, 200, "refund_1"),
        (REFUNDED | {"trade_status": "TRADE_FINISHED"}, Said.REFUNDED, None, 200, "refund_1"),
        (REFUNDED | {"trade_status": "TRADE_CLOSED", "refund_fee": "12.34"}, Said.REFUNDED, None, 1_234, "refund_1"),
        (CLOSED, Said.EXPIRED, None, None, None),
        (CLOSED | {"gmt_close": "2026-09-24 12:30:00"}, Said.EXPIRED, None, None, None),
        (PAID | {"trade_status": "TRADE_CLOSED"}, Said.REFUNDED, None, 1_234, None),
        (CLOSED | {"gmt_refund": "2026-09-24 12:30:00"}, Said.REFUNDED, None, 1_234, None),
    ],
)
async def test_what_a_status_means(
    stage: Stage, fields: dict[str, str], said: Said, amount: int | None, total: int | None, refund: str | None
) -> None:
    event = read(stage, form(signed(fields)))
    assert event == RailEvent(
        PAID["notify_id"], said, "order_1", PAID["trade_no"], None, amount, "CNY", total, ours=True, thing=refund, refund=refund
    )


async def test_a_refund_without_its_sum_is_not_a_payment(stage: Stage) -> None:
    for status in ("TRADE_SUCCESS", "TRADE_FINISHED"):
        with pytest.raises(BadSignature, match="refund"):
            read(stage, form(signed(REFUNDED | {"refund_fee": "", "trade_status": status})))


@pytest.mark.parametrize("amount", ["12,34", "-12.34", "12.345", "1e3", "NaN", "１２.34", "100000000.01", " 12.34"])
async def test_what_is_no_amount_is_not_believed(stage: Stage, amount: str) -> None:
    for fields in (PAID | {"total_amount": amount}, REFUNDED | {"refund_fee": amount}):
        with pytest.raises(BadSignature, match="amount"):
            read(stage, form(signed(fields)))


async def test_what_is_of_no_concern(stage: Stage) -> None:
    assert read(stage, form(signed(PAID | {"trade_status": "TRADE_PENDING"}))) is None
    assert read(stage, form(signed({"notify_type": "dut_user_sign", "notify_id": "1"}))) is None


@pytest.mark.parametrize(("name", "value"), [("app_id", "2021000000000002"), ("seller_id", "2088000000000002")])
async def test_somebody_elses_notice_is_not_ours(stage: Stage, name: str, value: str) -> None:
    event = read(stage, form(signed(PAID | {name: value})))
    assert event is not None
    assert (event.ours, event.said, event.amount) == (False, Said.PAID, 1_234)


async def test_a_long_id_is_shortened_without_losing_its_identity(stage: Stage) -> None:
    ids = [f"{'9' * length}{end}" for length in (63, 64, 300) for end in "12"]
    events = [read(stage, form(signed(PAID | {"notify_id": long}))) for long in ids]
    names = [event.id for event in events if event is not None]
    assert names[:2] == ids[:2]
    assert len(set(names)) == 6 and all(len(name) <= 64 for name in names)
    with pytest.raises(BadSignature, match="too long"):
        read(stage, form(signed(PAID | {"trade_no": "1" * (MAX_REFERENCE + 1)})))


# Amounts and titles.


@given(st.integers(0, MAX_AMOUNT))
def test_amounts_survive_the_way_there_and_back(amount: int) -> None:
    assert fen(yuan(amount)) == amount
    assert yuan(amount) == show_fen(amount)


def test_amounts_as_they_are_written() -> None:
    written = {0: "0.00", 1: "0.01", 10: "0.10", 99: "0.99", 100: "1.00", 1_234: "12.34", MAX_AMOUNT: "100000000.00"}
    assert {amount: yuan(amount) for amount in written} == written
    assert [fen(text) for text in ("12", "12.3", "0.07", "12.", ".5", "", "１２", "12\n")] == [
        1_200,
        1_230,
        7,
        None,
        None,
        None,
        None,
        None,
    ]


def test_titles_that_alipay_takes() -> None:
    assert subject("500 Credits / 积分=5 & more\n\x00x") == "500 Credits 积分 5 more x"
    assert subject("长" * 300) == "长" * 256
    assert subject("\ud800 ok") == "? ok"
    assert subject("/&=") == ""


# Opening.


@pytest.mark.parametrize(
    ("way", "method", "product"),
    [
        ("page", "alipay.trade.page.pay", "FAST_INSTANT_TRADE_PAY"),
        ("phone", "alipay.trade.wap.pay", "QUICK_WAP_WAY"),
        ("unheard of", "alipay.trade.page.pay", "FAST_INSTANT_TRADE_PAY"),
    ],
)
async def test_an_address_to_pay_at(stage: Stage, way: str, method: str, product: str) -> None:
    checkout = stage.checkout(way=way, title="500 Credits / 积分 100% + 5")
    opened = await stage.rail().open(checkout)
    assert opened.code is None and opened.url is not None and opened.url.startswith(stage.sandbox.gateway_url + "?")
    fields = dict(parse_qsl(urlsplit(opened.url).query))
    content = json.loads(fields["biz_content"])
    assert (fields["method"], content["product_code"], content["goods_type"]) == (method, product, "0")
    assert (fields["timestamp"], content["time_expire"]) == ("2026-09-24 12:00:00", "2026-09-24 12:30:00")
    assert (fields["notify_url"], fields["return_url"]) == (checkout.notify_url, checkout.return_url)
    assert content.get("quit_url") == (checkout.return_url if way == "phone" else None)
    assert stage.sandbox.visit(opened.url) == "order_1"  # the stand-in checked the signature
    trade = stage.sandbox.trades["order_1"]
    assert (trade.total, trade.subject, trade.status) == (1_234, "500 Credits 积分 100% + 5", "WAIT_BUYER_PAY")
    assert await stage.rail().open(checkout) == opened
    assert stage.sandbox.calls == []  # nothing was sent


async def test_a_code_to_scan(stage: Stage) -> None:
    opened = await stage.rail().open(stage.checkout(way="code"))
    assert opened.url is None and opened.code is not None
    assert await stage.rail().ask("order_1", None) is None  # not before it is scanned
    assert stage.sandbox.visit(opened.code) == "order_1"
    assert await stage.rail().open(stage.checkout(way="code")) == opened
    assert len(stage.sandbox.trades) == 1
    stage.sandbox.pay("order_1")
    assert [event and event.said for event in await stage.events()] == [Said.PAID]
    with pytest.raises(RailRefused, match=r"ACQ\.TRADE_HAS_SUCCESS"):
        await stage.rail().open(stage.checkout(way="code"))


async def test_a_checkout_that_cannot_be(stage: Stage) -> None:
    good, rail = stage.checkout(), stage.rail()
    for problem, changed in (
        ("currency", {"currency": "USD"}),
        ("amount", {"amount": 0}),
        ("amount", {"amount": MAX_AMOUNT + 1}),
        ("expiry", {"expires_at": NOON + MINUTE - 1}),
        ("expiry", {"expires_at": NOON + 15 * 24 * 60 * MINUTE + 1_000_000}),
    ):
        with pytest.raises(RailRefused, match=problem):
            await rail.open(type(good)(**{name: getattr(good, name) for name in good.__dataclass_fields__} | changed))


# Asking, closing, giving back.


async def test_what_the_rail_is_told_when_it_asks(stage: Stage) -> None:
    rail, sandbox = stage.rail(), stage.sandbox
    assert await rail.ask("order_1", None) is None
    said: list[tuple[Said, int | None, int | None]] = []

    async def look() -> None:
        event = await rail.ask("order_1", None)
        assert event is not None
        assert (event.order, event.charge, event.currency, event.ours) == ("order_1", sandbox.trades["order_1"].trade_no, "CNY", True)
        assert event == await rail.ask("order_1", None)  # with the same id
        said.append((event.said, event.amount, event.total))

    await stage.opened()
    await look()
    sandbox.pay("order_1")
    await look()
    sandbox.give_back("order_1", 200)
    await look()  # a refund of a part does not show
    sandbox.complain("order_1")
    await look()
    assert said == [
        (Said.PENDING, None, None),
        (Said.PAID, 1_234, None),
        (Said.PAID, 1_234, None),
        (Said.REFUNDED, None, 1_234),
    ]
    stage.now += 31 * MINUTE
    assert await rail.ask("order_2", None) is None


async def test_an_order_that_nobody_paid_has_lapsed(stage: Stage) -> None:
    await stage.opened()
    stage.now += 31 * MINUTE
    event = await stage.rail().ask("order_1", None)
    assert event is not None and (event.said, event.total) == (Said.EXPIRED, None)
    assert [told and told.said for told in await stage.events()] == [Said.EXPIRED]


async def test_closing(stage: Stage) -> None:
    rail = stage.rail()
    await rail.close("order_1", None)  # nobody has opened it
    await stage.opened()
    await rail.close("order_1", None)
    await rail.close("order_1", None)
    assert stage.sandbox.trades["order_1"].status == "TRADE_CLOSED"
    for order, happened in (("order_2", ()), ("order_3", (500,)), ("order_4", (1_234,))):
        await stage.opened(order)
        stage.sandbox.pay(order)
        for amount in happened:
            stage.sandbox.give_back(order, amount)
        with pytest.raises(RailRefused, match="paid"):
            await rail.close(order, None)


def refunding(stage: Stage, amount: int, number: str = "refund_1") -> Refunding:
    trade = stage.sandbox.trades["order_1"]
    return Refunding(number, "order_1", trade.trade_no, amount, trade.total, "CNY", "a picture = too blurred / 模糊")


async def paid(stage: Stage) -> None:
    await stage.opened()
    stage.sandbox.pay("order_1")


async def test_money_goes_back_once_however_often_it_is_said(stage: Stage) -> None:
    await paid(stage)
    rail = stage.rail()
    for _ in range(3):
        assert await rail.refund(refunding(stage, 200)) is Returned.DONE
    assert await rail.refund(refunding(stage, 1_034, "refund_2")) is Returned.DONE
    assert await rail.refund(refunding(stage, 1_034, "refund_2")) is Returned.DONE  # of a trade that this very refund closed
    assert stage.sandbox.trades["order_1"].refunds == {"refund_1": 200, "refund_2": 1_034}
    events = [event for event in await stage.events() if event is not None]
    told = {(event.said, event.amount, event.total, event.refund, event.thing) for event in events}
    assert told == {
        (Said.PAID, 1_234, None, None, None),
        (Said.REFUNDED, None, 200, "refund_1", "refund_1"),
        (Said.REFUNDED, None, 1_234, "refund_2", "refund_2"),
    }


@pytest.mark.parametrize("kind", ["lost", "unsure", "forged", "unsigned"])
async def test_a_refund_without_a_clear_answer_is_repeated(stage: Stage, kind: str) -> None:
    await paid(stage)
    stage.sandbox.fail(kind, "alipay.trade.refund")
    with pytest.raises(RailAway):
        await stage.rail().refund(refunding(stage, 200))
    assert stage.sandbox.trades["order_1"].refunds == {"refund_1": 200}
    assert await stage.rail().refund(refunding(stage, 200)) is Returned.DONE
    assert stage.sandbox.trades["order_1"].refunds == {"refund_1": 200}


async def test_a_refund_that_alipay_does_not_give(stage: Stage) -> None:
    await paid(stage)
    rail = stage.rail()
    assert await rail.refund(refunding(stage, 1_235)) is Returned.REFUSED
    stage.sandbox.poor = True
    assert await rail.refund(refunding(stage, 200)) is Returned.REFUSED
    stage.sandbox.poor = False
    assert await rail.refund(refunding(stage, 200)) is Returned.DONE
    assert await rail.refund(refunding(stage, 201)) is Returned.REFUSED  # another sum under the same number
    stage.sandbox.finish("order_1")
    assert await rail.refund(refunding(stage, 300, "refund_2")) is Returned.REFUSED
    assert await rail.refund(refunding(stage, 200)) is Returned.DONE
    assert stage.sandbox.trades["order_1"].refunds == {"refund_1": 200}


# Answers that are none.


def answered(method: str, fields: dict[str, Any], *, text: str = "") -> str:
    """What Alipay answers, signed over the text as it stands."""
    content = text or json.dumps(fields, ensure_ascii=False)
    return f'{{"{method.replace(".", "_")}_response":{content},"sign":"{sign(content, key_pair("alipay"))}"}}'


async def with_answers(stage: Stage, body: str | bytes, status: int, act: str) -> RailEvent | Returned | None:
    """What the rail makes of a gateway that says this to everything."""

    async def handler(_request: web.Request) -> web.Response:
        return web.Response(body=body.encode() if isinstance(body, str) else body, status=status, content_type="text/html")

    async with serving(handler) as url:
        rail = stage.rail(gateway_url=f"{url}/gateway.do")
        if act == "refund":
            return await rail.refund(Refunding("refund_1", "order_1", "1", 200, 1_234, "CNY"))
        return await rail.ask("order_1", None)


QUERY = "alipay.trade.query"
GOOD = {"code": "10000", "out_trade_no": "order_1", "trade_no": "1", "trade_status": "TRADE_SUCCESS", "total_amount": "12.34"}


async def test_an_answer_is_checked_over_its_own_bytes(stage: Stage) -> None:
    text = '{ "code":"10000", "url":"https:\\/\\/x", "out_trade_no":"order_1","total_amount":12.340 ,'
    text += '"trade_no":"\\u0031","trade_status":"TRADE_SUCCESS","subject":"充值 \\"}, \\"sign\\":\\"x\\""}'
    text = text.replace("12.340", "12.34")
    event = await with_answers(stage, answered(QUERY, {}, text=text), 200, "ask")
    assert isinstance(event, RailEvent)
    assert (event.said, event.amount, event.charge) == (Said.PAID, 1_234, "1")


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        (('"12.34"', '"0.01"'), "bad signature"),
        (('{"code"', '{ "code"'), "bad signature"),
        (('"sign":"', '"sign":"A'), "bad signature"),
        (('"sign"', '"seal"'), "bad signature"),
        (('"sign"', '"sign":"","sign"'), "no answer"),
        (("alipay_trade_query_response", "alipay_trade_close_response"), "no answer"),
        (("}", ""), "no answer"),
        (('"sign"', '"sign":5,"other"'), "bad signature"),
    ],
)
async def test_an_answer_that_was_changed(stage: Stage, changed: tuple[str, str], problem: str) -> None:
    with pytest.raises(RailAway, match=problem):
        await with_answers(stage, answered(QUERY, GOOD).replace(*changed), 200, "ask")


@pytest.mark.parametrize(
    ("body", "status", "problem"),
    [
        ("", 200, "no answer"),
        ("[]", 200, "no answer"),
        ("{}", 200, "no answer"),
        ("[" * 100_000, 200, "too large|no answer"),
        ('{"a":' * 50_000, 200, "no answer"),
        ("<html>", 200, "no answer"),
        (b"\xff", 200, "UnicodeDecodeError"),
        ("x" * 300_000, 200, "too large"),
        ("busy", 502, "HTTP 502"),
        ("moved", 302, "HTTP 302"),
    ],
    ids=["empty", "list", "object", "deep list", "deep object", "page", "bytes", "large", "502", "302"],
)
async def test_nonsense_is_an_absence(stage: Stage, body: str | bytes, status: int, problem: str) -> None:
    with pytest.raises(RailAway, match=problem):
        await with_answers(stage, body, status, "ask")


@pytest.mark.parametrize(
    ("code", "sub_code", "error"),
    [
        ("20000", "isp.unknow-error", RailAway),
        ("20000", "aop.ACQ.SYSTEM_ERROR", RailAway),
        ("40004", "ACQ.SYSTEM_ERROR", RailAway),
        ("40004", "isp.bill-error", RailAway),
        ("40005", "isv.app-call-limited", RailAway),
        ("40004", "ACQ.ACCESS_FORBIDDEN", RailRefused),
        ("40006", "isv.insufficient-isv-permissions", RailRefused),
        ("40002", "isv.invalid-signature", RailRefused),
        ("10003", "", RailRefused),
    ],
)
async def test_a_refusal_keeps_its_code(stage: Stage, code: str, sub_code: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=sub_code or code):
        await with_answers(stage, answered(QUERY, {"code": code, "sub_code": sub_code, "sub_msg": "…"}), 200, "ask")


async def test_a_refusal_without_a_signature_is_told_and_not_believed(stage: Stage) -> None:
    for sub_code in ("ACQ.TRADE_NOT_EXIST", "isv.invalid-app-id"):
        with pytest.raises(RailAway, match=f"unsigned {sub_code}"):
            await with_answers(stage, f'{{"alipay_trade_query_response":{{"code":"40004","sub_code":"{sub_code}"}}}}', 200, "ask")
    with pytest.raises(RailAway, match=r"unsigned isv\.invalid-app-id"):
        await stage.rail(app_id="2021000000000009").ask("order_1", None)
    with pytest.raises(RailAway, match="unsigned unreadable"):
        await with_answers(stage, '{"error_response":{"code":"40004","sub_code":"<b>me</b>"}}', 200, "ask")


@pytest.mark.parametrize(
    "changed",
    [{"out_trade_no": "order_2"}, {"out_trade_no": ""}, {"trade_status": "TRADE_PENDING"}, {"total_amount": "x"}, {"trade_status": ""}],
)
async def test_an_answer_to_another_question(stage: Stage, changed: dict[str, str]) -> None:
    with pytest.raises(RailAway):
        await with_answers(stage, answered(QUERY, GOOD | changed), 200, "ask")


@pytest.mark.parametrize(
    ("found", "returned"),
    [
        ({"refund_status": "REFUND_SUCCESS", "refund_amount": "2.00"}, Returned.DONE),
        ({"refund_amount": "2.00"}, Returned.DONE),
        ({"refund_status": "REFUND_PROCESSING", "refund_amount": "2.00"}, Returned.PENDING),
        ({"refund_status": "REFUND_SUCCESS", "refund_amount": "1.00"}, Returned.PENDING),
        ({}, Returned.PENDING),
    ],
)
async def test_a_repeated_refund_is_done_when_it_is_found(stage: Stage, found: dict[str, str], returned: Returned) -> None:
    async def handler(request: web.Request) -> web.Response:
        method = request.query["method"]
        fields = {"code": "10000", "out_trade_no": "order_1"} | ({"fund_change": "N"} if method == "alipay.trade.refund" else found)
        return web.Response(text=answered(method, fields))

    async with serving(handler) as url:
        rail = stage.rail(gateway_url=f"{url}/gateway.do")
        assert await rail.refund(Refunding("refund_1", "order_1", "1", 200, 1_234, "CNY")) is returned


@pytest.mark.parametrize("kind", ["away", "bad_gateway", "lost", "forged", "unsigned"])
async def test_when_alipay_is_away(stage: Stage, kind: str) -> None:
    await stage.opened()
    stage.sandbox.fail(kind, times=3)
    rail = stage.rail()
    for call in (rail.ask("order_1", None), rail.close("order_1", None), rail.open(stage.checkout("order_2", way="code"))):
        with pytest.raises(RailAway) as caught:
            await call
        assert stage.sandbox.app_private_key[40:80] not in str(caught.value)
    event = await rail.ask("order_1", None)
    assert event is not None


async def test_when_nobody_listens(stage: Stage) -> None:
    async def handler(_request: web.Request) -> web.Response:
        return web.Response()

    async with serving(handler) as url:
        gone = url
    with pytest.raises(RailAway):
        await stage.rail(gateway_url=f"{gone}/gateway.do").ask("order_1", None)


def test_an_answer_is_cut_out_where_it_stands() -> None:
    text = ' {"a" : [1] ,\n"x_response":\t{"b":{"c":"}"} , "d":"e"} , "sign":"s"} '
    assert read_answer(text, "x_response") == ({"d": "e"}, b'{"b":{"c":"}"} , "d":"e"}', "s")
    inside = '{"y_response":{"x_response":{"d":"e"}},"sign":"s"}'
    with pytest.raises(RailAway):
        read_answer(inside, "x_response")
