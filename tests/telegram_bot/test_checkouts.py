"""Stars from the invoice to the answer before a payment: people hurry, come too late, and pay what is not theirs."""

import asyncio
from typing import Any

import pytest
from telegram import Bot

from bots.chat.types import Answer, Bill, Event, Key, Message, Paid, Person, SendFailed
from bots.telegram.outgoing import TelegramSender
from bots.telegram.payments import Checkouts
from sandbox.telegram import TelegramSandbox
from sandbox.telegram_state import HandsError
from tests.telegram_bot.fakes import FakeChat, MemoryStore, echo
from tests.telegram_bot.stage import ORDER, made, offered, offered_to_all, running, until

ADA, BO, CHEN = 1001, 1002, 1003
CLUB = -1001000000001
BILL = Bill(ORDER, "500 Credits", "For pictures", 250)
LATER = "error.try_later in en"


# Invoices


async def test_an_invoice_in_an_answer_is_paid(sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore) -> None:
    async def bill(event: Event) -> Answer:
        return Answer(message=Message("", bill=BILL), outbox=1)

    chat.rule = bill
    async with running(sandbox, chat, store):
        await sandbox.say(ADA, ADA, "/topup 500")
        shown = await sandbox.wait_for(ADA, ADA, lambda message: "invoice" in message)
        outcome = await sandbox.pay(ADA, ADA, shown["id"])
        await until(lambda: chat.payments)

    assert shown["invoice"] == {"title": "500 Credits", "description": "For pictures", "amount": 250, "paid": False}
    assert chat.reports[0][1] == shown["id"]
    assert chat.checkouts == [(ORDER, str(ADA), 250, "XTR")]
    assert chat.payments == [Paid(ORDER, outcome["charge"], 250, "XTR", str(ADA))]
    assert store.waiting == {}
    assert sandbox.stars_of(ADA) == 9_750


async def test_words_come_before_an_invoice_and_pay_before_other_buttons(sandbox: TelegramSandbox, bot: Bot) -> None:
    sender = TelegramSender(bot)
    await sender.send(str(ADA), Message("<b>Five hundred</b>", ((Key("Terms", "terms"),),), silent=True, bill=BILL), "1")

    words, shown = sandbox.messages(ADA, ADA)
    assert (words["html"], words["rows"]) == ("<b>Five hundred</b>", [])
    assert [[key["label"] for key in row] for row in shown["rows"]] == [["⭐ Pay 250"], ["Terms"]]


async def test_an_invoice_is_for_its_buyer(sandbox: TelegramSandbox, bot: Bot) -> None:
    sent = await TelegramSender(bot).send(str(ADA), Message("", bill=BILL), "1")

    with pytest.raises(HandsError, match="protected"):
        await sandbox.forward(ADA, ADA, sent, CLUB)
    invoice = sandbox.state.chat(ADA).messages[int(sent)].invoice
    assert invoice is not None and invoice.start_parameter == "topup"  # a copy, however made, has no Pay button


async def test_an_invoice_that_is_too_wordy_is_cut(sandbox: TelegramSandbox, bot: Bot) -> None:
    await TelegramSender(bot).send(str(ADA), Message("", bill=Bill(ORDER, "狐" * 40, "a < b & " * 40, 5)), "1")

    (shown,) = sandbox.messages(ADA, ADA)
    assert shown["invoice"]["title"] == "狐" * 31 + "…"
    assert shown["invoice"]["description"].startswith("a < b & a < b &")
    assert len(shown["invoice"]["description"]) <= 255


async def test_an_invoice_never_takes_the_place_of_a_message(sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore) -> None:
    async def bill(event: Event) -> Answer:
        return Answer(message=Message("", bill=BILL), edit=True, outbox=1)

    chat.rule = bill
    async with running(sandbox, chat, store) as runner:
        asked = await runner.sender.send(str(ADA), Message("How many?", ((Key("500", "topup 500"),),)), "asked")
        with pytest.raises(SendFailed) as caught:
            await runner.sender.edit(str(ADA), asked, Message("Pay:", bill=BILL))
        await sandbox.press(ADA, ADA, asked, "topup 500")
        shown = await sandbox.wait_for(ADA, ADA, lambda message: "invoice" in message)

    assert caught.value.kind == "refused"
    assert [message["id"] for message in sandbox.messages(ADA, ADA)] == [asked, shown["id"]]


# The question before a payment


async def test_a_refusal_is_shown_and_nothing_is_paid(sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore) -> None:
    async def lapsed(order: str, person: Person) -> str:
        return f"Order {order} has lapsed, {person.name}"

    chat.verdict = lapsed
    async with running(sandbox, chat, store) as runner:
        outcome = await sandbox.pay(ADA, ADA, await offered(runner))

    assert outcome == {"paid": False, "problem": f"Order {ORDER} has lapsed, Ada"}
    assert sandbox.toasts(ADA) == [f"Order {ORDER} has lapsed, Ada"]
    assert (chat.payments, sandbox.stars_of(ADA)) == ([], 10_000)


async def test_a_refusal_is_not_held_against_the_next_press(sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore) -> None:
    async def no(order: str, person: Person) -> str:
        return "No"

    async def yes(order: str, person: Person) -> None:
        return None

    async with running(sandbox, chat, store) as runner:
        sent = await offered(runner)
        chat.verdict = no
        assert not (await sandbox.pay(ADA, ADA, sent))["paid"]
        chat.verdict = yes
        assert (await sandbox.pay(ADA, ADA, sent))["paid"]


@pytest.mark.parametrize(("person", "sentence"), [(ADA, LATER), (CHEN, "error.try_later in zh")])
async def test_trouble_is_a_refusal_in_the_persons_language(
    sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore, person: int, sentence: str
) -> None:
    async def broken(order: str, person: Person) -> str | None:
        raise OSError("no database")

    chat.verdict = broken
    async with running(sandbox, chat, store) as runner:
        outcome = await sandbox.pay(person, person, await offered(runner, chat=person))

    assert outcome == {"paid": False, "problem": sentence}


async def test_a_verdict_that_takes_too_long_is_a_refusal(sandbox: TelegramSandbox, bot: Bot, chat: FakeChat) -> None:
    async def never(order: str, person: Person) -> str | None:
        await asyncio.Event().wait()
        return None

    chat.verdict = never
    sent = await offered_to_all(bot)
    async with asyncio.TaskGroup() as tasks:
        paying = tasks.create_task(sandbox.pay(ADA, ADA, sent))
        (update,) = await bot.get_updates(timeout=2)
        await Checkouts(chat, bot, patience=0.05).answer(update.to_dict())

    assert paying.result() == {"paid": False, "problem": LATER}


async def test_an_answer_that_comes_too_late_costs_nothing_and_bars_nothing(
    sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore
) -> None:
    async with running(sandbox, chat, store) as runner:
        sent = await offered(runner)
        late = await sandbox.pay(ADA, ADA, sent, patience=0)
        await until(lambda: sandbox.calls.count("answerPreCheckoutQuery") == 1)
        assert (sandbox.stars_of(ADA), sandbox.stars.transactions) == (10_000, [])
        async with asyncio.timeout(5):  # the bot may not have heard yet that it was late
            while not (await sandbox.pay(ADA, ADA, sent))["paid"]:
                pass

    assert late == {"paid": False, "problem": "The bot did not answer in time: nothing was paid."}
    assert sandbox.stars_of(ADA) == 9_750


async def test_pressing_twice_in_a_hurry_pays_once(sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore) -> None:
    both = asyncio.Event()

    async def slow(order: str, person: Person) -> None:
        await both.wait()

    chat.verdict = slow
    async with running(sandbox, chat, store) as runner:
        first, second = await offered(runner), await offered(runner, chat=CLUB)
        async with asyncio.TaskGroup() as tasks:
            pressing = tasks.create_task(sandbox.pay_rapidly(ADA, ADA, first))
            await until(lambda: LATER in sandbox.toasts(ADA))
            both.set()
        outcomes = pressing.result()
        other_copy = await sandbox.pay(ADA, CLUB, second)  # the payment is on its way: not again yet
        await until(lambda: chat.payments)

    assert sorted(outcome["paid"] for outcome in outcomes) == [False, True]
    assert other_copy == {"paid": False, "problem": LATER}
    assert len(chat.checkouts) == len(chat.payments) == 1
    assert sandbox.stars_of(ADA) == 9_750


async def test_nobody_else_pays_an_order_nor_keeps_its_owner_from_it(
    sandbox: TelegramSandbox, bot: Bot, chat: FakeChat, store: MemoryStore
) -> None:
    copy = await sandbox.forward(ADA, ADA, await offered_to_all(bot), CLUB)
    async with running(sandbox, chat, store):
        others, owner = await asyncio.gather(sandbox.pay(BO, CLUB, copy), sandbox.pay(ADA, CLUB, copy))
        await until(lambda: chat.payments)

    assert others == {"paid": False, "problem": f"Order {ORDER} is not yours"}
    assert owner["paid"]
    assert sandbox.stars_of(BO) == 10_000
    assert [paid.person_id for paid in chat.payments] == [str(ADA)]


async def test_a_checkout_waits_for_nothing_else_of_its_chat(sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def slow(event: Event) -> Answer:
        reached.set()
        await go_on.wait()
        return await echo(event)

    chat.rule = slow
    async with running(sandbox, chat, store, slots=1) as runner:
        sent = await offered(runner)
        await sandbox.say(ADA, ADA, "/imagine fox")
        await reached.wait()
        assert (await sandbox.pay(ADA, ADA, sent))["paid"]
        assert chat.payments == []  # that has time: it is stored
        go_on.set()
        await until(lambda: chat.payments)


async def test_a_checkout_is_answered_once_while_the_store_is_down(sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore) -> None:
    async with running(sandbox, chat, store) as runner:
        sent = await offered(runner)
        store.broken = True
        paid = await sandbox.pay(ADA, ADA, sent)
        polled = sandbox.calls.count("getUpdates")
        await until(lambda: sandbox.calls.count("getUpdates") > polled)  # the same updates again
        store.broken = False
        await until(lambda: chat.payments)

    assert paid["paid"]
    assert sandbox.calls.count("answerPreCheckoutQuery") == 1


@pytest.mark.parametrize("kind", ["error", "lost"])
async def test_an_answer_that_does_not_arrive_is_given_again(
    sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore, kind: Any
) -> None:
    async with running(sandbox, chat, store) as runner:
        sent = await offered(runner)
        sandbox.fail("answerPreCheckoutQuery", kind, status=502)
        assert (await sandbox.pay(ADA, ADA, sent))["paid"]
        await until(lambda: sandbox.calls.count("answerPreCheckoutQuery") == 2)
        await until(lambda: chat.payments)


async def test_a_checkout_in_hand_is_answered_at_the_end(sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def slow(order: str, person: Person) -> None:
        reached.set()
        await go_on.wait()

    chat.verdict = slow
    runner = made(sandbox, chat, store)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(runner.run())
        await until(lambda: "getUpdates" in sandbox.calls)
        paying = tasks.create_task(sandbox.pay(ADA, ADA, await offered(runner)))
        await reached.wait()
        runner.stop()
        go_on.set()

    assert paying.result()["paid"]


async def test_a_checkout_that_cannot_be_read_is_let_go(bot: Bot, chat: FakeChat, capsys: pytest.CaptureFixture[str]) -> None:
    await Checkouts(chat, bot).answer({"update_id": 1, "pre_checkout_query": {"id": "1"}})

    assert chat.checkouts == []
    assert "a checkout was not answered" in capsys.readouterr().out
