"""The main job through the real bots, and that no key is found anywhere afterwards."""

import base64
import re
from dataclasses import replace
from pathlib import Path

import pytest
from httpx import ASGITransport, AsyncClient
from pydantic import SecretStr
from rich.console import Console

import cli
import demo
from api.app import make_api
from bots.chat.chat import SENTENCES, Chat
from bots.chat.types import Answer, Event, Person, Place
from core.generations.pages import page
from core.words import Words
from sandbox.actor import action_of
from tests.chat.conftest import ADA, CHEN, MIRA, Town

pytestmark = pytest.mark.timeout(120)


async def test_lend_generate_deliver_and_no_key_anywhere(
    town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    monkeypatch.setattr(demo, "FOLDER", tmp_path)
    await demo._journey(town.world, Console(quiet=True))
    async with town.books() as app:
        audit = await app.audit()
    assert audit.clean, audit.findings
    transcripts = repr([town.world.telegram.messages(person, town.world.telegram.private_chat(person)) for person in (ADA, MIRA)])
    out, err = capfd.readouterr()
    everything = [transcripts.encode(), caplog.text.encode(), out.encode(), err.encode()]
    everything += [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    wanted = [demo.KEY.encode(), base64.b64encode(demo.KEY.encode()).rstrip(b"=")]
    assert not [each for each in everything for key in wanted if key in each]


async def test_chinese_from_the_first_word(town: Town) -> None:
    assert "欢迎" in await town.said(CHEN, "/start", "欢迎")
    assert "点" in await town.said(CHEN, "/imagine 雪中的狐狸", "点")
    assert "语言" in await town.said(CHEN, "/language", "语言")


BAD = [
    ("/imagine", "Say what the picture shows"),
    ("/imagine a cat --wings 3", "--wings"),
    ("/imagine a cat --model dragon", "dragon"),
    ("/imagine a cat --ar 7:1", "7:1"),
    ("/imagine a cat --seed many", "many"),
    ("/imagine a cat --seed -1", "--seed"),
    ("/imagine a cat --style gothic", "gothic"),
    ("/imagine a cat \u202egnp.exe", "U+202E"),
    ("/imagine " + "x" * 2001, "2001"),
    ("/imagine a cat --model upscale-fast", "upscale-fast"),
    ("/nonsense", "/help"),
    ("hello there", "/imagine"),
    ("/cancel", "Nothing of yours"),
    ("/resources", "/lend"),
    ("/history", "Nothing yet"),
    ("/help", "/imagine"),
    ("/terms", "Terms"),
    ("/privacy", "Privacy"),
    ("sk-thisisapastedkey0123456789", "looked like a key"),
]
"""What somebody types, and what the answer names."""


async def test_bad_input_gets_a_clear_sentence_and_changes_nothing(town: Town) -> None:
    async with town.books() as app:
        for text, expected in BAD:
            await town.said(ADA, text, expected)
            async with app.read() as work:
                assert not await page(work.connection, 1, 50), text
        assert (await app.audit()).clean


async def test_too_poor_is_told_and_nothing_is_held(town: Town) -> None:
    assert "4.5" in await town.said(MIRA, "/imagine a cat", "4.5")


async def test_nobody_lends_so_it_fails_and_costs_nothing(town: Town) -> None:
    await town.said(ADA, "/imagine a cat", "Nothing was charged")
    assert "100" in await town.said(ADA, "/balance", "Wallet")


async def test_forged_and_foreign_buttons_do_nothing(town: Town) -> None:
    await demo._lend(town.world, Console(quiet=True))
    async with town.books() as app:
        chat = Chat(app, Words(SENTENCES))
        for number, action in enumerate(("revoke 1 yes", "withdraw 1 yes", "set 1", "pause 1", "hand 1", "cancel 1", "scope 1 own")):
            event = Event(f"forged:{number}", "telegram", Person(ADA, "Ada", "en"), Place(ADA, private=True), action=action, message="1")
            answer = await chat.handle(event)
            assert answer.message is not None
            assert "of yours" in answer.message.text
            assert await chat.handle(event) == Answer()  # the same update twice
            await chat.sent(answer, "1")
        assert await chat.handle(replace(event, id="x", action="nonsense 1")) != Answer()
        async with app.read() as work:
            assert (await work.resources.get(1)).state == "listed"


async def test_a_frozen_user_is_told_and_nothing_moves(town: Town) -> None:
    async with town.books() as app:
        async with app.read() as work:
            ada = await work.users.find("telegram", ADA)
        assert ada is not None
        await app.run(lambda work: work.users.freeze(ada.id, True))
        await town.said(ADA, "/imagine a cat", "frozen")
        async with app.read() as work:
            assert not await page(work.connection, ada.id, 50)


async def test_a_key_in_a_group_is_refused(town: Town) -> None:
    hands = town.world.telegram
    group = "-1001000000001"
    await hands.say(ADA, hands.private_chat(ADA), "/start")
    await hands.wait_for(ADA, hands.private_chat(ADA), lambda m: m["from"]["bot"], demo.SECONDS)
    await hands.say(ADA, group, "/imagine sk-thisisapastedkey0123456789")
    await hands.wait_for(ADA, hands.private_chat(ADA), lambda m: "looked like a key" in m["html"], demo.SECONDS)


async def test_discord_lends_by_link_and_fills_a_modal(town: Town) -> None:
    hands = town.world.discord
    await hands.until(lambda: bool(hands.gateway.shards) and any(each["name"] == "lend" for each in hands.commands()))
    channel = next(each["id"] for each in hands.chats(demo.BO) if each["kind"] == "channel")
    await hands.command(demo.BO, channel, "lend", {})
    for word in ("lend stability", "attest stability"):
        asked = await hands.wait_for(demo.BO, channel, lambda m, w=word: action_of(m, w) is not None, demo.SECONDS)  # type: ignore[misc]  # a default
        await hands.press(demo.BO, channel, asked["id"], action_of(asked, word) or "")
    shown = await hands.wait_for(demo.BO, channel, lambda m: "/handover/" in m["html"], demo.SECONDS)
    assert shown["ephemeral"]
    token = re.search(r"/handover/([\w-]+)", shown["html"])
    assert token
    async with town.books() as app, AsyncClient(transport=ASGITransport(make_api(app)), base_url="http://ours") as client:
        link = f"/handover/{token[1]}"
        assert "sk-" in (await client.get(link)).text
        assert (await client.post(link, data={"key": "nonsense"})).status_code == 409
        assert (await client.post(link, data={"key": "sk-proj-0123456789abcdef0"})).status_code == 409
        done = await client.post(link, data={"key": demo.KEY}, headers={"Accept-Language": "zh-CN"})
        assert "已密封" in done.text
        assert demo.KEY not in done.text
        assert (await client.post(link, data={"key": demo.KEY})).status_code == 410
        assert (await client.get(link)).status_code == 410
    private = hands.private_chat(demo.BO)
    ready = await hands.wait_for(demo.BO, private, lambda m: action_of(m, "limits") is not None, demo.SECONDS)
    await hands.press(demo.BO, private, ready["id"], action_of(ready, "limits") or "")
    modal = await hands.wait_for_modal(demo.BO)
    values = {"price_percent": "80", "max_concurrency": "2", "per_minute": "30", "day_limit": "100", "hours": "always"}
    await hands.submit(demo.BO, modal["id"], values)
    await hands.wait_for(demo.BO, private, lambda m: "listed" in m["html"], demo.SECONDS)


async def test_the_api_answers_and_takes_updates_once(town: Town) -> None:
    settings = town.settings.model_copy(update={"telegram_webhook_secret": SecretStr("hook")})
    async with cli.opened(settings) as app, AsyncClient(transport=ASGITransport(make_api(app)), base_url="http://ours") as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert (await client.get("/readyz")).status_code == 200
        assert "aetherflow_generations" in (await client.get("/metrics")).text
        assert (await client.get("/nothing")).headers["content-type"] == "application/problem+json"
        update = {"update_id": 900001, "message": {"message_id": 5, "date": 0, "chat": {"id": 77, "type": "private"}, "text": "hi"}}
        right = {"X-Telegram-Bot-Api-Secret-Token": "hook"}
        assert (await client.post("/webhooks/telegram", json=update)).status_code == 403
        wrong = {"X-Telegram-Bot-Api-Secret-Token": "other"}
        assert (await client.post("/webhooks/telegram", json=update, headers=wrong)).status_code == 403
        assert (await client.post("/webhooks/telegram", content=b"{", headers=right)).status_code == 400
        assert (await client.post("/webhooks/telegram", json=[1], headers=right)).status_code == 400
        assert (await client.post("/webhooks/telegram", content=b" " * 2**21, headers=right)).status_code == 413
        for _ in range(3):
            assert (await client.post("/webhooks/telegram", json=update, headers=right)).status_code == 200
    async with cli.opened(town.settings) as app, AsyncClient(transport=ASGITransport(make_api(app)), base_url="http://ours") as client:
        assert (await client.post("/webhooks/telegram", json=update, headers=right)).status_code == 404


async def test_again_upscale_pause_and_withdraw(town: Town) -> None:
    hands = town.world.telegram
    await demo._lend(town.world, Console(quiet=True))
    chat = hands.private_chat(ADA)
    await hands.say(ADA, chat, "/imagine a lighthouse --no people")
    first = await hands.wait_for(ADA, chat, lambda m: bool(m["pictures"]), demo.SECONDS)
    seen = {first["id"]}
    for word in ("again 1", "vary 1", "upscale 1"):
        await hands.press(ADA, chat, first["id"], word)
        shown = await hands.wait_for(ADA, chat, lambda m: bool(m["pictures"]) and m["id"] not in seen, demo.SECONDS)
        seen.add(shown["id"])
    await town.said(ADA, "/history", "#4")
    mira = hands.private_chat(MIRA)
    await town.said(MIRA, "/resources", "You lend 1")
    listed = await hands.wait_for(MIRA, mira, lambda m: "You lend 1" in m["html"], demo.SECONDS)
    for word, expected in (("resource 1", "Delivered: 4"), ("pause 1", "paused"), ("resume 1", "listed"), ("scope 1 own", "yourself"),
                           ("withdraw 1", "for good?"), ("withdraw 1 yes", "is withdrawn")):  # fmt: skip
        await hands.press(MIRA, mira, listed["id"], word)
        listed = await hands.wait_for(MIRA, mira, lambda m, e=expected: e in m["html"], demo.SECONDS)  # type: ignore[misc]  # a default
    async with town.books() as app:
        assert (await app.audit()).clean


async def test_the_number_of_somebody_elses_picture_is_no_right_to_it(town: Town) -> None:
    await demo._lend(town.world, Console(quiet=True))
    hands = town.world.telegram
    await hands.say(ADA, hands.private_chat(ADA), "/imagine a secret garden")
    await hands.wait_for(ADA, hands.private_chat(ADA), lambda m: bool(m["pictures"]), demo.SECONDS)
    async with town.books() as app:
        for word in ("again", "vary", "upscale", "report", "cancel"):
            event = Event(
                f"peek:{word}", "telegram", Person(CHEN, "Chen", "en"), Place(CHEN, private=True), action=f"{word} 1", message="1"
            )
            answer = await Chat(app, Words(SENTENCES)).handle(event)
            assert answer.message is not None
            assert "no picture #1 of yours" in answer.message.text
            assert "garden" not in answer.message.text
