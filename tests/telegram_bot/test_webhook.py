"""Updates by webhook: they are stored by whoever receives them, and handled by the bot."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from telegram import Bot

from bots.telegram.incoming import chat_key
from core.errors import Misconfigured
from sandbox.telegram import TelegramSandbox
from sandbox.telegram_updates import SECRET_HEADER
from tests.telegram_bot.fakes import FakeChat, MemoryStore
from tests.telegram_bot.stage import made, running, until

ADA = 1001
SECRET = "webhook-secret_1"


@asynccontextmanager
async def endpoint(store: MemoryStore, secret: str) -> AsyncIterator[tuple[str, list[int]]]:
    """What the api does with a delivery: checks the secret, stores, answers."""
    statuses: list[int] = []

    async def receive(request: web.Request) -> web.StreamResponse:
        status = 200 if request.headers.get(SECRET_HEADER) == secret else 401
        if status == 200:
            raw = await request.json()
            await store.store([(str(raw["update_id"]), chat_key(raw), raw)])
        statuses.append(status)
        return web.Response(status=status)

    app = web.Application()
    app.router.add_post("/webhooks/telegram", receive)
    server = web.AppRunner(app, access_log=None)
    await server.setup()
    await web.TCPSite(server, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{server.addresses[0][1]}/webhooks/telegram", statuses
    finally:
        await server.cleanup()


async def test_by_webhook(sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore) -> None:
    async with (
        endpoint(store, SECRET) as (url, statuses),
        running(sandbox, chat, store, mode="webhook", webhook_url=url, webhook_secret=SECRET),
    ):
        await sandbox.say(ADA, ADA, "fox")
        await sandbox.wait_for(ADA, ADA, lambda message: message["html"] == "you: fox")
        await until(lambda: sandbox.updates.pending == 0)
        assert "getUpdates" not in sandbox.calls
        await sandbox.updates.close()

    assert statuses == [200]


async def test_a_webhook_with_a_wrong_secret_delivers_nothing(sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore) -> None:
    sandbox.updates.first_pause = 0.02
    async with (
        endpoint(store, "another") as (url, statuses),
        running(sandbox, chat, store, mode="webhook", webhook_url=url, webhook_secret=SECRET),
    ):
        await sandbox.say(ADA, ADA, "fox")
        await until(lambda: len(statuses) >= 3)
        assert sandbox.updates.webhook_info()["last_error_message"] == "Wrong response from the webhook: 401 Unauthorized"
        await sandbox.updates.close()

    assert set(statuses) == {401}
    assert store.stored == []
    assert sandbox.updates.pending == 1


@pytest.mark.parametrize(
    ("url", "secret", "setting"),
    [
        ("http://127.0.0.1:1/x", "", "TELEGRAM_WEBHOOK_SECRET"),
        ("https://example.org/x", SECRET, "PUBLIC_URL"),
        ("ftp://x", SECRET, "PUBLIC_URL"),
    ],
)
async def test_a_webhook_that_cannot_be_set(
    sandbox: TelegramSandbox, chat: FakeChat, store: MemoryStore, url: str, secret: str, setting: str
) -> None:
    with pytest.raises(Misconfigured, match=setting):
        await made(sandbox, chat, store, mode="webhook", webhook_url=url, webhook_secret=secret).run()


async def test_back_from_webhook_to_polling(sandbox: TelegramSandbox, bot: Bot, chat: FakeChat, store: MemoryStore) -> None:
    await bot.set_webhook("http://127.0.0.1:1/nobody", secret_token=SECRET)

    async with running(sandbox, chat, store):
        await sandbox.say(ADA, ADA, "fox")
        await sandbox.wait_for(ADA, ADA, lambda message: message["html"] == "you: fox")
