"""Hints in process and through a real Valkey: wake-ups, half-filled forms, rate limits; and that losing Redis loses nothing."""

import asyncio

import pytest

from core.hints import LocalHints, RedisHints, open_hints, wait


@pytest.fixture(params=["local", "redis"])
def hints_url(request: pytest.FixtureRequest) -> str:
    return "" if request.param == "local" else str(request.getfixturevalue("redis_url"))


async def test_wake_ups_texts_and_limits(hints_url: str) -> None:
    async with open_hints(hints_url) as hints:
        assert isinstance(hints, RedisHints if hints_url else LocalHints)
        event = hints.on("outbox")
        await hints.wake("outbox")
        assert event.is_set()
        await wait(event, 1.0)
        assert not event.is_set()
        assert await hints.recall("form:1") == ""
        await hints.remember("form:1", "半", 60)
        assert await hints.recall("form:1") == "半"
        await hints.remember("form:1", "", 60)
        assert await hints.recall("form:1") == ""
        admitted = await asyncio.gather(*(hints.admit("ada", 10) for _ in range(50)))
        assert sum(bool(each) for each in admitted) == 10
        assert await hints.admit("bo", 10)


async def test_one_process_wakes_another(redis_url: str) -> None:
    async with open_hints(redis_url) as one, open_hints(redis_url) as other:
        event = other.on("generations")
        async with asyncio.timeout(10):
            await event.wait()  # set once when it begins to listen
            event.clear()
            await one.wake("generations")
            await event.wait()


async def test_one_event_for_several_topics_and_a_wake_up_that_stays_here(redis_url: str) -> None:
    async with open_hints(redis_url) as one, open_hints(redis_url) as other:
        here, there = one.on("outbox", "outbox:telegram"), other.on("outbox", "outbox:telegram")
        async with asyncio.timeout(10):
            await asyncio.gather(here.wait(), there.wait())  # set once when they begin to listen
            here.clear()
            there.clear()
            await one.wake("outbox", others=False)
            await one.wake("outbox:discord")
            assert here.is_set() and not there.is_set()
            await one.wake("outbox:telegram")
            await there.wait()


async def test_a_redis_that_is_away_costs_only_speed() -> None:
    async with open_hints("redis://127.0.0.1:1/0") as hints:
        event = hints.on("outbox")
        await hints.wake("outbox")
        assert event.is_set()
        await hints.remember("form:1", "x", 60)
        assert await hints.recall("form:1") == ""
        assert await hints.admit("ada", 1)


async def test_a_minute_moves_along_and_who_is_gone_is_forgotten() -> None:
    hints = LocalHints()
    standing = [await hints.admit("ada", 2) for _ in range(3)]
    assert [bool(each) for each in standing] == [True, True, False]
    assert [each.left for each in standing] == [1, 0, 0] and 59 <= standing[2].seconds <= 60
    hints._uses["ada"][0] -= 60  # the oldest is a minute ago
    assert await hints.admit("ada", 2) and not await hints.admit("ada", 2)
    hints._uses["ada"][1] -= 60
    hints._uses["ada"][0] -= 60
    hints._tidy_at = 1
    assert await hints.admit("bo", 2) and set(hints._uses) == {"bo"}
