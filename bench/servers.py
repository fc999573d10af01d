"""What a benchmark asks of its PostgreSQL: the processor time that all of its processes have used."""

import asyncio
from urllib.parse import urlsplit

import asyncpg
import psutil


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

    def seconds(self) -> float:
        """Since the server started."""
        own = self._server.cpu_times()
        total = own.user + own.system + own.children_user + own.children_system
        for child in self._server.children():
            try:
                times = child.cpu_times()
            except psutil.NoSuchProcess:
                continue  # its parent counts it from the next reading on
            total += times.user + times.system
        return float(total)
