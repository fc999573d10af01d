"""What was an admin's to press is refused once the role is gone, wherever the button stands and whoever the admin is elsewhere."""

import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bots.chat.notices import word
from bots.chat.registry import REGISTRY
from bots.chat.types import Person, Place
from core.users.models import Identity, Role
from core.words import LOCALES
from tests.chat.desk import Desk, refused, seated, sentence
from tests.chat.test_disputes import delivered, make_admin

GROUP = Place("-100", private=False, community="-100", admin=True)
FORMS = {
    "granted": {"amount": "5", "reason": "a gift"},
    "banned": {"reason": "spam"},
    "unbanned": {"reason": "a mistake"},
    "decide": {"amount": "1", "reason": "not red"},
}


@pytest.fixture(params=LOCALES)
async def desk(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with seated(database_url, tmp_path, request.param) as opened:
        yield opened


async def lose(desk: Desk, who: str) -> None:
    """The operator takes the role away."""
    user = await desk.stage.app.run(lambda work: work.users.resolve(Identity("telegram", who, who, who, desk.locale)))
    await desk.stage.app.run(lambda work: work.users.take_role(user.id, Role.ADMIN))


async def test_old_buttons_begun_forms_and_forged_ones(desk: Desk) -> None:
    """Every admin's button and form, pressed by whoever was an admin, in private and in a group; and a form that they had begun."""
    number = await delivered(desk)
    await desk.press(f"dispute {number} other")
    await make_admin(desk, "bo")
    assert sentence(await desk.says("bo", command="disputes"))
    assert "1/1" in sentence(await desk.press("verdict 1 refund", "bo"))
    await lose(desk, "bo")
    await refused(desk, "/help", who="bo", text="The fox is not red.")
    places = itertools.cycle((Place("bo", private=True), GROUP))
    for name, place in zip((name for name, entry in REGISTRY.actions.items() if entry.admin), places, strict=False):
        answers = FORMS.get(name, {"reason": "because"})
        await refused(desk, "/help", who="bo", action=f"{name} 1 refund", answers=answers, place=place)


async def test_what_was_on_its_way_to_an_admin_is_not_shown_to_somebody_else(desk: Desk) -> None:
    """The disputed picture and its prompt."""
    number = await delivered(desk)
    await desk.press(f"dispute {number} other")
    await make_admin(desk, "bo")
    assert sentence(await desk.says("bo", command="disputes"))
    await lose(desk, "bo")
    async with desk.stage.app.begin() as work:
        bundle = next(each for each in await work.mailbox.take_deliveries(["telegram"], 50) if each.kind == "bundle")
        assert (await word(desk.stage.app, bundle)).reply is None


async def test_a_linked_identity_is_an_admin_as_long_as_the_other_is(desk: Desk) -> None:
    """The role is the user's: it comes and goes in both places at once. An admin is not joined with anybody by a code."""
    shown = await desk.says(command="link")
    assert shown.message is not None
    code = shown.message.text.partition("<code>")[2].partition("</code>")[0]
    there = replace(desk, platform="discord")
    asked = await there.says("elsewhere", command="link", argument=code)
    assert asked.message is not None
    await there.press(asked.message.rows[0][0].action, "elsewhere")
    await refused(there, "/help", who="elsewhere", command="stats")
    await make_admin(desk, "ada")
    assert sentence(await there.says("elsewhere", command="audit"))
    assert sentence(await desk.says(command="audit"))
    for one, who in ((desk, "ada"), (there, "elsewhere")):
        assert (await one.says(who, command="link")).private
    await lose(desk, "ada")
    for one, who in ((desk, "ada"), (there, "elsewhere")):
        await refused(one, "/help", who=who, command="audit")
        await refused(one, "/help", who=who, action="banned 1", answers=FORMS["banned"])


async def test_a_party_to_a_dispute_does_not_decide_it(desk: Desk) -> None:
    """Neither who opened it nor who earns by it, whatever their role and in whatever place they press; whoever has no part in it may."""
    number = await delivered(desk)
    await desk.press(f"dispute {number} other")
    miner = desk.stage.miner.name
    await desk.stage.app.run(lambda work: work.users.set_locale(desk.stage.miner.id, desk.locale))
    for who in ("ada", miner):
        await make_admin(desk, who)
        for verdict, place in {"refund": GROUP, "reject": Place(who, private=True), "part": GROUP, "goodwill": GROUP}.items():
            await refused(desk, "/disputes", who=who, action=f"decide 1 {verdict}", answers=FORMS["decide"], place=place)
    await make_admin(desk, "bo")
    assert "#1" in sentence(await desk.press_form("decide 1 refund", FORMS["decide"], "bo"))


async def test_whom_the_operator_named_by_number_is_greeted_by_name_in_their_language(desk: Desk) -> None:
    app = desk.stage.app
    numbered = await app.run(lambda work: work.users.resolve(Identity("telegram", "4711", "4711", "4711")))
    assert (numbered.name, numbered.locale) == ("4711", "en")
    event = replace(desk.event("4711", command="start"), person=Person("4711", "Olga", None))
    await desk.chat.handle(event)  # a message that tells no language changes nothing
    met = await desk.chat.handle(replace(event, id="met", person=Person("4711", "Olga", {"en": "en-GB", "zh": "zh-CN"}[desk.locale])))
    assert "Olga" in sentence(met)
    assert {"en": "/imagine", "zh": "欢迎"}[desk.locale] in sentence(met)
    again = await app.run(lambda work: work.users.resolve(Identity("telegram", "4711", "Olga the Second", "4711", "en")))
    assert (again.id, again.name, again.locale) == (numbered.id, "Olga", desk.locale)
