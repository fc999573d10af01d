"""Every way in which a callback of Stripe can come: exactly the valid ones credit, once. On both databases, over the api's real socket."""

import asyncio
import copy
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
import pytest_asyncio

import demo
from sandbox.stripe_events import signature
from tests.payments.cases import Case, Try, a_table, judge
from tests.payments.rails_stage import Rails

pytestmark = pytest.mark.asyncio(loop_scope="module")
DROP = object()
OBJECT = "data.object."
SECRET = demo.STRIPE_SECRET
Header = Callable[[bytes, int], str]
Body = Callable[[bytes], bytes]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["sqlite", "postgresql"])
async def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rails]:
    async with a_table(request, tmp_path_factory.mktemp("stripe")) as opened:
        yield opened


def put(told: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """A copy with another value at a dotted path; DROP takes it out."""
    changed = copy.deepcopy(told)
    *way, last = path.split(".")
    here = changed
    for name in way:
        here = here[name]
    if value is DROP:
        here.pop(last, None)
    else:
        here[last] = value
    return changed


def with_(*changes: tuple[str, object]) -> Callable[[Try], Any]:
    """One event with these values, signed as it should be."""

    async def act(its: Try) -> Sequence[int]:
        told = its.told
        for path, value in changes:
            told = put(told, path, value)
        return [await its.made.stripe(told)]

    return act


def raw(body: Body = lambda body: body, header: Header | None = None) -> Callable[[Try], Any]:
    """The event's bytes changed, and then signed; or with a header of its own over the bytes before the change."""

    async def act(its: Try) -> Sequence[int]:
        good, now = json.dumps(its.told).encode(), int(time.time())
        sent = body(good)
        return [await its.made.stripe(sent, signature(sent, [SECRET], now) if header is None else header(good, now))]

    return act


def mac(body: bytes, at: object, secret: str = SECRET, algorithm: Any = hashlib.sha256) -> str:
    return hmac.new(secret.encode(), f"{at}.".encode() + body, algorithm).hexdigest()


def signed_at(shift: int) -> Callable[[Try], Any]:
    return raw(header=lambda body, now: signature(body, [SECRET], now + shift))


def stamped(at: object) -> Callable[[Try], Any]:
    """Signed over a time that is none."""
    return raw(header=lambda body, _: f"t={at},v1={mac(body, at)}")


def several(*makes: Callable[[Try], dict[str, Any]], at_once: bool = False) -> Callable[[Try], Any]:
    """Several events, in this order or all at once."""

    async def act(its: Try) -> Sequence[int]:
        calls = [its.made.stripe(make(its)) for make in makes]
        return await asyncio.gather(*calls) if at_once else [await call for call in calls]

    return act


def also(name: str, kind: str = "checkout.session.completed", **values: object) -> Callable[[Try], dict[str, Any]]:
    """Another event about the same session."""

    def make(its: Try) -> dict[str, Any]:
        told = put(put(its.told, "id", f"{its.told['id']}{name}"), "type", kind)
        for field, value in values.items():
            told = put(told, OBJECT + field, value)
        return told

    return make


def same(its: Try) -> dict[str, Any]:
    return its.told


async def of_another_order(its: Try) -> Sequence[int]:
    """It names an order of somebody else's that costs more."""
    other = await its.made.begin("stripe", "medium", await its.made.stage.person(f"else{its.payment.id}"))
    status = await its.made.stripe(put(its.told, OBJECT + "client_reference_id", other.order))
    assert (await its.made.payment(other.id)).problem == "amount"
    return [status]


async def of_another_rail(its: Try) -> Sequence[int]:
    """It names an order that is to be paid at Alipay."""
    other = await its.made.begin("alipay", "small", await its.made.stage.person(f"else{its.payment.id}"))
    status = await its.made.stripe(put(its.told, OBJECT + "client_reference_id", other.order))
    assert (await its.made.payment(other.id)).problem == "rail"
    return [status]


async def with_our_rail_off(its: Try) -> Sequence[int]:
    """Without a secret the rail is off, and an event that is signed with nothing is nobody's."""
    real, its.made.app.rails = its.made.app.rails, {}
    try:
        return [await its.made.stripe(its.told, secret=secret) for secret in (SECRET, "")]
    finally:
        its.made.app.rails = real


async def days_late(its: Try) -> Sequence[int]:
    """Signed anew, as Stripe signs each repetition."""
    await its.made.age(3)
    return [await its.made.stripe(its.told)]


async def replayed_days_later(its: Try) -> Sequence[int]:
    """The first bytes again, when their signature is old."""
    body = json.dumps(its.told).encode()
    return [await its.made.stripe(body, signature(body, [SECRET], int(time.time()) - 3 * 86_400))]


REFUSED, TIME, HEADER = "callback_refused:signature", "callback_refused:time", "callback_refused:header"
NO, BIG = frozenset({403}), frozenset({413})
UNPAID = {"payment_status": "unpaid"}
VALID = [
    Case("as sent", with_()),
    Case("twice, one after the other", several(same, same)),
    Case("replayed 30 times at once", several(*[same] * 30, at_once=True)),
    Case("told under two ids", several(same, also("b"))),
    Case("told under ten ids at once", several(*(also(str(number)) for number in range(10)), at_once=True)),
    Case("unpaid first, the money later", several(also("a", **UNPAID), also("b", "checkout.session.async_payment_succeeded"))),
    Case("reordered: the money, then unpaid", several(also("b", "checkout.session.async_payment_succeeded"), also("a", **UNPAID))),
    Case("expired before paid", several(also("x", "checkout.session.expired", **UNPAID), same)),
    Case("expired after paid", several(same, also("x", "checkout.session.expired", **UNPAID))),
    Case("failed before paid", several(also("x", "checkout.session.async_payment_failed", **UNPAID), same)),
    Case("failed after paid", several(same, also("x", "checkout.session.async_payment_failed", **UNPAID))),
    Case("days late", days_late),
    Case("an event of long ago, signed now", with_(("created", 1))),
    Case("unknown fields", with_(("brand_new", {"a": [1]}), (OBJECT + "brand_new", "x" * 1_000))),
    Case("blank fields", with_((OBJECT + "customer_email", ""), (OBJECT + "customer", ""), ("api_version", ""))),
    Case("fields of nothing", with_((OBJECT + "metadata", None), (OBJECT + "customer", None), ("request", None))),
    Case("fields left out", with_(("api_version", DROP), ("created", DROP), (OBJECT + "metadata", DROP), (OBJECT + "status", DROP))),
    Case("the order in the metadata alone", with_((OBJECT + "client_reference_id", None))),
    Case("the payment expanded", lambda its: with_((OBJECT + "payment_intent", {"id": its.told["data"]["object"]["payment_intent"]}))(its)),
    Case("the currency in capitals", with_((OBJECT + "currency", "USD"))),
    Case("written over many lines", raw(lambda body: json.dumps(json.loads(body), indent=8).encode())),
    Case("while the secret is rolled", raw(header=lambda body, now: signature(body, ["whsec_new", SECRET], now))),
    Case("with a worthless v0 too", raw(header=lambda body, now: f"v0=00,{signature(body, [SECRET], now)},v2=zz")),
    Case("as old as is allowed", signed_at(-295)),
    Case("as new as is allowed", signed_at(+295)),
    Case("just under the largest size", raw(lambda body: body[:-1] + b" " * (1024 * 1024 - len(body)) + b"}")),
]
INVALID = [
    # Forged and unsigned.
    Case("no signature", raw(header=lambda _, __: ""), why=REFUSED, statuses=NO),
    Case("a word as signature", raw(header=lambda _, __: "true"), why=REFUSED, statuses=NO),
    Case("a signature of nothing", raw(header=lambda _, now: f"t={now},v1="), why=REFUSED, statuses=NO),
    Case("only a time", raw(header=lambda _, now: f"t={now}"), why=REFUSED, statuses=NO),
    Case("no time", raw(header=lambda body, now: f"v1={mac(body, now)}"), why=REFUSED, statuses=NO),
    Case("only v0", raw(header=lambda body, now: f"t={now},v0={mac(body, now)}"), why=REFUSED, statuses=NO),
    Case("another secret", raw(header=lambda body, now: signature(body, ["whsec_other"], now)), why=REFUSED, statuses=NO),
    Case("an empty secret", raw(header=lambda body, now: signature(body, [""], now)), why=REFUSED, statuses=NO),
    Case("the word None as secret", raw(header=lambda body, now: signature(body, ["None"], now)), why=REFUSED, statuses=NO),
    Case("the secret key as secret", raw(header=lambda body, now: signature(body, [demo.STRIPE_KEY], now)), why=REFUSED, statuses=NO),
    Case("half a signature", raw(header=lambda body, now: f"t={now},v1={mac(body, now)[:32]}"), why=REFUSED, statuses=NO),
    Case("SHA-1", raw(header=lambda body, now: f"t={now},v1={mac(body, now, algorithm=hashlib.sha1)}"), why=REFUSED, statuses=NO),
    Case("SHA-512", raw(header=lambda body, now: f"t={now},v1={mac(body, now, algorithm=hashlib.sha512)}"), why=REFUSED, statuses=NO),
    Case("in capitals", raw(header=lambda body, now: f"t={now},v1={mac(body, now).upper()}"), why=REFUSED, statuses=NO),
    Case("signed without the time", raw(header=lambda body, now: f"t={now},v1={hmac.digest(SECRET.encode(), body, 'sha256').hex()}"),
         why=REFUSED, statuses=NO),
    Case("letters beyond ASCII", raw(header=lambda body, now: f"t={now},v1={mac(body, now)},é=1"), why=HEADER, statuses=NO),
    Case("another time than was signed", raw(header=lambda body, now: f"t={now},v1={mac(body, now - 1)}"), why=REFUSED, statuses=NO),
    Case("a word as time", stamped("now"), why=REFUSED, statuses=NO),
    Case("no number as time", stamped("1.5"), why=REFUSED, statuses=NO),
    Case("the beginning of time", stamped(0), why=TIME, statuses=NO),
    Case("before the beginning of time", stamped(-5), why=TIME, statuses=NO),
    Case("the end of time", stamped(10**18), why=TIME, statuses=NO),
    Case("too old", signed_at(-320), why=TIME, statuses=NO),
    Case("of the future", signed_at(+320), why=TIME, statuses=NO),
    Case("replayed days later", replayed_days_later, why=TIME, statuses=NO),
    Case("the rail is off", with_our_rail_off, why="callback_refused:off", statuses=frozenset({404})),
    # Other bytes than were signed.
    Case("more money than was signed", raw(lambda body: body.replace(b'500', b'501'), lambda body, now: signature(body, [SECRET], now)),
         why=REFUSED, statuses=NO),
    Case("a blank more than was signed", raw(lambda body: body + b" ", lambda body, now: signature(body, [SECRET], now)),
         why=REFUSED, statuses=NO),
    Case("truncated", raw(lambda body: body[:-10], lambda body, now: signature(body, [SECRET], now)), why=REFUSED, statuses=NO),
    Case("nothing", raw(lambda _: b"", lambda body, now: signature(body, [SECRET], now)), why=REFUSED, statuses=NO),
    # Signed, and no event.
    Case("truncated and signed", raw(lambda body: body[:-10]), why=REFUSED, statuses=NO),
    Case("nothing, signed", raw(lambda _: b""), why=REFUSED, statuses=NO),
    Case("no text, signed", raw(lambda _: b"\xff\xfe\x00"), why=REFUSED, statuses=NO),
    Case("no JSON, signed", raw(lambda _: b"payment=1"), why=REFUSED, statuses=NO),
    Case("endlessly deep, signed", raw(lambda _: b"[" * 200_000), why=REFUSED, statuses=NO),
    Case("a list, signed", raw(lambda body: b"[" + body + b"]")),
    Case("huge", raw(lambda body: body + b" " * (1024 * 1024)), statuses=BIG),
    # Of no concern.
    Case("another kind", with_(("type", "payment_intent.succeeded"))),
    Case("no kind", with_(("type", None))),
    Case("a kind with a blank", with_(("type", "checkout.session.completed "))),
    Case("no event", with_(("object", "list"))),
    Case("no id", with_(("id", DROP))),
    Case("an empty id", with_(("id", ""))),
    Case("an id that is none", with_(("id", 5))),
    Case("an id that is too long", with_(("id", "evt_" + "x" * 80))),
    Case("an id with a zero byte", with_(("id", "evt_\0"))),
    Case("no data", with_(("data", None))),
    Case("no object", with_(("data", {"object": []}))),
    Case("a subscription", with_((OBJECT + "mode", "subscription"))),
    Case("not paid", with_((OBJECT + "payment_status", "unpaid"))),
    Case("paid in capitals", with_((OBJECT + "payment_status", "PAID"))),
    Case("no word on whether it is paid", with_((OBJECT + "payment_status", DROP))),
    # Another merchant, order, amount, currency, rail.
    Case("live instead of test", with_(("livemode", True)), why="payment_mismatch:seller"),
    Case("neither live nor test", with_(("livemode", None)), why="payment_mismatch:seller"),
    Case("of a connected account", with_(("account", "acct_other")), why="payment_mismatch:seller"),
    Case("an unknown order", with_((OBJECT + "client_reference_id", "af" + "0" * 24)), why="payment_foreign"),
    Case("no order", with_((OBJECT + "client_reference_id", ""), (OBJECT + "metadata", {}))),
    Case("an order that is none", with_((OBJECT + "client_reference_id", 7))),
    Case("an order that is too long", with_((OBJECT + "client_reference_id", "a" * 33))),
    Case("an order with a zero byte", with_((OBJECT + "client_reference_id", "af\0"))),
    Case("another order", of_another_order, why="payment_mismatch:amount"),
    Case("an order of another rail", of_another_rail, why="payment_mismatch:rail"),
    *(
        Case(f"the amount {amount!r}", with_((OBJECT + "amount_total", amount)), why="payment_mismatch:amount")
        for amount in (501, 499, 1, 0, -500, 500.0, "500", None, True, [500], 10**30)
    ),
    *(
        Case(f"the currency {currency!r}", with_((OBJECT + "currency", currency)), why=f"payment_mismatch:{problem}")
        for currency, problem in (("eur", "currency"), ("cny", "currency"), ("usd ", "currency"), ("xtr", "currency"), ("", "amount"),
                                  (None, "amount"), (840, "amount"))
    ),
    *(
        Case(f"the charge {charge!r}", with_((OBJECT + "payment_intent", charge)), why="payment_mismatch:amount")
        for charge in (None, "", 5, {"id": ""})
    ),
]  # fmt: skip
CASES = [Case(each.name, each.act, credited=True) for each in VALID] + INVALID


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_callback_of_stripe(made: Rails, case: Case) -> None:
    payment = await made.begin("stripe", user=await made.stage.person(f"buyer of {case.name}"[:60]))
    await judge(made, payment, await made.session_paid(payment), case)


async def test_the_table_is_long_enough() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 60
