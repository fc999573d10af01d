"""The Telegram stand-in alone on a free loopback port, and a real Bot that talks to it."""

import io
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from PIL import Image
from telegram import Bot
from telegram.error import BadRequest
from telegram.request import HTTPXRequest

from sandbox.telegram import TelegramSandbox

TOKEN = "7000000001:AAsandbox"
ADA, BO, CHEN, NOUR = 1001, 1002, 1003, 1005
CLUB, GALLERY = -1001000000001, -1001000000002


@asynccontextmanager
async def served() -> AsyncIterator[TelegramSandbox]:
    """Ada, Bo and 陈晨 have started the bot."""
    app = web.Application(client_max_size=64 * 1024 * 1024)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    sandbox = TelegramSandbox(public_url="")
    app.add_routes(sandbox.routes())

    async def close(_app: web.Application) -> None:
        await sandbox.close()

    app.on_shutdown.append(close)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sandbox.state.public_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    for person in (ADA, BO, CHEN):
        sandbox.state.person(person).started = True
    try:
        yield sandbox
    finally:
        await runner.cleanup()


@asynccontextmanager
async def connected(sandbox: TelegramSandbox, token: str = TOKEN) -> AsyncIterator[Bot]:
    """An initialised Bot of the real library."""
    api = f"{sandbox.state.public_url}/telegram"
    request = HTTPXRequest(read_timeout=2.0, connect_timeout=2.0)
    async with Bot(token, base_url=f"{api}/bot", base_file_url=f"{api}/file/bot", request=request) as bot:
        yield bot


async def refused(call: Awaitable[object], error: type[Exception] = BadRequest) -> str:
    """The words of a refusal."""
    with pytest.raises(error) as caught:
        await call
    return str(caught.value)


def picture(width: int = 40, height: int = 30, kind: str = "PNG") -> bytes:
    """A small real picture."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), "navy").save(file, kind)
    return file.getvalue()
