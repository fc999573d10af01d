"""The sandbox's chat page in a real browser: what is typed and pressed reaches the sandbox, and what the bot does appears by itself."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from playwright.async_api import Page, Route, expect

from sandbox.discord import ADA, APPLICATION, DiscordSandbox
from sandbox.discord_state import Interaction
from sandbox.pictures import draw
from sandbox.world import World

BOT = "/telegram/bot7000000001:page"
API = "/discord/api/v10"
TELEGRAM_ADA = 1001
IMAGINE_COMMAND = {
    "name": "imagine",
    "description": "Makes a picture",
    "options": [
        {"type": 3, "name": "prompt", "description": "What to see", "required": True},
        {"type": 3, "name": "model", "description": "Which model", "choices": [{"name": "Core", "value": "core"}]},
        {"type": 3, "name": "ar", "description": "Shape"},
    ],
}
MODAL = {
    "title": "Edit the prompt",
    "custom_id": "edit:1",
    "components": [
        {"type": 1, "components": [{"type": 4, "custom_id": "prompt", "style": 2, "label": "Prompt", "value": "a fox", "max_length": 40}]}
    ],
}


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


async def send(bot: aiohttp.ClientSession, **message: Any) -> int:
    """The bot writes to Ada in Telegram; returns the message's id."""
    async with bot.post(f"{BOT}/sendMessage", json={"chat_id": TELEGRAM_ADA, **message}) as response:
        answer = await response.json()
    assert answer["ok"], answer
    return int(answer["result"]["message_id"])


async def next_update(bot: aiohttp.ClientSession, after: int = 0) -> dict[str, Any]:
    """The first update behind the one with the number `after`."""
    async with bot.post(f"{BOT}/getUpdates", json={"timeout": 5, "offset": after + 1}) as response:
        return dict((await response.json())["result"][0])


async def declare_imagine(bot: aiohttp.ClientSession) -> None:
    """The bot declares /imagine in Discord."""
    async with bot.put(f"{API}/applications/{APPLICATION}/commands", json=[IMAGINE_COMMAND]) as response:
        assert response.status == 200, await response.text()


async def type_line(page: Page, platform: str, text: str) -> None:
    """Types into one of the two composers and presses Enter."""
    composer = page.locator(f"#{platform} textarea")
    await composer.fill(text)
    await composer.press("Enter")


async def opened(page: Page, world: World) -> None:
    """The page, with both chats there."""
    await page.goto(world.url)
    for platform in ("telegram", "discord"):
        await expect(page.locator(f"#{platform} .title")).not_to_be_empty()
        await expect(page.locator(f"#{platform} .link")).to_be_empty()


def options_of(discord: DiscordSandbox) -> dict[str, Any]:
    """The options of the newest interaction, by name."""
    return {option["name"]: option["value"] for option in newest(discord).data["options"]}


def newest(discord: DiscordSandbox) -> Interaction:
    """The newest interaction."""
    return list(discord.state.interactions.values())[-1]


async def test_a_typed_telegram_message_reaches_the_sandbox(page: Page, world: World) -> None:
    await opened(page, world)
    await type_line(page, "telegram", "/imagine a red fox")
    said = await world.telegram.wait_for(TELEGRAM_ADA, TELEGRAM_ADA, lambda message: "a red fox" in message["html"])
    assert said["from"]["name"] == "Ada"
    await expect(page.locator("#telegram .message.mine .text")).to_have_text("/imagine a red fox")
    await expect(page.locator("#telegram textarea")).to_have_value("")


async def test_spoilers_are_covered_and_addresses_are_links(page: Page, world: World, bot: aiohttp.ClientSession) -> None:
    picture, link = draw("a fox", 1, 64, 64), "http://127.0.0.1:1/handover/abc_d-e"
    await opened(page, world)
    await world.telegram.say(TELEGRAM_ADA, TELEGRAM_ADA, "/start")
    form = aiohttp.FormData({"chat_id": str(TELEGRAM_ADA), "has_spoiler": "true", "caption": f"the form: {link}. Soon!"})
    form.add_field("photo", picture, filename="fox.png")
    async with bot.post(f"{BOT}/sendPhoto", data=form) as answer:
        assert answer.status == 200, await answer.text()
    form = aiohttp.FormData()
    form.add_field("payload_json", json.dumps({"content": f"({link})"}), content_type="application/json")
    form.add_field("files[0]", picture, filename="SPOILER_fox.png", content_type="image/png")
    async with bot.post(f"{API}/channels/{world.discord.private_chat(ADA)}/messages", data=form) as answer:
        assert answer.status == 200, await answer.text()
    for platform in ("telegram", "discord"):
        pane, enlarged = page.locator(f"#{platform}"), page.locator("#enlarged")
        await expect(pane.locator(".text a")).to_have_attribute("href", link)
        covered = pane.get_by_role("button", name="Spoiler: show the picture from Aetherflow")
        await covered.click()
        await expect(pane.locator(".veiled")).to_have_count(0)
        await expect(enlarged).to_be_hidden()
        await pane.get_by_role("button", name="Picture from Aetherflow").click()
        await expect(enlarged).to_be_visible()
        await page.keyboard.press("Escape")


async def test_a_button_appears_live_and_its_press_reaches_the_sandbox(page: Page, world: World, bot: aiohttp.ClientSession) -> None:
    await opened(page, world)
    await type_line(page, "telegram", "/start")
    start = await next_update(bot)
    assert start["message"]["text"] == "/start"
    keys = [[{"text": "Again", "callback_data": "again:7", "style": "success"}, {"text": "Terms", "url": "https://example.org/terms"}]]
    message = await send(bot, text="Ready", reply_markup={"inline_keyboard": keys})

    link = page.locator("#telegram a.key")
    await expect(link).to_have_attribute("href", "https://example.org/terms")
    await expect(link).to_have_attribute("target", "_blank")
    await page.locator("#telegram button.key.success", has_text="Again").click()
    query = (await next_update(bot, start["update_id"]))["callback_query"]
    assert (query["data"], query["message"]["message_id"]) == ("again:7", message)
    async with bot.post(f"{BOT}/answerCallbackQuery", json={"callback_query_id": query["id"], "text": "On its way"}) as response:
        assert response.status == 200
    await expect(page.locator("#telegram .toast")).to_have_text("On its way")
    async with bot.post(f"{BOT}/deleteMessage", json={"chat_id": TELEGRAM_ADA, "message_id": message}) as response:
        assert response.status == 200
    await expect(page.locator("#telegram .message")).to_have_count(1)


async def test_an_invoice_asks_before_it_is_paid(page: Page, world: World, bot: aiohttp.ClientSession) -> None:
    await opened(page, world)
    await type_line(page, "telegram", "/topup")
    start = await next_update(bot)
    invoice = {"title": "500 Credits", "description": "For pictures", "payload": "order:1", "currency": "XTR"}
    body = {"chat_id": TELEGRAM_ADA, **invoice, "prices": [{"label": "500 Credits", "amount": 250}]}
    async with bot.post(f"{BOT}/sendInvoice", json=body) as response:
        assert response.status == 200, await response.text()
    await page.locator("#telegram button.key").click()
    await page.get_by_role("button", name="Cancel").click()
    await page.locator("#telegram button.key").click()
    await page.get_by_role("button", name="Pay ⭐ 250").click()
    asked = await next_update(bot, start["update_id"])
    assert asked["pre_checkout_query"]["invoice_payload"] == "order:1"
    assert asked["update_id"] == start["update_id"] + 1  # what was cancelled asked nothing
    async with bot.post(f"{BOT}/answerPreCheckoutQuery", json={"pre_checkout_query_id": asked["pre_checkout_query"]["id"], "ok": True}):
        paid = await next_update(bot, asked["update_id"])
    assert paid["message"]["successful_payment"]["total_amount"] == 250


async def test_a_discord_command_reaches_the_sandbox(page: Page, world: World, bot: aiohttp.ClientSession) -> None:
    await declare_imagine(bot)
    await opened(page, world)
    composer = page.locator("#discord textarea")
    await composer.fill("/im")
    await expect(page.locator("#discord .suggestions li")).to_have_text("/imagineMakes a picture")
    await composer.press("Tab")
    await composer.press_sequentially("a red fox model:c")
    await expect(page.locator("#discord .suggestions li b")).to_have_text("Core")
    await composer.press("Tab")
    await composer.press_sequentially("ar:16:9")
    await composer.press("Enter")
    await world.discord.until(lambda: bool(world.discord.state.interactions))
    assert options_of(world.discord) == {"prompt": "a red fox", "model": "core", "ar": "16:9"}


async def test_a_discord_modal_is_filled_in_and_sent(page: Page, world: World, bot: aiohttp.ClientSession) -> None:
    await declare_imagine(bot)
    await opened(page, world)
    await type_line(page, "discord", "/imagine a fox")
    await world.discord.until(lambda: bool(world.discord.state.interactions))
    asked = newest(world.discord)
    async with bot.post(f"{API}/interactions/{asked.id}/{asked.token}/callback", json={"type": 9, "data": MODAL}) as response:
        assert response.status in (200, 204), await response.text()
    field = page.get_by_role("textbox", name="Prompt")
    await expect(field).to_have_value("a fox")
    await field.fill("a wolf")
    await page.get_by_role("button", name="Submit").click()
    await world.discord.until(lambda: newest(world.discord).id != asked.id)
    assert "a wolf" in str(newest(world.discord).data)
    await expect(page.locator("#modal")).to_be_hidden()


async def test_thinking_becomes_an_ephemeral_answer(page: Page, world: World, bot: aiohttp.ClientSession) -> None:
    await declare_imagine(bot)
    await opened(page, world)
    await type_line(page, "discord", "/imagine a fox")
    await world.discord.until(lambda: bool(world.discord.state.interactions))
    asked = newest(world.discord)
    deferred = {"type": 5, "data": {"flags": 64}}
    async with bot.post(f"{API}/interactions/{asked.id}/{asked.token}/callback", json=deferred) as response:
        assert response.status in (200, 204), await response.text()
    message = page.locator("#discord .message.ephemeral")
    await expect(message.locator(".thinking")).to_have_text("Aetherflow is thinking…")
    original = f"{API}/webhooks/{APPLICATION}/{asked.token}/messages/@original"
    async with bot.patch(original, json={"content": "**Done**"}) as response:
        assert response.status == 200, await response.text()
    await expect(message.locator(".text b")).to_have_text("Done")
    await expect(message.locator(".only-you")).to_have_text("Only you can see this")


async def test_html_in_a_text_is_not_executed(page: Page, world: World, bot: aiohttp.ClientSession) -> None:
    attack = "<script>window.hit = 1</script><img src=x onerror='window.hit = 1'>"
    await world.telegram.say(TELEGRAM_ADA, TELEGRAM_ADA, attack)
    await world.discord.say(ADA, world.discord.private_chat(ADA), attack)
    await opened(page, world)
    for platform in ("telegram", "discord"):
        await expect(page.locator(f"#{platform} .text")).to_have_text(attack)
    await send(bot, text=attack)
    await expect(page.locator("#telegram .bot .text")).to_have_text(attack)
    assert await page.evaluate("window.hit") is None


async def test_only_listed_markup_comes_through(page: Page, world: World) -> None:
    await opened(page, world)
    shown = await page.evaluate(
        """async () => {
            const { markup } = await import("/page/markup.js");
            const box = document.createElement("div");
            box.append(markup(`<b onclick="x()">bold</b><svg onload="x()"></svg><script>x()</script><u>plain</u><br>
<a href="javascript:x()">no</a><a href="https://example.org/">yes</a><img src="x" onerror="x()">`));
            return box.innerHTML;
        }"""
    )
    assert shown == '<b>bold</b>plain<br>\nno<a href="https://example.org/" target="_blank" rel="noopener noreferrer">yes</a>'


async def test_a_picture_is_shown_and_enlarged(page: Page, world: World) -> None:
    await world.telegram.say(TELEGRAM_ADA, TELEGRAM_ADA, "look", picture=draw("a hill", 1, 64, 64))
    await opened(page, world)
    picture = page.locator("#telegram .picture img")
    await expect(picture).to_have_js_property("naturalWidth", 64)
    await picture.click()
    await expect(page.locator("#enlarged img")).to_be_visible()


async def test_a_picture_is_sent(page: Page, world: World) -> None:
    await opened(page, world)
    picture = draw("a hill", 1, 64, 64)
    await page.locator("#telegram .attach input").set_input_files({"name": "hill.png", "mimeType": "image/png", "buffer": picture})
    await expect(page.locator("#telegram .attached img")).to_be_visible()
    await type_line(page, "telegram", "like this")
    said = await world.telegram.wait_for(TELEGRAM_ADA, TELEGRAM_ADA, lambda message: "like this" in message["html"])
    async with aiohttp.ClientSession() as session, session.get(said["pictures"][0]) as response:
        assert await response.read() == picture
    await expect(page.locator("#telegram .attached")).to_be_hidden()


async def test_one_plays_several_people(page: Page, world: World) -> None:
    await opened(page, world)
    await page.locator("#telegram .person").select_option(label="Olga (admin)")
    await expect(page.locator("#telegram .chat")).to_have_count(3)
    await type_line(page, "telegram", "hello from the admin")
    said = await world.telegram.wait_for(1009, 1009, lambda message: "hello" in message["html"])
    assert said["from"]["name"] == "Olga"


async def test_what_is_said_while_the_page_still_loads_is_not_lost(page: Page, world: World) -> None:
    await opened(page, world)
    held = asyncio.Event()

    async def hold(route: Route) -> None:
        await held.wait()
        await route.continue_()

    await page.route("**/hands/telegram/commands*", hold)
    await page.locator("#telegram .person").select_option(label="Olga (admin)")
    await expect(page.locator("#telegram .chat")).to_have_count(3)
    await type_line(page, "telegram", "hello from the admin")
    try:
        await world.telegram.wait_for(1009, 1009, lambda message: "hello" in message["html"])
    finally:
        held.set()
        await page.unroute_all(behavior="wait")


async def test_narrow_screens_have_tabs(page: Page, world: World) -> None:
    await page.set_viewport_size({"width": 420, "height": 800})
    await opened(page, world)
    await expect(page.locator("#discord")).to_be_hidden()
    await page.get_by_role("tab", name="Discord").click()
    await expect(page.locator("#discord textarea")).to_be_visible()
    await expect(page.locator("#telegram")).to_be_hidden()


async def test_a_role_is_switched_on_and_off(page: Page, world: World) -> None:
    await opened(page, world)
    painters, admins = page.get_by_role("checkbox", name="Painters"), page.get_by_role("checkbox", name="Admins")
    await painters.check()
    await world.discord.until(lambda: world.discord.state.people[ADA].all_roles != [])
    await expect(page.locator("#discord .chat")).to_have_count(2)
    await admins.check()
    await expect(page.locator("#discord .chat")).to_have_count(3)  # the admins' channel
    await page.reload()
    await expect(admins).to_be_checked()
    await admins.uncheck()
    await expect(page.locator("#discord .chat")).to_have_count(2)
    await page.locator("#discord .person").select_option(label="Bo")
    await expect(painters).not_to_be_checked()
