"""Generations from submit to provider to result: what the platform itself adds, and what a worker weighs with 1,000 calls in flight.

The provider's stand-in is a process of its own (bench/outside.py); App, Worker and the load are in this one.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psutil
from pydantic import SecretStr

from bench.outside import raise_open_files
from bench.servers import running
from core.address import Address
from core.app import App, open_app
from core.config import Settings
from core.generations.models import Order, Settlement, Wish
from core.providers.http import make_client
from core.providers.stability import StabilityProvider
from core.resources.models import State
from core.unit_of_work import UnitOfWork
from core.users.models import Identity, User
from core.vault.keyring import keyring_file
from core.vault.secret import Secret
from core.worker import Worker
from migrations.upgrade import upgrade
from tests import databases

ENGINES = ("sqlite", "postgresql")
CREATORS = 50
KEYS = 12
CALLS_PER_KEY = 100
RATE = 50
LATENCY = 0.5
PLENTY = 10**14
WAIT_SECONDS = 120.0


@dataclass(frozen=True)
class Delay:
    """Milliseconds of half, of 95 % and of 99 % of the generations."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True)
class Figure:
    """`reach`: submit called -> provider has the request. `result`: picture made -> outbox row committed. Memory in MB (10^6 bytes)."""

    engine: str
    submitted: int
    settled: int
    reach: Delay
    result: Delay
    in_flight: int
    idle_memory: float
    memory: float


class Watched(App):
    """An App that notes when settlements were committed, by prompt."""

    def note(self, wanted: int) -> None:
        """From now on `done` waits for `wanted` more."""
        self.committed: dict[str, float] = {}
        self._wanted = wanted
        self._done = asyncio.Event()

    async def settle(self, settlement: Settlement) -> bool:
        """As its parent."""
        won = await super().settle(settlement)
        if won and settlement.blob is not None:
            self.committed[settlement.lease.generation.prompt] = time.monotonic()
            if len(self.committed) >= self._wanted:
                self._done.set()
        return won

    async def done(self) -> None:
        """Raises TimeoutError."""
        await asyncio.wait_for(self._done.wait(), WAIT_SECONDS)


@dataclass
class _Stage:
    app: Watched
    worker: Worker
    outside: aiohttp.ClientSession
    creators: Sequence[User]
    calls: int = 0
    submits: dict[str, float] = field(default_factory=dict)

    async def submit(self, name: str, number: int) -> None:
        user = self.creators[number % CREATORS]
        wish, price = self.app.price(Wish(name, "core"))
        self.submits[name] = time.monotonic()
        await self.app.submit(Order(name, user.id, wish, price, Address("telegram", str(user.id))))

    async def burst(self, name: str, count: int, rate: float | None) -> None:
        """Submits `count` generations, `rate` a second whatever happens to those before, or all at once."""
        start = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                if rate is not None:
                    await asyncio.sleep(max(0.0, start + number / rate - time.monotonic()))
                group.create_task(self.submit(f"{name} {number}", number))
        self.calls += count


def measure(engine: str, server: str, seconds: float, in_flight: int) -> Figure:
    """On a database of its own. `server`: a superuser's `postgresql://…` URL, used for PostgreSQL alone."""
    raise_open_files()
    with tempfile.TemporaryDirectory() as folder, running("bench.outside") as address, _database(engine, server, Path(folder)) as url:
        return asyncio.run(_measure(engine, url, Path(folder), address, seconds, in_flight))


async def _measure(engine: str, url: str, folder: Path, address: str, seconds: float, in_flight: int) -> Figure:
    async with _stage(url, folder, address) as stage:
        app, outside = stage.app, stage.outside
        count = round(RATE * seconds)
        app.note(RATE)
        await stage.burst("warm", RATE, RATE)
        await app.done()
        await _say(outside, latency=LATENCY)
        app.note(count)
        await stage.burst("paced", count, RATE)
        await app.done()
        async with outside.get("/bench/times") as response:
            times = await response.json()
        reach = delay([times["received"][name] - at for name, at in stage.submits.items() if name.startswith("paced")])
        result = delay([at - times["answered"][name] for name, at in app.committed.items()])
        settled = len(app.committed)
        idle = _memory()
        await _say(outside, hold=True)
        app.note(in_flight)
        await stage.burst("many", in_flight, None)
        async with outside.get("/bench/wait", params={"count": stage.calls}) as response:
            response.raise_for_status()
        flying, memory = stage.worker.in_flight, _memory()
        await _say(outside, hold=False, latency=0.0)
        await app.done()
        return Figure(engine, count, settled, reach, result, flying, idle, memory)


@asynccontextmanager
async def _stage(url: str, folder: Path, address: str) -> AsyncIterator[_Stage]:
    settings = Settings(
        data_dir=folder, database_url=url, vault_keys=SecretStr(keyring_file(folder / "keyring")), stability_api_url=f"{address}/stability",
        running_per_user=1000, strikes_per_user=1000, queued_per_user=100_000, resources_per_miner=KEYS,
    )  # fmt: skip
    client = make_client()
    try:
        provider = StabilityProvider(settings.stability_api_url, client)
        async with open_app(settings, {"stability": provider}) as opened, aiohttp.ClientSession(address) as outside:
            app = Watched(
                settings, opened.database, opened.hints, opened.blobs, opened.vault, opened.catalog, opened.providers,
                opened.packages, {},
            )  # fmt: skip
            app.note(0)
            worker, stop = Worker(app, seed=1), asyncio.Event()
            creators = await people(app)
            await lend(app, worker)
            async with asyncio.TaskGroup() as group:
                group.create_task(worker.run(stop))
                try:
                    yield _Stage(app, worker, outside, creators)
                finally:
                    stop.set()
            await app.close()
    finally:
        await client.aclose()


async def people(app: App) -> list[User]:
    """CREATORS with plenty of Credits."""
    creators = []
    for number in range(CREATORS):
        identity = Identity("telegram", str(number + 1), f"creator {number}", str(number + 1))
        creators.append(await app.run(lambda work, who=identity: work.users.resolve(who)))  # type: ignore[misc]  # a lambda with a default
        await app.grant(creators[-1].id, PLENTY // 10**4, f"bench:{number}")
    return creators


async def lend(app: App, worker: Worker) -> None:
    """KEYS with room for CALLS_PER_KEY each."""
    miner = await app.run(lambda work: work.users.resolve(Identity("telegram", "9999", "miner", "9999")))
    rule = app.catalog.providers["stability"]
    lent = []
    for number in range(KEYS):
        drafted = await app.run(lambda work: work.resources.draft(miner.id, rule, "en", KEYS))
        lent.append(await app.hand_over(drafted, Secret(f"sk-demo-bench{number:04d}")))
    await worker.probe()
    limits = {
        "max_concurrency": CALLS_PER_KEY,
        "strike_limit": CALLS_PER_KEY,
        "per_minute": 100_000,
        "day_limit": PLENTY,
        "month_limit": PLENTY,
    }
    for each in lent:

        async def list_(work: UnitOfWork, which: int = each.id) -> None:
            await work.resources.move(await work.resources.get(which), State.LISTED, **limits)

        await app.run(list_)


async def _say(outside: aiohttp.ClientSession, **switches: float | bool) -> None:
    async with outside.post("/hands/stability/faults", json=switches) as response:
        response.raise_for_status()


@contextmanager
def _database(engine: str, server: str, folder: Path) -> Iterator[str]:
    if engine == "sqlite":
        url = f"sqlite+aiosqlite:///{folder / 'flow.sqlite3'}"
        upgrade(url)
        yield url.replace("+aiosqlite", "")
        return
    with databases.created(server, databases.migrated_template(server)) as url:
        yield url.replace("+asyncpg", "")


def _memory() -> float:
    return float(psutil.Process().memory_info().rss / 1e6)


def delay(seconds: Sequence[float]) -> Delay:
    """Of at least one measurement."""
    ordered = sorted(seconds)
    at: Callable[[float], float] = lambda share: 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]  # noqa: E731
    return Delay(at(0.5), at(0.95), at(0.99))
