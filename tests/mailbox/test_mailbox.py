"""The mailbox by itself: each event handled once, each message sent once and in its order, whoever takes in parallel."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import insert, select

from core.address import Address
from core.db import DAY, SECOND, Database
from core.mailbox.models import MAX_EVENT_ID, Delivery, Notice, Received, Sent, State, inbox, outbox
from core.mailbox.service import KEEP, LEASE, PRUNE_BATCH, Mailbox
from core.vault.errors import CannotOpen
from tests.stage import staged

T = TypeVar("T")
NOW = 1_790_000_000_000_000
ADA, BO = Address("telegram", "1001"), Address("telegram", "1002")
PLATFORMS = ("telegram", "discord")


async def at(database: Database, now: int, work: Callable[[Mailbox], Awaitable[T]]) -> T:
    """One committed transaction of the mailbox at that moment."""
    return await database.run(lambda connection: work(Mailbox(connection, now)))


async def said(database: Database, *keys: str, address: Address = ADA, kind: str = "reply", now: int = NOW, **more: Any) -> list[int]:
    """Rows of those keys, written in one transaction; their ids."""
    notices = [Notice(key, address, kind, {"key": key}, **more) for key in keys]
    rows = await at(database, now, lambda box: box.say(notices))
    return [rows[key] for key in keys]


async def taken(database: Database, now: int = NOW, limit: int = 100) -> list[Delivery]:
    """What one taker gets."""
    return await at(database, now, lambda box: box.take_deliveries(PLATFORMS, limit))


async def keys(database: Database, now: int = NOW) -> list[str]:
    """The keys of what one taker gets."""
    return [each.body["key"] for each in await taken(database, now)]


async def row(database: Database, row_id: int) -> Any:
    """An outbox row as it is."""
    async with database.read() as connection:
        return (await connection.execute(select(outbox).where(outbox.c.id == row_id))).one()


async def received(database: Database, *ids: str, chat: str = "1001", platform: str = "telegram", now: int = NOW) -> None:
    """Stores events."""
    await at(database, now, lambda box: box.store(platform, [Received(each, chat, each.encode()) for each in ids]))


async def events(database: Database, now: int = NOW, platform: str = "telegram", limit: int = 100) -> list[str]:
    """The ids of the events that one taker gets."""
    return [each.event_id for each in await at(database, now, lambda box: box.take_events(platform, limit))]


# The inbox


async def test_an_event_is_kept_once_by_its_platform_and_id(database: Database) -> None:
    await received(database, "7")
    await asyncio.gather(*(received(database, "7", chat="other", now=NOW + number) for number in range(12)))
    await received(database, "7", platform="discord")
    async with database.read() as connection:
        rows = (await connection.execute(select(inbox.c.platform, inbox.c.chat, inbox.c.received_at).order_by(inbox.c.id))).all()
    assert [tuple(each) for each in rows] == [("telegram", "1001", NOW), ("discord", "1001", NOW)]
    assert await events(database) == ["7"]
    assert await events(database, platform="discord") == ["7"]


async def test_parallel_handlers_of_one_event_find_one_first(database: Database) -> None:
    await received(database, "7")
    answers = await asyncio.gather(*(at(database, NOW, lambda box: box.first("telegram", "7", "1001")) for _ in range(16)))
    assert sorted(answers) == [False] * 15 + [True]
    unseen = await asyncio.gather(*(at(database, NOW, lambda box: box.first("telegram", "8", "1001")) for _ in range(16)))
    assert sorted(unseen) == [False] * 15 + [True]
    assert await at(database, NOW, lambda box: box.was_handled("telegram", "8"))
    assert not await at(database, NOW, lambda box: box.was_handled("discord", "8"))
    await received(database, "7", "8", now=NOW + LEASE)
    assert await events(database, NOW + 2 * LEASE) == []


async def test_an_event_whose_effects_failed_is_not_handled(database: Database) -> None:
    await received(database, "7")

    async def fails(box: Mailbox) -> None:
        assert await box.first("telegram", "7", "1001")
        raise ValueError

    with pytest.raises(ValueError):
        await at(database, NOW, fails)
    assert not await at(database, NOW, lambda box: box.was_handled("telegram", "7"))
    assert await events(database) == ["7"]


async def test_a_handled_event_loses_its_body(database: Database) -> None:
    await received(database, "1", "2", "3")
    assert await at(database, NOW, lambda box: box.first("telegram", "1", "1001"))
    await at(database, NOW + 5, lambda box: box.mark_handled([("telegram", "2", "1001"), ("telegram", "9", "1001")]))
    await at(database, NOW + 9, lambda box: box.mark_handled([("telegram", "1", "1001"), ("telegram", "2", "1001")]))
    async with database.read() as connection:
        rows = await connection.execute(select(inbox.c.event_id, inbox.c.body, inbox.c.handled_at).order_by(inbox.c.event_id))
        assert [tuple(each) for each in rows] == [("1", None, NOW), ("2", None, NOW + 5), ("3", b"3", None), ("9", None, NOW + 5)]


async def test_a_chats_events_are_taken_one_after_the_other_and_chats_beside_each_other(database: Database) -> None:
    await received(database, "1", "2", chat="a")
    await received(database, "3", chat="b")
    assert await events(database) == ["1", "3"]
    assert await events(database) == []  # 2 waits for 1, which is leased
    assert await at(database, NOW, lambda box: box.first("telegram", "1", "a"))
    assert await events(database) == ["2"]
    assert await events(database, NOW + LEASE - 1) == []
    assert await events(database, NOW + LEASE) == ["2", "3"]  # their takers are dead


async def test_parallel_takers_never_get_one_event_twice(database: Database) -> None:
    for number in range(40):
        await received(database, f"e{number}", chat=f"c{number}")
    batches = await asyncio.gather(*(events(database, limit=8) for _ in range(12)))
    got = [each for batch in batches for each in batch]
    assert len(got) == len(set(got)) and max(map(len, batches)) <= 8
    while more := await events(database, limit=8):
        got += more
    assert sorted(got) == sorted(f"e{number}" for number in range(40))


async def test_bodies_wait_veiled(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path) as stage:
        spoken = b"sk-a-key-that-somebody-pasted"
        veiled = stage.app.vault.veil(spoken, "telegram:7")
        await stage.app.run(lambda work: work.mailbox.store("telegram", [Received("7", "1001", veiled)]))
        async with stage.app.read() as work:
            kept = await work.connection.scalar(select(inbox.c.body))
        assert kept is not None and spoken not in kept
        (event,) = await stage.app.run(lambda work: work.mailbox.take_events("telegram", 1))
        assert "body" not in repr(event)
        assert stage.app.vault.unveil(event.body, "telegram:7") == spoken
        with pytest.raises(CannotOpen):
            stage.app.vault.unveil(event.body, "telegram:8")
        with pytest.raises(CannotOpen):
            stage.app.vault.unveil(event.body[:-1] + bytes([event.body[-1] ^ 1]), "telegram:7")


async def test_an_event_id_that_is_too_long_is_a_bug_and_not_cut(database: Database) -> None:
    assert await at(database, NOW, lambda box: box.first("telegram", "x" * MAX_EVENT_ID, "1"))
    with pytest.raises(AssertionError):
        await at(database, NOW, lambda box: box.first("telegram", "x" * (MAX_EVENT_ID + 1), "1"))


# The outbox


async def test_a_notice_is_written_once_by_its_key(database: Database) -> None:
    answers = await asyncio.gather(*(at(database, NOW, lambda box: box.say([Notice("k", ADA, "reply", {"n": 1})])) for _ in range(12)))
    assert sorted(len(each) for each in answers) == [0] * 11 + [1]
    mixed = await at(database, NOW, lambda box: box.say([Notice(key, BO, "reply", {"n": 2}) for key in ("k", "new")]))
    assert list(mixed) == ["new"]
    assert [(each.address, each.body) for each in await taken(database)] == [(ADA, {"n": 1}), (BO, {"n": 2})]
    assert await at(database, NOW, lambda box: box.say([])) == {}


async def test_each_chat_is_told_in_order_and_one_thing_at_a_time(database: Database) -> None:
    for number in (1, 2, 3):
        await said(database, f"ada{number}")
        await said(database, f"bo{number}", address=BO)
    first = await taken(database)
    assert [each.body["key"] for each in first] == ["ada1", "bo1"]
    assert await keys(database) == []
    await at(database, NOW, lambda box: box.delivered([Sent(first[0].id, "m1")]))
    assert await keys(database) == ["ada2"]
    assert await at(database, NOW, lambda box: box.waiting()) == 5


async def test_parallel_takers_never_get_one_row_twice(database: Database) -> None:
    for number in range(40):
        await said(database, f"k{number}", address=Address("telegram", str(number)))
    batches = await asyncio.gather(*(taken(database, limit=8) for _ in range(12)))
    got = [each.id for batch in batches for each in batch]
    assert len(got) == len(set(got)) and max(map(len, batches)) <= 8
    while more := await taken(database, limit=8):
        got += [each.id for each in more]
    assert len(got) == len(set(got)) == 40


async def test_parallel_takers_keep_the_order_of_a_chat(database: Database) -> None:
    rows = await said(database, *(f"k{number}" for number in range(12)))
    sent: list[int] = []

    async def deliver() -> None:
        while len(sent) < len(rows):
            for each in await taken(database):
                sent.append(each.id)
                await at(database, NOW, lambda box, id_=each.id: box.delivered([Sent(id_, "m")]))  # type: ignore[misc]  # a default

    await asyncio.gather(*(deliver() for _ in range(6)))
    assert sent == rows


async def test_a_dead_takers_row_comes_back_when_its_lease_ends(database: Database) -> None:
    (row_id,) = await said(database, "k")
    assert await keys(database) == ["k"]
    assert await keys(database, NOW + LEASE - 1) == []
    assert await keys(database, NOW + LEASE) == ["k"]
    assert await keys(database, NOW + 2 * LEASE - 1) == []
    await at(database, NOW, lambda box: box.delivered([Sent(row_id, "m")]))
    assert await keys(database, NOW + DAY) == []


async def test_whoever_writes_a_row_has_the_first_word(database: Database) -> None:
    (row_id,) = await said(database, "k", leased_until=NOW + 10 * SECOND)
    await said(database, "behind")
    assert await keys(database, NOW + 10 * SECOND - 1) == []
    assert await keys(database, NOW + 10 * SECOND) == ["k"]
    await at(database, NOW, lambda box: box.arrived([Sent(row_id, "m", NOW)]))
    assert ((await row(database, row_id)).state, (await row(database, row_id)).message) == (State.DONE, "m")
    assert await keys(database) == ["behind"]


async def _live(database: Database, key: str = "generation:1", message: str = "m") -> int:
    """A row whose message follows a generation, already sent; due for an edit after five seconds."""
    (row_id,) = await said(database, key, kind="generation", subject=key)
    await at(database, NOW, lambda box: box.arrived([Sent(row_id, message, NOW + 5 * SECOND)]))
    return row_id


async def test_a_live_row_is_edited_and_never_sent_again(database: Database) -> None:
    row_id = await _live(database)
    assert await keys(database, NOW + 5 * SECOND - 1) == []
    (edit,) = await taken(database, NOW + 5 * SECOND)
    assert (edit.id, edit.live, edit.message, edit.subject, edit.created_at) == (row_id, True, "m", "generation:1", NOW)
    await at(database, NOW, lambda box: box.delivered([Sent(row_id, None, NOW + 10 * SECOND)]))
    assert (await row(database, row_id)).message == "m"
    assert [each.live for each in await taken(database, NOW + 10 * SECOND)] == [True]
    await at(database, NOW, lambda box: box.delivered([Sent(row_id, None)]))
    assert await keys(database, NOW + DAY) == []


async def test_what_waits_comes_before_edits_of_its_chat(database: Database) -> None:
    row_id = await _live(database)
    (waiting,) = await said(database, "result")
    due = NOW + 5 * SECOND
    assert await keys(database, due) == ["result"]
    assert await keys(database, due) == []
    await at(database, due, lambda box: box.delivered([Sent(waiting, "m2")]))
    assert [each.id for each in await taken(database, due)] == [row_id]


async def test_a_touch_makes_live_messages_due_and_nothing_else(database: Database) -> None:
    touched, other = await _live(database), await _live(database, "generation:2")
    (first,) = await said(database, "generation:3", kind="generation", subject="generation:3", address=BO, leased_until=NOW + LEASE)
    await at(database, NOW + 1, lambda box: box.touch(["generation:1", "generation:3", "generation:9"]))
    assert [each.id for each in await taken(database, NOW + 1)] == [touched]
    assert ((await row(database, first)).due_at, (await row(database, other)).due_at) == (NOW, NOW + 5 * SECOND)


async def test_arriving_late_changes_nothing(database: Database) -> None:
    (row_id,) = await said(database, "generation:1", kind="generation", subject="generation:1")
    await at(database, NOW, lambda box: box.delivered([Sent(row_id, "theirs")]))
    await at(database, NOW, lambda box: box.arrived([Sent(row_id, "ours", NOW)]))
    assert ((await row(database, row_id)).state, (await row(database, row_id)).message) == (State.DONE, "theirs")


async def test_a_result_clears_the_live_message_of_its_subject_in_its_own_chat_alone(database: Database) -> None:
    row_id, other = await _live(database), await _live(database, "generation:2")
    results = [(await said(database, f"result{number}"))[0] for number in range(4)]
    clears = [(BO, "generation:1"), (ADA, "generation:1"), (ADA, "generation:3"), None]
    sent = [Sent(each, f"r{each}", clears=what) for each, what in zip(results, clears, strict=True)]
    assert await at(database, NOW, lambda box: box.delivered(sent)) == [None, "m", None, None]
    assert [(await row(database, each)).message for each in results] == [f"r{each}" for each in results]
    await at(database, NOW, lambda box: box.touch(["generation:1", "generation:2"]))
    assert [each.id for each in await taken(database, NOW)] == [other]  # the first is gone: nobody edits it
    await at(database, NOW, lambda box: box.delivered([Sent(row_id, None, NOW)]))  # an edit that was under way
    await at(database, NOW, lambda box: box.drop(row_id, "gone"))  # as the platform said of that edit
    assert (await row(database, row_id)).state == State.DONE
    assert await at(database, NOW, lambda box: box.delivered([Sent(results[0], None, clears=(ADA, "generation:1"))])) == [None]


async def test_a_chat_that_has_to_wait_delays_nobody_else(database: Database) -> None:
    (first,) = await said(database, "ada1")
    await said(database, "ada2")
    await said(database, "bo1", address=BO)
    assert await keys(database) == ["ada1", "bo1"]
    await at(database, NOW, lambda box: box.postpone(first, NOW + 60 * SECOND))
    await said(database, "bo2", address=BO)
    await said(database, "discord1", address=Address("discord", ADA.chat))  # the same number on another platform
    assert await keys(database, NOW + LEASE) == ["bo1", "discord1"]
    assert "ada1" not in await keys(database, NOW + 60 * SECOND - 1)
    (again,) = [each for each in await taken(database, NOW + 60 * SECOND) if each.address == ADA]
    assert (again.body["key"], again.tries) == ("ada1", 1)


async def test_a_flood_limit_is_no_failed_try(database: Database) -> None:
    (row_id,) = await said(database, "k")
    await taken(database)
    await at(database, NOW, lambda box: box.put_off(row_id, NOW + SECOND))
    assert await keys(database, NOW + SECOND - 1) == []
    assert [(each.id, each.tries) for each in await taken(database, NOW + SECOND)] == [(row_id, 0)]


async def test_a_chat_that_shut_us_out_is_dropped_whole_and_alone(database: Database) -> None:
    live = await _live(database)
    waiting = await said(database, "k1", "k2")
    (done,) = await said(database, "k3")
    await at(database, NOW, lambda box: box.delivered([Sent(done, "m")]))
    await said(database, "bo", address=BO)
    await at(database, NOW, lambda box: box.drop_chat(ADA, "blocked " + "x" * 300))
    for row_id in (live, *waiting):
        found = await row(database, row_id)
        assert (found.state, found.problem) == (State.DROPPED, ("blocked " + "x" * 300)[:200])
    assert (await row(database, done)).state == State.DONE
    assert await keys(database, NOW + DAY) == ["bo"]
    await said(database, "back again")  # written after: the chat may have let us in again
    assert await keys(database, NOW + DAY) == ["back again"]


async def test_a_row_that_can_never_be_sent_lets_the_next_one_through(database: Database) -> None:
    first, _ = await said(database, "k1", "k2")
    await at(database, NOW, lambda box: box.drop(first, "refused: too ugly"))
    assert (await row(database, first)).problem == "refused: too ugly"
    assert await keys(database) == ["k2"]


async def test_one_platforms_taker_leaves_the_others_alone(database: Database) -> None:
    await said(database, "t")
    await said(database, "d", address=Address("discord", "5"))
    found = await at(database, NOW, lambda box: box.take_deliveries(["discord"], 100))
    assert [each.body["key"] for each in found] == ["d"]
    assert await keys(database) == ["t"]


async def test_old_mail_is_pruned_in_batches_and_what_waits_never(database: Database) -> None:
    rows = [
        {"platform": "telegram", "event_id": f"e{n}", "chat": "1", "received_at": NOW, "handled_at": NOW} for n in range(PRUNE_BATCH + 5)
    ]
    async with database.begin() as connection:
        await connection.execute(insert(inbox), rows)
    done, dropped, waiting = await said(database, "done", "dropped", "waiting")
    live = await _live(database)
    await received(database, "unhandled")
    await at(database, NOW, lambda box: box.delivered([Sent(done, "m")]))
    await at(database, NOW, lambda box: box.drop(dropped, "x"))
    assert await at(database, NOW + KEEP, lambda box: box.prune()) == 0
    assert await at(database, NOW + KEEP + 1, lambda box: box.prune()) == PRUNE_BATCH + 2
    assert await at(database, NOW + KEEP + 1, lambda box: box.prune()) == 5
    assert await at(database, NOW + 2 * KEEP, lambda box: box.prune()) == 0
    async with database.read() as connection:
        assert set(await connection.scalars(select(outbox.c.id))) == {waiting, live}
    assert await events(database, NOW + 2 * KEEP) == ["unhandled"]
