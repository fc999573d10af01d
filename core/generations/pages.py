"""Reading many generations at once: a user's pages, those that somebody waits for, and what became of a resource's attempts."""

from collections.abc import Collection

from sqlalchemy import case, func, null, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.generations.models import Generation, OutcomeKind, State, attempts, generations
from core.generations.service import COLUMNS, read
from core.pools.models import Community, Use
from core.users.models import users

MAX_PAGE = 101
"""A page of 100, and one more that tells whether there is another page."""
MAX_AWAITED = 5_000
"""Generations that one look takes."""


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
    over = generations.c.state.not_in((State.QUEUED, State.RUNNING))
    query = select(*COLUMNS).where(generations.c.id.in_(sorted(numbers)[:MAX_AWAITED]), over)
    return {row["id"]: read(row) for row in (await connection.execute(query)).mappings()}


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


async def tries_of_resource(connection: AsyncConnection, resource_id: int) -> dict[str, int]:
    """How a resource's attempts ended, by number: `delivered`, `failed` at no cost, `lost` at the owner's cost; and `sold`, the
    milli-credits that creators paid for what it delivered."""
    query = select(attempts.c.outcome, func.count(), func.coalesce(func.sum(attempts.c.price), 0))
    rows = await connection.execute(query.where(attempts.c.resource_id == resource_id).group_by(attempts.c.outcome))
    found = {outcome: (count, int(total)) for outcome, count, total in rows}
    counts = {kind: found.get(kind, (0, 0))[0] for kind in OutcomeKind}
    return {
        "delivered": counts[OutcomeKind.DELIVERED],
        "failed": counts[OutcomeKind.FAILED_FREE] + counts[OutcomeKind.REJECTED],
        "lost": counts[OutcomeKind.FAILED_COST] + counts[OutcomeKind.UNKNOWN],
        "sold": found.get(OutcomeKind.DELIVERED, (0, 0))[1],
    }
