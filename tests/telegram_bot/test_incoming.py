"""What people do in the stand-in arrives as Events."""

import pytest
from telegram import Bot, Update
from telegram.error import NetworkError

from bots.chat.types import MAX_ATTACHMENT_BYTES, Event, Person, Place
from bots.telegram.incoming import chat_key, membership, presence, read
from sandbox.telegram import TelegramSandbox
from tests.telegram_bot.fakes import picture

FORUM = {"id": -1005, "type": "supergroup", "title": "Forum", "is_forum": True}
ADA, CHEN = 1001, 1003
CLUB, GALLERY = -1001000000001, -1001000000002


async def events(sandbox: TelegramSandbox, bot: Bot) -> list[Event | None]:
    """Everything that waits in the stand-in, read and confirmed."""
    updates = await bot.get_updates(offset=0, timeout=0)
    read_ = [await read(update, bot) for update in updates]
    if updates:
        await bot.get_updates(offset=updates[-1].update_id + 1, timeout=0)
    return read_


async def only_event(sandbox: TelegramSandbox, bot: Bot) -> Event:
    (event,) = await events(sandbox, bot)
    assert event is not None
    return event


async def test_a_command_in_private(sandbox: TelegramSandbox, bot: Bot) -> None:
    said = await sandbox.say(ADA, ADA, "/imagine a red fox --ar 16:9")

    event = await only_event(sandbox, bot)

    assert event == Event(
        id=event.id,
        platform="telegram",
        person=Person("1001", "Ada", "en"),
        place=Place(chat="1001", private=True),
        command="imagine",
        argument="a red fox --ar 16:9",
        message=said,
    )
    assert event.id.isdigit()


@pytest.mark.parametrize(
    ("text", "command", "argument"),
    [
        ("/Imagine@aetherflowbot  fox\nand hound ", "imagine", "fox\nand hound"),
        ("/imagine 一只红色的狐狸，水墨画", "imagine", "一只红色的狐狸，水墨画"),
        ("\u200f/imagine ثعلب أحمر", "imagine", "ثعلب أحمر"),
        ("\u2067/imagine\u2069 ثعلب", "imagine", "\u2069 ثعلب"),
        ("/start", "start", ""),
        ("/imagine, please", "imagine", ", please"),
    ],
)
async def test_commands_are_recognised(sandbox: TelegramSandbox, bot: Bot, text: str, command: str, argument: str) -> None:
    await sandbox.say(ADA, ADA, text)

    event = await only_event(sandbox, bot)

    assert (event.command, event.argument, event.text) == (command, argument, "")


@pytest.mark.parametrize("text", ["/usr/bin/python", "a / b", "/", "/" + "x" * 40, "no /command", "/imagine@"])
async def test_other_text_stays_text(sandbox: TelegramSandbox, bot: Bot, text: str) -> None:
    await sandbox.say(ADA, ADA, text)

    event = await only_event(sandbox, bot)

    assert (event.command, event.text) == (None, text)


async def test_commands_for_other_bots_are_ignored(sandbox: TelegramSandbox, bot: Bot) -> None:
    await sandbox.say(CHEN, GALLERY, "/imagine@OtherBot fox")  # the bot is an administrator there and sees everything
    await sandbox.say(ADA, ADA, "/imagine@OtherBot fox")

    assert await events(sandbox, bot) == [None, None]


async def test_a_group_and_its_privacy(sandbox: TelegramSandbox, bot: Bot) -> None:
    ours = await bot.send_message(CLUB, "hello")
    await sandbox.say(ADA, CLUB, "just talking")
    await sandbox.say(ADA, CLUB, "/imagine fox")
    await sandbox.say(CHEN, CLUB, "sk-a-key", reply_to=ours.message_id)
    await sandbox.say(CHEN, GALLERY, "sk-another-key")

    command, reply, seen_as_admin = await events(sandbox, bot)

    assert command is not None and reply is not None and seen_as_admin is not None
    assert command.place == Place(
        str(CLUB), private=False, community=str(CLUB), channels=(str(CLUB),), title="Aether Club", channel="Aether Club"
    )
    assert (reply.text, reply.person) == ("sk-a-key", Person("1003", "陈晨", "zh-hans"))
    assert (seen_as_admin.text, seen_as_admin.place.chat) == ("sk-another-key", str(GALLERY))


async def test_a_press(sandbox: TelegramSandbox, bot: Bot) -> None:
    markup = {"inline_keyboard": [[{"text": "Again", "callback_data": "again 42"}]]}
    sent = await bot.send_message(CLUB, "done", api_kwargs={"reply_markup": markup})
    await sandbox.press(CHEN, CLUB, sent.message_id, "again 42")

    event = await only_event(sandbox, bot)

    assert (event.action, event.message, event.text, event.command) == ("again 42", str(sent.message_id), "", None)
    assert event.place.community == str(CLUB)
    assert event.person.id == "1003"


async def test_a_picture_with_a_command(sandbox: TelegramSandbox, bot: Bot) -> None:
    data = picture(800, 600, "JPEG")
    await sandbox.say(ADA, ADA, "/imagine as an ink drawing", picture=data)

    event = await only_event(sandbox, bot)

    assert (event.command, event.argument, event.attachment) == ("imagine", "as an ink drawing", data)
    assert "attachment" not in repr(event)


async def test_a_picture_as_a_document_or_alone(sandbox: TelegramSandbox, bot: Bot) -> None:
    data = picture()
    await sandbox.say(ADA, ADA, "this one", picture=data, document=True)
    await sandbox.say(ADA, ADA, "", picture=data)
    await sandbox.say(ADA, ADA, "not a picture", picture=b"%PDF-1.7", document=True)

    document, alone, other = await events(sandbox, bot)

    assert document is not None and (document.text, document.attachment) == ("this one", data)
    assert alone is not None and (alone.text, alone.attachment) == ("", data)
    assert other is not None and (other.text, other.attachment) == ("not a picture", None)


async def test_pictures_beyond_the_limit_and_of_bystanders_are_not_fetched(sandbox: TelegramSandbox, bot: Bot) -> None:
    large = picture() + bytes(MAX_ATTACHMENT_BYTES)
    await sandbox.say(ADA, ADA, "/imagine larger", picture=large, document=True)
    await sandbox.say(CHEN, GALLERY, "my cat", picture=picture())

    too_large, bystander = await events(sandbox, bot)

    assert too_large is not None and (too_large.command, too_large.attachment) == ("imagine", None)
    assert bystander is not None and (bystander.text, bystander.attachment) == ("my cat", None)
    assert "getFile" not in sandbox.calls


async def test_a_fetch_that_fails_now_is_raised(sandbox: TelegramSandbox, bot: Bot) -> None:
    await sandbox.say(ADA, ADA, "/imagine", picture=picture())
    (update,) = await bot.get_updates()
    sandbox.fail("getFile")

    with pytest.raises(NetworkError):
        await read(update, bot)

    event = await read(update, bot)
    assert event is not None and event.attachment is not None


async def test_edits_are_ignored(sandbox: TelegramSandbox, bot: Bot) -> None:
    said = await sandbox.say(ADA, ADA, "/imagine fix")
    await sandbox.edit(ADA, ADA, said, "/imagine fox")

    first, second = await events(sandbox, bot)

    assert first is not None and first.argument == "fix"
    assert second is None


async def test_shared_identities_and_empty_messages_are_ignored(bot: Bot) -> None:
    message = {"message_id": 1, "date": 1, "chat": {"id": CLUB, "type": "supergroup", "title": "Club"}, "text": "/balance"}
    somebody = {"id": 5, "is_bot": False, "first_name": "S"}
    anonymous = {"id": 1087968824, "is_bot": True, "first_name": "Group", "username": "GroupAnonymousBot"}
    contents = [
        message | {"from": anonymous, "sender_chat": message["chat"]},
        message | {"from": somebody, "sender_chat": {"id": -100777, "type": "channel", "title": "News"}},
        message | {"from": {"id": 6, "is_bot": True, "first_name": "Other"}},
        message,
        {**message, "from": somebody, "text": None, "new_chat_title": "Club 2"},
        {**message, "from": somebody, "text": None, "photo": [], "media_group_id": "7"},
    ]
    updates = [Update.de_json({"update_id": 9, "message": content}, bot) for content in contents]
    updates.append(Update.de_json({"update_id": 9, "my_chat_member": None}, bot))
    inline = {"id": "1", "from": somebody, "chat_instance": "1", "data": "again 1", "inline_message_id": "x"}
    updates.append(Update.de_json({"update_id": 9, "callback_query": inline}, bot))

    assert [await read(update, bot) for update in updates] == [None] * 8


async def test_a_press_on_a_message_that_is_too_old_to_be_shown(bot: Bot) -> None:
    hidden = {"message_id": 3, "date": 0, "chat": {"id": ADA, "type": "private", "first_name": "Ada"}}
    query = {
        "id": "1",
        "from": {"id": ADA, "is_bot": False, "first_name": "Ada"},
        "chat_instance": "1",
        "data": "again 1",
        "message": hidden,
    }

    event = await read(Update.de_json({"update_id": 9, "callback_query": query}, bot), bot)

    assert event is not None and (event.action, event.message, event.person.language) == ("again 1", "3", None)


async def test_who_is_in_a_group_and_administers_it(sandbox: TelegramSandbox, bot: Bot) -> None:
    sandbox.leave(1004, CLUB)
    found = {}
    for group, person in [(str(CLUB), "1001"), (str(CLUB), "1003"), (str(CLUB), "1004"), (str(CLUB), "424242"), ("-1009", "1001")]:
        said = await membership(bot, Place(group, private=False, community=group, admin=True), person)
        found[group, person] = (said.member, said.admin)
    assert list(found.values()) == [(True, True), (True, False), (False, False), (False, False), (False, False)]
    sandbox.state.chat(CLUB).hidden = True
    club = Place(str(CLUB), private=False, community=str(CLUB))
    hidden = [await membership(bot, club, person, there=there) for person, there in [("1001", False), ("1003", True), ("1003", False)]]
    assert [(each.member, each.admin) for each in hidden] == [(True, True), (True, False), (False, False)]
    sandbox.fail("getChatMember", status=502)
    with pytest.raises(NetworkError):
        await membership(bot, Place(str(CLUB), private=False, community=str(CLUB)), "1001")


def test_whether_the_bot_is_in_a_group() -> None:
    def told(kind: str, **member: object) -> tuple[str, bool] | None:
        return presence({"update_id": 1, "my_chat_member": {"chat": {"id": CLUB, "type": kind}, "new_chat_member": member}})

    assert told("private", status="kicked") is None, "somebody blocked the bot"
    assert presence({"update_id": 1, "message": {"chat": {"id": CLUB, "type": "group"}}}) is None
    states = [("kicked", {}), ("left", {}), ("restricted", {"is_member": False}), ("restricted", {"is_member": True}), ("member", {})]
    assert [told("supergroup", status=status, **more) for status, more in states] == [
        (str(CLUB), here) for here in (False, False, False, True, True)
    ]


async def test_a_topic_is_a_part_of_its_group(bot: Bot) -> None:
    begun = {"message_id": 5, "date": 1, "chat": FORUM, "forum_topic_created": {"name": "Art", "icon_color": 1}}
    said = {
        "message_id": 9, "date": 1, "chat": FORUM, "from": {"id": ADA, "is_bot": False, "first_name": "Ada"}, "text": "/pool",
        "entities": [{"type": "bot_command", "offset": 0, "length": 5}], "message_thread_id": 5,
    }  # fmt: skip
    found = []
    for more in ({"is_topic_message": True, "reply_to_message": begun}, {"is_topic_message": True}, {}):
        event = await read(Update.de_json({"update_id": 9, "message": said | more}, bot), bot)
        assert event is not None
        found.append((event.place.channels, event.place.title, event.place.channel))
        assert (event.place.chat, event.place.community) == (event.place.channels[0], "-1005")
    assert found == [
        (("-1005/5", "-1005"), "Forum", "Forum / Art"), (("-1005/5", "-1005"), "Forum", "Forum / 5"), (("-1005",), "Forum", "Forum"),
    ]  # fmt: skip


async def test_the_chat_that_orders_updates(sandbox: TelegramSandbox, bot: Bot) -> None:
    sent = await bot.send_message(CLUB, "done", api_kwargs={"reply_markup": {"inline_keyboard": [[{"text": "A", "callback_data": "a"}]]}})
    await sandbox.press(ADA, CLUB, sent.message_id, "a")
    await sandbox.say(ADA, CLUB, "/help")
    await sandbox.say(ADA, ADA, "/help")

    raws = [update.to_dict() for update in await bot.get_updates()]

    assert [chat_key(raw) for raw in raws] == [str(CLUB), str(CLUB), "1001"]
    assert chat_key({"update_id": 1, "callback_query": {"id": "1", "from": {"id": 5}}}) == "5"
    assert chat_key({"update_id": 1, "poll": {"id": "8"}}) == "update:1"
