"""Telegram, Discord and the image provider in a process of their own, with people who type `/imagine` at a steady rate.

Prints its address and serves until its standard input closes. Each person asks once, so a chat names its event and no limit of a chat
is met; the limits over all chats are the stand-ins' own. Moments are seconds of the machine's monotonic clock, which all of its
processes share.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import uvloop
from aiohttp import web

from bench.outside import Watching, raise_open_files
from sandbox.discord import DiscordSandbox
from sandbox.discord_state import Message as DiscordMessage
from sandbox.telegram import TelegramSandbox
from sandbox.telegram_state import Chat, Message

WAIT_SECONDS = 60.0
FIRST_TELEGRAM, FIRST_DISCORD = 50_000, 300_000_000_000_000_000
_arrived: ContextVar[float] = ContextVar("arrived")
"""When the request came in that is being served."""


class Town:
    """`typed`: when an event was handed to its platform, by number; `shown`: when its picture came back there."""

    def __init__(self) -> None:
        self.typed: dict[int, float] = {}
        self.shown: dict[int, float] = {}
        self.telegram = TelegramSandbox(public_url="")
        self.discord = DiscordSandbox(public_url="")
        self.stability = Watching("")
        self._news = asyncio.Event()
        self._of_chat: dict[str, int] = {}
        self._new_message = self.telegram.state.new_message
        self.telegram.state.new_message = self._in_telegram  # type: ignore[method-assign]  # the moment is wanted, not another stand-in
        self.discord.state.changed = self._in_discord  # nobody looks at a chat page here

    def meet(self, url: str) -> None:
        """Where all of it is served."""
        self.telegram.state.public_url = url
        self.stability.public_url = url
        self.discord.public_url = self.discord.state.public_url = url

    def settle(self, telegram: int, discord: int) -> None:
        """So many people move in at each platform; they are known by `person`."""
        for number in range(telegram):
            self.telegram.add_person(f"t{number}", "en", FIRST_TELEGRAM + number)
        for number in range(discord):
            self.discord.add_person(f"d{number}", "en", str(FIRST_DISCORD + number))

    async def type(self, number: int, platform: str, person: int) -> None:
        """Person number `person` of a platform asks for the picture of event `number`."""
        prompt = f"event {number}"
        if platform == "telegram":
            name = str(FIRST_TELEGRAM + person)
            chat = self.telegram.private_chat(name)
            self._of_chat[f"telegram:{chat}"] = number
            self.typed[number] = time.monotonic()
            await self.telegram.say(name, chat, f"/imagine {prompt}")
        else:
            name = str(FIRST_DISCORD + person)
            chat = self.discord.private_chat(name)
            self._of_chat[f"discord:{chat}"] = number
            self.typed[number] = time.monotonic()
            await self.discord.command(name, chat, "imagine", {"prompt": prompt})

    async def play(self, first: int, count: int, rate: float, telegram: int) -> None:
        """Events `first` to `first + count - 1`, `rate` a second whatever happens to those before; of each 50 `telegram` in Telegram."""
        began, people = time.monotonic(), {"telegram": first, "discord": first}
        for number in range(first, first + count):
            await asyncio.sleep(max(0.0, began + (number - first) / rate - time.monotonic()))
            platform = "telegram" if (number * telegram) % 50 < telegram else "discord"
            await self.type(number, platform, people[platform])
            people[platform] += 1

    def ready(self) -> bool:
        """Whether both bots are there."""
        declared = any(each["name"] == "imagine" for each in self.discord.commands())
        return declared and bool(self.discord.gateway.shards) and "getUpdates" in self.telegram.calls

    def _in_telegram(self, chat: Chat, sender: int | None, **content: Any) -> Message:
        if sender is None and content.get("photo") is not None:
            self._saw(f"telegram:{chat.id}")
        return self._new_message(chat, sender, **content)

    def _in_discord(self, _what: str, message: DiscordMessage) -> None:
        if message.attachments:
            self._saw(f"discord:{message.channel}")

    def _saw(self, chat: str) -> None:
        self.shown.setdefault(self._of_chat[chat], _arrived.get())
        self._news.set()

    # What the benchmark asks

    async def on_settle(self, request: web.Request) -> web.Response:
        """{"telegram", "discord"}: how many move in."""
        self.settle(**await request.json())
        return web.Response()

    async def on_ready(self, _request: web.Request) -> web.Response:
        """200 as soon as both bots are there, else 503."""
        return web.Response(status=200 if self.ready() else 503)

    async def on_play(self, request: web.Request) -> web.Response:
        """As `play`; answered when every picture is there, or WAIT_SECONDS after the last event: by event, the moments at which it was
        typed, the provider had the request, the picture was made, and it was back at its platform."""
        asked = await request.json()
        await self.play(**asked)
        wanted = set(range(asked["first"], asked["first"] + asked["count"]))
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while not wanted <= self.shown.keys():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pass
        return web.json_response({number: self._moments(number) for number in wanted})

    def _moments(self, number: int) -> list[float | None]:
        prompt = f"event {number}"
        return [self.typed[number], self.stability.received.get(prompt), self.stability.answered.get(prompt), self.shown.get(number)]


@web.middleware
async def _noting(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
    _arrived.set(time.monotonic())
    return await handler(request)


async def _main() -> None:
    raise_open_files()
    town = Town()
    app = web.Application(client_max_size=64 * 1024 * 1024, middlewares=[_noting])
    for part in (town.telegram, town.discord, town.stability):
        app.add_routes(part.routes())
    app.add_routes(
        [web.post("/bench/settle", town.on_settle), web.get("/bench/ready", town.on_ready), web.post("/bench/play", town.on_play)]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=2048).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    town.meet(url)
    sys.stdout.write(url + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    for part in (town.telegram, town.discord, town.stability):
        await part.close()
    await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(_main())  # what stands in takes as little as it can of the processors that are measured
