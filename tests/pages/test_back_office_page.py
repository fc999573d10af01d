"""The back office in a real browser: an admin signs in, looks at users and at a dispute with its bundle and picture, and decides it."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from core.disputes.models import Kind, State
from core.users.models import Identity, Role
from core.worker import Worker
from tests.api.stage import Served, served_stage
from tests.stage import work_off

BOSS, PASSWORD = "boss@example.org", "a long sentence is best"
PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
SAID = {
    "en": ("Users", "Disputes", "Credits", "Refund", "Confirm", "refunded", "Reason"),
    "zh": ("用户", "争议", "点", "全额退款", "确认", "已退款", "原因"),
}


@pytest.fixture
async def served(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    async with served_stage(sqlite_url, tmp_path, requests_per_address=10_000) as opened:
        yield opened


async def disputed(served: Served, locale: str) -> int:
    """An admin with a password, and a dispute about a delivered picture."""
    hashed = await served.api.state.accounts._hash(PASSWORD)
    async with served.app.begin() as work:
        user = await work.users.resolve(Identity("email", BOSS, "Boss", BOSS, locale))
        await work.access.set_password(user.id, hashed)
        await work.users.add_role(user.id, Role.ADMIN)
    number = (await served.stage.submit("a fox"))[0].id
    await work_off(Worker(served.app, 1))
    return (await served.app.run(lambda work: work.disputes.open(number, served.stage.creator, Kind.OTHER, 3))).id


@pytest.mark.parametrize("locale", ["en", "zh"])
async def test_an_admin_decides_a_dispute(page: Page, served: Served, locale: str) -> None:
    number = await disputed(served, locale)
    problems: list[str] = []
    seen: list[str] = []
    page.on("console", lambda message: problems.append(f"{message.text} {message.location}"))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: seen.append(request.url))
    page.set_default_timeout(8000)
    await page.set_viewport_size({"width": 1280, "height": 900})
    users, disputes, credits, refund, confirm, refunded, reason = SAID[locale]
    await page.goto(f"{served.url}/admin?lang={locale}")
    await page.locator("#username").fill(BOSS)
    await page.locator("#password").fill(PASSWORD)
    await page.locator("form button[type=submit]").click()
    await page.locator("main, .page-body").get_by_role("link", name=users).first.click()
    await expect(page.locator("table").first).to_contain_text(served.stage.creator.name)
    await page.goto(f"{served.url}/admin/disputes/list")
    assert disputes in await page.title()
    await page.goto(f"{served.url}/admin/disputes/detail?pk={number}")
    picture = page.locator("img[src^='/pictures/']")
    assert await picture.evaluate("each => each.decode().then(() => each.naturalWidth)") == 48
    shown = await page.locator("table").first.inner_text()
    assert f" {credits}" in shown
    assert " UTC" in shown
    if "AETHERFLOW_TEST_PICTURES" in os.environ:  # those of docs/ are made anew when somebody wants them
        await page.screenshot(path=PICTURES / f"backoffice.{locale}.png", full_page=True)
    await page.get_by_text(refund, exact=True).first.click()
    await page.get_by_label(reason).fill("it is not a fox")
    await page.locator("[data-sa-action=action-submit]").get_by_text(confirm).click()
    await expect(page.locator("body")).to_contain_text(refunded)
    async with served.app.read() as work:
        assert (await work.disputes.get(number)).state is State.REFUNDED
    assert not problems
    assert all(url.startswith((served.url, "data:")) for url in seen)
