"""Text as Discord shows it, and what the sender makes of Discord's answers."""

from collections.abc import AsyncIterator
from types import SimpleNamespace

import aiohttp
import discord
import pytest
from discord.http import Route

from bots.chat.types import Key, Message, Picture, SendFailed
from bots.discord.answers import Answers
from bots.discord.outgoing import CONTENT_LIMIT, DiscordSender, content, failure, plain, view
from sandbox.discord import ADA, BO, CHEN, IMAGINE, DiscordSandbox
from sandbox.discord_markdown import to_html
from tests.discord_bot.fakes import TOKEN, api_url

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 64
HOSTILE = (
    "**bold** __under__ ~~gone~~ ||veiled|| `code` ```block```",
    "[click me](https://evil.example) and [again](https://evil.example)",
    "[a](b) **bold** [free Credits](https://evil.example)",
    "# heading\n> quote\n- item\n* item\n-# small",
    "\\**half escaped\\** \\\\**twice\\\\**",
    f"<@{BO}> <#{IMAGINE}> <@&300000000000000002> @everyone @here </imagine:1> <a:x:1> <t:0:R>",
    "<script>alert(1)</script> & 1 < 2",
    "一只**狐狸**，在_雪地_里 `奔跑`",
    "*a* _b_ *_c_* **_d_**",
)


@pytest.fixture
async def sender(sandbox: DiscordSandbox) -> AsyncIterator[DiscordSender]:
    """A sender on a client that has logged in and has no gateway."""
    Route.BASE = api_url(sandbox)
    client = discord.Client(intents=discord.Intents.none(), max_ratelimit_timeout=30.0)
    await client.login(TOKEN)
    yield DiscordSender(client, Answers())
    await client.close()


def test_markup_becomes_markdown() -> None:
    assert content("<b>Price</b>: <code>3.5</code> <i>Credits</i> &lt;soon&gt; &amp; more") == (
        "**Price**: `3.5` *Credits* \\<soon> & more"
    )
    assert content("<b> spaced </b>end") == " **spaced** end"
    assert content("<b><i>both</i></b>") == "***both***"
    assert content("<code>a`b</code>") == "`` a`b ``"
    assert content("<code>one\ntwo</code>") == "```\none\ntwo\n```"
    assert content("see https://example.org/a_b_c?d=__e__.") == "see https://example.org/a_b_c?d=__e__."
    assert content("1. one\n2. two") == "1\\. one\n2\\. two"


@pytest.mark.parametrize("text", HOSTILE)
def test_what_people_write_is_shown_as_they_wrote_it(text: str) -> None:
    shown = to_html(plain(text), lambda _id: "somebody").replace("\u200b", "")
    literal = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert shown.replace('<a href="https://evil.example">https://evil.example</a>', "https://evil.example") == literal


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_code_stays_code(text: str) -> None:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    shown = to_html(content(f"<code>{escaped}</code> end"), lambda _id: "somebody")
    assert shown.startswith(("<code>", "<pre>")) and shown.endswith((" end", "</pre> end"))
    assert shown.count("<") == 2


LONG = ("word " * 900, "字" * 3000, "<b>" + "fett " * 900 + "</b>", "*" * 3000, "<code>" + "x" * 3000 + "</code> end")


@pytest.mark.parametrize("text", LONG)
def test_long_text_is_cut_at_a_word_with_its_marks_closed(text: str) -> None:
    cut = content(text)
    assert CONTENT_LIMIT - 20 <= len(cut) <= CONTENT_LIMIT
    assert cut.endswith(("word…", "字…", "fett…**", "\\*…", "x…`"))


async def test_more_buttons_than_discord_takes_are_cut() -> None:
    shown = view((tuple(Key(f"b{n}", f"a {n % 30}") for n in range(40)),))
    assert shown is not None and shown.is_finished()
    assert [len(row["components"]) for row in shown.to_components()] == [5, 5, 5, 5, 5]


async def test_three_pictures_with_words_and_a_veil(sender: DiscordSender, sandbox: DiscordSandbox) -> None:
    pictures = (Picture(PNG, name="狐狸"), Picture(PNG, "image/jpeg", "fox.jpg"), Picture(PNG, "image/webp", "b", spoiler=True))
    message_id = await sender.send(IMAGINE, Message("<b>三张</b>", ((Key("再来", "again 1"),),), pictures, silent=True), "n1")
    (shown,) = sandbox.messages(BO, IMAGINE)
    assert (shown["id"], shown["html"], shown["rows"][0][0]["label"]) == (message_id, "<b>三张</b>", "再来")
    kept = sandbox.state.messages[message_id]
    assert [(a.filename, a.data, a.spoiler) for a in kept.attachments] == [
        ("picture.png", PNG, False),
        ("fox.jpg", PNG, False),
        ("SPOILER_b.webp", PNG, True),
    ]
    assert kept.flags & 1 << 12
    async with aiohttp.ClientSession() as session, session.get(shown["pictures"][2]) as response:
        assert await response.read() == PNG


async def test_edits_replace_everything_and_deletes_may_be_repeated(sender: DiscordSender, sandbox: DiscordSandbox) -> None:
    message_id = await sender.send(IMAGINE, Message("queued", ((Key("Cancel", "cancel 1"),),)), "n1")
    done = Message("done", ((Key("Again", "again 1"),),), (Picture(PNG), Picture(PNG)))
    for _ in range(2):
        await sender.edit(IMAGINE, message_id, done)
        (shown,) = sandbox.messages(ADA, IMAGINE)
        assert (shown["html"], shown["rows"][0][0]["action"], len(shown["pictures"])) == ("done", "again 1", 2)
    await sender.edit(IMAGINE, message_id, Message("refunded"))
    (shown,) = sandbox.messages(ADA, IMAGINE)
    assert (shown["html"], shown["rows"], shown["pictures"]) == ("refunded", [], [])
    await sender.delete(IMAGINE, message_id)
    await sender.delete(IMAGINE, message_id)
    assert sandbox.messages(ADA, IMAGINE) == []
    with pytest.raises(SendFailed) as failed:
        await sender.edit(IMAGINE, message_id, done)
    assert failed.value.kind == "gone"


async def test_the_same_nonce_is_the_same_message(sender: DiscordSender, sandbox: DiscordSandbox) -> None:
    first = await sender.send(IMAGINE, Message("once"), "a nonce that is longer than Discord takes, outbox 1234567")
    assert await sender.send(IMAGINE, Message("once"), "a nonce that is longer than Discord takes, outbox 1234567") == first
    other = await sender.send(IMAGINE, Message("once"), "a nonce that is longer than Discord takes, outbox 1234568")
    assert other != first and len(sandbox.messages(ADA, IMAGINE)) == 2
    await sender.delete(IMAGINE, first)
    with pytest.raises(SendFailed) as failed:
        await sender.send(IMAGINE, Message("once"), "a nonce that is longer than Discord takes, outbox 1234567")
    assert failed.value.kind == "refused"


async def test_a_lost_answer_can_be_sent_again(sender: DiscordSender, sandbox: DiscordSandbox) -> None:
    sandbox.faults.lose_answers = 1
    with pytest.raises(SendFailed) as failed:
        await sender.send(IMAGINE, Message("once"), "n7")
    assert failed.value.kind == "later"
    message_id = await sender.send(IMAGINE, Message("once"), "n7")
    assert [m["id"] for m in sandbox.messages(ADA, IMAGINE)] == [message_id]


async def test_a_private_chat_is_opened_by_the_person(sender: DiscordSender, sandbox: DiscordSandbox) -> None:
    message_id = await sender.send(f"dm:{CHEN}", Message("您好"), "n1")
    await sender.edit(f"dm:{CHEN}", message_id, Message("您好！"))
    (shown,) = sandbox.messages(CHEN, sandbox.private_chat(CHEN))
    assert (shown["html"], shown["edited"]) == ("您好！", True)
    await sender.delete(f"dm:{CHEN}", message_id)
    assert sandbox.rest.calls.count("POST /users/@me/channels") == 1


async def test_nobody_is_pinged_by_what_people_write(sender: DiscordSender, sandbox: DiscordSandbox) -> None:
    words = f"<@{BO}> @everyone @here **x**"
    message_id = await sender.send(IMAGINE, Message(words.replace("<", "&lt;").replace(">", "&gt;")), "n1")
    await sender.edit(IMAGINE, message_id, Message(words.replace("<", "&lt;").replace(">", "&gt;") + "!"))
    kept = sandbox.state.messages[message_id]
    assert (kept.pinged, kept.everyone) == ([], False)
    assert sandbox.messages(ADA, IMAGINE)[0]["html"].replace("\u200b", "") == f"&lt;@{BO}&gt; @everyone @here **x**!"


async def test_who_shuts_us_out_is_told_apart_from_what_is_gone(sender: DiscordSender, sandbox: DiscordSandbox) -> None:
    sandbox.block(ADA)
    sandbox.faults.missing_access.add(IMAGINE)
    kinds = {}
    for chat in (f"dm:{ADA}", IMAGINE, "dm:299999999999999999", "499999999999999999", "nonsense", "dm:nobody"):
        with pytest.raises(SendFailed) as failed:
            await sender.send(chat, Message("hello"), "n1")
        kinds[chat] = failed.value.kind
    assert list(kinds.values()) == ["blocked", "blocked", "gone", "gone", "gone", "gone"]
    sandbox.block(ADA, False)
    await sender.send(f"dm:{ADA}", Message("hello"), "n1")


async def test_what_discord_will_never_take_is_refused(sender: DiscordSender) -> None:
    with pytest.raises(SendFailed) as failed:
        await sender.send(IMAGINE, Message("x", ((Key("Site", url="ftp://example.org"),),)), "n1")
    assert (failed.value.kind, "url" in failed.value.problem) == ("refused", True)
    with pytest.raises(SendFailed) as failed:
        await sender.send(IMAGINE, Message("x", pictures=(Picture(PNG + b"0" * (10 * 1024 * 1024)),)), "n2")
    assert failed.value.kind == "refused"


async def test_outages_mean_later(sender: DiscordSender, sandbox: DiscordSandbox) -> None:
    sandbox.faults.set(statuses=1, status=503)
    with pytest.raises(SendFailed) as failed:
        await sender.send(IMAGINE, Message("hello"), "n1")
    assert failed.value.kind == "later"
    sandbox.faults.drop = 1
    with pytest.raises(SendFailed) as failed:
        await sender.send(IMAGINE, Message("hello"), "n1")
    assert failed.value.kind == "later"
    sandbox.faults.set(too_many=1, too_many_seconds=3600.0)
    with pytest.raises(SendFailed) as failed:
        await sender.send(IMAGINE, Message("hello"), "n1")
    assert (failed.value.kind, failed.value.retry_after) == ("later", 3600.0)


@pytest.mark.parametrize(
    ("headers", "everywhere"),
    [
        ({}, False),
        ({"X-RateLimit-Scope": "shared"}, False),
        ({"X-RateLimit-Scope": "global"}, True),
        ({"X-RateLimit-Global": "true"}, True),
    ],
)
def test_a_limit_of_the_whole_bot_is_told_apart(headers: dict[str, str], everywhere: bool) -> None:
    answer = SimpleNamespace(status=429, reason="Too Many Requests", headers=headers | {"Retry-After": "7.5"})
    failed = failure(discord.HTTPException(answer, {"code": 0, "message": "You are being rate limited."}))  # type: ignore[arg-type]
    assert (failed.kind, failed.retry_after, failed.everywhere) == ("later", 7.5, everywhere)


async def test_short_rate_limits_are_waited_out(sender: DiscordSender, sandbox: DiscordSandbox) -> None:
    sandbox.faults.too_many = 2
    await sender.send(IMAGINE, Message("hello"), "n0")
    assert sandbox.rest.calls.count(f"POST /channels/{IMAGINE}/messages") == 3


async def test_the_limits_of_a_channel_are_respected_before_discord_complains(sender: DiscordSender, sandbox: DiscordSandbox) -> None:
    for number in range(6):
        await sender.send(IMAGINE, Message("hello"), f"n{number}")
    assert sandbox.limits.refused == 0


async def test_a_client_that_is_closed_means_later(sandbox: DiscordSandbox) -> None:
    client = discord.Client(intents=discord.Intents.none())
    with pytest.raises(SendFailed) as failed:
        await DiscordSender(client, Answers()).send(IMAGINE, Message("hello"), "n1")
    assert failed.value.kind == "later"


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, 50278, "blocked"),
        (403, 0, "blocked"),
        (403, 40003, "later"),
        (403, 20009, "refused"),
        (400, 50035, "refused"),
        (404, 10015, "gone"),
    ],
)
def test_other_answers(status: int, code: int, kind: str) -> None:
    answer = SimpleNamespace(status=status, reason="why", headers={})  # what the library keeps of the response
    error = discord.HTTPException(answer, {"code": code, "message": "no"})  # type: ignore[arg-type]  # status, reason and headers are all it reads
    assert failure(error).kind == kind
