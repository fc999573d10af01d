"""What stands in the tables, for admins to look through: a fixed list of views, each with the columns named here and no others.

No view has a key, a hash, a token, a code or a link; of the inbox and the outbox there is what moved, and never what it says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Column, FromClause, Select, String, Table, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from core.acts.models import acts
from core.disputes.models import disputes
from core.generations.models import generations
from core.ledger.models import accounts, entries, legs
from core.ledger.statement import MAX_LINES
from core.mailbox.models import inbox, outbox
from core.oversight.service import Oversight
from core.payments.models import payments
from core.pools.models import communities
from core.presets.models import presets
from core.resources.models import resources
from core.users.errors import UserNotFound
from core.users.models import users

MAX_PAGE = 100
MAX_ROWS = 10_000
"""How far back a list reaches, and how far its rows are counted; what is older is found by its number."""
MAX_SEARCH = 128
DIGITS, DIGITS_OF_SMALL = 15, 9
"""Longer numbers are no numbers of ours, and do not fit into columns of 64 and of 32 bits."""


class Kind(StrEnum):
    """How a column is read: as it is; milli-credits; the currency's smallest unit; microseconds since 1970; yes or no; a Role."""

    PLAIN = "plain"
    CREDITS = "credits"
    MONEY = "money"
    MOMENT = "moment"
    FLAG = "flag"
    ROLES = "roles"


@dataclass(frozen=True, slots=True)
class View:
    """Some columns of `source`, the newest first by `key`. Searched for are values equal to one of `search`, which are indexed."""

    source: FromClause
    columns: Mapping[str, tuple[Column[Any], Kind]]
    key: tuple[Column[Any], ...]
    search: tuple[Column[Any], ...] = ()
    long: frozenset[str] = frozenset()
    """Columns that are too long for a list."""


@dataclass(frozen=True, slots=True)
class Movement:
    """One leg of an entry of the ledger. Amounts in milli-credits, `at` in microseconds; `balance_after` None on unguarded accounts."""

    entry: int
    position: int
    at: int
    kind: str
    account: str
    amount: int
    balance_after: int | None
    key: str


def _of(table: Table, *names: str, **kinds: Kind) -> dict[str, tuple[Column[Any], Kind]]:
    """Columns by name, each with how it is read: plain unless named with a kind; what ends in _at is a moment."""
    known = {name: kinds.get(name, Kind.MOMENT if name.endswith("_at") or name == "at" else Kind.PLAIN) for name in names}
    return {name: (table.c[name], kind) for name, kind in known.items()}


_CREDITS = Kind.CREDITS
VIEWS: Mapping[str, View] = {
    "users": View(
        users,
        _of(users, "id", "name", "locale", "roles", "frozen", "merged_into", "created_at", roles=Kind.ROLES, frozen=Kind.FLAG),
        (users.c.id,),
    ),
    "wallets": View(
        accounts, _of(accounts, "address", "balance", "guarded", balance=_CREDITS, guarded=Kind.FLAG), (accounts.c.address,),
        (accounts.c.address,),
    ),
    "statements": View(
        legs.join(entries, entries.c.id == legs.c.entry_id),
        _of(entries, "at", "kind") | _of(legs, "account", "amount", "balance_after", amount=_CREDITS, balance_after=_CREDITS)
        | _of(entries, "key"),
        (legs.c.entry_id, legs.c.position), (legs.c.account, legs.c.entry_id, entries.c.key),
    ),
    "resources": View(
        resources,
        _of(
            resources, "id", "owner_id", "provider", "label", "state", "stopped", "scope", "health", "fault", "price_percent",
            "max_concurrency", "in_flight", "per_minute", "day_used", "day_limit", "month_used", "month_limit", "delivered", "created_at",
            day_used=_CREDITS, day_limit=_CREDITS, month_used=_CREDITS, month_limit=_CREDITS,
        ),
        (resources.c.id,), (resources.c.id, resources.c.owner_id),
        frozenset({"per_minute", "max_concurrency", "month_used", "month_limit", "price_percent", "fault", "in_flight"}),
    ),
    "generations": View(
        generations,
        _of(
            generations, "id", "user_id", "model", "operation", "lane", "state", "reason", "payer", "held", "paid", "width", "height",
            "created_at", "finished_at", "release_at", held=_CREDITS, paid=_CREDITS,
        ),
        (generations.c.id,), (generations.c.id, generations.c.user_id),
        frozenset({"lane", "width", "height", "release_at"}),
    ),
    "payments": View(
        payments,
        _of(
            payments, "id", "user_id", "rail", "package", "credits", "amount", "currency", "state", "problem", "charge", "refunded",
            "returned", "created_at", "paid_at", credits=_CREDITS, returned=_CREDITS, amount=Kind.MONEY, refunded=Kind.MONEY,
        ),
        (payments.c.id,), (payments.c.id, payments.c.user_id),
        frozenset({"charge", "currency", "package"}),
    ),
    "disputes": View(
        disputes,
        _of(
            disputes, "id", "generation_id", "user_id", "kind", "state", "reason", "amount", "decided_by", "created_at", "decided_at",
            "answer", amount=_CREDITS,
        ),
        (disputes.c.id,), (disputes.c.id, disputes.c.generation_id, disputes.c.user_id),
        frozenset({"answer", "decided_by"}),
    ),
    "presets": View(
        presets,
        _of(
            presets, "id", "name", "version", "newest", "author_id", "title", "tags", "state", "created_at", "template",
            newest=Kind.FLAG,
        ),
        (presets.c.id,), (presets.c.id, presets.c.author_id),
        frozenset({"template"}),
    ),
    "pools": View(
        communities,
        _of(
            communities, "id", "name", "enabled", "request_cap", "member_cap", "day_cap", "models", "quiet", "created_at",
            enabled=Kind.FLAG, request_cap=_CREDITS, member_cap=_CREDITS, day_cap=_CREDITS,
        ),
        (communities.c.id,), (communities.c.id,),
    ),
    "outbox": View(
        outbox, _of(outbox, "id", "platform", "kind", "subject", "state", "tries", "problem", "created_at", "due_at"), (outbox.c.id,),
        (outbox.c.id, outbox.c.subject),
    ),
    "inbox": View(inbox, _of(inbox, "id", "platform", "received_at", "handled_at"), (inbox.c.id,), (inbox.c.id,)),
    "acts": View(
        acts, _of(acts, "id", "at", "by", "act", "subject", "reason", "facts"), (acts.c.id,), (acts.c.id, acts.c.by, acts.c.subject),
        frozenset({"facts"}),
    ),
}  # fmt: skip


class Records:
    """One transaction's view of the tables. A row is its columns by name, and `pk`: the values of its key with - between them."""

    def __init__(self, connection: AsyncConnection, now: int) -> None:
        self._connection = connection
        self._now = now

    async def page(self, name: str, limit: int, skip: int = 0, search: str = "") -> list[dict[str, Any]]:
        """At most MAX_PAGE rows of a view, the newest first, within the newest MAX_ROWS."""
        view = VIEWS[name]
        query = await self._found(name, _select(view), search)
        if query is None:
            return []
        skip = max(0, min(skip, MAX_ROWS))
        here = query.order_by(*(column.desc() for column in view.key)).offset(skip)
        rows = await self._connection.execute(here.limit(max(0, min(limit, MAX_PAGE, MAX_ROWS - skip))))
        return [_row(row) for row in rows.mappings()]

    async def count(self, name: str, search: str = "") -> int:
        """How many rows such a list has; MAX_ROWS where there are more."""
        view = VIEWS[name]
        query = await self._found(name, select(view.key[0]).select_from(view.source), search)
        if query is None:
            return 0
        return int((await self._connection.execute(select(func.count()).select_from(query.limit(MAX_ROWS).subquery()))).scalar_one())

    async def get(self, name: str, pk: str) -> dict[str, Any] | None:
        """One row by its `pk`; None when there is none."""
        view, here = VIEWS[name], []
        parts = pk.split("-") if len(view.key) > 1 else [pk]
        if len(parts) != len(view.key):
            return None
        for column, part in zip(view.key, parts, strict=True):
            value = _value(column, part)
            if value is None:
                return None
            here.append(column == value)
        row = (await self._connection.execute(_select(view).where(*here))).mappings().first()
        return None if row is None else _row(row)

    async def movements(self, limit: int, account: str | None = None, before: tuple[int, int] | None = None) -> list[Movement]:
        """At most `limit` (up to MAX_LINES) legs of all accounts, or of one, from just before the place `before`, or from the newest."""
        view = VIEWS["statements"]
        query, place = _select(view), view.key
        if account is not None:
            query = query.where(legs.c.account == account.replace("\0", ""))
        if before is not None:
            query = query.where(tuple_(*place) < before)
        rows = await self._connection.execute(query.order_by(*(column.desc() for column in place)).limit(min(limit, MAX_LINES)))
        return [Movement(row["key_0"], row["key_1"], **{name: row[name] for name in view.columns}) for row in rows.mappings()]

    async def _found(self, name: str, query: Select[Any], search: str) -> Select[Any] | None:
        """The query for what is searched; None when nothing can be found by that. Users are found as in the chat."""
        wanted = search.encode(errors="replace").decode().replace("\0", "").strip()[:MAX_SEARCH]
        if not wanted:
            return query
        if name == "users":
            try:
                return query.where(users.c.id == (await Oversight(self._connection, self._now).look_up(wanted)).id)
            except UserNotFound:
                return None
        equal = [column == value for column in VIEWS[name].search if (value := _value(column, wanted)) is not None]
        return query.where(or_(*equal)) if equal else None


def _select(view: View) -> Select[Any]:
    keys = (column.label(f"key_{number}") for number, column in enumerate(view.key))
    return select(*(column.label(name) for name, (column, _) in view.columns.items()), *keys).select_from(view.source)


def _row(row: Any) -> dict[str, Any]:
    keys: Sequence[str] = [name for name in row if name.startswith("key_")]
    shown = {name: value for name, value in row.items() if name not in keys}
    return shown | {"pk": "-".join(str(row[name]) for name in keys)}


def _value(column: Column[Any], text: str) -> int | str | None:
    """What a column is compared with; None for what it cannot hold."""
    if isinstance(column.type, String):
        return text.encode(errors="replace").decode().replace("\0", "")
    digits = DIGITS if isinstance(column.type, BigInteger) else DIGITS_OF_SMALL
    return int(text) if text.isascii() and text.isdigit() and len(text) <= digits else None
