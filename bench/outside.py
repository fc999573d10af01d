"""The image provider's stand-in in a process of its own, which notes when each call came in and when its picture was there.

Prints its address and serves until its standard input closes. Moments are seconds of the machine's monotonic clock, which all of its
processes share.
"""

import asyncio
import resource
import sys
import time
from dataclasses import replace

from aiohttp import web

from sandbox.image_api import Account, Job
from sandbox.stability import StabilitySandbox


def raise_open_files() -> None:
    """A thousand calls are a thousand sockets: as many open files as this process may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Watching(StabilitySandbox):
    """Prompts are unique here, so they name the calls."""

    rate_limit: tuple[int, float] | None = None

    def __init__(self, public_url: str) -> None:
        super().__init__(public_url, draft=True)
        self.received: dict[str, float] = {}
        self.answered: dict[str, float] = {}

    async def on_picture(self, request: web.Request) -> web.StreamResponse:
        """As its parent; the moment of arrival is taken before the form is read."""
        request["arrived"] = time.monotonic()
        return await super().on_picture(request)

    async def read(self, request: web.Request, account: Account) -> Job:
        """As its parent."""
        job = await super().read(request, account)
        self.received[job.prompt] = request["arrived"]

        def paint(trouble: str) -> tuple[bytes, dict[str, str]]:
            try:
                return job.paint(trouble)
            finally:
                self.answered[job.prompt] = time.monotonic()

        return replace(job, paint=paint)

    async def wait(self, request: web.Request) -> web.Response:
        """`?count=` calls have come in."""
        await self.arrived(int(request.query["count"]), within=120.0)
        return web.Response()

    async def times(self, _request: web.Request) -> web.Response:
        """{"received", "answered"}: prompt -> moment."""
        return web.json_response({"received": self.received, "answered": self.answered})


async def _main() -> None:
    raise_open_files()
    outside = Watching("")
    app = web.Application()
    app.add_routes([web.get("/bench/wait", outside.wait), web.get("/bench/times", outside.times), *outside.routes()])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=2048).start()
    outside.public_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    sys.stdout.write(outside.public_url + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await outside.close()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(_main())
