"""A chat layer that says what a test tells it to, and keeps what it was told."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from bots.chat.types import Answer, CommandSpec, Event, Message, Option, Place, Platform
from bots.discord.handlers import FIRST_ANSWER_SECONDS
from bots.discord.runner import DiscordRunner
from sandbox.discord import DiscordSandbox, View

TOKEN = "MTAwMDAwMDAwMDAwMDAwMDAx.sandbox.never-in-a-log"

COMMANDS = (
    CommandSpec(
        "imagine",
        (
            Option("prompt", required=True, max_length=1000),
            Option("model", complete=True),
            Option("ar", choices=("1:1", "16:9", "9:16")),
            Option("seed", "integer", minimum=0, maximum=4294967294),
            Option("picture", "picture"),
        ),
    ),
    CommandSpec("balance", private=True),
    CommandSpec("help"),
    CommandSpec("grant", (Option("amount", "integer"),), private=True, admin=True),
)
_CHINESE = {"imagine": "画一张图", "imagine.prompt": "画什么", "hint.again": "请再试一次"}
_ENGLISH = {"imagine": "Make a picture", "hint.again": "Please try again"}


async def _echo(event: Event) -> Answer:
    return Answer(message=Message(f"heard {event.command or event.action or event.text}"))


@dataclass
class FakeChat:
    """`on_event` makes the answers; `events` and `sent` are what the adapter did."""

    on_event: Callable[[Event], Awaitable[Answer]] = _echo
    commands: tuple[CommandSpec, ...] = COMMANDS
    suggestions: list[tuple[str, str]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    sent_answers: list[tuple[Answer, str | None]] = field(default_factory=list)
    typed: list[tuple[Event, str, str]] = field(default_factory=list)
    presences: list[tuple[str, bool]] = field(default_factory=list)
    servers: list[list[str]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, event: Event) -> Answer:
        self.events.append(event)
        self._tell()
        return await self.on_event(event)

    async def asks(self, event: Event) -> Place | None:
        return None

    async def moved(self, platform: Platform, event_id: str, old: str, new: str) -> None:
        raise AssertionError("no server gets another id")

    async def present(self, platform: Platform, event_id: str, group: str, *, here: bool) -> None:
        self.presences.append((group, here))
        self._tell()

    async def known(self, platform: Platform, groups: Collection[str]) -> None:
        self.servers.append(list(groups))
        self._tell()

    async def sent(self, answer: Answer, message_id: str | None) -> None:
        self.sent_answers.append((answer, message_id))
        self._tell()

    async def complete(self, event: Event, option: str, typed: str) -> list[tuple[str, str]]:
        self.typed.append((event, option, typed))
        return self.suggestions

    def describe(self, code: str, locale: str) -> str:
        return _CHINESE.get(code, f"{code}（中文）") if locale == "zh" else _ENGLISH.get(code, f"{code} in English")

    def answers(self, *answers: Answer) -> None:
        """The answers to the next events, in order; the last one for all that follow."""
        left = list(answers)

        async def next_answer(_event: Event) -> Answer:
            return left.pop(0) if len(left) > 1 else left[0]

        self.on_event = next_answer

    async def until(self, condition: Callable[["FakeChat"], bool], seconds: float = 10.0) -> None:
        """Waits until the adapter has done something."""
        async with asyncio.timeout(seconds):
            while not condition(self):
                self.changed.clear()
                await self.changed.wait()

    async def until_sent(self, count: int = 1) -> str | None:
        """The message id of the `count`-th `sent`."""
        await self.until(lambda chat: len(chat.sent_answers) >= count)
        return self.sent_answers[count - 1][1]

    def _tell(self) -> None:
        self.changed.set()


def api_url(sandbox: DiscordSandbox) -> str:
    """The setting DISCORD_API_URL for this sandbox."""
    return f"{sandbox.public_url}/discord/api/v10"


@asynccontextmanager
async def serving(*, rate_limits: bool = True, answer_seconds: float = 3.0) -> AsyncIterator[DiscordSandbox]:
    """The sandbox's Discord on a free port."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    sandbox = DiscordSandbox(public_url=url, rate_limits=rate_limits, answer_seconds=answer_seconds)
    app = web.Application()
    app.add_routes(sandbox.routes())

    async def close(_app: web.Application) -> None:
        await sandbox.close()

    app.on_shutdown.append(close)
    server = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await server.setup()
    await web.SockSite(server, listener).start()
    try:
        yield sandbox
    finally:
        await server.cleanup()


@asynccontextmanager
async def running(
    chat: FakeChat, sandbox: DiscordSandbox, *, shards: int = 0, token: str = TOKEN, patience: float = FIRST_ANSWER_SECONDS
) -> AsyncIterator[DiscordRunner]:
    """A bot that is connected, and stopped in an orderly way at the end."""
    runner = DiscordRunner(chat, token, api_url(sandbox), shards=shards, first_answer_seconds=patience)
    stop = asyncio.Event()
    async with asyncio.timeout(50), asyncio.TaskGroup() as tasks:
        tasks.create_task(runner.run(stop))
        await runner.ready()
        try:
            yield runner
        finally:
            stop.set()


def by_bot(message: View) -> bool:
    """What the bot has said."""
    return bool(message["from"]["bot"]) and not message["thinking"]


def slow(chat: FakeChat, answer: Answer) -> asyncio.Event:
    """The next answers wait for the returned event."""
    go = asyncio.Event()

    async def wait(_event: Event) -> Answer:
        await go.wait()
        return answer

    chat.on_event = wait
    return go
