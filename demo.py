"""The journey that `aetherflow demo` plays: real bots, real sockets, the sandbox as the outside world."""

import asyncio
import shutil
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from pydantic import SecretStr
from rich.console import Console

from core.app import App
from core.config import Settings
from core.unit_of_work import UnitOfWork
from core.users.models import Identity, User
from sandbox.actor import Actor, action_of
from sandbox.world import World

FOLDER = Path("var/demo")
BO = "200000000000000002"
DISCORD = (("200000000000000001", "Ada"), (BO, "Bo"))
KEY = "sk-demo-0123456789abcdef"
STRIPE_KEY, STRIPE_SECRET = "sk_test_demo", "whsec_demo"
CLUB = "-1001000000001"
"""A group in Telegram that Ada administers."""
ADMIN = "1009"
"""Olga, of the sandbox's people."""
SECONDS = 30.0
"""How long each step may take."""

Opened = Callable[[Settings], AbstractAsyncContextManager[App]]
RunRoles = Callable[[Settings, Sequence[str], asyncio.Event], Coroutine[Any, Any, None]]
Message = dict[str, Any]


def settings_for(world: World, folder: Path) -> Settings:
    """The product, embedded, pointed at the sandbox by its ordinary settings; and the sandbox's Stripe pointed at the product, as its
    dashboard would be. Alipay is told with each order where to call."""
    folder.mkdir(parents=True, exist_ok=True)
    url, port = world.url, _free_port()
    public_url = f"http://127.0.0.1:{port}"
    world.stripe.set_webhook(f"{public_url}/webhooks/stripe", STRIPE_SECRET)
    alipay: dict[str, Any] = {name.lower(): value for name, value in world.alipay.settings().items()}
    return Settings(
        data_dir=folder,
        api_port=port,
        public_url=public_url,
        telegram_token=SecretStr("1:demo"),
        telegram_api_url=f"{url}/telegram",
        discord_token=SecretStr("demo"),
        discord_api_url=f"{url}/discord/api/v10",
        stability_api_url=f"{url}/stability",
        openai_api_url=f"{url}/openai",
        stripe_secret_key=SecretStr(STRIPE_KEY),
        stripe_webhook_secret=SecretStr(STRIPE_SECRET),
        stripe_api_url=f"{url}/stripe",
        smtp_url=SecretStr(world.mail.smtp_url),
        mail_from="Aetherflow <hello@aetherflow.example>",
        admins=f"telegram:{ADMIN}",
        **alipay,
    )


def _free_port() -> int:
    """A port that nobody listens on now; the api takes it a moment later."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


async def give_everyone(opened: Opened, settings: Settings) -> None:
    """Credits to try things with, once."""
    async with opened(settings) as app:
        first = [Identity("telegram", "1001", "Ada", "1001"), *(Identity("discord", each, name, f"dm:{each}") for each, name in DISCORD)]
        for identity in first:
            user = await app.run(partial(_resolve, identity=identity))
            await app.grant(user.id, 100_000, f"grant:welcome:{user.id}")


async def _resolve(work: UnitOfWork, identity: Identity) -> User:
    return await work.users.resolve(identity)


async def play(run_roles: RunRoles, opened: Opened, upgrade: Callable[[str], None], console: Console) -> None:
    """Plays the main job. Raises (and so exits non-zero) at the first step that does not work."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    world = World()
    await world.start(port=0)
    stop = asyncio.Event()
    try:
        settings = settings_for(world, FOLDER)
        await asyncio.to_thread(upgrade, settings.sqlalchemy_url)
        async with asyncio.TaskGroup() as group:
            group.create_task(run_roles(settings, ("api", "worker", "telegram", "discord"), stop))
            try:
                await _journey(world, console)
            finally:
                stop.set()
        async with opened(settings) as app:
            audit = await app.audit()
            assert audit.clean, audit.findings
            console.print(
                f"[green]✓[/] The ledger is proved: {audit.figures['entries']} entries, which sum to {audit.figures['sum of all legs']}."
            )
        console.print(f"[bold green]Everything worked.[/] The pictures are in {FOLDER}/. To try it by hand in a browser: make sandbox")
    finally:
        await world.stop()


async def _journey(world: World, console: Console) -> None:
    console.print("Bots, worker and API are real; Telegram, Discord, Stability AI, Stripe and Alipay are played on this machine.")
    console.print("Mira lends a key, Ada (in Telegram) and Bo (in Discord) make pictures, Olga is an admin.")
    await _lend(world, console)
    chat = world.telegram.private_chat("1001")
    await world.telegram.say("1001", chat, "/start")
    await world.telegram.wait_for("1001", chat, lambda m: "Ada" in m["html"], SECONDS)
    await _buy_by_stars(world, console, chat)
    await world.telegram.say("1001", chat, "/imagine a red fox in the snow at sunset --ar 16:9 --seed 7")
    shown = await world.telegram.wait_for("1001", chat, lambda m: bool(m["pictures"]), SECONDS)
    await _keep(world, shown, "telegram.png", console, "Telegram: Ada typed /imagine and got her picture")
    await world.telegram.say("1001", chat, "/balance")
    balance = await world.telegram.wait_for("1001", chat, lambda m: "Wallet" in m["html"], SECONDS)
    console.print(_lines(balance, "Wallet"))
    channel = next(each["id"] for each in world.discord.chats(BO) if each["kind"] == "channel")
    await world.discord.until(
        lambda: bool(world.discord.gateway.shards) and any(each["name"] == "imagine" for each in world.discord.commands())
    )
    await _buy_by_links(world, console)
    await world.discord.command(BO, channel, "imagine", {"prompt": "城市 neon street, rain", "model": "core", "style": "anime"})
    shown = await world.discord.wait_for(BO, channel, lambda m: bool(m["pictures"]), SECONDS)
    await _keep(world, shown, "discord.png", console, "Discord: Bo used /imagine with options and got his picture")
    mira = world.telegram.private_chat("1004")
    await world.telegram.say("1004", mira, "/earnings")
    earned = await world.telegram.wait_for("1004", mira, lambda m: "Pending" in m["html"] and "Delivered: 2" in m["html"], SECONDS)
    console.print(f"[green]✓[/] Telegram: Mira earned 85 % of what both pictures cost.\n{_lines(earned, 'Pending')}")
    await _share_a_pool(world, console, channel)
    await _earn_by_a_preset(world, console, chat, channel)
    await _dispute(world, console)
    await _refund_by_rule(world, console)
    await _ban(world, console)


async def _share_a_pool(world: World, console: Console, channel: str) -> None:
    """Ada's Telegram group begins a pool and gives to it; the Discord server joins it by a code, and Bo's picture is paid by it."""
    hands, keeper = world.telegram, next(each["id"] for each in world.discord.people() if each["admin"])
    await hands.say("1001", CLUB, "/pool")
    begun = await hands.wait_for("1001", CLUB, _offers("give 10"), SECONDS)
    await hands.press("1001", CLUB, begun["id"], "give 10")
    await hands.wait_for("1001", CLUB, _says("gave 10"), SECONDS)
    await hands.press("1001", CLUB, begun["id"], "pool_code")
    told = await hands.wait_for("1001", hands.private_chat("1001"), _says("Your code"), SECONDS)
    code = str(told["html"]).partition("<code>")[2].partition("</code>")[0]
    await world.discord.command(keeper, channel, "pool", {"join": code})
    await world.discord.wait_for(BO, channel, _says("10 Credits"), SECONDS)
    console.print("[green]✓[/] Telegram and Discord: a group and a server share one pool of Credits.")
    seen = {each["id"] for each in world.discord.messages(BO, channel)}
    await world.discord.command(BO, channel, "imagine", {"prompt": "a lighthouse in a storm"})
    await world.discord.wait_for(BO, channel, _newer(seen, lambda m: bool(m["pictures"])), SECONDS)
    await hands.say("1001", CLUB, "/pool")
    left = await hands.wait_for("1001", CLUB, _says("Today: 4.05 Credits (members: 1)"), SECONDS)
    console.print(
        f"[green]✓[/] Discord: the pool paid for Bo's picture; its group in Telegram sees it.\n{_lines(left, 'Pool of', 'Today')}"
    )


async def _earn_by_a_preset(world: World, console: Console, chat: str, channel: str) -> None:
    """Ada publishes a preset in Telegram, Bo makes a picture with it in Discord, and Ada earns."""
    hands = world.telegram
    await hands.say("1001", chat, "/preset publish")
    for number, given in enumerate(("neon-sign", "Neon sign", "a neon sign that shows {subject}, {place}", "--ar 1:1", "neon"), start=1):
        await hands.wait_for("1001", chat, _says(f"({number}/5)"), SECONDS)
        await hands.say("1001", chat, given)
    await hands.wait_for("1001", chat, _says("is published as version 1"), SECONDS)
    seen = {each["id"] for each in world.discord.messages(BO, channel)}
    asked = {"prompt": "a red fox", "preset": "neon-sign", "fields": 'place="rainy street"', "pay": "me"}
    await world.discord.command(BO, channel, "imagine", asked)
    await world.discord.wait_for(BO, channel, _newer(seen, lambda m: bool(m["pictures"])), SECONDS)
    await hands.say("1001", chat, "/earnings")
    earned = await hands.wait_for("1001", chat, _says("Pending"), SECONDS)
    assert "0.202" in earned["html"], earned["html"]
    console.print(f"[green]✓[/] Both: Bo used a preset that Ada had published; she earned a royalty of 5 %.\n{_lines(earned, 'Pending')}")


async def _ban(world: World, console: Console) -> None:
    """Olga bans somebody by a command; they are told why, and order nothing more."""
    olga, nour = Actor(world, "telegram", ADMIN), Actor(world, "telegram", "1005")
    await nour.says("/start", "Welcome")
    await olga.says("/ban telegram:1005")
    await olga.fills({"reason": "Sells stolen keys."}, "banned")
    await nour.reads("Sells stolen keys")
    await nour.says("/imagine a cat", "frozen")
    console.print("[green]✓[/] Telegram: Olga banned somebody by a command; they were told why, and can order nothing more.")


async def _dispute(world: World, console: Console) -> None:
    """Ada reports her picture, and Olga, an admin, gives the Credits back by commands in her own chat."""
    ada, olga = Actor(world, "telegram", "1001"), Actor(world, "telegram", ADMIN)
    await ada.says("/dispute", "Which picture")
    await ada.presses("report", "What is wrong")
    await ada.presses("dispute", "is open")
    await olga.says("/disputes", "Open disputes: 1")
    await olga.presses("verdict")
    await olga.fills({"reason": "The ground has no snow."}, "is decided")
    told = await ada.reads("was refunded")
    console.print(f"[green]✓[/] Telegram: Ada disputed her picture, and Olga, an admin, refunded it.\n  {_plain(told)}")


async def _refund_by_rule(world: World, console: Console) -> None:
    """The provider gives an empty picture; Ada reports it, and the refund comes without anybody."""
    ada, faults = Actor(world, "telegram", "1001"), world.stability.faults
    faults.set(fail_kind="blank", fail_rate=1.0)
    await ada.says("/imagine a lighthouse in fog")
    shown = await ada.reads("a lighthouse in fog", picture=True)
    faults.set(fail_rate=0.0)
    await ada.presses(action_of(shown, "report") or "", "What is wrong")
    pressed = time.monotonic()
    await ada.presses("dispute")
    told = await ada.reads("shows nothing")
    seconds = time.monotonic() - pressed
    console.print(
        f"[green]✓[/] Telegram: Ada reported an empty picture, and was refunded by a rule {seconds:.1f} s later.\n  {_plain(told)}"
    )


async def _buy_by_stars(world: World, console: Console, chat: str) -> None:
    """Ada buys in Telegram, where Stars are the only money."""
    hands = world.telegram
    await hands.say("1001", chat, "/topup")
    offer = await hands.wait_for("1001", chat, _offers("buy taste stars"), SECONDS)
    await hands.press("1001", chat, offer["id"], "buy taste stars")
    bill = await hands.wait_for("1001", chat, lambda m: bool(m.get("invoice")), SECONDS)
    paid = await hands.pay("1001", chat, bill["id"], SECONDS)
    assert paid["paid"], paid
    arrived = await hands.wait_for("1001", chat, _says("have arrived"), SECONDS)
    console.print(f"[green]✓[/] Telegram: Ada bought Credits for {bill['invoice']['amount']} Stars.\n  {_plain(arrived)}")


async def _buy_by_links(world: World, console: Console) -> None:
    """Bo buys in Discord: the checkout page is paid as a browser pays it, the rail calls the api, and the message in the chat changes."""
    hands, chat = world.discord, world.discord.private_chat(BO)
    for rail, package in (("stripe", "small"), ("alipay", "taste")):
        action, seen = f"buy {package} {rail}", {each["id"] for each in hands.messages(BO, chat)}
        await hands.command(BO, chat, "topup")
        offer = await hands.wait_for(BO, chat, _newer(seen, _offers(action)), SECONDS)
        await hands.press(BO, chat, offer["id"], action)
        asked = await hands.wait_for(BO, chat, _newer(seen, lambda m: _url(m) is not None), SECONDS)
        await _pay(_url(asked) or "")
        await hands.wait_for(BO, chat, _changed(asked["id"]), SECONDS)
        arrived = await hands.wait_for(BO, chat, _newer(seen, _says("have arrived")), SECONDS)
        await (world.stripe.settled(SECONDS) if rail == "stripe" else world.alipay.courier.settled(SECONDS))  # the callback was taken
        console.print(f"[green]✓[/] Discord: Bo bought Credits on {rail.capitalize()}'s page; the message in the chat changed by itself.")
        console.print(f"  {_plain(arrived)}")


async def _pay(url: str) -> None:
    """What a browser does: opens the page, wherever the address leads, and presses its button, which sends the buyer on."""
    async with aiohttp.ClientSession() as browser:
        async with browser.get(url) as page:
            assert page.status == 200, page.status
        async with browser.post(f"{page.url}/pay", allow_redirects=False) as answer:
            assert answer.status == 303, answer.status


async def _lend(world: World, console: Console) -> None:
    """Mira lends a key in a private conversation."""
    hands, mira = world.telegram, "1004"
    chat = hands.private_chat(mira)
    await hands.say(mira, chat, "/lend")
    for word in ("lend stability", "attest stability"):
        asked = await hands.wait_for(mira, chat, _offers(word), SECONDS)
        await hands.press(mira, chat, asked["id"], action_of(asked, word) or "")
    await hands.wait_for(mira, chat, lambda m: "/handover/" in m["html"], SECONDS)
    pasted = await hands.say(mira, chat, KEY)
    ready = await hands.wait_for(mira, chat, lambda m: action_of(m, "limits") is not None, SECONDS)
    assert all(each["id"] != pasted for each in hands.messages(mira, chat)), "the message with the key was not deleted"
    console.print("[green]✓[/] Telegram: Mira lent a key; her message is deleted, the key sealed and tried.")
    await hands.press(mira, chat, ready["id"], action_of(ready, "limits") or "")
    for number, given in enumerate(("90", "4", "60", "500", "always"), start=1):
        await hands.wait_for(mira, chat, _says(f"({number}/5)"), SECONDS)
        await hands.say(mira, chat, given)
    await hands.wait_for(mira, chat, lambda m: "listed" in m["html"], SECONDS)
    console.print("[green]✓[/] Telegram: Mira set price and limits; the resource is listed.")


def _offers(word: str) -> Callable[[Message], bool]:
    return lambda message: action_of(message, word) is not None


def _newer(seen: set[str], fits: Callable[[Message], bool]) -> Callable[[Message], bool]:
    return lambda message: message["id"] not in seen and fits(message)


def _changed(message_id: str) -> Callable[[Message], bool]:
    """The message with where to pay, once there is nothing to pay any more."""
    return lambda message: message["id"] == message_id and _url(message) is None


def _says(words: str) -> Callable[[Message], bool]:
    return lambda message: words in message["html"]


def _url(message: Message) -> str | None:
    return next((key["url"] for row in message["rows"] for key in row if key.get("url")), None)


def _plain(message: Message) -> str:
    text = str(message["html"]).replace("<br>", "\n").replace("\n", "\n  ")
    for tag in ("b", "i", "code"):
        text = text.replace(f"<{tag}>", "").replace(f"</{tag}>", "")
    return text


def _lines(message: Message, *begin: str) -> str:
    """The lines of a message that begin so, indented."""
    return "\n".join(f"  {line.strip()}" for line in _plain(message).splitlines() if line.strip().startswith(begin))


async def _keep(world: World, message: Message, name: str, console: Console, words: str) -> None:
    url = message["pictures"][0]
    async with aiohttp.ClientSession() as session, session.get(url if "://" in url else f"{world.url}{url}") as answer:
        data = await answer.read()
        assert answer.status == 200, answer.status
    file = FOLDER / name
    await asyncio.to_thread(file.write_bytes, data)
    console.print(f"[green]✓[/] {words}: {file}")
