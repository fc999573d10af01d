"""Puts the bot before the stand-in, and takes it away again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from telegram import Bot, LabeledPrice

from bots.chat.types import Bill, Message
from bots.telegram.runner import TelegramRunner, UpdateStore
from sandbox.telegram import TelegramSandbox
from tests.telegram_bot.fakes import TOKEN, FakeChat

ADA = 1001
ORDER = f"{ADA}:7"


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


async def offered(runner: TelegramRunner, order: str = ORDER, chat: int = ADA) -> str:
    """An invoice as the bot sends it, for an order "<person>:<number>"; returns the message's id."""
    return await runner.sender.send(str(chat), Message("", bill=Bill(order, "500 Credits", "For pictures", 250)), f"bill:{order}")


async def offered_to_all(bot: Bot, chat: int = ADA) -> int:
    """An invoice without any protection, as an older version of the bot might have sent it."""
    return (await bot.send_invoice(chat, "500 Credits", "For pictures", ORDER, "XTR", [LabeledPrice("a", 250)])).message_id
