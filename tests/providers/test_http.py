"""The HTTP client against servers that behave, and servers that do not."""

import asyncio
import gzip
import logging
import resource
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from io import BytesIO

import httpx
import pytest
from aiohttp import web
from PIL import Image

from core.providers.base import Delivered, FailedFree, Fault, ImageRequest, Operation, Unknown
from core.providers.http import MAX_RETRY_AFTER, Answer, Client, call, read_picture, retry_after, sendable, unanswered
from core.providers.stability import StabilityProvider
from core.vault.secret import Secret

KEY = "sk-this-must-not-be-seen-0123456789"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[str]:
    """A server whose every path is `handler`; gives its address."""
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{rest:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=4_096).start()  # a thousand at once overflow the usual 128 and are reset
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def talking(answer: bytes | None, listens: bool = True) -> AsyncIterator[str]:
    """A server that reads a request (unless it does not listen), says `answer` and hangs up; None: says nothing and stays."""
    gone = asyncio.Event()

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if listens:
            await reader.readuntil(b"\r\n\r\n")
        if answer is None:
            await gone.wait()
        else:
            writer.write(answer)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        gone.set()
        server.close()
        await server.wait_closed()


def encoded(kind: str, width: int = 64, height: int = 64) -> bytes:
    """A small picture as PNG, JPEG, WEBP or GIF."""
    buffer = BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(buffer, kind)
    return buffer.getvalue()


async def ask(client: Client, url: str, seconds: float = 5.0, limit: int = 10_000) -> Answer | Fault:
    return await call(client, "POST", url, Secret(KEY), seconds=seconds, limit=limit, content={"a": 1})


async def test_nobody_listens(client: Client, unused_tcp_port: int) -> None:
    assert await ask(client, f"http://127.0.0.1:{unused_tcp_port}") is Fault.NETWORK


async def test_no_tls_where_it_is_expected(client: Client) -> None:
    async with talking(b"HTTP/1.1 400 Bad Request\r\n\r\n", listens=False) as url:
        assert await ask(client, url.replace("http:", "https:")) is Fault.NETWORK


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        (b"", Fault.TIMEOUT),
        (None, Fault.TIMEOUT),
        (b"HTTP/1.1 20", Fault.TIMEOUT),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", Fault.BAD_ANSWER),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n", Fault.BAD_ANSWER),
        (b"HTTP/1.1 200 \xff\xfe\r\nContent-Length: 0\r\n\r\n", Fault.BAD_ANSWER),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 20_000 + b"\r\n\r\n", Fault.BAD_ANSWER),
    ],
)
async def test_what_was_sent_and_got_no_status_is_unknown(client: Client, said: bytes | None, fault: Fault) -> None:
    async with talking(said) as url:
        got = await ask(client, url, seconds=0.5)
    assert got is fault
    assert unanswered(fault) == Unknown(fault)


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", Fault.BAD_ANSWER),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", Fault.BAD_ANSWER),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nplain", Fault.BAD_ANSWER),
    ],
)
async def test_a_body_that_breaks_off_leaves_the_status(client: Client, said: bytes, fault: Fault) -> None:
    async with talking(said) as url:
        got = await ask(client, url)
    assert isinstance(got, Answer)
    assert (got.status, got.body, got.fault) == (200, b"", fault)


async def test_a_body_that_stalls_leaves_the_status(client: Client) -> None:
    stop = asyncio.Event()

    async def stalls(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"half")
        await stop.wait()
        return response

    async with served(stalls) as url:
        got = await ask(client, url, seconds=0.3)
        stop.set()
    assert isinstance(got, Answer)
    assert (got.status, got.fault) == (200, Fault.TIMEOUT)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("status", [200, 500])
async def test_no_more_is_read_than_allowed(client: Client, packed: bool, status: int) -> None:
    written = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse(status=status, headers={"Content-Encoding": "gzip"} if packed else {})
        await response.prepare(request)
        chunk = gzip.compress(b"0" * 10_000_000) if packed else b"0" * 100_000
        for _ in range(1_000):
            await response.write(chunk)
            written += len(chunk)
        return response

    async with served(endless) as url:
        got = await ask(client, url, limit=1_000_000)
    assert isinstance(got, Answer)
    assert (got.status, got.body, got.fault) == (status, b"", Fault.BAD_ANSWER)
    assert written < 20_000_000


async def test_redirects_are_not_followed_and_cookies_not_kept(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str | None]] = []

    async def redirects(request: web.Request) -> web.StreamResponse:
        seen.append((request.path, request.headers.get("Cookie")))
        response = web.Response(status=307, headers={"Location": "/elsewhere"})
        response.set_cookie("who", "miner-1")
        return response

    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with served(redirects) as url:
        answers = [await ask(client, url + "/first"), await ask(client, url + "/second")]
    assert [answer.status for answer in answers if isinstance(answer, Answer)] == [307, 307]
    assert seen == [("/first", None), ("/second", None)]
    assert not client.cookies


@pytest.mark.parametrize("key", ["", "sk-a\nX-Evil: 1", "sk-a\r", "sk-a b", "sk-\x00", "sk-ключ", "sk-密钥", "sk-" + "a" * 500])
async def test_a_key_that_fits_no_header_is_not_sent(client: Client, key: str) -> None:
    asked = 0

    async def counts(_request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        return web.Response()

    async with served(counts) as url:
        got = await call(client, "GET", url, Secret(key), seconds=5)
    assert got is Fault.BAD_KEY
    assert asked == 0
    assert unanswered(got) == FailedFree(Fault.BAD_KEY)


async def test_a_call_without_time_is_not_sent(client: Client) -> None:
    assert await ask(client, "http://127.0.0.1:9", seconds=-0.1) is Fault.NETWORK


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "999999999"}, MAX_RETRY_AFTER),
        ({"retry-after": "Wed, 25 Nov 2026 00:01:30 GMT", "date": "Wed, 25 Nov 2026 00:00:00 GMT"}, 90.0),
        ({"retry-after": "Wed, 25 Nov 2026 00:00:00 GMT", "date": "Wed, 25 Nov 2026 00:01:30 GMT"}, 0.0),
        ({"retry-after": "Wed, 25 Nov 2026 00:00:00 GMT"}, None),
        ({"retry-after": "Wed, 25 Nov 2026 00:00:00 -0000", "date": "Wed, 25 Nov 2026 00:01:30 GMT"}, None),
        ({"retry-after": "-1", "date": "Wed, 25 Nov 2026 00:01:30 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(httpx.Headers(headers)) == seconds


def huge_png(width: int, height: int) -> bytes:
    """A whole PNG that claims a size and has next to no data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("kind", "media_type"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")])
def test_a_picture_is_read(kind: str, media_type: str) -> None:
    picture = read_picture(encoded(kind, 64, 96))
    assert picture is not None
    assert (picture.media_type, picture.width, picture.height) == (media_type, 64, 96)


def test_a_phones_jpeg_with_a_second_picture_is_read() -> None:
    buffer = BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "MPO", save_all=True, append_images=[Image.new("RGB", (32, 32))])
    picture = read_picture(buffer.getvalue())
    assert picture is not None
    assert picture.media_type == "image/jpeg"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        encoded("GIF"),
        encoded("PNG")[:-20],
        encoded("PNG")[:40],
        encoded("PNG").replace(b"IDAT", b"IDAX"),
        encoded("JPEG")[:-200],
        encoded("WEBP")[:-20],
        encoded("PNG", 1, 1),
        encoded("PNG", 31, 64),
        huge_png(16_385, 64),
        huge_png(16_000, 16_000),
        huge_png(60_000, 60_000),
        b"\x89PNG\r\n\x1a\n" + b"\x00" * 100,
        b"RIFF\x10\x00\x00\x00WEBPVP8 ",
        b"\xff\xd8\xff\xe0" + b"\x00" * 50 + b"\xff\xd9",
    ],
)
def test_what_is_no_usable_picture(data: bytes) -> None:
    assert read_picture(data) is None


def test_text_that_does_not_encode_is_made_to() -> None:
    assert sendable("a\ud800b 猫").encode() == "a?b 猫".encode()


async def test_a_thousand_slow_calls_at_once(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8_192)), hard))
    picture, most, running = encoded("PNG"), 0, 0

    async def slow(request: web.Request) -> web.StreamResponse:
        nonlocal most, running
        await request.read()
        running += 1
        most = max(most, running)
        await asyncio.sleep(1.0)
        running -= 1
        echo = {"x-echo": request.headers["Authorization"], "finish-reason": "SUCCESS", "x-request-id": KEY.replace("-", "!")}
        return web.Response(body=picture, content_type="image/png", headers=echo, reason=f"OK {KEY}")

    caplog.set_level(logging.DEBUG)
    key = Secret(KEY)
    async with served(slow) as url:
        provider = StabilityProvider(url, client)
        async with asyncio.TaskGroup() as group:
            request = ImageRequest(Operation.GENERATE, "core", "a cat")
            tasks = [group.create_task(provider.generate(request, key, timeout=30.0)) for _ in range(1_000)]
    outcomes = [task.result() for task in tasks]
    assert {type(outcome) for outcome in outcomes} == {Delivered}, [one for one in outcomes if not isinstance(one, Delivered)][:3]
    assert most > 250  # far more than any pool that waits
    assert KEY not in caplog.text + repr(outcomes) + repr(provider.__dict__) + repr(tasks[0])


async def test_a_call_that_meets_a_closing_connection_is_not_sent_again(client: Client) -> None:
    asked: list[int] = []

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number in range(2):
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
            asked.append(number)
            if number == 0:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert isinstance(await ask(client, url), Answer)
        assert await ask(client, url) is Fault.TIMEOUT
    assert asked == [0, 1]


async def test_cancelling_closes_the_connection(client: Client) -> None:
    begun, left = asyncio.Event(), asyncio.Event()

    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        begun.set()
        while await reader.read(1_000):
            pass
        left.set()
        writer.close()

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    async with server, asyncio.timeout(10), asyncio.TaskGroup() as group:
        task = group.create_task(ask(client, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", seconds=60))
        await begun.wait()
        task.cancel()
        await left.wait()
        with pytest.raises(asyncio.CancelledError):
            await task
