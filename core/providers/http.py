"""The one place where an HTTP client is made, and where an answer of the outside is read before anyone believes it.

    call() -> Answer   the server began to answer: a status, and as much of the body as may be trusted
           -> Fault    it did not: NETWORK (nothing was sent), TIMEOUT (sent, no answer), BAD_ANSWER (sent, not HTTP), BAD_KEY (not sent)

Nothing here logs, retries, follows a redirect, or keeps a cookie: two keys of two miners must not be tied together by one.
"""

import asyncio
import json
import logging
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from PIL import Image

from core.providers.base import MAX_PICTURE_BYTES, FailedFree, Fault, Picture, Unknown
from core.vault.secret import Secret

CONNECT_SECONDS = 10.0
IDLE_SECONDS = 15.0
"""Servers close idle connections after a minute or more. Ours go well before, so that a paid call does not meet a closing one."""

DNS_SECONDS = 60
MAX_RETRY_AFTER = 86_400.0
MAX_ERROR_BYTES = 256 * 1024
MIN_SIDE = 32
MAX_SIDE = 16_384
MAX_PIXELS = 64_000_000
"""A picture outside of these is not one that anybody asked for, and would burst memory where it is decoded."""

MEDIA_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}

Client = httpx.AsyncClient  # noqa: TID251  # the one place
"""A client as `make_client` makes it."""

Part = tuple[None, bytes] | tuple[str, bytes, str]
"""A part of a multipart form: (None, value) of a field, (filename, content, media type) of a file."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered. `fault` tells why `body` cannot be used: BAD_ANSWER (cut, too large, undecodable) or TIMEOUT (stalled)."""

    status: int
    headers: httpx.Headers = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    fault: Fault | None = None

    @property
    def ok(self) -> bool:
        """The server says that it has done, and so has charged, what was asked."""
        return 200 <= self.status < 300

    @property
    def reference(self) -> str:
        """The server's request id, if it is a plain one and no key sent back; it is the only text of the outside that is passed on."""
        text = self.headers.get("x-request-id", "")
        return text if re.fullmatch(r"(?!.*sk-)[A-Za-z0-9._:-]{1,100}", text) else ""

    def json(self) -> dict[str, Any]:
        """The body as a JSON object, fractions as float; anything else is an empty one."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}


def make_client(authorities: Path | None = None) -> Client:
    """A client for one process, shared by all of its calls: no limit on connections, no proxy from the environment, no cookie.

    `authorities`: a file of certificates that are trusted instead of the usual ones. Raises OSError when it cannot be used.

    Its pool is aiohttp's: 1,000 slow calls at once are ordinary, and httpx's own pool searches all of them at each step.
    The number of open files must allow them. Close it with `aclose()`.
    """
    # httpx writes each URL and each reason phrase into the log; the first may hold a token, the second is text of the outside.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    context = _trusted() if authorities is None else ssl.create_default_context(cafile=authorities)

    def session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_SECONDS, ttl_dns_cache=DNS_SECONDS, ssl=context)
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)

    return Client(
        transport=AiohttpTransport(client=session),
        headers={"User-Agent": "aetherflow", "Accept-Encoding": "identity"},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        timeout=httpx.Timeout(30.0, connect=CONNECT_SECONDS, pool=None),
        follow_redirects=False,
        trust_env=False,
    )


@lru_cache(maxsize=1)
def _trusted() -> ssl.SSLContext:
    """The usual authorities; reading them takes long enough to do it once."""
    return httpx.create_ssl_context()


def fits_header(key: Secret) -> bool:
    """Whether a key can stand in a header: 1 to 500 visible ASCII characters. Anything else could end the header and begin another."""
    return re.fullmatch(r"[\x21-\x7e]{1,500}", key.reveal()) is not None


def sendable(text: str) -> str:
    """Text that always encodes: what people type can hold lone surrogates, which UTF-8 has no bytes for."""
    return text.encode("utf-8", "replace").decode()


async def call(
    client: Client,
    method: str,
    url: str,
    key: Secret,
    *,
    seconds: float,
    limit: int = MAX_PICTURE_BYTES,
    headers: Mapping[str, str] | None = None,
    content: Mapping[str, Any] | None = None,
    parts: Mapping[str, Part] | None = None,
) -> Answer | Fault:
    """One request with `key` as the bearer, `content` as JSON or `parts` as a form; over within `seconds`; at most `limit` bytes of answer.

    Never raises for what the outside does. Cancelling it closes the connection.
    """
    if not fits_header(key):
        return Fault.BAD_KEY
    if seconds <= 0:  # time ran out while the request was made ready
        return Fault.NETWORK
    request = client.build_request(
        method,
        url,
        headers={**(headers or {}), "Authorization": f"Bearer {key.reveal()}"},
        json=content,
        files=parts,
        timeout=httpx.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds), pool=None),
    )
    seen: Answer | None = None
    try:
        async with asyncio.timeout(seconds):
            response = await client.send(request, stream=True)
            seen = Answer(response.status_code, response.headers, fault=Fault.TIMEOUT)
            try:
                body = await _read(response, limit if seen.ok else min(limit, MAX_ERROR_BYTES))
            finally:
                await response.aclose()
    except TimeoutError:
        return seen or Fault.TIMEOUT
    except (httpx.HTTPError, aiohttp.ClientError, OSError, ValueError) as error:
        cause = error.__cause__ or error
        if seen:
            return Answer(seen.status, seen.headers, fault=Fault.TIMEOUT if isinstance(cause, TimeoutError) else Fault.BAD_ANSWER)
        return _fault_of(cause)
    return Answer(seen.status, seen.headers, body or b"", None if body is not None else Fault.BAD_ANSWER)


async def _read(response: httpx.Response, limit: int) -> bytes | None:
    """The body, or None as soon as it is known to be larger than `limit`."""
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > limit:
            return None
        parts.append(part)
    return b"".join(parts)


def _fault_of(cause: BaseException) -> Fault:
    """What an exception says about a request that got no status.

    The transport maps a dropped connection and a failed connect to one and the same exception, so the cause beneath is judged:
    one means "nobody knows", the other "not charged".
    """
    match cause:
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError() | aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return Fault.NETWORK
        case aiohttp.ClientConnectionError() | OSError():
            return Fault.TIMEOUT
    return Fault.BAD_ANSWER


def unanswered(fault: Fault) -> FailedFree | Unknown:
    """The outcome of a call that brought no answer."""
    return FailedFree(fault) if fault in (Fault.NETWORK, Fault.BAD_KEY) else Unknown(fault)


def may_have_worked(status: int) -> bool:
    """A gateway that gave up waiting (504; 524 at Cloudflare): what stands behind it may still make, and charge for, the picture."""
    return status in (504, 524)


def retry_after(headers: httpx.Headers) -> float | None:
    """`Retry-After` (RFC 9110 10.2.3) in seconds, at most a day. A date counts from the server's own `Date`: no clock has to agree."""
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", text):
        return min(float(text), MAX_RETRY_AFTER)
    try:
        wait = parsedate_to_datetime(text) - parsedate_to_datetime(headers.get("date", ""))
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(wait.total_seconds(), 0.0), MAX_RETRY_AFTER)


def read_picture(data: bytes) -> Picture | None:
    """The picture in `data`; None unless it is a whole PNG, JPEG or WebP of a sane size. Its frame is read, no pixel is decoded."""
    try:
        with Image.open(BytesIO(data), formats=tuple(MEDIA_TYPES)) as image:
            kind, (width, height) = image.format or "", image.size
            kind = "JPEG" if kind == "MPO" else kind  # a phone's JPEG with a second picture behind the first
            if kind == "PNG":
                image.verify()  # walks all chunks to the last and checks their sums
    except Exception:  # noqa: BLE001  # pillow's parsers raise anything at all on nonsense; whatever it is, it means "no picture"
        return None
    whole = {
        "PNG": True,
        "JPEG": b"\xff\xd9" in data[-1024:],
        "WEBP": int.from_bytes(data[4:8], "little") + 8 <= len(data),
    }
    sane = min(width, height) >= MIN_SIDE and max(width, height) <= MAX_SIDE and width * height <= MAX_PIXELS
    return Picture(data, MEDIA_TYPES[kind], width, height) if sane and whole.get(kind) else None
