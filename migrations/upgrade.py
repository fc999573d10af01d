"""Schema to head, on both databases, whoever else is doing the same at this moment."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

LOCK = 0x6165746865726631
"""The advisory lock's number in PostgreSQL: "aetherf1" in ASCII."""

WAIT_SECONDS = 120
"""How long a process waits for another one that migrates."""

ASK_SECONDS = 0.1
"""How often it asks whether that one is done."""

TABLE_LOCK_SECONDS = 10
"""How long a step waits for a table in use. Everybody else queues behind that wait, so it is short: the step fails and is run again."""


def upgrade(url: str) -> None:
    """Brings the database at `url` (SQLAlchemy, asynchronous driver named) to the newest schema; harmless when it is there already.

    Blocks; call it with `asyncio.to_thread` from a running loop. Raises what the database raises; then nothing has changed.
    """
    asyncio.run(_upgrade(url))


def configuration(connection: Connection | None = None) -> Config:
    """alembic's configuration; without a connection it can only write SQL."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


async def _upgrade(url: str) -> None:
    async with engine_for(url) as engine, _alone(engine), engine.connect() as connection:
        await connection.run_sync(lambda plain: command.upgrade(configuration(plain), "head"))


@asynccontextmanager
async def engine_for(url: str) -> AsyncIterator[AsyncEngine]:
    """An engine whose transactions suit changes of the schema; disposed of at the end of the block."""
    if make_url(url).get_backend_name() == "postgresql":
        settings = {"lock_timeout": f"{TABLE_LOCK_SECONDS}s", "application_name": "aetherflow migrate"}
        engine = create_async_engine(url, poolclass=NullPool, connect_args={"server_settings": settings})
    else:
        engine = create_async_engine(url, poolclass=NullPool)
        _configure_sqlite(engine)
    try:
        yield engine
    finally:
        await engine.dispose()


def _configure_sqlite(engine: AsyncEngine) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {WAIT_SECONDS * 1000}")
        cursor.execute("PRAGMA journal_mode = WAL")
        # Copying a table drops the old one, and that would delete what refers to it. Checked as a whole before the commit instead.
        cursor.execute("PRAGMA foreign_keys = OFF")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    @event.listens_for(engine.sync_engine, "commit")
    def _on_commit(connection: Connection) -> None:
        dangling = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
        if dangling:
            raise RuntimeError(f"a migration left rows that refer to nothing: {dangling[:5]}")


@asynccontextmanager
async def _alone(engine: AsyncEngine) -> AsyncIterator[None]:
    """One migration at a time: SQLite's BEGIN IMMEDIATE sees to it; PostgreSQL needs a lock, on a connection that holds no snapshot.

    Who waits asks again and again: a statement that waited inside the database would hold a snapshot, and CREATE INDEX CONCURRENTLY waits
    for every older one, so the two would wait for each other. Raises TimeoutError after WAIT_SECONDS.
    """
    if engine.dialect.name == "sqlite":
        yield
        return
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as guard:
        async with asyncio.timeout(WAIT_SECONDS):
            while not (await guard.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": LOCK})).scalar_one():  # noqa: ASYNC110
                await asyncio.sleep(ASK_SECONDS)
        yield  # closing the connection lets go of the lock, also when this process is killed
