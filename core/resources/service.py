"""Use cases of lending, within the caller's transaction. Times of rows in microseconds; of Health and Resource in seconds."""

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import RowMapping, and_, case, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.catalog import ProviderRule
from core.db import DAY, MINUTE, SECOND, Rows, one_of, run_rows
from core.providers.base import Probe
from core.resources.errors import LinkExpired, NotAllowedNow, ResourceNotFound, Stopped, TooManyResources
from core.resources.models import MAX_LABEL, Health, HealthState, Limits, Resource, Scope, State, Stop, handovers, resources
from core.resources.rules import NEXT, Days, day_and_month, on_day, on_probe, read_limits, read_scope, regained, standing, strikes_of
from core.users.models import users
from core.vault.models import Sealed
from core.vault.service import store, wipe

HELD_STATES = (State.DRAFT, State.PROBING, State.READY, State.LISTED, State.PAUSED)
PROBED_STATES = (State.PROBING, State.LISTED, State.PAUSED)
PROBE_LEASE = 60 * SECOND
OUT_RECHECK = 5 * MINUTE
"""A resource that is out is probed again after so long, and after that at each sync."""
MAX_LISTED = 5_000
"""Resources that one scheduling decision looks at; the oldest ones come first."""
PAGE = 50

_LIMITS = tuple(Limits.__dataclass_fields__)
_LOCK_LISTED = select(resources).where(resources.c.state == State.LISTED).order_by(resources.c.id).limit(MAX_LISTED).with_for_update()
_LOCK = select(resources).where(one_of(resources.c.id, "ids")).order_by(resources.c.id).with_for_update()
_TAKEN = Rows("taken", row="bigint", calls="int", amount="bigint", health="text")
_RESERVE = """
UPDATE resources SET in_flight = in_flight + taken.calls,
  day_used = CASE WHEN day = :day THEN day_used ELSE 0 END + taken.amount,
  month_used = CASE WHEN month = :month THEN month_used ELSE 0 END + taken.amount,
  day = :day, month = :month, health = taken.health, last_chosen_at = :now
FROM {taken} WHERE id = taken.row"""
_HEALTH = {
    "health": "text", "fault": "text", "cool_until": "bigint", "back_off": "double precision", "successes": "double precision",
    "failures": "double precision", "counted_at": "bigint", "latency": "double precision", "latency_deviation": "double precision",
    "delivered": "bigint", "recent": "text", "strikes": "text", "standing": "text",
}  # fmt: skip
_GIVEN = Rows("given", row="bigint", calls="int", unused_today="bigint", unused_this_month="bigint", **_HEALTH)
_GIVE_BACK = f"""
UPDATE resources SET in_flight = in_flight - calls, day_used = day_used - unused_today, month_used = month_used - unused_this_month,
  {", ".join(f"{name} = given.{name}" for name in _HEALTH)}
FROM {{given}} WHERE id = given.row"""


class Resources:
    """One transaction's view of what is lent."""

    def __init__(self, connection: AsyncConnection, now: int) -> None:
        self._connection = connection
        self._now = now

    async def draft(self, owner_id: int, rule: ProviderRule, locale: str, most: int) -> Resource:
        """A resource whose owner has attested the provider's rule; the key is still to come. The one that was begun, if there is one.

        Raises TooManyResources.
        """
        await self._connection.execute(select(users.c.id).where(users.c.id == owner_id).with_for_update())  # one at a time
        begun = (resources.c.owner_id == owner_id) & (resources.c.provider == rule.id) & (resources.c.state == State.DRAFT)
        same = begun & (resources.c.attested_rule == rule.rule_version)
        if (known := await self._connection.scalar(select(resources.c.id).where(same).limit(1))) is not None:
            return await self.get(known)
        held = select(func.count()).where(resources.c.owner_id == owner_id, resources.c.state.in_(HELD_STATES))
        if (await self._connection.scalar(held) or 0) >= most:
            raise TooManyResources(limit=most)
        row = {"owner_id": owner_id, "provider": rule.id, "state": State.DRAFT, "created_at": self._now, **asdict(Limits())}
        attested = {"attested_rule": rule.rule_version, "attested_locale": locale, "attested_at": self._now}
        new = await self._connection.scalar(insert(resources).values(**row, **attested).returning(resources.c.id))
        assert new is not None
        return await self.get(new)

    async def get(self, resource_id: int, owner_id: int | None = None) -> Resource:
        """Raises ResourceNotFound, also when it is not `owner_id`'s."""
        mine = resources.c.id == resource_id
        if owner_id is not None:
            mine &= resources.c.owner_id == owner_id
        row = (await self._connection.execute(select(resources).where(mine))).mappings().first()
        if row is None:
            raise ResourceNotFound(resource=resource_id)
        return _resource(row, self._now)

    async def list_of(self, owner_id: int) -> list[Resource]:
        """What a user lends, the newest first, without what is withdrawn."""
        query = select(resources).where(resources.c.owner_id == owner_id, resources.c.state.in_(HELD_STATES))
        rows = await self._connection.execute(query.order_by(resources.c.id.desc()).limit(PAGE))
        return [_resource(row, self._now) for row in rows.mappings()]

    async def open_handover(self, resource_id: int, minutes: int) -> str:
        """A one-time token for the secure form; earlier ones of the same resource end."""
        token = secrets.token_urlsafe(32)
        mine = handovers.c.resource_id == resource_id
        await self._connection.execute(update(handovers).where(mine, handovers.c.used_at.is_(None)).values(used_at=self._now))
        row = {"token_hash": _hash(token), "resource_id": resource_id, "expires_at": self._now + minutes * MINUTE}
        await self._connection.execute(insert(handovers).values(**row))
        return token

    async def behind(self, token: str) -> Resource:
        """The resource that a valid link is for. Raises LinkExpired."""
        query = select(handovers.c.resource_id).where(
            handovers.c.token_hash == _hash(token), handovers.c.used_at.is_(None), handovers.c.expires_at > self._now
        )
        found = await self._connection.scalar(query)
        if found is None:
            raise LinkExpired()
        return await self.get(found)

    async def use_link(self, token: str) -> None:
        """Uses a link up. Raises LinkExpired when somebody was faster."""
        mine = (handovers.c.token_hash == _hash(token)) & handovers.c.used_at.is_(None) & (handovers.c.expires_at > self._now)
        if (await self._connection.execute(update(handovers).where(mine).values(used_at=self._now))).rowcount != 1:
            raise LinkExpired()

    async def keep_key(self, resource: Resource, sealed: Sealed) -> None:
        """Stores a sealed key and asks for a probe. Raises NotAllowedNow, or DuplicateSecret when the key is in escrow elsewhere."""
        values = {"key_version": sealed.version, "probe_at": self._now, "health": HealthState.HEALTHY, "fault": None, "models": None}
        values["stopped"] = case((resources.c.stopped == Stop.LEAK, Stop.NO), else_=resources.c.stopped)  # another key does not leak
        await self.move(resource, State.PROBING, **values)
        await store(self._connection, sealed, self._now)

    async def move(self, resource: Resource, state: State, **values: Any) -> None:
        """Changes the state by compare-and-set. Raises Stopped, or NotAllowedNow where there is no such step, or another was faster."""
        if state is State.LISTED and resource.stopped:
            raise Stopped(resource=resource.id, why=resource.stopped)
        if state is State.LISTED:  # what is gone from its balance is counted from the next look on
            values |= {"agreed_balance": None, "agreed_at": None, "probe_at": self._now}
        allowed = state in NEXT[resource.state]
        same = {name: getattr(resource, name) for name in ("id", "state", "key_version", "stopped")}
        here = and_(*(resources.c[name] == value for name, value in same.items()))
        if not allowed or (await self._connection.execute(update(resources).where(here).values(state=state, **values))).rowcount != 1:
            raise NotAllowedNow(resource=resource.id, state=resource.state, action=state)
        if state in (State.WITHDRAWN, State.REVOKED):
            await wipe(self._connection, resource.subject)

    async def stop(self, resource_id: int, why: Stop) -> Resource:
        """Pauses it whatever its owner wants; `Stop.NO` lifts that, and leaves it paused. What an admin stopped does not become a leak.

        Raises ResourceNotFound, NotAllowedNow.
        """
        other = resources.c.stopped == Stop.NO if why is Stop.LEAK else resources.c.stopped != why
        here = (resources.c.id == resource_id) & other & resources.c.state.in_(HELD_STATES)
        paused = case((resources.c.state == State.LISTED, State.PAUSED), else_=resources.c.state)
        if (await self._connection.execute(update(resources).where(here).values(stopped=why, state=paused))).rowcount != 1:
            found = await self.get(resource_id)
            raise NotAllowedNow(resource=found.id, state=found.state, action="stop")
        return await self.get(resource_id)

    async def change(self, resource: Resource, answers: Mapping[str, str]) -> Resource:
        """Sets price, limits, scope and label as the miner answered; lists a resource that was ready. Raises BadLimit, NotAllowedNow."""
        if resource.state not in (State.READY, State.LISTED, State.PAUSED):
            raise NotAllowedNow(resource=resource.id, state=resource.state, action="change")
        values: dict[str, Any] = asdict(read_limits(answers, resource.limits))
        if "scope" in answers:
            values["scope"] = read_scope(answers["scope"])
        if "label" in answers:
            values["label"] = " ".join(answers["label"].replace("\0", "").split())[:MAX_LABEL]
        # What is under way was allowed by the old limits: the new ones never fall below what is used.
        # What was used on an earlier day or in an earlier month no longer counts.
        table, (day, month) = resources.c, day_and_month(self._now / SECOND)
        values |= {"day": day, "day_used": _same(table.day, day, table.day_used)}
        values |= {"month": month, "month_used": _same(table.month, month, table.month_used)}
        for name, used in (("day_limit", values["day_used"]), ("month_limit", values["month_used"]), ("max_concurrency", table.in_flight)):
            values[name] = case((used > values[name], used), else_=values[name])
        await self._connection.execute(update(resources).where(resources.c.id == resource.id).values(**values))
        if resource.state is State.READY:
            await self.move(resource, State.LISTED)
        return await self.get(resource.id)

    async def agree(self, resource_id: int, balance: int | None) -> None:
        """What is gone from its balance (micro-dollars) is counted from now on; None: from the next look on."""
        values = {"agreed_balance": balance, "agreed_at": None if balance is None else self._now}
        await self._connection.execute(update(resources).where(resources.c.id == resource_id).values(**values))

    async def probe_soon(self, resource_id: int) -> None:
        """The worker looks at it next."""
        await self._connection.execute(update(resources).where(resources.c.id == resource_id).values(probe_at=self._now))

    async def lose(self, resource_id: int) -> None:
        """A picture of it lost a dispute: for a while it is chosen less. Locks it, so call it before the ledger."""
        found = (await self.lock([resource_id]))[resource_id]
        await self._stand(resource_id, on_day(found.health.days, self._now // DAY, lost=1))

    async def regain(self, resource_id: int, lost_at: int) -> None:
        """What it lost at that moment was wrong. Locks it, as `lose` does."""
        found = (await self.lock([resource_id]))[resource_id]
        await self._stand(resource_id, regained(found.health.days, lost_at // DAY))

    async def _stand(self, resource_id: int, days: Days) -> None:
        await self._connection.execute(update(resources).where(resources.c.id == resource_id).values(standing=json.dumps(days)))

    async def lock_listed(self) -> list[Resource]:
        """Every resource that may get work, locked in the order of their ids."""
        return [_resource(row, self._now) for row in (await self._connection.execute(_LOCK_LISTED)).mappings()]

    async def lock(self, resource_ids: Sequence[int]) -> dict[int, Resource]:
        """Some resources in any state, locked in the order of their ids."""
        rows = await self._connection.execute(_LOCK, {"ids": resource_ids})
        return {row["id"]: _resource(row, self._now) for row in rows.mappings()}

    async def reserve(self, taken: Mapping[int, tuple[int, int]], healths: Mapping[int, Health]) -> None:
        """Takes (calls, milli-credits) from the limits of locked resources; the table's own checks refuse what would exceed them."""
        day, month = day_and_month(self._now / SECOND)
        changes = [(id_, calls, amount, healths[id_].state) for id_, (calls, amount) in sorted(taken.items())]
        await run_rows(self._connection, _RESERVE, {_TAKEN: changes}, day=day, month=month, now=self._now)

    async def give_back(self, changes: Sequence[Mapping[str, Any]]) -> None:
        """After settled calls: `row` (id), `calls`, milli-credits `unused_today` and `unused_this_month`, and `health_values`."""
        await run_rows(self._connection, _GIVE_BACK, {_GIVEN: [[change[name] for name in _GIVEN.columns] for change in changes]})

    async def take_probes(self, limit: int, sync_every: int) -> list[Resource]:
        """Leases resources that are due for a look, and sets their next one."""
        due = (resources.c.probe_at <= self._now) & resources.c.state.in_(PROBED_STATES)
        query = select(resources).where(due).order_by(resources.c.probe_at).limit(limit).with_for_update(skip_locked=True)
        found = [_resource(row, self._now) for row in (await self._connection.execute(query)).mappings()]
        for resource in found:
            wait = PROBE_LEASE if resource.state is State.PROBING else sync_every
            if resource.health.state is HealthState.OUT:
                wait = min(wait, OUT_RECHECK)
            await self._connection.execute(update(resources).where(resources.c.id == resource.id).values(probe_at=self._now + wait))
        return found

    async def on_probed(self, resource: Resource, probe: Probe, served: frozenset[str]) -> Resource:
        """Writes down what a probe said; a key that was waiting for it becomes ready, or is wiped and asked for again.

        `served`: the provider's models that are on sale. Returns the resource as it is now.
        """
        current = await self.get(resource.id)
        if current.key_version != resource.key_version or current.state not in PROBED_STATES:
            return current
        health = on_probe(current.health, probe.fault)
        values: dict[str, Any] = {"health": health.state, "fault": health.fault}
        if probe.fault is None:
            values |= {"balance": probe.balance, "synced_at": self._now}
            if probe.models is not None:
                values["models"] = json.dumps(sorted(probe.models & served))
        here = resources.c.id == resource.id
        await self._connection.execute(update(resources).where(here).values(**values))
        if current.state is State.PROBING:
            if probe.fault is None:
                await self.move(current, State.READY, probe_at=self._now)
            elif health.state is HealthState.OUT or probe.fault == "bad_request":
                await wipe(self._connection, resource.subject)
                await self.move(current, State.DRAFT)
        return await self.get(resource.id)

    async def lose_model(self, resource_id: int, model: str, served: frozenset[str]) -> None:
        """The provider says that this account has no such model: it gets no more work for it, until a sync finds it there again."""
        resource = await self.get(resource_id)
        left = (resource.models if resource.models is not None else served) - {model}
        await self._connection.execute(update(resources).where(resources.c.id == resource_id).values(models=json.dumps(sorted(left))))


def health_values(health: Health) -> dict[str, Any]:
    """A Health as the values of `give_back`."""
    return {
        "health": health.state,
        "fault": health.fault,
        "cool_until": int(health.cool_until * SECOND),
        "back_off": health.back_off,
        "successes": health.successes,
        "failures": health.failures,
        "counted_at": int(health.counted_at * SECOND),
        "latency": health.latency,
        "latency_deviation": health.latency_deviation,
        "delivered": health.delivered,
        "recent": json.dumps([[round(at, 3), int(good)] for at, good in health.recent]),
        "strikes": json.dumps([round(at, 3) for at in health.strikes]),
        "standing": json.dumps(health.days),
    }


def _same(column: Any, current: int, used: Any) -> Any:
    """What is used of the current day or month; a new one starts at zero."""
    return case((column == current, used), else_=0)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _resource(row: RowMapping, now: int) -> Resource:
    day, month = day_and_month(now / SECOND)
    limits = Limits(*(row[name] for name in _LIMITS))
    recent = tuple((at, bool(good)) for at, good in json.loads(row["recent"])) if row["recent"] != "[]" else ()
    health = Health(
        HealthState(row["health"]), row["fault"], row["cool_until"] / SECOND, row["back_off"], row["successes"], row["failures"],
        row["counted_at"] / SECOND, row["latency"], row["latency_deviation"], row["delivered"], recent,
        tuple(json.loads(row["strikes"])) if row["strikes"] != "[]" else (),
        tuple((day, made, lost) for day, made, lost in json.loads(row["standing"])) if row["standing"] != "[]" else (),
    )  # fmt: skip
    models = None if row["models"] is None else frozenset(json.loads(row["models"]))
    made, lost = standing(health.days, now // DAY)
    return Resource(
        row["id"], row["owner_id"], row["community_id"], row["provider"], row["label"], State(row["state"]), Scope(row["scope"]),
        row["key_version"], models, limits, health, row["in_flight"],
        limits.day_limit - (row["day_used"] if row["day"] == day else 0),
        limits.month_limit - (row["month_used"] if row["month"] == month else 0),
        row["last_chosen_at"] / SECOND, row["balance"], row["synced_at"] / SECOND if row["synced_at"] else None,
        Stop(row["stopped"]), lost, made, strikes_of(health, now / SECOND),
        None if row["agreed_balance"] is None else (row["agreed_balance"], row["agreed_at"]),
    )  # fmt: skip
