"""Alipay's notices: signed forms, posted to the merchant until the answer is exactly `success`. https://opendocs.alipay.com/open/203/105286"""

import asyncio
import ipaddress
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

import aiohttp

PAUSES = (240.0, 600.0, 600.0, 3_600.0, 7_200.0, 21_600.0, 54_000.0)
"""Seconds before each repetition: eight deliveries within 25 hours."""
ANSWER_SECONDS = 10.0
_SUCCESS = b"success"


@dataclass(frozen=True)
class Notice:
    """What is told: `fields` without `notify_time`, `sign_type` and `sign`, which every delivery gets anew."""

    url: str
    fields: dict[str, str]

    @property
    def id(self) -> str:
        """The same for all deliveries of one notice."""
        return self.fields["notify_id"]


@dataclass(frozen=True)
class Delivery:
    """One try to deliver a notice. `status` 0: no answer came, and `answer` says why. `taken`: it was answered with `success`."""

    notify_id: str
    out_trade_no: str
    trade_status: str
    refund_fee: str
    status: int
    answer: str
    taken: bool


class Courier:
    """Owns every delivery under way; `close` ends them.

    `pauses`: seconds before each repetition; may be replaced at any time, () tries once. `deliveries`: all tries so far.
    """

    def __init__(self, seal: Callable[[dict[str, str]], dict[str, str]]) -> None:
        self.pauses: tuple[float, ...] = PAUSES
        self.deliveries: list[Delivery] = []
        self.notices: list[Notice] = []
        self._seal = seal
        self._held: list[Notice] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    def send(self, notice: Notice) -> None:
        """Delivers a notice, at once or when the held ones go out. A notice without an address goes nowhere."""
        if not notice.url or self._closed:
            return
        if notice not in self.notices:
            self.notices.append(notice)
        if self._held is not None:
            self._held.append(notice)
        else:
            self._own(self._deliver(notice))

    def repeat(self, notify_id: str | None = None) -> None:
        """Delivers an earlier notice once more, the last one by default, as if its answer had been lost. Raises ValueError."""
        found = [notice for notice in self.notices if notify_id in (None, notice.id)]
        if not found:
            raise ValueError("there is no such notice")
        self.send(found[-1])

    def hold(self) -> None:
        """From now on notices wait, in their order."""
        self._held = self._held or []

    def release(self, *, backwards: bool = False) -> None:
        """Delivers what waits, all at once, or if `backwards` one after the other and the last first; and holds no more."""
        held, self._held = self._held or [], None
        if backwards and not self._closed:
            self._own(self._one_by_one(held[::-1]))
        else:
            for notice in held:
                self.send(notice)

    async def settled(self, within: float = 10.0) -> None:
        """Until every notice is taken or given up; those that are held do not count. Raises TimeoutError after `within` seconds."""
        async with asyncio.timeout(within):
            while self._tasks:
                await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Ends what is under way. Once more does nothing."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _own(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)  # owned here: held until it is done, awaited by close()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _one_by_one(self, notices: list[Notice]) -> None:
        for notice in notices:
            await self._deliver(notice)

    async def _deliver(self, notice: Notice) -> None:
        """Until it is taken, or the last pause is over."""
        for pause in (0.0, *self.pauses):
            await asyncio.sleep(pause)
            if await self._post(notice):
                return

    async def _post(self, notice: Notice) -> bool:
        status, answer = 0, b""
        try:
            if not _is_loopback(notice.url):
                raise ValueError("the sandbox calls this machine alone")
            body = urlencode(self._seal(notice.fields))
            headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
            async with self._client().post(notice.url, data=body, headers=headers, allow_redirects=False) as response:
                status, answer = response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as problem:
            answer = (str(problem) or type(problem).__name__).encode()
        taken = status == 200 and answer == _SUCCESS
        fields = notice.fields
        told = (notice.id, fields["out_trade_no"], fields["trade_status"], fields.get("refund_fee", ""))
        self.deliveries.append(Delivery(*told, status, answer.decode(errors="replace"), taken))
        return taken

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
            self._session = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
        return self._session


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
