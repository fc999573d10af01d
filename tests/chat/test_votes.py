"""Votes in both chats and languages: the rule, the message with its buttons and its progress, and what becomes of it."""

import io
import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import select, update

from bots.chat.types import Answer, Event, Person, Place
from core.address import Address
from core.blobs import BlobNotFound
from core.generations.pages import page
from core.mailbox.models import outbox
from core.pools.models import ballots, pool
from core.words import LOCALES
from core.worker import Worker
from tests.chat.desk import KEY, Desk, readable, seated, sentence
from tests.chat.post import Recorder, unhurried
from tests.stage import work_off

CHATS = {"telegram": ("-100", "-100"), "discord": ("c1", "900")}
"""The chat and the community of each platform's group."""
NUMBERS = itertools.count()


@pytest.fixture(params=LOCALES)
async def desk(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with seated(database_url, tmp_path, request.param) as opened:
        yield opened


async def say(desk: Desk, who: str, *, admin: bool = False, **said: object) -> Answer:
    """Something said in the group of the desk's platform, whose answer is in the right language."""
    chat, community = CHATS[desk.platform]
    place = Place(chat, private=False, community=community, admin=admin)
    person = Person(who, who, desk.locale)
    answer = await desk.chat.handle(Event(f"v{next(NUMBERS)}", desk.platform, person, place, message="5", **said))  # type: ignore[arg-type]  # by name
    if sentence(answer):
        readable(answer, desk.locale)
    await desk.chat.sent(answer, f"m{next(NUMBERS)}")
    return answer


async def founded(desk: Desk) -> None:
    """A pool with 100 Credits, whose rule asks two members above 4 Credits."""
    await say(desk, "boss", admin=True, command="pool")
    async with desk.stage.app.begin() as work:
        community = await work.pools.get(1)
        await work.pools.contribute(community, desk.user, 100_000, "gift")
    rule = {"vote_above": "4", "votes": "2"}
    assert (await say(desk, "eve", action="pool_votes_set", answers=rule)).private, "only whoever administers the group"
    assert (await say(desk, "boss", admin=True, action="pool_votes_set", answers={"vote_above": "0"})).private, "no such rule"
    shown = sentence(await say(desk, "boss", admin=True, action="pool_votes_set", answers=rule))
    assert "4" in shown and "2" in shown


@pytest.mark.parametrize("platform", CHATS)
async def test_a_dear_wish_is_drawn_once_enough_agree(desk: Desk, platform: str) -> None:
    desk.platform = platform  # type: ignore[assignment]  # one of both
    await desk.stage.lend(KEY)
    await founded(desk)
    asked = await say(desk, "ann", command="imagine", argument="a red fox")
    assert asked.message is not None and not asked.private
    assert "a red fox" in sentence(asked) and "4.5" in sentence(asked)
    agree, withdraw = asked.message.rows[0]
    assert "0" in agree.label and "2" in agree.label
    for who in ("ann", "bob", "bob"):
        pressed = await say(desk, who, action=agree.action)
        assert pressed.private is (who == "ann" or not pressed.edit), sentence(pressed)
    assert (await say(desk, "bob", action=withdraw.action)).private, "only who asked"
    sender = Recorder(platform=desk.platform)
    delivery = unhurried(desk.stage, sender)
    while await delivery.deliver():
        pass
    (progress,) = sender.of(Address(platform, CHATS[platform][0]), "edit")
    assert ("1 of 2" if desk.locale == "en" else "1/2") in progress
    last = await say(desk, "cat", action=agree.action)
    assert last.edit and last.message is not None and not last.message.rows, "nothing is left to press"
    assert (await say(desk, "dan", action=agree.action)).private, "it is over"
    while await delivery.deliver():
        pass
    assert len(sender.of(Address(platform, CHATS[platform][0]), "edit")) == 2
    assert await work_off(Worker(desk.stage.app, 1)) == 1
    async with desk.stage.app.read() as work:
        asker = await work.users.find(desk.platform, "ann")
        assert asker is not None
        (made,) = await page(work.connection, asker.id, 5)
    assert (made.payer, made.prompt, made.address) == (pool(1), "a red fox", Address(platform, CHATS[platform][0]))
    assert await desk.stage.balance(pool(1)) == 95_500


@pytest.mark.parametrize("platform", CHATS)
async def test_wishes_are_withdrawn_or_lapse_and_the_message_says_so(desk: Desk, platform: str) -> None:
    desk.platform = platform  # type: ignore[assignment]  # as above
    await founded(desk)
    first, second = [await say(desk, "ann", command="imagine", argument=prompt) for prompt in ("an owl", "a bee")]
    assert first.message is not None and second.message is not None
    assert "owl" not in sentence(await say(desk, "ann", action=first.message.rows[0][1].action))
    async with desk.stage.app.begin() as work:
        await work.connection.execute(update(ballots).where(ballots.c.state == "open").values(expires_at=1))
    assert (await say(desk, "bob", action=second.message.rows[0][0].action)).private
    await Worker(desk.stage.app, 1).sweep()
    sender = Recorder(platform=desk.platform)
    delivery = unhurried(desk.stage, sender)
    while await delivery.deliver():
        pass
    edits = sender.of(Address(platform, CHATS[platform][0]), "edit")
    assert len(edits) == 2 and not [each for each in edits if "owl" in each or "bee" in each]
    async with desk.stage.app.read() as work:
        left = await work.connection.scalars(select(outbox.c.state).where(outbox.c.kind == "ballot"))
        assert set(left) == {"done"}, "no message is edited any more"


async def test_a_cheaper_wish_that_is_dear_still_is_asked_for_in_the_group(desk: Desk) -> None:
    """The refusal is read in private; the members are asked where the wish was said. The form asks in private too."""
    await founded(desk)
    await say(desk, "boss", admin=True, action="pool_votes_set", answers={"vote_above": "3", "votes": "2"})
    await say(desk, "boss", admin=True, action="pool_set", answers={"request_cap": "9"})
    over = await say(desk, "ann", command="imagine", argument="a fox --model ultra")
    assert over.private and over.message is not None
    own = over.message.rows[0][0].action.split()[1]
    answer = await desk.chat.handle(desk.event("ann", action=f"cheaper {own} core"))
    assert answer.toast
    assert list(await desk.notices("ballot")) == ["-100"]
    question = await say(desk, "boss", admin=True, action="pool_votes")
    assert question.private and "3" in str(question.message and question.message.rows)


@pytest.mark.parametrize("voted", [True, False])
async def test_who_leaves_takes_no_picture_of_another(desk: Desk, voted: bool) -> None:
    """Neither by a wish that waits for votes nor by a picture that was drawn from another's."""
    await desk.stage.lend(KEY)
    await founded(desk)
    await say(desk, "boss", admin=True, action="pool_votes_set", answers={"vote_above": "-", "votes": "2"})
    await say(desk, "ann", command="imagine", argument="a red fox")
    worker = Worker(desk.stage.app, 1)
    assert await work_off(worker) == 1
    blob = (await desk.stage.generation(1)).blob
    if voted:
        await say(desk, "boss", admin=True, action="pool_votes_set", answers={"vote_above": "1", "votes": "2"})
    await say(desk, "eve", action="vary 1")
    assert await work_off(worker) == (0 if voted else 1)
    async with desk.stage.app.read() as work:
        eve = await work.users.find("telegram", "eve")
    assert eve is not None and blob is not None
    await desk.stage.app.run(lambda work: work.leaving.erase(eve))
    await worker.sweep()
    assert await desk.stage.app.blobs.get(blob)


async def test_a_picture_sent_with_a_wish_that_lapses_is_deleted(desk: Desk) -> None:
    await founded(desk)
    drawn = io.BytesIO()
    Image.new("RGB", (1024, 1024), "red").save(drawn, "PNG")
    await say(desk, "ann", command="imagine", argument="a red fox", attachment=drawn.getvalue())
    async with desk.stage.app.begin() as work:
        blob = json.loads(str(await work.connection.scalar(select(ballots.c.wish))))["wish"]["source_blob"]
        await work.connection.execute(update(ballots).values(expires_at=1))
    for _ in range(3):
        await Worker(desk.stage.app, 1).sweep()
    with pytest.raises(BlobNotFound):
        await desk.stage.app.blobs.get(blob)


@pytest.mark.parametrize("space", [" ", "\t", "\n", "\0 "])
async def test_forged_presses_are_asked_about_too(desk: Desk, space: str) -> None:
    """What is read as a vote is a vote for whoever decides whether the platform is asked, whatever stands between the words."""
    await founded(desk)
    asked = await say(desk, "ann", command="imagine", argument="a red fox")
    assert asked.message is not None
    forged = asked.message.rows[0][0].action.replace(" ", space)
    place = Place("-100", private=False, community="-100", member=False)
    event = Event("forged", "telegram", Person("eve", "eve", desk.locale), place, action=forged, message="5")
    assert await desk.chat.asks(event) == place
    assert (await desk.chat.handle(event)).private
    assert await desk.chat.asks(desk.event("ann", action=f"cheaper{space}")) is None
