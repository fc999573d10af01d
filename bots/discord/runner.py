"""The bot's life on Discord: log in, declare the commands, stay connected, answer, and go down without losing what is in hand.

discord.py knows the addresses of Discord as class attributes: they are set once per process, before the first call.
"""

import asyncio
import logging
import sys
from collections.abc import Coroutine
from contextlib import suppress

import aiohttp
import discord
import structlog
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

from bots.chat.ports import GroupChatPort
from bots.chat.types import Sender
from bots.discord.answers import Answers
from bots.discord.commands import declare
from bots.discord.handlers import FIRST_ANSWER_SECONDS, Handlers
from bots.discord.incoming import Interaction, cdn_prefixes
from bots.discord.outgoing import DiscordSender
from core.errors import Misconfigured

FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 60.0
FAREWELL_SECONDS = 10.0
LONGEST_LIMIT_SECONDS = 60.0  # a rate limit beyond this is a failure, not a wait

_BAD_TOKEN = 4004  # close codes: discord.com/developers/docs/topics/opcodes-and-status-codes#gateway
_BAD_SHARDS = (4010, 4011)
_UNREACHABLE = (discord.HTTPException, discord.GatewayNotFound, discord.RateLimited, aiohttp.ClientError, OSError)

log = structlog.get_logger(__name__)


class DiscordRunner:
    """One bot. `api_url` ends in /v10; an empty `gateway_url` asks the API for it; 0 `shards` means as many as Discord recommends.

    An answer that takes longer than `first_answer_seconds` is announced first; Discord allows three.
    """

    def __init__(
        self,
        chat: GroupChatPort,
        token: str,
        api_url: str,
        gateway_url: str = "",
        shards: int = 0,
        *,
        first_answer_seconds: float = FIRST_ANSWER_SECONDS,
    ) -> None:
        self._chat = chat
        self._token = token
        self._api_url = api_url.rstrip("/")
        self._gateway_url = gateway_url
        self._shards = shards
        self._first_answer_seconds = first_answer_seconds
        self._ready = asyncio.Event()
        self._sender: DiscordSender | None = None

    @property
    def sender(self) -> Sender:
        """The outgoing half. There is none before `ready`."""
        if self._sender is None:
            raise RuntimeError("the bot has not logged in yet: await ready() first")
        return self._sender

    async def ready(self) -> None:
        """Returns when every shard is connected and events come in."""
        await self._ready.wait()

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until `stop` is set or the task is cancelled. What is being answered then is answered first, for a few seconds at most.

        Outages are waited out. Raises Misconfigured when Discord refuses the token or the number of shards.
        """
        # Discord's library logs whole events at this level: what people wrote, keys that they pasted, tokens of interactions
        logging.getLogger("discord").setLevel(max(logging.INFO, logging.getLogger("discord").level))
        discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False  # nobody speaks here
        Route.BASE = self._api_url
        client = await self._log_in(stop)
        if client is None:
            return
        answers = Answers()
        self._sender = DiscordSender(client, answers)
        client.handlers = Handlers(self._chat, self._sender, answers, cdn_prefixes(self._api_url), self._first_answer_seconds)
        try:
            await self._stay_connected(client, stop)
        finally:
            self._ready.clear()
            await client.close()

    async def _log_in(self, stop: asyncio.Event) -> "_Client | None":
        """A client that is known to Discord, with the commands declared and the gateway found; None when told to stop meanwhile."""
        wait = FIRST_RETRY_SECONDS
        while not stop.is_set():
            client = _Client(self._ready)
            try:
                await self._introduce(client)
                return client
            except discord.LoginFailure:
                await client.close()
                raise Misconfigured(setting="DISCORD_TOKEN", problem="Discord does not accept this token") from None
            except _UNREACHABLE as error:
                await client.close()
                log.warning("Discord cannot be reached", next_try_seconds=wait, error=type(error).__name__)
            except BaseException:
                await client.close()
                raise
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), wait)
            wait = min(2 * wait, LONGEST_RETRY_SECONDS)
        return None

    async def _introduce(self, client: "_Client") -> None:
        await client.login(self._token)
        recommended, url, _ = await client.http.get_bot_gateway()
        # also where a session that was given up starts anew, so the library's own address must not stay
        DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(self._gateway_url or url)
        client.shard_count = self._shards or recommended
        application = client.application_id
        assert application is not None, "known since the login"
        try:
            if await declare(client.http, application, self._chat):
                log.info("the slash commands were declared")
        except discord.HTTPException as error:
            if error.status == 429 or error.status >= 500:
                raise
            log.error("Discord refuses the slash commands", problem=error.text)

    async def _stay_connected(self, client: "_Client", stop: asyncio.Event) -> None:
        ended: list[Exception] = []

        async def connect() -> None:
            try:
                await client.connect()
            except (discord.DiscordException, aiohttp.ClientError, OSError) as error:
                ended.append(error)
            finally:
                ending.set()

        ending = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            client.tasks = tasks
            connection = tasks.create_task(connect())
            stopping = tasks.create_task(_set_with(stop, ending))
            await ending.wait()
            stopping.cancel()
            client.tasks = None
            await client.finish()
            await client.close()  # ends `connect`, unless a shard is just being started
            connection.cancel()
        if ended and not stop.is_set():
            raise _explained(ended[0]) from None


async def _set_with(first: asyncio.Event, second: asyncio.Event) -> None:
    await first.wait()
    second.set()


async def _contained(work: Coroutine[None, None, None]) -> None:
    """One event that goes wrong must not take the bot with it."""
    try:
        await work
    except Exception:
        log.exception("an event was not handled")


def _explained(error: Exception) -> Exception:
    code = error.code if isinstance(error, discord.ConnectionClosed) else 0
    if code == _BAD_TOKEN:
        return Misconfigured(setting="DISCORD_TOKEN", problem="Discord does not accept this token")
    if code in _BAD_SHARDS:
        return Misconfigured(setting="DISCORD_SHARDS", problem="Discord does not accept this number of shards")
    return error


class _Client(discord.AutoShardedClient):
    """discord.py's client with nothing cached: a task of ours for each event, no views, no command tree."""

    def __init__(self, ready: asyncio.Event) -> None:
        intents = discord.Intents.none()
        intents.guilds = intents.dm_messages = intents.guild_messages = True
        super().__init__(
            intents=intents,
            max_messages=None,
            chunk_guilds_at_startup=False,
            member_cache_flags=discord.MemberCacheFlags.none(),
            allowed_mentions=discord.AllowedMentions.none(),
            guild_ready_timeout=0.0,
            max_ratelimit_timeout=LONGEST_LIMIT_SECONDS,
        )
        self.handlers: Handlers | None = None
        self.tasks: asyncio.TaskGroup | None = None
        self._announce = ready
        self._in_hand: set[asyncio.Task[None]] = set()

    async def on_ready(self) -> None:
        self._announce.set()
        if self.handlers is not None and self.tasks is not None:  # nobody told of what happened while the bot was away
            self._take_in_hand(self.tasks, self.handlers.on_known([str(guild.id) for guild in self.guilds]))

    async def on_interaction(self, interaction: Interaction) -> None:
        if self.handlers is not None and self.tasks is not None:
            self._take_in_hand(self.tasks, self.handlers.on_interaction(interaction))

    async def on_message(self, message: discord.Message) -> None:
        if self.handlers is not None and self.tasks is not None:
            self._take_in_hand(self.tasks, self.handlers.on_message(message, self))

    async def on_guild_join(self, guild: discord.Guild) -> None:
        if self.handlers is not None and self.tasks is not None:
            self._take_in_hand(self.tasks, self.handlers.on_presence(str(guild.id), here=True))

    async def on_guild_remove(self, guild: discord.Guild) -> None:
        """Not for a server that is unavailable: discord.py tells that otherwise (GUILD_DELETE with `unavailable`)."""
        if self.handlers is not None and self.tasks is not None:
            self._take_in_hand(self.tasks, self.handlers.on_presence(str(guild.id), here=False))

    def _take_in_hand(self, tasks: asyncio.TaskGroup, work: Coroutine[None, None, None]) -> None:
        task = tasks.create_task(_contained(work))
        self._in_hand.add(task)
        task.add_done_callback(self._in_hand.discard)

    async def finish(self) -> None:
        """Waits for what is being answered, FAREWELL_SECONDS at most."""
        if self._in_hand:
            await asyncio.wait(self._in_hand, timeout=FAREWELL_SECONDS)
        for task in self._in_hand:
            task.cancel()

    async def on_error(self, event_method: str, /, *_args: object, **_kwargs: object) -> None:
        """The library's own would log the event's arguments, which people wrote."""
        log.error("a handler of an event failed", handler=event_method, exc_info=sys.exc_info())
