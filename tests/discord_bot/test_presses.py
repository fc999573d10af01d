"""Buttons and forms, quick and slow, and after a restart."""

import pytest

from bots.chat.types import Answer, Key, Message, Question, Questions
from bots.discord.runner import DiscordRunner
from sandbox.discord import ADA, BO, CHEN, IMAGINE, DiscordSandbox, View
from tests.discord_bot.fakes import FakeChat, by_bot, running, slow

BUTTONS = (
    (Key("Again", "again 42", style="primary"), Key("Site", url="https://example.org/a?b=c")),
    (Key("Report", "report 42", style="danger"),),
)
FORM = Questions(
    "edit 42",
    "Edit the prompt",
    (
        Question("prompt", "Prompt", default="a red fox", max_length=1000, hint="What to paint"),
        Question("count", "How many", kind="integer", default="1", max_length=3),
        Question("model", "Model", kind="choice", default="core", choices=(("core", "Core"), ("ultra", "Ultra"))),
    ),
)


async def buttons_shown(chat: FakeChat, sandbox: DiscordSandbox) -> View:
    """A message with buttons in #imagine."""
    chat.answers(Answer(message=Message("Done", BUTTONS)))
    await sandbox.say(ADA, IMAGINE, "/help")
    message_id = await chat.until_sent(len(chat.sent_answers) + 1)
    return await sandbox.wait_for(ADA, IMAGINE, lambda m: m["id"] == message_id)


async def test_a_press_edits_its_message_or_is_answered_below(chat: FakeChat, sandbox: DiscordSandbox, bot: DiscordRunner) -> None:
    shown = await buttons_shown(chat, sandbox)
    chat.answers(Answer(message=Message("Reported"), edit=True), Answer(message=Message("Again!")))
    await sandbox.press(BO, IMAGINE, shown["id"], "report 42")
    assert await chat.until_sent(2) == shown["id"]
    edited = await sandbox.wait_for(ADA, IMAGINE, lambda m: m["edited"])
    assert (edited["html"], edited["rows"]) == ("Reported", [])
    event = chat.events[1]
    assert (event.action, event.person.id, event.message) == ("report 42", BO, shown["id"])

    other = await buttons_shown(chat, sandbox)
    chat.answers(Answer(message=Message("Again!")))
    await sandbox.press(BO, IMAGINE, other["id"], "again 42")
    below = await sandbox.wait_for(ADA, IMAGINE, lambda m: m["html"] == "Again!")
    assert await chat.until_sent(4) == below["id"] != other["id"]


async def test_a_toast_and_silence(chat: FakeChat, sandbox: DiscordSandbox, bot: DiscordRunner) -> None:
    shown = await buttons_shown(chat, sandbox)
    chat.answers(Answer(toast="too late *now*"), Answer(), Answer(), Answer(message=Message("end")))
    await sandbox.press(ADA, IMAGINE, shown["id"], "again 42")
    toast = await sandbox.wait_for(ADA, IMAGINE, lambda m: m["ephemeral"])
    assert toast["html"] == "too late *now*"
    await sandbox.press(ADA, IMAGINE, shown["id"], "again 42")
    await sandbox.say(ADA, IMAGINE, "/balance")
    await chat.until(lambda chat: len(chat.events) == 4)
    await sandbox.say(ADA, IMAGINE, "/help")
    await chat.until_sent(2)
    assert all(interaction.answered for interaction in sandbox.state.interactions.values())
    assert [m["html"] for m in sandbox.messages(BO, IMAGINE)] == ["Done", "end"] and len(chat.sent_answers) == 2


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(message=Message("changed"), edit=True), [("changed", False)]),
        (Answer(message=Message("below")), [("Done", False), ("below", False)]),
        (Answer(message=Message("aside"), private=True), [("Done", False), ("aside", True)]),
        (Answer(toast="a note"), [("Done", False), ("a note", True)]),
        (Answer(questions=FORM), [("Done", False), ("Please try again", True)]),
        (Answer(), [("Done", False)]),
    ],
)
async def test_a_slow_press(
    answer: Answer, expected: list[tuple[str, bool]], chat: FakeChat, sandbox: DiscordSandbox, hasty_bot: DiscordRunner
) -> None:
    shown = await buttons_shown(chat, sandbox)
    go = slow(chat, answer)
    await sandbox.press(ADA, IMAGINE, shown["id"], "again 42")
    await sandbox.until(lambda: all(interaction.answered for interaction in sandbox.state.interactions.values()))
    go.set()
    await sandbox.wait_for(ADA, IMAGINE, lambda m: (m["html"], m["ephemeral"]) == expected[-1])
    assert [(m["html"], m["ephemeral"]) for m in sandbox.messages(ADA, IMAGINE)] == expected


@pytest.mark.parametrize("pressed", [False, True])
async def test_a_form_is_opened_filled_in_and_answered(pressed: bool, chat: FakeChat, sandbox: DiscordSandbox, bot: DiscordRunner) -> None:
    shown = await buttons_shown(chat, sandbox) if pressed else None
    chat.answers(Answer(questions=FORM), Answer(message=Message("改好了"), edit=True))
    if shown:
        await sandbox.press(CHEN, IMAGINE, shown["id"], "again 42")
    else:
        await sandbox.say(CHEN, IMAGINE, "/help")
    modal = await sandbox.wait_for_modal(CHEN)
    assert modal["title"] == "Edit the prompt"
    assert [(f["name"], f["kind"], f["default"], f["hint"]) for f in modal["fields"]] == [
        ("prompt", "text", "a red fox", "What to paint"),
        ("count", "text", "1", ""),
        ("model", "choice", "core", ""),
    ]
    await sandbox.submit(CHEN, modal["id"], {"prompt": "一只*红*狐狸", "model": "ultra"})
    done = await sandbox.wait_for(CHEN, IMAGINE, lambda m: m["html"] == "改好了")
    event = chat.events[-1]
    assert event.action == "edit 42" and event.person.language == "zh-CN"
    assert event.answers == {"prompt": "一只*红*狐狸", "count": "1", "model": "ultra"}
    assert event.message == (shown["id"] if shown else None)
    if shown:
        assert done["id"] == shown["id"]
    await chat.until_sent(2 if pressed else 1)
    assert sandbox.failed == []


async def test_a_sent_form_may_take_its_time(chat: FakeChat, sandbox: DiscordSandbox, bot: DiscordRunner) -> None:
    chat.answers(Answer(questions=FORM))
    await sandbox.say(ADA, IMAGINE, "/balance")
    modal = await sandbox.wait_for_modal(ADA)
    go = slow(chat, Answer(message=Message("listed"), private=True))
    await sandbox.submit(ADA, modal["id"], {})
    assert (await sandbox.wait_for(ADA, IMAGINE, lambda m: m["thinking"]))["ephemeral"]
    go.set()
    assert (await sandbox.wait_for(ADA, IMAGINE, by_bot))["html"] == "listed"


async def test_a_form_that_comes_too_late_asks_to_try_again_in_the_readers_language(
    chat: FakeChat, sandbox: DiscordSandbox, hasty_bot: DiscordRunner
) -> None:
    go = slow(chat, Answer(questions=FORM))
    await sandbox.say(CHEN, IMAGINE, "/imagine 狐狸")
    await sandbox.wait_for(CHEN, IMAGINE, lambda m: m["thinking"])
    go.set()
    hint = await sandbox.wait_for(CHEN, IMAGINE, lambda m: m["html"] == "请再试一次")
    assert hint["ephemeral"] and len(sandbox.messages(CHEN, IMAGINE)) == 1 and sandbox.messages(ADA, IMAGINE) == []


async def test_a_form_in_answer_to_a_form_asks_to_try_again(chat: FakeChat, sandbox: DiscordSandbox, bot: DiscordRunner) -> None:
    chat.answers(Answer(questions=FORM))
    await sandbox.say(ADA, IMAGINE, "/help")
    await sandbox.submit(ADA, (await sandbox.wait_for_modal(ADA))["id"], {})
    assert (await sandbox.wait_for(ADA, IMAGINE, by_bot))["html"] == "Please try again"


async def test_buttons_of_an_earlier_process_work(chat: FakeChat, sandbox: DiscordSandbox) -> None:
    async with running(chat, sandbox):
        shown = await buttons_shown(chat, sandbox)
    chat.answers(Answer(message=Message("still here"), edit=True))
    async with running(chat, sandbox):
        await sandbox.press(ADA, IMAGINE, shown["id"], "again 42")
        await sandbox.wait_for(ADA, IMAGINE, lambda m: m["html"] == "still here")
