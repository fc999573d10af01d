"""What is drawn for whom, in both languages: strict groups, age-restricted channels, veiled pictures, and who was refused too often."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bots.chat.notices import result
from bots.chat.rendering import render
from bots.chat.types import Answer, Place
from core.generations.models import Generation, State
from core.generations.pages import page
from core.moderation import Audience
from core.providers.base import Rejected
from core.users.models import Identity, Role
from core.words import LOCALES
from core.worker import Worker
from tests.chat.desk import KEY, Desk, readable, refused, seated, sentence
from tests.stage import work_off

GROUP = "-100"


@pytest.fixture(params=LOCALES)
async def desk(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with seated(database_url, tmp_path, request.param) as opened:
        yield opened


async def in_group(desk: Desk, who: str = "ada", *, admin: bool = False, marked: bool = False, **said: object) -> Answer:
    return await desk.says(who, place=Place(GROUP, private=False, community=GROUP, age_restricted=marked, admin=admin), **said)


async def newest(desk: Desk) -> Generation:
    async with desk.stage.app.read() as work:
        return (await page(work.connection, desk.user.id, 1))[0]


async def strikes(desk: Desk) -> int:
    async with desk.stage.app.read() as work:
        return (await work.users.strikes(desk.user.id))[0]


async def test_what_shall_not_be_seen_may_be_named(desk: Desk) -> None:
    """The words that a prompt may not have here are those that `--no` is for: nothing is refused, veiled or counted."""
    await desk.stage.lend(KEY)
    assert (await in_group(desk, command="imagine", argument="a statue, nude")).private
    counted = await strikes(desk)
    assert not (await in_group(desk, command="imagine", argument='a statue --no "nude, gore, fake passport"')).private
    made = await newest(desk)
    assert (made.parameters.negative, made.spoiler) == ("nude, gore, fake passport", False)
    assert await strikes(desk) == counted == 1


async def test_adult_topics_stay_where_adults_are_and_are_veiled(desk: Desk) -> None:
    await desk.stage.lend(KEY)
    public = await in_group(desk, command="imagine", argument="a nude statue")
    assert public.private
    assert "nude" in sentence(public)
    assert not (await in_group(desk, marked=True, command="imagine", argument="a nude statue")).private
    made = await newest(desk)
    assert made.spoiler
    assert made.audience == Audience()
    await work_off(Worker(desk.stage.app, 1))
    assert [each.spoiler for each in result(await desk.stage.generation(made.id), "ada").media] == [True]
    again = await in_group(desk, action=f"again {made.id}")
    assert again.private, "the same prompt is judged again where its button is pressed"
    assert not (await in_group(desk, marked=True, action=f"vary {made.id}")).private
    assert (await newest(desk)).spoiler, "what is made of a veiled picture is veiled"
    assert (await desk.imagine("a fox")).message is not None
    assert not (await newest(desk)).spoiler
    assert (await in_group(desk, marked=True, command="imagine", argument="child porn")).private, "what is forbidden is so everywhere"
    assert await strikes(desk) == 3


async def test_a_strict_group(desk: Desk) -> None:
    await in_group(desk, admin=True, command="pool")
    assert not (await in_group(desk, command="imagine", argument="a gory scene --pay me")).private
    await refused(desk, place=Place(GROUP, private=False, community=GROUP), action="pool_strict")
    card = await in_group(desk, admin=True, action="pool_strict")
    assert card.edit
    assert card.message is not None
    assert card.message.rows[-1][0].action == "pool_strict"
    strict = await in_group(desk, command="imagine", argument="a gory scene")
    assert strict.private
    assert "gory" in sentence(strict)
    assert not (await in_group(desk, command="imagine", argument="a fox --pay me")).private
    made = await newest(desk)
    assert made.spoiler
    assert made.audience == Audience(strict=True, adult=False)
    assert (await in_group(desk, "bo", action="use_preset logo-mark")).message is not None
    filled = await in_group(desk, action="fill logo-mark", answers={"subject": "gore", "colors": "red"})
    assert filled.private
    assert "#" in sentence(await desk.imagine("a gory scene")), "in private nobody else sees it"
    assert not (await newest(desk)).audience.strict
    await in_group(desk, admin=True, action="pool_strict")
    assert not (await in_group(desk, command="imagine", argument="a gory scene --pay me")).private


async def test_who_was_refused_too_often_waits(desk: Desk) -> None:
    app = desk.stage.app
    event = desk.event(command="imagine", argument="a fake passport")
    for _ in range(3):
        await desk.chat.handle(event)
    assert await strikes(desk) == 1, "what the platform repeats counts once"
    await refused(desk, command="imagine", argument="a fox --wings 3")
    await desk.stage.lend(KEY)
    desk.stage.provider.script.append(Rejected())
    await desk.imagine("a fox")
    await work_off(Worker(app, 1))
    failed = await newest(desk)
    assert (failed.state, failed.reason, await strikes(desk)) == (State.FAILED, "moderated", 2)
    for number in range(8):
        assert sentence(await desk.imagine(f"a fake passport {number}"))
    waiting = await refused(desk, "10", "UTC", command="imagine", argument="a fox")
    assert waiting.private
    admin = await app.run(lambda work: work.users.resolve(Identity("telegram", "root", "root", "root", desk.locale)))
    await app.run(lambda work: work.users.add_role(admin.id, Role.ADMIN))
    assert "10" in sentence(await desk.says("root", command="user", argument="telegram:ada"))


async def test_a_miner_is_told_of_a_rest(desk: Desk) -> None:
    lent = await desk.lent()
    await desk.stage.app.run(lambda work: work.resources.change(lent, {"strike_limit": "1"}))
    desk.stage.provider.script.append(Rejected())
    await desk.says("bo", command="imagine", argument="a fox")
    await work_off(Worker(desk.stage.app, 1))
    told = await desk.notices("resource_rest")
    message = render(desk.chat.words, told["ada"], desk.locale)
    readable(Answer(message), desk.locale)
    assert f"#{lent.id}" in message.text
