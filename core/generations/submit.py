"""Submitting: many orders in one transaction, each with an answer of its own."""

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.access.errors import CapReached
from core.access.models import api_tokens
from core.db import HOUR, MINUTE, SECOND, Rows, one_of, run_rows
from core.errors import Refusal
from core.generations.errors import Maintenance, TooManyQueued
from core.generations.models import Generation, Order, State, Submitted, maintenance
from core.generations.rules import content_of
from core.generations.service import read, read_by_key, spent_by_token
from core.generations.spend import purses_of
from core.ledger.errors import InDebt, KeyReused
from core.ledger.models import Hold, debt, earnings, wallet
from core.ledger.service import Ledger
from core.mailbox.models import Notice
from core.mailbox.service import Mailbox
from core.pools.models import pool
from core.users.errors import Frozen, JustJoined, TooManyStrikes
from core.users.models import users

HOLD_GRACE = HOUR
"""A hold outlives its generation's deadline by so much: the generation's own end closes it first."""
FIRST_WORD = 10 * SECOND
"""How long the chat that asked has to say the first message itself, before delivery does."""


@dataclass(slots=True)
class _Standing:
    """A user as the queue sees them: queued and running generations, the last turn taken, and whether anything is taken at all."""

    frozen: bool
    joined: bool
    closed: bool
    barred_until: int
    active: int = 0
    turn: int = 0


_USERS = (
    select(users.c.id, users.c.frozen, users.c.merged_into.is_not(None), select(maintenance.c.id).exists(), users.c.barred_until)
    .where(one_of(users.c.id, "ids"))
    .order_by(users.c.id)
    .with_for_update()
)
_CAPS = (
    select(api_tokens.c.id, api_tokens.c.cap)
    .where(one_of(api_tokens.c.id, "ids"), api_tokens.c.cap.is_not(None))
    .order_by(api_tokens.c.id)
    .with_for_update()
)
_KEYS = Rows("keys", key="text")
_ADDRESSES = Rows("addresses", address="text")
_OWNERS = Rows("owners", id="bigint")
_LOOK = """
SELECT 'key', key, content, CAST(0 AS bigint) FROM generations WHERE key IN (SELECT key FROM {keys})
UNION ALL SELECT 'account', address, '', balance FROM accounts WHERE address IN (SELECT address FROM {addresses})
UNION ALL SELECT 'served', '', '', min(turn) FROM generations WHERE state = 'queued'
UNION ALL SELECT 'active', CAST(user_id AS text), CAST(count(*) AS text), max(turn) FROM generations
  WHERE user_id IN (SELECT id FROM {owners}) AND state IN ('queued', 'running') GROUP BY user_id"""
_ROWS = Rows(
    "new_rows", key="text", content="text", user_id="bigint", community_id="bigint", token_id="bigint", parent_id="bigint",  # noqa: S106  # a column
    preset_id="bigint", payer="text", model="text", operation="text", prompt="text", parameters="text", source_blob="text", held="bigint",
    state="text", turn="bigint", due_at="bigint", deadline="bigint", created_at="bigint", platform="text", chat="text", strict="boolean",
    adult="boolean", spoiler="boolean",
)  # fmt: skip
_INSERT = f"INSERT INTO generations ({', '.join(_ROWS.columns)}) SELECT * FROM {{new_rows}} WHERE true RETURNING key, id"
_UNBORN = dict.fromkeys(("finished_at", "reason", "blob", "media_type", "width", "height", "seed")) | {"paid": 0, "fence": 0}
"""What `read` needs of a new row that nobody has written yet."""


def hold_key(key: str) -> str:
    """The business key of a generation's hold."""
    return f"hold:{key}"


async def submit_many(
    connection: AsyncConnection, orders: Sequence[Order], *, now: int, minutes: int, queued_per_user: int, strikes_per_user: int
) -> list[Submitted | Refusal]:
    """Holds the price and queues each order; a replay finds its own row. One refused order never touches another.

    Per item: Submitted, or InsufficientCredits, Maintenance, JustJoined, Frozen, TooManyStrikes, InDebt, TooManyQueued, CapReached, or
    KeyReused for a known key with another content.
    `minutes` is how long a generation may wait and run.
    """
    first: dict[str, Order] = {}
    for order in orders:
        first.setdefault(order.key, order)  # of two orders with one key, the earlier counts; the others keep their order
    wanted = {key: content_of(order) for key, order in first.items()}
    standings, balances, contents = await _look(connection, first.values())
    fresh = [order for key, order in first.items() if key not in contents]
    found = await read_by_key(connection, list(contents)) if contents else {}
    rows, refused = await _judge(connection, fresh, standings, balances, now, minutes, queued_per_user, strikes_per_user)
    new = await _write(connection, rows, wanted, now + minutes * MINUTE + HOLD_GRACE, now)
    refused |= {row["key"]: answer for row, answer in zip(rows, new, strict=True) if isinstance(answer, Refusal)}
    made = {answer.key: answer for answer in new if isinstance(answer, Generation)}
    outbox = await _announce(connection, [order for order in fresh if order.key in made], made, now)
    contents |= {key: wanted[key] for key in made}
    answers: list[Submitted | Refusal] = []
    for order in orders:
        if order.key in refused:
            answers.append(refused[order.key])
        elif contents[order.key] != (wanted[order.key] if order is first[order.key] else content_of(order)):
            answers.append(KeyReused(key=order.key))
        elif order.key in made:
            generation = found[order.key] = made.pop(order.key)
            answers.append(Submitted(generation, False, outbox.get(order.key)))
        else:
            answers.append(Submitted(found[order.key], True, None))
    return answers


async def _look(
    connection: AsyncConnection, orders: Collection[Order]
) -> tuple[dict[int, _Standing], defaultdict[str, int], dict[str, str]]:
    """Where each user stands, what they have, and what is asked for by the keys that are known.

    The users' rows are locked before anything is counted, so that parallel submits count one after the other.
    Start-time fair queueing: a user's next turn follows their own last one, but never lies behind what is served now. So one creator with
    500 requests does not delay another's first.
    """
    user_ids = sorted({order.user_id for order in orders})
    locked = await connection.execute(_USERS, {"ids": user_ids})
    standings = {id_: _Standing(*flags) for id_, *flags in locked}
    addresses = [(account,) for each in user_ids for account in (wallet(each), earnings(each), debt(each))]
    tables: dict[Rows, Sequence[Sequence[Any]]] = {
        _KEYS: [(order.key,) for order in orders],
        _ADDRESSES: addresses,
        _OWNERS: [(each,) for each in user_ids],
    }
    balances: defaultdict[str, int] = defaultdict(int)
    contents: dict[str, str] = {}
    for kind, name, number, amount in await run_rows(connection, _LOOK, tables):
        if kind == "key":
            contents[name] = number
        elif kind == "account":
            balances[name] = amount
        elif kind == "served":
            for standing in standings.values():
                standing.turn = max(standing.turn, (amount or 1) - 1)
        else:
            standings[int(name)].active = int(number)
            standings[int(name)].turn = max(standings[int(name)].turn, amount)
    return standings, balances, contents


async def _judge(
    connection: AsyncConnection,
    orders: Sequence[Order],
    standings: Mapping[int, _Standing],
    balances: defaultdict[str, int],
    now: int,
    minutes: int,
    queued_per_user: int,
    strikes_per_user: int,
) -> tuple[list[dict[str, Any]], dict[str, Refusal]]:
    """The rows of the orders that nothing stands against, and why the others are refused, by key."""
    purses = await purses_of(connection, {order.community_id for order in orders if order.community_id is not None}, now)
    budgets = await _budgets(connection, {order.token_id for order in orders if order.token_id is not None})
    refused: dict[str, Refusal] = {}
    rows: list[dict[str, Any]] = []
    for order in orders:
        left = budgets.get(order.token_id)
        standing = standings[order.user_id]
        if standing.closed:
            refused[order.key] = Maintenance()
        elif standing.joined:
            refused[order.key] = JustJoined()
        elif standing.frozen:
            refused[order.key] = Frozen()
        elif standing.barred_until > now:
            refused[order.key] = TooManyStrikes(limit=strikes_per_user, until=standing.barred_until)
        elif owed := balances[debt(order.user_id)]:
            refused[order.key] = InDebt(debt=owed)
        elif standing.active >= queued_per_user:
            refused[order.key] = TooManyQueued(limit=queued_per_user)
        elif left is not None and left < order.price:
            refused[order.key] = CapReached(needed=order.price, left=max(0, left))
        elif order.community_id is not None and (problem := purses[order.community_id].take(order, now)) is not None:
            refused[order.key] = problem
        else:
            standing.active += 1
            standing.turn += 1
            if left is not None:
                budgets[order.token_id] = left - order.price
            rows.append(_row(order, _payer(order, balances), standing.turn, now, minutes))
    return rows, refused


async def _write(
    connection: AsyncConnection, rows: Sequence[dict[str, Any]], contents: Mapping[str, str], expires_at: int, now: int
) -> list[Generation | Refusal]:
    """Holds the price and inserts the row of each that the ledger does not refuse."""
    if not rows:
        return []
    answers = await Ledger(connection, now).hold_many([Hold(hold_key(row["key"]), row["payer"], row["held"], expires_at) for row in rows])
    refusals = {row["key"]: answer for row, answer in zip(rows, answers, strict=True) if isinstance(answer, Refusal)}
    kept = [{**row, "content": contents[row["key"]]} for row in rows if row["key"] not in refusals]
    listed = [[row[name] for name in _ROWS.columns] for row in kept]
    numbers = {key: id_ for key, id_ in await run_rows(connection, _INSERT, {_ROWS: listed})} if kept else {}
    return [refusals.get(row["key"]) or read({**_UNBORN, **row, "id": numbers[row["key"]]}) for row in rows]


def _payer(order: Order, balances: dict[str, int]) -> str:
    """The pool of a community; else the wallet, or released earnings when the wallet does not suffice and they do."""
    if order.community_id is not None:
        return pool(order.community_id)
    payer = wallet(order.user_id)
    if balances[payer] < order.price <= balances[earnings(order.user_id)]:
        payer = earnings(order.user_id)
    balances[payer] -= order.price
    return payer


def _row(order: Order, payer: str, turn: int, now: int, minutes: int) -> dict[str, Any]:
    wish = order.wish
    return {
        "key": order.key,
        "user_id": order.user_id,
        "community_id": order.community_id,
        "token_id": order.token_id,
        "parent_id": wish.parent_id,
        "preset_id": wish.preset_id,
        "payer": payer,
        "model": wish.model,
        "operation": wish.operation,
        "prompt": wish.prompt,
        "parameters": json.dumps(asdict(wish.parameters), ensure_ascii=False),
        "source_blob": wish.source_blob,
        "held": order.price,
        "state": State.QUEUED,
        "turn": turn,
        "due_at": now,
        "deadline": now + minutes * MINUTE,
        "created_at": now,
        "platform": order.address.platform if order.address else None,
        "chat": order.address.chat if order.address else None,
        "strict": order.audience.strict,
        "adult": order.audience.adult,
        "spoiler": wish.spoiler,
    }


async def _budgets(connection: AsyncConnection, token_ids: set[int]) -> dict[int | None, int]:
    """What each API token with a cap may still spend, its row locked, so that parallel submits count one after the other."""
    if not token_ids:
        return {}
    caps = {id_: cap for id_, cap in await connection.execute(_CAPS, {"ids": sorted(token_ids)})}
    if not caps:
        return {}
    spent = await spent_by_token(connection, caps)
    return {id_: cap - spent.get(id_, 0) for id_, cap in caps.items()}


async def _announce(connection: AsyncConnection, orders: Sequence[Order], found: Mapping[str, Generation], now: int) -> dict[str, int]:
    """Writes the messages that follow the new generations, and marks their events as handled; order key -> outbox row."""
    mailbox = Mailbox(connection, now)
    rows = await mailbox.say(
        [
            Notice(
                key=found[order.key].subject,
                address=order.address,
                kind="generation",
                body={"generation": found[order.key].id},
                subject=found[order.key].subject,
                leased_until=now + FIRST_WORD if order.event else 0,
            )
            for order in orders
            if order.address
        ]
    )
    await mailbox.mark_handled([order.event for order in orders if order.event])
    return {order.key: rows[found[order.key].subject] for order in orders if found[order.key].subject in rows}
