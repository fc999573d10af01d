"""An update is handled, and what the chat layer answers is done."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from telegram import Bot

from bots.chat.pace import PACES, Throttle
from bots.chat.types import Answer, Event, Key, Message, Place, SendFailed
from bots.telegram.handlers import TelegramHandlers
from bots.telegram.outgoing import TelegramSender
from sandbox.telegram import TelegramSandbox
from sandbox.telegram_trouble import FloodLimits
from tests.telegram_bot.fakes import FakeChat, MemoryStore, picture

ADA, NOUR, CHEN = 1001, 1005, 1003
CLUB, GALLERY = -1001000000001, -1001000000002
ROWS = ((Key("Again", "again 42"),),)


class Desk:
    """Handlers over the stand-in; `work` lets them handle whatever waits."""

    def __init__(self, bot: Bot) -> None:
        self.bot = bot
        self.sender = TelegramSender(bot)
        self.chat = FakeChat(MemoryStore())
        self.throttle = Throttle(PACES["telegram"])
        self.handlers = TelegramHandlers(self.chat, self.sender, bot, self.throttle)
        self._offset = 0

    def answers(self, answer: Answer) -> None:
        async def rule(event: Event) -> Answer:
            return answer

        self.chat.rule = rule

    async def work(self) -> list[bool]:
        updates = await self.bot.get_updates(offset=self._offset, timeout=0)
        self._offset = max((update.update_id + 1 for update in updates), default=self._offset)
        return [await self.handlers.on_update(update.to_dict()) for update in updates]

    @property
    def report(self) -> str | None:
        (report,) = self.chat.reports
        return report[1]


@pytest.fixture
def desk(bot: Bot) -> Desk:
    return Desk(bot)


def htmls(sandbox: TelegramSandbox, person: int, chat: int) -> list[Any]:
    return [shown["html"] for shown in sandbox.messages(person, chat)]


async def test_a_message_is_sent_and_reported(sandbox: TelegramSandbox, desk: Desk) -> None:
    await sandbox.say(ADA, CLUB, "/imagine fox")
    desk.answers(Answer(message=Message("queued"), outbox=5))

    assert await desk.work() == [True]

    assert htmls(sandbox, ADA, CLUB) == ["/imagine fox", "queued"]
    assert desk.report == sandbox.messages(ADA, CLUB)[-1]["id"]


async def test_an_empty_answer_does_nothing(sandbox: TelegramSandbox, desk: Desk) -> None:
    await sandbox.say(ADA, ADA, "hello")
    desk.answers(Answer())

    assert await desk.work() == [True]

    assert htmls(sandbox, ADA, ADA) == ["hello"]
    assert desk.chat.reports == []


async def test_a_press_is_always_answered(sandbox: TelegramSandbox, desk: Desk) -> None:
    sent = await desk.sender.send(str(CLUB), Message("done", ROWS), "seed")
    for answer in (Answer(), Answer(toast="Queued " + "狐" * 300), Answer(message=Message("more"), outbox=1)):
        await sandbox.press(ADA, CLUB, sent, "again 42")
        desk.answers(answer)
        await desk.work()

    assert sandbox.toasts(ADA) == ["", "Queued " + "狐" * 193, ""]
    assert htmls(sandbox, ADA, CLUB) == ["done", "more"]


async def test_a_press_can_edit_its_message(sandbox: TelegramSandbox, desk: Desk) -> None:
    sent = await desk.sender.send(str(ADA), Message("sure?", ROWS), "seed")
    await sandbox.press(ADA, ADA, sent, "again 42")
    desk.answers(Answer(message=Message("yes"), edit=True, outbox=1))

    await desk.work()

    assert htmls(sandbox, ADA, ADA) == ["yes"]
    assert desk.report == sent


async def test_an_edit_of_what_is_gone_becomes_a_new_message(sandbox: TelegramSandbox, desk: Desk) -> None:
    sent = await desk.sender.send(str(ADA), Message("sure?", ROWS), "seed")
    await sandbox.press(ADA, ADA, sent, "again 42")
    await desk.sender.delete(str(ADA), sent)
    desk.answers(Answer(message=Message("yes"), edit=True, outbox=1))

    await desk.work()

    assert htmls(sandbox, ADA, ADA) == ["yes"]
    assert desk.report == sandbox.messages(ADA, ADA)[0]["id"]


async def test_a_private_answer_in_a_group_goes_aside(sandbox: TelegramSandbox, desk: Desk) -> None:
    await sandbox.say(ADA, CLUB, "/balance")
    desk.answers(Answer(message=Message("12 Credits"), private=True, outbox=1))

    await desk.work()

    assert htmls(sandbox, ADA, CLUB) == ["/balance"]
    assert htmls(sandbox, ADA, ADA) == ["12 Credits"]
    assert desk.report == sandbox.messages(ADA, ADA)[0]["id"]


async def test_a_private_answer_never_edits_a_message_of_the_group(sandbox: TelegramSandbox, desk: Desk) -> None:
    sent = await desk.sender.send(str(CLUB), Message("pool", ROWS), "seed")
    same_id = await desk.sender.send(str(ADA), Message("earlier"), "seed")
    await sandbox.press(ADA, CLUB, sent, "again 42")
    desk.answers(Answer(message=Message("12 Credits"), private=True, edit=True, outbox=1))

    await desk.work()

    assert same_id == sent
    assert htmls(sandbox, ADA, CLUB) == ["pool"]
    assert htmls(sandbox, ADA, ADA) == ["earlier", "12 Credits"]


@pytest.mark.parametrize(("person", "words"), [(NOUR, "I wrote to you in private &lt;3"), (CHEN, "我已私信给您")])
async def test_who_never_started_the_bot_gets_a_hint(sandbox: TelegramSandbox, desk: Desk, person: int, words: str) -> None:
    sandbox.state.person(person).started = False
    await sandbox.say(person, CLUB, "/balance")
    desk.answers(Answer(message=Message("12 Credits"), private=True, outbox=1))

    await desk.work()

    hint = sandbox.messages(person, CLUB)[-1]
    assert hint["html"] == words
    assert hint["rows"] == [[{"label": "@AetherflowBot", "url": "https://t.me/AetherflowBot?start=1", "style": "secondary"}]]
    assert htmls(sandbox, person, person) == []
    assert desk.report is None


async def test_who_blocked_the_bot_gets_a_hint_too(sandbox: TelegramSandbox, desk: Desk) -> None:
    sandbox.block(ADA)
    await sandbox.say(ADA, CLUB, "/balance")
    desk.answers(Answer(message=Message("12 Credits"), private=True, outbox=1))

    await desk.work()

    assert htmls(sandbox, ADA, CLUB)[-1] == "I wrote to you in private &lt;3"


async def test_a_hint_that_cannot_be_posted_is_no_error(sandbox: TelegramSandbox, desk: Desk) -> None:
    sandbox.block(ADA)
    await sandbox.say(ADA, CLUB, "/balance")
    sandbox.fail("sendMessage", status=500, times=2)
    desk.answers(Answer(message=Message("12 Credits"), private=True, outbox=1))

    assert await desk.work() == [True]
    assert desk.report is None


@pytest.mark.parametrize("kind", ["error", "lost"])
async def test_what_could_not_be_sent_is_left_to_the_delivery_loop(sandbox: TelegramSandbox, desk: Desk, kind: Any) -> None:
    await sandbox.say(ADA, ADA, "/imagine fox")
    sandbox.fail("sendMessage", kind)
    desk.answers(Answer(message=Message("queued"), outbox=5))

    assert await desk.work() == [True]

    assert desk.report is None


async def test_a_pasted_key_is_deleted_before_the_answer(sandbox: TelegramSandbox, desk: Desk) -> None:
    await sandbox.say(ADA, ADA, "sk-a-key")
    await sandbox.say(CHEN, GALLERY, "sk-another-key")
    desk.answers(Answer(message=Message("revoke it"), delete_event=True, outbox=1))

    await desk.work()

    assert htmls(sandbox, ADA, ADA) == ["revoke it"]
    assert htmls(sandbox, CHEN, GALLERY) == ["revoke it"]
    assert [call for call in sandbox.calls if call in ("deleteMessage", "sendMessage")][:2] == ["deleteMessage", "sendMessage"]


async def test_a_pasted_key_that_cannot_be_deleted_is_answered_all_the_same(sandbox: TelegramSandbox, desk: Desk) -> None:
    await sandbox.say(ADA, CLUB, "/lend sk-a-key")
    desk.answers(Answer(message=Message("revoke it"), delete_event=True, outbox=1))

    await desk.work()

    assert htmls(sandbox, ADA, CLUB) == ["/lend sk-a-key", "revoke it"]


async def test_a_press_never_deletes_the_message_with_its_button(sandbox: TelegramSandbox, desk: Desk) -> None:
    sent = await desk.sender.send(str(ADA), Message("done", ROWS), "seed")
    await sandbox.press(ADA, ADA, sent, "again 42")
    desk.answers(Answer(delete_event=True))

    await desk.work()

    assert htmls(sandbox, ADA, ADA) == ["done"]


async def test_a_toast_without_a_press_is_said(sandbox: TelegramSandbox, desk: Desk) -> None:
    await sandbox.say(ADA, ADA, "/cancel")
    desk.answers(Answer(toast="Cancelled <2>"))

    await desk.work()

    assert htmls(sandbox, ADA, ADA) == ["/cancel", "Cancelled &lt;2&gt;"]
    assert desk.chat.reports == []


async def test_no_event_is_told_apart(sandbox: TelegramSandbox, desk: Desk) -> None:
    await sandbox.say(ADA, ADA, "/imagine@OtherBot fox")
    assert await desk.work() == [False]
    assert desk.chat.events == []


async def test_a_picture_that_cannot_be_fetched_now_leaves_the_update_unhandled(sandbox: TelegramSandbox, desk: Desk) -> None:
    await sandbox.say(ADA, ADA, "/imagine", picture=picture())
    sandbox.fail("getFile", status=502)

    with pytest.raises(SendFailed) as caught:
        await desk.work()

    assert caught.value.kind == "later"
    assert desk.chat.events == []


async def test_what_is_said_at_once_counts_against_the_pace_of_what_is_delivered(sandbox: TelegramSandbox, desk: Desk) -> None:
    now = asyncio.get_running_loop().time()
    desk.answers(Answer(message=Message("done"), outbox=1))
    for _ in range(3):
        await sandbox.say(ADA, CLUB, "/imagine fox")
    await desk.work()
    assert 3.0 < desk.throttle.wait(str(CLUB), now, edit=False) <= 20.0
    assert desk.throttle.wait(str(GALLERY), now, edit=False) == 0.0


async def test_a_wait_that_an_answer_was_told_holds_what_is_delivered(sandbox: TelegramSandbox, desk: Desk) -> None:
    sandbox.flood_limits = FloodLimits(group=(1, 30.0))
    desk.answers(Answer(message=Message("done")))
    for _ in range(2):
        await sandbox.say(ADA, CLUB, "/imagine fox")
    await desk.work()
    assert 25.0 < desk.throttle.wait(str(CLUB), asyncio.get_running_loop().time(), edit=False) <= 30.0


@pytest.mark.parametrize(
    ("person", "said", "admin"), [(ADA, "/pool", True), (1002, "/pool", False), (ADA, "/imagine fox", False), (ADA, "/balance", False)]
)
async def test_who_administers_a_group_is_asked_when_it_matters(
    sandbox: TelegramSandbox, desk: Desk, person: int, said: str, admin: bool
) -> None:
    seen: list[Event] = []

    async def rule(event: Event) -> Answer:
        seen.append(event)
        return Answer()

    desk.chat.rule = rule
    await sandbox.say(person, CLUB, said)
    await desk.work()
    assert [each.place.admin for each in seen] == [admin]


async def test_what_is_said_in_private_about_a_group(sandbox: TelegramSandbox, desk: Desk) -> None:
    """The platform is asked about the group that the chat layer names, of whoever pressed, now."""
    group = Place(str(CLUB), private=False, community=str(CLUB), channels=(str(CLUB),))

    desk.chat.about = group
    for leaves in (False, True):
        if leaves:
            sandbox.leave(ADA, CLUB)
        await sandbox.say(ADA, ADA, "5")
        await desk.work()
    assert [event.place.chat for event in desk.chat.events] == [str(ADA)] * 2
    assert [event.about for event in desk.chat.events] == [replace(group, admin=True), replace(group, member=False)]


async def test_the_bot_is_removed_and_added(sandbox: TelegramSandbox, desk: Desk) -> None:
    for bot in ("kicked", "member", "left", "administrator"):
        sandbox.set_bot(ADA, CLUB, bot)
        await desk.work()
    assert desk.chat.presences == [(str(CLUB), here) for here in (False, True, False, True)]
    assert desk.chat.events == []


@pytest.mark.parametrize(("chat", "said"), [(-7, {"migrate_to_chat_id": CLUB}), (CLUB, {"migrate_from_chat_id": -7})])
async def test_a_group_that_becomes_a_supergroup(desk: Desk, chat: int, said: dict[str, int]) -> None:
    """Both chats tell of it, in the name of an admin or of the group itself."""
    anonymous = {"id": 1087968824, "is_bot": True, "first_name": "Group"}
    message = {"message_id": 1, "date": 1, "chat": {"id": chat, "type": "supergroup", "title": "Club"}, "from": anonymous} | said
    assert await desk.handlers.on_update({"update_id": 9, "message": message})
    assert desk.chat.moves == [("-7", str(CLUB))]
