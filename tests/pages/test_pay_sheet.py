"""Telegram's pay sheet in a real browser: what it says, in both languages, and that only who agrees pays."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Page, expect

from sandbox.world import World
from tests.pages.test_chat_page import TELEGRAM_ADA, opened

INVOICE = {"title": "500 Credits", "description": "For <b>pictures</b>", "amount": 250, "paid": False}
PRESS = """async ([invoice, action]) => {
    const { meant } = await import("/page/stars.js");
    window.meaning = meant({ invoice }, action, "1001");
}"""


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.start(port=0)
    yield world
    await world.stop()


async def press(page: Page, invoice: dict[str, Any] | None, action: str = "⭐") -> None:
    await page.evaluate(PRESS, [invoice, action])


async def meaning(page: Page) -> Any:
    """What `meant` says once it says something."""
    return await page.evaluate("window.meaning")


async def test_who_agrees_pays(page: Page, world: World) -> None:
    world.telegram.state.person(TELEGRAM_ADA).stars = 321
    await opened(page, world)
    await press(page, INVOICE)
    sheet = page.get_by_role("dialog", name="500 Credits")

    await expect(sheet).to_contain_text("For <b>pictures</b>")
    await expect(sheet).to_contain_text("You have ⭐ 321.")
    await sheet.get_by_role("button", name="Pay ⭐ 250").click()

    assert await meaning(page) is True
    await expect(sheet).to_have_count(0)


async def test_who_does_not_agree_does_not_pay(page: Page, world: World) -> None:
    await opened(page, world)
    for close in ("Cancel", "Escape"):
        await press(page, INVOICE)
        sheet = page.get_by_role("dialog", name="500 Credits")
        await expect(sheet).to_be_visible()
        if close == "Cancel":
            await sheet.get_by_role("button", name="Cancel").click()
        else:
            await page.keyboard.press("Escape")
        assert await meaning(page) is False
        await expect(sheet).to_have_count(0)


async def test_the_sheet_speaks_the_language_of_the_page(page: Page, world: World) -> None:
    await opened(page, world)
    await page.locator("#language").click()
    await press(page, INVOICE)

    await expect(page.get_by_role("button", name="支付 ⭐ 250")).to_be_focused()
    await expect(page.get_by_role("dialog", name="500 Credits")).to_contain_text("你有 ⭐ 10000。")


@pytest.mark.parametrize(("invoice", "action"), [(None, "⭐"), (INVOICE, "terms"), (INVOICE | {"paid": True}, "⭐")])
async def test_other_presses_are_not_asked_about(page: Page, world: World, invoice: dict[str, Any] | None, action: str) -> None:
    await opened(page, world)
    await press(page, invoice, action)

    assert await meaning(page) is True
