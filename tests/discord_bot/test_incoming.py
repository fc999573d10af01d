"""Which attachments are fetched, and from where."""

import pytest

from bots.chat.types import MAX_ATTACHMENT_BYTES, Answer, Key, Message
from bots.discord.incoming import cdn_prefixes
from bots.discord.runner import DiscordRunner
from sandbox.discord import ADA, GUILD, IMAGINE, DiscordSandbox, HandsError
from sandbox.discord_state import ROLES
from tests.discord_bot.fakes import FakeChat

PAINTERS = next(role for role, name in ROLES.items() if name == "Painters")
PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 64


def test_files_come_from_discords_own_servers_alone() -> None:
    assert cdn_prefixes("https://discord.com/api/v10") == ("https://cdn.discordapp.com/", "https://media.discordapp.net/")
    assert cdn_prefixes("http://127.0.0.1:8765/discord/api/v10") == ("http://127.0.0.1:8765/",)
    assert not "http://127.0.0.1:8765.evil.example/x".startswith(cdn_prefixes("http://127.0.0.1:8765/discord/api/v10"))


@pytest.mark.parametrize("data", [b"%PDF-1.7 no picture", PNG + b"0" * MAX_ATTACHMENT_BYTES], ids=["no picture", "too large"])
async def test_what_is_no_picture_or_too_large_is_not_fetched(
    data: bytes, chat: FakeChat, sandbox: DiscordSandbox, bot: DiscordRunner
) -> None:
    await sandbox.command(ADA, IMAGINE, "imagine", {"prompt": "fox", "picture": data})
    await chat.until_sent()
    assert chat.events[0].attachment is None
    assert chat.events[0].options["picture"].startswith("picture.")


async def test_roles_and_channel_come_with_everything_said(chat: FakeChat, sandbox: DiscordSandbox, bot: DiscordRunner) -> None:
    """No call is made for them; roles to choose from come where they are chosen, without the one of everyone."""
    sandbox.set_role(ADA, PAINTERS)
    chat.answers(Answer(message=Message("who", rows=((Key("Roles", "pool_roles 0"),),))))
    await sandbox.say(ADA, IMAGINE, "/help")
    await chat.until_sent(1)
    shown = await sandbox.wait_for(ADA, IMAGINE, lambda m: m["html"] == "who")
    await sandbox.press(ADA, IMAGINE, shown["id"], "pool_roles 0")
    await chat.until_sent(2)
    await sandbox.say(ADA, sandbox.private_chat(ADA), "hello")
    await chat.until_sent(3)
    command, press, private = chat.events
    assert [each.place.roles for each in chat.events] == [(PAINTERS,), (PAINTERS,), None]
    assert [(each.place.channels, each.place.title, each.place.channel) for each in (command, press)] == [
        ((IMAGINE,), "Aether Lounge", "#imagine")
    ] * 2
    assert (private.place.channels, private.place.title) == ((), "")
    assert command.offered == () and [name for _, name in press.offered] == ["Admins", "Painters", "Patrons"]
    assert not [call for call in sandbox.rest.calls if "/members/" in call or "/guilds/" in call]


async def test_the_bot_is_removed_and_added(chat: FakeChat, sandbox: DiscordSandbox, bot: DiscordRunner) -> None:
    sandbox.fall_out()
    sandbox.set_bot(False)
    await chat.until(lambda chat: len(chat.presences) == 1)
    with pytest.raises(HandsError):
        await sandbox.say(ADA, IMAGINE, "/help")
    sandbox.set_bot(True)
    await chat.until(lambda chat: len(chat.presences) == 2)
    assert chat.presences == [(GUILD, False), (GUILD, True)]


async def test_a_file_that_lies_elsewhere_is_not_fetched(chat: FakeChat, sandbox: DiscordSandbox, bot: DiscordRunner) -> None:
    sandbox.state.public_url = "http://localhost:1"  # what the attachment's address begins with
    await sandbox.command(ADA, IMAGINE, "imagine", {"prompt": "fox", "picture": PNG})
    await chat.until_sent()
    assert chat.events[0].attachment is None


async def test_a_picture_that_cannot_be_had_asks_to_try_again(chat: FakeChat, sandbox: DiscordSandbox, bot: DiscordRunner) -> None:
    sandbox.state.file_lifetime = -1.0
    await sandbox.command(ADA, IMAGINE, "imagine", {"prompt": "fox", "picture": PNG})
    shown = await sandbox.wait_for(ADA, IMAGINE, lambda m: m["from"]["bot"])
    assert (shown["html"], shown["ephemeral"], chat.events) == ("Please try again", True, [])


async def test_a_picture_without_words_is_heard_and_an_empty_mention_is_not(
    chat: FakeChat, sandbox: DiscordSandbox, bot: DiscordRunner
) -> None:
    await sandbox.say(ADA, sandbox.private_chat(ADA), "", b"no picture at all")
    await sandbox.say(ADA, sandbox.private_chat(ADA), "", PNG)
    await chat.until_sent()
    assert [(event.text, event.attachment) for event in chat.events] == [("", PNG)]
