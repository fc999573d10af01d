"""Waiting for generations to end: however many requests wait, one question to the database at a time answers them all."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable

import structlog

from core.app import ENDED, App
from core.db import UNREACHABLE
from core.generations.models import Generation
from core.generations.pages import MAX_AWAITED, ended
from core.hints import wait

LOOK_PAUSE = 0.005
"""Seconds between two looks: what ends meanwhile is seen together."""
SWEEP_SECONDS = 1.0
"""How often it looks although nothing woke it: hints may be lost."""

log = structlog.get_logger(__name__)


class Waiting:
    """One per process. It looks whenever something was settled, and only while somebody waits."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._settled = app.hints.on(ENDED)
        self._waiting: defaultdict[int, set[asyncio.Future[Generation]]] = defaultdict(set)
        self._looker: asyncio.Task[None] | None = None
        self.looks = 0

    async def for_all(self, numbers: Iterable[int], seconds: float) -> dict[int, Generation]:
        """Those of the generations that have ended within so many seconds, by number; all of them where there was time."""
        loop = asyncio.get_running_loop()
        wanted: dict[int, asyncio.Future[Generation]] = {number: loop.create_future() for number in numbers}
        for number, future in wanted.items():
            self._waiting[number].add(future)
        self._settled.set()  # they may have ended before anybody waited
        if self._looker is None or self._looker.done():
            self._looker = loop.create_task(self._look())  # owned here: ends when nobody waits, and is awaited by close()
        try:
            await asyncio.wait(wanted.values(), timeout=seconds)
        finally:
            for number, future in wanted.items():
                self._leave(number, future)
        return {number: future.result() for number, future in wanted.items() if not future.cancelled()}

    async def close(self) -> None:
        """Ends every waiting at once: the process is stopping. What was waited for goes on."""
        for future in [future for futures in self._waiting.values() for future in futures]:
            future.cancel()
        if self._looker is not None:
            self._settled.set()
            await self._looker

    def _leave(self, number: int, future: "asyncio.Future[Generation]") -> None:
        future.cancel()
        self._waiting[number].discard(future)
        if not self._waiting[number]:
            del self._waiting[number]
        if not self._waiting:
            self._settled.set()

    async def _look(self) -> None:
        while self._waiting:
            await wait(self._settled, SWEEP_SECONDS)
            numbers = list(self._waiting)
            for start in range(0, len(numbers), MAX_AWAITED):
                await self._look_at(numbers[start : start + MAX_AWAITED])
            await asyncio.sleep(LOOK_PAUSE)

    async def _look_at(self, numbers: list[int]) -> None:
        self.looks += 1
        try:
            async with self._app.read() as work:
                found = await ended(work.connection, numbers)
        except UNREACHABLE as error:
            log.warning("waiting_trouble", problem=type(error).__name__)
            return
        for number, generation in found.items():
            for future in self._waiting.get(number, ()):
                if not future.done():
                    future.set_result(generation)
