"""The chat page fits every screen, light and dark, and every person: by keyboard alone, and for those who hear it."""

import io
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from PIL import Image, ImageStat
from playwright.async_api import Page, expect

from sandbox.discord import ADA
from sandbox.pictures import draw
from sandbox.world import World
from tests.pages.test_chat_page import API, BOT, TELEGRAM_ADA, declare_imagine, opened, send, type_line

LONG = "Many words that fill more than a line. " * 6 + "onewordwithoutanyspace" * 20
CODE = "paint(prompt, width=1024, height=1024, seed=7, style='photographic', model='core', negative=None)"
OVERFLOW = """() => [...document.querySelectorAll("html, body, main, .top, .pane, .talk, .log, .hints, .composer, .inside")]
    .filter((one) => one.scrollWidth > one.clientWidth && one.checkVisibility()).map((one) => one.className || one.tagName)"""
CONTRAST = """() => {
    const paint = (text) => {
        const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
        canvas.fillStyle = text;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data].map((part) => part / 255);
    };
    const over = (top, back) => top.slice(0, 3).map((part, at) => part * top[3] + back[at] * (1 - top[3])).concat(1);
    const behind = (one) => {
        if (!one) return [1, 1, 1, 1];
        const own = paint(getComputedStyle(one).backgroundColor);
        return own[3] === 1 ? own : over(own, behind(one.parentElement));
    };
    const light = (color) => {
        const [r, g, b] = color.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const low = [];
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const one = texts.currentNode.parentElement;
        if (!texts.currentNode.data.trim() || !one.checkVisibility() || one.tagName === "OPTION") continue;
        const back = behind(one);
        const [a, b] = [light(over(paint(getComputedStyle(one).color), back)), light(back)];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) low.push(`${one.className || one.tagName} ${texts.currentNode.data.trim().slice(0, 20)}: ${ratio.toFixed(2)}`);
    }
    return low;
}"""
NAMELESS = """() => [...document.querySelectorAll("button, input, select, textarea, a, [role]")].filter((one) => {
    const inside = [one, ...(one.labels ?? [])].map((part) => part.textContent.trim()).join("");
    return one.checkVisibility() && one.role !== "status" && !one.ariaLabel && !inside && !one.querySelector("[alt]");
}).map((one) => one.outerHTML)"""
BUSY_WHEN_ADDED = """() => {
    const log = document.querySelector("#telegram .log");
    window.added = new Promise((done) => new MutationObserver(() => done(log.ariaBusy)).observe(log, { childList: true }));
}"""


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.start(port=0)
    yield world
    await world.stop()


@pytest.fixture
async def bot(world: World) -> AsyncIterator[aiohttp.ClientSession]:
    """What a bot would call."""
    async with aiohttp.ClientSession(world.url, headers={"Authorization": "Bot page"}) as session:
        yield session


async def fill(world: World, bot: aiohttp.ClientSession) -> None:
    """Both private chats get long text, a block of code, a wide picture, and buttons of every colour."""
    picture = draw("a wide hill", 1, 1536, 640)
    await world.telegram.say(TELEGRAM_ADA, TELEGRAM_ADA, LONG)
    styles = ("primary", "success", "danger")
    keys = [[{"text": style, "callback_data": style, "style": style} for style in styles], [{"text": LONG[:60], "callback_data": "long"}]]
    text = f"<pre>{CODE}</pre> <code>short</code> <a href='https://example.org/'>{LONG[-80:]}</a>"
    await send(bot, text=text, parse_mode="HTML", reply_markup={"inline_keyboard": keys})
    form = aiohttp.FormData({"chat_id": str(TELEGRAM_ADA), "caption": LONG})
    form.add_field("photo", picture, filename="hill.png")
    async with bot.post(f"{BOT}/sendPhoto", data=form) as answer:
        assert answer.status == 200, await answer.text()
    chat = world.discord.private_chat(ADA)
    await world.discord.say(ADA, chat, LONG)
    buttons = [{"type": 2, "style": style, "label": f"Number {style}", "custom_id": f"{style}"} for style in (1, 2, 3, 4)]
    message = {"content": f"{LONG} ```{CODE}``` `short` https://example.org/", "components": [{"type": 1, "components": buttons}]}
    form = aiohttp.FormData()
    form.add_field("payload_json", json.dumps(message), content_type="application/json")
    form.add_field("files[0]", picture, filename="hill.png", content_type="image/png")
    async with bot.post(f"{API}/channels/{chat}/messages", data=form) as answer:
        assert answer.status == 200, await answer.text()


async def test_nothing_overflows_on_a_phone(page: Page, world: World, bot: aiohttp.ClientSession) -> None:
    await page.set_viewport_size({"width": 375, "height": 740})
    await opened(page, world)
    for platform in ("Telegram", "Discord"):
        await page.get_by_role("tab", name=platform).click()
        await expect(page.locator(f"#{platform.lower()} .hint").first).to_be_visible()
        assert await page.evaluate(OVERFLOW) == []
        assert await page.evaluate(CONTRAST) == [], "both tabs can be read, the chosen one too"
    await fill(world, bot)
    for platform in ("Telegram", "Discord"):
        pane = page.locator(f"#{platform.lower()}")
        await page.get_by_role("tab", name=platform).click()
        await expect(pane.locator(".picture img")).to_have_js_property("naturalWidth", 1536)
        assert await page.evaluate(OVERFLOW) == []
        block = pane.locator("pre")
        assert await block.evaluate("one => one.scrollWidth > one.clientWidth"), "a long line is scrolled inside its block"
        right = "one => one.getBoundingClientRect().right"
        assert max([await pane.locator(part).first.evaluate(right) for part in ("pre", ".picture", ".text", ".row", ".send")]) <= 375
    await page.get_by_role("button", name="Faults").click()
    await expect(page.locator("#faults .switches")).to_have_count(4)
    assert await page.evaluate(OVERFLOW) == []


async def test_a_tab_shows_the_end_of_what_came_meanwhile(page: Page, world: World, bot: aiohttp.ClientSession) -> None:
    await page.set_viewport_size({"width": 375, "height": 500})
    await opened(page, world)
    await fill(world, bot)
    await expect(page.locator("#discord .message.bot")).to_have_count(1)
    await page.get_by_role("tab", name="Discord").click()
    await expect(page.locator("#discord .row .key").last).to_be_in_viewport()


async def test_both_chats_stand_side_by_side_on_a_desktop(page: Page, world: World) -> None:
    await page.set_viewport_size({"width": 1366, "height": 800})
    await opened(page, world)
    boxes = [await page.locator(f"#{platform}").bounding_box() for platform in ("telegram", "discord")]
    assert boxes[0] and boxes[1]
    assert boxes[0]["y"] == boxes[1]["y"]
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    assert await page.get_by_role("tab").count() == 0
    assert await page.evaluate(OVERFLOW) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_text_stands_out(page: Page, world: World, bot: aiohttp.ClientSession, scheme: str) -> None:
    await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
    await page.set_viewport_size({"width": 1366, "height": 800})
    await declare_imagine(bot)
    await opened(page, world)
    assert await page.locator(".hint").count() == 6
    assert await page.evaluate(CONTRAST) == []
    await fill(world, bot)
    await expect(page.locator("#discord .picture img")).to_have_js_property("naturalWidth", 1536)
    await page.locator("#discord textarea").fill("/im")
    await expect(page.locator("#discord .suggestions li")).to_have_count(1)
    await page.keyboard.press("ArrowDown")
    await page.evaluate("dispatchEvent(new ErrorEvent('error', { message: 'a try' }))")
    assert await page.evaluate(CONTRAST) == []
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Faults").click()
    await page.get_by_role("checkbox", name="Telegram refuses").check()
    await expect(page.locator("#open-faults .count")).to_have_text("1")
    assert await page.evaluate(CONTRAST) == []


async def test_the_page_is_dark_where_the_system_is(page: Page, world: World) -> None:
    await opened(page, world)
    shades = {}
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        picture = Image.open(io.BytesIO(await page.screenshot())).convert("L")
        halves = [picture.crop((left, 0, left + picture.width // 2, picture.height)) for left in (0, picture.width // 2)]
        shades[scheme] = [ImageStat.Stat(half).mean[0] for half in halves]
    assert max(shades["dark"]) < 80, shades
    assert min(shades["light"]) > 170, shades


async def test_the_suggestions_are_a_listbox(page: Page, world: World, bot: aiohttp.ClientSession) -> None:
    commands = [{"command": name, "description": f"Does {name}"} for name in ("start", "imagine", "lend")]
    async with bot.post(f"{BOT}/setMyCommands", json={"commands": commands}) as answer:
        assert answer.status == 200
    await opened(page, world)
    composer = page.locator("#telegram textarea")
    await composer.fill("/")
    options = page.get_by_role("listbox", name="Suggestions").get_by_role("option")
    await expect(options).to_have_count(3)
    await expect(page.locator("#telegram .composer .count")).to_have_text("3 suggestions. Arrow keys choose, Tab takes.")
    assert await composer.get_attribute("aria-activedescendant") is None
    for key, place in (("ArrowDown", 0), ("ArrowDown", 1), ("ArrowUp", 0), ("ArrowUp", 2), ("ArrowDown", 0), ("ArrowDown", 1)):
        await composer.press(key)
        active = await composer.get_attribute("aria-activedescendant")
        assert active == await options.nth(place).get_attribute("id")
        assert [await option.get_attribute("aria-selected") for option in await options.all()] == [
            str(at == place).lower() for at in range(3)
        ]
        assert await composer.get_attribute("aria-controls") == await page.get_by_role("listbox").get_attribute("id")
    await composer.press("Enter")
    await expect(composer).to_have_value("/imagine ")
    await expect(page.get_by_role("listbox")).to_have_count(0)
    await composer.fill("/le")
    await expect(options).to_have_count(1)
    await composer.press("ArrowDown")
    await composer.press("Escape")
    await expect(page.get_by_role("listbox")).to_have_count(0)
    assert await composer.get_attribute("aria-activedescendant") is None
    await composer.press("Enter")  # nothing is pointed at: the line is sent as it stands
    await world.telegram.wait_for(TELEGRAM_ADA, TELEGRAM_ADA, lambda message: message["html"] == "/le")


async def test_an_empty_chat_says_what_to_try(page: Page, world: World, bot: aiohttp.ClientSession) -> None:
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await opened(page, world)
    hints = page.locator("#telegram .hint")
    await expect(hints.locator("code")).to_have_text(["/start", "/lend", "/imagine a lighthouse at dawn"])
    await page.locator("#telegram").get_by_role("button", name="Copy the Stability AI key").click()
    await expect(page.locator("#telegram .toast")).to_have_text("Copied")
    key = await page.evaluate("navigator.clipboard.readText()")
    assert key == await page.locator("#telegram [data-vendor=stability] code").text_content()
    headers = {"Authorization": f"Bearer {key}"}
    async with bot.get("/stability/v1/user/balance", headers=headers) as answer:
        assert await answer.json() == {"credits": 1000}
    await page.locator("#discord .hint", has_text="/imagine").click()
    await expect(page.locator("#discord textarea")).to_have_value("/imagine a lighthouse at dawn")
    await page.locator("#discord .chat", has_text="#imagine").click()
    await expect(page.locator("#discord .hint code")).to_have_text(["/start", "/imagine a lighthouse at dawn"])
    await expect(page.locator("#discord .demo-key")).to_have_count(0)  # a key is no matter for a channel


async def test_everything_goes_by_keyboard(page: Page, world: World, bot: aiohttp.ClientSession) -> None:
    await opened(page, world)
    start = page.locator("#telegram .hint").first
    for _ in range(20):
        await page.keyboard.press("Tab")
        if await start.evaluate("one => one === document.activeElement"):
            break
    await page.keyboard.press("Enter")
    await expect(page.locator("#telegram textarea")).to_be_focused()
    await page.keyboard.press("Enter")
    await world.telegram.wait_for(TELEGRAM_ADA, TELEGRAM_ADA, lambda message: message["html"] == "/start")
    await expect(page.locator("#telegram .hints")).to_be_hidden()
    await fill(world, bot)
    picture = page.locator("#telegram .picture")
    await picture.focus()
    await page.keyboard.press("Enter")
    close = page.get_by_role("dialog").get_by_role("button", name="Close")
    await expect(close).to_be_focused()
    await page.keyboard.press("Tab")
    await expect(close).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(picture).to_be_focused()
    assert await page.evaluate(NAMELESS) == []


async def test_tabs_go_by_arrow_keys(page: Page, world: World) -> None:
    await page.set_viewport_size({"width": 375, "height": 740})
    await opened(page, world)
    telegram, discord = (page.get_by_role("tab", name=name) for name in ("Telegram", "Discord"))
    await telegram.focus()
    for key, tab, pane in (("ArrowRight", discord, "Discord"), ("ArrowRight", telegram, "Telegram"), ("End", discord, "Discord")):
        await page.keyboard.press(key)
        await expect(tab).to_be_focused()
        await expect(tab).to_have_attribute("aria-selected", "true")
        await expect(page.get_by_role("tabpanel", name=pane)).to_be_visible()
    await expect(telegram).to_have_attribute("tabindex", "-1")


async def test_only_new_messages_are_announced(page: Page, world: World, bot: aiohttp.ClientSession) -> None:
    await world.telegram.say(TELEGRAM_ADA, TELEGRAM_ADA, "said before")
    await opened(page, world)
    log = page.locator("#telegram").get_by_role("log", name="Messages")
    await expect(log).to_have_attribute("aria-live", "polite")
    await expect(log).to_have_attribute("aria-busy", "false")
    await page.evaluate(BUSY_WHEN_ADDED)
    await send(bot, text="news")
    assert await page.evaluate("window.added") == "false"
    await page.evaluate(BUSY_WHEN_ADDED)
    await page.locator("#telegram .chat[aria-current=true]").click()
    assert await page.evaluate("window.added") == "true"
    await type_line(page, "telegram", "more")
    await expect(log.locator(".message")).to_have_count(3)
