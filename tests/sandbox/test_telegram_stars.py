"""The Telegram stand-in sells for Stars as Telegram does: limits, the question before a payment, refunds, transactions."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from telegram import Bot, InlineKeyboardButton, InlineKeyboardMarkup, LabeledPrice, Update
from telegram.error import BadRequest

from sandbox.telegram import TelegramSandbox
from sandbox.telegram_state import HandsError
from tests.sandbox.telegram_stage import ADA, BO, CLUB, TOKEN, connected, refused, served

LATE = "query is too old and response timeout expired or query id is invalid"


@pytest.fixture
async def sandbox() -> AsyncIterator[TelegramSandbox]:
    async with served() as sandbox:
        yield sandbox


@pytest.fixture
async def bot(sandbox: TelegramSandbox) -> AsyncIterator[Bot]:
    async with connected(sandbox) as bot:
        yield bot


@pytest.fixture
async def shop(sandbox: TelegramSandbox, bot: Bot) -> AsyncIterator["Shop"]:
    shop = Shop(sandbox, bot)
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(shop.serve())
        yield shop
        serving.cancel()


class Shop:
    """A bot that answers every question before a payment by `verdict`, and remembers what it hears."""

    def __init__(self, sandbox: TelegramSandbox, bot: Bot) -> None:
        self.sandbox = sandbox
        self.bot = bot
        self.verdict: Callable[[Update], Awaitable[str | None]] = agree
        self.questions: list[Update] = []
        self.heard: list[Update] = []
        self.problems: list[str] = []

    async def offer(self, chat: int = ADA, **options: Any) -> int:
        """Returns the id of the invoice's message."""
        return (await self.bot.send_invoice(**({"chat_id": chat} | OFFER | options))).message_id

    async def serve(self) -> None:
        offset = 0
        while True:
            for update in await self.bot.get_updates(offset=offset, timeout=1):
                offset = update.update_id + 1
                await (self.answer if update.pre_checkout_query else self.hear)(update)

    async def answer(self, update: Update) -> None:
        self.questions.append(update)
        assert update.pre_checkout_query is not None
        why = await self.verdict(update)
        try:
            await update.pre_checkout_query.answer(why is None, error_message=why)
        except BadRequest as error:
            self.problems.append(error.message)

    async def hear(self, update: Update) -> None:
        self.heard.append(update)

    async def heard_of(self, count: int) -> list[Any]:
        """The first `count` messages."""
        async with asyncio.timeout(5):
            while len(self.heard) < count:  # noqa: ASYNC110 - nothing sets an event
                await asyncio.sleep(0.01)
        assert len(self.heard) == count
        return [update.message for update in self.heard]


async def agree(_update: Update) -> str | None:
    return None


OFFER: dict[str, Any] = {
    "title": "500 Credits",
    "description": "For pictures",
    "payload": "order-7",
    "currency": "XTR",
    "prices": [LabeledPrice("500 Credits", 250)],
    "provider_token": "",
}


# Limits


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"title": " "}, "invoice title must be non-empty"),
        ({"title": "x" * 33}, "invoice title is too long"),
        ({"title": "🦊" * 17}, "invoice title is too long"),
        ({"description": ""}, "invoice description must be non-empty"),
        ({"description": "x" * 256}, "invoice description is too long"),
        ({"payload": ""}, "invoice_payload_invalid"),
        ({"payload": "狐" * 43}, "invoice_payload_invalid"),
        ({"currency": "USD"}, "payment_provider_invalid"),
        ({"provider_token": "284685063:TEST"}, "stars_invoice_invalid"),
        ({"prices": []}, "stars_invoice_invalid"),
        ({"prices": [LabeledPrice("a", 1), LabeledPrice("b", 1)]}, "stars_invoice_invalid"),
        ({"prices": [LabeledPrice("a", 0)]}, "currency_total_amount_invalid"),
        ({"prices": [LabeledPrice("a", 100_001)]}, "currency_total_amount_invalid"),
        ({"need_email": True}, "stars_invoice_invalid"),
        ({"max_tip_amount": 5}, "stars_invoice_invalid"),
    ],
)
async def test_invoices_that_are_not_taken(bot: Bot, wrong: dict[str, Any], problem: str) -> None:
    assert (await refused(bot.send_invoice(**({"chat_id": ADA} | OFFER | wrong)))).lower() == problem
    assert (await refused(bot.create_invoice_link(**(OFFER | wrong)))).lower() == problem


async def test_invoices_at_the_limit(sandbox: TelegramSandbox, bot: Bot) -> None:
    most = {"title": "🦊" * 16, "description": "x" * 255, "payload": "x" * 128, "prices": [LabeledPrice("a", 100_000)]}
    sent = await bot.send_invoice(**({"chat_id": ADA} | OFFER | most), start_parameter="x" * 64)

    assert sent.invoice is not None
    assert (sent.invoice.title, sent.invoice.currency, sent.invoice.total_amount, sent.invoice.start_parameter) == (
        "🦊" * 16, "XTR", 100_000, "x" * 64,
    )  # fmt: skip
    assert (await refused(bot.send_invoice(**({"chat_id": ADA} | OFFER), start_parameter="x" * 65))).lower() == "start_param_invalid"


async def test_the_pay_button_is_the_first(bot: Bot) -> None:
    pay, other = InlineKeyboardButton("Pay", pay=True), InlineKeyboardButton("Terms", callback_data="terms")

    async def offered(*rows: list[InlineKeyboardButton]) -> str:
        return (await refused(bot.send_invoice(**({"chat_id": ADA} | OFFER), reply_markup=InlineKeyboardMarkup(rows)))).lower()

    assert await offered([other, pay]) == await offered([other], [pay]) == await offered([other]) == "button_pos_invalid"
    assert await offered([pay], [pay]) == "button_pos_invalid"
    assert (await refused(bot.send_message(ADA, "x", reply_markup=InlineKeyboardMarkup([[pay]])))).lower() == "button_type_invalid"
    sent = await bot.send_invoice(**({"chat_id": ADA} | OFFER), reply_markup=InlineKeyboardMarkup([[pay], [other]]))
    assert "no text in the message" in await refused(bot.edit_message_text("free", ADA, sent.message_id))


async def test_subscriptions_are_for_thirty_days(shop: Shop) -> None:
    async def problem(**options: Any) -> str:
        return (await refused(shop.bot.create_invoice_link(**(OFFER | options)))).lower()

    assert await problem(subscription_period=86400) == "subscription_period_invalid"
    dear = [LabeledPrice("a", 10_001)]
    assert await problem(subscription_period=2592000, prices=dear) == "subscription_amount_invalid"
    link = await shop.bot.create_invoice_link(**OFFER, subscription_period=2592000)
    assert (await shop.sandbox.pay_link(ADA, link))["paid"]
    (message,) = await shop.heard_of(1)
    assert message.chat.id == ADA
    assert message.successful_payment.is_first_recurring
    with pytest.raises(HandsError, match="no such invoice"):
        await shop.sandbox.pay_link(ADA, "https://t.me/$other")


# Paying


async def test_an_invoice_is_paid(shop: Shop) -> None:
    sandbox = shop.sandbox
    sent = await shop.offer()
    before = sandbox.messages(ADA, ADA)[-1]
    outcome = await sandbox.pay(ADA, ADA, sent)
    (message,) = await shop.heard_of(1)

    assert before["invoice"] == {"title": "500 Credits", "description": "For pictures", "amount": 250, "paid": False}
    assert before["html"] == "<b>500 Credits</b>\nFor pictures"
    assert before["rows"] == [[{"label": "⭐ Pay 250", "style": "primary", "action": "⭐", "pay": True}]]
    (question,) = shop.questions
    query = question.pre_checkout_query
    assert query is not None
    assert (query.from_user.id, query.currency, query.total_amount, query.invoice_payload) == (ADA, "XTR", 250, "order-7")
    paid = message.successful_payment
    assert (paid.currency, paid.total_amount, paid.invoice_payload) == ("XTR", 250, "order-7")
    assert outcome == {"paid": True, "charge": paid.telegram_payment_charge_id}
    assert (message.from_user.id, message.chat.id) == (ADA, ADA)
    shown, told = sandbox.messages(ADA, ADA)
    assert shown["invoice"]["paid"] and shown["rows"][0][0]["label"] == "⭐ Paid 250"
    assert told["html"] == "⭐ Paid 250"
    assert sandbox.stars_of(ADA) == 9_750
    assert (await shop.bot.get_my_star_balance()).amount == 250
    with pytest.raises(HandsError, match="Ada has paid"):
        await sandbox.pay(ADA, ADA, sent)


async def test_a_refusal_is_shown(shop: Shop) -> None:
    async def refuse(_update: Update) -> str:
        return "This order has lapsed"

    shop.verdict = refuse
    sent = await shop.offer()

    assert await shop.sandbox.pay(ADA, ADA, sent) == {"paid": False, "problem": "This order has lapsed"}
    assert shop.sandbox.toasts(ADA) == ["This order has lapsed"]
    assert shop.sandbox.stars_of(ADA) == 10_000
    assert shop.heard == []
    assert not shop.sandbox.messages(ADA, ADA)[0]["invoice"]["paid"]


async def test_a_refusal_needs_words(sandbox: TelegramSandbox, bot: Bot) -> None:
    sent = await bot.send_invoice(**({"chat_id": ADA} | OFFER))
    async with asyncio.TaskGroup() as tasks:
        paying = tasks.create_task(sandbox.pay(ADA, ADA, sent.message_id))
        (update,) = await bot.get_updates(timeout=2)
        assert update.pre_checkout_query is not None
        assert "must be non-empty" in await refused(update.pre_checkout_query.answer(False, error_message=""))
        await update.pre_checkout_query.answer(True)
        assert LATE in (await refused(update.pre_checkout_query.answer(True))).lower()
    assert paying.result()["paid"]


async def test_an_answer_that_comes_too_late(sandbox: TelegramSandbox, bot: Bot) -> None:
    sent = await bot.send_invoice(**({"chat_id": ADA} | OFFER))
    outcome = await sandbox.pay(ADA, ADA, sent.message_id, patience=0)
    (update,) = await bot.get_updates(timeout=2)

    assert update.pre_checkout_query is not None
    assert LATE in (await refused(update.pre_checkout_query.answer(True))).lower()
    assert outcome == {"paid": False, "problem": "The bot did not answer in time: nothing was paid."}
    assert sandbox.stars_of(ADA) == 10_000
    assert (await bot.get_my_star_balance()).amount == 0


async def test_pressing_twice_in_a_hurry_pays_twice_if_the_bot_lets_it(shop: Shop) -> None:
    sent = await shop.offer()
    first, second = await shop.sandbox.pay_rapidly(ADA, ADA, sent)

    assert first["paid"] and second["paid"] and first["charge"] != second["charge"]
    assert shop.sandbox.stars_of(ADA) == 9_500
    assert {message.successful_payment.telegram_payment_charge_id for message in await shop.heard_of(2)} == {
        first["charge"],
        second["charge"],
    }


async def test_what_is_too_dear_is_not_asked(shop: Shop) -> None:
    sent = await shop.offer(prices=[LabeledPrice("a", 10_001)])

    assert (await shop.sandbox.pay(ADA, ADA, sent))["problem"] == "Ada has 10000 Stars, and 10001 are asked for."
    assert shop.questions == []


async def test_anybody_in_a_group_can_pay(shop: Shop) -> None:
    sent = await shop.offer(CLUB)
    for person in (ADA, BO):
        assert (await shop.sandbox.pay(person, CLUB, sent))["paid"]

    assert [message.from_user.id for message in await shop.heard_of(2)] == [ADA, BO]


async def test_forwarded_copies(shop: Shop) -> None:
    sandbox = shop.sandbox
    free, guarded = await shop.offer(), await shop.offer(start_parameter="topup")
    fixed = await shop.offer(start_parameter="topup", protect_content=True)

    copy = await sandbox.forward(ADA, ADA, free, CLUB)
    assert (await sandbox.pay(BO, CLUB, copy))["paid"]
    (message,) = await shop.heard_of(1)
    assert (message.chat.id, message.from_user.id) == (BO, BO)
    assert sandbox.messages(ADA, ADA)[0]["invoice"]["paid"]

    copy = await sandbox.forward(ADA, ADA, guarded, CLUB)
    assert sandbox.messages(BO, CLUB)[-1]["rows"] == [
        [{"label": "500 Credits", "style": "secondary", "url": "https://t.me/AetherflowBot?start=topup"}]
    ]
    with pytest.raises(HandsError, match="no Pay button"):
        await sandbox.pay(BO, CLUB, copy)
    with pytest.raises(HandsError, match="protected"):
        await sandbox.forward(ADA, ADA, fixed, CLUB)


async def test_a_payment_can_be_told_again(shop: Shop) -> None:
    charge = (await shop.sandbox.pay(ADA, ADA, await shop.offer()))["charge"]
    await shop.heard_of(1)
    shop.sandbox.repeat_payment(charge)
    await shop.heard_of(2)

    first, second = shop.heard
    assert first.update_id != second.update_id
    assert first.message == second.message


# Back


async def test_refunds(shop: Shop) -> None:
    sandbox, bot = shop.sandbox, shop.bot
    charge = (await sandbox.pay(ADA, ADA, await shop.offer()))["charge"]

    assert (await refused(bot.refund_star_payment(BO, charge))).lower() == "charge_not_found"
    assert (await refused(bot.refund_star_payment(ADA, "stx0"))).lower() == "charge_not_found"
    assert await refused(bot.refund_star_payment(77, charge)) == "Invalid user_id specified"
    await bot.refund_star_payment(ADA, charge)
    assert (await refused(bot.refund_star_payment(ADA, charge))).lower() == "charge_already_refunded"

    _, back = await shop.heard_of(2)
    assert (back.refunded_payment.telegram_payment_charge_id, back.refunded_payment.total_amount) == (charge, 250)
    assert sandbox.stars_of(ADA) == 10_000
    assert (await bot.get_my_star_balance()).amount == 0
    incoming, outgoing = (await bot.get_star_transactions()).transactions
    assert incoming.id == outgoing.id == charge
    assert (incoming.receiver, outgoing.source) == (None, None)
    assert incoming.source is not None and incoming.source.invoice_payload == "order-7"  # type: ignore[attr-defined]  # of a user


async def test_a_chargeback_shows_in_the_transactions_only(shop: Shop) -> None:
    sandbox, bot = shop.sandbox, shop.bot
    charge = (await sandbox.pay(ADA, ADA, await shop.offer()))["charge"]
    await shop.heard_of(1)
    sandbox.chargeback(charge)
    await sandbox.say(ADA, ADA, "after it")

    assert [message.text for message in await shop.heard_of(2)] == [None, "after it"]
    assert [each.receiver is not None for each in (await bot.get_star_transactions()).transactions] == [False, True]
    assert (await bot.get_my_star_balance()).amount == 0
    with pytest.raises(HandsError, match="was given back"):
        sandbox.chargeback(charge)
    with pytest.raises(HandsError, match="no such charge"):
        sandbox.chargeback("stx0")


async def test_transactions_come_in_pages(shop: Shop) -> None:
    link = await shop.bot.create_invoice_link(**(OFFER | {"prices": [LabeledPrice("a", 1)]}))
    charges = [(await shop.sandbox.pay_link(ADA, link))["charge"] for _ in range(5)]

    pages = [(await shop.bot.get_star_transactions(offset, 2)).transactions for offset in (0, 2, 4, 6)]
    assert [[each.id for each in page] for page in pages] == [charges[:2], charges[2:4], charges[4:], []]


# Over HTTP


async def test_stars_over_http(shop: Shop) -> None:
    async with aiohttp.ClientSession(shop.sandbox.state.public_url) as http:

        async def post(path: str, **body: Any) -> Any:
            async with http.post(f"/hands/telegram/{path}", json=body) as response:
                return await response.json()

        async def stars() -> Any:
            async with http.get("/hands/telegram/stars", params={"person": ADA}) as response:
                return (await response.json())["stars"]

        async with http.post(f"/telegram/bot{TOKEN}/sendInvoice", json={"chat_id": ADA, **OFFER, "prices": [{"label": "a", "amount": 3}]}):
            place = {"person": str(ADA), "chat": str(ADA), "message": "1"}
        assert (await post("pay", **place, patience=0))["paid"] is False
        assert [outcome["paid"] for outcome in await post("pay-rapidly", **place, presses=3)] == [True] * 3
        assert await stars() == 9_991
        assert [problem.lower() for problem in shop.problems] == [LATE]
        assert await post("pay", **place) == {"error": "Ada has paid this invoice"}
        link = await shop.bot.create_invoice_link(**OFFER)
        charge = (await post("pay-link", person=ADA, link=link))["charge"]
        assert await post("repeat-payment", charge=charge) == await post("chargeback", charge=charge) == {}
        assert await post("chargeback", charge=charge) == {"error": f"charge {charge} was given back"}
        copy = await post("forward", person=ADA, chat=ADA, message=1, to=CLUB)
        pressed = await post("press", person=BO, chat=CLUB, message=copy["id"], action="⭐")
        assert pressed["id"] in shop.sandbox.stars.charges
