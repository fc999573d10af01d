"""The chat page with the whole product behind it, as docs/screens.md shows it; and the chart of /stats."""

from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from bots.chat.chart import draw
from bots.chat.commands.admin import chart_of
from core.db import DAY, SECOND
from core.oversight.models import Bar
from core.users.models import Identity
from sandbox.actor import Actor
from sandbox.discord_state import IMAGINE
from tests.journeys.stage import played
from tests.journeys.test_roles import miner_lends
from tests.journeys.words import WORDS
from tests.pages.screens import PICTURES, WANTED, keep

pytestmark = [pytest.mark.timeout(120), pytest.mark.skipif(not WANTED, reason="makes pictures of docs/: set AETHERFLOW_TEST_PICTURES")]
PROMPTS = {"en": ("a red fox in the snow at sunset", "a neon street in the rain"), "zh": ("日落时分雪中的红狐狸", "雨中的霓虹街道")}
DISCORD = {"en": ("200000000000000001", "Ada"), "zh": ("200000000000000003", "陈晨")}


@pytest.mark.parametrize("language", ["en", "zh"])
async def test_the_chat_page(page: Page, language: str, tmp_path: Path, sqlite_url: str) -> None:
    async with played("telegram", language, tmp_path / "data", sqlite_url) as stage:
        await miner_lends(stage, WORDS[language])
        creator, (number, name) = stage.people["creator"], DISCORD[language]
        async with stage.books() as app:
            for identity in (Identity("telegram", creator.id, creator.id, creator.id), Identity("discord", number, number, f"dm:{number}")):
                user = await app.run(lambda work, who=identity: work.users.resolve(who))  # type: ignore[misc]  # a default
                await app.grant(user.id, 100_000, f"grant:{user.id}")
        there = Actor(stage.world, "discord", number)
        await there.hands.until(lambda: bool(there.hands.gateway.shards and there.hands.commands()))
        fox, street = PROMPTS[language]
        await creator.says("/start", "creator")
        await creator.says(f"/imagine {fox} --ar 16:9 --seed 7")
        await creator.reads(picture=True)
        await there.says(f"/imagine {street} style:anime", chat=IMAGINE)
        await there.reads(picture=True, chat=IMAGINE)
        await page.set_viewport_size({"width": 1400, "height": 900})
        await page.goto(stage.world.url)
        if language == "zh":
            await page.locator("#language").click()
        await page.locator("#telegram .person").select_option(label="creator")
        await page.locator("#discord .person").select_option(label=name)
        await page.locator("#discord .chat.channel").first.click()
        for platform in ("telegram", "discord"):
            await expect(page.locator(f"#{platform} .picture img").last).to_have_js_property("complete", True)
        await keep(page, f"chat-page.{language}")


def test_the_chart_of_stats() -> None:
    """Made-up figures of a week."""
    bars = [Bar(delivered=180 + 60 * (day % 3) + 25 * day, failed=(9, 4, 14, 6, 3, 21, 5)[day]) for day in range(7)]
    now = 1_767_225_600 * SECOND
    (PICTURES / "stats.png").write_bytes(draw(chart_of(bars, now - 7 * DAY, now), "en"))
