"""What becomes of the Telegram stand-in's groups, as the bot sees it through the Bot API, and over HTTP."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from telegram import Bot, ChatMemberBanned
from telegram.error import ChatMigrated, Forbidden

from sandbox.telegram import TelegramSandbox
from tests.sandbox.telegram_stage import ADA, BO, CLUB, connected, served


@pytest.fixture
async def sandbox() -> AsyncIterator[TelegramSandbox]:
    async with served() as sandbox:
        yield sandbox


@pytest.fixture
async def bot(sandbox: TelegramSandbox) -> AsyncIterator[Bot]:
    async with connected(sandbox) as bot:
        yield bot


async def test_who_leaves_and_comes_back_and_a_bot_that_is_removed(sandbox: TelegramSandbox, bot: Bot) -> None:
    """Nobody but an administrator is told who leaves: it is asked. What becomes of the bot itself is told."""
    async with aiohttp.ClientSession(sandbox.state.public_url) as http:

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
