"""Disputes within the caller's transaction: opened by the creator, decided by an admin.

While one is open its generation is `disputed`: no timer releases what was earned with it, so a refund always finds it pending. What a
verdict moves is in `close.py`, and how it is taken back in `take_back.py`.
"""

import json
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.acts.errors import ReasonNeeded
from core.acts.service import Acts
from core.db import DAY, HOUR, MINUTE
from core.disputes.close import close, move, write
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
from core.disputes.gather import copy_of, story
from core.disputes.models import MAX_TEXT, Dispute, Kind, State, disputes
from core.disputes.rules import NEXT, REJECTED_WINDOW, REVERSE_DAYS, TAKEN, clear, moved
from core.disputes.take_back import check_taken_back
from core.generations.errors import GenerationNotFound
from core.generations.models import Generation, generations
from core.generations.models import State as GenerationState
from core.generations.rules import earners
from core.generations.service import COLUMNS, read
from core.mailbox.models import Notice
from core.mailbox.service import Mailbox
from core.users.errors import Frozen
from core.users.models import User, users
from core.users.service import Users

PAGE = 10


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
        await move(self._connection, generation_id, GenerationState.DISPUTED)
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
        run, picture = self._connection, found.generation_id
        bundle = evidence | await story(run, picture) | await copy_of(run, picture)
        values = {"evidence": json.dumps(bundle), "inspected_at": self._now}
        if (await run.execute(update(disputes).where(here).values(**values))).rowcount != 1:
            return await self.get(dispute_id)
        if (why := clear(bundle)) is not None:
            await close(run, self._now, found, row, None, State.REFUNDED, why, row["paid"])
            return await self.get(dispute_id)
        people = Users(self._connection, self._now)
        theirs = await people.persons(earners(json.loads(row["shares"])))
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
        if row is None or user.id not in await Users(self._connection, self._now).persons(earners(json.loads(row["shares"]))):
            raise DisputeNotFound(dispute=dispute_id)
        if found.state is not State.OPEN or found.answer:
            raise AlreadyDecided(dispute=dispute_id)
        said = " ".join(text.split())[:MAX_TEXT]
        if not said:
            raise ReasonNeeded(limit=MAX_TEXT)
        await write(self._connection, dispute_id, answer=said)
        return await self.get(dispute_id)

    async def take(self, dispute_id: int, admin: User) -> Dispute:
        """Whoever works on it for TAKEN, so that no two do; once more takes it for longer. Raises as `decide`."""
        found, _ = await self._locked(dispute_id, admin)
        if found.state is not State.OPEN:
            raise AlreadyDecided(dispute=dispute_id)
        await write(self._connection, dispute_id, taken_by=admin.id, taken_until=self._now + TAKEN)
        return await self.get(dispute_id)

    async def decide(
        self, dispute_id: int, admin: User, verdict: State, reason: str, *, alone: int, amount: int = 0, reverses: bool = False
    ) -> Dispute:
        """The verdict: refunded, all of it goes back to whoever paid; partly, `amount` of it, from all shares in proportion; compensated,
        the platform gives `amount` of goodwill, at most what was paid; rejected, all stays as it is; taken back, what an earlier verdict
        gave goes back to whoever gave it, within REVERSE_DAYS, if it is still there. Both sides are told.

        What moves more than `alone` milli-credits is proposed, and counts once another admin gives the same verdict or confirms it.
        `reverses`: it takes the place of a rejection, within REVERSE_DAYS; what was earned is only reached while it is pending.

        Raises DisputeNotFound, AlreadyDecided, OwnDispute, DisputeTaken, SecondAdmin, NotReversible, ReasonNeeded, BadAmount, and of what
        is taken back NotTakenBack, OwnVerdict, RefundSpent.
        """
        found, row = await self._locked(dispute_id, admin)
        if verdict is State.TAKEN_BACK:
            amount = check_taken_back(found, admin, self._now)
        else:
            self._check_due(found, row, verdict, reverses=reverses)
            amount = moved(verdict, row["paid"], amount)
        same = found.proposed is verdict and found.proposed_amount == amount
        if same and found.proposed_by == admin.id:
            raise SecondAdmin(dispute=dispute_id)
        if amount > alone and not same:
            return await self._propose(found, row, admin, verdict, amount, reason)
        if found.state is State.REJECTED:
            await move(self._connection, found.generation_id, GenerationState.DISPUTED)
        await close(self._connection, self._now, found, row, admin, verdict, reason, amount or None)
        return await self.get(dispute_id)

    async def confirm(self, dispute_id: int, admin: User, verdict: State, amount: int) -> Dispute:
        """The verdict that another admin proposed, with their reason. Raises as `decide`, and NotProposed when it is not that one."""
        found, _ = await self._locked(dispute_id, admin)
        if found.proposed is not verdict or found.proposed_amount != amount or found.proposed_reason is None:
            raise NotProposed(dispute=dispute_id)
        reverses = found.state is State.REJECTED
        return await self.decide(dispute_id, admin, verdict, found.proposed_reason, alone=0, amount=amount, reverses=reverses)

    def _check_due(self, found: Dispute, row: Any, verdict: State, *, reverses: bool) -> None:
        if not reverses:
            if found.state is not State.OPEN:
                raise AlreadyDecided(dispute=found.id)
            return
        late = (found.decided_at or 0) + REVERSE_DAYS * DAY <= self._now
        gone = row["release_at"] is None and verdict in (State.REFUNDED, State.PARTLY)
        if found.state is not State.REJECTED or verdict not in NEXT[State.REJECTED] or late or gone:
            raise NotReversible(dispute=found.id, days=REVERSE_DAYS)

    async def _propose(self, found: Dispute, row: Any, admin: User, verdict: State, amount: int, reason: str) -> Dispute:
        """Keeps it for another admin, and tells those who may confirm it. It is nobody's meanwhile."""
        facts = {"verdict": verdict, "paid": row["paid"], "amount": amount}
        act = await Acts(self._connection, self._now).record(admin.id, "verdict_proposed", found.subject, reason, **facts)
        people = Users(self._connection, self._now)
        apart = {found.user_id, admin.id, found.decided_by if verdict is State.TAKEN_BACK else None}
        able = set(await people.admins()) - await people.persons(earners(json.loads(row["shares"]))) - apart
        addresses = await people.addresses(able)
        body = {"dispute": found.id}
        notices = [
            Notice(f"{found.subject}:confirm:{act}:{reader}", addresses[reader], "dispute_confirm", body | {"reader": reader})
            for reader in sorted(addresses)
        ]
        said = " ".join(reason.split())
        await write(
            self._connection, found.id, proposed_by=admin.id, proposed=verdict, proposed_amount=amount, proposed_reason=said,
            taken_by=None, taken_until=None,
        )  # fmt: skip
        await Mailbox(self._connection, self._now).say(notices)
        return await self.get(found.id)

    async def _locked(self, dispute_id: int, admin: User) -> tuple[Dispute, Any]:
        """It and its picture, locked for an admin who may decide about it."""
        found = await self.get(dispute_id)
        row = await self._lock(found.generation_id)  # every verdict about it waits here
        assert row is not None
        found = await self.get(dispute_id)
        involved = earners(json.loads(row["shares"])) | {found.user_id}
        if admin.id in await Users(self._connection, self._now).persons(involved):
            raise OwnDispute(dispute=dispute_id)
        if found.state is State.OPEN and found.taken_by not in (None, admin.id) and (left := (found.taken_until or 0) - self._now) > 0:
            holder = await Users(self._connection, self._now).get(int(found.taken_by or 0))
            raise DisputeTaken(dispute=dispute_id, admin=holder.name, minutes=-(-left // MINUTE))
        return found, row

    async def _check_limit(self, user: User, most: int) -> None:
        """Whoever had more than `most` rejected lately opens one in a day. Locks the user, so that of many at once one counts."""
        await self._connection.execute(select(users.c.id).where(users.c.id == user.id).with_for_update(key_share=True))
        lately = (disputes.c.state == State.REJECTED) & (disputes.c.decided_at > self._now - REJECTED_WINDOW)
        counted = select(func.count().filter(lately), func.max(disputes.c.created_at)).where(disputes.c.user_id == user.id)
        rejected, newest = (await self._connection.execute(counted)).one()
        if rejected > most and newest is not None and (left := newest + DAY - self._now) > 0:
            raise TooManyDisputes(rejected=rejected, hours=-(-left // HOUR))

    async def _lock(self, generation_id: int) -> Any:
        wanted = (generations.c[name] for name in ("user_id", "state", "release_at", "shares", "payer", "paid"))
        query = select(*wanted).where(generations.c.id == generation_id).with_for_update()
        return (await self._connection.execute(query)).mappings().first()

    async def _of(self, generation_id: int) -> int | None:
        found: int | None = await self._connection.scalar(select(disputes.c.id).where(disputes.c.generation_id == generation_id))
        return found


def _read(row: Any) -> Dispute:
    kept = {name: row[name] for name in Dispute.__dataclass_fields__ if name != "evidence"}
    evidence = json.loads(row["evidence"]) if row["evidence"] else None
    proposed = State(row["proposed"]) if row["proposed"] else None
    return Dispute(**kept | {"kind": Kind(row["kind"]), "state": State(row["state"]), "evidence": evidence, "proposed": proposed})
