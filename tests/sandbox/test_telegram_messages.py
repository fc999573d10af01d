"""The Telegram stand-in holds messages, pictures, buttons and declarations against the official limits."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from telegram import Bot, BotCommand, BotCommandScopeAllPrivateChats, InputMediaDocument, InputMediaPhoto, ReplyParameters
from telegram.error import Forbidden, NetworkError

from sandbox.telegram import TelegramSandbox
from sandbox.telegram_rules import formatted, shown_html
from tests.sandbox.telegram_stage import ADA, BO, CLUB, GALLERY, NOUR, connected, picture, refused, served


@pytest.fixture
async def sandbox() -> AsyncIterator[TelegramSandbox]:
    async with served() as sandbox:
        yield sandbox


@pytest.fixture
async def bot(sandbox: TelegramSandbox) -> AsyncIterator[Bot]:
    async with connected(sandbox) as bot:
        yield bot


# Texts


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("<b>x", 'Can\'t find end tag corresponding to start tag "b"'),
        ("<blink>x</blink>", 'Unsupported start tag "blink" at byte offset 0'),
        ("狐<b>x</i>", 'Unmatched end tag at byte offset 7, expected "</b>", found "</i>"'),
        ("x</b>", "Unexpected end tag at byte offset 1"),
        ("a < b", "Unclosed start tag at byte offset 2"),
        ("<span>x</span>", 'Tag "span" must have class "tg-spoiler" at byte offset 0'),
    ],
)
async def test_html_that_cannot_be_parsed(bot: Bot, source: str, problem: str) -> None:
    assert (await refused(bot.send_message(ADA, source, parse_mode="HTML"))).lower() == f"can't parse entities: {problem}".lower()


def test_entities_are_measured_in_utf16() -> None:
    text, entities = formatted('  🦊 <b>狐<i>x</i></b> &lt;&#x1F98A;&bad; <a href="https://a.b/?c=1&d">l</a> \n', "HTML", 100, "message")

    assert text == "🦊 狐x <🦊&bad; l"
    assert entities == [
        {"type": "bold", "offset": 3, "length": 2},
        {"type": "italic", "offset": 4, "length": 1},
        {"type": "text_link", "offset": 15, "length": 1, "url": "https://a.b/?c=1&d"},
    ]
    assert shown_html(text, entities) == '🦊 <b>狐<i>x</i></b> &lt;🦊&amp;bad; <a href="https://a.b/?c=1&amp;d">l</a>'


def test_direction_overrides_are_removed_and_marks_stay() -> None:
    assert formatted("\u202eevil\u202c \u200fثعلب\u200f", "", 100, "message")[0] == "evil \u200fثعلب\u200f"


async def test_lengths_after_parsing(bot: Bot) -> None:
    await bot.send_message(ADA, f"<b>{'&amp;' * 4096}</b>", parse_mode="HTML")
    await bot.send_photo(ADA, picture(), caption="狐" * 1024)

    assert await refused(bot.send_message(ADA, "x" * 4097)) == "Message is too long"
    assert await refused(bot.send_message(ADA, "🦊" * 2049)) == "Message is too long"
    assert await refused(bot.send_photo(ADA, picture(), caption="狐" * 1025)) == "Message caption is too long"
    assert await refused(bot.send_message(ADA, " <b> </b>\n", parse_mode="HTML")) == "Message text is empty"
    assert await refused(bot.send_message(ADA, "x", parse_mode="Creole")) == "Unsupported parse_mode"


# Buttons


@pytest.mark.parametrize(
    ("button", "problem"),
    [
        ({"text": "A", "callback_data": "x" * 64}, None),
        ({"text": "A", "callback_data": "狐" * 22}, "Button_data_invalid"),
        ({"text": "A", "callback_data": ""}, "Button_data_invalid"),
        ({"text": "A", "url": "https://example.com"}, None),
        ({"text": "A", "url": "http://127.0.0.1:8000/x"}, None),
        (
            {"text": "A", "url": "http://localhost:8000/x"},
            "Inline keyboard button url 'http://localhost:8000/x' is invalid: wrong http url",
        ),
        ({"text": "A", "url": "javascript:alert(1)"}, "Inline keyboard button url 'javascript:alert(1)' is invalid: wrong http url"),
        ({"text": "A"}, "Can't parse inline keyboard button: text buttons are unallowed in the inline keyboard"),
        ({"text": " ", "callback_data": "a"}, "Can't parse inline keyboard button: button text must be non-empty"),
        ({"callback_data": "a"}, "Can't parse inline keyboard button: can't find field \"text\""),
        ({"text": "A", "callback_data": "a", "style": "danger"}, None),
        ({"text": "A", "callback_data": "a", "style": "secondary"}, "Can't parse inline keyboard button: invalid button style specified"),
    ],
)
async def test_buttons(bot: Bot, button: dict[str, str], problem: str | None) -> None:
    call = bot.send_message(ADA, "x", api_kwargs={"reply_markup": {"inline_keyboard": [[button]]}})
    if problem is None:
        await call
    else:
        assert await refused(call) == problem


async def test_shapes_of_keyboards(bot: Bot) -> None:
    button = {"text": "A", "callback_data": "a"}

    async def send(markup: Any) -> str:
        return await refused(bot.send_message(ADA, "x", api_kwargs={"reply_markup": markup}))

    assert await send({"inline_keyboard": [[button] * 8] * 13}) == "Reply markup is too long"
    assert "array of arrays" in await send({"inline_keyboard": [button]})
    assert await send("{not json") == "Can't parse reply markup json object"


# Pictures and files


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"no picture", "Image_process_failed"),
        (picture(2000, 99), "Photo_invalid_dimensions"),
        (picture(9000, 1001), "Photo_invalid_dimensions"),
        (picture() + bytes(10 * 1024 * 1024), "is too big for a photo"),
    ],
)
async def test_photos_that_are_not_taken(sandbox: TelegramSandbox, bot: Bot, data: bytes, problem: str) -> None:
    assert problem in await refused(bot.send_photo(ADA, data))
    await bot.send_document(ADA, data, filename="x.png")
    assert len(sandbox.messages(ADA, ADA)) == 1


async def test_uploads_have_a_limit(bot: Bot) -> None:
    assert await refused(bot.send_document(ADA, bytes(51 * 1024 * 1024)), NetworkError) == "Request Entity Too Large"


async def test_albums(sandbox: TelegramSandbox, bot: Bot) -> None:
    sent = await bot.send_media_group(
        ADA, [InputMediaPhoto(picture(), caption="<b>two</b>", parse_mode="HTML"), InputMediaPhoto(picture(41))]
    )

    assert [message.caption for message in sent] == ["two", None]
    assert sent[0].media_group_id == sent[1].media_group_id
    assert [message.photo[-1].width for message in sent] == [40, 41]

    async def send(*media: Any) -> str:
        return await refused(bot.send_media_group(ADA, list(media)))

    assert "2-10" in await send(InputMediaPhoto(picture()))
    assert "2-10" in await send(*[InputMediaPhoto(picture())] * 11)
    assert "can't be mixed" in await send(InputMediaPhoto(picture()), InputMediaDocument(picture()))


async def test_files_come_back(sandbox: TelegramSandbox, bot: Bot) -> None:
    sent = await bot.send_photo(ADA, picture())
    file = await bot.get_file(sent.photo[-1].file_id)
    again = await bot.send_photo(ADA, sent.photo[-1].file_id)

    assert bytes(await file.download_as_bytearray()) == picture()
    assert again.photo[-1].file_id == sent.photo[-1].file_id
    async with aiohttp.ClientSession() as http, http.get(sandbox.messages(ADA, ADA)[0]["pictures"][0]) as response:
        assert (response.content_type, await response.read()) == ("image/png", picture())
    assert await refused(bot.send_photo(ADA, "no-such-file")) == "Wrong remote file identifier specified: wrong string length"
    large = await bot.send_document(ADA, bytes(21 * 1024 * 1024))
    assert large.document is not None
    assert await refused(bot.get_file(large.document.file_id)) == "File is too big"


# Who may be written to


async def test_who_can_be_written_to(sandbox: TelegramSandbox, bot: Bot) -> None:
    assert await refused(bot.send_message(NOUR, "x")) == "Chat not found"
    await sandbox.say(NOUR, CLUB, "/help")
    assert await refused(bot.send_message(NOUR, "x"), Forbidden) == "Forbidden: bot can't initiate conversation with a user"
    await sandbox.say(NOUR, NOUR, "/start")
    await bot.send_message(NOUR, "x")
    sandbox.block(NOUR)
    assert await refused(bot.send_message(NOUR, "x"), Forbidden) == "Forbidden: bot was blocked by the user"
    sandbox.state.person(NOUR).deactivated = True
    assert await refused(bot.send_message(NOUR, "x"), Forbidden) == "Forbidden: user is deactivated"
    sandbox.state.chat(CLUB).bot = "kicked"
    assert await refused(bot.send_message(CLUB, "x"), Forbidden) == "Forbidden: bot was kicked from the supergroup chat"


# Edits and deletes


async def test_edits(sandbox: TelegramSandbox, bot: Bot) -> None:
    text = await bot.send_message(ADA, "one")
    photo = await bot.send_photo(ADA, picture(), caption="one")
    said = await sandbox.say(ADA, ADA, "mine")

    assert "message is not modified" in (await refused(bot.edit_message_text("one", ADA, text.message_id))).lower()
    assert await refused(bot.edit_message_text("two", ADA, 99)) == "Message to edit not found"
    assert await refused(bot.edit_message_text("two", ADA, int(said))) == "Message can't be edited"
    assert await refused(bot.edit_message_text("two", ADA, photo.message_id)) == "There is no text in the message to edit"
    assert await refused(bot.edit_message_caption(ADA, text.message_id, caption="two")) == "There is no caption in the message to edit"
    await bot.edit_message_caption(ADA, photo.message_id, caption="two")
    await bot.edit_message_media(InputMediaPhoto(picture(50), caption="made"), ADA, text.message_id)
    with_button = {"inline_keyboard": [[{"text": "A", "callback_data": "a"}]]}
    await bot.edit_message_reply_markup(ADA, text.message_id, api_kwargs={"reply_markup": with_button})

    made, captioned, _ = sandbox.messages(ADA, ADA)
    assert (made["html"], len(made["pictures"]), made["rows"][0][0]["action"], made["edited"]) == ("made", 1, "a", True)
    assert captioned["html"] == "two"


async def test_deletes(sandbox: TelegramSandbox, bot: Bot) -> None:
    ours = await bot.send_message(CLUB, "ours")
    theirs = await sandbox.say(ADA, CLUB, "/help")
    in_gallery = await sandbox.say(ADA, GALLERY, "sk-key")
    in_private = await sandbox.say(ADA, ADA, "sk-key")

    await bot.delete_message(CLUB, ours.message_id)
    await bot.delete_message(GALLERY, int(in_gallery))
    await bot.delete_message(ADA, int(in_private))

    assert await refused(bot.delete_message(CLUB, int(theirs))) == "Message can't be deleted"
    assert await refused(bot.delete_message(CLUB, ours.message_id)) == "Message to delete not found"
    old = await bot.send_message(ADA, "old")
    sandbox.state.chat(ADA).messages[old.message_id].at -= 48 * 3600
    assert await refused(bot.delete_message(ADA, old.message_id)) == "Message can't be deleted"
    several = [(await bot.send_message(BO, str(number))).message_id for number in range(3)]
    await bot.delete_messages(BO, [*several, 99])
    assert sandbox.messages(BO, BO) == []
    assert await refused(bot.delete_messages(BO, list(range(101)))) == "There must be 1-100 message identifiers"


async def test_replies(sandbox: TelegramSandbox, bot: Bot) -> None:
    first = await bot.send_message(ADA, "one")
    reply = await bot.send_message(ADA, "two", reply_parameters=ReplyParameters(first.message_id))

    assert reply.reply_to_message is not None and reply.reply_to_message.text == "one"
    assert await refused(bot.send_message(ADA, "x", reply_parameters=ReplyParameters(99))) == "Message to be replied not found"
    await bot.send_message(ADA, "x", reply_parameters=ReplyParameters(99, allow_sending_without_reply=True))


# The bot itself


async def test_commands_and_descriptions(sandbox: TelegramSandbox, bot: Bot) -> None:
    await bot.set_my_commands([BotCommand("imagine", "Make a picture")])
    await bot.set_my_commands([BotCommand("imagine", "生成图片")], language_code="zh")
    await bot.set_my_commands([BotCommand("lend", "Lend a key")], scope=BotCommandScopeAllPrivateChats(), language_code="de")
    await bot.set_my_description("What it does")
    await bot.set_my_short_description("短", language_code="zh")

    assert [command.description for command in await bot.get_my_commands(language_code="zh")] == ["生成图片"]
    assert sandbox.commands("de") == [{"name": "lend", "description": "Lend a key", "options": []}]
    assert sandbox.commands("fr")[0]["description"] == "Make a picture"
    assert (await bot.get_my_description("fr")).description == "What it does"
    assert (await bot.get_my_short_description("zh")).short_description == "短"
    assert await refused(bot.set_my_commands([BotCommand("Imagine", "x")])) == "Bot_command_invalid"
    assert await refused(bot.set_my_commands([("imagine", "x" * 257)])) == "Bot_command_description_invalid"
    assert await refused(bot.set_my_commands([BotCommand(f"c{n}", "x") for n in range(101)])) == "Bot_commands_too_much"
    assert await refused(bot.set_my_commands([], language_code="zh-hans")) == "Lang_code_invalid"
    assert await refused(bot.set_my_description("x" * 513)) == "Bot description is too long"


async def test_chats_and_members(bot: Bot) -> None:
    assert (await bot.get_chat(CLUB)).title == "Aether Club"
    assert (await bot.get_chat(ADA)).first_name == "Ada"
    assert (await bot.get_chat_member(CLUB, ADA)).status == "administrator"
    assert (await bot.get_chat_member(CLUB, BO)).status == "member"
    assert [member.user.first_name for member in await bot.get_chat_administrators(GALLERY)] == ["陈晨", "Aetherflow"]
    assert await refused(bot.get_chat_member(CLUB, 4242)) == "Invalid user_id specified"
    await bot.send_chat_action(ADA, "upload_photo")
    assert await refused(bot.send_chat_action(ADA, "dance")) == "Wrong parameter action in request"
