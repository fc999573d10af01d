"""`POST /v1/images/generations` over two api processes and a worker on PostgreSQL, beside a floor in the same run; and every other route.

The load, the provider's stand-in, PostgreSQL, Valkey and all processes share this machine's processors.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import psutil
from pydantic import SecretStr

from bench.floor import SCHEMA
from bench.flow import Delay, delay, lend, people
from bench.outside import raise_open_files
from bench.servers import ServerClock, running
from core.access.models import Scope
from core.access.rules import digest, new_token
from core.app import open_app
from core.config import Settings
from core.providers.http import make_client
from core.providers.stability import StabilityProvider
from core.users.models import User
from core.vault.keyring import new_key
from core.worker import Worker
from tests import databases, services
from tests.fleet import fleet, free_port

APIS = 2
CREATORS = 50
WARM_SECONDS = 2.0
MIXED_RATE = 200
MIXED = ("/wallet", "/models", "/generations?limit=10", "/me", "/wallet/transactions?limit=10", "/v1/models")
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Figure:
    """`rate` in requests a second; processor milliseconds a request of the api processes, the worker and PostgreSQL; memory in MB."""

    who: str
    provider: int
    callers: int
    rate: float
    delay: Delay
    api: float
    worker: float
    server: float
    memory: float
    failed: int


@dataclass(frozen=True)
class Mixed:
    """Every other route at `rate` requests a second."""

    rate: float
    delay: Delay
    failed: int


def measure(server: str, callers: Sequence[int], providers: Sequence[int], seconds: float) -> tuple[list[Figure], Mixed]:
    """`server`: a superuser's `postgresql://…` URL of a durable one; `providers`: milliseconds that the provider takes."""
    raise_open_files()
    clock, figures = ServerClock(server), []
    mixed: Mixed | None = None
    for milliseconds in providers:
        with running("bench.still", str(milliseconds)) as provider:
            with databases.created(server, databases.migrated_template(server)) as url, tempfile.TemporaryDirectory() as folder:
                ours, found = asyncio.run(_ours(url, Path(folder), provider, milliseconds, callers, seconds, clock))
                mixed = mixed or found
            with databases.created(server) as url, tempfile.TemporaryDirectory() as folder:
                figures += ours + asyncio.run(_floor(url, Path(folder), provider, milliseconds, callers, seconds, clock))
    assert mixed is not None
    return figures, mixed


async def _ours(
    url: str, folder: Path, provider: str, milliseconds: int, callers: Sequence[int], seconds: float, clock: ServerClock
) -> tuple[list[Figure], Mixed]:
    settings = Settings(
        data_dir=folder, database_url=url.replace("+asyncpg", ""), redis_url=services.valkey("bench"), stability_api_url=provider,
        vault_keys=SecretStr(new_key("k1")), jwt_secret=SecretStr(new_key("k1")), running_per_user=1000,
        strikes_per_user=1000, queued_per_user=100_000, resources_per_miner=20,
        requests_per_address=1_000_000, requests_per_user=1_000_000, log_level="error",
    )  # fmt: skip
    tokens = await _set_up(settings)
    async with fleet(settings, APIS) as started:
        apis = [started.processes[address] for address in started.apis]
        processes = Processes([each.pid for each in apis], [started.processes["worker"].pid], clock)
        load = Load(started.apis, tokens)
        await load.closed(max(callers), WARM_SECONDS)
        figures = [await _figure("ours", milliseconds, each, seconds, load, processes) for each in callers]
        mixed = await load.open(MIXED, MIXED_RATE, seconds)
    return figures, mixed


async def _set_up(settings: Settings) -> list[str]:
    """Creators with Credits, keys with room for all; a token for each creator."""
    client = make_client()
    try:
        async with open_app(settings, {"stability": StabilityProvider(settings.stability_api_url, client)}) as app:
            creators: Sequence[User] = await people(app)
            await lend(app, Worker(app, seed=1))
            tokens = [new_token() for _ in creators]
            scopes = [Scope.GENERATE, Scope.GENERATIONS_READ, Scope.WALLET_READ]
            for user, token in zip(creators, tokens, strict=True):
                await app.run(lambda work, u=user.id, t=token: work.access.add_token(u, t, "bench", scopes, None, None, 5))  # type: ignore[misc]  # defaults
    finally:
        await client.aclose()
    return tokens


async def _floor(
    url: str, folder: Path, provider: str, milliseconds: int, callers: Sequence[int], seconds: float, clock: ServerClock
) -> list[Figure]:
    dsn = urlsplit(url)._replace(scheme="postgresql").geturl()
    tokens = [new_token() for _ in range(CREATORS)]
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(SCHEMA)
        rows = [(digest(token), f"user:{number}") for number, token in enumerate(tokens)]
        await connection.executemany("INSERT INTO floor_tokens VALUES ($1, $2)", rows)
        await connection.executemany("INSERT INTO floor_accounts VALUES ($1, 10000000000)", [(name,) for _, name in rows])
        await connection.executemany("INSERT INTO floor_accounts VALUES ($1, 0)", [(f"miner:{number}",) for number in range(16)])
    finally:
        await connection.close()
    async with _floors({"DSN": dsn, "PROVIDER": provider, "FOLDER": str(folder)}) as (addresses, pids):
        load, processes = Load(addresses, tokens), Processes(pids, [], clock)
        await load.closed(max(callers), WARM_SECONDS)
        return [await _figure("floor", milliseconds, each, seconds, load, processes) for each in callers]


async def _figure(who: str, milliseconds: int, callers: int, seconds: float, load: "Load", processes: "Processes") -> Figure:
    before = processes.seconds()
    found, failed, took = await load.closed(callers, seconds)
    api, worker, server = (1000 * (after - then) / max(1, len(found)) for after, then in zip(processes.seconds(), before, strict=True))
    return Figure(who, milliseconds, callers, len(found) / took, delay(found), api, worker, server, processes.memory(), failed)


class Processes:
    """Processor time and memory of what is measured."""

    def __init__(self, apis: Sequence[int], workers: Sequence[int], clock: ServerClock) -> None:
        self._apis, self._workers, self._clock = apis, workers, clock

    def seconds(self) -> tuple[float, float, float]:
        """Processor seconds of the api processes, of the worker, and of PostgreSQL."""
        return _used(self._apis), _used(self._workers), self._clock.seconds()

    def memory(self) -> float:
        """Resident MB (10^6 bytes) of the api processes and the worker."""
        return float(sum(psutil.Process(pid).memory_info().rss for pid in (*self._apis, *self._workers)) / 1e6)


class Load:
    """Requests spread over the api processes and the creators."""

    def __init__(self, addresses: Sequence[str], tokens: Sequence[str]) -> None:
        self._addresses, self._tokens = addresses, tokens

    async def closed(self, callers: int, seconds: float) -> tuple[list[float], int, float]:
        """So many callers, each of whom asks again once answered: seconds of each picture, how many failed, and how long it took."""
        found: list[float] = []
        failed = 0
        async with _session() as session:
            began = time.monotonic()
            end = began + seconds

            async def call(number: int) -> None:
                nonlocal failed
                turn = number
                while time.monotonic() < end:
                    at = time.monotonic()
                    if await self._picture(session, turn):
                        found.append(time.monotonic() - at)
                    else:
                        failed += 1
                    turn += callers

            await asyncio.gather(*(call(number) for number in range(callers)))
            took = time.monotonic() - began
        return found, failed, took

    async def open(self, paths: Sequence[str], rate: int, seconds: float) -> Mixed:
        """So many requests a second, in turn over `paths`, whatever happens to those before."""
        found: list[float] = []
        failed = 0
        async with _session() as session:

            async def ask(number: int) -> None:
                nonlocal failed
                at = time.monotonic()
                address = self._addresses[number % len(self._addresses)] + paths[number % len(paths)]
                async with session.get(address, headers=self._bearing(number)) as answer:
                    await answer.read()
                    failed += answer.status != 200
                found.append(time.monotonic() - at)

            began = time.monotonic()
            async with asyncio.TaskGroup() as group:
                for number in range(round(rate * seconds)):
                    await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
                    group.create_task(ask(number))
            took = time.monotonic() - began
        return Mixed(len(found) / took, delay(found), failed)

    async def _picture(self, session: aiohttp.ClientSession, number: int) -> bool:
        address = f"{self._addresses[number % len(self._addresses)]}/v1/images/generations"
        async with session.post(address, json={"prompt": f"fox {number}"}, headers=self._bearing(number)) as answer:
            await answer.read()
            return answer.status == 200

    def _bearing(self, number: int) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._tokens[number % len(self._tokens)]}"}


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=120))


def _used(pids: Sequence[int]) -> float:
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return float(sum(each.user + each.system for each in times))


@asynccontextmanager
async def _floors(values: dict[str, str]) -> AsyncIterator[tuple[list[str], list[int]]]:
    ports = [free_port() for _ in range(APIS)]
    command = [sys.executable, "-m", "bench.floor"]
    processes = [await asyncio.create_subprocess_exec(*command, str(port), cwd=ROOT, env={**os.environ, **values}) for port in ports]
    try:
        addresses = [f"http://127.0.0.1:{port}" for port in ports]
        await asyncio.gather(*(_until(lambda a=each: _ready(a)) for each in addresses))  # type: ignore[misc]  # a default
        yield addresses, [each.pid for each in processes]
    finally:
        for each in processes:
            each.terminate()
            await each.wait()


async def _until(asked: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await asked():  # noqa: ASYNC110  # a process tells nobody that it listens
            await asyncio.sleep(0.05)


async def _ready(address: str) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(f"{address}/readyz") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False
