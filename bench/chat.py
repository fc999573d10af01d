"""From the chat to the provider and back, through the real bots: what people wait for beside the provider itself.

The platforms and the provider are a process of their own (bench/town.py). The product is `aetherflow up` on its defaults, or a telegram,
a discord and a worker process on PostgreSQL and Valkey.
"""

import asyncio
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil
from pydantic import SecretStr

from bench.flow import LATENCY, Delay, delay, lend
from bench.servers import running
from bench.town import FIRST_DISCORD, FIRST_TELEGRAM
from core.app import App, open_app
from core.config import Settings
from core.providers.http import make_client
from core.providers.stability import StabilityProvider
from core.users.models import Identity
from core.vault.keyring import new_key
from core.worker import Worker
from migrations.upgrade import upgrade
from tests import databases, services
from tests.fleet import ROOT, environment

SIZES = {"embedded": ("up",), "scaled": ("telegram", "discord", "worker")}
RATE = 50
TELEGRAM = 11
"""Of RATE events a second so many come from Telegram, which lets a bot send about 30 messages a second: two a picture, an answer and the
picture. Discord takes 50 requests a second over all, the first answers not counted."""
WARM = 100
READY_SECONDS = 60.0
ALLOWANCE = 10**7


@dataclass(frozen=True)
class Figure:
    """`reach`: an event lies at its platform -> the provider has the request. `result`: the picture is made -> it is back there.

    `added`: both of the same event. `own`: processor milliseconds of all of our processes for an event.
    """

    size: str
    typed: int
    shown: int
    reach: Delay
    result: Delay
    added: Delay
    own: float


def measure(size: str, server: str, seconds: float) -> Figure:
    """`server`: a superuser's `postgresql://…` URL, for the scaled size alone."""
    count = round(RATE * seconds)
    warm = min(WARM, count)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        address = stack.enter_context(running("bench.town"))
        url = "" if size == "embedded" else stack.enter_context(databases.created(server, databases.migrated_template(server)))
        settings = _settings(size, url.replace("+asyncpg", ""), folder, address)
        if size == "embedded":
            upgrade(settings.sqlalchemy_url)
        asyncio.run(_set_up(settings, warm + count))
        processes = stack.enter_context(_product(settings, SIZES[size]))
        return asyncio.run(_measure(size, address, warm, count, processes))


def _settings(size: str, url: str, folder: Path, address: str) -> Settings:
    return Settings(
        data_dir=folder, database_url=url, redis_url="" if size == "embedded" else services.valkey("bench"), api_port=0,
        vault_keys=SecretStr(new_key("k1")), jwt_secret=SecretStr(new_key("k1")), telegram_token=SecretStr("1:bench"),
        telegram_api_url=f"{address}/telegram", discord_token=SecretStr("bench"), discord_api_url=f"{address}/discord/api/v10",
        stability_api_url=f"{address}/stability", strikes_per_user=1000, resources_per_miner=20, log_level="error",
    )  # fmt: skip


async def _set_up(settings: Settings, people: int) -> None:
    """Keys with room for all, and so many people at each platform with Credits."""
    client = make_client()
    try:
        async with open_app(settings, {"stability": StabilityProvider(settings.stability_api_url, client)}) as app:
            await lend(app, Worker(app, seed=1))
            for first, platform, prefix in ((FIRST_TELEGRAM, "telegram", ""), (FIRST_DISCORD, "discord", "dm:")):
                for number in range(people):
                    await _welcome(app, Identity(platform, str(first + number), "somebody", f"{prefix}{first + number}"))
    finally:
        await client.aclose()
    async with aiohttp.ClientSession(settings.telegram_api_url.removesuffix("/telegram")) as town:
        async with town.post("/bench/settle", json={"telegram": people, "discord": people}) as answer:
            answer.raise_for_status()
        async with town.post("/hands/stability/faults", json={"latency": LATENCY}) as answer:
            answer.raise_for_status()


async def _welcome(app: App, identity: Identity) -> None:
    user = await app.run(lambda work: work.users.resolve(identity))
    await app.grant(user.id, ALLOWANCE, f"bench:{user.id}")


@contextmanager
def _product(settings: Settings, roles: Sequence[str]) -> Iterator[list[psutil.Process]]:
    """A process for each role, ended as an operator would."""
    started: list[psutil.Popen] = []
    try:
        started += [psutil.Popen([sys.executable, "-m", "cli", role], cwd=ROOT, env=environment(settings)) for role in roles]
        yield list(started)
    finally:
        for each in started:
            each.terminate()
        for each in started:
            each.wait(60)


async def _measure(size: str, address: str, warm: int, count: int, processes: Sequence[psutil.Process]) -> Figure:
    async with aiohttp.ClientSession(address, timeout=aiohttp.ClientTimeout(total=None)) as town:
        async with asyncio.timeout(READY_SECONDS):
            while not await _ready(town):  # noqa: ASYNC110  # a process tells nobody that it is up
                await asyncio.sleep(0.1)
        await _played(town, 0, warm)
        before = _used(processes)
        moments = await _played(town, warm, count)
        own = 1000 * (_used(processes) - before) / count
    reach = [received - typed for typed, received, *_ in moments]
    result = [shown - made for *_, made, shown in moments]
    added = [to + back for to, back in zip(reach, result, strict=True)]
    return Figure(size, count, len(moments), delay(reach), delay(result), delay(added), own)


async def _played(town: aiohttp.ClientSession, first: int, count: int) -> list[list[float]]:
    """The moments of those that came to an end; see Town.on_play."""
    asked = {"first": first, "count": count, "rate": RATE, "telegram": TELEGRAM}
    async with town.post("/bench/play", json=asked) as answer:
        moments: dict[str, list[float]] = await answer.json()
    return [each for each in moments.values() if None not in each]


def _used(processes: Sequence[psutil.Process]) -> float:
    return sum(each.cpu_times().user + each.cpu_times().system for each in processes)


async def _ready(town: aiohttp.ClientSession) -> bool:
    async with town.get("/bench/ready") as answer:
        return answer.status == 200
