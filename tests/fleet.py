"""The product in several processes, as in the scaled size: each role a process of its own, killed and started again as a test wants."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from pydantic import SecretStr

from core.config import PREFIX, Settings

ROOT = Path(__file__).parents[1]
START_SECONDS = 60.0


@dataclass
class Fleet:
    """`apis` by their addresses; a killed one is started again at its own."""

    settings: Settings
    apis: Sequence[str]
    processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)

    async def start(self, name: str) -> None:
        """Starts "worker", or the api with that address; once it is ready."""
        role, port = ("worker", "") if name == "worker" else ("api", name.rpartition(":")[2])
        env = environment(self.settings) | ({f"{PREFIX}API_PORT": port} if port else {})
        self.processes[name] = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "cli", role, cwd=ROOT, env=env, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        if port:
            await self._ready(name)

    async def kill(self, name: str) -> None:
        """With SIGKILL, wherever it is."""
        process = self.processes.pop(name)
        assert process.returncode is None, f"{name} has ended by itself"
        process.send_signal(signal.SIGKILL)
        await process.wait()

    async def stop(self) -> None:
        """Ends all of them, as an operator would."""
        for process in self.processes.values():
            if process.returncode is None:
                process.terminate()
        for process in self.processes.values():
            await process.wait()

    async def _ready(self, address: str) -> None:
        async with asyncio.timeout(START_SECONDS), httpx.AsyncClient(base_url=address) as client:
            while not await _answers(client):
                assert self.processes[address].returncode is None, f"{address} has ended by itself"
                await asyncio.sleep(0.05)  # a process tells nobody that it listens


@asynccontextmanager
async def fleet(settings: Settings, apis: int, *, worker: bool = True) -> AsyncIterator[Fleet]:
    """So many api processes and a worker over these settings, stopped at the end of the block."""
    opened = Fleet(settings, [f"http://127.0.0.1:{free_port()}" for _ in range(apis)])
    try:
        async with asyncio.TaskGroup() as group:
            for name in (*opened.apis, *(["worker"] if worker else [])):
                group.create_task(opened.start(name))
        yield opened
    finally:
        await opened.stop()


def environment(settings: Settings) -> dict[str, str]:
    """The environment that makes another process's settings those of this one. Its lines are not counted: most are killed."""
    values = {name: getattr(settings, name) for name in settings.model_fields_set}
    texts = {name: value.get_secret_value() if isinstance(value, SecretStr) else str(value) for name, value in values.items()}
    plain = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    return {**plain, "PYTHONPATH": str(ROOT), **{f"{PREFIX}{name.upper()}": text for name, text in texts.items()}}


async def _answers(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
