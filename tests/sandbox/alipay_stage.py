"""The Alipay stand-in on a free loopback port, with a merchant who is told: his answers, and what he received."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiohttp import web

from core.payments.rails.alipay import AlipayRail
from core.payments.rails.base import Checkout, RailEvent
from core.providers.http import Client, make_client
from sandbox.alipay import AlipaySandbox

NOON = 1_790_222_400_000_000  # microseconds: 24 September 2026, 04:00 UTC, noon in Beijing
MINUTE = 60_000_000


@dataclass
class Stage:
    """`now`: the one clock of both sides, in microseconds. `answers`: what the merchant says to the next notices; then `success`."""

    sandbox: AlipaySandbox
    client: Client
    now: int = NOON
    received: list[bytes] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    _rail: AlipayRail | None = None

    def rail(self, **changed: str) -> AlipayRail:
        """The rail that is set up for this stand-in, or a new one with other settings."""
        if self._rail is not None and not changed:
            return self._rail
        settings = {name.removeprefix("ALIPAY_").lower(): value for name, value in self.sandbox.settings().items()} | changed
        made = AlipayRail(**settings, client=self.client, now=lambda: self.now)
        self._rail = self._rail if changed else made  # reading its key takes longer than a test
        return made

    def checkout(self, order: str = "order_1", *, way: str = "page", amount: int = 1_234, title: str = "500 Credits") -> Checkout:
        """Half an hour to pay."""
        url = self.sandbox.public_url
        end = self.now + 30 * MINUTE + 1
        return Checkout(order, title, amount, "CNY", end, "zh", f"{url}/back?from=alipay", f"{url}/merchant/notify", way)

    async def opened(self, order: str = "order_1") -> str:
        """An order that the buyer looks at."""
        url = (await self.rail().open(self.checkout(order))).url
        assert url is not None
        return self.sandbox.visit(url)

    async def events(self) -> list[RailEvent | None]:
        """What the rail makes of everything that the merchant received, once all has arrived."""
        await self.sandbox.courier.settled()
        return [self.rail().read({}, body, self.now) for body in self.received]


@asynccontextmanager
async def served() -> AsyncIterator[Stage]:
    """Listening; notices are repeated at once, up to five times."""
    client = make_client()
    stage = Stage(AlipaySandbox("", clock=lambda: datetime.fromtimestamp(stage.now // 1_000_000, UTC)), client)
    stage.sandbox.courier.pauses = (0.0, 0.001, 0.001, 0.001)

    async def on_notice(request: web.Request) -> web.Response:
        stage.received.append(await request.read())
        return web.Response(text=stage.answers.pop(0) if stage.answers else "success")

    async def on_return(_request: web.Request) -> web.Response:
        return web.Response(text="welcome back")

    app = web.Application()
    stage.sandbox.add_to(app)
    app.router.add_post("/merchant/notify", on_notice)
    app.router.add_get("/back", on_return)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        stage.sandbox.public_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield stage
    finally:
        await client.aclose()
        await runner.cleanup()
