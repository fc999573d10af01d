"""What the stand-ins for the image providers share: keys with a balance that falls, and trouble on demand.

A picture call goes through: key, form, rate limit, waiting (latency, gate), trouble, moderation, balance, drawing, answer.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from decimal import Decimal
from random import Random
from typing import Any, ClassVar

from aiohttp import web

DEMO_CREDITS = 1_000
MAX_TEXT = 100_000

ERRORS = ("server", "unavailable", "rate_limited", "empty", "unauthorized", "moderated", "unverified", "model_missing")
KINDS = (*ERRORS, "filtered", "blank", "hang", "cut", "garbage")
"""What `fail_kind` can be: an error of that class (500, 503, 429 with retry-after, no credit left, …), a filtered picture, an empty one,
no answer at all, half a picture and a broken connection, or 200 with bytes that are no picture. `filtered`, `blank`, `cut`
and `garbage` take the money."""


class Refused(Exception):
    """The request is answered with an error. `kind` is one of ERRORS, or "bad_request", "too_large", "not_found"."""

    def __init__(
        self, kind: str, message: str = "", *, param: str | None = None, code: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(kind, message)
        self.kind, self.message, self.param, self.code, self.retry_after = kind, message, param, code, retry_after


@dataclass
class Faults:
    """Switches. Times in seconds; the latency varies by `spread` both ways; `fail_rate` (0 to 1) of the calls fail as `fail_kind` says."""

    latency: float = 0.0
    spread: float = 0.0
    fail_rate: float = 0.0
    fail_kind: str = "server"
    retry_after: float = 2.0

    def set(self, **values: Any) -> None:
        """Changes some of them. Raises ValueError for an unknown name, kind or a number out of range."""
        known = {one.name for one in fields(self)}
        for name, value in values.items():
            if name not in known:
                raise ValueError(f"{name}: one of {', '.join(sorted(known))}")
            if name == "fail_kind" and value not in KINDS:
                raise ValueError(f"fail_kind: one of {', '.join(KINDS)}")
            top = 1 if name == "fail_rate" else 86_400
            if name != "fail_kind" and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= top):
                raise ValueError(f"{name}: a number from 0 to {top}")
            setattr(self, name, value)


@dataclass
class Account:
    """The owner of a key. `calls` counts its picture calls, refused ones included; `faults` None: those of the whole stand-in."""

    key: str
    credits: Decimal
    faults: Faults | None = None
    verified: bool = True
    models: frozenset[str] | None = None
    calls: int = 0
    pictures: int = 0
    recent: deque[float] = field(default_factory=deque, repr=False)


@dataclass(frozen=True)
class Job:
    """One picture to make. `paint` returns the body and its headers; it is told "", "filtered" or "blank", and called in a thread."""

    prompt: str
    price: Decimal
    paint: Callable[[str], tuple[bytes, dict[str, str]]]


class ImageApi:
    """Subclasses read the form and shape the errors. Everything may be changed while it runs."""

    vendor: ClassVar[str]
    rate_limit: tuple[int, float] | None = None
    """(picture calls, seconds) per key; None: as many as come."""

    def __init__(self, public_url: str, *, draft: bool = False, seed: int = 0) -> None:
        self.public_url = public_url
        self.draft = draft  # pictures of an eighth of the size, for load tests
        self.faults = Faults()
        self.accounts: dict[str, Account] = {}
        self.gate = asyncio.Event()  # cleared: calls wait at it
        self.gate.set()
        self.calls = 0
        self.pictures = 0
        self.dice = Random(seed)
        self._news = asyncio.Condition()
        self._closing = asyncio.Event()

    # What a test or a person does.

    def add_key(
        self,
        key: str,
        credits: float | Decimal = DEMO_CREDITS,  # the vendor's word
        *,
        verified: bool = True,
        models: frozenset[str] | None = None,
        **faults: Any,
    ) -> Account:
        """Makes `key` known, or resets it. `faults`: latency, spread, fail_rate, fail_kind, retry_after for this key alone."""
        if not self.may_be_key(key):
            raise ValueError("not the shape of this vendor's keys")
        account = self.accounts[key] = Account(key, Decimal(str(credits)), None, verified, models)
        if faults:
            account.faults = Faults()
            account.faults.set(**faults)
        return account

    def account(self, key: str) -> Account:
        """The account of a known key; a demo key is known from the start. Raises KeyError."""
        if key not in self.accounts and self.is_demo(key):
            return self.add_key(key)
        return self.accounts[key]

    def balance(self, account: Account) -> Decimal:
        """What the vendor says is left: nothing while every call is refused for want of credit."""
        faults = account.faults or self.faults
        return Decimal(0) if faults.fail_kind == "empty" and faults.fail_rate >= 1 else account.credits

    def hold(self) -> None:
        """From now on picture calls wait at the gate, after they have arrived and before anything is charged."""
        self.gate.clear()

    def release(self) -> None:
        """Opens the gate for all that wait, and all that come."""
        self.gate.set()

    async def arrived(self, count: int = 1, key: str | None = None, within: float = 10.0) -> None:
        """Waits until `count` picture calls have come in all, of one key or of any. Raises TimeoutError after `within` seconds."""
        async with asyncio.timeout(within), self._news:
            await self._news.wait_for(lambda: (self.calls if key is None else self.account(key).calls) >= count)

    async def painted(self, count: int = 1, within: float = 10.0) -> None:
        """Waits until `count` pictures have been charged and drawn in all, whoever still wants them. Raises TimeoutError."""
        async with asyncio.timeout(within), self._news:
            await self._news.wait_for(lambda: self.pictures >= count)

    async def close(self) -> None:
        """Lets go of calls that hang or wait; belongs into the server's `on_shutdown`."""
        self._closing.set()
        self.gate.set()

    # What a subclass says.

    def may_be_key(self, key: str) -> bool:
        """Whether the text has the shape of one of this vendor's keys."""
        raise NotImplementedError

    def is_demo(self, key: str) -> bool:
        """Whether the key is known without being added."""
        raise NotImplementedError

    async def read(self, request: web.Request, account: Account) -> Job:
        """Checks the request against the official limits. Raises Refused."""
        raise NotImplementedError

    def refusal(self, refused: Refused) -> web.Response:
        """The error in this vendor's shape."""
        raise NotImplementedError

    # What happens.

    def routes(self) -> list[web.RouteDef]:
        """The switches by HTTP; a subclass adds its own."""
        return [
            web.get(f"/hands/{self.vendor}/faults", self._show_faults),
            web.post(f"/hands/{self.vendor}/faults", self._set_faults),
            web.get(f"/hands/{self.vendor}/keys", self._show_keys),
            web.post(f"/hands/{self.vendor}/keys", self._add_key),
        ]

    def authenticate(self, request: web.Request) -> Account:
        """The account whose key is the bearer. Raises Refused."""
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        try:
            return self.account(key if scheme.lower() == "bearer" else "")
        except KeyError:
            raise Refused("unauthorized") from None

    def authenticate_free(self, request: web.Request) -> Account:
        """The same for a call that costs nothing. A key whose switches say `unauthorized` is wrong here, too. Raises Refused."""
        account = self.authenticate(request)
        faults = account.faults or self.faults
        if faults.fail_kind in ("unauthorized", "server", "unavailable") and self.dice.random() < faults.fail_rate:
            raise Refused(faults.fail_kind)
        return account

    def new_id(self) -> str:
        """A request id."""
        return f"{self.dice.getrandbits(128):032x}"

    async def on_picture(self, request: web.Request) -> web.StreamResponse:
        """A call that makes a picture."""
        try:
            account = self.authenticate(request)
            async with self._news:
                self.calls += 1
                account.calls += 1
                self._news.notify_all()
            faults = account.faults or self.faults
            job = await self.read(request, account)
            self._count(account)
            await asyncio.sleep(max(0.0, faults.latency + faults.spread * self.dice.uniform(-1, 1)))
            await self.gate.wait()
            kind = faults.fail_kind if self.dice.random() < faults.fail_rate else ""
            if kind in ERRORS:
                raise Refused(kind, retry_after=faults.retry_after if kind in ("rate_limited", "unavailable") else None)
            return await self._answer(request, account, job, kind)
        except Refused as refused:
            return self.refusal(refused)

    async def _answer(self, request: web.Request, account: Account, job: Job, kind: str) -> web.StreamResponse:
        words = job.prompt.lower()
        if kind == "hang":
            await self._closing.wait()
            raise Refused("unavailable")
        if "forbidden" in words:
            raise Refused("moderated")
        if account.credits < job.price:
            raise Refused("empty")
        account.credits -= job.price
        trouble = kind if kind in ("filtered", "blank") else "filtered" if "filtered" in words else ""
        body, headers = await asyncio.to_thread(job.paint, trouble)
        async with self._news:
            self.pictures += 1
            account.pictures += 1
            self._news.notify_all()
        if kind == "garbage":
            body = b"\x89PNG\r\n\x1a\n" + self.dice.randbytes(2_000)
        if kind != "cut":
            return web.Response(body=body, headers=headers)
        response = web.StreamResponse(headers={**headers, "Content-Length": str(len(body))})
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
        if request.transport is not None:
            request.transport.close()
        return response

    def _count(self, account: Account) -> None:
        if self.rate_limit is None:
            return
        limit, seconds = self.rate_limit
        now = time.monotonic()
        while account.recent and account.recent[0] <= now - seconds:
            account.recent.popleft()
        if len(account.recent) >= limit:
            raise Refused("rate_limited")
        account.recent.append(now)

    async def _show_faults(self, _request: web.Request) -> web.Response:
        own = {key: asdict(account.faults) for key, account in self.accounts.items() if account.faults}
        return web.json_response({**asdict(self.faults), "hold": not self.gate.is_set(), "draft": self.draft, "keys": own, "kinds": KINDS})

    async def _set_faults(self, request: web.Request) -> web.Response:
        """{"key"?, "hold"?, "draft"?, latency, spread, fail_rate, fail_kind, retry_after}; with a key alone its own switches go."""
        wanted = await _object(request)
        key, hold, draft = wanted.pop("key", None), wanted.pop("hold", None), wanted.pop("draft", None)
        try:
            faults = self.faults
            if key is not None:
                account = self.account(str(key))
                faults = account.faults or Faults()
                account.faults = faults if wanted else None
            faults.set(**wanted)
        except (KeyError, ValueError) as problem:
            raise web.HTTPBadRequest(text=f"unknown key {problem}" if isinstance(problem, KeyError) else str(problem)) from None
        if hold is not None:
            self.hold() if hold else self.release()
        if draft is not None:
            self.draft = bool(draft)
        return await self._show_faults(request)

    async def _show_keys(self, _request: web.Request) -> web.Response:
        return web.json_response([_shown(account) for account in self.accounts.values()])

    async def _add_key(self, request: web.Request) -> web.Response:
        """{"key", "credits"?, "verified"?, and the switches}."""
        wanted = await _object(request)
        try:
            return web.json_response(_shown(self.add_key(str(wanted.pop("key", "")), **wanted)))
        except (ArithmeticError, TypeError, ValueError) as problem:
            raise web.HTTPBadRequest(text=str(problem)) from None


async def read_form(request: web.Request, limit: int) -> dict[str, bytes]:
    """The parts of a multipart form by name. Raises Refused when it is none, is broken, or has more than `limit` bytes."""
    if request.content_type != "multipart/form-data":
        raise Refused("bad_request", "content-type: must be multipart/form-data")
    if (request.content_length or 0) > limit:
        raise Refused("too_large")
    parts: dict[str, bytes] = {}
    size = 0
    try:
        async for part in await request.multipart():
            data = bytearray()
            while chunk := await part.read_chunk(65_536):  # type: ignore[union-attr]  # a form inside a form fails below
                size += len(chunk)
                if size > limit:
                    raise Refused("too_large")
                data += chunk
            parts[str(part.name)] = bytes(data)  # type: ignore[union-attr]
    except (AttributeError, ValueError, AssertionError):
        raise Refused("bad_request", "the form cannot be read") from None
    return parts


def text_of(data: bytes, name: str) -> str:
    """A part as text. Raises Refused for what is not UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Refused("bad_request", f"{name}: must be UTF-8", param=name) from None


def _shown(account: Account) -> dict[str, Any]:
    return {"key": account.key, "credits": float(account.credits), "calls": account.calls, "pictures": account.pictures}


async def _object(request: web.Request) -> dict[str, Any]:
    try:
        value = await request.json()
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise web.HTTPBadRequest(text="a JSON object is needed")
    return value
