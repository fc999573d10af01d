"""What a benchmark asks of its PostgreSQL: the processor time that all of its processes have used."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import asyncpg
import psutil

SETTLE_SECONDS = 3.0


@contextmanager
def running(module: str, *arguments: str) -> Iterator[str]:
    """A program of the benchmarks in a process of its own, for the length of the block: what it prints first, which is its address."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(30)


class ServerClock:
    """Processor seconds of a PostgreSQL on this machine, those of processes that have ended included."""

    def __init__(self, url: str) -> None:
        async def parent() -> psutil.Process:
            connection = await asyncpg.connect(urlsplit(url)._replace(scheme="postgresql").geturl())
            try:
                found = psutil.Process(await connection.fetchval("SELECT pg_backend_pid()")).parent()
            finally:
                await connection.close()
            assert found is not None
            return found

        self._server = asyncio.run(parent())
        self._background = len(self._server.children())

    def seconds(self) -> float:
        """Since the server started. Read again where a process ended during the reading: it is counted once, by its parent or by itself."""
        while True:
            before, total = self._server.cpu_times(), 0.0
            for child in self._server.children():
                try:
                    times = child.cpu_times()
                except psutil.NoSuchProcess:
                    continue
                total += times.user + times.system
            own = self._server.cpu_times()
            if (own.children_user, own.children_system) == (before.children_user, before.children_system):
                return float(total + own.user + own.system + own.children_user + own.children_system)

    def settle(self) -> None:
        """Waits until the connections of the measurement before are gone, so that none of their time falls into the next."""
        end = time.monotonic() + SETTLE_SECONDS
        while len(self._server.children()) > self._background and time.monotonic() < end:
            time.sleep(0.02)  # another program's processes end: there is nothing to wait on
