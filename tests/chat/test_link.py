"""/link in both languages: from the code in one place to one account in both, and what a code is not good for."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bots.chat.notices import word
from bots.chat.types import Answer, Event, Person, Place
from core.mailbox.models import Sent
from core.words import LOCALES
from tests.chat.desk import Desk, readable, refused, seated, sentence


@pytest.fixture(params=LOCALES)
async def desk(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with seated(database_url, tmp_path, request.param) as opened:
        yield opened


async def in_discord(desk: Desk, locale: str, **said: object) -> Answer:
    """The answer to what the same person says on the other platform."""
    place = Place("c1", private=True)
    event = Event(f"d{next(desk.numbers)}", "discord", Person("77", "ada elsewhere", locale), place, message="5", **said)  # type: ignore[arg-type]  # by name
    answer = await desk.chat.handle(event)
    readable(answer, locale)
    return answer


async def shown_code(desk: Desk) -> str:
    """The code that "ada" is shown."""
    answer = await desk.says(command="link")
    await desk.chat.sent(answer, "5")
    assert answer.private
    assert answer.message is not None
    return answer.message.text.partition("<code>")[2].partition("</code>")[0]


async def test_one_account_in_both_places(desk: Desk) -> None:
    code = await shown_code(desk)
    asked = await in_discord(desk, desk.locale, command="link", argument=code.lower())
    assert asked.message is not None
    assert "ada" in sentence(asked)
    done = await in_discord(desk, desk.locale, action=asked.message.rows[0][0].action)
    assert "telegram" in sentence(done)
    assert "discord" in sentence(done)
    assert "100" in sentence(await in_discord(desk, desk.locale, command="balance"))
    assert "joined" in await told(desk)
    await refused_there(desk, asked.message.rows[0][0].action)


async def told(desk: Desk) -> list[str]:
    """The kinds of what "ada" is told in private, one after the other; each of them has words."""
    kinds = []
    async with desk.stage.app.begin() as work:
        while rows := [each for each in await work.mailbox.take_deliveries(["telegram"], 50) if each.address.chat == "ada"]:
            for row in rows:
                kinds.append(row.kind)
                assert row.kind == "reply" or (await word(desk.stage.app, row)).reply is not None
                await work.mailbox.delivered([Sent(row.id, "5")])
    return kinds


async def refused_there(desk: Desk, action: str) -> None:
    """A second press of the same button."""
    before = await desk.dump()
    assert (await in_discord(desk, desk.locale, action=action)).private
    assert await desk.dump() == before


async def test_a_code_that_was_said_in_a_group_is_void(desk: Desk) -> None:
    code = await shown_code(desk)
    place = Place("-100", private=False, community="-100")
    said = await desk.says("bo", command="link", argument=code, place=place)
    assert said.private
    await refused(desk, who="bo", command="link", argument=code)


@pytest.mark.parametrize("typed", ["AAAAA-AAAAA", "0", "x" * 3000, "user:1", "' OR 1=1", "²"])
async def test_what_is_no_code(desk: Desk, typed: str) -> None:
    await refused(desk, command="link", argument=typed)
    await refused(desk, action=f"join {typed[:40]}")


async def test_ones_own_code(desk: Desk) -> None:
    code = await shown_code(desk)
    await refused(desk, command="link", argument=code)


async def test_no_more_codes_than_an_hour_allows(desk: Desk) -> None:
    for _ in range(5):
        await shown_code(desk)
    await refused(desk, "5", command="link")
