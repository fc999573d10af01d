"""The back office in a real browser: an admin signs in, looks at users and at a dispute with its bundle and picture, and decides it; and
pays earnings out."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from core.disputes.models import Kind, State
from core.ledger.models import FEES, Leg, Posting, earnings
from core.providers.base import Delivered, FailedFree, Fault, Picture
from core.users.models import Identity, Role
from core.worker import Worker
from sandbox.pictures import draw
from tests.api.stage import Served, served_stage
from tests.pages.screens import keep
from tests.stage import work_off

BOSS, PASSWORD = "boss@example.org", "a long sentence is best"
WIDE = 512
SAID = {
    "en": ("Users", "Disputes", "Credits", "Refund", "Confirm", "refunded", "Reason"),
    "zh": ("用户", "申诉", "点", "全额退款", "确认", "已退款", "原因"),
}
SEEN = {
    "en": ("The file is a picture", "Its sides are as asked: 512x512 for 1:1", "the provider had trouble", "Delivered", "ratio: 1:1"),
    "zh": ("文件可正常读取", "比例符合要求：512x512，要求 1:1", "服务商出现故障", "交付", "比例：1:1"),
}
PAYING = {"en": ("Approve", "It was paid", "Reference of the payment", "paid"), "zh": ("批准", "已付款", "付款凭证号", "已支付")}


@pytest.fixture
async def served(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    async with served_stage(sqlite_url, tmp_path, requests_per_address=10_000) as opened:
        yield opened


async def boss(served: Served, locale: str) -> None:
    """An admin with a password."""
    hashed = await served.api.state.accounts._hash(PASSWORD)
    async with served.app.begin() as work:
        user = await work.users.resolve(Identity("email", BOSS, "Boss", BOSS, locale))
        await work.access.set_password(user.id, hashed)
        await work.users.add_role(user.id, Role.ADMIN)


async def disputed(served: Served) -> int:
    """A dispute about a picture that was delivered at the second try, and has been looked at."""
    await served.stage.lend("sk-second")
    drawn = Picture(draw("a cat", 7, WIDE, WIDE), "image/png", WIDE, WIDE)
    served.stage.provider.script.extend([FailedFree(Fault.SERVER), Delivered(drawn, seed=7, cost=30_000, reference="req-7")])
    number = (await served.stage.submit("a fox"))[0].id
    await work_off(Worker(served.app, 1))
    opened = await served.app.run(lambda work: work.disputes.open(number, served.stage.creator, Kind.OTHER, 3))
    await Worker(served.app, 1).sweep()
    return opened.id


async def signed_in(page: Page, served: Served, locale: str) -> list[str]:
    """The back office before an admin; what goes wrong from here on, and what is asked of other hosts."""
    problems: list[str] = []

    def asked(url: str) -> None:
        if not url.startswith((served.url, "data:")):
            problems.append(url)

    page.on("console", lambda message: problems.append(f"{message.text} {message.location}"))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: asked(request.url))
    page.set_default_timeout(8000)
    await page.set_viewport_size({"width": 1280, "height": 900})
    await page.goto(f"{served.url}/admin?lang={locale}")
    await page.locator("#username").fill(BOSS)
    await page.locator("#password").fill(PASSWORD)
    await page.locator("form button[type=submit]").click()
    return problems


async def press(page: Page, button: str, field: str, text: str, confirm: str) -> None:
    """One of the acts, with what its form asks for."""
    await page.get_by_text(button, exact=True).first.click()
    await page.get_by_label(field).fill(text)
    await page.locator("[data-sa-action=action-submit]").get_by_text(confirm).click()


@pytest.mark.parametrize("locale", ["en", "zh"])
async def test_an_admin_decides_a_dispute(page: Page, served: Served, locale: str) -> None:
    await boss(served, locale)
    number = await disputed(served)
    problems = await signed_in(page, served, locale)
    users, disputes, credits, refund, confirm, refunded, reason = SAID[locale]
    await page.locator("main, .page-body").get_by_role("link", name=users).first.click()
    await expect(page.locator("table").first).to_contain_text(served.stage.creator.name)
    await page.goto(f"{served.url}/admin/disputes/list")
    assert disputes in await page.title()
    await page.goto(f"{served.url}/admin/disputes/detail?pk={number}")
    picture = page.locator("img[src^='/pictures/']")
    assert await picture.evaluate("each => each.decode().then(() => each.naturalWidth)") == WIDE
    shown = await page.locator("table").first.inner_text()
    assert f" {credits}" in shown
    assert " UTC" in shown
    assert [each in shown for each in SEEN[locale]] == [True] * len(SEEN[locale])
    assert "{" not in shown, "nothing is shown as JSON"
    assert (await page.locator("table table").count(), await page.locator("li .text-green").count()) == (2, 4)
    await keep(page, f"backoffice.{locale}")
    await press(page, refund, reason, "it is not a fox", confirm)
    await expect(page.locator("body")).to_contain_text(refunded)
    async with served.app.read() as work:
        assert (await work.disputes.get(number)).state is State.REFUNDED
    assert not problems


@pytest.mark.parametrize("locale", ["en", "zh"])
async def test_an_admin_pays_earnings_out(page: Page, served: Served, locale: str) -> None:
    await boss(served, locale)
    miner, app = served.stage.miner, served.app
    legs = (Leg(FEES, -200_000), Leg(earnings(miner.id), 200_000))
    await app.run(lambda work: work.ledger.post(Posting("earned", "release", legs)))
    number = (await app.run(lambda work: work.payouts.ask(miner, 60_000, "k", 1_000))).id
    problems = await signed_in(page, served, locale)
    (approve, pay, reference, paid), reason, confirm = PAYING[locale], SAID[locale][6], SAID[locale][4]
    await page.goto(f"{served.url}/admin/payouts/detail?pk={number}")
    await press(page, approve, reason, "known for long", confirm)
    await expect(page.get_by_text(pay, exact=True).first).to_be_visible()
    await keep(page, f"payout.{locale}")
    await press(page, pay, reference, "bank 1", confirm)
    await expect(page.locator("table").first).to_contain_text(paid)
    await expect(page.locator("table").first).to_contain_text("bank 1")
    async with app.read() as work:
        assert (await work.payouts.get(number)).reference == "bank 1"
    assert not problems
