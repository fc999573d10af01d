"""The api on a real socket, over a stage: a miner whose key is listed, a creator with Credits, and workers where a test wants them."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from PIL import Image

from api.app import make_api
from core.access.models import Scope
from core.access.rules import new_token
from core.accounts import Accounts, Pair
from core.app import App
from core.providers.base import Delivered, Picture
from core.users.models import User
from core.worker import Worker
from tests.stage import Stage, staged


def _drawn() -> bytes:
    buffer = BytesIO()
    Image.new("RGBA", (48, 32), (200, 80, 20, 128)).save(buffer, "PNG")
    return buffer.getvalue()


PICTURE = _drawn()
"""What the provider draws: a real PNG with transparency."""


@dataclass
class Served:
    """What a test of the api works with."""

    stage: Stage
    api: FastAPI
    url: str

    @property
    def app(self) -> App:
        return self.stage.app

    async def token(self, user: User | None = None, *scopes: str) -> str:
        """An API token; all scopes unless some are named. The creator's unless somebody else is named."""
        who, token = user or self.stage.creator, new_token()
        wanted = [Scope(scope) for scope in scopes] or list(Scope)
        await self.app.run(lambda work: work.access.add_token(who.id, token, "test", wanted, None, None, 1000))
        return token

    async def session(self, user: User | None = None) -> Pair:
        """A session of the creator's, or of somebody named."""
        return await Accounts(self.app)._begin(user or self.stage.creator)

    @asynccontextmanager
    async def client(self, user: User | None = None, *scopes: str, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
        """An HTTP client with such a token."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent["Authorization"] = f"Bearer {await self.token(user, *scopes)}"
        async with httpx.AsyncClient(base_url=self.url, headers=sent, timeout=30) as client:
            yield client

    @asynccontextmanager
    async def working(self) -> AsyncIterator[Worker]:
        """A worker that runs for the length of the block."""
        stop, worker = asyncio.Event(), Worker(self.app, 1)
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.run(stop))
            try:
                yield worker
            finally:
                stop.set()


@asynccontextmanager
async def serving(api: FastAPI) -> AsyncIterator[str]:
    """The address of an application on a free port of this machine."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        config = uvicorn.Config(api, access_log=False, log_level="warning", lifespan="off", proxy_headers=False, server_header=False)
        server = uvicorn.Server(config)
        async with asyncio.TaskGroup() as group:
            group.create_task(server._serve([listener]))
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                await api.state.waiting.close()
                server.should_exit = True


@asynccontextmanager
async def served_stage(url: str, folder: Path, *, lend: bool = True, **changes: Any) -> AsyncIterator[Served]:
    """The api over a stage on that database; `changes` are settings."""
    async with staged(url, folder, **changes) as stage:
        stage.provider.answer = lambda _request, _key: Delivered(Picture(PICTURE, "image/png", 48, 32), seed=7, cost=30_000)
        if lend:
            await stage.lend("sk-first")
        api = make_api(stage.app)
        async with serving(api) as address:
            yield Served(stage, api, address)
