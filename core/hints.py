"""Hints between processes: wake-ups, rate limits and half-filled forms. Losing all of them loses nothing.

In process by default, through Redis when there are several processes. A Redis that is down costs only speed: wake-ups are then found by the
sweepers, limits admit, forms start again.
"""

import asyncio
import contextlib
import math
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakSet

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from core.coalescer import Coalescer

CHANNEL = "aetherflow:wake"
REDIS_SECONDS = 2.0
"""How long a hint may take before it is given up."""
RECONNECT_SECONDS = 1.0
MAX_REMEMBERED = 100_000
MAX_KEYS = 10_000
"""Keys that are counted before those not used within a minute are forgotten."""
WINDOW_SECONDS = 60

log = structlog.get_logger(__name__)
MAX_COUNTED = 200
"""Uses that are counted on one way to Redis."""
_COUNT = """
local time = redis.call('TIME')
local now, most, window = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[1]), tonumber(ARGV[2])
local oldest = redis.call('LINDEX', KEYS[1], -1)
while oldest and tonumber(oldest) <= now - window do
  redis.call('RPOP', KEYS[1])
  oldest = redis.call('LINDEX', KEYS[1], -1)
end
local used = redis.call('LLEN', KEYS[1])
local admitted = used < most
if admitted then
  redis.call('LPUSH', KEYS[1], now)
  redis.call('PEXPIRE', KEYS[1], window)
end
return {admitted and 1 or 0, math.max(0, most - used - (admitted and 1 or 0)), (oldest or now) + window - now}"""
"""Counts one use within a moving window: whether it is admitted, how many more would be, and milliseconds until the oldest is out."""


@dataclass(frozen=True, slots=True)
class Admission:
    """True where the use was admitted. `left`: how many more would be; `seconds`: until the oldest counted one no longer counts."""

    admitted: bool
    left: int
    seconds: int

    def __bool__(self) -> bool:
        return self.admitted


class Hints(Protocol):
    """Share one per process."""

    async def wake(self, *topics: str, others: bool = True) -> None:
        """Tells every process that there may be work of these kinds, such as "generations"; without `others` this process alone."""

    def on(self, *topics: str) -> asyncio.Event:
        """An event that is set on each wake-up for one of the topics; its one owner clears it."""

    async def remember(self, key: str, value: str, seconds: int) -> None:
        """Keeps a short text for a while; an empty value forgets it."""

    async def recall(self, key: str) -> str:
        """What was remembered; empty when there is nothing (any more)."""

    async def admit(self, key: str, per_minute: int) -> Admission:
        """Counts one use of `key`; false when there were more than `per_minute` within the last minute."""


class LocalHints:
    """Everything within this process."""

    def __init__(self) -> None:
        self._events: dict[str, WeakSet[asyncio.Event]] = defaultdict(WeakSet)  # gone with their owners
        self._texts: dict[str, tuple[float, str]] = {}
        self._uses: dict[str, deque[float]] = {}
        self._tidy_at = MAX_KEYS

    async def wake(self, *topics: str, others: bool = True) -> None:
        """See Hints."""
        for topic in topics:
            for event in list(self._events[topic]):
                event.set()

    async def wake_all(self) -> None:
        """Sets every event: something may have been missed."""
        await self.wake(*self._events)

    def on(self, *topics: str) -> asyncio.Event:
        """See Hints."""
        event = asyncio.Event()
        for topic in topics:
            self._events[topic].add(event)
        return event

    async def remember(self, key: str, value: str, seconds: int) -> None:
        """See Hints."""
        now = time.monotonic()
        if len(self._texts) >= MAX_REMEMBERED:
            self._texts = {name: kept for name, kept in self._texts.items() if kept[0] > now}
        if value:
            self._texts[key] = (now + seconds, value)
        else:
            self._texts.pop(key, None)

    async def recall(self, key: str) -> str:
        """See Hints."""
        until, value = self._texts.get(key, (0.0, ""))
        return value if until > time.monotonic() else ""

    async def admit(self, key: str, per_minute: int) -> Admission:
        """See Hints."""
        now = time.monotonic()
        if key not in self._uses and len(self._uses) >= self._tidy_at:
            self._uses = {name: uses for name, uses in self._uses.items() if uses and uses[-1] > now - WINDOW_SECONDS}
            self._tidy_at = max(MAX_KEYS, 2 * len(self._uses))
        uses = self._uses.setdefault(key, deque())
        while uses and uses[0] <= now - WINDOW_SECONDS:
            uses.popleft()
        admitted = len(uses) < per_minute
        if admitted:
            uses.append(now)
        seconds = math.ceil(uses[0] + WINDOW_SECONDS - now) if uses else 0
        return Admission(admitted, max(0, per_minute - len(uses)), seconds)


class RedisHints:
    """Across processes, through Redis or Valkey."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS, decode_responses=True)
        self._local = LocalHints()
        self._admits: Coalescer[tuple[str, int], Admission] = Coalescer(self._admit, MAX_COUNTED, gather=0)

    async def wake(self, *topics: str, others: bool = True) -> None:
        """See Hints."""
        await self._local.wake(*topics)
        if not others:
            return
        try:
            await self._redis.publish(CHANNEL, " ".join(topics))
        except (RedisError, OSError) as error:
            log.warning("hint_lost", topics=topics, problem=type(error).__name__)

    def on(self, *topics: str) -> asyncio.Event:
        """See Hints."""
        return self._local.on(*topics)

    async def remember(self, key: str, value: str, seconds: int) -> None:
        """See Hints."""
        try:
            if value:
                await self._redis.set(f"aetherflow:{key}", value, ex=seconds)
            else:
                await self._redis.delete(f"aetherflow:{key}")
        except (RedisError, OSError) as error:
            log.warning("hint_lost", key=key, problem=type(error).__name__)

    async def recall(self, key: str) -> str:
        """See Hints."""
        try:
            value = await self._redis.get(f"aetherflow:{key}")
        except (RedisError, OSError) as error:
            log.warning("hint_lost", key=key, problem=type(error).__name__)
            return ""
        return value if isinstance(value, str) else ""

    async def admit(self, key: str, per_minute: int) -> Admission:
        """See Hints."""
        return await self._admits((key, per_minute))

    async def listen(self) -> None:
        """Receives the wake-ups of other processes until cancelled; reconnects by itself, and then wakes everyone once."""
        while True:
            try:
                async with self._redis.pubsub() as pubsub:
                    await pubsub.subscribe(CHANNEL)
                    await self._local.wake_all()
                    while True:
                        message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=None)
                        if message is not None:
                            await self._local.wake(*message["data"].split())
            except (RedisError, OSError) as error:
                log.warning("hints_disconnected", problem=type(error).__name__)
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _admit(self, uses: Sequence[tuple[str, int]]) -> list[Admission]:
        """Counts many uses on one way to Redis and back."""
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for key, per_minute in uses:
                    pipeline.eval(_COUNT, 1, f"aetherflow:uses:{key}", per_minute, WINDOW_SECONDS * 1000)  # type: ignore[unused-awaitable]  # a pipeline queues it
                counted = await pipeline.execute()
        except (RedisError, OSError) as error:
            log.warning("hint_lost", keys=len(uses), problem=type(error).__name__)
            return [Admission(True, per_minute, 0) for _, per_minute in uses]
        return [Admission(bool(good), left, math.ceil(milliseconds / 1000)) for good, left, milliseconds in counted]

    async def close(self) -> None:
        """Closes connections."""
        await self._admits.close()
        await self._redis.aclose()


@contextlib.asynccontextmanager
async def open_hints(redis_url: str) -> AsyncIterator[Hints]:
    """The hints of this process: in process when `redis_url` is empty."""
    if not redis_url:
        yield LocalHints()
        return
    hints = RedisHints(redis_url)
    listener = asyncio.get_running_loop().create_task(hints.listen())  # owned by this block, which ends it
    try:
        yield hints
    finally:
        listener.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listener
        await hints.close()


async def wait(event: asyncio.Event, seconds: float) -> None:
    """Until the event is set, at most so long; clears it."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    event.clear()
