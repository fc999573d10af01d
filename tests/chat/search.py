"""Looks for a key in everything that a running product writes down, in every form in which it might stand there."""

import base64
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
from sqlalchemy import MetaData, select
from sqlalchemy.engine import make_url

from core.db import Database
from tests import services

TAIL = 24
"""The last characters of a key, which are looked for: they are random, and half a key shown is shown, too."""


def forms(key: str) -> Iterator[bytes]:
    """The inside of a key in clear, in two bytes a character, in hex, percent-encoded, and in base64 wherever it begins in a text."""
    raw = key[-TAIL:].encode()
    digits = raw.hex()
    yield raw
    yield key[-TAIL:].encode("utf-16-le")
    yield from (digits.encode(), digits.upper().encode(), raw[::-1])
    for escaped in (digits, digits.upper()):
        yield "".join(f"%{escaped[i : i + 2]}" for i in range(0, len(escaped), 2)).encode()
    for shift in range(3):
        padded = bytes(shift) + raw
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(padded)[(0, 2, 3)[shift] : len(padded) * 8 // 6]


def found(places: dict[str, Iterable[bytes]], keys: Iterable[str]) -> list[tuple[str, str]]:
    """The names of the places that hold any of the keys, with the key."""
    wanted = [(key, form) for key in keys for form in forms(key)]
    return [(name, key) for name, parts in places.items() for part in parts for key, form in wanted if form in part]


async def every_row(database: Database) -> list[bytes]:
    """Each value of each table, as anybody who can read the database sees it."""
    values: list[bytes] = []
    async with database.read() as connection:
        tables = MetaData()
        await connection.run_sync(tables.reflect)
        assert len(tables.tables) > 10
        for table in tables.tables.values():
            for row in await connection.execute(select(table)):
                values += [bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode() for value in row]
    return values


def under(folder: Path) -> list[bytes]:
    """Every file in a folder."""
    return [file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()]


class Disk:
    """The files in which a database keeps itself."""

    def __init__(self, url: str) -> None:
        self._name = make_url(url).database or ""
        self._first = ""
        self._on_disk = url.startswith("postgresql")

    async def begin(self) -> None:
        """From here on PostgreSQL's journal is of interest."""
        if self._on_disk:
            self._first = await _ask("SELECT pg_walfile_name(pg_current_wal_lsn())")

    async def files(self) -> list[bytes]:
        """SQLite: the file and its journals. PostgreSQL: all of its folder, what is in memory being written to it before, without other
        databases and older journals. A server that somebody else has started may keep its folder to itself: nothing then."""
        if not self._on_disk:
            return [file.read_bytes() for file in Path(self._name).parent.glob(f"{Path(self._name).name}*")]
        await _ask("CHECKPOINT")
        folder = Path(await _ask("SHOW data_directory"))
        if services.POSTGRES_URL in os.environ and not os.access(folder, os.R_OK):
            return []
        oid = await _ask(f"SELECT oid::text FROM pg_database WHERE datname = '{self._name}'")
        last = await _ask("SELECT pg_walfile_name(pg_current_wal_lsn())")
        journals = [file for file in (folder / "pg_wal").iterdir() if self._first <= file.name <= last]
        others = [folder / name for name in ("global", "pg_logical", "pg_twophase", "pg_xact")]
        return [file.read_bytes() for file in journals] + [part for each in (folder / "base" / oid, *others) for part in under(each)]


async def _ask(statement: str) -> str:
    server = services.postgres()
    assert urlsplit(server).scheme == "postgresql"
    connection = await asyncpg.connect(server)
    try:
        return str(await connection.fetchval(statement))
    finally:
        await connection.close()
