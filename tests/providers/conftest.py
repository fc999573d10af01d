"""What tests of providers share: the one client, and a stand-in that listens."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest
from aiohttp import web

from core.providers.http import Client, make_client
from sandbox.image_api import ImageApi

Stand = TypeVar("Stand", bound=ImageApi)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """The client of the product, closed afterwards."""
    made = make_client()
    yield made
    await made.aclose()


@asynccontextmanager
async def listening(made: Stand) -> AsyncIterator[Stand]:
    """A provider's stand-in on a free port; its `public_url` is where."""
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.add_routes(made.routes())

    async def close(_app: web.Application) -> None:
        await made.close()

    app.on_shutdown.append(close)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.public_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()
