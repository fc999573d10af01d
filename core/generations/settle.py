"""Settling: what became of leases, many in one transaction. Only the newest lease of a running generation wins, and only once."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import RowMapping, bindparam, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.catalog import Catalog
from core.db import DAY, SECOND, Rows, one_of, run_rows
from core.generations.models import Generation, Lease, OutcomeKind, Settlement, State, attempts, generations
from core.generations.reward import Royalties, royalties_of
from core.generations.rules import earners, released, split_price, tries_left
from core.generations.service import COLUMNS, read
from core.generations.submit import hold_key
from core.ledger.models import Capture, Release, Step
from core.ledger.service import Ledger, raise_first_refusal
from core.mailbox.models import Notice
from core.mailbox.service import Mailbox
from core.providers.base import Fault
from core.resources.models import Health, HealthState, Resource, resources
from core.resources.rules import day_and_month, on_outcome, strikes_of
from core.resources.service import Resources, health_values
from core.users.models import users
from core.users.service import Users

RELEASE_BATCH = 200
EXPIRE_BATCH = 200
REFUSALS = frozenset({Fault.MODERATED, Fault.FORBIDDEN, Fault.WITHHELD})
"""Faults that the creator is to blame for: strikes."""
UNCALLED = frozenset({Fault.UNOPENED, Fault.UNCHECKED})
"""Faults of our own, before anybody was called: the same resource may serve it."""


@dataclass(slots=True)
class _Book:
    """What one batch writes."""

    generations: list[dict[str, Any]] = field(default_factory=list)
    attempts: list[list[Any]] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    touched: list[str] = field(default_factory=list)
    struck: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SettleRules:
    """The settings that settling needs. `hold` in microseconds: how long earnings stay pending. `royalties_per_day`: pictures of one
    creator for which one author earns. `strikes`: refused prompts of one user within a day."""

    miner_percent: int
    hold: int
    tries: int
    catalog: Catalog
    royalty_percent: int
    royalties_per_day: int
    strikes: int


async def settle_many(connection: AsyncConnection, settlements: Sequence[Settlement], *, now: int, rules: SettleRules) -> list[bool]:
    """Whether each settlement won. A loser changes no money and no state: its lease had lapsed, or it settled before.

    A delivered picture: capture, split, notice. A failure that another resource may mend: back into the queue. Else: release, and say why.
    """
    open_attempts = await _lock_attempts(connection, [each.lease for each in settlements])
    rows = await _lock_generations(connection, [each.lease.generation.id for each in settlements])
    royalties = await royalties_of(connection, rows.values(), now, rules.royalties_per_day)
    lent = await Resources(connection, now).lock(sorted({each.lease.resource_id for each in settlements}))
    healths = {id_: each.health for id_, each in lent.items()}
    back: dict[int, dict[str, int]] = {}
    book, answers, missing = _Book(), [], []
    for settlement in settlements:
        lease = settlement.lease
        key = (lease.generation.id, lease.fence)
        won = key in open_attempts
        answers.append(won)
        if not won:
            continue
        open_attempts.discard(key)
        healths[lease.resource_id] = _judge(healths[lease.resource_id], settlement, now)
        _give_back(back.setdefault(lease.resource_id, _nothing()), settlement, now)
        book.attempts.append(_attempt(settlement, now))
        if settlement.fault == Fault.MODEL_MISSING:
            missing.append(lease)
        row = rows[lease.generation.id]
        assert row["state"] == State.RUNNING and row["fence"] == lease.fence, row["id"]
        _decide(book, settlement, row, now, rules, royalties)
    if book.struck:
        await Users(connection, now).strike(book.struck, rules.strikes)  # users before accounts, as submits lock them
    await _write(connection, book, now)
    changes = [{"row": id_, **used, **health_values(healths[id_])} for id_, used in sorted(back.items())]
    if changes:
        await Resources(connection, now).give_back(changes)
    await _tell_owners(connection, lent, healths, back, now)
    for lease in missing:
        await Resources(connection, now).lose_model(lease.resource_id, lease.provider_model, rules.catalog.served_by(lease.provider))
    return answers


def _decide(book: _Book, settlement: Settlement, row: RowMapping, now: int, rules: SettleRules, royalties: Royalties) -> None:
    lease, generation = settlement.lease, read(row)
    if settlement.kind is OutcomeKind.DELIVERED:
        author = royalties.author(generation)
        shares = split_price(lease.price, lease.owner_id, rules.miner_percent, author, rules.royalty_percent)
        book.steps.append(Capture(f"capture:{generation.id}", hold_key(generation.key), shares))
        book.generations.append(
            _change(
                generation, State.DELIVERED, now, paid=lease.price, shares=json.dumps(shares), release_at=now + rules.hold,
                blob=settlement.blob, media_type=settlement.media_type, width=settlement.width, height=settlement.height,
                seed=settlement.seed, digest=settlement.digest, spoiler=generation.spoiler or settlement.spoiler,
            )
        )  # fmt: skip
        _result(book, generation)
        return
    if settlement.fault in REFUSALS:
        book.struck[generation.user_id] = book.struck.get(generation.user_id, 0) + 1
    tried = [each for each in json.loads(row["tried"]) if settlement.fault not in UNCALLED or each != lease.resource_id]
    reason = tries_left(settlement, len(tried), rules.tries, now, generation.deadline)
    if reason is None:
        book.generations.append(_change(generation, State.QUEUED, None, tried=json.dumps(tried)))
        _touch(book, generation)
        return
    _fail(book, generation, reason, now)


def _fail(book: _Book, generation: Generation, reason: str, now: int, kind: str = "release") -> None:
    book.steps.append(Release(f"release:{generation.id}", hold_key(generation.key), kind))
    book.generations.append(_change(generation, State.FAILED, now, reason=reason))
    _result(book, generation)


def _touch(book: _Book, generation: Generation) -> None:
    if generation.address is not None:
        book.touched.append(generation.subject)


def _result(book: _Book, generation: Generation) -> None:
    _touch(book, generation)
    if generation.address is not None:
        body = {"generation": generation.id}
        book.notices.append(Notice(f"result:{generation.id}", generation.address, "result", body, generation.subject))


_FACTS = {
    "state": "text", "finished_at": "bigint", "paid": "bigint", "shares": "text", "release_at": "bigint", "reason": "text", "blob": "text",
    "media_type": "text", "width": "int", "height": "int", "seed": "bigint", "digest": "text", "spoiler": "boolean",
}  # fmt: skip
_CHANGES = Rows("changes", row="bigint", **_FACTS, tried="text")
_CHANGE = f"""
UPDATE generations SET {", ".join(f"{name} = changes.{name}" for name in _FACTS)}, tried = COALESCE(changes.tried, generations.tried)
FROM {{changes}} WHERE id = changes.row"""


def _change(generation: Generation, state: State, finished_at: int | None, **facts: Any) -> dict[str, Any]:
    known = {"row": generation.id, "state": state, "finished_at": finished_at, "paid": 0, "spoiler": generation.spoiler}
    return dict.fromkeys(_CHANGES.columns) | known | facts


def _judge(health: Health, settlement: Settlement, now: int) -> Health:
    fault = Fault(settlement.fault) if settlement.fault else None
    delivered = settlement.kind is OutcomeKind.DELIVERED
    return on_outcome(
        health, delivered=delivered, fault=fault, now=now / SECOND, seconds=settlement.seconds, retry_after=settlement.retry_after
    )


def _nothing() -> dict[str, int]:
    return {"calls": 0, "unused_today": 0, "unused_this_month": 0}


def _give_back(used: dict[str, int], settlement: Settlement, now: int) -> None:
    """A slot is free again; Credits that were not earned go back to the day and month that they were taken from, if those still run."""
    used["calls"] += 1
    if settlement.kind is OutcomeKind.DELIVERED:
        return
    then, today = (day_and_month(moment / SECOND) for moment in (settlement.lease.started_at, now))
    used["unused_today"] += settlement.lease.price if then[0] == today[0] else 0
    used["unused_this_month"] += settlement.lease.price if then[1] == today[1] else 0


def _attempt(settlement: Settlement, now: int) -> list[Any]:
    lease = settlement.lease
    facts = [settlement.kind, settlement.fault, settlement.cost, settlement.reference[:128]]
    return [lease.generation.id, lease.fence, now, *facts]


_LEASES = Rows("leases", generation_id="bigint", fence="int")
_LOCK_ATTEMPTS = """
SELECT generation_id, fence FROM attempts
WHERE (generation_id, fence) IN (SELECT generation_id, fence FROM {leases}) AND finished_at IS NULL
ORDER BY generation_id, fence {for_update}"""
_LOCK_GENERATIONS = (
    select(*COLUMNS, generations.c.tried).where(one_of(generations.c.id, "ids")).order_by(generations.c.id).with_for_update()
)
_CLOSED = Rows("closed", row="bigint", number="int", at="bigint", outcome="text", fault="text", cost="bigint", reference="text")
_CLOSE = """
UPDATE attempts SET finished_at = closed.at, outcome = closed.outcome, fault = closed.fault, cost = closed.cost,
  reference = closed.reference
FROM {closed} WHERE generation_id = closed.row AND fence = closed.number"""


async def _lock_attempts(connection: AsyncConnection, leases: Sequence[Lease]) -> set[tuple[int, int]]:
    """Which of the leases are still open; locked. Whoever closes an attempt has won it."""
    keys = [(lease.generation.id, lease.fence) for lease in leases]
    return {(id_, fence) for id_, fence in await run_rows(connection, _LOCK_ATTEMPTS, {_LEASES: keys})}


async def _lock_generations(connection: AsyncConnection, ids: Sequence[int]) -> dict[int, RowMapping]:
    return {row["id"]: row for row in (await connection.execute(_LOCK_GENERATIONS, {"ids": ids})).mappings()}


async def _write(connection: AsyncConnection, book: _Book, now: int) -> None:
    if book.attempts:
        await run_rows(connection, _CLOSE, {_CLOSED: book.attempts})
    if book.generations:
        await run_rows(connection, _CHANGE, {_CHANGES: [list(each.values()) for each in book.generations]})
    if book.steps:
        raise_first_refusal(await Ledger(connection, now).apply(book.steps))
    mailbox = Mailbox(connection, now)
    await mailbox.say(book.notices)
    await mailbox.touch(book.touched)


async def _tell_owners(
    connection: AsyncConnection, lent: Mapping[int, Resource], healths: Mapping[int, Health], changed: Mapping[int, Any], now: int
) -> None:
    """A miner hears at once, and once, when a key of theirs is out, or rests because its provider refused too many prompts."""
    out = [lent[id_] for id_ in changed if healths[id_].state is HealthState.OUT and lent[id_].health.state is not HealthState.OUT]
    rests = [
        each
        for each in map(lent.__getitem__, changed)
        if each.strikes < each.limits.strike_limit <= strikes_of(healths[each.id], now / SECOND)
    ]
    if not out and not rests:
        return
    addresses = await Users(connection, now).addresses(each.owner_id for each in (*out, *rests))
    await Mailbox(connection, now).say(
        [
            Notice(
                f"{each.subject}:out:{now}", addresses[each.owner_id], "resource_out",
                {"resource": each.id, "fault": healths[each.id].fault}, each.subject,
            )
            for each in out
            if each.owner_id in addresses
        ]
        + [
            Notice(
                f"{each.subject}:rest:{now}", addresses[each.owner_id], "resource_rest",
                {"resource": each.id, "limit": each.limits.strike_limit}, each.subject,
            )
            for each in rests
            if each.owner_id in addresses
        ]
    )  # fmt: skip


async def lapsed(connection: AsyncConnection, now: int, limit: int) -> list[Settlement]:
    """Leases whose worker is gone: what they became is unknown. Settle them as any other."""
    query = (
        select(attempts, resources.c.owner_id, resources.c.provider)
        .join(resources, resources.c.id == attempts.c.resource_id)
        .where(attempts.c.finished_at.is_(None), attempts.c.lease_until <= now)
    )
    rows = list((await connection.execute(query.order_by(attempts.c.lease_until).limit(limit))).mappings())
    found = await _read(connection, [row["generation_id"] for row in rows])
    leases = [
        Lease(
            found[row["generation_id"]], row["fence"], row["resource_id"], row["owner_id"], row["provider"], row["provider_model"],
            row["price"], row["started_at"], row["lease_until"], None,
        )
        for row in rows
    ]  # fmt: skip
    return [Settlement(lease, OutcomeKind.UNKNOWN, Fault.TIMEOUT) for lease in leases]


async def _read(connection: AsyncConnection, ids: Sequence[int]) -> dict[int, Generation]:
    rows = await connection.execute(select(*COLUMNS).where(generations.c.id.in_(ids)))
    return {row["id"]: read(row) for row in rows.mappings()}


async def renew(connection: AsyncConnection, leases: Sequence[Lease], lease_until: int) -> None:
    """The heartbeat: a living worker's leases go on."""
    here = (attempts.c.generation_id == bindparam("row")) & (attempts.c.fence == bindparam("row_fence")) & attempts.c.finished_at.is_(None)
    keys = sorted((lease.generation.id, lease.fence) for lease in leases)  # the order in which settling locks them
    rows = [{"row": generation, "row_fence": fence} for generation, fence in keys]
    await connection.execute(update(attempts).where(here).values(lease_until=lease_until), rows)


async def give_up(connection: AsyncConnection, now: int, hopeless: Sequence[int] = ()) -> int:
    """Fails queued generations that are too late, and those that nothing can ever serve; returns how many."""
    too_late = generations.c.deadline <= now
    where = or_(too_late, generations.c.id.in_(hopeless)) if hopeless else too_late
    query = select(*COLUMNS).where(generations.c.state == State.QUEUED, where).order_by(generations.c.id).limit(EXPIRE_BATCH)
    book = _Book()
    for row in (await connection.execute(query.with_for_update(skip_locked=True))).mappings():
        late = row["deadline"] <= now
        _fail(book, read(row), "too_late" if late else "no_resource", now, kind="expire" if late else "release")
    await _write(connection, book, now)
    return len(book.generations)


async def release_earnings(connection: AsyncConnection, now: int) -> int:
    """Makes pending earnings spendable whose time has come; returns of how many generations.

    Where one who earns is frozen, all of the generation's stays pending and is looked at again a day later.
    """
    due = (generations.c.release_at <= now) & (generations.c.state == State.DELIVERED)
    query = select(generations.c.id, generations.c.shares).where(due).order_by(generations.c.id).limit(RELEASE_BATCH)
    rows = (await connection.execute(query.with_for_update(skip_locked=True))).all()
    frozen = await _with_frozen(connection, {id_: shares for id_, shares in rows})
    if frozen:
        await connection.execute(update(generations).where(generations.c.id.in_(frozen)).values(release_at=now + DAY))
    postings = [posting for id_, shares in rows if id_ not in frozen and (posting := released(id_, json.loads(shares))) is not None]
    if postings:
        raise_first_refusal(await Ledger(connection, now).post_many(postings))
    if done_ := [id_ for id_, _ in rows if id_ not in frozen]:
        done = update(generations).where(generations.c.id.in_(done_)).values(release_at=None)
        await connection.execute(done)
    return len(rows)


async def _with_frozen(connection: AsyncConnection, shares: Mapping[int, str]) -> set[int]:
    """Which of the generations somebody earns by who is frozen."""
    owners = {id_: earners(json.loads(text)) for id_, text in shares.items()}
    everybody = set().union(*owners.values())
    person = users.alias()  # of one who was joined with another, that other
    kept = person.c.id == func.coalesce(users.c.merged_into, users.c.id)
    query = select(users.c.id).join(person, kept).where(users.c.id.in_(everybody), person.c.frozen)
    found = set(await connection.scalars(query)) if everybody else set()
    return {id_ for id_, theirs in owners.items() if theirs & found}
