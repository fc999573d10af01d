"""The database: one writer at a time on SQLite, many on PostgreSQL, one way to write for both.

`commit` and `rollback` happen here and nowhere else. Times are integers, microseconds since 1970 in UTC (see docs/decisions/0003), so that
both databases compare and subtract them alike.
"""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache, partial
from typing import Any, TypeVar

import aiosqlite
from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Dialect,
    Integer,
    MetaData,
    Text,
    TextClause,
    TypeDecorator,
    bindparam,
    event,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import CursorResult, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.visitors import InternalTraversal
from sqlalchemy.types import TypeEngine

Result = TypeVar("Result")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Id = BigInteger().with_variant(Integer, "sqlite")
"""Row numbers: 64 bits; SQLite counts by itself only in a column called INTEGER."""

Moment = BigInteger
"""Microseconds since 1970-01-01T00:00Z."""

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

POOL_SIZE = 6
READERS = 4
PREPARED = 500
"""Statements that a connection to PostgreSQL keeps prepared."""
LOCK_TIMEOUT_SECONDS = 10
TRIES = 8
TRANSIENT_STATES = frozenset({"40001", "40P01", "55P03", "23505"})
"""PostgreSQL's words for: serialization failure, deadlock, lock not available, and a unique key that another transaction committed first:
run again, the same work finds that key and answers as for a replay."""


class Database:
    """An engine for writing and one for reading. Share one per process; `close()` at the end.

    Who waits for a connection waits here and not in the engine's pool: before Python 3.12 that pool loses a connection when the one who is
    about to get it is cancelled (`asyncio.wait_for`, github.com/python/cpython/issues/86296).
    """

    def __init__(self, url: str) -> None:
        self.dialect = make_url(url).get_backend_name()
        if self.dialect == "sqlite":
            driver = {"async_creator_fn": _open_sqlite}
            self._writer = create_async_engine(url, pool_size=1, max_overflow=0, pool_timeout=60, connect_args=driver)
            self._reader = create_async_engine(url, pool_size=READERS, max_overflow=0, pool_timeout=60, connect_args=driver)
            _configure_sqlite(self._writer, begin="BEGIN IMMEDIATE")
            _configure_sqlite(self._reader, begin="BEGIN DEFERRED")
            self._writing, self._reading = asyncio.Semaphore(1), asyncio.Semaphore(READERS)
        elif self.dialect == "postgresql":
            self._writer = _postgresql(url, POOL_SIZE)
            self._reader = _postgresql(url, READERS, isolation_level="AUTOCOMMIT")
            self._writing, self._reading = asyncio.Semaphore(POOL_SIZE), asyncio.Semaphore(READERS)
        else:
            raise ValueError(f"unsupported database: {self.dialect}")

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """One transaction that may write: committed at the end of the block, rolled back when it raises."""
        async with self._writing, self._writer.begin() as connection:
            yield connection

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection for reading. On PostgreSQL each statement sees its own moment."""
        async with self._reading, self._reader.connect() as connection:
            yield connection

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """A connection for reading in which every statement sees the same moment, for proofs."""
        if self.dialect == "sqlite":
            async with self.read() as connection:
                yield connection
            return
        engine = self._writer.execution_options(isolation_level="REPEATABLE READ")
        async with self._writing, engine.begin() as connection:
            yield connection

    async def run(self, work: Callable[[AsyncConnection], Awaitable[Result]]) -> Result:
        """`work` in one transaction, again from its beginning when the database asks for that. `work` must have no outward effect."""
        for attempt in range(1, TRIES + 1):
            try:
                async with self.begin() as connection:
                    return await work(connection)
            except DBAPIError as error:
                if attempt == TRIES or not is_transient(error):
                    raise
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Closes every connection."""
        await self._writer.dispose()
        await self._reader.dispose()


UNREACHABLE = (DBAPIError, OSError)
"""What a database that is away, or that gave up, raises."""


def is_transient(error: BaseException) -> bool:
    """Whether the same transaction may succeed when it is simply run again (deadlock, lock time-out, busy)."""
    if not isinstance(error, DBAPIError):
        return False
    state = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
    return state in TRANSIENT_STATES or "database is locked" in str(error.orig)


class _Finishing(aiosqlite.Connection):
    """A connection that ends its transaction before it is closed.

    The engine closes the connection of a caller who was cancelled. SQLite goes on with such a connection, its transaction open and
    everybody else kept from writing, for as long as somebody holds on to one of its statements (sqlite.org/c3ref/close.html).
    """

    async def close(self) -> None:
        if self._connection is not None:
            await self._execute(self._end)  # type: ignore[no-untyped-call]  # in its thread, behind what was under way
        await super().close()

    def _end(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._conn.rollback()


def _open_sqlite(database: str, **settings: Any) -> aiosqlite.Connection:
    made = _Finishing(partial(sqlite3.connect, database, **settings), iter_chunk_size=64)
    made._thread.daemon = True  # noqa: SLF001  # as the engine does with those that it makes itself
    return made


def _postgresql(url: str, size: int, **options: Any) -> AsyncEngine:
    """Connections of their own kind: changing a connection from writing to reading and back takes as long as reading."""
    return create_async_engine(
        url,
        pool_size=size,
        max_overflow=0,  # what overflows is closed after each use, and opening one costs more than a transaction
        pool_pre_ping=False,
        pool_reset_on_return=None,  # every block ends its own transaction, and a connection whose caller was cancelled is closed
        connect_args={
            "server_settings": {"lock_timeout": f"{LOCK_TIMEOUT_SECONDS}s", "jit": "off"}, "prepared_statement_cache_size": PREPARED,
        },
        **options,
    )  # fmt: skip


def _configure_sqlite(engine: AsyncEngine, *, begin: str) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver opens no transaction by itself; `begin` below says which kind
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {LOCK_TIMEOUT_SECONDS * 1000}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")  # what was acknowledged survives a power cut too
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA secure_delete = ON")  # a wiped key is overwritten, not only unlinked
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _on_begin(connection: Any) -> None:
        connection.exec_driver_sql(begin)


class _Many(TypeDecorator[Any]):
    """A list as one value: an array on PostgreSQL, a JSON document on SQLite."""

    impl: TypeEngine[Any] | type[TypeEngine[Any]] = Text
    cache_ok: bool | None = True

    def __init__(self, item: TypeEngine[Any]) -> None:
        super().__init__()
        self.item = item

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(ARRAY(self.item) if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return list(value) if dialect.name == "postgresql" else json.dumps(list(value))


class one_of(ColumnElement[bool]):  # noqa: N801  # read in a statement, as `select` is
    """`column IN` a list that is handed over when the statement is run, under `name`.

    The text is the same however long the list is. So the statement is made once, at the top of its module, and prepared once in each
    connection: making `column.in_(…)` anew for each call takes three times as long as running it.

    >>> from sqlalchemy import column, select
    >>> from sqlalchemy.dialects import postgresql, sqlite
    >>> query = select(column("id")).where(one_of(column("id", BigInteger()), "ids"))
    >>> [str(query.compile(dialect=each.dialect())).partition("WHERE ")[2] for each in (postgresql.asyncpg, sqlite.aiosqlite)]
    ['id = ANY ($1::BIGINT[])', 'id IN (SELECT value FROM json_each(?))']
    """

    inherit_cache: bool | None = True
    type: TypeEngine[bool] = Boolean()
    _traverse_internals = [("column", InternalTraversal.dp_clauseelement), ("list", InternalTraversal.dp_clauseelement)]  # noqa: RUF012  # the library's form

    def __init__(self, column: ColumnElement[Any], name: str) -> None:
        self.column = column
        self.list = bindparam(name, type_=_Many(column.type))

    def self_group(self, against: Any = None) -> "one_of":
        """As it is: for SQLite, which has no truth values, the library would write `(…) = 1`, which no index serves."""
        return self


@compiles(one_of)
def _one_of_array(element: one_of, compiler: SQLCompiler, **options: Any) -> str:
    return f"{compiler.process(element.column, **options)} = ANY ({compiler.process(element.list, **options)})"


@compiles(one_of, "sqlite")
def _one_of_json(element: one_of, compiler: SQLCompiler, **options: Any) -> str:
    listed = f"(SELECT value FROM json_each({compiler.process(element.list, **options)}))"
    return f"{compiler.process(element.column, **options)} IN {listed}"


class Rows:
    """Many rows handed to one statement, as a table of its FROM: the set-based half of every hot step.

    PostgreSQL gets one array per column, SQLite one JSON document; the statement text is the same however many rows there are, so that it
    is prepared once.

    >>> Rows("batch", id="bigint").source("postgresql")
    'unnest(CAST(:batch_id AS bigint[])) AS batch(id)'
    """

    def __init__(self, name: str, **columns: str) -> None:
        self.name = name
        self.columns = columns

    def source(self, dialect: str) -> str:
        """The FROM item."""
        if dialect == "postgresql":
            arrays = ", ".join(f"CAST(:{self.name}_{column} AS {kind}[])" for column, kind in self.columns.items())
            return f"unnest({arrays}) AS {self.name}({', '.join(self.columns)})"
        fields = ", ".join(f"json_extract(value, '$[{i}]') AS {column}" for i, column in enumerate(self.columns))
        return f"(SELECT {fields} FROM json_each(:{self.name})) AS {self.name}"

    def parameters(self, dialect: str, rows: Iterable[Sequence[Any]]) -> dict[str, Any]:
        """The bound values for `rows`, each with one value per column in order."""
        if dialect == "postgresql":
            listed = list(rows)
            return {f"{self.name}_{column}": [row[i] for row in listed] for i, column in enumerate(self.columns)}
        return {self.name: json.dumps([list(row) for row in rows])}


@lru_cache(maxsize=1024)
def statement(dialect: str, template: str, *rows: Rows) -> TextClause:
    """A prepared text. `{name}` becomes the FROM item of the Rows of that name, `{for_update}` a row lock, `{skip_locked}` one that passes
    over locked rows; SQLite needs neither, having one writer."""
    locks = dialect == "postgresql"
    places = {item.name: item.source(dialect) for item in rows}
    return text(
        template.format(
            for_update="FOR UPDATE" if locks else "",
            skip_locked="FOR UPDATE SKIP LOCKED" if locks else "",
            **places,
        )
    )


async def run_rows(
    connection: AsyncConnection, template: str, tables: Mapping[Rows, Sequence[Sequence[Any]]], **values: Any
) -> CursorResult[*tuple[Any, ...]]:
    """Runs a text of `statement` with the rows of its tables and its other values."""
    dialect = connection.dialect.name
    for rows, listed in tables.items():
        values |= rows.parameters(dialect, listed)
    return await connection.execute(statement(dialect, template, *tables), values)
