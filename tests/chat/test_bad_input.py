"""Bad input in both languages: a sentence that the reader understands, what to do next, and nothing has changed."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bots.chat.notices import word
from bots.chat.rendering import render
from bots.chat.types import Answer, Place
from core.providers.base import Fault, Probe
from core.resources.models import State
from core.words import LOCALES
from core.worker import Worker
from tests.chat.desk import DO, FOREIGN, KEY, Desk, readable, refused, seated, sentence
from tests.stage import PRICE


@pytest.fixture(params=LOCALES)
async def desk(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with seated(database_url, tmp_path, request.param) as opened:
        yield opened


# /imagine


WISHES = [
    ("a cat --wings 3", ["--wings", "--ar"]), ("a cat --ar", ["--ar"]), ("a cat --ar --seed 1", ["--ar"]),
    ("a cat --model dragon", ["dragon", "core", "ultra"]), ("a cat --model <b>x</b>", ["<b>x</b>"]),
    ("a cat --model upscale-fast", ["upscale-fast", "core"]), ("a cat --ar 7:1", ["7:1", "16:9"]),
    ("a cat --seed many", ["many", "4294967294"]), ("a cat --seed -1", ["-1"]), ("a cat --seed 4294967295", ["4294967295"]),
    ("a cat --seed 99999999999999", ["99999999999999"]), ("a cat --seed ٣", ["٣"]), ("a cat --style gothic", ["gothic", "anime"]),
    ("a cat --quality high", ["core", "--quality"]), ("a cat --model gpt-image-2 --seed 7", ["gpt-image-2", "--seed"]),
    ("a cat --model gpt-image-2 --quality best", ["best", "medium"]), ('a cat --no "open', ["--no"]),
    ("", ["/imagine"]), ("  \n ", ["/imagine"]), ("--ar 16:9", ["/imagine"]), ("x" * 2_001, ["2001", "2000"]),
    ("a cat --no " + "x" * 2_001, ["no", "2001", "2000"]),
    *((f"a {mark} cat", [f"U+{ord(mark):04X}"]) for mark in "\x00\x07\x1b\x7f\u200b\u200d\u202e\u2066\ue000\ud800"),
    ("a cat --no \u202egnp.exe", ["no", "U+202E"]),
]  # fmt: skip
OPTIONS: list[tuple[dict[str, str], list[str]]] = [
    ({"prompt": "a cat", "model": "dragon"}, ["dragon", "core"]), ({"prompt": " "}, ["/imagine"]), ({"model": "core"}, ["/imagine"]),
    ({"prompt": "a cat", "seed": "-5"}, ["-5"]), ({"prompt": "a cat --wings 3"}, ["--wings", "--ar"]), ({"prompt": "a cat --ar"}, ["--ar"]),
    ({"prompt": "a cat --seed 3", "seed": "-5"}, ["-5"]), ({"prompt": "a cat", "style": "gothic"}, ["gothic"]),
]  # fmt: skip


async def test_a_wish_that_cannot_be_drawn(desk: Desk) -> None:
    for argument, told in WISHES:
        await refused(desk, *told, command="imagine", argument=argument)
    for options, told in OPTIONS:
        await refused(desk, *told, command="imagine", options=options)


async def test_a_refused_wish_leaves_no_picture_behind(desk: Desk) -> None:
    await refused(desk, "dragon", command="imagine", argument="a cat --model dragon", attachment=b"\x89PNG\r\n")


async def test_what_is_quoted_is_short(desk: Desk) -> None:
    assert len(sentence(await desk.imagine("a cat --model " + "x" * 3_000))) < 600


async def test_half_a_character_is_answered_too(desk: Desk) -> None:
    assert sentence(await desk.imagine("a cat --model \ud800"))


async def test_too_poor_and_too_many(desk: Desk) -> None:
    await desk.stage.app.grant(desk.user.id, -100_000 + PRICE - 1, "taken")
    answer = await refused(desk, "4.5", "4.499", command="imagine", argument="a cat")
    assert answer.message is not None and "balance" in [key.action for row in answer.message.rows for key in row]
    await desk.stage.app.grant(desk.user.id, 100_000, "given")
    desk.stage.app.settings.queued_per_user = 1
    await desk.imagine("a cat")
    await refused(desk, "1", "/cancel", command="imagine", argument="a dog")


@pytest.mark.parametrize("said", [{"command": "nonsense"}, {"text": "hello there"}, {"action": "nonsense 1"}, {"action": "form 90"}])
async def test_what_nobody_knows(desk: Desk, said: dict[str, str]) -> None:
    await refused(desk, "/help", **said)


# Keys


@pytest.mark.parametrize("key", ["sk-" + "x" * 20, FOREIGN])
async def test_a_key_of_another_shape_is_deleted_and_not_kept(desk: Desk, key: str) -> None:
    await desk.drafted()
    answer = await refused(desk, "Stability AI", *(["OpenAI"] if key == FOREIGN else []), text=key)
    assert answer.delete_event


async def test_a_key_that_is_lent_already_is_deleted_and_not_kept_again(desk: Desk) -> None:
    await desk.stage.lend(KEY)
    await desk.drafted()
    assert (await refused(desk, text=KEY)).delete_event


@pytest.mark.parametrize("text", [FOREIGN, f"use {KEY} please"])
async def test_a_key_that_nobody_asked_for(desk: Desk, text: str) -> None:
    answer = await refused(desk, "/lend", text=text)
    assert answer.delete_event and KEY not in repr(answer)


@pytest.mark.parametrize(
    "said", [{"text": KEY}, {"command": "imagine", "argument": f"a cat {KEY}"}, {"command": "lend", "options": {"k": KEY}}]
)
async def test_a_key_in_a_group(desk: Desk, said: dict[str, Any]) -> None:
    await desk.drafted()
    answer = await refused(desk, "/lend", place=Place("-100", private=False), **said)
    assert answer.delete_event


@pytest.mark.parametrize(("fault", "why"), [(Fault.BAD_KEY, ("not valid", "无效")), (Fault.EMPTY, ("no credit left", "余额不足"))])
async def test_a_key_that_its_provider_refuses_is_wiped_and_asked_for_again(desk: Desk, fault: Fault, why: tuple[str, str]) -> None:
    drafted = await desk.drafted()
    desk.stage.provider.probes[KEY] = Probe(fault)
    answer = await desk.says(text=KEY)
    assert answer.delete_event
    await desk.chat.sent(answer, "6")
    await Worker(desk.stage.app, 1).probe()
    assert (await desk.dump())["sealed_secrets"] == []
    rows = await desk.stage.app.run(lambda work: work.mailbox.take_deliveries(["telegram"], 10))
    (notice,) = [each for each in rows if each.kind == "resource_refused"]
    async with desk.stage.app.read() as work:
        wording = await word(desk.stage.app, notice)
        assert (await work.resources.get(drafted.id)).state is State.DRAFT
    assert wording.reply is not None and wording.reply.text is not None
    answer = Answer(render(desk.chat.words, wording.reply, desk.locale))
    readable(answer, desk.locale)
    assert why[LOCALES.index(desk.locale)] in sentence(answer) and re.search(DO[desk.locale], sentence(answer).lower())


@pytest.mark.parametrize(
    "said",
    [{"command": "imagine", "argument": "a cat --preset lo\0go"}, {"command": "preset", "argument": "lo\0go"}, {"action": "preset lo\0"}],
)
async def test_a_zero_byte_is_no_error(desk: Desk, said: dict[str, str]) -> None:
    assert (await desk.says(**said)).message is not None


async def test_what_is_not_drawn_here_costs_nothing(desk: Desk) -> None:
    before = await desk.dump()
    answer = await desk.says(command="imagine", argument="a fake passport")
    after = await desk.dump()
    assert answer.private and "fake passport" in sentence(answer)
    assert {name for name in before if before[name] != after[name]} == {"users"}, "a strike, and nothing else"
