"""What the rows say of a disputed picture: how it was made, and of which earlier one it is a copy."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db import SECOND
from core.disputes.rules import is_copy
from core.generations.models import attempts, generations

COPIES = 50
"""Earlier pictures with the same bytes that are looked at."""


async def story(connection: AsyncConnection, generation_id: int) -> dict[str, Any]:
    """How the picture was made: each attempt with its resource, outcome, fault and seconds."""
    names = ("resource_id", "outcome", "fault", "started_at", "finished_at", "reference")
    query = select(*(attempts.c[name] for name in names)).where(attempts.c.generation_id == generation_id).order_by(attempts.c.fence)
    return {
        "attempts": [
            {
                "resource": resource,
                "outcome": outcome,
                "fault": fault,
                "seconds": round(((ended or began) - began) / SECOND, 1),
                "reference": reference,
            }
            for resource, outcome, fault, began, ended, reference in await connection.execute(query)
        ]
    }


async def copy_of(connection: AsyncConnection, generation_id: int) -> dict[str, Any]:
    """`copy_of`: the number of an earlier picture whose very bytes it has; `copied`: whether it clearly should have its own."""
    mine, earlier = generations.alias("mine"), generations.alias("earlier")
    wanted = ("id", "user_id", "operation", "prompt", "parameters")
    own = (await connection.execute(select(*(mine.c[name] for name in wanted)).where(mine.c.id == generation_id))).mappings().one()
    query = (
        select(*(earlier.c[name] for name in wanted))
        .join(mine, (mine.c.digest == earlier.c.digest) & (mine.c.id != earlier.c.id) & (earlier.c.finished_at <= mine.c.finished_at))
        .where(mine.c.id == generation_id)
    )
    rows = (await connection.execute(query.order_by(earlier.c.id).limit(COPIES))).mappings().all()
    copied = next((row["id"] for row in rows if is_copy(dict(own), dict(row))), None)
    return {"copy_of": copied or next((row["id"] for row in rows), None), "copied": copied is not None}
