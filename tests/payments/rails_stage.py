"""The real rails under test: the product's api on a real socket, the outside's rails before it, and forged callbacks beside theirs."""

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr
from sqlalchemy import func, select, update

import demo
from api.server import serve
from core.app import App
from core.db import DAY
from core.desk import Desk
from core.ledger.models import entries
from core.mailbox.models import inbox
from core.payments.models import Payment, State, TopUp, payments
from core.payments.rails.alipay import AlipayRail
from core.payments.rails.base import Rail
from core.payments.rails.stripe import StripeRail
from core.providers.http import make_client
from core.users.models import User
from sandbox.alipay_rules import key_pair, sign, text_to_sign
from sandbox.stripe_events import signature
from sandbox.world import World
from tests.stage import Stage, breaches, staged

TELEGRAM_SECRET = "telegram-webhook-secret"
HELD = 3600.0


@dataclass
class Rails:
    """A market whose rails are the real ones. `url`: the api. Both stand-ins hold their callbacks back: a test sends what it wants."""

    stage: Stage
    world: World
    url: str
    desk: Desk
    session: aiohttp.ClientSession
    begun: int = field(default=0)

    @property
    def app(self) -> App:
        return self.stage.app

    async def begin(self, rail: str, package: str = "small", user: User | None = None) -> Payment:
        """A payment that the buyer can pay."""
        self.begun += 1
        wanted = TopUp(f"key:{self.begun}", (user or self.stage.creator).id, package, rail)
        started = await self.app.top_up(wanted)
        await self.desk.work()
        return await self.payment(started.id)

    async def payment(self, payment_id: int) -> Payment:
        """As it is now."""
        async with self.app.read() as work:
            return await work.payments.get(payment_id)

    async def post(self, rail: str, body: bytes, headers: dict[str, str] | None = None) -> int:
        """A callback, as anybody may send one; the status of the answer."""
        async with self.session.post(f"{self.url}/webhooks/{rail}", data=io.BytesIO(body), headers=headers or {}) as answer:
            await answer.read()
            return answer.status

    async def credits(self, user: User | None = None) -> int:
        """Spendable milli-credits."""
        return await self.stage.balance(f"user:{(user or self.stage.creator).id}:wallet")

    async def topups(self) -> int:
        """How many times Credits came of a payment."""
        async with self.app.read() as work:
            return await work.connection.scalar(select(func.count()).select_from(entries).where(entries.c.kind == "topup")) or 0

    async def waiting(self) -> int:
        """Events that are kept and not handled."""
        async with self.app.read() as work:
            return await work.connection.scalar(select(func.count()).select_from(inbox).where(inbox.c.handled_at.is_(None))) or 0

    async def age(self, days: float, *names: str) -> None:
        """Everything about payments becomes so much older, or these columns alone."""
        back = int(days * DAY)
        async with self.app.begin() as work:
            older = {name: payments.c[name] - back for name in names or ("due_at", "expires_at", "created_at")}
            await work.connection.execute(update(payments).values(**older))
            await work.connection.execute(update(inbox).values(leased_until=0))

    async def assert_sound(self) -> None:
        """The books agree."""
        assert not breaches(await self.stage.audit())

    # Stripe

    async def session_paid(self, payment: Payment) -> dict[str, Any]:
        """The buyer pays on the page; the event that Stripe holds about it."""
        assert payment.reference is not None
        await self.world.stripe.pay(payment.reference)
        return next(one.event for one in reversed(self.world.stripe.deliveries) if one.kind == "checkout.session.completed")

    async def stripe(self, event: dict[str, Any] | bytes, header: str | None = None, secret: str = demo.STRIPE_SECRET) -> int:
        """An event with a good signature, or with this header."""
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        header = signature(body, [secret], int(time.time())) if header is None else header
        return await self.post("stripe", body, {"Stripe-Signature": header})

    # Alipay

    async def trade_paid(self, payment: Payment) -> dict[str, str]:
        """The buyer pays at the cashier; the fields of the notice that Alipay holds about it."""
        assert payment.url is not None
        order = self.world.alipay.visit(payment.url)
        self.world.alipay.pay(order)
        return dict(self.world.alipay.courier.notices[-1].fields) | {"notify_time": "2026-09-24 12:00:00"}

    async def alipay(self, fields: dict[str, str], key: rsa.RSAPrivateKey | None = None) -> int:
        """A notice with a good signature, or one of another key."""
        return await self.post("alipay", sealed(fields, key))


def sealed(fields: dict[str, str], key: rsa.RSAPrivateKey | None = None) -> bytes:
    """A notice as Alipay posts it."""
    return urlencode(fields | {"sign_type": "RSA2", "sign": sign(text_to_sign(fields), key or key_pair("alipay"))}).encode()


@asynccontextmanager
async def rails(url: str, folder: Path, *, hold: bool = True, **changes: Any) -> AsyncIterator[Rails]:
    """Everything up, and closed afterwards. `hold`: the stand-ins keep their callbacks back."""
    world = World()
    await world.start(port=0)
    if hold:
        world.stripe.events.hold()
        world.alipay.courier.hold()
    world.alipay.courier.pauses = (0.05,) * 40
    world.stripe.events.first_pause = 0.05
    world.stripe.events.longest_pause = 0.2
    async with AsyncExitStack() as stack:
        stack.push_async_callback(world.stop)
        stage = await stack.enter_async_context(staged(url, folder, credits=0, **settings_of(world, folder) | changes))
        rails = dict(await stack.enter_async_context(real_rails(stage.app)))
        stage.app.rails = rails
        session = await stack.enter_async_context(aiohttp.ClientSession())
        made = Rails(stage, world, stage.app.settings.public_url, Desk(stage.app, rails), session)
        await stack.enter_async_context(serving(made))
        yield made


def settings_of(world: World, folder: Path) -> dict[str, Any]:
    """What the product is set to in the demo, as far as money is concerned."""
    names = ["stripe_secret_key", "stripe_webhook_secret", "stripe_api_url", "api_port", "public_url", "telegram_token", "telegram_api_url"]
    names += ["alipay_app_id", "alipay_seller_id", "alipay_private_key", "alipay_public_key", "alipay_gateway_url"]
    settings = demo.settings_for(world, folder)
    limits = {"unpaid_payments": 100, "payments_per_day": 1000, "requests_per_address": 100_000}
    return {name: getattr(settings, name) for name in names} | limits | {"telegram_webhook_secret": SecretStr(TELEGRAM_SECRET)}


@asynccontextmanager
async def real_rails(app: App) -> AsyncIterator[dict[str, Rail]]:
    """The rails that the settings name."""
    settings, client = app.settings, make_client()
    stripe = StripeRail(
        settings.stripe_secret_key.get_secret_value(), settings.stripe_webhook_secret.get_secret_value(), settings.stripe_api_url
    )
    keys = settings.alipay_private_key.get_secret_value(), settings.alipay_public_key.get_secret_value()
    alipay = AlipayRail(settings.alipay_app_id, settings.alipay_seller_id, *keys, settings.alipay_gateway_url, client, now=App.now)
    yield {"stripe": stripe, "alipay": alipay}
    await stripe.close_client()
    await client.aclose()


@asynccontextmanager
async def serving(made: Rails) -> AsyncIterator[None]:
    """The api listens."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(serve(made.app, stop))
        try:
            await listening(made)
            yield
        finally:
            stop.set()


async def listening(made: Rails) -> None:
    """Once the api at `made.url` answers."""
    async with asyncio.timeout(30):
        while not await _answers(made):  # noqa: ASYNC110  # uvicorn tells nobody
            await asyncio.sleep(0.02)


async def _answers(made: Rails) -> bool:
    try:
        async with made.session.get(f"{made.url}/healthz") as answer:
            return answer.status == 200
    except aiohttp.ClientConnectionError:
        return False


async def settled(made: Rails, payment: Payment, state: State = State.PAID) -> Payment:
    """The payment, once it has come to a state."""
    async with asyncio.timeout(20):
        while (found := await made.payment(payment.id)).state is not state:  # noqa: ASYNC110  # the database tells nobody
            await asyncio.sleep(0.02)
    return found
