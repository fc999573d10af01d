"""Interactions and messages, from a person's hand through Discord and the adapter to the chat layer, and back."""

import pytest

from bots.chat.types import Answer, Event, Key, Message, Picture
from bots.discord.runner import DiscordRunner
from sandbox.discord import ADA, ADMIN_CHANNEL, APPLICATION, BO, CHEN, IMAGINE, OLGA, DiscordSandbox
from tests.discord_bot.fakes import FakeChat, by_bot, running, slow

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 64
BUTTONS = (
    (Key("Again", "again 42", style="primary"), Key("Site", url="https://example.org/a?b=c")),
    (Key("Report", "report 42", style="danger"),),
)


async def test_a_command_is_answered_with_a_message_that_can_be_edited_later(
    chat: FakeChat, sandbox: DiscordSandbox, bot: DiscordRunner
) -> None:
    chat.answers(Answer(message=Message("<b>Queued</b> &amp; held", BUTTONS, (Picture(PNG, name="fox", spoiler=True),)), outbox=7))
    await sandbox.command(ADA, IMAGINE, "imagine", {"prompt": "a red fox", "seed": 7, "ar": "16:9", "picture": PNG})
    message_id = await chat.until_sent()
    shown = await sandbox.wait_for(BO, IMAGINE, by_bot)
    assert (shown["id"], shown["html"], shown["ephemeral"]) == (message_id, "<b>Queued</b> &amp; held", False)
    assert shown["rows"] == [
        [
            {"label": "Again", "action": "again 42", "style": "primary"},
            {"label": "Site", "url": "https://example.org/a?b=c", "style": "link"},
        ],
        [{"label": "Report", "action": "report 42", "style": "danger"}],
    ]
    assert "SPOILER_fox.png" in shown["pictures"][0]
    assert chat.events[0].options == {"prompt": "a red fox", "ar": "16:9", "seed": "7", "picture": "picture.png"}
    assert chat.events[0].attachment == PNG
    assert chat.sent_answers[0][0].outbox == 7
    await bot.sender.edit(IMAGINE, str(message_id), Message("Delivered"))
    assert (await sandbox.wait_for(ADA, IMAGINE, lambda m: m["edited"]))["html"] == "Delivered"


async def test_an_interaction_that_comes_twice_is_answered_once(chat: FakeChat, sandbox: DiscordSandbox, bot: DiscordRunner) -> None:
    await sandbox.say(ADA, IMAGINE, "/help")
    await chat.until_sent()
    interaction = next(iter(sandbox.state.interactions.values()))
    sandbox.interactions.send(interaction)
    await sandbox.say(BO, IMAGINE, "/balance")
    await chat.until_sent(2)
    assert [event.command for event in chat.events] == ["help", "balance"]
    assert [m["html"] for m in sandbox.messages(ADA, IMAGINE)] == ["heard help", "heard balance"]


async def test_two_processes_that_get_the_same_interaction_say_it_once(chat: FakeChat, sandbox: DiscordSandbox, bot: DiscordRunner) -> None:
    other = FakeChat()
    async with running(other, sandbox):
        await sandbox.say(ADA, IMAGINE, "/help")
        await chat.until(lambda chat: bool(chat.events))
        await other.until(lambda chat: bool(chat.events))
        await sandbox.wait_for(ADA, IMAGINE, by_bot)
    assert len(chat.sent_answers) + len(other.sent_answers) == 1
    assert len(sandbox.messages(ADA, IMAGINE)) == 1


async def test_a_slow_answer_is_announced_within_the_three_seconds(chat: FakeChat, sandbox: DiscordSandbox, bot: DiscordRunner) -> None:
    go = slow(chat, Answer(message=Message("done", pictures=(Picture(PNG),))))
    await sandbox.say(ADA, IMAGINE, "/imagine fox")
    thinking = await sandbox.wait_for(ADA, IMAGINE, lambda m: m["thinking"])
    go.set()
    assert await chat.until_sent() == thinking["id"]
    shown = await sandbox.wait_for(BO, IMAGINE, by_bot)
    assert (shown["html"], shown["edited"], len(shown["pictures"])) == ("done", False, 1)
    assert sandbox.failed == []


async def test_a_slow_private_answer_shows_to_nobody_else_at_any_time(
    chat: FakeChat, sandbox: DiscordSandbox, hasty_bot: DiscordRunner
) -> None:
    go = slow(chat, Answer(message=Message("12 Credits"), private=True))
    await sandbox.say(ADA, IMAGINE, "/balance")
    thinking = await sandbox.wait_for(ADA, IMAGINE, lambda m: m["thinking"])
    assert thinking["ephemeral"] and sandbox.messages(BO, IMAGINE) == []
    go.set()
    assert await chat.until_sent() == "-"
    assert (await sandbox.wait_for(ADA, IMAGINE, by_bot))["html"] == "12 Credits"
    assert sandbox.messages(BO, IMAGINE) == []


async def test_a_private_answer_to_a_command_announced_in_public_stays_private(
    chat: FakeChat, sandbox: DiscordSandbox, hasty_bot: DiscordRunner
) -> None:
    go = slow(chat, Answer(message=Message("you are short of 3 Credits"), private=True))
    await sandbox.say(ADA, IMAGINE, "/imagine fox")
    await sandbox.wait_for(BO, IMAGINE, lambda m: m["thinking"])
    go.set()
    assert await chat.until_sent() == "-"
    assert [m["ephemeral"] for m in sandbox.messages(ADA, IMAGINE)] == [True]
    assert sandbox.messages(BO, IMAGINE) == []


async def test_private_is_ephemeral_in_a_channel_and_lasting_in_the_private_chat(
    chat: FakeChat, sandbox: DiscordSandbox, bot: DiscordRunner
) -> None:
    chat.answers(Answer(message=Message("12 Credits"), private=True))
    await sandbox.say(ADA, IMAGINE, "/balance")
    assert await chat.until_sent() == "-"
    assert (await sandbox.wait_for(ADA, IMAGINE, by_bot))["ephemeral"]
    assert sandbox.messages(OLGA, IMAGINE) == []
    private = sandbox.private_chat(ADA)
    await sandbox.say(ADA, private, "/balance")
    message_id = await chat.until_sent(2)
    assert (await sandbox.wait_for(ADA, private, by_bot))["ephemeral"] is False
    assert chat.events[1].place.private
    await bot.sender.edit(private, str(message_id), Message("11 Credits"))


async def test_whatever_breaks_in_the_chat_layer_the_person_is_told(chat: FakeChat, sandbox: DiscordSandbox, bot: DiscordRunner) -> None:
    async def break_down(_event: Event) -> Answer:
        raise ConnectionError("the database is away")

    chat.on_event = break_down
    await sandbox.say(CHEN, IMAGINE, "/imagine 狐狸")
    assert (await sandbox.wait_for(CHEN, IMAGINE, by_bot))["html"] == "请再试一次"
    await sandbox.say(ADA, sandbox.private_chat(ADA), "hello")
    assert (await sandbox.wait_for(ADA, sandbox.private_chat(ADA), by_bot))["html"] == "Please try again"
    assert sandbox.failed == [] and chat.sent_answers == []


async def test_an_answer_that_discord_refuses_goes_to_the_delivery_loop(
    chat: FakeChat, sandbox: DiscordSandbox, bot: DiscordRunner
) -> None:
    chat.answers(Answer(message=Message("text", ((Key("Site", url="ftp://example.org"),),)), outbox=3))
    await sandbox.say(ADA, IMAGINE, "/help")
    assert await chat.until_sent() is None
    assert (await sandbox.wait_for(ADA, IMAGINE, by_bot))["html"] == "Please try again"


async def test_an_answer_after_the_token_has_died_goes_to_the_delivery_loop(
    chat: FakeChat, sandbox: DiscordSandbox, hasty_bot: DiscordRunner
) -> None:
    sandbox.interactions.token_seconds = 0.0
    go = slow(chat, Answer(message=Message("late"), outbox=4))
    await sandbox.say(ADA, IMAGINE, "/help")
    await sandbox.wait_for(ADA, IMAGINE, lambda m: m["thinking"])
    go.set()
    assert await chat.until_sent() is None


@pytest.mark.parametrize("fault", ["drop", "lose_answers"])
async def test_a_first_answer_survives_a_broken_connection(fault: str, chat: FakeChat, sandbox: DiscordSandbox, bot: DiscordRunner) -> None:
    sandbox.faults.set(only="/callback", **{fault: 1})
    await sandbox.say(ADA, IMAGINE, "/help")
    message_id = await chat.until_sent()
    shown = sandbox.messages(ADA, IMAGINE)
    assert [(m["id"], m["html"]) for m in shown] == [(message_id, "heard help")]


async def test_a_late_answer_survives_a_broken_connection(chat: FakeChat, sandbox: DiscordSandbox, hasty_bot: DiscordRunner) -> None:
    go = slow(chat, Answer(message=Message("done")))
    await sandbox.say(ADA, IMAGINE, "/help")
    await sandbox.wait_for(ADA, IMAGINE, lambda m: m["thinking"])
    sandbox.faults.set(only="/webhooks/", lose_answers=1)
    go.set()
    assert await chat.until_sent() == (await sandbox.wait_for(ADA, IMAGINE, by_bot))["id"]


async def test_suggestions_come_in_the_persons_language(chat: FakeChat, sandbox: DiscordSandbox, bot: DiscordRunner) -> None:
    chat.suggestions = [("core", "核心 · 3 积分"), ("ultra", "U" * 200), ("x" * 101, "unusable"), *((str(n), str(n)) for n in range(30))]
    found = await sandbox.autocomplete(CHEN, IMAGINE, "imagine", "model", "co")
    assert found[:2] == [{"name": "核心 · 3 积分", "value": "core"}, {"name": "U" * 100, "value": "ultra"}]
    assert len(found) <= 25
    event, option, typed = chat.typed[0]
    assert (event.command, event.person.language, option, typed) == ("imagine", "zh-CN", "model", "co")


async def test_suggestions_that_fail_are_none(chat: FakeChat, sandbox: DiscordSandbox, bot: DiscordRunner) -> None:
    chat.suggestions = [("a",)]  # type: ignore[list-item]  # what no chat layer should hand out
    assert await sandbox.autocomplete(ADA, IMAGINE, "imagine", "model", "") == []
    assert sandbox.failed == []


async def test_private_messages_and_mentions_are_heard_and_other_talk_is_not(
    chat: FakeChat, sandbox: DiscordSandbox, bot: DiscordRunner
) -> None:
    private = sandbox.private_chat(ADA)
    await sandbox.say(ADA, IMAGINE, "just talking")
    await sandbox.say(ADA, private, "a picture for you", PNG)
    await chat.until_sent()
    await sandbox.say(BO, IMAGINE, f"<@{APPLICATION}> a blue bird please")
    await chat.until_sent(2)
    await sandbox.say(OLGA, sandbox.private_chat(OLGA), "/grant 5  because")
    await chat.until_sent(3)
    heard = [(e.text, e.command, e.argument, e.place.private, e.attachment) for e in chat.events]
    assert heard == [
        ("a picture for you", None, "", True, PNG),
        ("a blue bird please", None, "", False, None),
        ("", "grant", "5  because", True, None),
    ]
    answer = await sandbox.wait_for(ADA, IMAGINE, by_bot)
    assert (answer["html"], chat.sent_answers[1][1]) == ("heard a blue bird please", answer["id"])


async def test_a_key_pasted_in_a_channel_is_deleted_and_answered_in_private(
    chat: FakeChat, sandbox: DiscordSandbox, bot: DiscordRunner
) -> None:
    chat.answers(Answer(message=Message("revoke it"), private=True, delete_event=True))
    await sandbox.say(ADA, IMAGINE, f"<@{APPLICATION}> sk-abcdef")
    assert await chat.until_sent() == "-"
    assert (await sandbox.wait_for(ADA, sandbox.private_chat(ADA), by_bot))["html"] == "revoke it"
    assert sandbox.messages(ADA, IMAGINE) == []
    sandbox.block(BO)
    await sandbox.say(BO, IMAGINE, f"<@{APPLICATION}> sk-abcdef")
    assert await chat.until_sent(2) is None
    assert sandbox.messages(BO, IMAGINE) == []


async def test_where_the_bot_is_no_member_results_go_to_the_private_chat(chat: FakeChat, sandbox: DiscordSandbox) -> None:
    elsewhere = sandbox.add_channel("elsewhere", foreign=True)
    async with running(chat, sandbox) as runner:
        await sandbox.say(ADA, elsewhere, "/help")
        assert await chat.until_sent() == "-"
        assert sandbox.messages(ADA, elsewhere)[0]["html"] == "heard help"
        place = chat.events[0].place
        assert (place.chat, place.private) == (f"dm:{ADA}", False)
        await runner.sender.send(place.chat, Message("your picture"), "n1")
    assert sandbox.messages(ADA, sandbox.private_chat(ADA))[0]["html"] == "your picture"


async def test_admins_of_the_server_are_told_apart(chat: FakeChat, sandbox: DiscordSandbox) -> None:
    adult = sandbox.add_channel("night", nsfw=True)
    async with running(chat, sandbox):
        await sandbox.say(OLGA, ADMIN_CHANNEL, "/help")
        await sandbox.say(ADA, adult, "/help")
        await sandbox.say(ADA, sandbox.private_chat(ADA), "/help")
        await chat.until_sent(3)
    places = {event.place.chat: event.place for event in chat.events}
    assert places[ADMIN_CHANNEL].admin and not places[ADMIN_CHANNEL].age_restricted
    assert places[adult].age_restricted and not places[adult].admin
    assert not places[sandbox.private_chat(ADA)].admin and places[sandbox.private_chat(ADA)].community is None


async def test_answers_to_interactions_are_changed_outside_the_limit_over_all_while_that_is_good(
    chat: FakeChat, sandbox: DiscordSandbox, bot: DiscordRunner
) -> None:
    """What goes through a channel counts against 50 requests a second of the whole bot; those are for the pictures."""
    chat.answers(Answer(message=Message("Queued")))
    said = []
    for number in range(4):
        await sandbox.command(ADA, IMAGINE, "help")
        said.append(str(await chat.until_sent(number + 1)))
    await bot.sender.edit(IMAGINE, said[0], Message("Drawing"))
    assert (await sandbox.wait_for(ADA, IMAGINE, lambda m: m["edited"]))["id"] == said[0]
    await bot.sender.delete(IMAGINE, said[0])
    sandbox.state.messages.pop(said[1])
    await bot.sender.delete(IMAGINE, said[1])  # gone already
    assert not [call for call in sandbox.rest.calls if call.startswith(("PATCH /channels", "DELETE /channels"))]
    sandbox.interactions.token_seconds = 0.0  # fifteen minutes later
    await bot.sender.edit(IMAGINE, said[2], Message("Still drawing"))
    await bot.sender.delete(IMAGINE, said[3])
    assert f"PATCH /channels/{IMAGINE}/messages/{said[2]}" in sandbox.rest.calls
    assert f"DELETE /channels/{IMAGINE}/messages/{said[3]}" in sandbox.rest.calls
    assert said[2] in sandbox.state.messages and not set(said) & set(sandbox.state.messages) - {said[2]}
