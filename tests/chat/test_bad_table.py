"""The whole table of bad input in one place: each line in both chats as people say it there, in both languages; nothing has changed."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from bots.chat.types import Answer, Place, Platform
from core.db import MINUTE
from core.hints import LocalHints
from core.resources.models import handovers
from core.words import LOCALES
from core.worker import Worker
from tests.chat.desk import ANSWERS, FOREIGN, KEY, OTHER, Desk, refused, seated, sentence
from tests.chat.test_bad_presses import FROZEN, pages
from tests.stage import breaches, work_off

CHATS: tuple[Platform, ...] = ("telegram", "discord")
BROKEN = "sk-" + "x" * 20


@pytest.fixture(params=LOCALES)
async def desk(request: pytest.FixtureRequest, platform: Platform, database_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with seated(database_url, tmp_path, request.param, platform) as opened:
        yield opened


@pytest.fixture(params=CHATS)
def platform(request: pytest.FixtureRequest) -> Platform:
    return request.param  # type: ignore[no-any-return]  # pytest's


def wish(flags: str, prompt: str = "a cat", **options: str) -> dict[Platform, dict[str, Any]]:
    """The same wish, typed in Telegram and chosen in Discord."""
    return {
        "telegram": {"command": "imagine", "argument": f"{prompt} {flags}".strip()},
        "discord": {"command": "imagine", "options": {"prompt": prompt} | options},
    }


WISHES: dict[str, tuple[dict[Platform, dict[str, Any]], list[str]]] = {
    "unknown flag": (wish("--wings 3", prompt="a cat --wings 3"), ["--wings"]),
    "unknown model": (wish("--model dragon", model="dragon"), ["dragon", "core"]),
    "unknown provider": ({each: {"action": "lend dragon"} for each in CHATS}, ["dragon"]),
    "prompt empty": (wish("--ar 16:9", prompt=" ", ar="16:9"), ["/imagine"]),
    "prompt of marks alone": (wish("", prompt="\u200f \u200e"), ["/imagine"]),
    "prompt too long": (wish("", prompt="x" * 2_001), ["2001", "2000"]),
    "control characters": (wish("", prompt="a \x07 cat"), ["U+0007"]),
    "right-to-left tricks": (wish("", prompt="a cat \u202egnp.exe"), ["U+202E"]),
    "what is left out is read, too": (wish("--no \u2066x", no="\u2066x"), ["no", "U+2066"]),
}


async def test_wishes(desk: Desk) -> None:
    for said, told in WISHES.values():
        await refused(desk, *told, **said[desk.platform])


async def test_keys(desk: Desk) -> None:
    """Typed in private; in Discord, whose rules keep keys out of messages, on the form behind the link."""
    await desk.stage.lend(OTHER)
    drafted = await desk.drafted()
    lent = {"en": "lent already", "zh": "已被出借"}[desk.locale]
    if desk.platform == "telegram":
        for key, told in ((BROKEN, "Stability AI"), (FOREIGN, "OpenAI"), (OTHER, lent)):
            answer = await refused(desk, told, text=key)
            assert answer.delete_event and key not in repr(answer)
    token = await desk.stage.app.run(lambda work: work.resources.open_handover(drafted.id, 10))
    before = await desk.dump()
    async with pages(desk) as client:
        for key, told in ((BROKEN, "Stability AI"), (FOREIGN, "OpenAI"), (OTHER, lent)):
            answered = await client.post(f"/handover/{token}", data={"key": key})
            assert answered.status_code == 409 and told in answered.text and key not in answered.text
            assert await desk.dump() == before
        async with desk.stage.app.begin() as work:
            await work.connection.execute(update(handovers).values(expires_at=work.now - MINUTE))
        before = await desk.dump()
        expired = await client.post(f"/handover/{token}", data={"key": KEY})
        assert expired.status_code == 410 and "/lend" in expired.text
    assert await desk.dump() == before


async def test_limits_and_forms(desk: Desk) -> None:
    """Question by question in Telegram, all at once in Discord's modal."""
    lent, hints = await desk.lent(), desk.stage.app.hints
    assert isinstance(hints, LocalHints)
    for text in ("0", "-5", "9" * 20):
        if desk.platform == "telegram":
            before = await desk.dump()
            answer = await desk.press(f"limits {lent.id}")
            for given in (ANSWERS | {"day_limit": text}).values():
                answer = await desk.says(text=given)
            assert text in sentence(answer) and "/resources" in sentence(answer)
            assert await desk.dump() == before
        else:
            await refused(desk, text, "/resources", action=f"set {lent.id}", answers=ANSWERS | {"day_limit": text})
    await desk.press(f"limits {lent.id}")
    hints._texts = {key: (0.0, text) for key, (_, text) in hints._texts.items()}
    await refused(desk, "/help", **({"text": "90"} if desk.platform == "telegram" else {"action": "form 90"}))


async def test_buttons_of_somebody_else(desk: Desk) -> None:
    theirs, other = await desk.stage.lend(OTHER), await desk.stage.person("cora", 100_000)
    (picture,) = await desk.stage.submit("theirs", user=other)
    await work_off(Worker(desk.stage.app, 1))
    group = Place("-100", private=False, community="-100")
    for word in ("pause", "limits", "withdraw", "revoke"):
        await refused(desk, f"#{theirs.id}", "/resources", action=f"{word} {theirs.id}")
    for word in ("again", "vary", "upscale", "report"):
        await refused(desk, f"#{picture.id}", place=group, action=f"{word} {picture.id}")


async def test_twice(desk: Desk) -> None:
    """Two presses at once, and an update that the platform repeats: one effect, and after it nothing changes."""
    await desk.stage.submit("mine", user=desk.user)
    presses = await asyncio.gather(*(desk.chat.handle(desk.event(action="cancel 1")) for _ in range(2)))
    assert all(map(sentence, presses)) and sentence(presses[0]) != sentence(presses[1]), "the later one is told how it is by now"
    event = desk.event(**wish("")[desk.platform])
    assert sentence(await desk.chat.handle(event))
    before = await desk.dump()
    assert len(before["generations"]) == 2 and len(before["holds"]) == 2
    assert [await desk.chat.handle(event) for _ in range(2)] == [Answer(), Answer()]
    assert await desk.dump() == before
    assert not breaches(await desk.stage.audit())


async def test_the_banned(desk: Desk) -> None:
    await desk.stage.app.run(lambda work: work.users.freeze(desk.user.id, True))
    for said in (wish("")[desk.platform], {"command": "lend"}, {"command": "topup"}, {"text": "hello"}):
        await refused(desk, FROZEN[desk.locale], **said)
