"""What miners set and see in the chat, in both languages."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image, ImageColor
from sqlalchemy import update

from bots.chat.chart import GOOD, HEIGHT, WAITS, WIDTH
from bots.chat.chat import SENTENCES
from bots.chat.notices import word
from bots.chat.rendering import pictures_of
from bots.chat.types import Reply
from core.db import DAY
from core.generations.digest import write_digests
from core.mailbox.models import Sent, outbox
from core.oversight.retire import announce
from core.providers.base import FailedCost, Fault
from core.words import LOCALES, Words
from core.worker import Worker
from tests.chat.desk import KEY, Desk, refused, seated, sentence
from tests.stage import work_off


@pytest.fixture(params=LOCALES)
async def desk(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with seated(database_url, tmp_path, request.param) as opened:
        yield opened


async def told(desk: Desk, kind: str) -> list[Reply]:
    """What the notices of a kind say to "ada"; everything that waits is taken."""
    said = []
    async with desk.stage.app.begin() as work:
        await work.connection.execute(update(outbox).values(leased_until=0, due_at=0))  # by whoever answers: nobody does here
        while rows := await work.mailbox.take_deliveries(["telegram"], 50):
            for row in rows:
                if (row.kind, row.address.chat) == (kind, "ada"):
                    reply = (await word(desk.stage.app, row)).reply
                    assert reply is not None
                    said.append(reply)
                await work.mailbox.delivered([Sent(row.id, "1")])
    return said


async def test_the_month_the_offset_and_the_label(desk: Desk) -> None:
    lent = await desk.lent()
    assert "1/3" in sentence(await desk.press(f"more_limits {lent.id}"))
    assert "2/3" in sentence(await desk.says(text="5000"))
    assert "3/3" in sentence(await desk.says(text="+5.75"))
    assert "the big one" in sentence(await desk.says(text=" the  big one "))
    async with desk.stage.app.read() as work:
        found = await work.resources.get(lent.id)
    assert (found.limits.month_limit, found.limits.utc_offset, found.label) == (5_000_000, 345, "the big one")
    await desk.press_form(f"set {lent.id}", {"hours": "22:00-06:00"})
    form = await desk.press(f"limits {lent.id}")
    for _ in range(4):
        assert form.message is not None
        form = await desk.press(form.message.rows[0][0].action)
    assert form.message is not None
    assert "22:00-06:00" in form.message.rows[0][0].label, "what is set is kept by the button that keeps"
    assert "the big one" not in sentence(await desk.press_form(f"set {lent.id}", {"label": "-"}))
    for name, text in (("month_limit", "999"), ("month_limit", "many"), ("utc_offset", "15"), ("utc_offset", "0.01")):
        await refused(desk, text, "/resources", action=f"set {lent.id}", answers={name: text})


async def test_the_statistics_of_a_resource(desk: Desk) -> None:
    lent = await desk.lent()
    card = await desk.press(f"resource {lent.id}")
    assert card.message is not None
    assert f"resource_stats {lent.id}" in [key.action for row in card.message.rows for key in row]
    assert "—" in sentence(await desk.press(f"resource_stats {lent.id}"))
    desk.stage.provider.script.append(FailedCost(Fault.BAD_ANSWER, 30_000))
    await desk.stage.submit("a", "b", user=await desk.stage.person("cora", 100_000))
    await work_off(Worker(desk.stage.app, 1))
    told = await desk.press(f"resource_stats {lent.id}")
    assert told.private
    words = sentence(told)
    assert "50 %" in words and "3.825" in words and "4.5" in words
    assert "a cat" not in words and KEY not in words, "nobody's prompt, no key"


async def test_what_was_earned_is_pending_and_was_lost(desk: Desk) -> None:
    assert sentence(await desk.says(command="earnings"))
    await desk.lent()
    desk.stage.provider.script.append(FailedCost(Fault.BAD_ANSWER, 30_000))
    await desk.stage.submit("a", "b", "c", user=await desk.stage.person("cora", 100_000))
    await work_off(Worker(desk.stage.app, 1))
    answer = await desk.says(command="earnings")
    words = sentence(answer)
    assert answer.private
    assert "7.65\n" in words.split("UTC")[1] and "$0.03" in words
    reply = (await told(desk, "chart"))[0]
    (picture,) = await pictures_of(desk.stage.app, reply)
    with Image.open(BytesIO(picture.data)) as image:
        assert image.size == (WIDTH, HEIGHT)
        drawn = {color for _, color in image.convert("RGB").getcolors(WIDTH * HEIGHT) or []}
    assert ImageColor.getrgb(WAITS) in drawn and ImageColor.getrgb(GOOD) in drawn
    await desk.says(command="earnings")
    folder = desk.stage.app.settings.data_dir / "blobs" / "charts"
    assert len(list(folder.iterdir())) == 1, "one picture for each user"


async def test_the_daily_message(desk: Desk) -> None:
    await desk.lent()
    desk.stage.provider.script.append(FailedCost(Fault.BAD_ANSWER, 30_000))
    await desk.stage.submit("a", "b", user=await desk.stage.person("cora", 100_000))
    await work_off(Worker(desk.stage.app, 1))
    await desk.stage.app.database.run(lambda connection: write_digests(connection, desk.stage.app.now() + DAY))
    (reply,) = await told(desk, "digest")
    assert reply.text is not None
    words = Words(SENTENCES).say(reply.text, desk.locale)
    assert "3.825" in words and "$0.03" in words and "{" not in words
    shown, off = (button.action for button in reply.rows[0])
    assert sentence(await desk.press(shown))
    assert "/earnings" in sentence(await desk.press(off))
    card = await desk.says(command="earnings")
    assert card.message is not None
    on = card.message.rows[0][1].action
    assert on == "digest on"
    assert "6:00" in sentence(await desk.press(on))
    async with desk.stage.app.read() as work:
        assert await work.users.wants_digest(desk.user.id)


async def test_a_model_that_retires(desk: Desk) -> None:
    app = desk.stage.app
    await desk.lent()
    models = {id_: replace(each, retires=app.today() + timedelta(3)) for id_, each in app.catalog.models.items()}
    app.catalog = replace(app.catalog, models=models)
    date = str(app.today() + timedelta(3))
    offered = await desk.chat.complete(desk.event(command="imagine"), "model", "")
    assert offered and all(date in label for _, label in offered)
    await app.run(lambda work: announce(work.connection, work.now, app.catalog.retiring(app.today())))
    said = [Words(SENTENCES).say(reply.text, desk.locale) for reply in await told(desk, "retires") if reply.text]
    assert said and all(date in each and "/resources" in each for each in said)
