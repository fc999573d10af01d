"""The whole product in this process, on either database, against the sandbox over real sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

import cli
import demo
from core.app import App
from core.config import Settings
from core.vault.keyring import new_key
from sandbox.world import World

ADA, BO, CHEN, MIRA = "1001", "1002", "1003", "1004"


@dataclass
class Town:
    """What a test sees: the outside world, and the books inside."""

    world: World
    settings: Settings

    @asynccontextmanager
    async def books(self) -> AsyncIterator[App]:
        """The App of an onlooker."""
        async with cli.opened(self.settings) as app:
            yield app

    async def said(self, person: str, text: str, expected: str) -> str:
        """Says something to the bot in private and waits for an answer that contains `expected`; returns its html."""
        hands = self.world.telegram
        chat = hands.private_chat(person)
        before = {each["id"] for each in hands.messages(person, chat)}
        await hands.say(person, chat, text)
        answer = await hands.wait_for(
            person, chat, lambda m: m["from"]["bot"] and m["id"] not in before and expected in m["html"], demo.SECONDS
        )
        return str(answer["html"])


@pytest.fixture
async def town(database_url: str, tmp_path: Path) -> AsyncIterator[Town]:
    world = World()
    await world.start(port=0)
    settings = demo.settings_for(world, tmp_path / "data").model_copy(
        update={
            "database_url": database_url,
            "vault_keys": SecretStr(new_key("k1")),
            "jwt_secret": SecretStr(new_key("j1")),
            "events_per_minute": 1000,
        }
    )
    await demo.give_everyone(cli.opened, settings)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(cli.run_roles(settings, ("api", "worker", "telegram", "discord"), stop))
        yield Town(world, settings)
        stop.set()
        await running
    await world.stop()
