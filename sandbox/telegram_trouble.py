"""Trouble on demand: flood limits and faults of the Telegram stand-in."""

import asyncio
import math
import time
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Literal

from sandbox.telegram_rules import ApiError
from sandbox.telegram_state import Chat

Kind = Literal["error", "hang", "lost"]


@dataclass(frozen=True, slots=True)
class FloodLimits:
    """(messages, seconds) that pass. Not published; about 1/s in a chat with bursts, 20/min in a group, 30/s overall."""

    private: tuple[int, float] = (20, 10.0)
    group: tuple[int, float] = (20, 60.0)
    overall: tuple[int, float] = (30, 1.0)


class Flood:
    """Sliding windows over what was sent and edited. `limits` may be replaced at any time; None lets everything pass.

    `refuse_next`: the next message or edit gets 429 with this `retry_after` in seconds, once, whatever was sent before.
    """

    def __init__(self) -> None:
        self.limits: FloodLimits | None = FloodLimits()
        self.refuse_next: int | None = None
        self._sent: defaultdict[int | None, deque[float]] = defaultdict(deque)

    def spend(self, chat: Chat, messages: int = 1) -> None:
        """Counts messages to a chat. Raises error 429 with `retry_after` in whole seconds when there are too many."""
        if self.refuse_next is not None:
            retry_after, self.refuse_next = self.refuse_next, None
            raise _too_many(retry_after)
        if self.limits is None:
            return
        now = time.monotonic()
        per_chat = self.limits.private if chat.kind == "private" else self.limits.group
        windows = ((self._sent[chat.id], *per_chat), (self._sent[None], *self.limits.overall))
        wait = max(_wait(sent, count, seconds, messages, now) for sent, count, seconds in windows)
        if wait > 0:
            raise _too_many(math.ceil(wait))
        for sent, _, _ in windows:
            sent.extend([now] * messages)


def _too_many(retry_after: int) -> ApiError:
    return ApiError(429, f"Too Many Requests: retry after {retry_after}", retry_after=retry_after)


def _wait(sent: deque[float], count: int, seconds: float, messages: int, now: float) -> float:
    while sent and sent[0] <= now - seconds:
        sent.popleft()
    excess = len(sent) + messages - count
    return sent[min(excess, len(sent)) - 1] + seconds - now if excess > 0 and sent else 0.0


@dataclass(slots=True)
class Fault:
    """The next `times` calls of `method` ("*": any) go wrong.

    "error": answers `status`, nothing is done. "hang": no answer, nothing is done. "lost": it is done, and the connection breaks before
    the answer.
    """

    method: str
    kind: Kind
    status: int = 500
    times: int = 1


class Faults:
    """The faults that wait for their calls."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self._released = asyncio.Event()

    def add(self, fault: Fault) -> None:
        """Sets a fault up."""
        self._waiting.append(fault)

    def next_for(self, method: str) -> Fault | None:
        """The fault that hits this call, if any."""
        for fault in self._waiting:
            if fault.method.lower() in ("*", method.lower()):
                fault.times -= 1
                if fault.times <= 0:
                    self._waiting.remove(fault)
                return fault
        return None

    def clear(self) -> None:
        """Forgets what waits, and lets go of the calls that hang."""
        self._waiting.clear()
        self._released.set()
        self._released = asyncio.Event()

    async def hang(self) -> None:
        """Until `clear`."""
        await self._released.wait()
