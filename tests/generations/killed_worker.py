"""A worker in a process of its own that is there to be killed: it works as any other does, up to one point, and there it stands still.

python -m tests.generations.killed_worker POINT, with its settings in the environment. At the point it says so, in one line.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.app import open_app
from core.blobs import Blobs
from core.config import load
from core.db import Database
from core.generations.models import attempts
from core.providers.base import ImageRequest, Outcome
from core.providers.http import make_client
from core.providers.stability import StabilityProvider
from core.vault.secret import Secret
from core.worker import Worker


class Point(StrEnum):
    """Where a worker can be killed, in the order in which it comes by."""

    IDLE = "before the claim"
    CLAIMING = "in the claim, before its commit"
    CLAIMED = "after the claim, before the call"
    CALLING = "in the call"  # the outside world holds it there
    ANSWERED = "after the answer, before the picture is stored"
    STORED = "after the picture is stored, before the settle"
    SETTLING = "in the settle, before its commit"
    SETTLED = "after the settle, before the delivery"


async def stand_still(here: str) -> None:
    """Tells that the process has come here, if that is where it shall stand, and stays for good. It does not outlive its parent."""
    if here != sys.argv[1]:
        return
    print(here, flush=True)
    await asyncio.to_thread(sys.stdin.buffer.read)
    os._exit(1)  # the parent is gone without killing us


class _Provider(StabilityProvider):
    async def generate(self, request: ImageRequest, key: Secret, *, timeout: float) -> Outcome:
        await stand_still(Point.CLAIMED)
        outcome = await super().generate(request, key, timeout=timeout)
        await stand_still(Point.ANSWERED)
        return outcome


class _Blobs(Blobs):
    async def put(self, folder: str, data: bytes, media_type: str, name: str | None = None) -> str:
        name = await super().put(folder, data, media_type, name)
        await stand_still(Point.STORED)
        return name


class _Database(Database):
    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A transaction is known by what it has written: the first open attempt is the claim's, the first closed one the settle's."""
        closed = None
        async with super().begin() as connection:
            yield connection
            closed = await connection.scalar(select(attempts.c.finished_at.is_not(None)).limit(1))
            if closed is not None:
                await stand_still(Point.SETTLING if closed else Point.CLAIMING)
        if closed:
            await stand_still(Point.SETTLED)


async def main() -> None:
    """Works until it is killed."""
    settings, client = load(env_file=None), make_client()
    provider = _Provider(settings.stability_api_url, client)
    async with open_app(settings, {provider.name: provider}) as app:
        app.database, app.blobs = _Database(settings.sqlalchemy_url), _Blobs(settings.blob_location)
        await stand_still(Point.IDLE)
        await Worker(app, 1).run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main())
