"""Progress that moves and never stands before its result, and what is said when there is no picture."""

import io
import random
import re
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import update

from bots.chat.delivery import BACK_OFF, PRIVATE_ONLY, fit
from bots.chat.notices import EDIT_EVERY
from bots.chat.pace import Bucket, Pace, Throttle
from bots.chat.types import Picture, SendFailed
from core.address import Address
from core.db import SECOND
from core.generations.models import State as GenerationState
from core.generations.models import attempts
from core.mailbox.models import State, outbox
from core.providers.base import Rejected
from core.users.models import Identity
from core.words import LOCALES
from tests.chat.post import Post, finish, posted, running


@pytest.fixture
async def post(database_url: str, tmp_path: Path) -> AsyncIterator[Post]:
    async with posted(database_url, tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("locale", LOCALES)
async def test_progress_moves_and_the_result_takes_its_place(post: Post, locale: str) -> None:
    made, worker = await running(post, locale)
    chat = made.address
    assert chat is not None
    assert {"en": "place in line: 1", "zh": "排队位置：1"}[locale] in post.sender.of(chat)[0]
    for _ in range(4):
        await post.later(EDIT_EVERY / SECOND)
        async with post.stage.app.begin() as work:
            await work.connection.execute(update(attempts).values(started_at=attempts.c.started_at - EDIT_EVERY))
        await post.all()
    edits = post.sender.of(chat, "edit")
    assert len(edits) == 4 and len(set(edits)) == 4, "whoever did not wait long in line is not told at once that it is drawn"
    bars = [edit.count("▰") for edit in edits]
    assert bars == sorted(bars) and bars[0] < 4 and bars[-1] == 9
    assert all(edit.count("▰") + edit.count("▱") == 10 for edit in edits)
    seconds = re.search(r"(\d+) " + {"en": "s", "zh": "秒"}[locale], edits[-1])
    assert seconds is not None and 20 <= int(seconds[1]) < 30, "four times five, and what a slow machine adds"
    await finish(post, worker)
    await post.all()
    assert [kind for kind, where, _ in post.sender.calls if where == chat.chat] == ["send", *["edit"] * 4, "send", "delete"]
    progress, result = await post.rows(chat)
    assert len(post.sender.pictures) == 1 and post.sender.of(chat, "delete") == [progress.message] != [result.message]
    await post.later(3_600)
    await post.all()
    assert len(post.sender.of(chat, "send", "edit", "delete")) == 7
    assert {each.state for each in await post.rows(chat)} == {State.DONE}


async def test_progress_is_edited_no_more_often_than_agreed(post: Post) -> None:
    made, worker = await running(post)
    chat = made.address
    assert chat is not None
    edits = len(post.sender.of(chat, "edit"))
    for _ in range(20):
        await post.all()
    assert len(post.sender.of(chat, "edit")) == edits
    assert 0 < await post.due_in(chat) <= EDIT_EVERY / SECOND
    post.delivery._throttles["telegram"] = Throttle(Pace(25, Bucket(4, 60.0), Bucket(4, 60.0)))
    for _ in range(6):
        await post.move(EDIT_EVERY / SECOND + 60)
        await post.all()
    assert len(post.sender.of(chat, "edit")) == edits + 2  # half of what the chat takes
    await finish(post, worker)
    await post.all()
    assert len(post.sender.pictures) == 1  # and the result has its place


@pytest.mark.parametrize(
    "failure", [SendFailed("later", "Flood control", 3_600.0), SendFailed("gone", "message to edit not found"), SendFailed("refused", "no")]
)
async def test_a_result_is_never_lost_behind_its_progress(post: Post, failure: SendFailed) -> None:
    made, worker = await running(post)
    chat = made.address
    assert chat is not None
    post.sender.trouble[chat.chat] = deque([failure])
    await post.later(EDIT_EVERY / SECOND)
    await post.all()
    await finish(post, worker)
    for _ in range(3):
        await post.all()
        await post.later(3_600)
    assert len(post.sender.pictures) == 1
    assert len(post.sender.of(chat)) == 2
    assert not [each for each in await post.rows(chat) if each.state in (State.WAITING, State.LIVE)]


async def test_the_progress_message_stays_until_the_result_has_arrived(post: Post) -> None:
    made, worker = await running(post)
    chat = made.address
    assert chat is not None
    await finish(post, worker)
    post.sender.trouble[chat.chat] = deque([SendFailed("later", "trouble", 60.0)])
    await post.all()
    assert (post.sender.of(chat, "delete"), len(post.sender.pictures)) == ([], 0)
    await post.later(60)
    post.sender.trouble[chat.chat] = deque([None, SendFailed("gone", "message to delete not found")])
    await post.all()
    await post.later(3_600)
    await post.all()
    assert (len(post.sender.pictures), len(post.sender.of(chat))) == (1, 2)
    assert {each.state for each in await post.rows(chat)} == {State.DONE}


async def test_a_message_that_one_person_alone_sees_is_neither_edited_nor_deleted(post: Post) -> None:
    made, worker = await running(post)
    chat = made.address
    assert chat is not None
    async with post.stage.app.begin() as work:
        await work.connection.execute(update(outbox).values(message=PRIVATE_ONLY))
    edits = len(post.sender.of(chat, "edit"))
    await post.later(EDIT_EVERY / SECOND)
    await post.all()
    await finish(post, worker)
    await post.all()
    assert (len(post.sender.of(chat, "edit")), post.sender.of(chat, "delete"), len(post.sender.pictures)) == (edits, [], 1)


async def test_a_wait_that_an_edit_was_told_holds_for_the_chats_messages_too(post: Post) -> None:
    made, worker = await running(post)
    chat = made.address
    assert chat is not None
    post.sender.trouble[chat.chat] = deque([SendFailed("later", "Flood control", 37.0)])
    await post.later(EDIT_EVERY / SECOND)
    await post.all()
    await post.say(chat, "hello")
    tries = post.sender.tries
    await post.all()
    held_back = post.sender.tries == tries
    await finish(post, worker)
    assert held_back
    await post.later(37)
    await post.all()
    assert post.sender.of(chat)[1] == "hello"


@pytest.mark.parametrize("locale", LOCALES)
async def test_a_refused_picture_is_told_with_its_reason_in_the_readers_language(post: Post, locale: str) -> None:
    made, worker = await running(post, locale)
    post.stage.provider.script.append(Rejected())
    await finish(post, worker)
    await post.all()
    assert made.address is not None
    said = post.sender.of(made.address)[-1]
    assert {"en": "refused this content", "zh": "拒绝了该内容"}[locale] in said
    assert {"en": "Nothing was charged", "zh": "未收取费用"}[locale] in said
    assert (await post.stage.generation(made.id)).state is GenerationState.FAILED


@pytest.mark.parametrize("locale", LOCALES)
async def test_a_picture_that_is_gone_is_told_instead_of_sent(post: Post, locale: str) -> None:
    made, worker = await running(post, locale)
    await finish(post, worker)
    await post.stage.app.blobs.delete((await post.stage.generation(made.id)).blob or "")
    await post.all()
    assert made.address is not None
    assert {"en": "not there any more", "zh": "图片已不存在"}[locale] in post.sender.of(made.address)[-1]
    assert not post.sender.pictures


async def test_a_store_that_does_not_answer_is_waited_for(post: Post) -> None:
    made, worker = await running(post)
    await finish(post, worker)
    blob = (await post.stage.generation(made.id)).blob
    file = post.stage.app.settings.data_dir / "blobs" / str(blob)
    kept = file.read_bytes()
    file.unlink()
    file.symlink_to(file)  # leads nowhere: neither there nor gone
    await post.all()
    assert not post.sender.pictures
    file.unlink()
    file.write_bytes(kept)
    await post.later(BACK_OFF[0])
    await post.all()
    assert [each.data for each in post.sender.pictures] == [kept]


async def test_each_owner_is_told_in_their_own_language_about_a_key(post: Post) -> None:
    stage = post.stage
    reader = await stage.app.run(lambda work: work.users.resolve(Identity("telegram", "9", "Chen", "9", "zh")))
    for number, owner in enumerate((stage.miner, reader)):
        await stage.lend(f"sk-{number}111111111", owner)
    await post.all()
    assert "key works" in post.sender.of(Address("telegram", "miner"))[0]
    assert "密钥可用" in post.sender.of(Address("telegram", "9"))[0]


def _png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.frombytes("RGB", (width, height), random.Random(1).randbytes(width * height * 3)).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_picture_is_made_to_fit_and_one_that_fits_is_left_alone() -> None:
    data = _png(300, 200)
    whole = Picture(data, "image/png", "aetherflow", spoiler=True)
    assert fit(whole, len(data)) is whole
    for limit in (len(data) - 1, 40_000, 9_000):
        smaller = fit(whole, limit)
        assert len(smaller.data) <= limit and (smaller.media_type, smaller.name, smaller.spoiler) == ("image/jpeg", "aetherflow", True)
        with Image.open(io.BytesIO(smaller.data)) as image:
            assert image.format == "JPEG"
            assert image.width / image.height == pytest.approx(1.5, rel=0.02)
