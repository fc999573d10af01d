"""Databases on the PostgreSQL server of a run: empty, or copied from a migrated template (about 30 ms instead of a migration)."""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

import asyncpg

from migrations.upgrade import upgrade

P = ParamSpec("P")
T = TypeVar("T")

VERSIONS = Path(__file__).parents[1] / "migrations" / "versions"
EMPTY = "template0"
TEMPLATE_LOCK = 7_001
"""The advisory lock under which one of the workers builds the template while the others wait."""


def migrated_template(server: str) -> str:
    """The name of a database with the newest schema, built when it is not there. `server`: a superuser's `postgresql://…` URL.

    The name holds a digest of the migrations, so that a server that outlives the run never serves yesterday's schema.
    """
    digest = sha256()
    for file in sorted(VERSIONS.glob("*.py")):
        digest.update(file.read_bytes())
    name = f"aetherflow_template_{digest.hexdigest()[:12]}"
    return apart(asyncio.run, _build(server, name))


@contextmanager
def created(server: str, template: str = EMPTY) -> Iterator[str]:
    """A database of its own for the length of the block; gives its SQLAlchemy URL."""
    name = f"aetherflow_{uuid.uuid4().hex}"
    apart(asyncio.run, _execute(server, f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
    try:
        yield sqlalchemy_url(server, name)
    finally:
        apart(asyncio.run, _execute(server, f'DROP DATABASE "{name}" WITH (FORCE)'))


def sqlalchemy_url(server: str, database: str) -> str:
    """The URL of one database on a server, with the asynchronous driver named."""
    return urlsplit(server)._replace(scheme="postgresql+asyncpg", path=f"/{database}").geturl()


def apart(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Calls a blocking function in a thread of its own, where no event loop of the test is in its way."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *args, **kwargs).result()


async def _build(server: str, name: str) -> str:
    connection = await asyncpg.connect(server)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", TEMPLATE_LOCK)
        if not await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", name):
            unfinished = f"{name}_unfinished"
            await connection.execute(f'DROP DATABASE IF EXISTS "{unfinished}" WITH (FORCE)')
            await connection.execute(f'CREATE DATABASE "{unfinished}"')
            await asyncio.to_thread(upgrade, sqlalchemy_url(server, unfinished))
            await connection.execute(f'ALTER DATABASE "{unfinished}" RENAME TO "{name}"')
    finally:
        await connection.close()
    return name


async def _execute(server: str, statement: str) -> None:
    connection: Any = await asyncpg.connect(server)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
