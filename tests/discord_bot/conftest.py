"""The sandbox's Discord on a free port, and a bot on it."""

from collections.abc import AsyncIterator

import pytest

from bots.discord.runner import DiscordRunner
from sandbox.discord import DiscordSandbox
from tests.discord_bot.fakes import FakeChat, running, serving


@pytest.fixture
async def sandbox() -> AsyncIterator[DiscordSandbox]:
    """Discord as the bot and the people see it."""
    async with serving() as sandbox:
        yield sandbox


@pytest.fixture
def chat() -> FakeChat:
    """The chat layer."""
    return FakeChat()


@pytest.fixture
async def bot(chat: FakeChat, sandbox: DiscordSandbox) -> AsyncIterator[DiscordRunner]:
    """A bot that is connected."""
    async with running(chat, sandbox) as runner:
        yield runner


@pytest.fixture
async def hasty_bot(chat: FakeChat, sandbox: DiscordSandbox) -> AsyncIterator[DiscordRunner]:
    """A bot that takes 0.4 s for too long, so that tests need not wait for two seconds."""
    async with running(chat, sandbox, patience=0.4) as runner:
        yield runner
