"""Every way in which word of a Stars payment can come: by the webhook, and by Telegram's list. Exactly the valid ones credit, once.

Over the api's real socket into the inbox, and out of it through the bot's own handlers. On both databases.
"""

import asyncio
import copy
import itertools
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pytest
import pytest_asyncio
from pydantic import SecretStr

from bots.chat.chat import SENTENCES, Chat
from bots.telegram.runner import TelegramRunner
from bots.telegram.store import InboxStore
from core.payments.rails.stars import Move, StarsRail
from core.words import Words
from tests.payments.cases import Case, Try, a_table, judge
from tests.payments.rails_stage import TELEGRAM_SECRET, Rails

pytestmark = pytest.mark.asyncio(loop_scope="module")
HEADER = "X-Telegram-Bot-Api-Secret-Token"
PAYMENT = "message.successful_payment."
DROP = object()
NUMBERS: tuple[Any, ...] = (None, "", "one", [], {}, float("inf"), float("nan"))
_numbers = itertools.count(1)


@dataclass
class Stars:
    """The market, and the bot's half of it without its loops."""

    made: Rails
    runner: TelegramRunner
    store: InboxStore

    async def drain(self) -> None:
        """Handles what waits in the inbox; what cannot be handled is named in the log, and leaves the table."""
        while taken := await self.store.take(100):
            for event_id, raw in taken:
                await self.runner._handle_one(event_id, raw)
                await self.store.drop(event_id)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["sqlite", "postgresql"])
async def stars(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stars]:
    async with a_table(request, tmp_path_factory.mktemp("stars")) as made:
        settings, store = made.app.settings, InboxStore(made.app)
        token = settings.telegram_token.get_secret_value()
        runner = TelegramRunner(Chat(made.app, Words(SENTENCES)), store, token=token, api_url=settings.telegram_api_url)
        await runner._bot.initialize()
        yield Stars(made, runner, store)
        await runner._bot.shutdown()


def paid_update(order: str, amount: int, person: int = 1001) -> dict[str, Any]:
    """What Telegram says of a payment. https://core.telegram.org/bots/api#successfulpayment"""
    number = next(_numbers)
    who = {"id": person, "is_bot": False, "first_name": "Ada"}
    paid = {
        "currency": "XTR", "total_amount": amount, "invoice_payload": order, "telegram_payment_charge_id": f"stx{number}" + "A1b_" * 40,
        "provider_payment_charge_id": f"{person}_{number}",
    }  # fmt: skip
    chat = {"id": person, "type": "private", "first_name": "Ada"}
    message = {"message_id": number, "date": 1_795_600_000, "chat": chat, "from": who, "successful_payment": paid}
    return {"update_id": 700_000_000 + number, "message": message}


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


async def post(its: Try, told: dict[str, Any] | bytes, headers: dict[str, str] | None = None) -> int:
    body = told if isinstance(told, bytes) else json.dumps(told).encode()
    return await its.made.post("telegram", body, {HEADER: TELEGRAM_SECRET} if headers is None else headers)


def with_(*changes: tuple[str, object]) -> Callable[[Try], Any]:
    """One update with these values."""

    async def act(its: Try) -> Sequence[int]:
        told = its.told
        for path, value in changes:
            told = put(told, path, value)
        return [await post(its, told)]

    return act


def paying(**values: object) -> Callable[[Try], Any]:
    """One update whose payment has these values."""
    return with_(*((PAYMENT + name, value) for name, value in values.items()))


def behind(headers: dict[str, str]) -> Callable[[Try], Any]:
    """The valid update with other headers."""

    async def act(its: Try) -> Sequence[int]:
        return [await post(its, its.told, headers)]

    return act


def raw(change: Callable[[bytes], bytes]) -> Callable[[Try], Any]:
    """The update's bytes changed."""

    async def act(its: Try) -> Sequence[int]:
        return [await post(its, change(json.dumps(its.told).encode()))]

    return act


def moved(kind: str) -> Callable[[Try], Any]:
    """The payment stands where Telegram does not put one."""

    async def act(its: Try) -> Sequence[int]:
        told = {"update_id": its.told["update_id"], kind: its.told["message"]}
        return [await post(its, told)]

    return act


def several(*shifts: int, at_once: bool = False) -> Callable[[Try], Any]:
    """The payment under so many update ids, counted from its own."""

    async def act(its: Try) -> Sequence[int]:
        calls = [post(its, put(its.told, "update_id", its.told["update_id"] + 10_000_000 * shift)) for shift in shifts]
        return await asyncio.gather(*calls) if at_once else [await call for call in calls]

    return act


class Listed:
    """The Bank of a list with one movement."""

    def __init__(self, move: Move) -> None:
        self._move = move

    async def refund(self, user_external_id: str, charge: str) -> Literal["done", "refused"]:
        """Nothing goes back here."""
        return "refused"

    async def transactions(self, offset: int, limit: int) -> Sequence[Move]:
        """All there is."""
        return [self._move]


async def read_list(its: Try, **changes: Any) -> None:
    """The payment in Telegram's list of transactions."""
    paid = its.told["message"]["successful_payment"]
    facts = {"id": paid["telegram_payment_charge_id"], "order": paid["invoice_payload"], "amount": paid["total_amount"]}
    events, _ = await StarsRail(Listed(Move(**(facts | {"direction": "in", "user": "1001", "at": 1} | changes)))).missed(0)
    for event in events:
        await its.made.app.receive("stars", event)


def listed(*steps: str, **changes: Any) -> Callable[[Try], Any]:
    """By the list ("l") and by update ("u"), in this order; "+" both at once."""

    async def act(its: Try) -> Sequence[int]:
        for step in steps:
            if step == "+":
                await asyncio.gather(post(its, its.told), read_list(its, **changes), read_list(its, **changes))
            elif step == "l":
                await read_list(its, **changes)
            else:
                await post(its, its.told)
        return [200]

    return act


async def days_late(its: Try) -> Sequence[int]:
    await its.made.age(30)
    return [await post(its, its.told)]


async def of_another_order(its: Try) -> Sequence[int]:
    other = await its.made.begin("stars", "medium", await its.made.stage.person(f"else{its.payment.id}"))
    return [await post(its, put(its.told, PAYMENT + "invoice_payload", other.order))]


async def of_another_rail(its: Try) -> Sequence[int]:
    other = await its.made.begin("stripe", "small", await its.made.stage.person(f"else{its.payment.id}"))
    return [await post(its, put(its.told, PAYMENT + "invoice_payload", other.order))]


async def with_no_secret_set(its: Try) -> Sequence[int]:
    """Without a secret the route is off, whatever is shown to it."""
    settings = its.made.app.settings
    kept, settings.telegram_webhook_secret = settings.telegram_webhook_secret, SecretStr("")
    try:
        return [await post(its, its.told, headers) for headers in ({}, {HEADER: ""}, {HEADER: TELEGRAM_SECRET})]
    finally:
        settings.telegram_webhook_secret = kept


async def secret_in_the_address(its: Try) -> Sequence[int]:
    body = json.dumps(its.told).encode()
    return [await its.made.post(f"telegram?secret_token={TELEGRAM_SECRET}", body)]


async def only_asked(its: Try) -> Sequence[int]:
    """The question before a payment is no payment."""
    paid = its.told["message"]["successful_payment"]
    query = {"id": "1", "from": its.told["message"]["from"], "currency": "XTR", "total_amount": paid["total_amount"]}
    told = {"update_id": its.told["update_id"], "pre_checkout_query": query | {"invoice_payload": paid["invoice_payload"]}}
    return [await post(its, told)]


async def given_back_only(its: Try) -> Sequence[int]:
    """A refund whose payment nobody told."""
    message = {name: value for name, value in its.told["message"].items() if name != "successful_payment"}
    told = {"update_id": its.told["update_id"], "message": message | {"refunded_payment": its.told["message"]["successful_payment"]}}
    return [await post(its, told)]


async def a_talk_about_it(its: Try) -> Sequence[int]:
    """Somebody replies to the message that told of the payment."""
    message = {name: value for name, value in its.told["message"].items() if name != "successful_payment"}
    told = {"update_id": its.told["update_id"], "message": message | {"text": "paid!", "reply_to_message": its.told["message"]}}
    return [await post(its, told)]


def refused(problem: str, *statuses: int) -> dict[str, Any]:
    return {"why": f"callback_refused:{problem}", "statuses": frozenset(statuses)}


SECRET, NO_UPDATE = refused("secret", 403), refused("no update", 400)
AMOUNT, CURRENCY, BROKEN = "payment_mismatch:amount", "payment_mismatch:currency", "an update was not handled:TypeError"
VALID = [
    Case("as sent", with_()),
    Case("twice, one after the other", several(0, 0)),
    Case("replayed 30 times at once", several(*[0] * 30, at_once=True)),
    Case("under two ids", several(0, 1)),
    Case("under ten ids at once", several(*range(10), at_once=True)),
    Case("under a lower id later", several(2, 1, 0)),
    Case("by the list alone", listed("l")),
    Case("by the list twice", listed("l", "l")),
    Case("by update, then by the list", listed("u", "l")),
    Case("by the list, then by update", listed("l", "u")),
    Case("by both at once", listed("+")),
    Case("by the list with nobody's name", listed("l", user=None)),
    Case("days late", days_late),
    Case("of long ago", with_(("message.date", 1))),
    Case("paid by somebody else", with_(("message.from.id", 4_242), ("message.chat.id", 4_242))),
    Case("in a group", with_(("message.chat", {"id": -100_1, "type": "supergroup", "title": "Club"}))),
    Case("from nobody", with_(("message.from", DROP))),
    Case("unknown fields", with_(("brand_new", 1), ("message.brand_new", {}), (PAYMENT + "brand_new", [1]))),
    Case(
        "blank fields",
        with_(("message.from.last_name", ""), ("message.from.language_code", ""), (PAYMENT + "provider_payment_charge_id", "")),
    ),
    Case("a short charge", paying(telegram_payment_charge_id="c1")),
    Case("the longest charge", paying(telegram_payment_charge_id="x" * 255)),
    Case("the currency in small letters", paying(currency="xtr")),
    Case("as a subscription's first", paying(is_recurring=True, is_first_recurring=True, subscription_expiration_date=1_800_000_000)),
    Case("written over many lines", raw(lambda body: json.dumps(json.loads(body), indent=8).encode())),
    Case("with signs of other alphabets", with_(("message.from.first_name", "阿达 🦊 \u202e"))),
]
INVALID = [
    # Forged and unsigned.
    Case("no secret", behind({}), **SECRET),
    Case("an empty secret", behind({HEADER: ""}), **SECRET),
    Case("another secret", behind({HEADER: "x" * len(TELEGRAM_SECRET)}), **SECRET),
    Case("half the secret", behind({HEADER: TELEGRAM_SECRET[:10]}), **SECRET),
    Case("more than the secret", behind({HEADER: TELEGRAM_SECRET + "x"}), **SECRET),
    Case("the secret in capitals", behind({HEADER: TELEGRAM_SECRET.upper()}), **SECRET),
    Case("the secret twice", behind({HEADER: f"{TELEGRAM_SECRET},{TELEGRAM_SECRET}"}), **SECRET),
    Case("the secret as a bearer's", behind({"Authorization": f"Bearer {TELEGRAM_SECRET}"}), **SECRET),
    Case("the bot's token as secret", behind({HEADER: "1:demo"}), **SECRET),
    Case("letters beyond ASCII", behind({HEADER: "ключ"}), **SECRET),
    Case("a long secret", behind({HEADER: "x" * 4_000}), **SECRET),
    Case("the secret in the address", secret_in_the_address, **SECRET),
    Case("no secret is set", with_no_secret_set, **refused("off", 404)),
    # No update.
    Case("nothing", raw(lambda _: b""), **NO_UPDATE),
    Case("truncated", raw(lambda body: body[:-1]), **NO_UPDATE),
    Case("truncated early", raw(lambda body: body[:20]), **NO_UPDATE),
    Case("no text", raw(lambda _: b"\xff\xfe"), **NO_UPDATE),
    Case("a form", raw(lambda _: b"update_id=1"), **NO_UPDATE),
    Case("a list", raw(lambda body: b"[" + body + b"]"), **NO_UPDATE),
    Case("a number", raw(lambda _: b"7"), **NO_UPDATE),
    Case("endlessly deep", raw(lambda _: b"[" * 100_000), **NO_UPDATE),
    Case("huge", raw(lambda body: body + b" " * 1024 * 1024), statuses=frozenset({413})),
    Case("no update id", with_(("update_id", DROP)), **NO_UPDATE),
    *(
        Case(f"the update id {number!r}", with_(("update_id", number)), **NO_UPDATE)
        for number in NUMBERS
    ),
    # No payment.
    Case("only the question", only_asked),
    Case("only its refund", given_back_only),
    Case("a reply to it", a_talk_about_it),
    Case("as an edit", moved("edited_message")),
    Case("as a post of a channel", moved("channel_post")),
    Case("as a kind of the future", moved("brand_new")),
    Case("going out in the list", listed("l", direction="out")),
    Case("without an order in the list", listed("l", order=None)),
    # Another order, amount, currency, rail; and what cannot be read.
    Case("an unknown order", paying(invoice_payload="af" + "0" * 24), why="payment_foreign"),
    Case("a long order", paying(invoice_payload="a" * 128), why="payment_foreign"),
    Case("an order of somebody's number", paying(invoice_payload="1001:7"), why="payment_foreign"),
    Case("an unknown order in the list", listed("l", order="af" + "1" * 24), why="payment_foreign"),
    Case("another order", of_another_order, why=AMOUNT),
    Case("an order of another rail", of_another_rail, why="payment_mismatch:rail"),
    *(Case(f"the amount {amount!r}", paying(total_amount=amount), why=AMOUNT) for amount in (401, 399, 1, 0, -400, "400", 400.5, None)),
    *(Case(f"{amount} in the list", listed("l", amount=amount), why=AMOUNT) for amount in (399, 401)),
    *(Case(f"the currency {currency}", paying(currency=currency), why=CURRENCY) for currency in ("USD", "CNY", "XTR ", "TON", "")),
    Case("no charge", paying(telegram_payment_charge_id=""), why=AMOUNT),
    *(
        Case(f"without {name}", paying(**{name: DROP}), why=BROKEN)
        for name in ("currency", "total_amount", "invoice_payload", "telegram_payment_charge_id", "provider_payment_charge_id")
    ),
]  # fmt: skip
CASES = [Case(each.name, each.act, credited=True) for each in VALID] + INVALID


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_word_of_stars(stars: Stars, case: Case) -> None:
    made = stars.made
    payment = await made.begin("stars", user=await made.stage.person(f"buyer of {case.name}"[:60]))
    await judge(made, payment, paid_update(payment.order, payment.amount), case, stars.drain)


async def test_a_second_charge_for_an_order_gives_nothing_and_goes_back(stars: Stars) -> None:
    made = stars.made
    payment = await made.begin("stars", user=await made.stage.person("hasty"))
    before = await made.topups()
    for _ in range(2):
        assert (
            await made.post("telegram", json.dumps(paid_update(payment.order, payment.amount)).encode(), {HEADER: TELEGRAM_SECRET}) == 200
        )
    await stars.drain()
    assert await made.topups() - before == 1
    async with made.app.read() as work:
        (refund,) = await work.payments.refunds_of(payment.id)
    assert (refund.kind, refund.state, refund.credits) == ("surplus", "requested", 0)


async def test_the_table_is_long_enough() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 60
