"""The form for a miner's key in a real browser: on a phone, in the dark, in both languages, and sent twice."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import Page, Response, Route

from core.resources.models import State
from core.resources.rules import may_lend
from tests.api.stage import Served, served_stage

KEY = "sk-handed-over-by-browser"


@dataclass
class Form:
    """A form behind a fresh link."""

    served: Served
    resource: int
    path: str

    @property
    def url(self) -> str:
        return self.served.url + self.path

    async def state(self) -> State:
        async with self.served.app.read() as work:
            return (await work.resources.get(self.resource)).state


@pytest.fixture
async def form(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Form]:
    async with served_stage(sqlite_url, tmp_path, lend=False) as served:
        app, miner = served.app, served.stage.miner
        rule = may_lend(app.catalog, "stability")
        drafted = await app.run(lambda work: work.resources.draft(miner.id, rule, "en", 20))
        token = await app.run(lambda work: work.resources.open_handover(drafted.id, 10))
        yield Form(served, drafted.id, f"/handover/{token}")


async def test_a_key_is_handed_over(page: Page, form: Form) -> None:
    seen: list[str] = []
    refused: list[str] = []
    page.on("request", lambda request: seen.append(request.url))
    page.on("console", lambda message: refused.append(message.text))
    await page.goto(form.url)
    assert await page.title() == "Hand over your key"
    assert await page.locator("#key").get_attribute("type") == "password"
    assert "Stability AI" in await page.locator("main").inner_text()
    await page.get_by_label("API key").fill(KEY)
    await page.get_by_role("button").click()
    await page.get_by_role("status").wait_for()
    assert "Sealed" in await page.locator("main").inner_text()
    assert KEY not in await page.content()
    assert KEY not in page.url
    assert await form.state() is State.PROBING
    assert all(url.startswith(form.served.url) for url in seen)
    assert refused == []


async def test_what_is_no_key_is_said_and_may_be_corrected(page: Page, form: Form) -> None:
    await page.goto(f"{form.url}?lang=zh")
    assert await page.title() == "交付您的密钥"
    await page.get_by_label("API 密钥").fill("wrong-kind-of-key")
    await page.get_by_role("button").click()
    assert "这不像 Stability AI 的密钥" in await page.get_by_role("alert").inner_text()
    assert "wrong-kind-of-key" not in await page.content()
    assert await form.state() is State.DRAFT
    await page.get_by_label("API 密钥").fill(KEY)
    await page.get_by_role("button").click()
    await page.get_by_role("status").wait_for()
    assert "已密封" in await page.locator("main").inner_text()


async def test_a_form_that_is_sent_twice_says_that_the_first_one_counted(page: Page, form: Form) -> None:
    answers: list[int] = []

    async def send_twice(route: Route) -> None:
        if route.request.method == "POST":
            first = await route.fetch()
            answers.append(first.status)
        await route.continue_()

    await page.route("**/handover/*", send_twice)
    await page.goto(form.url)
    await page.get_by_label("API key").fill(KEY)
    async with page.expect_navigation() as navigation:
        await page.get_by_role("button").click()
    second: Response | None = await navigation.value
    assert answers == [200]
    assert second is not None
    assert second.status == 410
    said = await page.get_by_role("alert").inner_text()
    assert "If you sent your key a moment ago, it is sealed" in said
    assert await page.locator("form").count() == 0
    assert await form.state() is State.PROBING


async def test_a_link_that_is_over_has_no_form(page: Page, form: Form) -> None:
    answer = await page.goto(f"{form.served.url}/handover/unknown")
    assert answer is not None
    assert answer.status == 410
    assert await page.locator("form").count() == 0
    assert "too old" in await page.get_by_role("alert").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_fits_a_phone_and_can_be_read_in_the_dark(page: Page, form: Form, scheme: str) -> None:
    await page.set_viewport_size({"width": 320, "height": 568})
    await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    await page.goto(form.url)
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    box = await page.get_by_role("button").bounding_box()
    assert box is not None
    assert box["height"] >= 44
    assert await page.evaluate(CONTRAST, ["main", "main"]) >= 7
    assert await page.evaluate(CONTRAST, ["button", "button"]) >= 4.5
    assert await page.evaluate(CONTRAST, ["input", "input"]) >= 7


CONTRAST = """([front, back]) => {
  const light = (text) => {
    const linear = (c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = text.match(/[\\d.]+/g).map((c) => linear(c / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const of = (selector, property) => light(getComputedStyle(document.querySelector(selector))[property]);
  const [a, b] = [of(front, "color"), of(back, "backgroundColor")].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
}"""
"""WCAG 2.2's contrast of a text and its ground."""
