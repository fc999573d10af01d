"""The whole product with real bots over real sockets, embedded or scaled, and the people of one chat who read one language."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from pydantic import SecretStr

import cli
import demo
from core.app import App
from core.config import Settings
from core.vault.keyring import new_key
from sandbox.actor import Actor
from sandbox.discord_state import IMAGINE
from sandbox.world import World
from tests.fleet import Fleet

PEOPLE = ("miner", "creator", "author", "keeper", "chief", "deputy", "guest")
"""A miner; a creator; a contributor; who administers the group; two who administer the platform; and a member of the group."""
LANGUAGES = {"telegram": {"en": "en", "zh": "zh-hans"}, "discord": {"en": "en-US", "zh": "zh-CN"}}


@dataclass
class Played:
    """What a journey sees. `club`: the group or channel that the keeper administers."""

    world: World
    settings: Settings
    platform: str
    people: dict[str, Actor]
    club: str

    @property
    def aside(self) -> str:
        """Where somebody reads what is for them alone, of what they said in the club: in private, or there, where only they see it."""
        return "" if self.platform == "telegram" else self.club

    async def page(self, url: str, **form: str) -> tuple[int, str]:
        """What a browser gets for a link, or for a form that is sent to it."""
        async with aiohttp.ClientSession() as browser:
            asked = browser.post(url, data=form) if form else browser.get(url)
            async with asked as answer:
                return answer.status, await answer.text()

    @asynccontextmanager
    async def books(self) -> AsyncIterator[App]:
        """The App of an onlooker."""
        async with cli.opened(self.settings) as app:
            yield app


@asynccontextmanager
async def played(platform: str, language: str, folder: Path, database_url: str, redis_url: str = "") -> AsyncIterator[Played]:
    """Starts all of it. With a Redis the api and the worker are processes of their own, as in the scaled size; the bots are here."""
    world = World()
    await world.start(port=0)
    numbers = {name: f"{7 if platform == 'telegram' else 2_000_000_000_000_000}{place:03}" for place, name in enumerate(PEOPLE, start=1)}
    hands = world.telegram if platform == "telegram" else world.discord
    for name, number in numbers.items():
        hands.add_person(name, LANGUAGES[platform][language], number, admin=name == "keeper" and platform == "discord")
    everybody, keeper = [int(each) for each in numbers.values()], int(numbers["keeper"])
    club = str(world.telegram.add_group("Club", everybody, [keeper]).id) if platform == "telegram" else IMAGINE
    admins = ",".join(f"{platform}:{numbers[name]}" for name in ("chief", "deputy"))
    settings = demo.settings_for(world, folder).model_copy(
        update={
            "database_url": database_url, "redis_url": redis_url, "admins": admins,
            "vault_keys": SecretStr(new_key("k1")), "jwt_secret": SecretStr(new_key("j1")), "events_per_minute": 1000,
        }
    )  # fmt: skip
    stop, here = asyncio.Event(), ("api", "worker", "telegram", "discord") if not redis_url else ("telegram", "discord")
    fleet = Fleet(settings, [settings.public_url])
    try:
        async with asyncio.TaskGroup() as group:
            for name in (settings.public_url, "worker") if redis_url else ():
                group.create_task(fleet.start(name))
        async with asyncio.TaskGroup() as group:
            group.create_task(cli.run_roles(settings, here, stop))
            try:
                if platform == "discord":
                    await world.discord.until(lambda: bool(world.discord.gateway.shards and world.discord.commands()))
                yield Played(world, settings, platform, {name: Actor(world, platform, number) for name, number in numbers.items()}, club)
            finally:
                stop.set()
    finally:
        await fleet.stop()
        await world.stop()
