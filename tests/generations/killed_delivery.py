"""A bot's delivery in a process of its own that is there to be killed while it sends a picture. See killed_worker.

python -m tests.generations.killed_delivery POINT PLATFORM, with its settings in the environment.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum

import discord
from discord.http import Route
from telegram import Bot

from bots.chat.chat import SENTENCES
from bots.chat.delivery import Delivery
from bots.chat.types import Message, Platform, Sender
from bots.discord.answers import Answers
from bots.discord.outgoing import DiscordSender
from bots.telegram.outgoing import TelegramSender
from core.app import open_app
from core.config import Settings, load
from core.words import Words
from tests.generations.killed_worker import stand_still


class Point(StrEnum):
    """Where a delivery can be killed that has leased the row of a result."""

    TAKEN = "before the message is sent"
    SENT = "after the message is sent, before that is written down"


class _Sender:
    """A platform's real sender, which stands still beside a picture."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self.platform: Platform = sender.platform
        self.max_picture_bytes = sender.max_picture_bytes

    async def send(self, chat: str, message: Message, nonce: str) -> str:
        if not message.pictures:
            return await self._sender.send(chat, message, nonce)
        await stand_still(Point.TAKEN)
        sent = await self._sender.send(chat, message, nonce)
        await stand_still(Point.SENT)
        return sent

    async def edit(self, chat: str, message_id: str, message: Message) -> None:
        await self._sender.edit(chat, message_id, message)

    async def delete(self, chat: str, message_id: str) -> None:
        await self._sender.delete(chat, message_id)


@asynccontextmanager
async def sender_of(platform: str, settings: Settings) -> AsyncIterator[Sender]:
    """The outgoing half of a bot, logged in and deaf."""
    if platform == "telegram":
        api = f"{settings.telegram_api_url}/bot", f"{settings.telegram_api_url}/file/bot"
        async with Bot(settings.telegram_token.get_secret_value(), *api) as bot:
            yield TelegramSender(bot)
        return
    Route.BASE = settings.discord_api_url
    async with discord.Client(intents=discord.Intents.none()) as client:
        await client.login(settings.discord_token.get_secret_value())
        yield DiscordSender(client, Answers())


async def main() -> None:
    """Delivers until it is killed."""
    settings = load(env_file=None)
    async with open_app(settings, {}) as app, sender_of(sys.argv[2], settings) as sender:
        await Delivery(app, Words(SENTENCES), {sender.platform: _Sender(sender)}).run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main())
