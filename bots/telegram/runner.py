"""Runs the Telegram bot: updates are stored first and handled afterwards, so that none is forgotten, whatever is killed.

polling   getUpdates -> store, committed -> the next offset confirms them
webhook   setWebhook; the endpoint in api/ stores updates the same way
both      take -> handled at the same time in different chats, one after the other within a chat
checkout  the question before a payment waits for nothing of this: it is answered in its own task, and never stored by polling
"""

import asyncio
import contextlib
import json
import logging
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Literal, Protocol
from urllib.parse import quote, urlencode, urlsplit

import structlog
from telegram import Bot, BotCommand
from telegram.error import BadRequest, InvalidToken, RetryAfter, TelegramError
from telegram.request import HTTPXRequest

from bots.chat.pace import PACES, Throttle
from bots.chat.ports import PayingChatPort
from bots.telegram.handlers import TelegramHandlers
from bots.telegram.incoming import ALLOWED_UPDATES, chat_key, is_checkout, is_payment
from bots.telegram.outgoing import TelegramSender
from bots.telegram.payments import StarsDesk
from core.errors import Misconfigured
from core.words import LOCALES

POLL_SECONDS = 50  # the longest that getUpdates waits
SWEEP_SECONDS = 5.0
GOODBYE_SECONDS = 10.0
LONGEST_PAUSE = 30.0
MAX_FAILURES = 10
MAX_BATCH = 100

log = structlog.get_logger(__name__)


class UpdateStore(Protocol):
    """Where updates wait. Handled ones are marked by `ChatPort.handle`, in its own transaction."""

    async def store(self, updates: Sequence[tuple[str, str, dict[str, Any]]]) -> None:
        """Keeps (event id, chat key, raw update), committed on return; ids that are known already change nothing."""

    async def take(self, limit: int) -> list[tuple[str, dict[str, Any]]]:
        """The oldest waiting updates as (event id, raw update): of each chat the first one that waits, or none while that is leased.

        They are leased to the caller: whatever is neither handled nor dropped by the end of the lease is offered again.
        """

    async def take_checkouts(self, limit: int) -> list[dict[str, Any]]:
        """The raw updates with pre-checkout queries that a webhook stored, for good: their ten seconds leave no second try."""

    async def drop(self, event_id: str) -> None:
        """Marks an update as done without an Event."""

    async def wait(self, timeout: float) -> None:  # noqa: ASYNC109 - the store may wait outside of this process
        """Until something may have been stored, at most `timeout` seconds."""


class TelegramRunner:
    """The bot's process, or its part of one. `sender` and `stars` may be used beside it while `run` runs.

    `throttle` counts what is answered at once; whoever uses `sender` asks it first.
    """

    def __init__(
        self,
        chat: PayingChatPort,
        store: UpdateStore,
        *,
        token: str,
        api_url: str = "https://api.telegram.org",
        mode: Literal["polling", "webhook"] = "polling",
        webhook_url: str = "",
        webhook_secret: str = "",
        slots: int = 64,
    ) -> None:
        """`slots`: how many chats are served at the same time."""
        loopback = urlsplit(api_url).hostname in ("127.0.0.1", "localhost", "::1")
        options: dict[str, Any] = {"pool_timeout": 30.0, "connect_timeout": 10.0, "httpx_kwargs": {"trust_env": not loopback}}
        self._polling = HTTPXRequest(connection_pool_size=2, read_timeout=POLL_SECONDS + 10.0, **options)
        request = HTTPXRequest(connection_pool_size=2 * slots, read_timeout=20.0, write_timeout=20.0, media_write_timeout=60.0, **options)
        base, files = f"{api_url}/bot", f"{api_url}/file/bot"
        self._hidden = _Hidden(token, webhook_secret)
        with self._hidden.everywhere():  # its constructor logs both addresses
            self._bot = Bot(token, base_url=base, base_file_url=files, request=request, get_updates_request=self._polling)
        self.sender = TelegramSender(self._bot)
        self.stars = StarsDesk(self._bot)
        self.throttle = Throttle(PACES[self.sender.platform])
        self._handlers = TelegramHandlers(chat, self.sender, self._bot, self.throttle)
        self._chat = chat
        self._store = store
        self._mode = mode
        self._webhook = (webhook_url, webhook_secret)
        self._slots = slots
        self._busy: set[str] = set()
        self._failures: Counter[str] = Counter()
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._problem: Misconfigured | None = None

    async def run(self) -> None:
        """Until `stop`. Raises Misconfigured when Telegram refuses the token or the webhook's address."""
        try:
            with self._hidden.everywhere():
                if await self._open():
                    await self._serve()
        finally:
            await self._bot.shutdown()
        if self._problem is not None:
            raise self._problem

    def stop(self) -> None:
        """Asks `run` to end: no update is taken any more, those in hand are finished (for at most GOODBYE_SECONDS)."""
        self._stopping.set()
        self._wake.set()
        self._handlers.checkouts.wake()

    async def _open(self) -> bool:
        """Proves the token and chooses the way in; False when stopped before."""
        failures = 0
        while not self._stopping.is_set():
            try:
                await self._bot.initialize()
                await self._choose_way()
            except InvalidToken:
                problem = "Telegram does not know this token; get a valid one from @BotFather"
                raise Misconfigured(setting="TELEGRAM_TOKEN", problem=problem) from None
            except BadRequest as error:
                raise Misconfigured(setting="PUBLIC_URL", problem=f"Telegram refuses the webhook: {error.message}") from None
            except TelegramError as error:
                failures += 1
                log.warning("telegram is out of reach", problem=error.message, failures=failures)
                await self._rest(pause_after(error, failures))
            else:
                log.info("telegram bot is up", username=self._bot.username, mode=self._mode)
                return True
        return False

    async def _choose_way(self) -> None:
        if self._mode == "polling":
            await self._bot.delete_webhook()
            return
        url, secret = self._webhook
        if not secret:
            raise Misconfigured(setting="TELEGRAM_WEBHOOK_SECRET", problem="a webhook without a secret would believe anyone")
        connections = min(self._slots, 100)
        await self._bot.set_webhook(url, secret_token=secret, allowed_updates=list(ALLOWED_UPDATES), max_connections=connections)

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            loops = [tasks.create_task(self._watch()), tasks.create_task(self._declare())]
            if self._mode == "polling":
                loops.append(tasks.create_task(self._poll()))
            handling = [tasks.create_task(self._handle()), tasks.create_task(self._handlers.checkouts.run(self._stopping))]
            await self._stopping.wait()
            for loop in loops:
                loop.cancel()
            await asyncio.wait(handling, timeout=GOODBYE_SECONDS)
            for task in handling:
                task.cancel()

    # In: getUpdates -> store

    async def _poll(self) -> None:
        offset, failures = 0, 0
        while True:
            try:
                updates = await self._get_updates(offset)
                self._handlers.checkouts.offer([raw for raw in updates if is_checkout(raw)])
                await self._store.store([(str(raw["update_id"]), chat_key(raw), raw) for raw in updates if not is_checkout(raw)])
            except InvalidToken:
                self._problem = Misconfigured(setting="TELEGRAM_TOKEN", problem="Telegram does not accept this token any more")
                self.stop()
                return
            except TelegramError as error:
                failures += 1
                log.warning("no updates", kind=type(error).__name__, problem=error.message, failures=failures)
                await self._rest(pause_after(error, failures))
            except Exception as error:  # noqa: BLE001 - polling outlives the database's troubles; nothing was confirmed
                failures += 1
                log.error("updates were not stored", failures=failures, **_told(error))
                await self._rest(pause_after(None, failures))
            else:
                failures = 0
                # Only now: the next call confirms everything before `offset`.
                offset = max((raw["update_id"] + 1 for raw in updates), default=offset)
                self._wake.set()

    async def _get_updates(self, offset: int) -> list[dict[str, Any]]:
        """The raw updates: an update that the library cannot read must not hold up the others."""
        asked = {"offset": offset, "timeout": POLL_SECONDS, "limit": MAX_BATCH, "allowed_updates": json.dumps(ALLOWED_UPDATES)}
        answered = await self._polling.post(f"{self._bot.base_url}/getUpdates?{urlencode(asked)}")
        return answered if isinstance(answered, list) else []

    # Store -> chat layer

    async def _watch(self) -> None:
        while True:
            try:
                await self._store.wait(SWEEP_SECONDS)
            except Exception as error:  # noqa: BLE001 - the loop outlives the store's troubles
                log.error("the store cannot be watched", **_told(error))
                await self._rest(LONGEST_PAUSE)
            self._wake.set()
            if self._mode == "webhook":
                await self._take_checkouts()

    async def _take_checkouts(self) -> None:
        try:
            self._handlers.checkouts.offer(await self._store.take_checkouts(MAX_BATCH))
        except Exception as error:  # noqa: BLE001 - the loop outlives the database's troubles
            log.error("checkouts cannot be taken", **_told(error))

    async def _handle(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while not self._stopping.is_set():
                self._wake.clear()
                for event_id, raw in await self._take(self._slots - len(self._busy)):
                    if event_id not in self._busy:
                        self._busy.add(event_id)
                        tasks.create_task(self._handle_one(event_id, raw))
                await self._wake.wait()

    async def _take(self, free: int) -> list[tuple[str, dict[str, Any]]]:
        if free <= 0:
            return []
        try:
            return await self._store.take(free)
        except Exception as error:  # noqa: BLE001 - the loop outlives the database's troubles
            log.error("updates cannot be taken", **_told(error))
            return []

    async def _handle_one(self, event_id: str, raw: dict[str, Any]) -> None:
        try:
            if not await self._handlers.on_update(raw):
                await self._store.drop(event_id)
            self._failures.pop(event_id, None)
        except Exception as error:  # noqa: BLE001 - the lease ends and the update is offered again
            self._failures[event_id] += 1
            log.error("an update was not handled", event_id=event_id, failures=self._failures[event_id], **_told(error))
            await self._give_up(event_id, raw)
        finally:
            self._busy.discard(event_id)
            self._wake.set()

    async def _give_up(self, event_id: str, raw: dict[str, Any]) -> None:
        """An update that fails again and again, while the database serves others, would hold up its chat for ever.

        A payment holds up nothing but payments of the same chat, and is tried until it is credited.
        """
        if self._failures[event_id] < MAX_FAILURES or is_payment(raw):
            return
        del self._failures[event_id]
        log.error("an update is given up", event_id=event_id)
        with contextlib.suppress(Exception):
            await self._store.drop(event_id)

    # Once

    async def _declare(self) -> None:
        """Tells Telegram the commands and the description, per language; those of admins are not listed."""
        failures = 0
        while True:
            try:
                for locale in LOCALES:
                    await self._declare_in(locale)
            except (BadRequest, InvalidToken) as error:
                log.error("the commands were not declared", problem=error.message)
            except TelegramError as error:
                failures += 1
                await self._rest(pause_after(error, failures))
                continue
            return

    async def _declare_in(self, locale: str) -> None:
        # The first language is for everyone whose own is not among ours.
        language = None if locale == LOCALES[0] else locale
        names = [spec.name for spec in self._chat.commands if not spec.admin]
        commands = [BotCommand(name, self._chat.describe(name, locale)) for name in names]
        await self._bot.set_my_commands(commands, language_code=language)
        await self._bot.set_my_description(self._chat.describe("bot", locale), language_code=language)

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)


def pause_after(error: TelegramError | None, failures: int) -> float:
    """Seconds before the next try: what Telegram asks for, else 1, 2, 4 … 30."""
    if isinstance(error, RetryAfter):
        wait = error.retry_after
        return wait.total_seconds() if isinstance(wait, timedelta) else float(wait)
    return float(min(2 ** min(failures - 1, 10), LONGEST_PAUSE))


class _Hidden(logging.Filter):
    """Takes secrets out of what the libraries log: the token is part of every address that they call."""

    _LOGGERS = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.proxy", "telegram.Bot", "telegram.HTTPXRequest")

    def __init__(self, *secrets: str) -> None:
        super().__init__()
        self._secrets = [form for secret in secrets if secret for form in {secret, quote(secret, safe=""), quote(secret)}]

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets everything pass, without the secrets."""
        text = record.getMessage()
        for secret in self._secrets:
            text = text.replace(secret, "…")
        record.msg, record.args = text, ()
        return True

    @contextlib.contextmanager
    def everywhere(self) -> Iterator[None]:
        """While the bot runs."""
        loggers = [logging.getLogger(name) for name in self._LOGGERS]
        for logger in loggers:
            logger.addFilter(self)
        try:
            yield
        finally:
            for logger in loggers:
                logger.removeFilter(self)


def _told(error: Exception) -> dict[str, str]:
    """An unexpected error for the log: its kind and place. Not its text, which may quote what a person said, such as a pasted key."""
    return {"kind": type(error).__name__, "at": "".join(traceback.format_tb(error.__traceback__))}
