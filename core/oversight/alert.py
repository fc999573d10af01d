"""Alarms for the admins: what is wrong is said once, said again after AGAIN while it lasts, and its end is said too.

Every alarm is a row, and what is looked at every so often has a row that says when it is due, so that of many workers one speaks.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import case, delete, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from core.acts.service import Acts
from core.db import HOUR, MINUTE, SECOND
from core.generations.models import OutcomeKind, State, attempts, generations, maintenance
from core.mailbox.models import Notice
from core.mailbox.service import Mailbox
from core.oversight.models import failures, incidents, rounds
from core.oversight.rules import fails, is_agreed, leaked
from core.resources.errors import NotAllowedNow
from core.resources.models import HealthState, Resource, Stop, resources
from core.resources.models import State as ResourceState
from core.resources.service import Resources
from core.users.service import Users

AGAIN = 6 * HOUR
WINDOW = 10 * MINUTE
"""The calls by which a provider is judged."""
LONGEST_CALL = HOUR
"""No call takes longer (`CALL_SECONDS`)."""
EVERY = MINUTE
FAILED = (OutcomeKind.FAILED_FREE, OutcomeKind.FAILED_COST, OutcomeKind.UNKNOWN)
"""Refused content is nobody's fault."""


class Alerts:
    """One transaction's view of what is wrong."""

    def __init__(self, connection: AsyncConnection, now: int) -> None:
        self._connection = connection
        self._now = now
        self._insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert

    async def is_turn(self, name: str, every: int, lease: int | None = None) -> bool:
        """Whether this is the one that does something now which is done every so often (microseconds), first then.

        What is done outside of this transaction is leased for `lease`, and due again after it unless `done` is said.
        """
        mine = update(rounds).where(rounds.c.name == name, rounds.c.due_at <= self._now).values(due_at=self._now + (lease or every))
        if (await self._connection.execute(mine)).rowcount:
            return True
        await self._connection.execute(self._insert(rounds).values(name=name, due_at=self._now + every).on_conflict_do_nothing())
        return False

    async def done(self, name: str, every: int) -> None:
        """What was leased by `is_turn` is done, and due again after so long."""
        await self._connection.execute(update(rounds).where(rounds.c.name == name).values(due_at=self._now + every))

    async def failed(self, key: str) -> int:
        """Counts a failure; how many there were since it last answered, in whatever process."""
        row = self._insert(failures).values(key=key, count=1)
        more = row.on_conflict_do_update(index_elements=["key"], set_={"count": failures.c.count + 1}).returning(failures.c.count)
        return int((await self._connection.execute(more)).scalar_one())

    async def is_well(self, key: str) -> bool:
        """Whether nothing failed since it last answered, and nobody was told so."""
        known = [select(table.c.key).where(table.c.key == key).exists() for table in (failures, incidents)]
        return not await self._connection.scalar(select(or_(*known)))

    async def answered(self, key: str) -> None:
        """It works: what failed before does not count any more."""
        await self._connection.execute(delete(failures).where(failures.c.key == key))

    async def say(self, key: str, kind: str, **facts: Any) -> bool:
        """Something is wrong: the admins are told, unless they were within AGAIN. Whether they are."""
        row = self._insert(incidents).values(key=key, since=self._now, said_at=self._now)
        again = row.on_conflict_do_update(
            index_elements=["key"], set_={"said_at": self._now}, where=incidents.c.said_at <= self._now - AGAIN
        ).returning(incidents.c.key)
        if (await self._connection.execute(again)).first() is None:
            return False
        await self._tell(f"alert:{key}:{self._now}", kind, facts)
        return True

    async def over(self, key: str, kind: str, **facts: Any) -> bool:
        """It is well again: the admins are told where they were told that it was not."""
        if (await self._connection.execute(delete(incidents).where(incidents.c.key == key))).rowcount != 1:
            return False
        await self._tell(f"over:{key}:{self._now}", f"{kind}.over", facts)
        return True

    async def check_providers(self, names: Iterable[str]) -> None:
        """Looks at the calls of the last minutes and at what is lent."""
        recent = attempts.c.started_at > self._now - WINDOW
        failed = func.sum(case((attempts.c.outcome.in_(FAILED), 1), else_=0))
        calls = (
            select(resources.c.provider, func.count(), failed)
            .select_from(attempts.join(resources, resources.c.id == attempts.c.resource_id))
            .where(recent, attempts.c.outcome.is_not(None), attempts.c.outcome != OutcomeKind.REJECTED)
            .group_by(resources.c.provider)
        )
        usable = (resources.c.state == ResourceState.LISTED) & (resources.c.health != HealthState.OUT)
        here = resources.c.state.in_((ResourceState.LISTED, ResourceState.PAUSED))  # whoever paused it: nothing may be left
        lent = select(resources.c.provider, func.count(), func.sum(case((usable, 1), else_=0))).where(here).group_by(resources.c.provider)
        tried = {name: (int(tries), int(bad)) for name, tries, bad in await self._connection.execute(calls)}
        held = {name: (int(count), int(good)) for name, count, good in await self._connection.execute(lent)}
        for name in sorted(names):
            (tries, bad), (count, good) = tried.get(name, (0, 0)), held.get(name, (0, 0))
            tell = self.say if fails(tries, bad, count, good) else self.over
            await tell(f"provider:{name}", "provider", provider=name, tries=tries, failed=bad, lent=count, able=good)

    async def check_leak(self, before: Resource, balance: int | None, costs: Mapping[str, int]) -> bool:
        """After a sync: whether a key's balance fell without us. It is then paused until another one is handed over; all are told.

        `before` is what was known when the provider was asked; `costs` are micro-dollars of a call by model, where it told none. Little
        that is gone at each sync adds up: it is counted from the point on which the balance and our own use last agreed.
        """
        if before.state is ResourceState.PROBING:  # the first look at this key: what is known of its balance is of another one
            if balance is not None:
                await self.over(f"leak:{before.id}", "leak", resource=before.id)
            return False
        lent = Resources(self._connection, self._now)
        current = await lent.get(before.id)
        if balance is None or current.key_version != before.key_version:
            return False
        if current.agreed is None:  # the first look since it is listed: what was spent before is not ours to ask about
            await lent.agree(before.id, balance)
            return False
        point, at = current.agreed
        used = await self._most_used(before.id, at, costs)
        gone = leaked(point, balance, used)
        if not gone:  # over a long time more may be gone by error than at one sync
            used_since = await self._most_used(before.id, max(at, int((before.synced_at or 0) * SECOND)), costs)
            if gone := leaked(before.balance, balance, used_since):
                used = used_since
        if gone or is_agreed(point, before.balance, balance, used, self._now - at):
            await lent.agree(before.id, balance)
        return bool(gone) and await self._leaks(before, current, gone, used)

    async def _leaks(self, before: Resource, current: Resource, gone: int, used: int) -> bool:
        lent = Resources(self._connection, self._now)
        if current.stopped is Stop.NO:
            try:
                await lent.stop(before.id, Stop.LEAK)
            except NotAllowedNow:
                return False  # somebody was faster
        facts = {"resource": before.id, "gone": gone, "used": used}
        if not await self.say(f"leak:{before.id}", "leak", owner=before.owner_id, **facts):
            return False
        await Acts(self._connection, self._now).record(None, "stop", before.subject, "the key's balance falls without our use", **facts)
        owner = (await Users(self._connection, self._now).addresses([before.owner_id])).get(before.owner_id)
        if owner is not None:
            notice = Notice(f"leak:{before.id}:{self._now}", owner, "resource_leak", facts, before.subject)
            await Mailbox(self._connection, self._now).say([notice])
        return True

    async def _most_used(self, resource_id: int, begun: int, costs: Mapping[str, int]) -> int:
        """Micro-dollars that our calls can have cost since a moment, those that still run included."""
        since = begun - MINUTE
        ended = attempts.c.finished_at.is_(None) | (attempts.c.finished_at >= since)
        mine = (attempts.c.resource_id == resource_id) & (attempts.c.started_at >= since - LONGEST_CALL) & ended
        billed = attempts.c.outcome.is_(None) | (attempts.c.outcome != OutcomeKind.FAILED_FREE)
        untold = func.sum(case((attempts.c.cost.is_(None), 1), else_=0))
        spent = select(attempts.c.provider_model, func.coalesce(func.sum(attempts.c.cost), 0), untold).where(mine, billed)
        rows = await self._connection.execute(spent.group_by(attempts.c.provider_model))
        return sum(int(told) + int(count) * costs.get(model, 0) for model, told, count in rows)

    async def check_drained(self) -> None:
        """In maintenance: the admins are told, once, that nothing waits or runs any more."""
        since = await self._connection.scalar(select(maintenance.c.since))
        if since is None:
            return
        active = select(generations.c.id).where(generations.c.state.in_((State.QUEUED, State.RUNNING))).limit(1)
        if (await self._connection.execute(active)).first() is None:
            await self._tell(f"drained:{since}", "drained", {})

    async def _tell(self, key: str, kind: str, facts: dict[str, Any]) -> None:
        people = Users(self._connection, self._now)
        addresses = await people.addresses(await people.admins())
        body = {"alert": kind, "facts": facts}
        await Mailbox(self._connection, self._now).say(
            [Notice(f"{key}:{reader}", address, "alert", body | {"reader": reader}) for reader, address in sorted(addresses.items())]
        )
