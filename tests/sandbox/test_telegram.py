"""The Telegram stand-in keeps to the rules of the Bot API: calls, updates, webhook, trouble, and the hands of people."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from telegram import Bot, BotCommand, ChatMemberBanned
from telegram.error import ChatMigrated, Conflict, Forbidden, InvalidToken, NetworkError, TimedOut

from sandbox.telegram import TelegramSandbox
from sandbox.telegram_rules import ApiError
from sandbox.telegram_state import HandsError
from sandbox.telegram_trouble import FloodLimits
from sandbox.telegram_updates import SECRET_HEADER
from tests.sandbox.telegram_stage import ADA, BO, CLUB, GALLERY, TOKEN, connected, picture, refused, served


@pytest.fixture
async def sandbox() -> AsyncIterator[TelegramSandbox]:
    async with served() as sandbox:
        yield sandbox


@pytest.fixture
async def bot(sandbox: TelegramSandbox) -> AsyncIterator[Bot]:
    async with connected(sandbox) as bot:
        yield bot


@pytest.fixture
async def http(sandbox: TelegramSandbox) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(sandbox.state.public_url) as session:
        yield session


async def eventually(condition: Callable[[], bool]) -> None:
    """Waits for something that shows in a value only."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - nothing sets an event
            await asyncio.sleep(0.01)


# The API as such


async def test_errors_have_the_official_shape(http: aiohttp.ClientSession) -> None:
    async def call(token: str, method: str, **body: Any) -> tuple[int, Any]:
        async with http.post(f"/telegram/bot{token}/{method}", json=body) as response:
            return response.status, await response.json()

    assert await call("nonsense", "getMe") == (404, {"ok": False, "error_code": 404, "description": "Not Found"})
    assert await call(TOKEN, "getHappy") == (404, {"ok": False, "error_code": 404, "description": "Not Found: method not found"})
    status, body = await call(TOKEN, "sendMessage", chat_id=5, text="x")
    assert (status, body) == (400, {"ok": False, "error_code": 400, "description": "Bad Request: chat not found"})
    status, body = await call(
        TOKEN, "sendMessage", chat_id=ADA, text="x", reply_markup={"inline_keyboard": [[{"text": "A", "callback_data": "a"}]]}
    )
    assert status == 200 and body["ok"] and body["result"]["reply_markup"]["inline_keyboard"][0][0]["text"] == "A"
    assert (await call(TOKEN, "GETME"))[1]["result"]["username"] == "AetherflowBot"


async def test_a_revoked_token(sandbox: TelegramSandbox, bot: Bot) -> None:
    sandbox.revoked = True
    assert await refused(bot.get_me(), InvalidToken) == "Unauthorized"


# Updates


async def test_offsets_confirm_and_the_rest_comes_again(sandbox: TelegramSandbox, bot: Bot) -> None:
    for text in "abc":
        await sandbox.say(ADA, ADA, text)

    first = await bot.get_updates()
    again = await bot.get_updates(offset=first[0].update_id)
    rest = await bot.get_updates(offset=first[1].update_id)
    limited = await bot.get_updates(limit=1)
    last = await bot.get_updates(offset=-1)
    none = await bot.get_updates(offset=last[0].update_id + 1)

    assert [[update.message.text for update in each if update.message] for each in (first, again, rest, limited, last, none)] == [
        ["a", "b", "c"],
        ["a", "b", "c"],
        ["b", "c"],
        ["b"],
        ["c"],
        [],
    ]
    assert [update.update_id - first[0].update_id for update in first] == [0, 1, 2]
    sandbox.updates.put_again(2)
    assert [update.update_id for update in await bot.get_updates()] == [update.update_id for update in first[1:]]


async def test_a_long_poll_ends_with_the_first_update(sandbox: TelegramSandbox, bot: Bot) -> None:
    started = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        poll = tasks.create_task(bot.get_updates(timeout=20, read_timeout=25))
        await asyncio.sleep(0.1)
        await sandbox.say(ADA, ADA, "now")

    assert [update.message.text for update in poll.result() if update.message] == ["now"]
    assert time.monotonic() - started < 5


async def test_two_polls_exclude_one_another(sandbox: TelegramSandbox, bot: Bot, http: aiohttp.ClientSession) -> None:
    async def first() -> str:
        return await refused(bot.get_updates(timeout=20, read_timeout=25), Conflict)

    async with asyncio.TaskGroup() as tasks:
        poll = tasks.create_task(first())
        await asyncio.sleep(0.1)
        async with http.get(f"/telegram/bot{TOKEN}/getUpdates") as response:
            assert await response.json() == {"ok": True, "result": []}

    assert "terminated by other getUpdates request" in poll.result()


async def test_only_wanted_kinds(sandbox: TelegramSandbox, bot: Bot) -> None:
    await bot.get_updates(allowed_updates=["message"])
    said = await sandbox.say(ADA, ADA, "one")
    await sandbox.edit(ADA, ADA, said, "two")

    assert [update.edited_message for update in await bot.get_updates()] == [None]


async def test_updates_are_dropped_after_a_day(sandbox: TelegramSandbox, bot: Bot, monkeypatch: pytest.MonkeyPatch) -> None:
    await sandbox.say(ADA, ADA, "old")
    tomorrow = time.time() + 24 * 3600 + 1
    monkeypatch.setattr(time, "time", lambda: tomorrow)
    await sandbox.say(ADA, ADA, "new")

    assert [update.message.text for update in await bot.get_updates() if update.message] == ["new"]


async def test_presses(sandbox: TelegramSandbox, bot: Bot) -> None:
    sent = await bot.send_message(
        CLUB, "x", api_kwargs={"reply_markup": {"inline_keyboard": [[{"text": "A", "callback_data": "again 1"}]]}}
    )
    with pytest.raises(HandsError):
        await sandbox.press(ADA, CLUB, sent.message_id, "again 2")
    await sandbox.press(ADA, CLUB, sent.message_id, "again 1")

    (update,) = await bot.get_updates()
    query = update.callback_query
    assert query is not None and query.message is not None
    assert (query.data, query.from_user.id, query.message.message_id, query.message.chat.id) == ("again 1", ADA, sent.message_id, CLUB)
    assert "MESSAGE_TOO_LONG".lower() in (await refused(bot.answer_callback_query(query.id, text="x" * 201))).lower()
    await bot.answer_callback_query(query.id, text="ok")
    assert await sandbox.wait_for_toast(ADA) == "ok"
    assert "query is too old" in (await refused(bot.answer_callback_query("12"))).lower()


# Webhook


@asynccontextmanager
async def receiver(statuses: list[int]) -> AsyncIterator[tuple[str, list[tuple[str, int]], asyncio.Condition]]:
    """Answers with the given statuses in turn, then with 200; remembers (secret, update id)."""
    got: list[tuple[str, int]] = []
    news = asyncio.Condition()

    async def receive(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        async with news:
            got.append((request.headers.get(SECRET_HEADER, ""), body["update_id"]))
            news.notify_all()
        return web.Response(status=statuses.pop(0) if statuses else 200)

    app = web.Application()
    app.router.add_post("/hook", receive)
    server = web.AppRunner(app, access_log=None)
    await server.setup()
    await web.TCPSite(server, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{server.addresses[0][1]}/hook", got, news
    await server.cleanup()


async def test_a_webhook_is_tried_again_in_order(sandbox: TelegramSandbox, bot: Bot) -> None:
    sandbox.updates.first_pause = 0.02
    async with receiver([500, 403]) as (url, got, news):
        await bot.set_webhook(url, secret_token="s-1", allowed_updates=["message"])
        assert "webhook is active" in await refused(bot.get_updates(), Conflict)
        await sandbox.say(ADA, ADA, "one")
        await sandbox.say(ADA, ADA, "two")
        async with asyncio.timeout(5), news:
            await news.wait_for(lambda: len(got) == 4)
        info = await bot.get_webhook_info()
        await eventually(lambda: sandbox.updates.pending == 0)
        await bot.delete_webhook()

    ids = [update_id for _, update_id in got]
    assert ids == [ids[0]] * 3 + [ids[0] + 1]
    assert {secret for secret, _ in got} == {"s-1"}
    assert info.last_error_message == "Wrong response from the webhook: 403 Forbidden"


async def test_a_webhook_that_is_not_there(sandbox: TelegramSandbox, bot: Bot) -> None:
    sandbox.updates.first_pause = 0.02
    await sandbox.say(ADA, ADA, "one")
    await bot.set_webhook("http://127.0.0.1:9/hook")
    await eventually(lambda: "last_error_message" in sandbox.updates.webhook_info())
    info = await bot.get_webhook_info()

    assert (info.pending_update_count, info.last_error_message) == (1, "Connection failed: ClientConnectorError")
    await bot.delete_webhook(drop_pending_updates=True)
    assert await bot.get_updates() == ()


async def test_webhooks_that_are_not_taken(bot: Bot) -> None:
    assert "loopback" in await refused(bot.set_webhook("https://example.org/hook"))
    assert "An HTTPS URL must be provided".lower() in (await refused(bot.set_webhook("ftp://127.0.0.1/hook"))).lower()
    assert "unallowed characters" in await refused(bot.set_webhook("http://127.0.0.1:9/", secret_token="what a secret"))


# Trouble


async def test_flood_in_a_private_chat_and_in_a_group(sandbox: TelegramSandbox, http: aiohttp.ClientSession) -> None:
    sandbox.flood_limits = FloodLimits(private=(3, 10.0), group=(2, 60.0), overall=(7, 1.0))

    async def send(chat: int) -> Any:
        async with http.post(f"/telegram/bot{TOKEN}/sendMessage", data={"chat_id": chat, "text": "x"}) as response:
            return (await response.json()).get("parameters", {}).get("retry_after")

    assert [await send(ADA) for _ in range(4)] == [None, None, None, 10]
    assert [await send(CLUB) for _ in range(3)] == [None, None, 60]
    assert [await send(BO) for _ in range(3)] == [None, None, 1]  # thirty a second overall, here seven
    sandbox.flood_limits = None
    assert await send(CLUB) is None


async def test_faults(sandbox: TelegramSandbox, bot: Bot) -> None:
    sandbox.fail("sendMessage", status=500)
    sandbox.fail("sendMessage", status=502)
    sandbox.fail("sendMessage", "hang")
    sandbox.fail("sendMessage", "lost")

    assert await refused(bot.send_message(ADA, "1"), NetworkError) == "Internal Server Error"
    assert "Bad Gateway" in await refused(bot.send_message(ADA, "2"), NetworkError)
    await refused(bot.send_message(ADA, "3"), TimedOut)
    await refused(bot.send_message(ADA, "4"), NetworkError)

    assert [message["html"] for message in sandbox.messages(ADA, ADA)] == ["4"]  # done, and the answer lost


# Hands over HTTP


async def test_hands_over_http(sandbox: TelegramSandbox, bot: Bot, http: aiohttp.ClientSession) -> None:
    async def get(path: str, **query: Any) -> Any:
        async with http.get(f"/hands/telegram/{path}", params=query) as response:
            return await response.json()

    async def post(path: str, **body: Any) -> Any:
        async with http.post(f"/hands/telegram/{path}", json=body) as response:
            return await response.json()

    people = await get("people")
    assert people[0] == {"id": "1001", "name": "Ada", "language": "en", "admin": False}
    eve = await post("people", name="Eve", language="zh-hans")
    assert await get("chats", person=eve["id"]) == [
        {"id": eve["id"], "title": "Aetherflow", "kind": "private"},
        {"id": str(CLUB), "title": "Aether Club", "kind": "group"},
        {"id": str(GALLERY), "title": "画廊", "kind": "group"},
    ]
    await bot.set_my_commands([BotCommand("imagine", "Make a picture")])
    assert await get("commands", language="en") == [{"name": "imagine", "description": "Make a picture", "options": []}]

    said = await post("say", person=eve["id"], chat=eve["id"], text="/imagine 狐", picture=base64.b64encode(picture()).decode())
    (update,) = await bot.get_updates()
    assert update.message is not None and update.message.caption == "/imagine 狐" and update.message.photo
    markup = {"inline_keyboard": [[{"text": "A", "callback_data": "a"}]]}
    sent = await bot.send_message(eve["id"], "<b>ok</b>", parse_mode="HTML", api_kwargs={"reply_markup": markup})
    assert await post("press", person=eve["id"], chat=eve["id"], message=str(sent.message_id), action="a")
    mine, ours = await get("messages", person=eve["id"], chat=eve["id"])
    assert mine["id"] == said["id"]
    assert ours["at"].endswith("+00:00")
    assert ours | {"at": ""} == {
        "id": str(sent.message_id),
        "chat": eve["id"],
        "from": {"id": "7000000001", "name": "Aetherflow", "bot": True},
        "at": "",
        "html": "<b>ok</b>",
        "rows": [[{"label": "A", "action": "a", "style": "secondary"}]],
        "pictures": [],
        "veiled": [],
        "edited": False,
        "ephemeral": False,
        "thinking": False,
    }

    assert await get("messages", person="1001", chat=eve["id"]) == {"error": f"Ada is not in chat {eve['id']}"}
    assert await post("say", person="1", chat="1") == {"error": "no such person: 1"}
    assert await post("press", person="1001") == {"error": "missing 'chat'"}
    assert await post("faults", method="sendMessage", kind="flood") == {"error": "kind is one of error, hang, lost"}
    await post("block", person=eve["id"])
    assert sandbox.state.person(eve["id"]).blocked
    await post("faults", method="getMe", kind="error", status=502)
    await refused(bot.get_me(), NetworkError)


async def test_the_stream(sandbox: TelegramSandbox, bot: Bot, http: aiohttp.ClientSession) -> None:
    async def news() -> Any:
        while not (line := (await response.content.readline()).decode()).startswith("data:"):
            assert line
        return json.loads(line.removeprefix("data:"))

    async with http.get("/hands/telegram/stream", params={"person": "1001"}) as response:
        assert response.content_type == "text/event-stream"
        await response.content.readuntil(b"\n\n")
        await bot.send_message(BO, "not for Ada")
        markup = {"inline_keyboard": [[{"text": "A", "callback_data": "a"}]]}
        sent = await bot.send_message(ADA, "one", api_kwargs={"reply_markup": markup})
        assert (await news())["message"]["html"] == "one"
        query = await sandbox.press(ADA, ADA, sent.message_id, "a")
        await bot.answer_callback_query(query, text="noted")
        assert await news() == {"chat": "1001", "toast": "noted", "alert": False}
        await bot.edit_message_text("two", ADA, sent.message_id)
        assert (await news())["message"] == sandbox.messages(ADA, ADA)[0]
        await bot.delete_message(ADA, sent.message_id)
        assert await news() == {"chat": "1001", "deleted": str(sent.message_id)}
        await sandbox.close()
        assert (await response.content.read()).strip() == b""


async def test_waiting_tells_what_was_there(sandbox: TelegramSandbox) -> None:
    await sandbox.say(ADA, ADA, "only this")
    with pytest.raises(TimeoutError, match="only this"):
        await sandbox.wait_for(ADA, ADA, lambda message: message["from"]["bot"], timeout=0.05)


def test_an_error_carries_its_parameters() -> None:
    assert ApiError(429, "Too Many Requests: retry after 3", retry_after=3).body() == {
        "ok": False,
        "error_code": 429,
        "description": "Too Many Requests: retry after 3",
        "parameters": {"retry_after": 3},
    }


async def test_who_leaves_and_comes_back_and_a_bot_that_is_removed(sandbox: TelegramSandbox, bot: Bot, http: aiohttp.ClientSession) -> None:
    """Nobody but an administrator is told who leaves: it is asked. What becomes of the bot itself is told."""

    async def does(what: str, **body: object) -> int:
        async with http.post(f"/hands/telegram/{what}", json={"chat": CLUB, **body}) as response:
            return response.status

    assert [await does("leave", person=BO), await does("leave", person=ADA), await does("leave", person=ADA, back=True)] == [200] * 3
    assert [(await bot.get_chat_member(CLUB, person)).status for person in (ADA, BO)] == ["member", "left"]
    assert [await does("bot", person=ADA, bot=each) for each in ("kicked", "member", "lost")] == [200, 200, 400]
    kicked, back = await bot.get_updates(timeout=0, allowed_updates=["my_chat_member"])
    assert kicked.my_chat_member is not None and back.my_chat_member is not None
    assert isinstance(kicked.my_chat_member.new_chat_member, ChatMemberBanned)
    assert (back.my_chat_member.old_chat_member.status, back.my_chat_member.new_chat_member.status) == ("kicked", "member")
    sandbox.set_bot(ADA, CLUB, "left")
    with pytest.raises(Forbidden):
        await bot.send_message(CLUB, "hello")


async def test_a_group_becomes_a_supergroup(sandbox: TelegramSandbox, bot: Bot) -> None:
    new = sandbox.upgrade(CLUB)
    told = [update.message for update in await bot.get_updates(timeout=0)]
    assert [(each.migrate_to_chat_id, each.migrate_from_chat_id) for each in told if each] == [(new.id, None), (None, CLUB)]
    with pytest.raises(ChatMigrated) as caught:
        await bot.send_message(CLUB, "hello")
    assert caught.value.new_chat_id == new.id
    await bot.send_message(new.id, "hello")
