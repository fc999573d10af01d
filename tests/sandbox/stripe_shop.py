"""A shop before the Stripe stand-in, on a real socket: an endpoint that is told, and someone who calls and presses buttons."""

import asyncio
import html
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from sandbox.stripe import StripeSandbox

KEY, SECRET = "sk_test_demo", "whsec_demo"
AUTH = {"Authorization": f"Bearer {KEY}"}
FORM = {
    "mode": "payment",
    "line_items[0][quantity]": "1",
    "line_items[0][price_data][currency]": "usd",
    "line_items[0][price_data][unit_amount]": "1000",
    "line_items[0][price_data][product_data][name]": "1,000 Credits",
    "success_url": "https://shop.example/back?session={CHECKOUT_SESSION_ID}",
    "cancel_url": "https://shop.example/cancel",
    "client_reference_id": "order_1",
}


@dataclass
class Shop:
    """The stand-in, the endpoint that it tells, and someone who calls both. `answers`: of the endpoint, 200 when there is none left."""

    sandbox: StripeSandbox
    session: aiohttp.ClientSession
    url: str = ""
    answers: list[int] = field(default_factory=list)
    received: list[tuple[str, bytes, dict[str, Any]]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def on_hook(self, request: web.Request) -> web.StreamResponse:
        """The endpoint."""
        status = self.answers.pop(0) if self.answers else 200
        self.received.append((request.headers["Stripe-Signature"], await request.read(), await request.json()))
        self.news.set()
        return web.Response(status=status, headers={"Location": "/hook"})

    async def post(self, path: str, form: dict[str, str] | None = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON of a call of the API."""
        async with self.session.post(f"{self.url}/stripe/v1{path}", data=form, headers=AUTH | headers) as response:
            return response.status, await response.json()

    async def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON of a call of the API."""
        async with self.session.get(f"{self.url}/stripe/v1{path}", headers=AUTH) as response:
            return response.status, await response.json()

    async def opened(self, **changes: str) -> str:
        """The id of a new session."""
        status, made = await self.post("/checkout/sessions", FORM | changes)
        assert status == 200, made
        return str(made["id"])

    async def page(self, session: str, language: str = "") -> tuple[int, str]:
        """Status and text of a session's page."""
        async with self.session.get(f"{self.url}/stripe/pay/{session}", headers={"Accept-Language": language}) as response:
            return response.status, await response.text()

    async def words(self, session: str) -> str:
        """The page as it reads, in English."""
        return html.unescape((await self.page(session))[1])

    async def press(self, session: str, button: str, form: dict[str, str] | None = None) -> tuple[int, str]:
        """Status and destination of a button."""
        url = f"{self.url}/stripe/pay/{session}/{button}"
        async with self.session.post(url, data=form, allow_redirects=False) as response:
            return response.status, response.headers.get("Location", "")

    def kinds(self) -> list[str]:
        """The types of what was received, in order."""
        return [event["type"] for _, _, event in self.received]


@asynccontextmanager
async def open_shop() -> AsyncIterator[Shop]:
    """Everything up, and closed afterwards."""
    sandbox = StripeSandbox(public_url="")
    async with aiohttp.ClientSession() as session:
        made = Shop(sandbox, session)
        app = web.Application()
        app.add_routes([*sandbox.routes(), web.post("/hook", made.on_hook)])

        async def close(_app: web.Application) -> None:
            await sandbox.close()

        app.on_shutdown.append(close)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        made.url = sandbox.public_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        sandbox.events.first_pause = 0.01
        sandbox.set_webhook(made.url + "/hook", SECRET)
        yield made
        await runner.cleanup()
