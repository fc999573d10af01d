"""The wallet in a real browser: signing in, what it shows on a phone and on a desk, in both languages, and as Telegram's Mini App."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.async_api import Page
from pydantic import SecretStr

from core.providers.base import Delivered, Picture
from core.users.models import User
from core.worker import Worker
from sandbox.pictures import draw
from tests.access.test_init_data import TOKEN, init_data
from tests.api.stage import Served, served_stage
from tests.api.test_auth import newest_code
from tests.pages.screens import keep
from tests.stage import work_off

ADDRESS, PASSWORD = "ada@example.org", "a long sentence is best"
SIZES = {"phone": (390, 844), "desk": (1280, 900)}


@pytest.fixture
async def served(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    settings: dict[str, Any] = {"smtp_url": SecretStr("smtp://127.0.0.1:1"), "telegram_token": SecretStr(TOKEN)}
    async with served_stage(sqlite_url, tmp_path, **settings) as opened:
        yield opened


async def spent(served: Served, user: User) -> None:
    """Three pictures of somebody with Credits; worth looking at, as they are shown in docs/."""
    drawn = iter([draw(prompt, 7, 480, 320) for prompt in ("a red fox in the snow", "a neon street", "a lighthouse by the sea")])
    served.stage.provider.answer = lambda _request, _key: Delivered(Picture(next(drawn), "image/png", 480, 320), seed=7, cost=30_000)
    await served.app.grant(user.id, 120_000, f"grant:{user.id}")
    await served.stage.submit("a", "b", "c", user=user)
    await work_off(Worker(served.app, 1))


async def account(served: Served, locale: str) -> User:
    """An account by e-mail."""
    accounts = served.api.state.accounts
    await accounts.register(ADDRESS, PASSWORD, "Ada", locale)
    user, _ = await accounts.verify(await newest_code(served))
    assert isinstance(user, User)
    return user


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("locale", ["en", "zh"])
async def test_somebody_signs_in_and_sees_their_wallet(page: Page, served: Served, locale: str, size: str) -> None:
    await spent(served, await account(served, locale))
    width, height = SIZES[size]
    problems: list[str] = []
    seen: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("request", lambda request: seen.append(request.url))
    await page.set_viewport_size({"width": width, "height": height})
    await page.goto(f"{served.url}/app?lang={locale}")
    await page.locator("#email").fill(ADDRESS)
    await page.locator("#password").fill("not my password")
    await page.get_by_role("button").click()
    await page.get_by_role("alert").wait_for()
    problems.clear()  # the browser says that the answer was 401
    await page.locator("#password").fill(PASSWORD)
    await page.get_by_role("button").click()
    await page.locator("#balance").wait_for()
    assert "106.5" in await page.locator("#balance").inner_text()
    assert await page.locator("table tr").count() == 5
    figures = page.locator("figure img")
    assert await figures.count() == 3
    await page.evaluate("Promise.all([...document.images].map((each) => { each.loading = 'eager'; return each.decode(); }))")
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    assert ("点" if locale == "zh" else "Credits") in await page.locator("main").inner_text()
    assert not problems
    assert all(url.startswith(served.url) for url in seen)
    if size == "desk":
        await keep(page, f"wallet.{locale}")
    await page.locator("form[action='/app/logout'] button").click()
    await page.locator("#email").wait_for()


async def test_telegram_opens_it_without_a_password(page: Page, served: Served) -> None:
    fresh = init_data({"auth_date": str(served.app.now() // 1_000_000)})
    await page.goto(f"{served.url}/app#tgWebAppData={quote(fresh)}&tgWebAppVersion=9.0")
    await page.locator("#balance").wait_for()
    assert "Ada & Bo" in await page.locator("main").inner_text()


async def test_a_stale_mini_app_asks_to_sign_in(page: Page, served: Served) -> None:
    async with page.expect_response("**/app/telegram") as answered:
        await page.goto(f"{served.url}/app#tgWebAppData={init_data()}")
    assert (await answered.value).status == 401
    await page.locator("#email").wait_for()
