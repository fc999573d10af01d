"""Disputes within the caller's transaction: opened by the creator, decided by an admin.

While one is open its generation is `disputed`: no timer releases what was earned with it, so a refund always finds it pending.
"""

import json
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.acts.service import Acts
from core.disputes.errors import AlreadyDecided, DisputeNotFound, NotDisputable, OwnDispute
from core.disputes.models import Dispute, Kind, State, disputes
from core.disputes.rules import refund
from core.generations.errors import GenerationNotFound
from core.generations.models import State as GenerationState
from core.generations.models import generations
from core.ledger.service import Ledger
from core.mailbox.models import Notice
from core.mailbox.service import Mailbox
from core.users.errors import Frozen
from core.users.models import User
from core.users.service import Users

PAGE = 10


class Disputes:
    """One transaction's view of the disputes."""

    def __init__(self, connection: AsyncConnection, now: int) -> None:
        self._connection = connection
        self._now = now

    async def open(self, generation_id: int, user: User, kind: Kind) -> Dispute:
        """Opens one about a picture of the user's own, within its window. Raises Frozen, GenerationNotFound, NotDisputable."""
        if user.frozen:
            raise Frozen()
        row = await self._lock(generation_id)
        if row is None or row["user_id"] != user.id:
            raise GenerationNotFound(generation=generation_id)
        due = row["release_at"]
        if row["state"] != GenerationState.DELIVERED or due is None or due <= self._now or await self._of(generation_id) is not None:
            raise NotDisputable(generation=generation_id)
        await self._move(generation_id, GenerationState.DISPUTED)
        values = {"generation_id": generation_id, "user_id": user.id, "kind": kind, "state": State.OPEN, "created_at": self._now}
        made = await self._connection.execute(insert(disputes).values(values).returning(*disputes.c))
        return _read(made.mappings().one())

    async def get(self, dispute_id: int, user_id: int | None = None) -> Dispute:
        """Raises DisputeNotFound, also when it is not `user_id`'s."""
        here = disputes.c.id == dispute_id
        if user_id is not None:
            here &= disputes.c.user_id == user_id
        row = (await self._connection.execute(select(disputes).where(here))).mappings().first()
        if row is None:
            raise DisputeNotFound(dispute=dispute_id)
        return _read(row)

    async def waiting(self, limit: int = PAGE) -> list[Dispute]:
        """The open ones, the oldest first."""
        query = select(disputes).where(disputes.c.state == State.OPEN).order_by(disputes.c.id).limit(limit)
        return [_read(row) for row in (await self._connection.execute(query)).mappings()]

    async def disputable(self, user_id: int, limit: int = PAGE) -> list[tuple[int, str]]:
        """(number, prompt) of the user's newest pictures that may still be disputed."""
        mine = (
            (generations.c.user_id == user_id) & (generations.c.state == GenerationState.DELIVERED) & (generations.c.release_at > self._now)
        )
        undisputed = ~select(disputes.c.id).where(disputes.c.generation_id == generations.c.id).exists()
        query = select(generations.c.id, generations.c.prompt).where(mine, undisputed).order_by(generations.c.id.desc()).limit(limit)
        return [(number, prompt) for number, prompt in await self._connection.execute(query)]

    async def decide(self, dispute_id: int, admin: User, *, refunds: bool, reason: str) -> Dispute:
        """The verdict: all of it goes back to whoever paid, or all stays as it is. Both sides are told.

        Raises DisputeNotFound, AlreadyDecided, OwnDispute, ReasonNeeded.
        """
        found = await self.get(dispute_id)
        row = await self._lock(found.generation_id)  # every verdict about it waits here
        assert row is not None
        found = await self.get(dispute_id)
        if found.state is not State.OPEN:
            raise AlreadyDecided(dispute=dispute_id)
        shares = json.loads(row["shares"])
        owners = {int(account.split(":")[1]) for account, _ in shares if account.startswith("user:")}
        if admin.id in owners | {found.user_id}:
            raise OwnDispute(dispute=dispute_id)
        verdict = State.REFUNDED if refunds else State.REJECTED
        await Acts(self._connection, self._now).record(admin.id, "verdict", found.subject, reason, verdict=verdict, paid=row["paid"])
        if refunds:
            await Ledger(self._connection, self._now).post(refund(found.generation_id, row["payer"], shares))
        await self._move(found.generation_id, GenerationState.REFUNDED if refunds else GenerationState.DELIVERED, ends=refunds)
        values = {"state": verdict, "reason": " ".join(reason.split()), "decided_by": admin.id, "decided_at": self._now}
        await self._connection.execute(update(disputes).where(disputes.c.id == dispute_id).values(**values))
        await self._tell(found, owners)
        return await self.get(dispute_id)

    async def _tell(self, dispute: Dispute, owners: set[int]) -> None:
        readers = {dispute.user_id: "opener"} | dict.fromkeys(owners - {dispute.user_id}, "miner")
        addresses = await Users(self._connection, self._now).addresses(readers)
        notices = [
            Notice(f"{dispute.subject}:{reader}", addresses[reader], "verdict", {"dispute": dispute.id, "reader": reader, "side": side})
            for reader, side in readers.items()
            if reader in addresses
        ]
        await Mailbox(self._connection, self._now).say(notices)

    async def _lock(self, generation_id: int) -> Any:
        wanted = (generations.c[name] for name in ("user_id", "state", "release_at", "shares", "payer", "paid"))
        query = select(*wanted).where(generations.c.id == generation_id).with_for_update()
        return (await self._connection.execute(query)).mappings().first()

    async def _of(self, generation_id: int) -> int | None:
        found: int | None = await self._connection.scalar(select(disputes.c.id).where(disputes.c.generation_id == generation_id))
        return found

    async def _move(self, generation_id: int, state: GenerationState, *, ends: bool = False) -> None:
        values: dict[str, Any] = {"state": state} | ({"release_at": None} if ends else {})
        await self._connection.execute(update(generations).where(generations.c.id == generation_id).values(**values))


def _read(row: Any) -> Dispute:
    return Dispute(**{**row, "kind": Kind(row["kind"]), "state": State(row["state"])})
