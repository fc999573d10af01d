"""uvicorn inside our own loop: it starts and stops with the other roles, and takes no signals for itself."""

import asyncio

import uvicorn

from api.app import make_api
from core.app import App


class _Server(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        """The process has its own."""


async def serve(app: App, stop: asyncio.Event) -> None:
    """Serves until `stop`. The access log is off: a path may hold a one-time token."""
    settings = app.settings
    config = uvicorn.Config(
        make_api(app),
        host=settings.api_host,
        port=settings.api_port,
        access_log=False,
        log_level="warning",
        lifespan="off",
        server_header=False,
    )
    server = _Server(config)
    async with asyncio.TaskGroup() as group:
        group.create_task(server._serve())  # noqa: SLF001  # the public serve() captures signals
        await stop.wait()
        server.should_exit = True
