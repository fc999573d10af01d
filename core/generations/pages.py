"""Reading many generations at once: a user's pages, those that somebody waits for, and what became of a resource's attempts."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import case, func, null, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db import SECOND, one_of
from core.generations.earn import COSTLY, MOVED
from core.generations.models import Generation, OutcomeKind, State, attempts, generations
from core.generations.service import COLUMNS, read
from core.ledger.models import entries, legs, pending
from core.pools.models import Community, Use
from core.resources.models import Resource
from core.users.models import users

MAX_PAGE = 101
"""A page of 100, and one more that tells whether there is another page."""
MAX_AWAITED = 5_000
"""Generations that one look takes."""
TIMED = 1_000
"""The newest delivered attempts by which a resource's seconds are told."""

_ENDED = select(*COLUMNS).where(one_of(generations.c.id, "ids"), generations.c.state.not_in((State.QUEUED, State.RUNNING)))


@dataclass(frozen=True, slots=True)
class Tries:
    """What became of a resource's attempts: numbers of them, amounts in milli-credits, and seconds of a delivered call (None: none was).

    `failed` and `rejected` (the content was refused) cost nothing, `lost` its owner's money. `sold` is what creators paid for what was
    delivered, `earned` what its owner has of that, less what was refunded.
    """

    delivered: int
    failed: int
    rejected: int
    lost: int
    sold: int
    earned: int
    p50: float | None
    p95: float | None

    @property
    def success(self) -> int | None:
        """Per cent of the attempts that somebody or something answers for; None when there was none."""
        all_ = self.delivered + self.failed + self.lost
        return self.delivered * 100 // all_ if all_ else None


async def page(
    connection: AsyncConnection, user_id: int, limit: int, before: int | None = None, state: State | None = None
) -> list[Generation]:
    """At most `limit` (up to MAX_PAGE) of a user's generations, the newest first, from just before the number `before`."""
    query = select(*COLUMNS).where(generations.c.user_id == user_id)
    if before is not None:
        query = query.where(generations.c.id < before)
    if state is not None:
        query = query.where(generations.c.state == state)
    rows = await connection.execute(query.order_by(generations.c.id.desc()).limit(min(limit, MAX_PAGE)))
    return [read(row) for row in rows.mappings()]


async def ended(connection: AsyncConnection, numbers: Collection[int]) -> dict[int, Generation]:
    """Those of at most MAX_AWAITED generations that neither wait nor run any more, by number."""
    rows = await connection.execute(_ENDED, {"ids": sorted(numbers)[:MAX_AWAITED]})
    return {row["id"]: read(row) for row in rows.mappings()}


async def uses_of(connection: AsyncConnection, community: Community, limit: int) -> list[Use]:
    """The newest delivered pictures that a community's pool has paid for, with prompts as far as its rules show them."""
    since = community.policy.prompts_since
    prompt = null() if since is None else case((generations.c.created_at >= since, generations.c.prompt), else_=None)
    query = select(generations.c.id, users.c.name, generations.c.model, generations.c.paid, generations.c.created_at, prompt)
    paid = (generations.c.community_id == community.id) & generations.c.state.in_((State.DELIVERED, State.DISPUTED))
    rows = await connection.execute(
        query.join(users, users.c.id == generations.c.user_id).where(paid).order_by(generations.c.id.desc()).limit(limit)
    )
    return [Use(*row) for row in rows]


async def tries_of_resource(connection: AsyncConnection, resource: Resource) -> Tries:
    """What became of a resource's attempts."""
    mine = attempts.c.resource_id == resource.id
    query = select(attempts.c.outcome, func.count(), func.coalesce(func.sum(attempts.c.price), 0)).where(mine)
    found = {outcome: (count, int(total)) for outcome, count, total in await connection.execute(query.group_by(attempts.c.outcome))}
    counts = {kind: found.get(kind, (0, 0))[0] for kind in OutcomeKind}
    delivered = mine & (attempts.c.outcome == OutcomeKind.DELIVERED)
    earned = (
        select(func.coalesce(func.sum(legs.c.amount), 0))
        .select_from(attempts.join(entries, MOVED).join(legs, legs.c.entry_id == entries.c.id))
        .where(delivered, legs.c.account == pending(resource.owner_id))
    )
    took = select(attempts.c.finished_at - attempts.c.started_at).where(delivered).order_by(attempts.c.started_at.desc())
    seconds = sorted(each / SECOND for each in await connection.scalars(took.limit(TIMED)))
    return Tries(
        counts[OutcomeKind.DELIVERED],
        counts[OutcomeKind.FAILED_FREE],
        counts[OutcomeKind.REJECTED],
        sum(counts[kind] for kind in COSTLY),
        found.get(OutcomeKind.DELIVERED, (0, 0))[1],
        int((await connection.execute(earned)).scalar_one()),
        seconds[len(seconds) // 2] if seconds else None,
        seconds[len(seconds) * 95 // 100] if seconds else None,
    )
