"""What admins do to the market itself: a resource is paused, the platform takes nothing new. Each with a reason in the log."""

import json

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from core.acts.service import Acts
from core.db import SECOND
from core.generations.models import State, attempts, maintenance
from core.generations.service import Generations
from core.mailbox.models import Notice
from core.mailbox.service import Mailbox
from core.oversight.alert import Alerts
from core.oversight.errors import StandsSo
from core.oversight.models import Closing, File, Try
from core.pools.errors import PoolNotGone
from core.pools.models import pool
from core.pools.service import Pools
from core.resources.models import Resource, Stop
from core.resources.service import Resources
from core.users.models import User
from core.users.service import Users

NEWEST = 5


class Controls:
    """One transaction's view of what admins can stop."""

    def __init__(self, connection: AsyncConnection, now: int) -> None:
        self._connection = connection
        self._now = now

    async def file(self, resource_id: int) -> File:
        """Everything about one resource on one page. Raises ResourceNotFound."""
        resource = await Resources(self._connection, self._now).get(resource_id)
        newest = select(attempts).where(attempts.c.resource_id == resource_id).order_by(attempts.c.started_at.desc()).limit(NEWEST)
        tries = [
            Try(
                row["generation_id"], row["outcome"], row["fault"],
                None if row["finished_at"] is None else (row["finished_at"] - row["started_at"]) / SECOND, json.loads(row["reasons"]),
            )
            for row in (await self._connection.execute(newest)).mappings()
        ]  # fmt: skip
        acts = await Acts(self._connection, self._now).newest(subject=resource.subject, limit=NEWEST)
        owner = await Users(self._connection, self._now).get(resource.owner_id)
        return File(resource, owner, tries, [f"{each.act}: {each.reason}" for each in acts])

    async def stop(self, admin: User, resource_id: int, reason: str) -> None:
        """Pauses a resource until an admin lifts it; its owner is told why. Raises ResourceNotFound, NotAllowedNow, ReasonNeeded."""
        resource = await Resources(self._connection, self._now).stop(resource_id, Stop.ADMIN)
        await Acts(self._connection, self._now).record(admin.id, "stop", resource.subject, reason)
        await self._tell(resource, "resource_stopped", reason)

    async def free(self, admin: User, resource_id: int, reason: str) -> None:
        """Lifts that, whoever had paused it; its owner may list it again. Raises as `stop`."""
        resource = await Resources(self._connection, self._now).stop(resource_id, Stop.NO)
        await Acts(self._connection, self._now).record(admin.id, "free", resource.subject, reason)
        await Resources(self._connection, self._now).agree(resource_id, None)  # what was spent by hand meanwhile is no leak
        await Alerts(self._connection, self._now).over(f"leak:{resource_id}", "leak", resource=resource_id)
        await self._tell(resource, "resource_freed", reason)

    async def close(self, admin: User, reason: str) -> Closing:
        """Nothing new is taken from now on; what waits and runs is finished. Raises StandsSo, ReasonNeeded."""
        await Acts(self._connection, self._now).record(admin.id, "close", "platform", reason)
        insert_ = postgresql.insert if self._connection.dialect.name == "postgresql" else sqlite.insert
        row = {"id": 1, "since": self._now, "reason": " ".join(reason.split())}
        made = insert_(maintenance).values(row).on_conflict_do_nothing().returning(maintenance.c.id)
        if (await self._connection.execute(made)).first() is None:
            raise StandsSo()
        return await self.closing()

    async def reopen(self, admin: User, reason: str) -> Closing:
        """Ends it. Raises StandsSo, ReasonNeeded."""
        await Acts(self._connection, self._now).record(admin.id, "reopen", "platform", reason)
        if (await self._connection.execute(delete(maintenance))).rowcount != 1:
            raise StandsSo()
        return await self.closing()

    async def rescue(self, admin: User, community_id: int, reason: str, code: str) -> bool:
        """Keeps a code by which a pool, whose groups are all gone, comes to another; False when there were too many in an hour.

        Raises PoolNotFound, PoolNotGone, ReasonNeeded.
        """
        pools = Pools(self._connection, self._now)
        community = await pools.lock(community_id)
        if community.id not in await pools.gone([community.id]):
            raise PoolNotGone()
        await Acts(self._connection, self._now).record(admin.id, "rescue", pool(community.id), reason)
        return await pools.keep_code(community, code)

    async def closing(self) -> Closing:
        """How it stands."""
        row = (await self._connection.execute(select(maintenance.c.since, maintenance.c.reason))).first()
        counts = await Generations(self._connection, self._now).counts()
        since, reason = row if row is not None else (None, "")
        return Closing(since, reason, counts[State.QUEUED], counts[State.RUNNING])

    async def _tell(self, resource: Resource, kind: str, reason: str) -> None:
        address = (await Users(self._connection, self._now).addresses([resource.owner_id])).get(resource.owner_id)
        if address is not None:
            body = {"resource": resource.id, "reason": " ".join(reason.split())}
            await Mailbox(self._connection, self._now).say(
                [Notice(f"{kind}:{resource.id}:{self._now}", address, kind, body, resource.subject)]
            )
