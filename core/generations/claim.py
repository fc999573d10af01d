"""Claiming: queued generations meet resources, many in one transaction.

The listed resources are locked first, so that claims follow one another and each sees what the one before has used; what they choose is
then taken out of the limits, whose checks stand in the table itself.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from typing import Any

from sqlalchemy import Integer, RowMapping, Select, bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from core.catalog import Catalog, Model, ask
from core.db import SECOND, Moment, Rows, one_of, run_rows
from core.generations.models import Generation, Lease, State, generations
from core.generations.rules import capability
from core.generations.service import COLUMNS, read
from core.mailbox.service import Mailbox
from core.resources.models import HealthState, Resource, Scope
from core.resources.rules import is_open, on_chosen
from core.resources.service import Resources
from core.scheduler.policy import Choice, Job, NoChoice, Offer, choose
from core.users.models import users
from core.users.rules import strikes_in
from core.vault.service import fetch

MINUTE_WINDOW = 61 * SECOND
"""A minute of ours is a second longer than the provider's, for what the network may add."""
SLACK = 16
"""Candidates of a model beyond what is free: some cannot be served by what is free."""
MAX_CLAIM = 256
PATIENCE = 2 * SECOND
"""Whoever has waited longer is told at once that it is drawn now; who has not is shown the picture, or that, soon enough."""


_LOOK = text("""
SELECT 'started', CAST(count(*) AS text), resource_id, min(started_at), '' FROM attempts WHERE started_at > :since GROUP BY resource_id
UNION ALL SELECT 'oldest', '', resource_id, min(started_at), '' FROM attempts WHERE finished_at IS NULL GROUP BY resource_id
UNION ALL SELECT 'running', CAST(count(*) AS text), user_id, CAST(0 AS bigint), strikes
  FROM generations JOIN users ON users.id = user_id WHERE state = 'running' GROUP BY user_id, strikes
UNION ALL SELECT 'model', model, 0, 0, '' FROM (SELECT DISTINCT model FROM generations WHERE state = 'queued' LIMIT :most) AS waiting""")
_QUEUED = (
    select(*COLUMNS, generations.c.community_id, generations.c.tried, generations.c.due_at, users.c.strikes)
    .join(users, users.c.id == generations.c.user_id)
    .where(generations.c.state == State.QUEUED, users.c.barred_until <= bindparam("now", type_=Moment))
    .order_by(generations.c.turn, generations.c.id)
    .limit(bindparam("most", type_=Integer))
    .with_for_update(skip_locked=True, of=generations)
)
_LOCK = _QUEUED
_DUE = _QUEUED.where(generations.c.due_at <= bindparam("now", type_=Moment))
_LOCK_OF_MODEL = _DUE.where(generations.c.model == bindparam("model"), ~one_of(generations.c.user_id, "full"))
_LOCK_OF_OWNERS = _DUE.where(one_of(generations.c.user_id, "owners"))
_STARTED = Rows("started", row="bigint", fence="int", tried="text")
_START = "UPDATE generations SET state = 'running', fence = started.fence, tried = started.tried FROM {started} WHERE id = started.row"
_ATTEMPTS = Rows(
    "new_attempts", generation_id="bigint", fence="int", resource_id="bigint", provider_model="text", price="bigint", reasons="text",
    started_at="bigint", lease_until="bigint",
)  # fmt: skip
_INSERT = f"INSERT INTO attempts ({', '.join(_ATTEMPTS.columns)}) SELECT * FROM {{new_attempts}}"


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a claim gave: leases to work on, generations that nothing can ever serve, and when to look again (microseconds)."""

    leases: list[Lease]
    hopeless: list[Generation]
    retry_at: int | None


@dataclass(frozen=True, slots=True)
class _Quota:
    """How many of one user may run at once: what runs may be refused yet, so with the strikes there are it never exceeds the budget."""

    running: int
    strikes: int

    def of(self, strikes: int) -> int:
        return min(self.running, self.strikes - strikes)


@dataclass(slots=True)
class _Queue:
    """What a claim looks at besides the resources. `started`: of each resource the calls begun within the last minute and when the first
    of them was; `oldest`: when its longest open call began; `running`: how many of a user's run, and their strikes; `models`: of what
    waits. Moments in microseconds."""

    started: dict[int, tuple[int, int]] = field(default_factory=dict)
    oldest: dict[int, int] = field(default_factory=dict)
    running: dict[int, tuple[int, str]] = field(default_factory=dict)
    models: list[str] = field(default_factory=list)


async def claim_many(
    connection: AsyncConnection,
    catalog: Catalog,
    *,
    now: int,
    today: date,
    slots: int,
    lease: int,
    running_per_user: int,
    strikes_per_user: int,
    seed: int,
) -> Claimed:
    """Leases at most `slots` queued generations for `lease` microseconds each."""
    lent = await Resources(connection, now).lock_listed()
    queue = await _look(connection, now, len(catalog.models) + 1)
    offers = [_offer(each, queue, catalog, now / SECOND) for each in lent]
    quota = _Quota(running_per_user, strikes_per_user)
    candidates = await _candidates(connection, catalog, offers, queue, now, min(slots, MAX_CLAIM), quota)
    if not candidates:
        return Claimed([], [], None)
    jobs = [_job(row, catalog, now) for row in candidates]
    answers = choose(jobs, offers, now=now / SECOND, seed=seed)
    chosen = [answer for answer in answers if isinstance(answer, Choice)][: min(slots, MAX_CLAIM)]
    rest = [answer for answer in answers if isinstance(answer, NoChoice)]
    rows = {row["id"]: row for row in candidates}
    hopeless = [read(rows[answer.job]) for answer in rest if answer.final]
    retry = min((answer.retry_at for answer in rest if answer.retry_at is not None), default=None)
    leases = await _write(connection, chosen, rows, {each.id: each for each in lent}, catalog, now, now + lease) if chosen else []
    return Claimed(leases, hopeless, None if retry is None else int(retry * SECOND))


async def _look(connection: AsyncConnection, now: int, most: int) -> _Queue:
    """The resources are locked, so nobody adds to what their calls are."""
    queue = _Queue()
    for kind, name, number, at, strikes in await connection.execute(_LOOK, {"since": now - MINUTE_WINDOW, "most": most}):
        if kind == "started":
            queue.started[number] = (int(name), at)
        elif kind == "oldest":
            queue.oldest[number] = at
        elif kind == "model":
            queue.models.append(name)
        else:
            queue.running[number] = (int(name), strikes)
    return queue


def _offer(resource: Resource, queue: _Queue, catalog: Catalog, now: float) -> Offer:
    health, limits = resource.health, resource.limits
    started, first = queue.started.get(resource.id, (0, 0))
    oldest = queue.oldest.get(resource.id)
    asks = _asks(catalog, resource.provider, resource.models, limits.price_percent)
    return Offer(
        id=resource.id,
        owner=resource.owner_id,
        community=resource.community_id,
        scope=resource.scope,
        provider=resource.provider,
        models=frozenset(asks),
        asks=asks,
        health=health.state,
        cool_until=health.cool_until,
        free_slots=min(1 if _on_trial(resource, now) else limits.max_concurrency, limits.strike_limit - resource.strikes)
        - resource.in_flight,
        wary=2 * resource.strikes >= limits.strike_limit,
        slot_at=oldest / SECOND + health.latency if oldest is not None else 0.0,
        minute_left=limits.per_minute - started,
        minute_at=(first + MINUTE_WINDOW) / SECOND if started else 0.0,
        budget_left=min(resource.day_left, resource.month_left),
        open_now=is_open(limits, now),
        listed=True,
        successes=health.successes,
        failures=health.failures,
        latency=health.latency,
        latency_deviation=health.latency_deviation,
        delivered_total=health.delivered,
        last_chosen=resource.last_chosen_at,
        lost=resource.lost,
        made=resource.made,
    )


@lru_cache(maxsize=10_000)
def _asks(catalog: Catalog, provider: str, models: frozenset[str] | None, percent: int) -> Mapping[str, int]:
    """What a resource can serve, and for how much."""
    return {
        name: ask(price, percent)
        for model in catalog.models.values()
        if model.provider == provider and (models is None or model.provider_model in models)
        for name, price in _prices(model)
    }


def _prices(model: Model) -> list[tuple[str, int]]:
    if not model.qualities:
        return [(model.capability, model.price)]
    return [(f"{model.capability}@{quality}", price) for quality, price in model.qualities.items()]


def _on_trial(resource: Resource, now: float) -> bool:
    return on_chosen(resource.health, now).state is HealthState.SUSPECT


async def _candidates(
    connection: AsyncConnection, catalog: Catalog, offers: Sequence[Offer], queue: _Queue, now: int, slots: int, quota: _Quota
) -> list[RowMapping]:
    """Queued generations in their turn, locked: of each model as many as could start now, and of each owner of a private resource too.

    No more of one user count as could start than `quota` allows; of one who has too many strikes, none.
    """
    if not queue.models or not any(offer.free_slots > 0 for offer in offers):
        if not queue.models or offers:
            return []
        return await _lock(connection, _LOCK, now, slots)  # without any resource every one is hopeless
    counts = {user: n for user, (n, _) in queue.running.items()}
    full = [user for user, (n, strikes) in queue.running.items() if n >= quota.of(len(strikes_in(strikes, now)))]
    found: dict[int, RowMapping] = {}
    for model in queue.models:
        free = sum(max(0, min(offer.free_slots, offer.minute_left)) for offer in offers if _serves(offer, catalog, model))
        for row in await _lock(connection, _LOCK_OF_MODEL, now, min(free + SLACK, slots + SLACK), model=model, full=full):
            found[row["id"]] = row
    owners = {offer.owner for offer in offers if offer.scope != Scope.MARKET and offer.free_slots > 0} - set(full)
    if owners:
        for row in await _lock(connection, _LOCK_OF_OWNERS, now, slots, owners=owners):
            found[row["id"]] = row
    fair = []
    for row in sorted(found.values(), key=lambda each: (each["turn"], each["id"])):
        if counts.get(row["user_id"], 0) < quota.of(len(strikes_in(row["strikes"], now))):
            counts[row["user_id"]] = counts.get(row["user_id"], 0) + 1
            fair.append(row)
    return fair


def _serves(offer: Offer, catalog: Catalog, model: str) -> bool:
    known = catalog.models.get(model)
    return known is not None and any(name in offer.models for name, _ in _prices(known))


async def _lock(connection: AsyncConnection, query: Select[*tuple[Any, ...]], now: int, limit: int, **values: Any) -> list[RowMapping]:
    return list((await connection.execute(query, {"now": now, "most": limit, **values})).mappings())


def _job(row: RowMapping, catalog: Catalog, now: int) -> Job:
    generation = read(row)
    model = catalog.models.get(generation.model)
    return Job(
        id=generation.id,
        owner=generation.user_id,
        community=row["community_id"],
        provider_models=frozenset({capability(model, generation.parameters)} if model else ()),
        operation=generation.operation,
        held=generation.held,
        tried=frozenset(json.loads(row["tried"])),
        waited=(now - generation.created_at) / SECOND,
        deadline=(generation.deadline - now) / SECOND,
        strikes=len(strikes_in(row["strikes"], now)),
    )


async def _write(
    connection: AsyncConnection,
    chosen: Sequence[Choice],
    rows: Mapping[int, RowMapping],
    lent: Mapping[int, Resource],
    catalog: Catalog,
    now: int,
    lease_until: int,
) -> list[Lease]:
    """Takes the chosen out of the limits, and writes attempts and states; returns the leases."""
    taken: dict[int, tuple[int, int]] = {}
    for choice in chosen:
        calls, amount = taken.get(choice.offer, (0, 0))
        taken[choice.offer] = (calls + 1, amount + choice.price)
    healths = {id_: on_chosen(lent[id_].health, now / SECOND) for id_ in taken}
    await Resources(connection, now).reserve(taken, healths)
    sealed = await fetch(connection, [lent[id_].subject for id_ in taken])
    leases, new_attempts, changes = [], [], []
    for choice in chosen:
        row, resource = rows[choice.job], lent[choice.offer]
        fence = row["fence"] + 1
        provider_model = catalog.models[row["model"]].provider_model
        changes.append((choice.job, fence, json.dumps([*json.loads(row["tried"]), resource.id])))
        reasons = json.dumps(choice.reasons)
        new_attempts.append((choice.job, fence, resource.id, provider_model, choice.price, reasons, now, lease_until))
        generation = read({**row, "state": State.RUNNING, "fence": fence})
        leases.append(
            Lease(
                generation, fence, resource.id, resource.owner_id, resource.provider, provider_model, choice.price, now, lease_until,
                sealed[resource.subject],
            )
        )  # fmt: skip
    await run_rows(connection, _START, {_STARTED: changes})
    await run_rows(connection, _INSERT, {_ATTEMPTS: new_attempts})
    waited = [lease.generation for lease in leases if lease.generation.created_at < now - PATIENCE]
    await Mailbox(connection, now).touch([each.subject for each in waited if each.address is not None])
    return leases
