"""Forms, buttons and links that are wrong, old, used, somebody else's, or pressed twice; in both languages, and nothing has changed."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient
from sqlalchemy import update

from api.app import make_api
from bots.chat.types import Answer, Place
from core.db import MINUTE
from core.generations.models import State as GenerationState
from core.hints import LocalHints
from core.ledger.models import wallet
from core.mailbox.models import Received
from core.resources.models import State, handovers
from core.words import LOCALES
from core.worker import Worker
from tests.chat.desk import ANSWERS, FOREIGN, KEY, OTHER, Desk, refused, seated, sentence
from tests.stage import PRICE, breaches, work_off


@pytest.fixture(params=LOCALES)
async def desk(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with seated(database_url, tmp_path, request.param) as opened:
        yield opened


# The form of limits

LIMITS = [
    *((name, text) for name in ("price_percent", "max_concurrency", "per_minute", "day_limit")
      for text in ("0", "-5", "99999999999999999999", "many", "5.5.5", "NaN", "1e30", "½")),
    ("price_percent", "9"), ("price_percent", "101"), ("price_percent", "50.5"), ("max_concurrency", "101"), ("per_minute", "1001"),
    ("day_limit", "0.999"), ("day_limit", "1000001"), ("hours", "9"), ("hours", "25:00-26:00"), ("hours", "soon"),
]  # fmt: skip


async def test_a_limit_that_cannot_be(desk: Desk) -> None:
    """A modal sends every answer at once."""
    lent = await desk.lent()
    for name, text in LIMITS:
        await refused(desk, text[:20], "/resources", action=f"set {lent.id}", answers=ANSWERS | {name: text})


@pytest.mark.parametrize(
    ("name", "text"), [("price_percent", "0"), ("max_concurrency", "-1"), ("per_minute", "many"), ("day_limit", "1e30")]
)
async def test_a_limit_that_cannot_be_typed_question_by_question(desk: Desk, name: str, text: str) -> None:
    lent = await desk.lent()
    before = await desk.dump()
    assert "1/5" in sentence(await desk.press(f"limits {lent.id}"))
    given = list((ANSWERS | {name: text}).values())
    for number, each in enumerate(given[:-1], start=2):
        assert f"{number}/5" in sentence(await desk.says(text=each))
    told = sentence(await desk.says(text=given[-1]))
    assert text in told and "/resources" in told
    assert await desk.dump() == before
    assert "/imagine" in sentence(await desk.says(text="90"))  # the form is over


async def test_a_limit_is_named_as_it_was_asked_for(desk: Desk) -> None:
    lent = await desk.lent()
    answer = await refused(desk, action=f"set {lent.id}", answers=ANSWERS | {"price_percent": "0"})
    assert {"en": "Price, % of the list price", "zh": "价格（标价的百分比）"}[desk.locale] in sentence(answer)


async def test_a_scope_that_is_none(desk: Desk) -> None:
    lent = await desk.lent()
    await refused(desk, action=f"set {lent.id}", answers=ANSWERS | {"scope": "galaxy"})


async def test_a_form_that_has_expired_or_was_left(desk: Desk) -> None:
    lent = await desk.lent()
    before, hints = await desk.dump(), desk.stage.app.hints
    assert isinstance(hints, LocalHints)
    await desk.press(f"limits {lent.id}")
    hints._texts = {key: (0.0, text) for key, (_, text) in hints._texts.items()}
    await refused(desk, "/help", text="90")
    await refused(desk, "/help", action="form 90")
    await desk.press(f"limits {lent.id}")
    await desk.press("leave_form")
    await refused(desk, "/help", text="90")
    assert await desk.dump() == before


async def test_a_form_is_its_askers_alone(desk: Desk) -> None:
    lent = await desk.lent()
    await desk.press(f"limits {lent.id}")
    await refused(desk, "/help", who="bo", text="90")
    assert "2/5" in sentence(await desk.says(text="90"))


async def test_a_forms_button_pressed_twice_answers_one_question(desk: Desk) -> None:
    lent = await desk.lent()
    asked = await desk.press(f"limits {lent.id}")
    assert asked.message is not None
    keep = asked.message.rows[0][0].action
    assert "2/5" in sentence(await desk.press(keep))
    assert "3/5" not in sentence(await desk.press(keep))  # else the percentage is the number of calls at once


# Buttons


async def _delivered(desk: Desk) -> int:
    """A picture of somebody else's."""
    other = await desk.stage.person("cora", 100_000)
    (made,) = await desk.stage.submit("theirs", user=other)
    await work_off(Worker(desk.stage.app, 1))
    assert (await desk.stage.generation(made.id)).state is GenerationState.DELIVERED
    return made.id


async def test_a_button_of_somebody_elses_resource(desk: Desk) -> None:
    theirs = await desk.stage.lend(KEY)
    for word in ("resource", "limits", "pause", "resume", "scope", "withdraw", "revoke", "hand", "set"):
        tail = {"scope": " own", "withdraw": " yes", "revoke": " yes"}.get(word, "")
        await refused(desk, f"#{theirs.id}", "/resources", action=f"{word} {theirs.id}{tail}", answers=ANSWERS if word == "set" else {})
        await refused(desk, "#0", "/resources", action=f"{word} x")
        await refused(desk, "#0", "/resources", action=word)


async def test_a_button_of_somebody_elses_picture(desk: Desk) -> None:
    await desk.stage.lend(KEY)
    number = await _delivered(desk)
    for word in ("again", "vary", "upscale", "report", "cancel"):
        answer = await refused(desk, f"#{number}", action=f"{word} {number}")
        assert "cat" not in sentence(answer)


@pytest.mark.parametrize("number", ["²", "①", "1²"])
async def test_a_number_that_only_looks_like_one(desk: Desk, number: str) -> None:
    await refused(desk, "/resources", action=f"resource {number}")


async def test_what_cannot_be_cancelled_or_varied_now(desk: Desk) -> None:
    await desk.stage.lend(KEY)
    (made,) = await desk.stage.submit("mine", user=desk.user)
    state = {"en": "waiting", "zh": "排队中"}[desk.locale]
    assert state in sentence(await desk.press(f"vary {made.id}"))
    await work_off(Worker(desk.stage.app, 1))
    await refused(desk, f"#{made.id}", action=f"cancel {made.id}")


@pytest.mark.parametrize("action", ["lend nonsense", "attest nonsense 1"])
async def test_a_provider_that_nobody_knows(desk: Desk, action: str) -> None:
    await refused(desk, "nonsense", action=action)


async def test_a_rule_that_has_changed_is_shown_again_and_nothing_is_attested(desk: Desk) -> None:
    before = await desk.dump()
    for action in ("attest stability 1999-01-01", "attest stability"):
        answer = await desk.press(action)
        assert answer.message is not None
        assert answer.message.rows[0][0].action == "attest stability 2025-07-31"
    assert await desk.dump() == before


async def test_one_too_many_resources(desk: Desk) -> None:
    desk.stage.app.settings.resources_per_miner = 1
    await desk.lent()
    before = await desk.dump()
    told = sentence(await desk.press("attest stability 2025-07-31"))
    assert {"en": "Withdraw one first", "zh": "请先撤回一个"}[desk.locale] in told
    assert await desk.dump() == before


# Links


@asynccontextmanager
async def pages(desk: Desk) -> AsyncIterator[AsyncClient]:
    """A browser that reads the language of the desk."""
    async with AsyncClient(transport=ASGITransport(make_api(desk.stage.app)), base_url="http://ours") as client:
        client.headers["Accept-Language"] = {"en": "en-GB,en;q=0.9", "zh": "zh-CN,zh;q=0.9"}[desk.locale]
        yield client


@pytest.mark.parametrize("end", ["used", "expired", "replaced", "made up"])
async def test_a_link_that_has_ended(desk: Desk, end: str) -> None:
    app, drafted = desk.stage.app, await desk.drafted()
    token = await app.run(lambda work: work.resources.open_handover(drafted.id, 10))
    async with pages(desk) as client:
        if end == "used":
            assert (await client.post(f"/handover/{token}", data={"key": OTHER})).status_code == 200
        elif end == "expired":
            async with app.begin() as work:
                await work.connection.execute(update(handovers).values(expires_at=work.now - MINUTE))
        elif end == "replaced":
            await app.run(lambda work: work.resources.open_handover(drafted.id, 10))
        else:
            token = "made-up"
        before = await desk.dump()
        for answer in (await client.get(f"/handover/{token}"), await client.post(f"/handover/{token}", data={"key": KEY})):
            assert answer.status_code == 410
            _readable_page(desk, answer.text, "/lend")
    assert await desk.dump() == before


async def test_a_wrong_key_on_the_form(desk: Desk) -> None:
    app, drafted = desk.stage.app, await desk.drafted()
    await desk.stage.lend(OTHER)
    token = await app.run(lambda work: work.resources.open_handover(drafted.id, 10))
    before = await desk.dump()
    async with pages(desk) as client:
        client.headers["Accept-Language"] = {"en": "en", "zh": "zh-TW,zh"}[desk.locale]
        for key in ("nonsense", "", FOREIGN, OTHER, "x" * 3_000, "x" * 10_000):
            answer = await client.post(f"/handover/{token}", data={"key": key})
            assert answer.status_code in (409, 413)
            _readable_page(desk, answer.text, {"en": "Nothing was kept", "zh": "未保存任何内容"}[desk.locale])
            assert not key or key not in answer.text
            assert await desk.dump() == before
        assert (await client.post(f"/handover/{token}", data={"key": KEY})).status_code == 200  # the link is still good


def _readable_page(desk: Desk, page: str, told: str) -> None:
    words = re.sub(r"<[^>]+>", " ", page)
    assert told in words
    assert bool(re.search(r"[\u4e00-\u9fff]", words)) is (desk.locale == "zh")
    assert bool(re.search(r"[A-Za-z']+(?: [A-Za-z']+){2,}", words)) is (desk.locale == "en")


# Twice


async def _twice(desk: Desk, **said: Any) -> list[Answer]:
    """The answers to one event that arrives four times at once, and once more."""
    event = desk.event(**said)
    answers = await asyncio.gather(*(desk.chat.handle(event) for _ in range(4)))
    return [*answers, await desk.chat.handle(event)]


@pytest.mark.parametrize(
    "said",
    [
        {"command": "imagine", "argument": "a cat"},
        {"command": "imagine", "argument": "a cat --ar 7:1"},
        {"action": "attest stability 2025-07-31"},
        {"command": "start"},
        {"command": "balance"},
    ],
)
async def test_an_update_twice_is_answered_once(desk: Desk, said: dict[str, str]) -> None:
    before = await desk.dump()
    answers = await _twice(desk, **said)
    assert sum(answer != Answer() for answer in answers) == 1
    after = await desk.dump()
    grown = {name: len(after[name]) - len(before[name]) for name in ("generations", "holds", "entries", "resources", "handovers")}
    drawn, attested = said.get("argument") == "a cat", said.get("action") is not None
    assert grown == {"generations": drawn, "holds": drawn, "entries": drawn, "resources": attested, "handovers": attested}
    held = PRICE if drawn else 0
    assert await desk.stage.balance(wallet(desk.user.id)) == 100_000 - held


GROUP = Place("-100", private=False, community="-100")


@pytest.mark.parametrize(
    "said",
    [
        {"place": GROUP, "text": "hello there"},
        {"place": GROUP, "command": "nonsense"},
        {"command": "start", "hasty": True},
        {"place": GROUP, "command": "start"},
        {"command": "imagine", "argument": "a cat"},
        {"command": "imagine", "argument": "a cat --ar 7:1"},
        {"action": "limits 0"},
        {"action": "nonsense"},
        {"text": "hello"},
        {"text": FOREIGN},
    ],
)
async def test_what_was_answered_does_not_come_back(desk: Desk, said: dict[str, Any]) -> None:
    """An update that is not marked is leased again and again, and the later ones of its chat never."""
    if hasty := said.get("hasty", False):
        desk.stage.app.settings.events_per_minute = 1
        await desk.says(command="start")
    event = desk.event(**{name: value for name, value in said.items() if name != "hasty"})
    events = [Received(each, event.place.chat, b"veiled") for each in (event.id, "next")]
    await desk.stage.app.run(lambda work: work.mailbox.store("telegram", events))
    answer = await desk.chat.handle(event)
    assert (answer.toast is not None) is hasty
    taken = await desk.stage.app.run(lambda work: work.mailbox.take_events("telegram", 10))
    assert [each.event_id for each in taken] == ["next"]


DONE = {
    "cancel 1": ("Credits are back", "点数已退回"), "pause 1": ("Price: ", "价格："),
    "withdraw 1 yes": ("Thank you", "感谢"), "revoke 1 yes": ("is wiped", "密钥已清除"),
}  # fmt: skip
"""What is said in both languages to who was first."""


@pytest.mark.parametrize("action", DONE)
async def test_two_presses_of_one_button_at_once_have_one_effect(desk: Desk, action: str) -> None:
    await desk.lent()
    await desk.stage.submit("mine", user=desk.user)
    answers = await asyncio.gather(*(desk.chat.handle(desk.event(action=action)) for _ in range(6)))
    words = [sentence(answer) for answer in answers]
    assert all(words)
    assert sum(DONE[action][LOCALES.index(desk.locale)] in each for each in words) == 1
    dump = await desk.dump()
    if action.startswith("cancel"):
        assert await desk.stage.balance(wallet(desk.user.id)) == 100_000
        assert (await desk.stage.generation(1)).state is GenerationState.CANCELLED
    else:
        async with desk.stage.app.read() as work:
            assert (await work.resources.get(1)).state is {"p": State.PAUSED, "w": State.WITHDRAWN, "r": State.REVOKED}[action[0]]
        assert len(dump["sealed_secrets"]) == (1 if action.startswith("pause") else 0)
    assert not breaches(await desk.stage.audit())


async def test_two_presses_of_the_rule_attest_it_once(desk: Desk) -> None:
    await asyncio.gather(*(desk.chat.handle(desk.event(action="attest stability 2025-07-31")) for _ in range(2)))
    assert len((await desk.dump())["resources"]) == 1


# The frozen

MOVES: list[dict[str, str]] = [
    *({"command": name} for name in ("imagine", "lend", "link", "topup", "dispute")),
    *({"action": action} for action in ("attest stability 2025-07-31", "resume 1", "hand 1", "set 1", "again 1", "form 90")),
    {"command": "imagine", "argument": "a cat"}, {"text": "hello"}, {"text": KEY},
]  # fmt: skip


FROZEN = {"en": "account is frozen", "zh": "账户已被冻结"}


async def test_nothing_moves_for_a_frozen_user_who_may_still_read(desk: Desk) -> None:
    await desk.lent(OTHER)
    await desk.stage.submit("mine", user=desk.user)
    await desk.stage.app.run(lambda work: work.users.freeze(desk.user.id, True))
    frozen = FROZEN[desk.locale]
    for said in MOVES:
        await refused(desk, frozen, **said)
    before = await desk.dump()
    for command in ("start", "help", "terms", "privacy", "language", "balance", "history", "earnings", "resources"):
        answer = await desk.says(command=command)
        assert answer.message is not None and frozen not in sentence(answer)
    assert await desk.dump() == before


@pytest.mark.parametrize("why", ["frozen", "hasty"])
async def test_a_pasted_key_is_deleted_whoever_pastes_it(desk: Desk, why: str) -> None:
    if why == "frozen":
        await desk.stage.app.run(lambda work: work.users.freeze(desk.user.id, True))
    else:
        desk.stage.app.settings.events_per_minute = 1
        await desk.says(command="start")
    assert (await desk.says(text=KEY)).delete_event


async def test_who_is_too_fast_is_asked_to_wait(desk: Desk) -> None:
    desk.stage.app.settings.events_per_minute = 2
    for _ in range(2):
        await desk.says(command="start")
    await refused(desk, {"en": "wait", "zh": "等"}[desk.locale], command="imagine", argument="a cat")
    assert (await desk.says("bo", command="start")).message is not None
