"""The tables as the back office reads them: a fixed list of views, each with named columns, and nothing that opens anything.

No key, hash, token or prompt is in any view; of the inbox and the outbox neither body nor recipient. Reading only, the newest first.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, false, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from core.acts.models import acts
from core.disputes.models import disputes
from core.generations.models import generations
from core.ledger.models import accounts, entries, legs
from core.mailbox.models import inbox, outbox
from core.payments.models import payments
from core.payouts.models import payouts
from core.pools.models import communities
from core.presets.models import presets
from core.resources.models import resources
from core.users.models import identities, users

LARGEST_PAGE = 100
"""Rows of one page at most."""
DEEPEST = 10_000
"""Rows that are counted and paged through at most; whoever looks for older ones searches by number."""
LARGEST_NUMBER, LARGEST_PLACE = 2**63 - 1, 2**31 - 1
"""What fits into a number of a row, and into the place of a leg in its entry."""


class Unit(StrEnum):
    """How a column is to be shown."""

    PLAIN = "plain"
    CREDITS = "credits"
    MOMENT = "moment"
    ROLES = "roles"


@dataclass(frozen=True, slots=True)
class View:
    """One table. `key` names a row; a number that is searched for is compared with `numbers`, any other text with `texts`."""

    source: FromClause
    columns: tuple[ColumnElement[Any], ...]
    key: tuple[ColumnElement[Any], ...]
    numbers: tuple[ColumnElement[Any], ...]
    texts: tuple[ColumnElement[Any], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(each.key or "" for each in self.columns)


def _view(table: Any, names: str, numbers: str = "id", texts: str = "", key: str = "id") -> View:
    named = [tuple(table.c[name] for name in text.split()) for text in (names, key, numbers, texts)]
    return View(table, named[0], named[1], named[2], named[3])


VIEWS: dict[str, View] = {
    "users": _view(users, "id name locale roles frozen merged_into created_at", texts="name"),
    "wallets": _view(accounts, "address balance guarded", numbers="", texts="address", key="address"),
    "movements": View(
        legs.join(entries, entries.c.id == legs.c.entry_id),
        (
            legs.c.entry_id, legs.c.position, entries.c.at, entries.c.kind, legs.c.account, legs.c.amount, legs.c.balance_after,
            entries.c.key.label("reference"),
        ),
        (legs.c.entry_id, legs.c.position), (legs.c.entry_id,), (legs.c.account,),
    ),
    "resources": _view(
        resources, "id owner_id provider label state stopped scope price_percent health fault in_flight delivered day_used day_limit "
        "month_used month_limit created_at", numbers="id owner_id",
    ),
    "generations": _view(
        generations, "id user_id community_id preset_id payer model operation state reason held paid created_at finished_at release_at",
        numbers="id user_id", texts="state",
    ),
    "payments": _view(
        payments, "id user_id rail package credits amount currency way state problem refunded returned created_at expires_at paid_at",
        numbers="id user_id", texts="state",
    ),
    "payouts": _view(
        payouts, "id user_id amount state reference approved_by decided_by created_at decided_at", numbers="id user_id", texts="state",
    ),
    "disputes": _view(
        disputes, "id generation_id user_id kind state reason decided_by amount answer created_at inspected_at decided_at",
        numbers="id generation_id user_id", texts="state",
    ),
    "presets": _view(presets, "id name version newest author_id title tags state created_at", texts="name"),
    "pools": _view(communities, "id name enabled request_cap member_cap day_cap models quiet created_at", texts="name"),
    "outbox": _view(outbox, "id platform kind state due_at tries created_at", texts="state"),
    "inbox": _view(inbox, "id platform received_at leased_until handled_at", texts="platform"),
    "acts": _view(acts, "id at by act subject reason", numbers="id by", texts="subject"),
}  # fmt: skip

CREDITS = frozenset({
    "balance", "amount", "balance_after", "day_used", "day_limit", "month_used", "month_limit", "held", "paid", "credits", "returned",
    "request_cap", "member_cap", "day_cap",
})  # fmt: skip
MOMENTS = frozenset({
    "at", "created_at", "finished_at", "release_at", "expires_at", "paid_at", "inspected_at", "decided_at", "due_at", "received_at",
    "leased_until", "handled_at",
})  # fmt: skip


def unit_of(view: str, column: str) -> Unit:
    """How a column of a view is to be shown; a payment's `amount` is of its currency, not Credits."""
    if column in CREDITS and (view, column) != ("payments", "amount"):
        return Unit.CREDITS
    if column in MOMENTS:
        return Unit.MOMENT
    return Unit.ROLES if column == "roles" else Unit.PLAIN


class Records:
    """One transaction's view of the views."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def newest(self, name: str, *, search: str = "", skip: int = 0, limit: int = LARGEST_PAGE) -> list[dict[str, Any]]:
        """Rows from the newest on, `pk` and the view's columns each; at most LARGEST_PAGE, none beyond DEEPEST. Raises KeyError."""
        view = VIEWS[name]
        if skip >= DEEPEST:
            return []
        ordered = _found(view, search, *view.columns).order_by(*(each.desc() for each in view.key))
        rows = await self._connection.execute(ordered.offset(max(0, skip)).limit(max(1, min(limit, LARGEST_PAGE))))
        return [_row(view, row) for row in rows]

    async def count(self, name: str, search: str = "") -> int:
        """How many rows there are, up to DEEPEST. Raises KeyError."""
        view = VIEWS[name]
        some = _found(view, search, *view.key).limit(DEEPEST).subquery()
        return int((await self._connection.execute(select(func.count()).select_from(some))).scalar_one())

    async def get(self, name: str, pk: str) -> dict[str, Any] | None:
        """The row of that name; None when there is none. Raises KeyError."""
        view = VIEWS[name]
        numbered = view.key[0].type.python_type is int
        parts: list[Any] = pk.split("-") if numbered else [pk.replace("\0", "")]
        if len(parts) != len(view.key):
            return None
        if numbered:
            parts = [_number(part) for part in parts]
            if None in parts or any(part > LARGEST_PLACE for part in parts[1:]):
                return None
        query = select(*view.columns).select_from(view.source)
        row = (await self._connection.execute(query.where(*(column == part for column, part in zip(view.key, parts, strict=True))))).first()
        return None if row is None else _row(view, row)

    async def movements(self, limit: int, account: str | None = None, before: tuple[int, int] | None = None) -> list[dict[str, Any]]:
        """At most `limit` legs of all accounts, or of one, as the view has them: from just before the place `before`, or the newest."""
        view = VIEWS["movements"]
        query = _found(view, "", *view.columns)
        if account is not None:
            query = query.where(legs.c.account == account.replace("\0", ""))
        if before is not None:
            query = query.where(tuple_(*view.key) < before)
        rows = await self._connection.execute(query.order_by(*(each.desc() for each in view.key)).limit(limit))
        return [_row(view, row) for row in rows]


def _found(view: View, search: str, *columns: ColumnElement[Any]) -> Select[Any]:
    """The rows that a search means: all of them when nothing is searched for."""
    query, text = select(*columns).select_from(view.source), search.replace("\0", "").strip()
    if not text:
        return query
    number = _number(text)
    where: ColumnElement[bool] = false()
    if number is not None:
        for column in view.numbers:
            where |= column == number
    if view.source is users:
        platform, colon, person = text.partition(":") if ":" in text else ("email", "@" in text, text.lower())
        known = select(identities.c.user_id).where(identities.c.platform == platform, identities.c.external_id == person)
        where |= users.c.id.in_(known) if colon else false()
    for column in view.texts:
        where |= column == text
    return query.where(where)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= LARGEST_NUMBER else None


def _row(view: View, row: Any) -> dict[str, Any]:
    values = dict(zip(view.names, row, strict=True))
    return {"pk": "-".join(str(values[each.key or ""]) for each in view.key)} | values
