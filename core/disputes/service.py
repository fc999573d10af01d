"""Disputes within the caller's transaction: opened by the creator, decided by an admin.

While one is open its generation is `disputed`: no timer releases what was earned with it, so a refund always finds it pending.
"""

import json
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.acts.errors import ReasonNeeded
from core.acts.service import Acts
from core.db import DAY, HOUR, MINUTE, SECOND
from core.disputes.errors import (
    AlreadyDecided,
    DisputeNotFound,
    DisputeTaken,
    NotDisputable,
    NotProposed,
    NotReversible,
    OwnDispute,
    SecondAdmin,
    TooManyDisputes,
)
from core.disputes.models import MAX_TEXT, Dispute, Kind, State, disputes
from core.disputes.rules import (
    REJECTED_WINDOW,
    REVERSE_DAYS,
    TAKEN,
    clear,
    compensation,
    is_copy,
    moved,
    refund,
    refund_part,
)
from core.generations.errors import GenerationNotFound
from core.generations.models import Generation, OutcomeKind, attempts, generations
from core.generations.models import State as GenerationState
from core.generations.rules import earners
from core.generations.service import COLUMNS, read
from core.ledger.models import Posting
from core.ledger.service import Ledger
from core.mailbox.models import Notice
from core.mailbox.service import Mailbox
from core.resources.service import Resources
from core.users.errors import Frozen
from core.users.models import User, users
from core.users.service import Users

PAGE = 10
COPIES = 50
"""Earlier pictures with the same bytes that are looked at."""


class Disputes:
    """One transaction's view of the disputes."""

    def __init__(self, connection: AsyncConnection, now: int) -> None:
        self._connection = connection
        self._now = now

    async def open(self, generation_id: int, user: User, kind: Kind, rejected_most: int) -> Dispute:
        """Opens one about a picture of the user's own, within its window.

        Raises Frozen, TooManyDisputes, GenerationNotFound, NotDisputable.
        """
        if user.frozen:
            raise Frozen()
        await self._check_limit(user, rejected_most)
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
        bundle = evidence | await self._story(found.generation_id) | await self._copy(found.generation_id)
        values = {"evidence": json.dumps(bundle), "inspected_at": self._now}
        if (await self._connection.execute(update(disputes).where(here).values(**values))).rowcount != 1:
            return await self.get(dispute_id)
        if (why := clear(bundle)) is not None:
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

    async def take(self, dispute_id: int, admin: User) -> Dispute:
        """Whoever works on it for TAKEN, so that no two do; once more takes it for longer. Raises as `decide`."""
        found, _ = await self._locked(dispute_id, admin)
        if found.state is not State.OPEN:
            raise AlreadyDecided(dispute=dispute_id)
        return await self._set(dispute_id, taken_by=admin.id, taken_until=self._now + TAKEN)

    async def decide(
        self, dispute_id: int, admin: User, verdict: State, reason: str, *, alone: int, amount: int = 0, reverses: bool = False
    ) -> Dispute:
        """The verdict: refunded, all of it goes back to whoever paid; partly, `amount` of it, from all shares in proportion; compensated,
        the platform gives `amount` of goodwill, at most what was paid; rejected, all stays as it is. Both sides are told.

        What moves more than `alone` milli-credits is proposed, and counts once another admin gives the same verdict or confirms it.
        `reverses`: it takes the place of a rejection, within REVERSE_DAYS; what was earned is only reached while it is pending.

        Raises DisputeNotFound, AlreadyDecided, OwnDispute, DisputeTaken, SecondAdmin, NotReversible, ReasonNeeded, BadAmount.
        """
        found, row = await self._locked(dispute_id, admin)
        if reverses:
            self._check_reversible(found, row, verdict)
        elif found.state is not State.OPEN:
            raise AlreadyDecided(dispute=dispute_id)
        amount = moved(verdict, row["paid"], amount)
        same = found.proposed is verdict and found.proposed_amount == amount
        if same and found.proposed_by == admin.id:
            raise SecondAdmin(dispute=dispute_id)
        if amount > alone and not same:
            return await self._propose(found, row, admin, verdict, amount, reason)
        if reverses:
            await self._move(found.generation_id, GenerationState.DISPUTED)
        return await self._close(found, row, admin, verdict, reason, amount or None)

    async def confirm(self, dispute_id: int, admin: User, verdict: State, amount: int) -> Dispute:
        """The verdict that another admin proposed, with their reason. Raises as `decide`, and NotProposed when it is not that one."""
        found, _ = await self._locked(dispute_id, admin)
        if found.proposed is not verdict or found.proposed_amount != amount or found.proposed_reason is None:
            raise NotProposed(dispute=dispute_id)
        reverses = found.state is State.REJECTED
        return await self.decide(dispute_id, admin, verdict, found.proposed_reason, alone=0, amount=amount, reverses=reverses)

    def _check_reversible(self, found: Dispute, row: Any, verdict: State) -> None:
        late = (found.decided_at or 0) + REVERSE_DAYS * DAY <= self._now
        gone = row["release_at"] is None and verdict in (State.REFUNDED, State.PARTLY)
        if found.state is not State.REJECTED or verdict is State.REJECTED or late or gone:
            raise NotReversible(dispute=found.id, days=REVERSE_DAYS)

    async def _propose(self, found: Dispute, row: Any, admin: User, verdict: State, amount: int, reason: str) -> Dispute:
        """Keeps it for another admin, and tells those who may confirm it. It is nobody's meanwhile."""
        facts = {"verdict": verdict, "paid": row["paid"], "amount": amount}
        act = await Acts(self._connection, self._now).record(admin.id, "verdict_proposed", found.subject, reason, **facts)
        people = Users(self._connection, self._now)
        able = set(await people.admins()) - earners(json.loads(row["shares"])) - {found.user_id, admin.id}
        addresses = await people.addresses(able)
        body = {"dispute": found.id}
        notices = [
            Notice(f"{found.subject}:confirm:{act}:{reader}", addresses[reader], "dispute_confirm", body | {"reader": reader})
            for reader in sorted(addresses)
        ]
        said = " ".join(reason.split())
        proposed = await self._set(
            found.id, proposed_by=admin.id, proposed=verdict, proposed_amount=amount, proposed_reason=said, taken_by=None, taken_until=None
        )
        await Mailbox(self._connection, self._now).say(notices)
        return proposed

    async def _locked(self, dispute_id: int, admin: User) -> tuple[Dispute, Any]:
        """It and its picture, locked for an admin who may decide about it."""
        found = await self.get(dispute_id)
        row = await self._lock(found.generation_id)  # every verdict about it waits here
        assert row is not None
        found = await self.get(dispute_id)
        if admin.id in earners(json.loads(row["shares"])) | {found.user_id}:
            raise OwnDispute(dispute=dispute_id)
        if found.state is State.OPEN and found.taken_by not in (None, admin.id) and (left := (found.taken_until or 0) - self._now) > 0:
            holder = await Users(self._connection, self._now).get(int(found.taken_by or 0))
            raise DisputeTaken(dispute=dispute_id, admin=holder.name, minutes=-(-left // MINUTE))
        return found, row

    async def _set(self, dispute_id: int, **values: Any) -> Dispute:
        await self._connection.execute(update(disputes).where(disputes.c.id == dispute_id).values(**values))
        return await self.get(dispute_id)

    async def _close(self, found: Dispute, row: Any, admin: User | None, verdict: State, reason: str, amount: int | None) -> Dispute:
        """Posts what the verdict moves, once; `admin` None: by rule. The generation is as before, or refunded."""
        shares, by = json.loads(row["shares"]), admin.id if admin else None
        facts = {"verdict": verdict, "paid": row["paid"], "amount": amount}
        if found.proposed_by is not None:
            facts["proposed_by"] = found.proposed_by
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
        refunded = verdict is State.REFUNDED
        ends = verdict in (State.REFUNDED, State.PARTLY)
        if ends:
            await self._lose(found.generation_id)
        ledger = Ledger(self._connection, self._now)
        for posting in filter(None, postings):
            await ledger.post(posting)
        await self._move(found.generation_id, GenerationState.REFUNDED if refunded else GenerationState.DELIVERED, ends=ends)
        closed = await self._set(
            found.id, state=verdict, reason=" ".join(reason.split()), decided_by=by, decided_at=self._now, amount=amount, taken_by=None,
            taken_until=None, proposed_by=None, proposed=None, proposed_amount=None, proposed_reason=None,
        )  # fmt: skip
        await self._tell(closed, earners(shares))
        return closed

    async def _lose(self, generation_id: int) -> None:
        """The resource that made the picture stands worse with the scheduler."""
        maker = select(attempts.c.resource_id).where(attempts.c.generation_id == generation_id, attempts.c.outcome == OutcomeKind.DELIVERED)
        if (resource := await self._connection.scalar(maker)) is not None:
            await Resources(self._connection, self._now).lose(resource)

    async def _copy(self, generation_id: int) -> dict[str, Any]:
        """`copy_of`: the number of an earlier picture whose very bytes it has; `copied`: whether it clearly should have its own."""
        mine, earlier = generations.alias("mine"), generations.alias("earlier")
        wanted = ("id", "user_id", "operation", "prompt", "parameters")
        own = (
            (await self._connection.execute(select(*(mine.c[name] for name in wanted)).where(mine.c.id == generation_id))).mappings().one()
        )
        query = (
            select(*(earlier.c[name] for name in wanted))
            .join(mine, (mine.c.digest == earlier.c.digest) & (mine.c.id != earlier.c.id) & (earlier.c.finished_at <= mine.c.finished_at))
            .where(mine.c.id == generation_id)
        )
        rows = (await self._connection.execute(query.order_by(earlier.c.id).limit(COPIES))).mappings().all()
        copied = next((row["id"] for row in rows if is_copy(dict(own), dict(row))), None)
        return {"copy_of": copied or next((row["id"] for row in rows), None), "copied": copied is not None}

    async def _check_limit(self, user: User, most: int) -> None:
        """Whoever had more than `most` rejected lately opens one in a day. Locks the user, so that of many at once one counts."""
        await self._connection.execute(select(users.c.id).where(users.c.id == user.id).with_for_update(key_share=True))
        lately = (disputes.c.state == State.REJECTED) & (disputes.c.decided_at > self._now - REJECTED_WINDOW)
        counted = select(func.count().filter(lately), func.max(disputes.c.created_at)).where(disputes.c.user_id == user.id)
        rejected, newest = (await self._connection.execute(counted)).one()
        if rejected > most and newest is not None and (left := newest + DAY - self._now) > 0:
            raise TooManyDisputes(rejected=rejected, hours=-(-left // HOUR))

    async def _story(self, generation_id: int) -> dict[str, Any]:
        """How the picture was made: each attempt with its resource, outcome, fault and seconds."""
        query = select(
            attempts.c.resource_id,
            attempts.c.outcome,
            attempts.c.fault,
            attempts.c.started_at,
            attempts.c.finished_at,
            attempts.c.reference,
        )
        rows = await self._connection.execute(query.where(attempts.c.generation_id == generation_id).order_by(attempts.c.fence))
        return {
            "attempts": [
                {
                    "resource": resource,
                    "outcome": outcome,
                    "fault": fault,
                    "seconds": round(((ended or began) - began) / SECOND, 1),
                    "reference": reference,
                }
                for resource, outcome, fault, began, ended, reference in rows
            ]
        }

    async def _tell(self, dispute: Dispute, owners: set[int]) -> None:
        readers = {dispute.user_id: "opener"} | dict.fromkeys(owners - {dispute.user_id}, "miner")
        addresses = await Users(self._connection, self._now).addresses(readers)
        notices = [
            Notice(
                f"{dispute.subject}:{dispute.state}:{reader}",
                addresses[reader],
                "verdict",
                {"dispute": dispute.id, "reader": reader, "side": side},
            )
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
    proposed = State(row["proposed"]) if row["proposed"] else None
    return Dispute(**kept | {"kind": Kind(row["kind"]), "state": State(row["state"]), "evidence": evidence, "proposed": proposed})
