"""A receipt in a real browser: from the wallet to the page, on a phone, on a desk and on paper, in both languages."""

import re
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from core.payments.rails.base import Said
from tests.api.stage import served_stage
from tests.pages.screens import keep
from tests.pages.test_wallet_page import ADDRESS, PASSWORD, account
from tests.payments.till import moved, till


@pytest.mark.parametrize("locale", ["en", "zh"])
async def test_a_buyer_opens_and_prints_a_receipt(page: Page, sqlite_url: str, tmp_path: Path, locale: str) -> None:
    async with served_stage(sqlite_url, tmp_path, lend=False, smtp_url="smtp://127.0.0.1:1", support_contact="help@example.org") as served:
        shop = till(served.stage)
        bought = await shop.bought(user=await account(served, locale))
        await shop.say(moved(bought, Said.REFUNDED, "evt_r", "re_1", 200))
        await page.set_viewport_size({"width": 390, "height": 844})
        await page.goto(f"{served.url}/app?lang={locale}")
        await page.locator("#email").fill(ADDRESS)
        await page.locator("#password").fill(PASSWORD)
        await page.get_by_role("button").click()
        await page.locator("#receipts a").wait_for()
        problems: list[str] = []
        page.on("console", lambda message: problems.append(message.text))
        await page.locator("#receipts a").click()
        rows = page.locator("#receipt tr")
        await expect(rows).to_have_count(11)
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        back = page.locator("a[href='/app']")
        await expect(back).to_be_visible()
        said = await page.locator("#receipt").inner_text()
        wanted = {"en": ("refunded in part", "500 Credits", "card"), "zh": ("部分退款", "500 点", "银行卡")}[locale]
        assert all(each in said for each in (*wanted, f"AF-{bought.id:06d}", bought.order, "$5.00", "$2.00", "$3.00", "Ada"))
        assert len(re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", said)) == 2, "of the payment, and of what went back"
        await page.set_viewport_size({"width": 1280, "height": 900})
        await keep(page, f"receipt.{locale}")
        await page.emulate_media(media="print")
        await expect(back).to_be_hidden()
        assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert len(re.findall(rb"/Type\s*/Page\b", await page.pdf(format="A4"))) == 1
        assert not problems
