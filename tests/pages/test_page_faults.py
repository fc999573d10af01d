"""The fault panel of the chat page: what a person switches there is what the next real call gets."""

import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from playwright.async_api import Page, expect

from sandbox.discord import ADA
from sandbox.faults import MODES
from sandbox.world import World
from tests.pages.test_chat_page import API, BOT, TELEGRAM_ADA, declare_imagine, opened, send, type_line

STABILITY, OPENAI = "sk-demo-fault-panel", "sk-proj-demo-fault-panel"
PAGE = Path(__file__).parents[2] / "sandbox" / "page"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.start(port=0)
    world.stability.draft = world.openai.draft = True
    yield world
    await world.stop()


@pytest.fixture
async def bot(world: World) -> AsyncIterator[aiohttp.ClientSession]:
    """What the product would call."""
    async with aiohttp.ClientSession(world.url, headers={"Authorization": "Bot page"}) as session:
        yield session


async def of_stability(session: aiohttp.ClientSession) -> tuple[int, str, Any]:
    """A real call: status, Retry-After, and how it ended."""
    form = aiohttp.FormData({"prompt": "a hill"})
    form.add_field("none", b"", filename="")
    headers = {"Authorization": f"Bearer {STABILITY}", "Accept": "application/json"}
    async with session.post("/stability/v2beta/stable-image/generate/core", data=form, headers=headers) as answer:
        body = await answer.json()
        return answer.status, answer.headers.get("Retry-After", ""), body.get("finish_reason") or body["name"]


async def of_openai(session: aiohttp.ClientSession) -> tuple[int, str, Any]:
    """The same of OpenAI."""
    order = {"model": "gpt-image-2", "prompt": "a hill"}
    async with session.post("/openai/v1/images/generations", json=order, headers={"Authorization": f"Bearer {OPENAI}"}) as answer:
        body = await answer.json()
        return answer.status, answer.headers.get("Retry-After", ""), body["error"]["code"] if "error" in body else "SUCCESS"


async def open_panel(page: Page, world: World) -> None:
    """The page with the drawer open and filled."""
    await opened(page, world)
    await page.get_by_role("button", name="Faults").click()
    await expect(page.locator("#faults .switches")).to_have_count(4)


async def choose(page: Page, provider: str, mode: str) -> None:
    """Switches a provider, and waits until the sandbox has confirmed it."""
    async with page.expect_response(lambda answer: answer.request.method == "POST" and answer.url.endswith("/hands/faults")) as answered:
        await page.get_by_role("combobox", name=f"{provider} is").select_option(mode)
    assert (await answered.value).status == 200


async def test_stability_does_what_the_panel_says(page: Page, world: World, bot: aiohttp.ClientSession) -> None:
    await open_panel(page, world)
    expected = {
        "down": (503, "2", "service_unavailable"),
        "rate_limited": (429, "20", "rate_limit_exceeded"),
        "empty": (402, "", "payment_required"),
        "filter": (200, "", "CONTENT_FILTERED"),
        "blank": (200, "", "SUCCESS"),
        "normal": (200, "", "SUCCESS"),
    }
    for mode, answer in expected.items():
        await choose(page, "Stability AI", mode)
        assert await of_stability(bot) == answer, mode
        assert (await of_openai(bot))[0] == 200, "the other provider goes on"


async def test_openai_does_what_the_panel_says(page: Page, world: World, bot: aiohttp.ClientSession) -> None:
    await open_panel(page, world)
    expected = {
        "down": (503, "2", None),
        "rate_limited": (429, "20", "rate_limit_exceeded"),
        "empty": (429, "", "insufficient_quota"),
        "filter": (400, "", "moderation_blocked"),
        "blank": (200, "", "SUCCESS"),
        "normal": (200, "", "SUCCESS"),
    }
    for mode, answer in expected.items():
        await choose(page, "OpenAI", mode)
        assert await of_openai(bot) == answer, mode


async def test_a_slow_provider_takes_the_seconds_of_the_panel(page: Page, world: World, bot: aiohttp.ClientSession) -> None:
    await open_panel(page, world)
    await choose(page, "Stability AI", "slow")
    seconds = page.get_by_label("Seconds until it answers")
    await expect(seconds).to_have_value("8")
    await seconds.fill("1")
    async with page.expect_response(lambda answer: answer.request.method == "POST"):
        await seconds.press("Tab")
    started = time.monotonic()
    assert (await of_stability(bot))[0] == 200
    assert 1 <= time.monotonic() - started < 5


async def test_the_panel_shows_balances_as_they_fall(page: Page, world: World, bot: aiohttp.ClientSession) -> None:
    await open_panel(page, world)
    keys = page.locator("[data-id=stability] .keys")
    await expect(keys).to_have_text("No key has been used yet.")
    await of_stability(bot)
    await expect(keys.locator("code")).to_have_text(STABILITY)
    await expect(keys.locator(".left")).to_have_text("997 credits left")
    await expect(page.locator("[data-id=stability] .calls")).to_have_text("Picture calls: 1")
    await choose(page, "Stability AI", "empty")
    await expect(keys.locator(".left")).to_have_text("0 credits left")
    async with bot.get("/stability/v1/user/balance", headers={"Authorization": f"Bearer {STABILITY}"}) as answer:
        assert await answer.json() == {"credits": 0}
    await choose(page, "Stability AI", "normal")
    await expect(keys.locator(".left")).to_have_text("997 credits left")


async def test_telegram_refuses_one_message(page: Page, world: World, bot: aiohttp.ClientSession) -> None:
    await world.telegram.say(TELEGRAM_ADA, TELEGRAM_ADA, "/start")
    await open_panel(page, world)
    switches = page.locator("[data-id=telegram]")
    await switches.get_by_label("Retry-After, seconds").fill("7")
    await switches.get_by_role("checkbox", name="Telegram refuses the next message").check()
    await expect(page.locator("#open-faults")).to_have_accessible_name("Faults, 1 on")
    async with bot.post(f"{BOT}/sendMessage", json={"chat_id": TELEGRAM_ADA, "text": "hello"}) as answer:
        assert (answer.status, (await answer.json())["parameters"]) == (429, {"retry_after": 7})
    await expect(switches.get_by_role("checkbox")).not_to_be_checked()
    await send(bot, text="hello again")
    await expect(page.locator("#telegram .message")).to_have_count(2)


async def test_discord_refuses_one_message(page: Page, world: World, bot: aiohttp.ClientSession) -> None:
    await open_panel(page, world)
    switch = page.get_by_role("checkbox", name="Discord refuses the next message")
    await switch.check()
    await expect(page.locator("#open-faults .count")).to_have_text("1")
    url = f"{API}/channels/{world.discord.private_chat(ADA)}/messages"
    async with bot.get(f"{API}/gateway/bot") as answer:
        assert answer.status == 200, "what is no message goes through"
    async with bot.post(url, json={"content": "hello"}) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "5")
    await expect(switch).not_to_be_checked()
    async with bot.post(url, json={"content": "hello"}) as answer:
        assert answer.status == 200


async def test_everything_goes_back_to_normal(page: Page, world: World, bot: aiohttp.ClientSession) -> None:
    async with bot.post("/hands/stability/faults", json={"fail_rate": 1, "fail_kind": "hang", "hold": True}) as answer:
        assert answer.status == 200
    await world.telegram.say(TELEGRAM_ADA, TELEGRAM_ADA, "/start")
    await open_panel(page, world)
    await expect(page.get_by_role("combobox", name="Stability AI is")).to_have_value("other")
    await page.get_by_role("checkbox", name="Telegram refuses the next message").check()
    await choose(page, "OpenAI", "down")
    await expect(page.locator("#open-faults .count")).to_have_text("3")
    await page.get_by_role("button", name="Everything back to normal").click()
    await expect(page.locator("#open-faults .count")).to_be_empty()
    assert (await of_stability(bot))[0] == (await of_openai(bot))[0] == 200
    await send(bot, text="hello")


async def test_the_drawer_keeps_the_focus_and_gives_it_back(page: Page, world: World) -> None:
    await open_panel(page, world)
    inside = "document.querySelector('#faults').contains(document.activeElement)"
    close = page.locator("#faults .close")
    await expect(close).to_be_focused()
    await page.keyboard.press("Shift+Tab")
    await expect(page.locator("#faults .calm")).to_be_focused()
    await page.keyboard.press("Tab")
    await expect(close).to_be_focused()
    for _ in range(12):
        await page.keyboard.press("Tab")
        assert await page.evaluate(inside)
    await page.keyboard.press("Escape")
    await expect(page.locator("#faults")).to_be_hidden()
    await expect(page.locator("#open-faults")).to_be_focused()


async def test_a_sandbox_that_is_gone_is_told(page: Page, world: World) -> None:
    await opened(page, world)
    await world.stop()
    await type_line(page, "telegram", "hello")
    toast = page.locator("#telegram .toast.error", has_text="The sandbox does not answer.")
    await expect(toast.first).to_be_visible()
    await expect(page.locator("#telegram textarea")).to_have_value("hello")  # nothing typed is lost
    await page.get_by_role("button", name="Faults").click()
    await expect(page.locator("#faults .problem")).to_contain_text("The sandbox does not answer.")


async def test_a_refusal_of_the_sandbox_is_told(page: Page, world: World, bot: aiohttp.ClientSession) -> None:
    await declare_imagine(bot)
    await opened(page, world)
    await type_line(page, "discord", "/imagine a fox model:nothing")
    await expect(page.locator("#discord .toast.error")).to_contain_text("is not one of the choices of model")
    await page.locator("#discord .toast").get_by_role("button", name="Close").click()
    await expect(page.locator("#discord .toast")).to_have_count(0)


@pytest.mark.parametrize(
    "wanted",
    [
        {"provider": "midjourney", "mode": "down"},
        {"provider": "openai", "mode": "on fire"},
        {"provider": "openai", "mode": "slow", "seconds": 0},
        {"provider": "openai", "mode": "slow", "seconds": True},
        {"provider": "openai", "mode": "rate_limited", "seconds": 1e9},
        {"platform": "icq", "flood": True},
        {"platform": "telegram", "flood": True, "seconds": "7"},
        [],
    ],
)
async def test_mistakes_are_explained_and_change_nothing(world: World, bot: aiohttp.ClientSession, wanted: Any) -> None:
    async with bot.get("/hands/faults") as answer:
        before = await answer.json()
    async with bot.post("/hands/faults", json=wanted) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]
    async with bot.post("/hands/faults", data=b"{") as answer:
        assert answer.status == 400
    async with bot.get("/hands/faults") as answer:
        assert await answer.json() == before


async def test_the_page_speaks_chinese_and_stays_so(page: Page, world: World) -> None:
    await opened(page, world)
    await page.get_by_role("button", name="切换到中文").click()
    await expect(page.get_by_role("button", name="故障")).to_be_visible()
    await expect(page.locator("#telegram .hint").last).to_have_text("/imagine 黎明时分的灯塔生成一张图片")
    await page.reload()
    await expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    await expect(page.locator("#discord textarea")).to_have_attribute("placeholder", "输入消息，或输入 / 查看命令")
    await page.get_by_role("button", name="Switch to English").click()
    await expect(page.get_by_role("button", name="Faults")).to_be_visible()


def test_every_word_exists_in_both_languages() -> None:
    table = re.findall(r'^  (\w+): \["(.+)", "(.+)"\],$', (PAGE / "words.js").read_text(encoding="utf-8"), re.MULTILINE)
    words = {key: (english, chinese) for key, english, chinese in table}
    sources = "".join(file.read_text(encoding="utf-8") for file in PAGE.iterdir() if file.name != "words.js")
    used = set(re.findall(r'\bword\("(\w+)"', sources)) | set(re.findall(r'\bdata-(?:words|name|hint|alt)="(\w+)"', sources))
    assert len(used) > 40
    assert used | {*MODES, "other"} <= words.keys()
    assert [key for key in words if f'"{key}"' not in sources and key not in MODES] == []
    assert all(re.search("[一-鿿]", chinese + english) for english, chinese in words.values() if english != chinese)
    assert all(re.findall(r"{\d}", english) == re.findall(r"{\d}", chinese) for english, chinese in words.values())
