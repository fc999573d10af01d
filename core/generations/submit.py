"""Submitting: many orders in one transaction, each with an answer of its own."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.access.errors import CapReached
from core.access.models import api_tokens
from core.db import HOUR, MINUTE, SECOND
from core.errors import Refusal
from core.generations.admit import look_for
from core.generations.errors import Maintenance, TooManyQueued
from core.generations.models import Order, State, Submitted, generations, maintenance
from core.generations.rules import content_of
from core.generations.service import read_by_key, spent_by_token
from core.generations.spend import purses_of
from core.ledger.errors import InDebt, KeyReused
from core.ledger.models import Hold, debt, earnings, wallet
from core.ledger.service import Ledger
from core.mailbox.models import Notice
from core.mailbox.service import Mailbox
from core.pools.models import pool
from core.users.errors import Frozen, JustJoined, TooManyStrikes
from core.users.models import users

ACTIVE = (State.QUEUED, State.RUNNING)
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
    contents = await _contents(connection, list(first))
    fresh = [order for key, order in first.items() if key not in contents]
    refused = await _queue(connection, fresh, now, minutes, queued_per_user, strikes_per_user) if fresh else {}
    contents |= {order.key: content_of(order) for order in fresh if order.key not in refused}
    new = [order for order in fresh if order.key not in refused]
    found = await read_by_key(connection, list(contents))
    outbox = await _announce(connection, new, found, now)
    announced = {order.key for order in new}
    answers: list[Submitted | Refusal] = []
    for order in orders:
        if order.key in refused:
            answers.append(refused[order.key])
        elif contents[order.key] != content_of(order):
            answers.append(KeyReused(key=order.key))
        else:
            replayed = order.key not in announced
            announced.discard(order.key)
            answers.append(Submitted(found[order.key], replayed, None if replayed else outbox.get(order.key)))
    return answers


async def _queue(
    connection: AsyncConnection, orders: Sequence[Order], now: int, minutes: int, queued_per_user: int, strikes_per_user: int
) -> dict[str, Refusal]:
    """Holds and inserts; returns the refused orders by key."""
    ledger = Ledger(connection, now)
    standings = await _standings(connection, {order.user_id for order in orders})
    payers = {order.user_id for order in orders}
    balances = await ledger.balances([account for payer in payers for account in (wallet(payer), earnings(payer), debt(payer))])
    purses = await purses_of(connection, {order.community_id for order in orders if order.community_id is not None}, now)
    await look_for(connection, purses, orders, now)
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
    expires_at = now + minutes * MINUTE + HOLD_GRACE
    answers = await ledger.hold_many([Hold(hold_key(row["key"]), row["payer"], row["held"], expires_at) for row in rows])
    refused |= {row["key"]: answer for row, answer in zip(rows, answers, strict=True) if isinstance(answer, Refusal)}
    if kept := [row for row in rows if row["key"] not in refused]:
        await connection.execute(generations.insert(), kept)
    return refused


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
        "content": content_of(order),
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
    query = select(api_tokens.c.id, api_tokens.c.cap).where(api_tokens.c.id.in_(token_ids), api_tokens.c.cap.is_not(None))
    caps = {id_: cap for id_, cap in await connection.execute(query.order_by(api_tokens.c.id).with_for_update())}
    spent = await spent_by_token(connection, caps)
    return {id_: cap - spent.get(id_, 0) for id_, cap in caps.items()}


async def _contents(connection: AsyncConnection, keys: Sequence[str]) -> dict[str, str]:
    rows = await connection.execute(select(generations.c.key, generations.c.content).where(generations.c.key.in_(keys)))
    return {key: content for key, content in rows}


async def _standings(connection: AsyncConnection, user_ids: set[int]) -> dict[int, _Standing]:
    """Where each user stands, their rows locked, so that parallel submits count one after the other.

    Start-time fair queueing: a user's next turn follows their own last one, but never lies behind what is served now. So one creator with
    500 requests does not delay another's first.
    """
    closed = select(maintenance.c.id).exists()
    wanted = select(users.c.id, users.c.frozen, users.c.merged_into.is_not(None), closed, users.c.barred_until).where(
        users.c.id.in_(user_ids)
    )
    locked = wanted.order_by(users.c.id).with_for_update()
    standings = {id_: _Standing(*flags) for id_, *flags in await connection.execute(locked)}
    served = await connection.scalar(select(func.min(generations.c.turn)).where(generations.c.state == State.QUEUED))
    for standing in standings.values():
        standing.turn = (served or 1) - 1
    active = generations.c.user_id.in_(user_ids) & generations.c.state.in_(ACTIVE)
    counts = select(generations.c.user_id, func.count(), func.max(generations.c.turn)).where(active).group_by(generations.c.user_id)
    for id_, count, turn in await connection.execute(counts):
        standings[id_].active = count
        standings[id_].turn = max(standings[id_].turn, turn)
    return standings


async def _announce(connection: AsyncConnection, orders: Sequence[Order], found: Mapping[str, Any], now: int) -> dict[str, int]:
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
