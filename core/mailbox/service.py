"""Reads and writes of the inbox and the outbox, within the caller's transaction. Times in microseconds."""

import json
from collections.abc import Sequence

from sqlalchemy import bindparam, case, delete, exists, func, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from core.address import Address
from core.db import DAY, SECOND, Moment, one_of
from core.mailbox.models import MAX_EVENT_ID, Delivery, Notice, Received, State, inbox, outbox

LEASE = 30 * SECOND
"""How long a taken row stays with its taker; a dead taker's rows come back after it."""
KEEP = 30 * DAY
"""Handled events and sent messages are kept so long, for de-duplication and for questions."""
PRUNE_BATCH = 1000
FOLLOWING = ("generation", "payment", "ballot")
"""The kinds of row whose message is edited while what it is about goes on."""
_TOUCH = (
    update(outbox).where(one_of(outbox.c.subject, "subjects"), outbox.c.state == State.LIVE).values(due_at=bindparam("now", type_=Moment))
)


class Mailbox:
    """Inbox and outbox in one transaction."""

    def __init__(self, connection: AsyncConnection, now: int) -> None:
        self._connection = connection
        self._dialect = connection.dialect.name
        self._now = now

    async def store(self, platform: str, events: Sequence[Received]) -> None:
        """Keeps events that are to be handled; those known already change nothing."""
        if not events:
            return
        insert_ = postgresql.insert if self._dialect == "postgresql" else sqlite.insert
        rows = [
            {"platform": platform, "event_id": each.event_id, "chat": each.chat, "body": each.body, "received_at": self._now}
            for each in events
        ]
        await self._connection.execute(insert_(inbox).on_conflict_do_nothing(), rows)

    async def take_events(self, platform: str, limit: int) -> list[Received]:
        """Leases waiting events, at most one per chat (its first), oldest first."""
        earlier = inbox.alias()
        waiting = (inbox.c.platform == platform) & inbox.c.handled_at.is_(None) & inbox.c.body.is_not(None)
        first = ~exists().where(
            earlier.c.platform == platform, earlier.c.handled_at.is_(None), earlier.c.chat == inbox.c.chat, earlier.c.id < inbox.c.id
        )
        query = select(inbox.c.id, inbox.c.event_id, inbox.c.chat, inbox.c.body).where(waiting, first, inbox.c.leased_until <= self._now)
        rows = (await self._connection.execute(query.order_by(inbox.c.id).limit(limit).with_for_update(skip_locked=True))).all()
        if rows:
            leased = update(inbox).where(inbox.c.id.in_([row.id for row in rows])).values(leased_until=self._now + LEASE)
            await self._connection.execute(leased)
        return [Received(event_id, chat, body) for _, event_id, chat, body in rows]

    async def first(self, platform: str, event_id: str, chat: str) -> bool:
        """Marks an event as handled, in the transaction of its effects; False when it was handled before."""
        assert len(event_id) <= MAX_EVENT_ID, event_id
        insert_ = postgresql.insert if self._dialect == "postgresql" else sqlite.insert
        row = insert_(inbox).values(platform=platform, event_id=event_id, chat=chat, received_at=self._now, handled_at=self._now)
        marked = row.on_conflict_do_update(
            index_elements=["platform", "event_id"], set_={"handled_at": self._now, "body": None}, where=inbox.c.handled_at.is_(None)
        ).returning(inbox.c.id)
        return (await self._connection.execute(marked)).first() is not None

    async def mark_handled(self, events: Sequence[tuple[str, str, str]]) -> None:
        """`first` for many (platform, event id, chat) whose effects are unique by themselves."""
        if not events:
            return
        insert_ = postgresql.insert if self._dialect == "postgresql" else sqlite.insert
        rows = [
            {"platform": platform, "event_id": event_id, "chat": chat, "received_at": self._now, "handled_at": self._now}
            for platform, event_id, chat in events
        ]
        marked = {"handled_at": self._now, "body": None}
        await self._connection.execute(
            insert_(inbox).on_conflict_do_update(index_elements=["platform", "event_id"], set_=marked, where=inbox.c.handled_at.is_(None)),
            rows,
        )

    async def received_at(self, platform: str, event_id: str) -> int | None:
        """When an event was stored, in microseconds; None when it was not."""
        here = (inbox.c.platform == platform) & (inbox.c.event_id == event_id)
        at: int | None = await self._connection.scalar(select(inbox.c.received_at).where(here))
        return at

    async def was_handled(self, platform: str, event_id: str) -> bool:
        """Whether an event has been handled."""
        found = select(inbox.c.id).where(inbox.c.platform == platform, inbox.c.event_id == event_id, inbox.c.handled_at.is_not(None))
        return (await self._connection.execute(found)).first() is not None

    async def say(self, notices: Sequence[Notice]) -> dict[str, int]:
        """Writes outbox rows; returns the new rows by their keys. A key that was used before writes nothing and is left out."""
        if not notices:
            return {}
        insert_ = postgresql.insert if self._dialect == "postgresql" else sqlite.insert
        rows = [
            {
                "key": each.key,
                "platform": each.address.platform,
                "chat": each.address.chat,
                "kind": each.kind,
                "subject": each.subject,
                "body": json.dumps(each.body, ensure_ascii=False),
                "state": State.WAITING,
                "due_at": self._now,
                "leased_until": each.leased_until,
                "created_at": self._now,
            }
            for each in notices
        ]
        new = insert_(outbox).on_conflict_do_nothing(index_elements=["key"]).returning(outbox.c.key, outbox.c.id)
        return {key: row_id for key, row_id in await self._connection.execute(new, rows)}

    async def take_deliveries(self, platforms: Sequence[str], limit: int) -> list[Delivery]:
        """Leases what is due: of each chat its first waiting row, and live rows whose chat has nothing waiting. Oldest first."""
        waiting = outbox.alias()
        before = exists().where(
            waiting.c.platform == outbox.c.platform,
            waiting.c.chat == outbox.c.chat,
            waiting.c.state == State.WAITING,
            case((outbox.c.state == State.WAITING, waiting.c.id < outbox.c.id), else_=True),
        )
        query = select(outbox).where(
            outbox.c.platform.in_(platforms),
            outbox.c.state.in_((State.WAITING, State.LIVE)),
            outbox.c.due_at <= self._now,
            outbox.c.leased_until <= self._now,
            ~before,
        )
        rows = (await self._connection.execute(query.order_by(outbox.c.id).limit(limit).with_for_update(skip_locked=True))).all()
        if rows:
            leased = update(outbox).where(outbox.c.id.in_([row.id for row in rows])).values(leased_until=self._now + LEASE)
            await self._connection.execute(leased)
        return [
            Delivery(
                row.id, Address(row.platform, row.chat), row.kind, row.subject, json.loads(row.body), row.state == State.LIVE, row.tries,
                row.message, row.created_at, row.key,
            )
            for row in rows
        ]  # fmt: skip

    async def waiting(self) -> int:
        """How many messages wait to be sent."""
        return await self._connection.scalar(select(func.count()).where(outbox.c.state == State.WAITING)) or 0

    async def delivered(self, row_id: int, message: str | None, next_edit: int | None = None) -> None:
        """A row was sent or edited. With `next_edit` it stays live and is due then."""
        values = {"state": State.DONE, "leased_until": 0}
        if next_edit is not None:
            values |= {"state": State.LIVE, "due_at": next_edit}
        if message is not None:
            values["message"] = message
        await self._connection.execute(update(outbox).where(outbox.c.id == row_id).values(**values))

    async def arrived(self, row_id: int, message: str, next_edit: int) -> None:
        """Whoever wrote a row has sent it. A message that follows a generation stays live, and is edited as soon as something changes."""
        live = outbox.c.kind.in_(FOLLOWING)
        values = {
            "state": case((live, State.LIVE), else_=State.DONE),
            "due_at": case((live, next_edit), else_=outbox.c.due_at),
            "message": message,
            "leased_until": 0,
        }
        here = (outbox.c.id == row_id) & (outbox.c.state == State.WAITING)
        await self._connection.execute(update(outbox).where(here).values(**values))

    async def postpone(self, row_id: int, due_at: int) -> None:
        """A row could not be sent now; it is tried again at `due_at`, and what is behind it in its chat waits."""
        values = {"due_at": due_at, "leased_until": 0, "tries": outbox.c.tries + 1}
        await self._connection.execute(update(outbox).where(outbox.c.id == row_id).values(**values))

    async def put_off(self, row_id: int, due_at: int) -> None:
        """A row waits for its chat's flood limit; that is no failed try."""
        await self._connection.execute(update(outbox).where(outbox.c.id == row_id).values(due_at=due_at, leased_until=0))

    async def drop(self, row_id: int, problem: str) -> None:
        """A row can never be delivered."""
        values = {"state": State.DROPPED, "problem": problem[:200], "leased_until": 0}
        await self._connection.execute(update(outbox).where(outbox.c.id == row_id).values(**values))

    async def drop_chat(self, address: Address, problem: str) -> None:
        """A chat shut us out: nothing that waits for it is sent."""
        here = (outbox.c.platform == address.platform) & (outbox.c.chat == address.chat)
        values = {"state": State.DROPPED, "problem": problem[:200], "leased_until": 0}
        await self._connection.execute(update(outbox).where(here, outbox.c.state.in_((State.WAITING, State.LIVE))).values(**values))

    async def move_chat(self, old: Address, chat: str) -> None:
        """A group has another id: what waits for it goes there, and what stands in the old one and is still edited is said there anew.

        Leases stay: whoever holds one is saying it.
        """
        here = (outbox.c.platform == old.platform) & (outbox.c.chat == old.chat) & outbox.c.state.in_((State.WAITING, State.LIVE))
        values = {"chat": chat, "state": State.WAITING, "message": None, "due_at": self._now}
        await self._connection.execute(update(outbox).where(here).values(**values))

    async def touch(self, subjects: Sequence[str]) -> None:
        """The live messages about these subjects are due for an edit now."""
        if subjects:
            await self._connection.execute(_TOUCH, {"subjects": subjects, "now": self._now})

    async def take_live(self, address: Address, subject: str) -> tuple[int, str] | None:
        """Leases the live message about a subject in a chat, which is about to go, so that nobody edits it meanwhile: its row and the
        platform's message id."""
        query = select(outbox.c.id, outbox.c.message).where(
            outbox.c.subject == subject,
            outbox.c.platform == address.platform,
            outbox.c.chat == address.chat,
            outbox.c.state == State.LIVE,
            outbox.c.message.is_not(None),
        )
        row = (await self._connection.execute(query.limit(1))).first()
        if row is None:
            return None
        await self._connection.execute(update(outbox).where(outbox.c.id == row.id).values(leased_until=self._now + LEASE))
        return row.id, row.message

    async def prune(self) -> int:
        """Removes some of what is older than KEEP; returns how many rows."""
        old_events = select(inbox.c.id).where(inbox.c.handled_at < self._now - KEEP).limit(PRUNE_BATCH)
        old_rows = (
            select(outbox.c.id)
            .where(outbox.c.created_at < self._now - KEEP, outbox.c.state.in_((State.DONE, State.DROPPED)))
            .limit(PRUNE_BATCH)
        )
        removed = 0
        for table, old in ((inbox, old_events), (outbox, old_rows)):
            removed += (await self._connection.execute(delete(table).where(table.c.id.in_(old)))).rowcount
        return removed
