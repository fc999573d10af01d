"""The stand-in on a free loopback port, and a real Bot that talks to it."""

from collections.abc import AsyncIterator

import pytest
from telegram import Bot

from sandbox.telegram import TelegramSandbox
from tests.sandbox.telegram_stage import connected, served
from tests.telegram_bot.fakes import TOKEN, FakeChat, MemoryStore


@pytest.fixture
async def sandbox() -> AsyncIterator[TelegramSandbox]:
    """Ada, Bo and 陈晨 have started the bot."""
    async with served() as sandbox:
        yield sandbox


@pytest.fixture
async def bot(sandbox: TelegramSandbox) -> AsyncIterator[Bot]:
    """An initialised Bot of the real library."""
    async with connected(sandbox, TOKEN) as bot:
        yield bot


@pytest.fixture
def store() -> MemoryStore:
    """Updates in memory."""
    return MemoryStore()


@pytest.fixture
def chat(store: MemoryStore) -> FakeChat:
    """A chat layer that repeats what was said."""
    return FakeChat(store)
