"""Claiming: queued generations meet resources, many in one transaction.

The listed resources are locked first, so that claims follow one another and each sees what the one before has used; what they choose is
then taken out of the limits, whose checks stand in the table itself.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import RowMapping, bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.catalog import Catalog, Model, ask
from core.db import SECOND
from core.generations.models import Generation, Lease, State, attempts, generations
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
    started = await _started(connection, now)
    offers = [_offer(each, started.get(each.id, 0), catalog, now / SECOND) for each in lent]
    quota = _Quota(running_per_user, strikes_per_user)
    candidates = await _candidates(connection, catalog, offers, now, min(slots, MAX_CLAIM), quota)
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


async def _started(connection: AsyncConnection, now: int) -> dict[int, int]:
    """Calls that each resource began within the last minute. The resources are locked, so nobody adds to them."""
    recent = (
        select(attempts.c.resource_id, func.count()).where(attempts.c.started_at > now - MINUTE_WINDOW).group_by(attempts.c.resource_id)
    )
    return {id_: count for id_, count in await connection.execute(recent)}


def _offer(resource: Resource, started: int, catalog: Catalog, now: float) -> Offer:
    health, limits = resource.health, resource.limits
    asks: dict[str, int] = {}
    for model in catalog.models.values():
        if model.provider == resource.provider and (resource.models is None or model.provider_model in resource.models):
            for name, price in _prices(model):
                asks[name] = ask(price, limits.price_percent)
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
        minute_left=limits.per_minute - started,
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


def _prices(model: Model) -> list[tuple[str, int]]:
    if not model.qualities:
        return [(model.capability, model.price)]
    return [(f"{model.capability}@{quality}", price) for quality, price in model.qualities.items()]


def _on_trial(resource: Resource, now: float) -> bool:
    return on_chosen(resource.health, now).state is HealthState.SUSPECT


async def _candidates(
    connection: AsyncConnection, catalog: Catalog, offers: Sequence[Offer], now: int, slots: int, quota: _Quota
) -> list[RowMapping]:
    """Queued generations in their turn, locked: of each model as many as could start now, and of each owner of a private resource too.

    No more of one user count as could start than `quota` allows; of one who has too many strikes, none.
    """
    queued = generations.c.state == State.QUEUED
    models = list(await connection.scalars(select(generations.c.model).where(queued).distinct().limit(len(catalog.models) + 1)))
    if not models or not any(offer.free_slots > 0 for offer in offers):
        return [] if not models or offers else await _lock(connection, queued, slots, now)  # without any resource every one is hopeless
    by_user = (generations.c.user_id, users.c.strikes)
    joined = select(*by_user, func.count()).join(users, users.c.id == generations.c.user_id).where(generations.c.state == State.RUNNING)
    counts: dict[int, int] = {}
    full: list[int] = []
    for user, strikes, n in await connection.execute(joined.group_by(*by_user)):
        counts[user] = n
        if n >= quota.of(len(strikes_in(strikes, now))):
            full.append(user)
    ready = queued & (generations.c.due_at <= now) & generations.c.user_id.not_in(full)
    found: dict[int, RowMapping] = {}
    for model in models:
        free = sum(max(0, min(offer.free_slots, offer.minute_left)) for offer in offers if _serves(offer, catalog, model))
        for row in await _lock(connection, ready & (generations.c.model == model), min(free + SLACK, slots + SLACK), now):
            found[row["id"]] = row
    owners = {offer.owner for offer in offers if offer.scope != Scope.MARKET and offer.free_slots > 0}
    if owners:
        for row in await _lock(connection, ready & generations.c.user_id.in_(owners), slots, now):
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


async def _lock(connection: AsyncConnection, where: Any, limit: int, now: int) -> list[RowMapping]:
    columns = (*COLUMNS, generations.c.community_id, generations.c.tried, generations.c.due_at, users.c.strikes)
    query = select(*columns).join(users, users.c.id == generations.c.user_id).where(where, users.c.barred_until <= now)
    ordered = query.order_by(generations.c.turn, generations.c.id).limit(limit)
    return list((await connection.execute(ordered.with_for_update(skip_locked=True, of=generations))).mappings())


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
        changes.append({"row": choice.job, "new_fence": fence, "new_tried": json.dumps([*json.loads(row["tried"]), resource.id])})
        new_attempts.append(
            {
                "generation_id": choice.job,
                "fence": fence,
                "resource_id": resource.id,
                "provider_model": provider_model,
                "price": choice.price,
                "reasons": json.dumps(choice.reasons),
                "started_at": now,
                "lease_until": lease_until,
            }
        )
        generation = read({**row, "state": State.RUNNING, "fence": fence})
        leases.append(
            Lease(
                generation, fence, resource.id, resource.owner_id, resource.provider, provider_model, choice.price, now, lease_until,
                sealed[resource.subject],
            )
        )  # fmt: skip
    await connection.execute(
        update(generations)
        .where(generations.c.id == bindparam("row"))
        .values(state=State.RUNNING, fence=bindparam("new_fence"), tried=bindparam("new_tried")),
        changes,
    )
    await connection.execute(insert(attempts), new_attempts)
    await Mailbox(connection, now).touch([lease.generation.subject for lease in leases])
    return leases
