"""Disputes within the caller's transaction: opened by the creator, decided by an admin.

While one is open its generation is `disputed`: no timer releases what was earned with it, so a refund always finds it pending.
"""

import json
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.acts.errors import ReasonNeeded
from core.acts.service import Acts
from core.db import SECOND
from core.disputes.errors import AlreadyDecided, BadAmount, DisputeNotFound, NotDisputable, OwnDispute
from core.disputes.models import MAX_TEXT, Dispute, Kind, State, disputes
from core.disputes.rules import clear, compensation, refund, refund_part
from core.generations.errors import GenerationNotFound
from core.generations.models import Generation, attempts, generations
from core.generations.models import State as GenerationState
from core.generations.rules import earners
from core.generations.service import COLUMNS, read
from core.ledger.models import Posting
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

    async def waiting(self, limit: int = PAGE, after: int = 0) -> list[Dispute]:
        """The open ones, the oldest first, from just after the number `after`."""
        query = select(disputes).where(disputes.c.state == State.OPEN, disputes.c.id > after).order_by(disputes.c.id).limit(limit)
        return [_read(row) for row in (await self._connection.execute(query)).mappings()]

    async def of_user(self, user_id: int, limit: int = PAGE, before: int | None = None) -> list[Dispute]:
        """A user's own, the newest first, from just before the number `before`."""
        query = select(disputes).where(disputes.c.user_id == user_id)
        if before is not None:
            query = query.where(disputes.c.id < before)
        rows = await self._connection.execute(query.order_by(disputes.c.id.desc()).limit(limit))
        return [_read(row) for row in rows.mappings()]

    async def disputable(self, user_id: int, limit: int = PAGE) -> list[tuple[int, str]]:
        """(number, prompt) of the user's newest pictures that may still be disputed."""
        mine = (
            (generations.c.user_id == user_id) & (generations.c.state == GenerationState.DELIVERED) & (generations.c.release_at > self._now)
        )
        undisputed = ~select(disputes.c.id).where(disputes.c.generation_id == generations.c.id).exists()
        query = select(generations.c.id, generations.c.prompt).where(mine, undisputed).order_by(generations.c.id.desc()).limit(limit)
        return [(number, prompt) for number, prompt in await self._connection.execute(query)]

    async def uninspected(self, limit: int = PAGE) -> list[tuple[int, Generation]]:
        """(number, picture) of open ones whose picture nobody has looked at."""
        query = (
            select(disputes.c.id.label("dispute"), *COLUMNS)
            .join(generations, generations.c.id == disputes.c.generation_id)
            .where(disputes.c.state == State.OPEN, disputes.c.inspected_at.is_(None))
        )
        rows = (await self._connection.execute(query.order_by(disputes.c.id).limit(limit))).mappings()
        return [(row["dispute"], read(row)) for row in rows]

    async def inspected(self, dispute_id: int, evidence: dict[str, Any]) -> Dispute:
        """What was seen of its picture, once; what is clear by rule is refunded at once, else admins and who earns are told."""
        found = await self.get(dispute_id)
        row = await self._lock(found.generation_id)
        assert row is not None
        here = (disputes.c.id == dispute_id) & (disputes.c.state == State.OPEN) & disputes.c.inspected_at.is_(None)
        values = {"evidence": json.dumps(evidence | await self._story(found.generation_id)), "inspected_at": self._now}
        if (await self._connection.execute(update(disputes).where(here).values(**values))).rowcount != 1:
            return await self.get(dispute_id)
        if (why := clear(evidence)) is not None:
            return await self._close(found, row, None, State.REFUNDED, why, row["paid"])
        people, theirs = Users(self._connection, self._now), earners(json.loads(row["shares"]))
        admins = set(await people.admins()) - theirs - {found.user_id}
        addresses = await people.addresses(admins | theirs)
        notices = [
            Notice(f"{found.subject}:new:{reader}", addresses[reader], "dispute_new" if reader in admins else "dispute_against",
                   {"dispute": found.id, "reader": reader})
            for reader in sorted(addresses)
        ]  # fmt: skip
        await Mailbox(self._connection, self._now).say(notices)
        return await self.get(dispute_id)

    async def answer(self, dispute_id: int, user: User, text: str) -> Dispute:
        """What whoever earns by the picture says to it, once. Raises DisputeNotFound, AlreadyDecided, ReasonNeeded."""
        found = await self.get(dispute_id)
        row = await self._lock(found.generation_id)
        found = await self.get(dispute_id)
        if row is None or user.id not in earners(json.loads(row["shares"])):
            raise DisputeNotFound(dispute=dispute_id)
        if found.state is not State.OPEN or found.answer:
            raise AlreadyDecided(dispute=dispute_id)
        said = " ".join(text.split())[:MAX_TEXT]
        if not said:
            raise ReasonNeeded(limit=MAX_TEXT)
        await self._connection.execute(update(disputes).where(disputes.c.id == dispute_id).values(answer=said))
        return await self.get(dispute_id)

    async def decide(self, dispute_id: int, admin: User, *, refunds: bool, reason: str) -> Dispute:
        """The verdict: all of it goes back to whoever paid, or all stays as it is. Both sides are told.

        Raises DisputeNotFound, AlreadyDecided, OwnDispute, ReasonNeeded.
        """
        found, row = await self._opened(dispute_id, admin)
        verdict = State.REFUNDED if refunds else State.REJECTED
        return await self._close(found, row, admin, verdict, reason, row["paid"] if refunds else None)

    async def refund_part(self, dispute_id: int, admin: User, amount: int, reason: str) -> Dispute:
        """`amount` of it goes back, from all shares in proportion. Raises as `decide`, and BadAmount unless it is a part."""
        found, row = await self._opened(dispute_id, admin)
        if not 0 < amount < row["paid"]:
            raise BadAmount(most=row["paid"])
        return await self._close(found, row, admin, State.PARTLY, reason, amount)

    async def compensate(self, dispute_id: int, admin: User, amount: int, reason: str) -> Dispute:
        """Goodwill of the platform, at most what was paid; the shares stay. Raises as `refund_part`."""
        found, row = await self._opened(dispute_id, admin)
        if not 0 < amount <= row["paid"]:
            raise BadAmount(most=row["paid"])
        return await self._close(found, row, admin, State.COMPENSATED, reason, amount)

    async def _opened(self, dispute_id: int, admin: User) -> tuple[Dispute, Any]:
        found = await self.get(dispute_id)
        row = await self._lock(found.generation_id)  # every verdict about it waits here
        assert row is not None
        found = await self.get(dispute_id)
        if found.state is not State.OPEN:
            raise AlreadyDecided(dispute=dispute_id)
        if admin.id in earners(json.loads(row["shares"])) | {found.user_id}:
            raise OwnDispute(dispute=dispute_id)
        return found, row

    async def _close(self, found: Dispute, row: Any, admin: User | None, verdict: State, reason: str, amount: int | None) -> Dispute:
        """Posts what the verdict moves, once; `admin` None: by rule. The generation is as before, or refunded."""
        shares, by = json.loads(row["shares"]), admin.id if admin else None
        facts = {"verdict": verdict, "paid": row["paid"], "amount": amount}
        await Acts(self._connection, self._now).record(by, "verdict", found.subject, reason, **facts)
        match verdict, amount:
            case State.REFUNDED, _:
                postings: list[Posting | None] = [refund(found.generation_id, row["payer"], shares)]
            case State.PARTLY, int(part):
                postings = list(refund_part(found.generation_id, row["payer"], shares, part))
            case State.COMPENSATED, int(goodwill):
                postings = [compensation(found.id, found.user_id, goodwill)]
            case _:
                postings = []
        ledger = Ledger(self._connection, self._now)
        for posting in filter(None, postings):
            await ledger.post(posting)
        refunded = verdict is State.REFUNDED
        ends = verdict in (State.REFUNDED, State.PARTLY)
        await self._move(found.generation_id, GenerationState.REFUNDED if refunded else GenerationState.DELIVERED, ends=ends)
        values = {"state": verdict, "reason": " ".join(reason.split()), "decided_by": by, "decided_at": self._now, "amount": amount}
        await self._connection.execute(update(disputes).where(disputes.c.id == found.id).values(**values))
        await self._tell(found, earners(shares))
        return await self.get(found.id)

    async def _story(self, generation_id: int) -> dict[str, Any]:
        """How the picture was made: each attempt with its resource, outcome, fault and seconds."""
        query = select(attempts.c.resource_id, attempts.c.outcome, attempts.c.fault, attempts.c.started_at, attempts.c.finished_at)
        rows = await self._connection.execute(query.where(attempts.c.generation_id == generation_id).order_by(attempts.c.fence))
        return {
            "attempts": [
                {"resource": resource, "outcome": outcome, "fault": fault, "seconds": round(((ended or began) - began) / SECOND, 1)}
                for resource, outcome, fault, began, ended in rows
            ]
        }

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
    kept = {name: row[name] for name in Dispute.__dataclass_fields__ if name != "evidence"}
    evidence = json.loads(row["evidence"]) if row["evidence"] else None
    return Dispute(**kept | {"kind": Kind(row["kind"]), "state": State(row["state"]), "evidence": evidence})
