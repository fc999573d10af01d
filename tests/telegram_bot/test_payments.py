"""Stars that have moved: payments are handed on until they are credited, by either way in; refunds, and what the bot can list."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from telegram import Bot, Chat, RefundedPayment, User
from telegram import Message as BotMessage

from bots.telegram.incoming import ALLOWED_UPDATES, chat_key, is_checkout
from bots.telegram.payments import Checkouts, StarsDesk, settle
from bots.telegram.runner import MAX_FAILURES
from bots.telegram.store import CHECKOUTS, InboxStore
from core.mailbox.models import Received
from core.payments.rails.stars import Move, StarsAway
from sandbox.telegram import TelegramSandbox
from tests.stage import staged
from tests.telegram_bot.fakes import FakeChat, MemoryStore
from tests.telegram_bot.stage import ORDER, offered, offered_to_all, running, until

ADA, BO = 1001, 1002


async def test_a_payment_that_is_told_again_is_handed_on_with_its_charge(
    sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore
) -> None:
    async with running(sandbox, chat, store) as runner:
        charge = (await sandbox.pay(ADA, ADA, await offered(runner)))["charge"]
        await until(lambda: chat.payments and not sandbox.updates.pending)
        sandbox.updates.put_again()  # the same update
        await sandbox.say(BO, BO, "hi")
        await sandbox.wait_for(BO, BO, lambda message: message["html"] == "you: hi")
        assert len(chat.payments) == 1
        sandbox.repeat_payment(charge)  # another one
        await until(lambda: len(chat.payments) == 2)

    assert chat.payments[0] == chat.payments[1]
    assert store.waiting == {}


async def test_a_payment_is_tried_until_it_is_credited_and_holds_up_nobody(sandbox: TelegramSandbox) -> None:
    store = MemoryStore(lease=0.02)
    chat = FakeChat(store)
    chat.troubles = MAX_FAILURES + 3
    async with running(sandbox, chat, store) as runner:
        assert (await sandbox.pay(ADA, ADA, await offered(runner)))["paid"]
        await until(lambda: chat.troubles < MAX_FAILURES + 3)
        await sandbox.say(ADA, ADA, "/paysupport")
        await sandbox.wait_for(ADA, ADA, lambda message: message["html"] == "you: paysupport")
        assert chat.payments == []
        await until(lambda: chat.payments)

    assert chat.troubles == 0


def test_payments_of_a_chat_keep_their_order_apart_from_its_talk() -> None:
    chat = {"id": ADA, "type": "private"}
    paid = {"update_id": 1, "message": {"chat": chat, "from": {"id": ADA}, "successful_payment": {}}}
    back = {"update_id": 2, "message": {"chat": chat, "from": {"id": ADA}, "refunded_payment": {}}}
    talk = {"update_id": 3, "message": {"chat": chat, "from": {"id": ADA}, "text": "successful_payment"}}
    reply = {"update_id": 4, "message": {"chat": chat, "from": {"id": ADA}, "reply_to_message": {"successful_payment": {}}}}

    assert [chat_key(raw) for raw in (paid, back, talk, reply)] == ["pay:1001", "pay:1001", "1001", "1001"]


# By webhook


@asynccontextmanager
async def endpoint(store: MemoryStore, apart: bool) -> AsyncIterator[str]:
    """What receives updates; `apart`: it keeps checkouts where they wait for nothing."""

    async def receive(request: web.Request) -> web.StreamResponse:
        raw = await request.json()
        if apart and is_checkout(raw):
            store.checkouts.append(raw)
            await store.store([])
        else:
            await store.store([(str(raw["update_id"]), chat_key(raw), raw)])
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", receive)
    server = web.AppRunner(app, access_log=None)
    await server.setup()
    await web.TCPSite(server, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{server.addresses[0][1]}/hook"
    finally:
        await server.cleanup()


@pytest.mark.parametrize("apart", [True, False])
async def test_by_webhook(sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore, apart: bool) -> None:
    async with (
        endpoint(store, apart) as url,
        running(sandbox, chat, store, mode="webhook", webhook_url=url, webhook_secret="s") as runner,
    ):
        await until(lambda: sandbox.updates.webhook)
        assert "pre_checkout_query" in sandbox.updates.webhook_info()["allowed_updates"]
        assert (await sandbox.pay(ADA, ADA, await offered(runner)))["paid"]
        await until(lambda: chat.payments and not store.waiting)
        await sandbox.updates.close()

    assert len(store.done) == (1 if apart else 2)
    assert chat.checkouts == [(ORDER, str(ADA), 250, "XTR")]


def test_checkouts_are_asked_for() -> None:
    assert set(ALLOWED_UPDATES) == {"message", "callback_query", "my_chat_member", "pre_checkout_query"}


async def test_stored_checkouts_are_taken_once(database_url: str, tmp_path: Path) -> None:
    raws = [{"update_id": number, "pre_checkout_query": {"id": str(number)}} for number in (1, 2)]
    async with staged(database_url, tmp_path) as stage:
        app = stage.app
        store = InboxStore(app)
        await store.store([("9", str(ADA), {"update_id": 9, "message": {}})])
        events = [
            Received(
                str(raw["update_id"]), str(raw["update_id"]), app.vault.veil(json.dumps(raw).encode(), f"{CHECKOUTS}:{raw['update_id']}")
            )
            for raw in raws
        ]
        await app.run(lambda work: work.mailbox.store(CHECKOUTS, events))

        assert await store.take_checkouts(10) == raws
        assert await store.take_checkouts(10) == []
        assert [event_id for event_id, _ in await store.take(10)] == ["9"]
        async with app.read() as work:
            assert await work.mailbox.was_handled(CHECKOUTS, "1")


# Back


async def test_refunds(sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore) -> None:
    async with running(sandbox, chat, store) as runner:
        charge = (await sandbox.pay(ADA, ADA, await offered(runner)))["charge"]
        assert await runner.stars.refund(str(BO), charge) == "refused"
        assert await runner.stars.refund(str(ADA), "stx0") == "refused"
        assert await runner.stars.refund(str(ADA), charge) == "done"
        assert await runner.stars.refund(str(ADA), charge) == "done"  # it is back already
        await until(lambda: chat.refunds)

    assert chat.refunds == [(str(ADA), charge)]
    assert sandbox.stars_of(ADA) == 10_000
    assert [each["amount"] for each in sandbox.stars.transactions] == [250, 250]
    assert store.waiting == {}


async def test_a_refund_whose_answer_is_lost_can_be_asked_again(sandbox: TelegramSandbox, bot: Bot, chat: FakeChat) -> None:
    sent = await offered_to_all(bot)
    async with asyncio.TaskGroup() as tasks:
        paying = tasks.create_task(sandbox.pay(ADA, ADA, sent))
        (update,) = await bot.get_updates(timeout=2)
        await Checkouts(chat, bot).answer(update.to_dict())
    desk = StarsDesk(bot)
    sandbox.fail("refundStarPayment", "lost")
    with pytest.raises(StarsAway):
        await desk.refund(str(ADA), paying.result()["charge"])

    assert await desk.refund(str(ADA), paying.result()["charge"]) == "done"
    assert sandbox.stars_of(ADA) == 10_000


async def test_a_refund_told_by_the_bot_is_the_chats_persons(chat: FakeChat) -> None:
    message = BotMessage(
        5,
        None,  # type: ignore[arg-type]  # no date is needed
        Chat(ADA, "private", first_name="Ada"),
        from_user=User(7, "Aetherflow", True),
        refunded_payment=RefundedPayment("XTR", 250, ORDER, "stx1"),
    )

    await settle(chat, "1", message)

    assert chat.refunds == [(str(ADA), "stx1")]


async def test_transactions(sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore) -> None:
    async with running(sandbox, chat, store) as runner:
        desk = runner.stars
        first = (await sandbox.pay(ADA, ADA, await offered(runner)))["charge"]
        second = (await sandbox.pay(BO, BO, await offered(runner, f"{BO}:8", BO)))["charge"]
        await desk.refund(str(ADA), first)
        sandbox.chargeback(second)
        sandbox.stars.transactions.append({"id": "w1", "amount": 9, "date": 1_800_000_000, "receiver": {"type": "fragment"}})
        moves = [move for offset in (0, 2, 4, 6) for move in await desk.transactions(offset, 2)]
        sandbox.fail("getStarTransactions", status=500)
        with pytest.raises(StarsAway):
            await desk.transactions(0)

    assert [(move.id, move.order, move.amount, move.direction, move.user) for move in moves] == [
        (first, ORDER, 250, "in", str(ADA)),
        (second, f"{BO}:8", 250, "in", str(BO)),
        (first, ORDER, 250, "out", str(ADA)),
        (second, f"{BO}:8", 250, "out", str(BO)),
        ("w1", None, 9, "out", None),
    ]
    assert moves[-1] == Move("w1", None, 9, "out", None, 1_800_000_000_000_000)
    assert moves[0].at == sandbox.stars.transactions[0]["date"] * 1_000_000
