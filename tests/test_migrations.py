"""The migrations lead exactly to what `core.tables` describes, on both databases."""

import asyncio
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, event, inspect, text

from core.tables import metadata
from migrations import sql
from migrations.upgrade import configuration, engine_for, upgrade

T = TypeVar("T")
ROOT = Path(__file__).parents[1]


async def look(url: str, question: Callable[[Connection], T]) -> T:
    async with engine_for(url) as engine, engine.connect() as connection:
        return await connection.run_sync(question)


def differences(connection: Connection) -> list[Any]:
    return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata))


def schema(connection: Connection) -> dict[str, Any]:
    """What the database itself says of our tables; alembic compares no CHECKs, no conditions of indexes, and not every default."""
    inspector = inspect(connection)
    return {
        table: {
            "columns": {each["name"]: (str(each["type"]), each["nullable"], _default(each)) for each in inspector.get_columns(table)},
            "checks": sorted((str(check["name"]), check["sqltext"]) for check in inspector.get_check_constraints(table)),
            "indexes": sorted((str(index["name"]), index["unique"], _rows_of(index)) for index in inspector.get_indexes(table)),
            "keys": sorted((str(key["name"]), key["options"]) for key in inspector.get_foreign_keys(table)),
        }
        for table in metadata.tables
    }


def _default(column: Any) -> str | None:
    """SQLite knows two spellings of a boolean, and the migration is written once for both databases."""
    default: str | None = column["default"]
    return {"false": "0", "true": "1"}.get(default or "", default)


def _rows_of(index: Any) -> str:
    options = index.get("dialect_options", {})
    return str(options.get("sqlite_where", options.get("postgresql_where", "all")))


async def test_the_newest_schema_is_what_the_code_describes(empty_url: str) -> None:
    await asyncio.to_thread(upgrade, empty_url)
    assert await look(empty_url, differences) == []
    migrated = await look(empty_url, schema)

    async with engine_for(empty_url) as engine, engine.begin() as connection:
        await connection.run_sync(metadata.drop_all)
        await connection.run_sync(metadata.create_all)
    assert migrated == await look(empty_url, schema)


async def test_a_second_run_changes_nothing(empty_url: str) -> None:
    await asyncio.to_thread(upgrade, empty_url)
    names = await look(empty_url, lambda connection: inspect(connection).get_table_names())
    await asyncio.to_thread(upgrade, empty_url)
    assert await look(empty_url, lambda connection: inspect(connection).get_table_names()) == names
    assert set(metadata.tables) <= set(names)


async def test_processes_that_start_together_do_not_collide(empty_url: str) -> None:
    code = f"from migrations.upgrade import upgrade; upgrade({empty_url!r})"
    starting = [await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=ROOT, env=os.environ) for _ in range(3)]
    assert [await process.wait() for process in starting] == [0, 0, 0]
    assert await look(empty_url, differences) == []


async def test_on_sqlite_all_of_it_is_one_transaction(tmp_path: Path) -> None:
    """Whoever starts at the same moment would else get in between."""
    begun: list[Connection] = []
    async with engine_for(f"sqlite+aiosqlite:///{tmp_path / 'empty.sqlite3'}") as engine, engine.connect() as connection:
        event.listen(engine.sync_engine, "begin", begun.append)
        await connection.run_sync(lambda plain: command.upgrade(configuration(plain), "head"))
    assert len(begun) == 1


async def test_a_migration_that_leaves_dangling_rows_is_undone(sqlite_url: str) -> None:
    async with engine_for(sqlite_url) as engine:
        async with engine.begin() as connection:
            await connection.execute(text("CREATE TABLE parents (id integer PRIMARY KEY)"))
            await connection.execute(text("CREATE TABLE children (parent integer REFERENCES parents (id))"))
        with pytest.raises(RuntimeError, match="refer to nothing"):
            async with engine.begin() as connection:
                await connection.execute(text("INSERT INTO children VALUES (1)"))
        async with engine.connect() as connection:
            assert (await connection.execute(text("SELECT count(*) FROM children"))).scalar_one() == 0


def test_every_migration_can_be_read_as_sql(tmp_path: Path) -> None:
    written = "".join(file.read_text() for file in sql.write(tmp_path))
    for table in metadata.tables:
        assert re.search(rf"CREATE TABLE (IF NOT EXISTS )?{table} \(", written)
