"""Many callers, one batch: what makes the hot steps share a transaction, a statement or a way to Redis."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

GATHER = 0.005
"""Seconds that a batch waits for more when the one before had more than one item: many callers then share the cost of a transaction."""


class Coalescer(Generic[Item, Result]):
    """Runs what many callers ask for at the same time as one batch: all that queued up while the batch before was committing.

    A caller that is alone is a batch of one. Each caller gets its own answer; an answer that is an exception is raised to its caller. When
    a batch fails as a whole, its items are run again one by one, so that the one that is to blame fails alone. A caller that goes away does
    not stop its item. `run` answers in the order of its items. After a batch of several the next one waits `gather` seconds for more.
    """

    def __init__(
        self, run: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]], limit: int, gather: float = GATHER
    ) -> None:
        self._run = run
        self._limit = limit
        self._gather = gather
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._runner: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Result:
        """Queues the item and waits for its answer."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, future))
        if self._runner is None or self._runner.done():
            self._runner = loop.create_task(self._drain())  # owned here: held, and awaited by close()
        return await future

    async def close(self) -> None:
        """Waits until everything asked for is done."""
        if self._runner is not None:
            await self._runner

    async def _drain(self) -> None:
        crowded = False
        while self._waiting:
            if crowded:
                await asyncio.sleep(self._gather)
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._limit))]
            crowded = len(batch) > 1
            for (_, future), answer in zip(batch, await self._answers([item for item, _ in batch]), strict=True):
                if future.cancelled():
                    continue
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)

    async def _answers(self, items: list[Item]) -> Sequence[Result | Exception]:
        try:
            return await self._run(items)
        except Exception as error:  # noqa: BLE001  # whatever it was, it is raised to the callers below
            if len(items) == 1:
                return [error]
        return [answer for item in items for answer in await self._answers([item])]
