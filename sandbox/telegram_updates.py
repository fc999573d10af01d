"""The queue of updates and its two ways out, long polling and webhook, as the Bot API server has them."""

import asyncio
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiohttp

from sandbox.telegram_rules import UPDATE_SECONDS, ApiError, check_webhook

SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105 - the name of a header
MAX_POLL_SECONDS = 50
LONGEST_PAUSE = 60.0
DELIVERY_SECONDS = 60.0
NOT_BY_DEFAULT = frozenset({"chat_member", "message_reaction", "message_reaction_count"})


@dataclass(frozen=True, slots=True)
class Update:
    """One update, and the chat within which its order is kept."""

    id: int
    chat: int
    body: dict[str, Any]
    at: float


@dataclass(slots=True)
class Webhook:
    """Where updates are posted to."""

    url: str
    secret: str = ""
    max_connections: int = 40
    last_error_at: int | None = None
    last_error: str = ""


class Updates:
    """Updates that the bot has not confirmed. `first_pause`: seconds before the second try of a webhook, doubling from there."""

    def __init__(self) -> None:
        self.first_pause = 1.0
        self.webhook: Webhook | None = None
        self._waiting: list[Update] = []
        self._confirmed: deque[Update] = deque(maxlen=100)
        self._next = 500_000_001
        self._allowed: list[str] = []
        self._news = asyncio.Event()
        self._poll: asyncio.Event | None = None
        self._delivery: asyncio.Task[None] | None = None
        self._busy: set[int] = set()

    def put(self, kind: str, chat: int, content: dict[str, Any]) -> None:
        """A new update, unless the bot did not ask for its kind."""
        wanted = kind in self._allowed if self._allowed else kind not in NOT_BY_DEFAULT
        if not wanted:
            return
        self._waiting.append(Update(self._next, chat, {"update_id": self._next, kind: content}, time.time()))
        self._next += 1
        self._wake()

    def put_again(self, count: int = 1) -> None:
        """Offers the last `count` confirmed updates once more, with their old ids, as happens when a confirmation is lost."""
        again = [self._confirmed.pop() for _ in range(min(count, len(self._confirmed)))]
        self._waiting[:0] = reversed(again)
        self._wake()

    @property
    def pending(self) -> int:
        """How many updates the bot has not confirmed; older ones than 24 hours are dropped."""
        oldest = time.time() - UPDATE_SECONDS
        self._waiting = [update for update in self._waiting if update.at > oldest]
        return len(self._waiting)

    async def get(self, offset: int, limit: int, seconds: float, allowed: list[str] | None) -> list[dict[str, Any]]:
        """getUpdates: confirms what lies before `offset`, then waits for at least one update."""
        if self.webhook is not None:
            raise ApiError(
                409, "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
            )
        if allowed is not None:
            self._allowed = allowed
        self._end_poll()
        self._poll = ended = asyncio.Event()
        self._confirm(offset)
        try:
            await self._until_any(ended, min(max(seconds, 0), MAX_POLL_SECONDS))
        finally:
            if self._poll is ended:
                self._poll = None
        if ended.is_set():
            raise ApiError(409, "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running")
        return [update.body for update in self._waiting[: min(max(limit, 1), 100)]]

    def _confirm(self, offset: int) -> None:
        kept = self._waiting[offset:] if offset < 0 else [update for update in self._waiting if update.id >= offset]
        self._confirmed.extend(update for update in self._waiting if update not in kept)
        self._waiting = kept

    async def _until_any(self, ended: asyncio.Event, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.pending and not ended.is_set():
                    self._news.clear()
                    await self._news.wait()

    def _end_poll(self) -> None:
        if self._poll is not None:
            self._poll.set()
            self._wake()

    def _wake(self) -> None:
        self._news.set()

    # Webhook

    async def set_webhook(self, webhook: Webhook, allowed: list[str] | None, drop_pending: bool) -> None:
        """setWebhook; leaving `allowed` out keeps the previous list, an empty url removes the webhook."""
        if webhook.url:
            check_webhook(webhook.url, webhook.secret)
        await self._stop_delivery()
        if allowed is not None:
            self._allowed = allowed
        if drop_pending:
            self._waiting.clear()
        self.webhook = webhook if webhook.url else None
        self._end_poll()
        if self.webhook is not None:
            # Owned here: held in `_delivery`, awaited by `_stop_delivery` and `close`.
            self._delivery = asyncio.get_running_loop().create_task(self._deliver(self.webhook))

    def webhook_info(self) -> dict[str, Any]:
        """getWebhookInfo."""
        info: dict[str, Any] = {"url": "", "has_custom_certificate": False, "pending_update_count": self.pending}
        if (hook := self.webhook) is not None:
            info |= {"url": hook.url, "max_connections": hook.max_connections, "ip_address": "127.0.0.1"}
            if hook.last_error_at is not None:
                info |= {"last_error_date": hook.last_error_at, "last_error_message": hook.last_error}
        return info | ({"allowed_updates": self._allowed} if self._allowed else {})

    async def close(self) -> None:
        """Ends the delivery and whoever polls."""
        await self._stop_delivery()
        self._end_poll()

    async def _stop_delivery(self) -> None:
        if (task := self._delivery) is not None:
            self._delivery = None
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self._busy.clear()

    async def _deliver(self, webhook: Webhook) -> None:
        """Posts updates, in order within a chat, chats beside one another."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DELIVERY_SECONDS)) as session, asyncio.TaskGroup() as posts:
            while True:
                self._news.clear()
                for update in self._heads(webhook.max_connections):
                    self._busy.add(update.chat)
                    posts.create_task(self._post_until_taken(session, webhook, update))
                await self._news.wait()

    def _heads(self, connections: int) -> list[Update]:
        heads: dict[int, Update] = {}
        for update in self._waiting[: self.pending]:
            if update.chat not in self._busy:
                heads.setdefault(update.chat, update)
        return list(heads.values())[: max(0, connections - len(self._busy))]

    async def _post_until_taken(self, session: aiohttp.ClientSession, webhook: Webhook, update: Update) -> None:
        pause = self.first_pause
        while update in self._waiting:
            retry_after, problem = await self._post(session, webhook, update)
            if not problem:
                self._waiting.remove(update)
                self._confirmed.append(update)
                break
            webhook.last_error_at, webhook.last_error = int(time.time()), problem
            await asyncio.sleep(min(max(pause, retry_after), 3600.0))
            pause = min(2 * pause, LONGEST_PAUSE)
        self._busy.discard(update.chat)
        self._wake()

    async def _post(self, session: aiohttp.ClientSession, webhook: Webhook, update: Update) -> tuple[float, str]:
        headers = {SECRET_HEADER: webhook.secret} if webhook.secret else {}
        try:
            async with session.post(webhook.url, json=update.body, headers=headers, allow_redirects=False) as response:
                retry_after = response.headers.get("Retry-After", "0")
                problem = "" if response.status // 100 == 2 else f"Wrong response from the webhook: {response.status} {response.reason}"
                return float(retry_after) if retry_after.isdigit() else 0.0, problem
        except (aiohttp.ClientError, TimeoutError) as error:
            return 0.0, f"Connection failed: {type(error).__name__}"
