"""The events of the Stripe stand-in and their way to the seller: signed, and again until they are taken. https://docs.stripe.com/webhooks"""

import asyncio
import hashlib
import hmac
import json
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from sandbox.stripe_state import new_id, now

API_VERSION = "2026-10-28.endive"
KEPT = 10_000
POST_SECONDS = 20.0


@dataclass
class Delivery:
    """One event on its way to one endpoint. `answers`: the status of each try, 0 where there was no answer."""

    event: dict[str, Any]
    url: str
    answers: list[int] = field(default_factory=list)
    done: bool = False

    @property
    def kind(self) -> str:
        """The type of the event."""
        return str(self.event["type"])


class Events:
    """All events, and one endpoint that is told of them.

    `first_pause`: seconds before the second try, doubling up to `longest_pause`. `copies`: how often each event is delivered. `delay`:
    seconds before the first try. All may be changed at any time.
    """

    def __init__(self) -> None:
        self.first_pause = 1.0
        self.longest_pause = 60.0
        self.copies = 1
        self.delay = 0.0
        self.events: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.deliveries: deque[Delivery] = deque(maxlen=KEPT)
        self._url = ""
        self._secrets: tuple[str, ...] = ()
        self._held: list[Delivery] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self._hurry = asyncio.Event()

    def set_webhook(self, url: str, secret: str, old_secret: str = "") -> None:
        """Events from now on go there; an empty url ends it. With an old secret each has two signatures, as while a secret is rolled.

        Raises ValueError for an address beyond this machine, and for an empty secret.
        """
        if url and urlsplit(url).hostname not in ("127.0.0.1", "localhost", "::1"):
            raise ValueError("the sandbox delivers to loopback addresses only")
        if url and not secret:
            raise ValueError("Stripe signs every event: a secret is needed")
        self._url, self._secrets = url, tuple(filter(None, (old_secret, secret)))

    def hold(self) -> None:
        """From now on events wait."""
        self._held = self._held or []

    def release(self, *, reverse: bool = False) -> None:
        """Sends what waits, one after another, the newest first if so wished; what comes later goes out at once again."""
        waiting, self._held = self._held or [], None
        self._start(list(reversed(waiting)) if reverse else waiting)

    def hurry(self) -> None:
        """Ends every pause that lasts."""
        self._hurry.set()
        self._hurry = asyncio.Event()

    async def settled(self, within: float = 10.0) -> None:
        """Waits until everything that was sent has been taken. Raises TimeoutError after `within` seconds."""
        async with asyncio.timeout(within):
            while self._tasks:
                await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Gives up what is under way."""
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def put(self, kind: str, thing: dict[str, Any], copies: int = 1) -> dict[str, Any]:
        """Something happened: the event with `thing` as it is shown now, delivered `copies` times."""
        event: dict[str, Any] = {
            "id": new_id("evt_"),
            "object": "event",
            "api_version": API_VERSION,
            "created": now(),
            "data": {"object": thing},
            "livemode": False,
            "pending_webhooks": 1 if self._url else 0,
            "request": {"id": None, "idempotency_key": None},
            "type": kind,
        }
        self.events.append(event)
        self.send(event, max(copies, self.copies))
        return event

    def send(self, event: dict[str, Any], copies: int = 1) -> None:
        """Delivers an event, which may have been delivered before."""
        for _ in range(copies if self._url else 0):
            delivery = Delivery(event, self._url)
            self.deliveries.append(delivery)
            if self._held is None:
                self._start([delivery])
            else:
                self._held.append(delivery)

    def _start(self, deliveries: list[Delivery]) -> None:
        # Owned here: held in `_tasks`, awaited by `settled` and `close`.
        task = asyncio.get_running_loop().create_task(self._deliver(deliveries))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, deliveries: list[Delivery]) -> None:
        """The first tries in order; then each one that was not taken by itself."""
        if self.delay:
            await self._pause(self.delay)
        for delivery in deliveries:
            await self._try(delivery)
        async with asyncio.TaskGroup() as group:
            for delivery in deliveries:
                group.create_task(self._insist(delivery))

    async def _insist(self, delivery: Delivery) -> None:
        pause = self.first_pause
        while not delivery.done:
            await self._pause(pause)
            await self._try(delivery)
            pause = min(2 * pause, self.longest_pause)

    async def _pause(self, seconds: float) -> None:
        hurry = self._hurry
        try:
            async with asyncio.timeout(seconds):
                await hurry.wait()
        except TimeoutError:
            return

    async def _try(self, delivery: Delivery) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=POST_SECONDS))
        body = json.dumps(delivery.event, indent=2).encode()
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": signature(body, self._secrets, int(time.time())),
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        }
        try:
            async with self._session.post(delivery.url, data=body, headers=headers, allow_redirects=False) as response:
                answer = response.status
        except (aiohttp.ClientError, TimeoutError):
            answer = 0
        delivery.answers.append(answer)
        delivery.done = 200 <= answer < 300


def signature(body: bytes, secrets: Iterable[str], at: int) -> str:
    """The header `Stripe-Signature` at a time in seconds. Test events carry a worthless v0 as well, as real ones do."""
    signed = b"%d." % at + body
    made = [f"v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}" for secret in secrets]
    return ",".join([f"t={at}", *made, f"v0={hashlib.sha256(signed).hexdigest()}"])
