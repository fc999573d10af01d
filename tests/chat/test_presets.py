"""/preset in both languages: from the list to the picture, publishing one's own, and what is no preset."""

import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PIL import Image

from bots.chat.notices import word
from core.generations.pages import page
from core.ledger.models import pending
from core.providers.base import Delivered, Picture
from core.users.models import Identity, Role
from core.words import LOCALES
from core.worker import Worker
from tests.chat.desk import KEY, Desk, refused, seated, sentence
from tests.stage import work_off

ANSWERS = {
    "name": "neon-shoe",
    "title": "Neon shoe",
    "template": "neon {subject}, {place}",
    "options": "--ar 16:9",
    "tags": "neon, shop",
}


@pytest.fixture(params=LOCALES)
async def desk(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with seated(database_url, tmp_path, request.param) as opened:
        yield opened


async def test_from_the_list_to_the_picture(desk: Desk) -> None:
    listed = await desk.says(command="preset")
    assert listed.message is not None
    more = listed.message.rows[-1][0].action
    assert more.startswith("presets ")
    second = await desk.press(more)
    assert second.edit
    found = await desk.says(command="preset", argument="logo")
    assert found.message is not None
    card = await desk.press(found.message.rows[0][0].action)
    assert "logo-mark" in sentence(card)
    assert sentence(await desk.says(command="preset", argument="logo-mark")) == sentence(card)
    asked = await desk.press("use_preset logo-mark")
    assert sentence(asked)
    assert "#1" in sentence(await desk.press_form("fill logo-mark", {"subject": "a fox", "colors": "red and white"}))
    async with desk.stage.app.read() as work:
        (made,) = await page(work.connection, desk.user.id, 5)
    assert "logo mark of a fox, red and white" in made.prompt
    assert made.preset_id is not None


async def test_one_of_ones_own_is_used_by_another(desk: Desk) -> None:
    await desk.stage.lend(KEY)
    published = await desk.press_form("publish_preset", ANSWERS)
    assert published.private
    assert "neon-shoe" in sentence(published)
    assert (await desk.says("bo", command="imagine", argument='hat --preset neon-shoe place="the moon"')).message is not None
    await work_off(Worker(desk.stage.app, 1))
    async with desk.stage.app.read() as work:
        bo = await work.users.find("telegram", "bo")
        assert bo is not None
        (made,) = await page(work.connection, bo.id, 5)
    assert (made.prompt, made.parameters.ratio) == ("neon hat, the moon", "16:9")
    assert await desk.stage.balance(pending(desk.user.id)) == 225
    assert (await desk.press(f"again {made.id}", "bo")).message is not None
    assert (await desk.press(f"vary {made.id}", "bo")).message is not None
    async with desk.stage.app.read() as work:
        assert {each.preset_id for each in await page(work.connection, bo.id, 5)} == {made.preset_id}
    await desk.press("unlist neon-shoe")
    assert sentence(await desk.press("unlist neon-shoe yes"))
    await refused(desk, who="bo", command="imagine", argument="hat --preset neon-shoe")


async def test_an_author_picks_the_cover(desk: Desk) -> None:
    app = desk.stage.app
    await desk.stage.lend(KEY)
    await desk.press_form("publish_preset", ANSWERS)
    assert (await desk.press("preset neon-shoe")).message is not None
    desk.stage.provider.answer = lambda request, key: Delivered(Picture(b"no picture", "image/png", 1, 1))
    for who in ("ada", "bo"):
        await desk.says(who, command="imagine", argument='hat --preset neon-shoe place="the moon"')
    await work_off(Worker(app, 1))
    actions = {chat: [each.action for row in reply.rows for each in row] for chat, reply in (await desk.notices("result")).items()}
    (broken,) = [each for each in actions["ada"] if each.startswith("cover ")]
    await refused(desk, action=broken)
    drawn = io.BytesIO()
    Image.new("RGBA", (2048, 512), (200, 80, 20, 128)).save(drawn, "PNG")
    desk.stage.provider.answer = lambda request, key: Delivered(Picture(drawn.getvalue(), "image/png", 2048, 512))
    await desk.says(command="imagine", argument='hat --preset neon-shoe place="the moon"')
    await work_off(Worker(app, 1))
    pick = "cover 3"
    assert not [each for each in actions["bo"] if each.startswith("cover ")], "theirs is not the preset"
    await refused(desk, who="bo", action=pick)
    await refused(desk, who="bo", action="cover 2")
    await refused(desk, action="cover 2")
    for _ in range(2):
        assert "neon-shoe" in sentence(await desk.press(pick))
    card = await desk.press("preset neon-shoe", "bo")
    assert card.message is not None
    (picture,) = card.message.pictures
    assert Image.open(io.BytesIO(picture.data)).size == (1024, 256)
    async with app.read() as work:
        (former,) = await work.leaving.doomed()
        cover = (await work.presets.find("neon-shoe")).cover
    assert cover is not None
    assert former != cover
    await desk.press_form("publish_preset", ANSWERS | {"title": "Neon shoe again", "tags": "neon, 霓虹灯"})
    newest = (await desk.says("bo", command="preset", argument="neon-shoe")).message
    assert newest is not None and len(newest.pictures) == 1, "the next version keeps it"
    assert "neon-shoe" in str((await desk.says("bo", command="preset", argument="霓虹")).message)
    await app.blobs.delete(cover)
    words = (await desk.press("preset neon-shoe")).message
    assert words is not None and not words.pictures, "without the picture the words remain"


async def test_a_report_reaches_the_admins(desk: Desk) -> None:
    await desk.press_form("publish_preset", ANSWERS)
    app = desk.stage.app
    admin = await app.run(lambda work: work.users.resolve(Identity("telegram", "root", "root", "root", desk.locale)))
    await app.run(lambda work: work.users.add_role(admin.id, Role.ADMIN))
    assert sentence(await desk.press("report_preset neon-shoe", "bo"))
    async with app.begin() as work:
        (row,) = [each for each in await work.mailbox.take_deliveries(["telegram"], 50) if each.kind == "preset_report"]
        told = (await word(app, row)).reply
    assert row.address.chat == "root"
    assert told is not None
    assert sentence(await desk.press_form("frozen_preset neon-shoe", {"reason": "not theirs"}, "root"))
    await refused(desk, "neon-shoe", command="imagine", argument="hat --preset neon-shoe")


@pytest.mark.parametrize(
    "argument", ["x --preset nothing", 'x --preset logo-mark size="big"', "--preset logo-mark", "x --preset ²", "x --preset"]
)
async def test_what_is_no_preset(desk: Desk, argument: str) -> None:
    await refused(desk, command="imagine", argument=argument)


@pytest.mark.parametrize(
    "changes", [{"name": "x"}, {"title": ""}, {"template": "no field"}, {"template": "{{x}}"}, {"tags": "a"}, {"options": "--image x"}]
)
async def test_what_cannot_be_published(desk: Desk, changes: dict[str, str]) -> None:
    await refused(desk, action="publish_preset", answers=ANSWERS | changes)


async def test_each_answer_is_looked_at_when_it_is_given(desk: Desk) -> None:
    """What is wrong is said at once, and the same is asked for again; what follows it is not asked for in vain."""
    assert "1/5" in sentence(await desk.press("publish"))
    wrong = {1: ("x", "logo-mark"), 3: ("no field", "{two"), 4: ("--image x",), 5: ("a",)}
    right = ("neon-shoe", "Neon shoe", "a neon {subject}", "--ar 16:9", "neon")
    for place, answer in enumerate(right, 1):
        for text in wrong.get(place, ()):
            again = sentence(await desk.says(text=text))
            assert f"{place}/5" in again
            assert again.index(f"{place}/5") > 5, "after what is wrong with it"
        last = sentence(await desk.says(text=answer))
        assert f"{place + 1}/5" in last or place == 5
    assert "neon-shoe" in last
    async with desk.stage.app.read() as work:
        made = await work.presets.find("neon-shoe")
    assert (made.title, made.template, made.options, made.tags) == ("Neon shoe", "a neon {subject}", {"ar": "16:9"}, ("neon",))


async def test_presets_are_completed(desk: Desk) -> None:
    event = desk.event(command="imagine", options={"prompt": "x"})
    found = await desk.chat.complete(event, "preset", "sticker")
    assert [name for name, _ in found] == ["sticker"]
    assert len(await desk.chat.complete(event, "preset", "")) == 8
