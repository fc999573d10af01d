"""Messages arrive in the stand-in as people are to see them; refusals are told apart."""

import html

import pytest
from telegram import Bot
from telegram.error import BadRequest, ChatMigrated, Conflict, Forbidden, InvalidToken, NetworkError, RetryAfter, TelegramError, TimedOut

from bots.chat.types import Bill, Key, Message, Picture, Sender, SendFailed
from bots.telegram.markup import cut, length, split, units
from bots.telegram.outgoing import TelegramSender, _keyboard, failure
from sandbox.telegram import TelegramSandbox
from sandbox.telegram_rules import formatted
from sandbox.telegram_trouble import FloodLimits
from tests.telegram_bot.fakes import picture

ADA, BO, CHEN = "1001", "1002", "1003"
CLUB = "-1001000000001"
ROWS = (
    (Key("Again", "again 42", style="primary"), Key("Report", "report 42", style="danger")),
    (Key("Site", url="https://example.com/a?b=1"),),
)


@pytest.fixture
def sender(bot: Bot) -> TelegramSender:
    return TelegramSender(bot)


async def refusal(sender: TelegramSender, chat: str, message: Message) -> SendFailed:
    with pytest.raises(SendFailed) as caught:
        await sender.send(chat, message, "refused")
    return caught.value


def test_it_is_a_sender(bot: Bot) -> None:
    kept: Sender = TelegramSender(bot)
    assert kept.platform == "telegram"


async def test_text_and_buttons(sandbox: TelegramSandbox, sender: TelegramSender) -> None:
    sent = await sender.send(ADA, Message("<b>Fox</b> &lt;3 <i>12 Credits</i> <code>a&amp;b</code>", ROWS), "1")

    (shown,) = sandbox.messages(ADA, ADA)

    assert shown["id"] == sent
    assert shown["html"] == "<b>Fox</b> &lt;3 <i>12 Credits</i> <code>a&amp;b</code>"
    assert shown["rows"] == [
        [{"label": "Again", "action": "again 42", "style": "primary"}, {"label": "Report", "action": "report 42", "style": "danger"}],
        [{"label": "Site", "url": "https://example.com/a?b=1", "style": "secondary"}],
    ]


async def test_a_page_of_ours_opens_inside_telegram(sender: TelegramSender) -> None:
    """As a Mini App in private; the sandbox, as Telegram, takes https alone."""
    rows = ((Key("Wallet", url="https://shop.example/app", app=True),),)
    made = _keyboard(rows)
    assert made is not None
    button = made.inline_keyboard[0][0]
    assert button.web_app is not None
    assert (button.web_app.url, button.url) == ("https://shop.example/app", None)
    assert await sender.send(ADA, Message("x", rows), "app")


async def test_chinese_and_right_to_left(sandbox: TelegramSandbox, sender: TelegramSender) -> None:
    await sender.send(CHEN, Message("<b>一只红色的狐狸</b> 🦊🦊 <i>水墨画</i>"), "1")
    await sender.send(CHEN, Message("\u200f<b>ثعلب أحمر</b>\u200f (42)"), "2")

    assert [shown["html"] for shown in sandbox.messages(CHEN, CHEN)] == [
        "<b>一只红色的狐狸</b> 🦊🦊 <i>水墨画</i>",
        "\u200f<b>ثعلب أحمر</b>\u200f (42)",
    ]


async def test_a_picture_with_caption(sandbox: TelegramSandbox, sender: TelegramSender) -> None:
    sent = await sender.send(ADA, Message("fox", ROWS, (Picture(picture(), spoiler=True),), silent=True), "1")

    message = sandbox.state.chats[1001].messages[int(sent)]

    assert message.photo is not None and message.photo.data == picture()
    assert (message.text, len(message.rows), message.spoiler, message.silent) == ("fox", 2, True, True)


async def test_a_caption_that_is_too_long_follows_its_picture(sandbox: TelegramSandbox, sender: TelegramSender) -> None:
    fits, longer = "狐" * 1022 + "🦊", "狐" * 1023 + "🦊"
    await sender.send(ADA, Message(fits, ROWS, (Picture(picture()),)), "1")
    sent = await sender.send(ADA, Message(longer, ROWS, (Picture(picture()),)), "2")

    one, photo, text = sandbox.messages(ADA, ADA)

    assert (one["html"], len(one["pictures"]), len(one["rows"])) == (fits, 1, 2)
    assert (photo["html"], len(photo["pictures"]), photo["rows"]) == ("", 1, [])
    assert (text["id"], text["html"], len(text["rows"])) == (sent, longer, 2)


async def test_pictures_beyond_the_limits_of_photos_go_as_documents(sandbox: TelegramSandbox, sender: TelegramSender) -> None:
    heavy = picture() + bytes(10 * 1024 * 1024)
    for nonce, data in enumerate((heavy, picture(2100, 100), picture(9000, 1001))):
        await sender.send(ADA, Message("large", pictures=(Picture(data, name="fox"),)), str(nonce))

    documents = [message.document for message in sandbox.state.chats[1001].messages.values()]

    assert [document.data if document else None for document in documents] == [heavy, picture(2100, 100), picture(9000, 1001)]
    assert documents[0] is not None and documents[0].name == "fox.png"


async def test_several_pictures_are_an_album_and_then_the_words(sandbox: TelegramSandbox, sender: TelegramSender) -> None:
    pictures = tuple(Picture(picture(64 + index)) for index in range(11))
    sent = await sender.send(ADA, Message("eleven", ROWS, pictures), "1")

    messages = list(sandbox.state.chats[1001].messages.values())

    assert [message.photo.width if message.photo else 0 for message in messages] == [*range(64, 75), 0]
    assert [message.album for message in messages] == ["1"] * 10 + [None, None]
    assert (str(messages[-1].id), messages[-1].text, len(messages[-1].rows)) == (sent, "eleven", 2)


async def test_mixed_pictures_are_an_album_of_documents(sandbox: TelegramSandbox, sender: TelegramSender) -> None:
    sent = await sender.send(ADA, Message("", pictures=(Picture(picture()), Picture(picture(2100, 100)))), "1")

    messages = list(sandbox.state.chats[1001].messages.values())

    assert [message.document is not None for message in messages] == [True, True]
    assert sent == "1"


async def test_a_long_text_comes_in_parts(sandbox: TelegramSandbox, sender: TelegramSender) -> None:
    lines = [f"<b>{number}</b> &amp; {'狐🦊' * 20}" for number in range(150)]
    sent = await sender.send(ADA, Message("\n".join(lines), ROWS), "1")

    shown = sandbox.messages(ADA, ADA)

    assert len(shown) == 3
    assert "\n".join(part["html"] for part in shown) == "\n".join(lines)
    assert [len(part["rows"]) for part in shown] == [0, 0, 2]
    assert shown[-1]["id"] == sent


@pytest.mark.parametrize("text", ["🦊" * 5000, "word " * 2000, "<i>" + "狐" * 9000 + "</i>", "a\n" * 4096 + "<b>end</b>", "x" * 4097])
def test_parts_are_whole_and_lose_nothing(text: str) -> None:
    parts = split(text, 4096)

    plain = [formatted(part, "HTML", 4096, "part")[0] for part in parts]  # the stand-in's own measure
    assert "".join("".join(plain).split()) == "".join(
        html.unescape(text.replace("<i>", "").replace("</i>", "").replace("<b>", "").replace("</b>", "")).split()
    )
    assert all(0 < length(part) <= 4096 for part in parts)
    assert len(parts) == -(-length(text) // 4096) or "\n" in text or " " in text


def test_cutting() -> None:
    assert cut("<b>fox</b>", 3) == "<b>fox</b>"
    assert cut("<b>foxes &amp; hounds</b>", 7) == "<b>foxes</b>…"
    assert cut("<b>&amp;&amp;&amp;&amp;</b>", 3) == "<b>&amp;&amp;</b>…"
    assert length(cut("🦊" * 3000, 1024)) <= 1024
    assert units("🦊狐a") == 4


async def test_the_same_nonce_is_the_same_message(sandbox: TelegramSandbox, sender: TelegramSender) -> None:
    first = await sender.send(ADA, Message("one"), "7")
    again = await sender.send(ADA, Message("one"), "7")
    other_chat = await sender.send(BO, Message("one"), "7")

    assert (first, len(sandbox.messages(ADA, ADA))) == (again, 1)
    assert len(sandbox.messages(BO, BO)) == 1 and other_chat == "1"

    await sender.delete(ADA, first)
    anew = await sender.send(ADA, Message("one"), "7")
    assert [shown["id"] for shown in sandbox.messages(ADA, ADA)] == [anew]


async def test_a_message_of_parts_goes_on_where_it_failed(sandbox: TelegramSandbox, sender: TelegramSender) -> None:
    message = Message("words", ROWS, (Picture(picture()), Picture(picture())))
    sandbox.fail("sendMessage", status=500)

    failed = await refusal(sender, ADA, message)
    await sender.send(ADA, message, "refused")

    assert failed.kind == "later"
    assert [bool(shown["pictures"]) for shown in sandbox.messages(ADA, ADA)] == [True, True, False]


async def test_a_lost_answer_is_sent_again(sandbox: TelegramSandbox, sender: TelegramSender) -> None:
    sandbox.fail("sendMessage", "lost")

    failed = await refusal(sender, ADA, Message("once"))
    await sender.send(ADA, Message("once"), "refused")

    assert failed.kind == "later"
    assert [shown["html"] for shown in sandbox.messages(ADA, ADA)] == ["once", "once"]  # nothing tells Telegram that it is the same


async def test_what_is_tried_later(sandbox: TelegramSandbox, sender: TelegramSender) -> None:
    sandbox.fail("sendMessage", status=502)
    assert (await refusal(sender, ADA, Message("x"))).kind == "later"
    sandbox.fail("sendMessage", "hang")
    assert (await refusal(sender, ADA, Message("x"))).kind == "later"
    sandbox.revoked = True
    assert (await refusal(sender, ADA, Message("x"))).kind == "later"
    assert sandbox.messages(ADA, ADA) == []


async def test_flood_tells_how_long_to_wait(sandbox: TelegramSandbox, sender: TelegramSender) -> None:
    sandbox.flood_limits = FloodLimits(private=(2, 3.0))
    await sender.send(ADA, Message("1"), "1")
    await sender.edit(ADA, "1", Message("2"))  # edits count

    failed = await refusal(sender, ADA, Message("3"))

    assert (failed.kind, failed.retry_after) == ("later", 3.0)
    await sender.send(BO, Message("1"), "1")


async def test_whoever_shuts_us_out(sandbox: TelegramSandbox, sender: TelegramSender) -> None:
    sandbox.block(ADA)
    sandbox.state.person(BO).deactivated = True
    sandbox.state.person(1005).met = True
    muted = sandbox.add_group("Muted", [1001])
    muted.open = False

    kinds = [(await refusal(sender, chat, Message("x"))).kind for chat in (ADA, BO, "1005", str(muted.id))]

    assert kinds == ["blocked"] * 4


async def test_what_is_gone(sandbox: TelegramSandbox, sender: TelegramSender) -> None:
    kicked = sandbox.add_group("Kicked", [1001], bot="kicked")
    left = sandbox.add_group("Left", [1001], bot="left")

    kinds = [(await refusal(sender, chat, Message("x"))).kind for chat in ("1004", "-100999", str(kicked.id), str(left.id))]
    with pytest.raises(SendFailed) as edit:
        await sender.edit(ADA, "77", Message("x"))

    assert kinds == ["gone"] * 4
    assert edit.value.kind == "gone"


async def test_a_topic_and_what_it_does_not_take(sandbox: TelegramSandbox, sender: TelegramSender) -> None:
    """Words, pictures and invoices arrive in it; what is closed or deleted leaves them to the group, and shuts nobody out."""
    sandbox.flood_limits = None
    topic = sandbox.open_topic(ADA, CLUB, "Art")
    chat, one = f"{CLUB}/{topic}", Picture(picture())
    everything = (
        Message("words", ROWS), Message("photo", pictures=(one,)), Message("album", pictures=(one, one)),
        Message("file", pictures=(Picture(b"GIF89a" + bytes(99)),)), Message("", bill=Bill("1:7", "Credits", "For pictures", 5)),
    )  # fmt: skip

    async def said(name: str) -> list[str | None]:
        before = set(sandbox.state.chat(CLUB).messages)
        for number, message in enumerate(everything):
            await sender.send(chat, message, f"{name}{number}")
        return [each.get("topic") for each in sandbox.messages(ADA, CLUB) if int(each["id"]) not in before]

    assert await said("open") == [str(topic)] * 7
    sent = await sender.send(chat, Message("before"), "again")
    await sender.edit(chat, sent, Message("after"))
    assert (await sandbox.wait_for(ADA, CLUB, lambda message: message["id"] == sent))["html"] == "after"
    await sender.delete(chat, sent)
    assert sent not in {each["id"] for each in sandbox.messages(ADA, CLUB)}
    assert await sender.send(chat, Message("anew"), "again") != sent, "what was deleted may be said again"
    sandbox.close_topic(CLUB, topic)
    assert await said("closed") == [None] * 7
    sandbox.delete_topic(CLUB, topic)
    assert await said("deleted") == [None] * 7


async def test_a_group_that_moved_is_told(sandbox: TelegramSandbox, sender: TelegramSender) -> None:
    old = sandbox.add_group("Old", [1001])
    sent = await sender.send(str(old.id), Message("before"), "1")
    new = sandbox.upgrade(old.id)

    said = await refusal(sender, str(old.id), Message("after", pictures=(Picture(picture()), Picture(picture()))))
    with pytest.raises(SendFailed) as caught:
        await sender.edit(str(old.id), sent, Message("edited"))

    assert [(each.kind, each.moved_to) for each in (said, caught.value)] == [("gone", str(new.id))] * 2


@pytest.mark.parametrize(
    "message",
    [
        Message("<b>open"),
        Message("<script>x</script>"),
        Message(""),
        Message(" \n "),
        Message("x", ((Key("long", "狐" * 22),),)),
        Message("x", ((Key("local", url="http://localhost:8000/"),),)),
        Message("x", pictures=(Picture(b""),)),
    ],
)
async def test_what_is_never_taken(sandbox: TelegramSandbox, sender: TelegramSender, message: Message) -> None:
    assert (await refusal(sender, ADA, message)).kind == "refused"
    assert sandbox.messages(ADA, ADA) == []


async def test_more_than_an_upload_may_hold_is_refused(sandbox: TelegramSandbox, sender: TelegramSender) -> None:
    assert (await refusal(sender, ADA, Message("x", pictures=(Picture(bytes(51 * 1024 * 1024)),)))).kind == "refused"


async def test_editing_text(sandbox: TelegramSandbox, sender: TelegramSender) -> None:
    sent = await sender.send(ADA, Message("waiting", ROWS), "1")
    await sender.edit(ADA, sent, Message("<b>running</b>"))
    await sender.edit(ADA, sent, Message("<b>running</b>"))  # unchanged is no error

    (shown,) = sandbox.messages(ADA, ADA)
    assert (shown["html"], shown["rows"], shown["edited"]) == ("<b>running</b>", [], True)

    await sender.edit(ADA, sent, Message("狐" * 5000))
    assert sandbox.messages(ADA, ADA)[0]["html"] == "狐" * 4095 + "…"


async def test_a_text_becomes_a_picture_and_keeps_it(sandbox: TelegramSandbox, sender: TelegramSender) -> None:
    sent = await sender.send(ADA, Message("waiting"), "1")
    await sender.edit(ADA, sent, Message("done", ROWS, (Picture(picture()),)))
    await sender.edit(ADA, sent, Message("disputed"))
    await sender.edit(ADA, sent, Message("disputed"))

    (shown,) = sandbox.messages(ADA, ADA)
    assert (shown["html"], len(shown["pictures"]), shown["rows"]) == ("disputed", 1, [])

    await sender.edit(ADA, sent, Message("狐" * 5000))
    assert sandbox.messages(ADA, ADA)[0]["html"] == "狐" * 1023 + "…"


async def test_an_edit_with_a_document_and_further_pictures(sandbox: TelegramSandbox, sender: TelegramSender) -> None:
    sent = await sender.send(ADA, Message("waiting"), "1")
    message = Message("done", pictures=(Picture(picture(2100, 100)), Picture(picture()), Picture(picture(65))))
    await sender.edit(ADA, sent, message)
    await sender.edit(ADA, sent, message)

    first, *others = sandbox.state.chats[1001].messages.values()
    assert first.document is not None and first.text == "done"
    assert [other.photo.width for other in others if other.photo] == [64, 65]


async def test_deleting(sandbox: TelegramSandbox, sender: TelegramSender) -> None:
    said = await sandbox.say(ADA, ADA, "sk-a-key")
    await sender.delete(ADA, said)
    await sender.delete(ADA, said)  # gone already is no error
    assert sandbox.messages(ADA, ADA) == []

    foreign = await sandbox.say(ADA, CLUB, "/imagine sk-a-key")
    with pytest.raises(SendFailed) as caught:
        await sender.delete(CLUB, foreign)
    assert caught.value.kind == "refused"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RetryAfter(7), "later"),
        (TimedOut(), "later"),
        (NetworkError("Bad Gateway"), "later"),
        (InvalidToken(), "later"),
        (Conflict("terminated"), "later"),
        (TelegramError("Invalid server response"), "later"),
        (NetworkError("Request Entity Too Large"), "refused"),
        (ChatMigrated(-1002), "gone"),
        (BadRequest("Bad Request: group chat was deactivated"), "gone"),
        (BadRequest("Bad Request: PEER_ID_INVALID"), "gone"),
        (BadRequest("Bad Request: have no rights to send a message"), "blocked"),
        (BadRequest("Bad Request: IMAGE_PROCESS_FAILED"), "refused"),
        (BadRequest("Bad Request: TOPIC_CLOSED"), "refused"),
        (Forbidden("Forbidden: bot was kicked from the group chat"), "gone"),
        (Forbidden("Forbidden: user is deactivated"), "blocked"),
        (Forbidden("Forbidden: something new"), "blocked"),
    ],
)
def test_meanings_of_errors(error: TelegramError, kind: str) -> None:
    failed = failure(error)
    assert failed.kind == kind
    assert failed.retry_after == (7.0 if isinstance(error, RetryAfter) else None)
