"""The delivery loop: floods kept, waits honoured chat by chat, order under failure, nothing sent twice and nothing to who shut us out."""

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bots.chat.delivery import BACK_OFF, MAX_TRIES
from bots.chat.pace import Bucket, Pace, Throttle
from bots.chat.types import SendFailed
from core.address import Address
from core.app import OUTBOX
from core.mailbox.models import State
from tests.chat.post import ADA, BO, UNHURRIED, Post, posted, running


@pytest.fixture
async def post(database_url: str, tmp_path: Path) -> AsyncIterator[Post]:
    async with posted(database_url, tmp_path) as opened:
        yield opened


async def test_what_is_too_much_for_a_chat_is_put_off_and_arrives_in_order(post: Post) -> None:
    post.delivery._throttles["telegram"] = Throttle(Pace(25, Bucket(4, 1.5), Bucket(4, 1.5)))
    words = [f"w{n}" for n in range(6)]
    await post.say(ADA, *words)
    await post.all()
    sent = post.sender.of(ADA)
    assert 4 <= len(sent) < 6 and sent == words[: len(sent)], "its burst, and on a slow machine what came due meanwhile"
    assert 0 < await post.due_in(ADA, len(sent)) <= 1.5
    await post.say(BO, "hello")
    await post.all()
    assert post.sender.of(BO) == ["hello"]
    async with asyncio.timeout(20):
        while len(post.sender.of(ADA)) < 6:
            if not await post.delivery.deliver():
                await asyncio.sleep(0.02)
    assert post.sender.of(ADA) == words
    assert {each.tries for each in await post.rows(ADA)} == {0}


async def test_a_short_wait_is_not_written_down(post: Post) -> None:
    post.delivery._throttles["telegram"] = Throttle(Pace(25, Bucket(1, 0.2), Bucket(1, 0.2)))
    await post.say(ADA, "first", "second")
    due = [each.due_at for each in await post.rows(ADA)]
    began = time.monotonic()
    assert [await post.delivery.deliver() for _ in range(3)] == [1, 1, 0]
    assert post.sender.of(ADA) == ["first", "second"] and time.monotonic() - began >= 0.19
    assert [each.due_at for each in await post.rows(ADA)] == due


# What a platform answers


async def test_each_message_arrives_once_in_order_from_whoever_delivers(post: Post) -> None:
    words = [f"w{n}" for n in range(8)]
    for each in words:
        await post.say(ADA, each)
        await post.say(BO, each)
    loops = [post.delivery, *(post.anew() for _ in range(3))]
    while sum(await asyncio.gather(*(loop.deliver() for loop in loops))):
        pass
    assert post.sender.of(ADA) == post.sender.of(BO) == words
    rows = [*await post.rows(ADA), *await post.rows(BO)]
    assert sorted(post.sender.nonces) == sorted(str(each.id) for each in rows)
    assert {each.state for each in rows} == {State.DONE}


async def test_a_wait_is_honoured_by_its_chat_alone(post: Post) -> None:
    post.sender.trouble[ADA.chat] = deque([SendFailed("later", "Flood control", 37.0)])
    for words in ("one", "two"):
        await post.say(ADA, words)
        await post.say(BO, words)
    await post.all()
    assert (post.sender.of(ADA), post.sender.of(BO)) == ([], ["one", "two"])
    assert 36.0 < await post.due_in(ADA) <= 37.0
    await post.say(BO, "three")
    await post.all()
    assert post.sender.of(BO) == ["one", "two", "three"]
    await post.later(36)
    await post.all()
    assert post.sender.of(ADA) == []
    await post.later(1)
    await post.all()
    assert post.sender.of(ADA) == ["one", "two"]


async def test_a_wait_that_is_told_of_the_whole_platform_holds_every_chat(post: Post) -> None:
    post.sender.trouble[ADA.chat] = deque([SendFailed("later", "global", 37.0, everywhere=True)])
    await post.say(ADA, "one")
    await post.all()
    await post.say(BO, "two")
    await post.all()
    assert (post.sender.tries, post.sender.calls) == (1, [])
    assert 36.0 < await post.due_in(BO) <= 37.0
    await post.later(37)
    await post.all()
    assert (post.sender.of(ADA), post.sender.of(BO)) == (["one"], ["two"])


async def test_failures_are_tried_again_ever_later_and_then_given_up(post: Post) -> None:
    post.sender.trouble[ADA.chat] = deque([SendFailed("later", "trouble")] * (MAX_TRIES + 1))
    await post.say(ADA, "first", "second")
    pauses = []
    for _ in range(MAX_TRIES):
        assert await post.delivery.deliver() == 1
        pauses.append(round(await post.due_in(ADA)))
        await post.later(pauses[-1])
    assert pauses == [*BACK_OFF, *[BACK_OFF[-1]] * (MAX_TRIES - len(BACK_OFF))]
    assert post.sender.of(ADA) == []
    await post.all()
    first, second = await post.rows(ADA)
    assert (first.state, first.problem, second.state) == (State.DROPPED, "later: trouble", State.DONE)
    assert post.sender.of(ADA) == ["second"]


@pytest.mark.parametrize("kind", ["gone", "refused"])
async def test_what_will_never_be_taken_is_dropped_alone(post: Post, kind: Any) -> None:
    post.sender.trouble[ADA.chat] = deque([SendFailed(kind, "no such thing")])
    await post.say(ADA, "first", "second")
    await post.all()
    first, second = await post.rows(ADA)
    assert (first.state, first.problem, second.state) == (State.DROPPED, f"{kind}: no such thing", State.DONE)
    assert post.sender.of(ADA) == ["second"]


async def test_a_chat_that_shut_us_out_hears_no_more_and_others_do(post: Post) -> None:
    made, _ = await running(post)
    chat = made.address
    assert chat is not None
    post.sender.trouble[chat.chat] = deque([SendFailed("blocked", "bot was blocked by the user")])
    tries = post.sender.tries
    await post.say(chat, "one", "two", "three")
    await post.say(BO, "hello")
    await post.all()
    await post.later(3_600)
    await post.all()
    assert post.sender.tries == tries + 2  # one try there, and the hello
    assert post.sender.of(BO) == ["hello"]
    states = [(each.state, each.problem) for each in await post.rows(chat)]
    assert states == [(State.DROPPED, "bot was blocked by the user")] * 4  # the progress message too


async def test_a_group_that_shuts_us_out_does_so_in_all_its_topics(post: Post) -> None:
    topic, group, other, longer = (Address("telegram", chat) for chat in ("-100/45", "-100", "-100/4", "-1001"))
    post.sender.gates |= {each.chat: asyncio.Event() for each in (group, other, longer)}
    post.sender.trouble[topic.chat] = deque([SendFailed("blocked", "have no rights")])
    for each in (topic, group, other, longer):
        await post.say(each, "one", "two")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(post.all())
        async with asyncio.timeout(5):
            while {each.state for each in await post.rows(topic)} != {State.DROPPED}:  # noqa: ASYNC110 - nothing sets an event
                await asyncio.sleep(0.01)
        for gate in post.sender.gates.values():
            gate.set()
    await post.all()
    states = {each.chat: [row.state for row in await post.rows(each)] for each in (group, other, longer)}
    assert {chat: state[1] for chat, state in states.items()} == {"-100": State.DROPPED, "-100/4": State.DROPPED, "-1001": State.DONE}


async def test_the_order_of_a_chat_outlives_any_failure(post: Post) -> None:
    rng = random.Random(3)
    chats = [Address("telegram", str(2_000 + n)) for n in range(5)]
    words = [f"w{n}" for n in range(12)]
    for chat in chats:
        failures = [SendFailed("later", "trouble", rng.choice((None, 0.0, 0.01))) if rng.random() < 0.4 else None for _ in range(60)]
        post.sender.trouble[chat.chat] = deque(failures)
        await post.say(chat, *words)
    loops = [post.delivery, post.anew()]
    for each in loops:
        each._throttles["telegram"] = Throttle(UNHURRIED)
    for _ in range(300):
        await asyncio.gather(*(each.deliver() for each in loops))
        if len(post.sender.calls) == len(chats) * len(words):
            break
        await post.move(10)
    assert {chat.chat: post.sender.of(chat) for chat in chats} == {chat.chat: words for chat in chats}


async def test_a_chat_that_hangs_does_not_hold_up_the_others(post: Post) -> None:
    post.sender.gates[ADA.chat] = asyncio.Event()
    stop = asyncio.Event()
    await post.say(ADA, "slow")
    async with asyncio.TaskGroup() as group:
        group.create_task(post.delivery.run(stop))
        try:
            async with asyncio.timeout(20):
                while not post.sender.tries:  # noqa: ASYNC110  # the fake tells when something arrived, and nothing has
                    await asyncio.sleep(0.01)
            await post.say(BO, "quick")
            await post.stage.app.hints.wake(OUTBOX)
            async with asyncio.timeout(1.5):
                await post.sender.arrived.wait()
        finally:
            post.sender.gates[ADA.chat].set()
            stop.set()
            await post.stage.app.hints.wake(OUTBOX)
    assert post.sender.of(BO) == ["quick"]


async def test_a_hint_delivers_at_once_and_stop_ends_it(post: Post) -> None:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(post.delivery.run(stop))
        for words in ("one", "two"):
            post.sender.arrived.clear()
            await post.say(ADA, words)
            await post.stage.app.hints.wake(OUTBOX)
            async with asyncio.timeout(20):
                await post.sender.arrived.wait()
        stop.set()
        await post.stage.app.hints.wake(OUTBOX)
    await post.say(ADA, "three")
    assert post.sender.of(ADA) == ["one", "two"]
