"""Databases on the PostgreSQL server of a run: empty, copied from a migrated template, or lent: emptied after each use, in a twentieth of
the time that a copy takes."""

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
LENT_TIMES = 25
"""A database is used so often: what is deleted stays on its pages."""
_SCHEMA = (
    "SELECT max(xid) FROM ("
    + " UNION ALL ".join(
        f"SELECT xmin::text::bigint AS xid FROM pg_{each}" for each in ("attribute", "constraint", "index", "proc", "trigger")
    )
    + " UNION ALL SELECT xmin::text::bigint FROM pg_class WHERE relkind <> 'S') AS rows"
)
"""The newest transaction that changed a schema, and the revision it is at."""
_ALONE = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
_EMPTY = """
DO $$
DECLARE each record;
BEGIN
  SET LOCAL session_replication_role = replica;  -- neither triggers nor references
  FOR each IN SELECT oid::regclass AS name FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version' LOOP
    EXECUTE format('DELETE FROM %s', each.name);
  END LOOP;
  PERFORM setval(format('%I', sequencename)::regclass, 1, false) FROM pg_sequences WHERE schemaname = 'public' AND last_value IS NOT NULL;
END $$"""

_lent: dict[str, list[tuple[str, int]]] = {}
"""Of each template: the databases that nobody uses, and how often each was used."""
_schemas: dict[str, str] = {}
"""Of each template: what tells its schema."""


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


@contextmanager
def lent(server: str, template: str) -> Iterator[str]:
    """As `created`, for a migrated template: one that an earlier test of this process left as it found it, if there is one."""
    free = _lent.setdefault(template, [])
    if free:
        name, times = free.pop()
    else:
        name, times = f"aetherflow_{uuid.uuid4().hex}", 0
        apart(asyncio.run, _execute(server, f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
        if template not in _schemas:
            _schemas[template] = apart(asyncio.run, _schema(server, name))
    try:
        yield sqlalchemy_url(server, name)
    finally:
        if times + 1 < LENT_TIMES and apart(asyncio.run, _emptied(server, name, _schemas[template])):
            free.append((name, times + 1))
        else:
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


async def _schema(server: str, name: str) -> str:
    connection: Any = await asyncpg.connect(urlsplit(server)._replace(path=f"/{name}").geturl())
    try:
        return str(await connection.fetchval(_SCHEMA))
    finally:
        await connection.close()


async def _emptied(server: str, name: str, schema: str) -> bool:
    """Whether the database was emptied; not so where a test changed its schema."""
    connection: Any = await asyncpg.connect(urlsplit(server)._replace(path=f"/{name}").geturl())
    try:
        await connection.execute(_ALONE)
        if await connection.fetchval(_SCHEMA) != schema:
            return False
        await connection.execute(_EMPTY)
    finally:
        await connection.close()
    return True
