"""Puts the bot before the stand-in, and takes it away again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from bots.telegram.runner import TelegramRunner, UpdateStore
from sandbox.telegram import TelegramSandbox
from tests.telegram_bot.fakes import TOKEN, FakeChat


def made(sandbox: TelegramSandbox, chat: FakeChat, store: UpdateStore, **options: Any) -> TelegramRunner:
    return TelegramRunner(chat, store, token=TOKEN, api_url=f"{sandbox.state.public_url}/telegram", **options)


@asynccontextmanager
async def running(sandbox: TelegramSandbox, chat: FakeChat, store: UpdateStore, **options: Any) -> AsyncIterator[TelegramRunner]:
    runner = made(sandbox, chat, store, **options)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(runner.run())
        try:
            yield runner
        finally:
            runner.stop()


async def killed(task: asyncio.Task[None]) -> None:
    """As near to `kill -9` as a test in one process comes: nothing is finished."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def until(condition: Callable[[], object]) -> None:
    """Waits for something that shows in a value only."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - nothing sets an event
            await asyncio.sleep(0.01)
