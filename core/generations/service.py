"""Reading generations, and cancelling what still waits."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, case, func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.address import Address
from core.db import one_of
from core.generations.errors import GenerationNotFound, NotDelivered, NotWaiting
from core.generations.models import Generation, OutcomeKind, Parameters, State, Told, attempts, generations
from core.ledger.models import Release
from core.ledger.service import Ledger, raise_first_refusal
from core.mailbox.service import Mailbox
from core.moderation import Audience
from core.presets.models import presets
from core.resources.models import resources
from core.users.models import users

PAGE = 10

COLUMNS = tuple(
    generations.c[name]
    for name in (
        "id", "key", "user_id", "parent_id", "preset_id", "model", "operation", "prompt", "parameters", "source_blob", "held", "paid",
        "state", "turn", "fence", "created_at", "deadline", "finished_at", "reason", "blob", "media_type", "width", "height", "seed",
        "payer", "platform", "chat", "strict", "adult", "spoiler",
    )
)  # fmt: skip
"""What `read` needs of a row."""
_GET = select(*COLUMNS).where(generations.c.id == bindparam("row"))
_others = generations.alias()
_AHEAD = (
    select(func.count())
    .where(_others.c.state == State.QUEUED, _others.c.model == generations.c.model)
    .where(tuple_(_others.c.turn, _others.c.id) < tuple_(generations.c.turn, generations.c.id))
    .correlate(generations)
    .scalar_subquery()
)
_STARTED = select(func.max(attempts.c.started_at)).where(attempts.c.generation_id == generations.c.id, attempts.c.finished_at.is_(None))
_PLACES = select(1 + _AHEAD).where(generations.c.id == bindparam("row"))
_TOLD = (
    select(
        *COLUMNS, users.c.name, users.c.locale, presets.c.author_id,
        case((generations.c.state == State.QUEUED, 1 + _AHEAD)).label("place"),
        case((generations.c.state == State.RUNNING, _STARTED.scalar_subquery())).label("since"),
    )
    .join(users, users.c.id == generations.c.user_id)
    .outerjoin(presets, presets.c.id == generations.c.preset_id)
    .where(one_of(generations.c.id, "ids"))
)  # fmt: skip
_ANY_QUEUED = select(generations.c.id).where(generations.c.state == State.QUEUED).limit(1)
_BY_KEY = select(*COLUMNS).where(one_of(generations.c.key, "keys"))


class Generations:
    """One transaction's view of the generations."""

    def __init__(self, connection: AsyncConnection, now: int) -> None:
        self._connection = connection
        self._now = now

    async def get(self, generation_id: int, user_id: int | None = None) -> Generation:
        """Raises GenerationNotFound, also when it is not `user_id`'s."""
        row = (await self._connection.execute(_GET, {"row": generation_id})).mappings().first()
        if row is None or user_id not in (None, row["user_id"]):
            raise GenerationNotFound(generation=generation_id)
        return read(row)

    async def delivered(self, generation_id: int) -> Generation:
        """One with a picture. Raises GenerationNotFound, NotDelivered."""
        found = await self.get(generation_id)
        if found.state is not State.DELIVERED or found.blob is None:
            raise NotDelivered(generation=generation_id, state=found.state)
        return found

    async def any_queued(self) -> bool:
        """Whether anything waits for a resource."""
        return (await self._connection.execute(_ANY_QUEUED)).first() is not None

    async def waiting(self, user_id: int) -> list[Generation]:
        """The user's queued generations, the newest first."""
        query = select(*COLUMNS).where(generations.c.user_id == user_id, generations.c.state == State.QUEUED)
        rows = await self._connection.execute(query.order_by(generations.c.id.desc()).limit(PAGE))
        return [read(row) for row in rows.mappings()]

    async def place(self, generation: Generation) -> int:
        """Its place in line, 1 being next: how many queued ones for the same model have an earlier turn, and itself."""
        return await self._connection.scalar(_PLACES, {"row": generation.id}) or 1

    async def told(self, ids: Sequence[int]) -> list[Told | GenerationNotFound]:
        """What is said of each."""
        rows = (await self._connection.execute(_TOLD, {"ids": ids})).mappings()
        found = {row["id"]: Told(read(row), row["name"], row["locale"], row["author_id"], row["place"], row["since"]) for row in rows}
        return [found.get(each) or GenerationNotFound(generation=each) for each in ids]

    async def tries_of_owner(self, owner_id: int) -> dict[str, int]:
        """How the attempts on a miner's resources ended: `delivered`, `failed` at no cost, `lost` at the miner's cost."""
        mine = attempts.join(resources, resources.c.id == attempts.c.resource_id)
        query = (
            select(attempts.c.outcome, func.count()).select_from(mine).where(resources.c.owner_id == owner_id).group_by(attempts.c.outcome)
        )
        counts = {outcome: count for outcome, count in await self._connection.execute(query)}
        costly = (OutcomeKind.FAILED_COST, OutcomeKind.UNKNOWN)
        return {
            "delivered": counts.get(OutcomeKind.DELIVERED, 0),
            "failed": counts.get(OutcomeKind.FAILED_FREE, 0) + counts.get(OutcomeKind.REJECTED, 0),
            "lost": sum(counts.get(kind, 0) for kind in costly),
        }

    async def counts(self) -> dict[str, int]:
        """How many wait and run now."""
        active = generations.c.state.in_((State.QUEUED, State.RUNNING))
        rows = await self._connection.execute(select(generations.c.state, func.count()).where(active).group_by(generations.c.state))
        return {State.QUEUED: 0, State.RUNNING: 0} | {state: count for state, count in rows}

    async def cancel(self, generation_id: int, user_id: int) -> Generation:
        """Cancels a generation that still waits, and gives the held Credits back. Raises GenerationNotFound, NotWaiting."""
        found = await self.get(generation_id, user_id)
        here = (generations.c.id == generation_id) & (generations.c.state == State.QUEUED)
        values = {"state": State.CANCELLED, "finished_at": self._now}
        if (await self._connection.execute(update(generations).where(here).values(**values))).rowcount != 1:
            raise NotWaiting(generation=generation_id, state=(await self.get(generation_id)).state)
        release = Release(f"cancel:{generation_id}", f"hold:{found.key}")
        raise_first_refusal(await Ledger(self._connection, self._now).release_many([release]))
        await Mailbox(self._connection, self._now).touch([found.subject])
        return await self.get(generation_id)

    async def move_chat(self, old: Address, chat: str) -> None:
        """A group has another id: the results of what waits and runs are said there."""
        here = (generations.c.platform == old.platform) & (generations.c.chat == old.chat)
        active = select(generations.c.id).where(generations.c.state.in_((State.QUEUED, State.RUNNING)), here)
        found = (await self._connection.scalars(active.order_by(generations.c.id).with_for_update())).all()
        if found:
            await self._connection.execute(update(generations).where(generations.c.id.in_(found)).values(chat=chat))

    async def cancel_all(self, user_id: int) -> None:
        """Cancels whatever of a user's still waits. Where their row is locked, nothing comes to it meanwhile."""
        queued = (generations.c.user_id == user_id) & (generations.c.state == State.QUEUED)
        waiting = select(generations.c.id, generations.c.key).where(queued).order_by(generations.c.id).with_for_update()
        found = (await self._connection.execute(waiting)).all()
        if not found:
            return
        here = generations.c.id.in_([id_ for id_, _ in found])
        await self._connection.execute(update(generations).where(here).values(state=State.CANCELLED, finished_at=self._now))
        releases = [Release(f"cancel:{id_}", f"hold:{key}") for id_, key in found]
        raise_first_refusal(await Ledger(self._connection, self._now).release_many(releases))
        await Mailbox(self._connection, self._now).touch([f"generation:{id_}" for id_, _ in found])


async def read_by_key(connection: AsyncConnection, keys: Sequence[str]) -> dict[str, Generation]:
    """Generations by their business keys."""
    rows = await connection.execute(_BY_KEY, {"keys": keys})
    return {row["key"]: read(row) for row in rows.mappings()}


async def spent_by_token(connection: AsyncConnection, token_ids: Iterable[int]) -> dict[int, int]:
    """What API tokens have spent, in milli-credits: what was paid, and what is held for what still waits or runs."""
    active = generations.c.state.in_((State.QUEUED, State.RUNNING))
    refunded = generations.c.state == State.REFUNDED
    amount = func.sum(case((active, generations.c.held), (refunded, 0), else_=generations.c.paid))
    query = select(generations.c.token_id, amount).where(generations.c.token_id.in_(list(token_ids))).group_by(generations.c.token_id)
    return {token_id: int(spent) for token_id, spent in await connection.execute(query)}


def read(row: Mapping[Any, Any]) -> Generation:
    """A row as a Generation."""
    values = {name: row[name] for name in Generation.__dataclass_fields__ if name not in ("parameters", "state", "address", "audience")}
    address = Address(row["platform"], row["chat"]) if row["platform"] else None
    audience, parameters = Audience(row["strict"], row["adult"]), Parameters(**json.loads(row["parameters"]))
    return Generation(**values, parameters=parameters, state=State(row["state"]), address=address, audience=audience)
