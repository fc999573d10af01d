"""A key that was lent is found nowhere afterwards: not in the database or its files, the pictures, the logs, the metrics or any chat."""

import asyncio
import base64
import contextlib
import gc
import json
import logging
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from httpx import ASGITransport, AsyncClient
from sqlalchemy import RowMapping, select

import demo
from api.app import make_api
from core.generations.models import OutcomeKind, attempts
from core.providers.base import Fault, ImageRequest, Outcome
from core.providers.http import make_client
from core.providers.stability import StabilityProvider
from core.vault.redact import Redactor
from core.vault.secret import Secret
from core.worker import Worker
from sandbox.actor import action_of
from tests.chat.conftest import ADA, MIRA, Town
from tests.chat.search import TAIL, Disk, every_row, found, under
from tests.stage import Stage, staged

pytestmark = pytest.mark.timeout(180)

Places = dict[str, Any]
PROMPT = "a lighthouse in a storm, keepsake"
"""It is in clear where people's prompts are, so that the search is seen to find things."""


def fresh(prefix: str = "sk-demo-") -> str:
    """A key that no other test has."""
    return prefix + secrets.token_hex(16)


@pytest.fixture(autouse=True)
def _everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """From before anything opens a database or a socket: libraries decide at that time what they log."""
    caplog.set_level(logging.DEBUG)


@dataclass
class Logs:
    """What was logged or printed."""

    caplog: pytest.LogCaptureFixture
    capfd: pytest.CaptureFixture[str]
    printed: str = ""

    def all(self) -> list[bytes]:
        """Formatted lines, and whatever hangs on the records."""
        self.printed += "".join(self.capfd.readouterr())
        kept = [repr(vars(record)) for record in self.caplog.records]
        return [each.encode() for each in (self.caplog.text, self.printed, *kept)]


@pytest.fixture
def logs(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Logs:
    return Logs(caplog, capfd)


def said(hands: Any, *, by_bot: bool = False) -> list[bytes]:
    """Every chat as every person sees it; or only what the bot has said there."""
    people = [each["id"] for each in hands.people()]
    shown = [m for person in people for chat in hands.chats(person) for m in hands.messages(person, chat["id"])]
    return [repr(each).encode() for each in shown if each["from"]["bot"] or not by_bot]


async def written(town: Town, disk: Disk, logs: Logs) -> Places:
    """Everything that the product has written down or shown, by name."""
    async with town.books() as app:
        assert (await app.audit()).clean
        async with AsyncClient(transport=ASGITransport(make_api(app)), base_url="http://ours") as client:
            metrics = (await client.get("/metrics")).content
        rows = await every_row(app.database)
    return {
        "rows": rows,
        "files of the database": await disk.files(),
        "data folder": under(town.settings.data_dir),
        "logs": logs.all(),
        "metrics": [metrics],
        "telegram": said(town.world.telegram),
        "discord": said(town.world.discord),
    }


async def lend_in_telegram(town: Town, key: str) -> None:
    """Mira sends it as a private message, which the bot takes and deletes, and lists it."""
    hands, chat = town.world.telegram, town.world.telegram.private_chat(MIRA)
    await hands.say(MIRA, chat, "/lend")
    for word in ("lend stability", "attest stability"):
        asked = await hands.wait_for(MIRA, chat, demo._offers(word), demo.SECONDS)
        await hands.press(MIRA, chat, asked["id"], action_of(asked, word) or "")
    await hands.wait_for(MIRA, chat, demo._says("/handover/"), demo.SECONDS)
    pasted = await hands.say(MIRA, chat, key)
    ready = await hands.wait_for(MIRA, chat, demo._offers("limits"), demo.SECONDS)
    assert pasted not in [each["id"] for each in hands.messages(MIRA, chat)]
    await hands.press(MIRA, chat, ready["id"], action_of(ready, "limits") or "")
    for number, given in enumerate(("90", "4", "60", "500", "always"), start=1):
        await hands.wait_for(MIRA, chat, demo._says(f"({number}/5)"), demo.SECONDS)
        await hands.say(MIRA, chat, given)
    await hands.wait_for(MIRA, chat, demo._says("listed"), demo.SECONDS)


async def lend_in_discord(town: Town, key: str, wrong: str) -> list[bytes]:
    """Bo puts it into the secure form, after one of another vendor; returns every page that he saw."""
    hands = town.world.discord
    await hands.until(lambda: bool(hands.gateway.shards) and any(each["name"] == "lend" for each in hands.commands()))
    channel = next(each["id"] for each in hands.chats(demo.BO) if each["kind"] == "channel")
    await hands.command(demo.BO, channel, "lend", {})
    for word in ("lend stability", "attest stability"):
        asked = await hands.wait_for(demo.BO, channel, demo._offers(word), demo.SECONDS)
        await hands.press(demo.BO, channel, asked["id"], action_of(asked, word) or "")
    shown = await hands.wait_for(demo.BO, channel, demo._says("/handover/"), demo.SECONDS)
    token = re.search(r"/handover/([\w-]+)", shown["html"])
    assert token
    pages = []
    async with town.books() as app, AsyncClient(transport=ASGITransport(make_api(app)), base_url="http://ours") as client:
        for given, status in ((wrong, 409), (key, 200), (key, 410)):
            answer = await client.post(f"/handover/{token[1]}", data={"key": given})
            assert answer.status_code == status
            pages += [answer.content, repr(answer.headers).encode()]
    private = hands.private_chat(demo.BO)
    ready = await hands.wait_for(demo.BO, private, demo._offers("limits"), demo.SECONDS)
    await hands.press(demo.BO, private, ready["id"], action_of(ready, "limits") or "")
    modal = await hands.wait_for_modal(demo.BO)
    limits = {"price_percent": "80", "max_concurrency": "2", "per_minute": "30", "day_limit": "100", "hours": "always"}
    await hands.submit(demo.BO, modal["id"], limits)
    await hands.wait_for(demo.BO, private, demo._says("listed"), demo.SECONDS)
    return pages


async def imagine(town: Town) -> None:
    """A picture in each chat."""
    telegram, discord = town.world.telegram, town.world.discord
    chat = telegram.private_chat(ADA)
    await telegram.say(ADA, chat, f"/imagine {PROMPT}")
    await telegram.wait_for(ADA, chat, lambda m: bool(m["pictures"]), demo.SECONDS)
    channel = next(each["id"] for each in discord.chats(demo.BO) if each["kind"] == "channel")
    await discord.command(demo.BO, channel, "imagine", {"prompt": PROMPT})
    await discord.wait_for(demo.BO, channel, lambda m: bool(m["pictures"]), demo.SECONDS)


async def test_the_whole_journey_leaves_no_key_anywhere(town: Town, logs: Logs) -> None:
    disk = Disk(town.settings.sqlalchemy_url)
    await disk.begin()
    by_message, by_form, wrong, stray = fresh(), fresh(), fresh("sk-proj-"), fresh()
    await lend_in_telegram(town, by_message)
    pages = await lend_in_discord(town, by_form, wrong)
    await imagine(town)
    for text in (stray, f"/imagine {stray} in the snow", f"hello, my key is {wrong}"):  # people paste keys anywhere
        await town.said(ADA, text, "looked like a key")
    places = await written(town, disk, logs) | {"pages": pages}
    for place in ("rows", "files of the database", "telegram", "discord"):
        assert any(PROMPT.encode() in part for part in places[place]), place
    assert any(part.startswith(b"\x89PNG") for part in places["data folder"])
    assert any(b"settled" in part for part in places["logs"]) and b"aetherflow_generations" in places["metrics"][0]
    assert town.world.stability.pictures == 2
    typed = {name: said(hands, by_bot=True) for name, hands in (("telegram", town.world.telegram), ("discord", town.world.discord))}
    assert not found(places, (by_message, by_form))
    assert not found(places | typed, (wrong, stray))


async def test_a_key_that_its_provider_refuses_shows_nowhere(town: Town, logs: Logs) -> None:
    disk = Disk(town.settings.sqlalchemy_url)
    await disk.begin()
    key, unknown = fresh(), fresh("sk-nobody-")
    await lend_in_telegram(town, key)
    town.world.stability.add_key(key, fail_rate=1.0, fail_kind="unauthorized")
    await town.said(ADA, f"/imagine {PROMPT}", "Nothing was charged")
    hands, chat = town.world.telegram, town.world.telegram.private_chat(MIRA)
    out = await hands.wait_for(MIRA, chat, demo._offers("resource 1"), demo.SECONDS)
    assert "1" in out["html"]
    await hands.say(MIRA, chat, "/lend")
    for word in ("lend stability", "attest stability"):
        asked = await hands.wait_for(MIRA, chat, demo._offers(word), demo.SECONDS)
        await hands.press(MIRA, chat, asked["id"], action_of(asked, word) or "")
    await hands.wait_for(MIRA, chat, lambda m: "/handover/" in m["html"] and m["id"] > out["id"], demo.SECONDS)
    await hands.say(MIRA, chat, unknown)
    await hands.wait_for(MIRA, chat, demo._offers("hand 2"), demo.SECONDS)
    places = await written(town, disk, logs)
    assert any(Fault.BAD_KEY.encode() in part for part in places["rows"])
    assert not found(places, (key, unknown))


# Worse providers than those of the sandbox.


@asynccontextmanager
async def echoing(status: int, *, request_id: bool = False) -> AsyncIterator[str]:
    """The address of a provider that knows every key and repeats it wherever an answer has room."""

    async def balance(_request: web.Request) -> web.Response:
        return web.json_response({"credits": 1000})

    async def echo(request: web.Request) -> web.Response:
        await request.read()
        bearer = request.headers["Authorization"]
        key = bearer.removeprefix("Bearer ")
        headers = dict.fromkeys(("finish-reason", "seed", "retry-after", "x-echo", "set-cookie"), key)
        body = {"id": key, "name": key, "errors": [f"the key {key} of {bearer} is wrong"], "image": key}
        return web.json_response(body, status=status, reason=f"no {key}", headers=headers | ({"x-request-id": key} if request_id else {}))

    app = web.Application()
    app.add_routes([web.get("/v1/user/balance", balance), web.post("/{rest:.*}", echo)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def tried(stage: Stage, key: str, provider: StabilityProvider) -> RowMapping:
    """Lends the key and lets one generation try it; returns the attempt. What the call raises stays with its task."""
    stage.app.providers = {provider.name: provider}
    await stage.lend(key)
    await stage.submit("k")
    worker = Worker(stage.app, 1)
    await worker.claim()
    await asyncio.wait(list(worker._running))
    async with stage.app.read() as work:
        return (await work.connection.execute(select(attempts))).mappings().one()


async def traces(stage: Stage, folder: Path, logs: Logs) -> Places:
    """What one process without bots has written down."""
    return {"rows": await every_row(stage.app.database), "logs": logs.all(), "data folder": under(folder)}


@pytest.mark.parametrize("status", [200, 302, 400, 401, 402, 403, 429, 500, 504])
async def test_a_provider_that_repeats_the_key_is_not_quoted(sqlite_url: str, tmp_path: Path, logs: Logs, status: int) -> None:
    key, client = fresh(), make_client()
    async with echoing(status) as url, staged(sqlite_url, tmp_path) as stage:
        attempt = await tried(stage, key, StabilityProvider(url, client))
        await client.aclose()
        assert attempt["outcome"] not in (None, OutcomeKind.DELIVERED)
        assert not found(await traces(stage, tmp_path, logs), [key])


async def test_a_request_id_that_is_the_key_is_not_kept(sqlite_url: str, tmp_path: Path, logs: Logs) -> None:
    key, client = fresh(), make_client()
    async with echoing(500, request_id=True) as url, staged(sqlite_url, tmp_path) as stage:
        await tried(stage, key, StabilityProvider(url, client))
        await client.aclose()
        assert not found(await traces(stage, tmp_path, logs), [key])


class Broken(StabilityProvider):
    """Raises while the key is open, which no provider may do; with the key in its words when it is told to."""

    talks = False

    async def generate(self, request: ImageRequest, key: Secret, *, timeout: float) -> Outcome:
        header = f"Bearer {key.reveal()}"
        raise RuntimeError(f"illegal header value: {header}" if self.talks else f"illegal header value: {key} of {len(header)}")


@pytest.mark.parametrize("talks", [False, True], ids=["with the key at hand", "with the key in its words"])
async def test_an_exception_while_the_key_is_open_does_not_show_it(database_url: str, tmp_path: Path, logs: Logs, talks: bool) -> None:
    key, client = fresh(), make_client()
    async with echoing(200) as url, staged(database_url, tmp_path) as stage:
        provider = Broken(url, client)
        provider.talks = talks
        with guarded() if talks else contextlib.nullcontext():
            await tried(stage, key, provider)
            gc.collect()  # a task that nobody asks for its result tells the log when it goes
        await client.aclose()
        places = await traces(stage, tmp_path, logs)
    assert any(b"RuntimeError" in part for part in places["logs"])
    assert not found(places, [key])


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """The filter before every handler of the root, as the command puts it there."""
    handlers, redactor = list(logging.getLogger().handlers), Redactor()
    redactor.install()
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(redactor)


def test_the_search_finds_a_key_in_every_form() -> None:
    key = fresh()
    around = f"before {key} after"
    for text in (
        around.encode(), around.encode("utf-16"), around.encode().hex().encode(), around.encode().hex().upper().encode(),
        "".join(f"%{byte:02x}" for byte in around.encode()).encode(), around[::-1].encode(), json.dumps({"a": [around]}).encode(),
        *(base64.b64encode(b"x" * length + around.encode()) for length in range(3)), base64.urlsafe_b64encode(around.encode()),
        repr(around).encode(), key[-TAIL:].encode(),
    ):  # fmt: skip
        assert found({"here": [b"nothing", text]}, [fresh(), key]) != [], text
    assert not found({"here": [around.encode()]}, [fresh()])
