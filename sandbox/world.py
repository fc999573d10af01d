"""The outside world on this machine: every stand-in in one server, with the chat page. It never listens beyond loopback.

python -m sandbox.world [--port 8765]
"""

import argparse
import asyncio
import contextlib
import ipaddress
import os
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from sandbox.alipay import AlipaySandbox
from sandbox.checkouts import Checkouts
from sandbox.discord import DiscordSandbox
from sandbox.faults import FaultSwitches
from sandbox.mail import MailSandbox
from sandbox.openai import OpenAISandbox
from sandbox.stability import StabilitySandbox
from sandbox.stripe import StripeSandbox
from sandbox.telegram import TelegramSandbox

DEFAULT_PORT = 8765
_PAGE = Path(__file__).parent / "page"
_LARGEST_REQUEST = 64 * 1024 * 1024
_GOODBYE_SECONDS = 2.0
_BACKLOG = 4096  # many people may arrive at once, and a benchmark brings all of them
_REAL = (
    ("AETHERFLOW_TELEGRAM_TOKEN", "AETHERFLOW_TELEGRAM_API_URL"),
    ("AETHERFLOW_DISCORD_TOKEN", "AETHERFLOW_DISCORD_API_URL"),
    ("AETHERFLOW_STRIPE_SECRET_KEY", "AETHERFLOW_STRIPE_API_URL"),
    ("AETHERFLOW_ALIPAY_PRIVATE_KEY", "AETHERFLOW_ALIPAY_GATEWAY_URL"),
    ("AETHERFLOW_SMTP_URL", "AETHERFLOW_SMTP_URL"),
)


_Part = TelegramSandbox | DiscordSandbox | StabilitySandbox | OpenAISandbox | StripeSandbox | AlipaySandbox | MailSandbox


class World:
    """The stand-ins are there once `start` has returned; `url` is where they are."""

    url: str
    telegram: TelegramSandbox
    discord: DiscordSandbox
    stability: StabilitySandbox
    openai: OpenAISandbox
    stripe: StripeSandbox
    alipay: AlipaySandbox
    mail: MailSandbox

    def __init__(self) -> None:
        self._runner: web.AppRunner | None = None

    async def start(self, host: str = "127.0.0.1", port: int = DEFAULT_PORT) -> None:
        """Listens; port 0 takes a free one. Raises ValueError for a host beyond loopback, OSError where the port is taken."""
        if not is_loopback(host):
            raise ValueError(f"the sandbox listens on loopback addresses only, not on {host!r}")
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            await self._serve(listener, f"[{host}]" if ":" in host else host)
        except BaseException:
            listener.close()
            raise

    async def _serve(self, listener: socket.socket, host: str) -> None:
        self.url = f"http://{host}:{listener.getsockname()[1]}"
        self.telegram = TelegramSandbox(public_url=self.url)
        self.discord = DiscordSandbox(public_url=self.url)
        self.stability = StabilitySandbox(public_url=self.url)
        self.openai = OpenAISandbox(public_url=self.url)
        self.stripe = StripeSandbox(public_url=self.url)
        self.alipay = AlipaySandbox(public_url=self.url)
        self.mail = MailSandbox()
        app = web.Application(client_max_size=_LARGEST_REQUEST)
        for part in self._parts():
            app.add_routes(part.routes())
        app.add_routes(FaultSwitches({"stability": self.stability, "openai": self.openai}, self.telegram, self.discord).routes())
        app.add_routes(Checkouts(self.stripe, self.alipay).routes())
        app.add_routes(_page())
        app.on_shutdown.append(self._close_parts)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_GOODBYE_SECONDS)
        await self._runner.setup()
        await web.SockSite(self._runner, listener, backlog=_BACKLOG).start()
        await self.mail.start()

    async def stop(self) -> None:
        """Closes every connection and the port. Once more does nothing."""
        if (runner := self._runner) is not None:
            self._runner = None
            await runner.cleanup()

    def _parts(self) -> tuple[_Part, ...]:
        return self.telegram, self.discord, self.stability, self.openai, self.stripe, self.alipay, self.mail

    async def _close_parts(self, _app: web.Application) -> None:
        for part in self._parts():
            await part.close()


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_real_tokens(environment: Mapping[str, str]) -> None:
    """The sandbox does not start beside a token that would reach the real platform. Raises SystemExit."""
    for token, url in _REAL:
        if environment.get(token) and not is_loopback(urlsplit(environment.get(url, "")).hostname or ""):
            raise SystemExit(f"{token} is set and {url} does not point to this machine: the sandbox does not start beside real tokens")


def _page() -> list[web.AbstractRouteDef]:
    if not (_PAGE / "index.html").is_file():
        return []

    async def index(_request: web.Request) -> web.StreamResponse:
        return web.FileResponse(_PAGE / "index.html")

    return [web.get("/", index), web.static("/page", _PAGE)]


async def serve(port: int) -> None:
    """Runs until interrupted."""
    world, stopped = World(), asyncio.Event()
    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C cancels this task instead
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
    await world.start(port=port)
    print(f"sandbox on {world.url}", flush=True)  # noqa: T201 - a command line program
    try:
        await stopped.wait()
    finally:
        await world.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The outside world on this machine, for trying the product without any account")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    refuse_real_tokens(os.environ)
    asyncio.run(serve(parser.parse_args().port))
