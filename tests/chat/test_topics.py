"""A group with topics: what is typed in one is answered there, from the bot's first word to the picture; all else is about the group."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

import demo
from bots.chat.types import Place
from core.address import Address
from core.generations.pages import page
from core.ledger.models import wallet
from core.pools.models import pool
from tests.chat.conftest import ADA, Town
from tests.chat.desk import Desk, seated

CLUB, GROUP = "-1001000000001", "-100"
HERE = Place(f"{GROUP}/45", private=False, community=GROUP, channels=(f"{GROUP}/45", GROUP))


@pytest.fixture
async def desk(database_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with seated(database_url, tmp_path, "en") as opened:
        yield opened


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_answer_and_the_picture_arrive_in_their_topic(town: Town) -> None:
    """Over real sockets. What a closed topic does not take: tests/telegram_bot/test_outgoing.py."""
    hands = town.world.telegram
    await demo._lend(town.world, Console(quiet=True))
    topic = hands.open_topic(ADA, CLUB, "Art")
    await hands.say(ADA, CLUB, "/imagine a fox", topic=topic)
    await hands.wait_for(ADA, CLUB, lambda m: m["from"]["bot"] and not m["pictures"] and m["topic"] == str(topic), demo.SECONDS)
    await hands.wait_for(ADA, CLUB, lambda m: bool(m["pictures"]) and m["topic"] == str(topic), demo.SECONDS)


async def test_a_wish_of_a_topic_is_drawn_there_wherever_it_is_paid_from(desk: Desk) -> None:
    """Its pool is the group's. A refusal is read in private or in the whole group, where the platform says anew who is a member."""
    await desk.lent()
    await desk.says(place=replace(HERE, admin=True), command="pool")
    await desk.says("bo", place=HERE, action="give 10")
    over = await desk.says(place=HERE, command="imagine", argument="a fox --model ultra")
    assert over.private and over.message is not None
    own, _, cheaper = (key.action for row in over.message.rows for key in row)
    event = desk.event(action=cheaper)
    assert await desk.chat.asks(event) == HERE
    whole = Place(GROUP, private=False, community=GROUP, channels=(GROUP,))
    left = await desk.says(place=replace(whole, member=False), action=cheaper)
    assert left.private and await desk.stage.balance(pool(1)) == 10_000, "who has left spends nothing, wherever it is pressed"
    assert left.message is not None
    own = left.message.rows[0][0].action
    await desk.press(own)
    async with desk.stage.app.read() as work:
        (made,) = await page(work.connection, desk.user.id, 5)
    assert (made.payer, made.address) == (wallet(desk.user.id), Address("telegram", HERE.chat))
    once_more = f"again {made.id}"
    assert not (await desk.says("bo", place=whole, action=once_more)).private, "what is said in a topic, its group may ask for again"
    assert (await desk.says("bo", place=replace(whole, chat="-1004", community="-1004"), action=once_more)).private


async def test_a_form_of_a_topic_is_about_the_group(desk: Desk) -> None:
    """It is answered in private; the buttons that follow name the group, as no platform knows a topic's members."""
    await desk.says(place=replace(HERE, admin=True), command="pool")
    await desk.says(place=replace(HERE, admin=True), action="pool_presets")
    event = desk.event(text="logo-mark")
    about = await desk.chat.asks(event)
    assert about is not None
    shown = await desk.chat.handle(replace(event, about=replace(about, admin=True)))
    assert shown.message is not None
    assert {key.action.rpartition(" ")[2] for row in shown.message.rows for key in row} == {f"@{GROUP}"}
