"""The bot from end to end: people in the stand-in, updates stored first, handled afterwards, nothing forgotten."""

import asyncio
import logging
from collections import Counter
from typing import Any

import pytest
from telegram.error import NetworkError, RetryAfter

from bots.chat.types import Answer, Event, Message
from bots.telegram import runner as runner_module
from bots.telegram.runner import pause_after
from core.errors import Misconfigured
from sandbox.telegram import TelegramSandbox
from sandbox.telegram_trouble import FloodLimits
from tests.telegram_bot.fakes import TOKEN, FakeChat, MemoryStore, echo, picture
from tests.telegram_bot.stage import killed, made, running, until

ADA, BO, CHEN = 1001, 1002, 1003


async def test_a_conversation(sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore) -> None:
    async with running(sandbox, chat, store):
        await sandbox.say(CHEN, CHEN, "/imagine 一只红色的狐狸")
        shown = await sandbox.wait_for(CHEN, CHEN, lambda message: message["from"]["bot"])
        await until(lambda: sandbox.updates.pending == 0)

    assert shown["html"] == "you: imagine 一只红色的狐狸"
    assert chat.reports[0][1] == shown["id"]
    assert store.done == store.stored


async def test_an_update_that_comes_twice_is_handled_once(sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore) -> None:
    async with running(sandbox, chat, store):
        await sandbox.say(ADA, ADA, "first")
        await sandbox.wait_for(ADA, ADA, lambda message: message["html"] == "you: first")
        await until(lambda: sandbox.updates.pending == 0)
        sandbox.updates.put_again()
        await sandbox.say(ADA, ADA, "second")
        await sandbox.wait_for(ADA, ADA, lambda message: message["html"] == "you: second")

    assert Counter(store.stored)[store.done[0]] == 2
    assert [event.text for event in chat.events] == ["first", "second"]


async def test_order_is_kept_within_a_chat(sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore) -> None:
    async def slower_at_first(event: Event) -> Answer:
        await asyncio.sleep(0.1 if event.text == "0" else 0.0)
        return await echo(event)

    chat.rule = slower_at_first
    for number in range(5):
        await sandbox.say(ADA, ADA, str(number))

    async with running(sandbox, chat, store):
        await sandbox.wait_for(ADA, ADA, lambda message: message["html"] == "you: 4")

    said = [message["html"] for message in sandbox.messages(ADA, ADA)]
    assert said == [*"01234", *(f"you: {number}" for number in range(5))]


async def test_fifty_chats_at_the_same_time(sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore) -> None:
    everyone = asyncio.Barrier(50)

    async def together(event: Event) -> Answer:
        await everyone.wait()  # nobody goes on before all fifty are here
        return await echo(event)

    chat.rule = together
    sandbox.flood_limits = None
    people = [int(sandbox.add_person(f"Person {number}", person_id=5000 + number)["id"]) for number in range(50)]
    for person in people:
        await sandbox.say(person, person, "/imagine fox")

    async with running(sandbox, chat, store):
        for person in people:
            await sandbox.wait_for(person, person, lambda message: message["html"] == "you: imagine fox")

    assert len(chat.events) == 50


async def test_no_more_chats_than_slots(sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore) -> None:
    now = most = 0

    async def counted(event: Event) -> Answer:
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        await asyncio.sleep(0.02)
        now -= 1
        return await echo(event)

    chat.rule = counted
    sandbox.flood_limits = None
    people = [int(sandbox.add_person(f"Person {number}", person_id=5000 + number)["id"]) for number in range(8)]
    for person in people:
        await sandbox.say(person, person, "hi")

    async with running(sandbox, chat, store, slots=3):
        for person in people:
            await sandbox.wait_for(person, person, lambda message: message["html"] == "you: hi")

    assert most == 3


async def test_killed_between_storing_and_handling(sandbox: TelegramSandbox) -> None:
    store = MemoryStore(lease=0.5)
    reached = asyncio.Event()

    async def never(event: Event) -> Answer:
        reached.set()
        await asyncio.Event().wait()
        return Answer()

    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(made(sandbox, FakeChat(store, never), store).run())
        await sandbox.say(ADA, ADA, "/imagine fox")
        await sandbox.say(ADA, ADA, "/balance")
        await reached.wait()
        await until(lambda: sandbox.updates.pending == 0)  # confirmed: Telegram will not offer them again
        await killed(first)

    assert len(store.waiting) == 2

    chat = FakeChat(store)
    async with running(sandbox, chat, store):
        await sandbox.wait_for(ADA, ADA, lambda message: message["html"] == "you: balance")

    assert [event.command for event in chat.events] == ["imagine", "balance"]


async def test_killed_between_receiving_and_storing(sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore) -> None:
    reached = asyncio.Event()

    class Slow(MemoryStore):
        async def store(self, updates: Any) -> None:
            if updates:
                reached.set()
                await asyncio.Event().wait()

    lost = Slow()
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(made(sandbox, FakeChat(lost), lost).run())
        await sandbox.say(ADA, ADA, "/imagine fox")
        await reached.wait()
        await killed(first)

    async with running(sandbox, chat, store):
        await sandbox.wait_for(ADA, ADA, lambda message: message["html"] == "you: imagine fox")


async def test_nothing_is_confirmed_while_the_store_is_down(sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore) -> None:
    store.broken = True
    await sandbox.say(ADA, ADA, "/imagine fox")

    async with running(sandbox, chat, store):
        await until(lambda: sandbox.calls.count("getUpdates") >= 2)
        assert sandbox.updates.pending == 1
        store.broken = False
        await sandbox.wait_for(ADA, ADA, lambda message: message["html"] == "you: imagine fox")


async def test_trouble_of_the_network_is_ridden_out(sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore) -> None:
    sandbox.fail("getMe", status=502)
    sandbox.fail("getUpdates", status=429)
    sandbox.fail("setMyCommands", status=500)

    async with running(sandbox, chat, store):
        await sandbox.say(ADA, ADA, "hi")
        await sandbox.wait_for(ADA, ADA, lambda message: message["html"] == "you: hi")
        await until(lambda: len(sandbox.methods.descriptions) == 2)


async def test_what_telegram_does_not_take_now_is_left_to_the_delivery_loop(
    sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore
) -> None:
    sandbox.flood_limits = FloodLimits(private=(1, 60.0))

    async with running(sandbox, chat, store):
        await sandbox.say(ADA, ADA, "one")
        await sandbox.say(ADA, ADA, "two")
        await until(lambda: len(chat.reports) == 2)

    assert [message_id for _, message_id in chat.reports] == ["3", None]


async def test_an_update_without_an_event_is_dropped(sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore) -> None:
    async with running(sandbox, chat, store):
        await sandbox.say(ADA, ADA, "/imagine@OtherBot fox")
        await until(lambda: store.done)

    assert chat.events == []


async def test_an_update_that_fails_is_offered_again(sandbox: TelegramSandbox, capsys: pytest.CaptureFixture[str]) -> None:
    store = MemoryStore(lease=0.1)
    chat = FakeChat(store)

    async def fails_once(event: Event) -> Answer:
        if len(chat.events) == 1:
            raise OSError(f"the database said: {event.text}")
        return await echo(event)

    chat.rule = fails_once
    async with running(sandbox, chat, store):
        await sandbox.say(ADA, ADA, "sk-a-pasted-key")
        await sandbox.wait_for(ADA, ADA, lambda message: message["html"] == "you: sk-a-pasted-key")

    logged = capsys.readouterr()
    assert "an update was not handled" in logged.out
    assert "sk-a-pasted-key" not in logged.out + logged.err


async def test_an_update_that_always_fails_is_given_up(sandbox: TelegramSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore(lease=0.05)
    chat = FakeChat(store)

    async def poisoned(event: Event) -> Answer:
        if event.text == "poison":
            raise ValueError
        return await echo(event)

    chat.rule = poisoned
    async with running(sandbox, chat, store):
        await sandbox.say(ADA, ADA, "poison")
        await sandbox.say(ADA, ADA, "next")
        await sandbox.wait_for(ADA, ADA, lambda message: message["html"] == "you: next")

    assert [event.text for event in chat.events] == ["poison"] * runner_module.MAX_FAILURES + ["next"]


async def test_what_is_in_hand_is_finished_at_the_end(sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def slow(event: Event) -> Answer:
        reached.set()
        await go_on.wait()
        return await echo(event)

    chat.rule = slow
    runner = made(sandbox, chat, store)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(runner.run())
        await sandbox.say(ADA, ADA, "fox")
        await reached.wait()
        runner.stop()
        go_on.set()

    assert [message["html"] for message in sandbox.messages(ADA, ADA)] == ["fox", "you: fox"]


async def test_commands_are_declared_in_both_languages(sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore) -> None:
    async with running(sandbox, chat, store):
        await until(lambda: len(sandbox.methods.descriptions) == 2)

    assert sandbox.commands("fr") == [
        {"name": "imagine", "description": "imagine in en", "options": []},
        {"name": "balance", "description": "balance in en", "options": []},
    ]
    assert [item["description"] for item in sandbox.commands("zh-hans")] == ["imagine in zh", "balance in zh"]
    assert sandbox.methods.descriptions == {("description", ""): "Pictures from words", ("description", "zh"): "文字生成图片"}


async def test_a_refused_token_stops_the_start(sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore) -> None:
    sandbox.revoked = True

    with pytest.raises(Misconfigured) as caught:
        await made(sandbox, chat, store).run()

    assert caught.value.facts["setting"] == "TELEGRAM_TOKEN"
    assert caught.value.__cause__ is None
    assert TOKEN not in str(caught.value)


async def test_a_token_that_is_revoked_later_stops_the_bot(sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore) -> None:
    runner = made(sandbox, chat, store)

    async def revoke() -> None:
        await until(lambda: "getUpdates" in sandbox.calls)
        sandbox.revoked = True
        await sandbox.say(ADA, ADA, "hi")

    with pytest.raises(Misconfigured, match="TELEGRAM_TOKEN"):
        await asyncio.gather(runner.run(), revoke())


async def test_the_token_is_never_logged(
    sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "telegram"):
        caplog.set_level(logging.DEBUG, name)
    sandbox.fail("getMe", status=502)
    sandbox.fail("getUpdates", "lost")
    sandbox.fail("sendMessage", "lost")

    async with running(sandbox, chat, store):
        await sandbox.say(ADA, ADA, "/imagine", picture=picture())
        await until(lambda: chat.reports)

    assert "HTTP Request: POST" in caplog.text  # the lines that would show it are there
    logged = caplog.text + "".join(capsys.readouterr())
    assert TOKEN not in logged
    assert TOKEN.partition(":")[2] not in logged


def test_pauses() -> None:
    assert [pause_after(NetworkError("x"), failures) for failures in (1, 2, 3, 4, 5, 6, 100)] == [1, 2, 4, 8, 16, 30, 30]
    assert pause_after(RetryAfter(42), 1) == 42
    assert pause_after(None, 2) == 2


async def test_a_sender_beside_the_runner(sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore) -> None:
    async with running(sandbox, chat, store) as runner:
        sent = await runner.sender.send(str(BO), Message("a notice"), "1")

    assert [message["id"] for message in sandbox.messages(BO, BO)] == [sent]
