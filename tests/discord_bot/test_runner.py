"""The bot's life: outages, reconnections, shards, a wrong token, an orderly end, and what never gets into a log."""

import asyncio
import logging

import pytest
from structlog.testing import capture_logs

from bots.chat.types import Answer, Event, Message
from bots.discord.runner import DiscordRunner
from core.errors import Misconfigured
from sandbox.discord import ADA, GUILD, IMAGINE, DiscordSandbox
from tests.discord_bot.fakes import TOKEN, FakeChat, api_url, running

SECRET = "sk-this-is-somebodys-key"


async def ask(chat: FakeChat, sandbox: DiscordSandbox) -> None:
    """A command, answered."""
    count = len(chat.sent_answers)
    await sandbox.say(ADA, IMAGINE, "/help")
    await chat.until_sent(count + 1)


async def test_a_wrong_token_is_the_operators_to_mend(chat: FakeChat, sandbox: DiscordSandbox) -> None:
    sandbox.faults.refuse_token = True
    with pytest.raises(Misconfigured) as raised:
        await DiscordRunner(chat, TOKEN, api_url(sandbox)).run(asyncio.Event())
    assert raised.value.facts["setting"] == "DISCORD_TOKEN"
    assert TOKEN not in str(raised.value)


async def test_a_token_that_is_revoked_meanwhile_too(chat: FakeChat, sandbox: DiscordSandbox) -> None:
    runner = DiscordRunner(chat, TOKEN, api_url(sandbox))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(_outcome(runner))
        await runner.ready()
        sandbox.faults.refuse_token = True
        sandbox.gateway.drop_connections()
    assert isinstance(running.result(), Misconfigured)


async def _outcome(runner: DiscordRunner) -> BaseException | None:
    try:
        await runner.run(asyncio.Event())
    except Misconfigured as error:
        return error
    return None


async def test_there_is_no_sender_before_the_login(chat: FakeChat, sandbox: DiscordSandbox) -> None:
    with pytest.raises(RuntimeError):
        _ = DiscordRunner(chat, TOKEN, api_url(sandbox)).sender


async def test_an_outage_at_the_start_is_waited_out(chat: FakeChat, sandbox: DiscordSandbox) -> None:
    sandbox.faults.set(statuses=1, status=503)
    async with running(chat, sandbox):
        await ask(chat, sandbox)


async def test_an_outage_at_the_start_does_not_keep_the_bot_from_stopping(chat: FakeChat, sandbox: DiscordSandbox) -> None:
    sandbox.faults.set(drop=1000)
    stop = asyncio.Event()
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        tasks.create_task(DiscordRunner(chat, TOKEN, api_url(sandbox)).run(stop))
        await sandbox.until(lambda: sandbox.faults.drop < 1000)
        stop.set()


async def test_what_is_being_answered_is_answered_before_the_end(chat: FakeChat, sandbox: DiscordSandbox) -> None:
    going_down = asyncio.Event()

    async def answer(_event: Event) -> Answer:
        await going_down.wait()
        await asyncio.sleep(0.2)
        return Answer(message=Message("just in time"))

    chat.on_event = answer
    async with running(chat, sandbox):
        await sandbox.say(ADA, IMAGINE, "/help")
        await chat.until(lambda chat: bool(chat.events))
        going_down.set()
    assert [m["html"] for m in sandbox.messages(ADA, IMAGINE)] == ["just in time"]
    assert len(chat.sent_answers) == 1 and sandbox.gateway.shards == []


async def test_cancelling_leaves_nothing_behind(chat: FakeChat, sandbox: DiscordSandbox) -> None:
    runner = DiscordRunner(chat, TOKEN, api_url(sandbox))
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(runner.run(asyncio.Event()))
        await runner.ready()
        task.cancel()
    await sandbox.until(lambda: sandbox.gateway.shards == [])


@pytest.mark.parametrize("upset", ["drop_connections", "ask_to_reconnect"])
async def test_what_happens_while_the_connection_is_away_is_not_lost(upset: str, chat: FakeChat, sandbox: DiscordSandbox) -> None:
    async with running(chat, sandbox):
        await ask(chat, sandbox)
        getattr(sandbox.gateway, upset)()
        await ask(chat, sandbox)
        await sandbox.until(lambda: sandbox.gateway.resumed == 1)
        await ask(chat, sandbox)
    assert sandbox.gateway.identified == 1
    assert [event.id for event in chat.events] == sorted({event.id for event in chat.events})
    assert len(sandbox.messages(ADA, IMAGINE)) == 3 and sandbox.failed == []


async def test_a_session_that_discord_gives_up_is_begun_anew(chat: FakeChat, sandbox: DiscordSandbox) -> None:
    async with running(chat, sandbox):
        sandbox.gateway.invalidate()
        await sandbox.until(lambda: sandbox.gateway.identified == 2)
        await ask(chat, sandbox)


async def test_what_happened_to_servers_while_the_bot_was_away(chat: FakeChat, sandbox: DiscordSandbox) -> None:
    async def comes(times: int, *, there: bool) -> None:
        sandbox.state.bot_is_there = there
        async with running(chat, sandbox):
            await chat.until(lambda chat: len(chat.servers) == times)

    for times, there in enumerate((True, False, True), start=1):
        await comes(times, there=there)
    assert chat.servers == [[GUILD], [], [GUILD]]


async def test_one_event_that_goes_wrong_does_not_take_the_bot_with_it(chat: FakeChat, sandbox: DiscordSandbox) -> None:
    class Speechless(FakeChat):
        def describe(self, code: str, locale: str) -> str:
            if code.startswith("hint."):
                raise LookupError(code)
            return super().describe(code, locale)

    async def break_down(event: Event) -> Answer:
        raise ValueError("broken")

    chat = Speechless(break_down)
    async with running(chat, sandbox):
        await sandbox.say(ADA, IMAGINE, "/help")
        await chat.until(lambda chat: bool(chat.events))
        chat.answers(Answer(message=Message("well again")))
        await ask(chat, sandbox)


async def test_two_shards(chat: FakeChat, sandbox: DiscordSandbox) -> None:
    async with running(chat, sandbox, shards=2):
        assert sandbox.gateway.shards == [(0, 2), (1, 2)]
        await ask(chat, sandbox)
        await sandbox.say(ADA, sandbox.private_chat(ADA), "hello")
        await chat.until_sent(2)
    assert [event.place.private for event in chat.events] == [False, True]


async def test_neither_the_token_nor_what_people_write_gets_into_a_log(
    chat: FakeChat, sandbox: DiscordSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def break_down(event: Event) -> Answer:
        raise ValueError("broken")

    with capture_logs() as logs:
        async with running(chat, sandbox):
            await sandbox.say(ADA, sandbox.private_chat(ADA), SECRET)
            await chat.until_sent()
            chat.on_event = break_down
            await sandbox.say(ADA, IMAGINE, f"/imagine {SECRET}")
            await sandbox.wait_for(ADA, IMAGINE, lambda m: m["html"] == "Please try again")
            sandbox.gateway.drop_connections()
            await sandbox.until(lambda: sandbox.gateway.resumed == 1)
    assert any(line.get("exc_info") for line in logs)
    everything = caplog.text + repr(logs)
    assert "has connected to Gateway" in everything
    for secret in (TOKEN, SECRET, *sandbox.state.interactions):
        assert secret not in everything
