"""Reads and writes of the inbox and the outbox, within the caller's transaction. Times in microseconds."""

import json
from collections.abc import Sequence

from sqlalchemy import Integer, bindparam, case, delete, exists, func, literal_column, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from core.address import Address, whole
from core.db import DAY, SECOND, Moment, Rows, one_of, run_rows
from core.mailbox.models import MAX_EVENT_ID, Delivery, Notice, Received, Sent, State, inbox, outbox

LEASE = 30 * SECOND
"""How long a taken row stays with its taker; a dead taker's rows come back after it."""
KEEP = 30 * DAY
"""Handled events and sent messages are kept so long, for de-duplication and for questions."""
PRUNE_BATCH = 1000
FOLLOWING = ("generation", "payment", "ballot")
"""The kinds of row whose message is edited while what it is about goes on."""
_NOW, _UNTIL, _AT = (bindparam(name, type_=Moment) for name in ("now", "until", "at"))
_MOST = bindparam("most", type_=Integer)
_earlier, _waiting = inbox.alias(), outbox.alias()
_EVENTS = (
    select(inbox.c.id, inbox.c.event_id, inbox.c.chat, inbox.c.body)
    .where(inbox.c.platform == bindparam("on"), inbox.c.handled_at.is_(None), inbox.c.body.is_not(None), inbox.c.leased_until <= _NOW)
    .where(
        ~exists().where(
            _earlier.c.platform == bindparam("on"), _earlier.c.handled_at.is_(None), _earlier.c.chat == inbox.c.chat,
            _earlier.c.id < inbox.c.id,
        )
    )
    .order_by(inbox.c.id)
    .limit(_MOST)
    .with_for_update(skip_locked=True)
)  # fmt: skip
_LEASE_EVENTS = update(inbox).where(one_of(inbox.c.id, "ids")).values(leased_until=_UNTIL)
_FIRST = {
    dialect: insert_(inbox)
    .on_conflict_do_update(
        index_elements=["platform", "event_id"],
        set_={"handled_at": literal_column("excluded.handled_at"), "body": None},
        where=inbox.c.handled_at.is_(None),
    )
    .returning(inbox.c.id)
    for dialect, insert_ in (("postgresql", postgresql.insert), ("sqlite", sqlite.insert))
}
_HANDLED = Rows("handled", platform="text", event_id="text", chat="text", at="bigint")
_MARK = """
INSERT INTO inbox (platform, event_id, chat, received_at, handled_at)
SELECT platform, event_id, chat, at, at FROM {handled} WHERE true
ON CONFLICT (platform, event_id) DO UPDATE SET handled_at = excluded.handled_at, body = NULL WHERE inbox.handled_at IS NULL"""
_SAID = Rows(
    "said", key="text", platform="text", chat="text", kind="text", subject="text", body="text", state="text", due_at="bigint",
    leased_until="bigint", created_at="bigint",
)  # fmt: skip
_SAY = f"""
INSERT INTO outbox ({", ".join(_SAID.columns)}) SELECT * FROM {{said}} WHERE true ON CONFLICT (key) DO NOTHING RETURNING key, id"""
_due = (
    select(outbox.c.id)
    .where(one_of(outbox.c.platform, "platforms"), outbox.c.state.in_((State.WAITING, State.LIVE)))
    .where(outbox.c.due_at <= _NOW, outbox.c.leased_until <= _NOW)
    .where(
        ~exists().where(
            _waiting.c.platform == outbox.c.platform,
            _waiting.c.chat == outbox.c.chat,
            _waiting.c.state == State.WAITING,
            case((outbox.c.state == State.WAITING, _waiting.c.id < outbox.c.id), else_=True),
        )
    )
    .order_by(outbox.c.id)
    .limit(_MOST)
    .with_for_update(skip_locked=True, of=outbox)
    .cte("due")
)
_DELIVERIES = update(outbox).where(outbox.c.id.in_(select(_due.c.id))).values(leased_until=_UNTIL).returning(*outbox.c)
_SENT = Rows("sent", row="bigint", new_state="text", at="bigint", as_="text")
_DELIVERED = """
UPDATE outbox SET state = sent.new_state, leased_until = 0, due_at = COALESCE(sent.at, outbox.due_at),
  message = COALESCE(sent.as_, outbox.message)
FROM {sent} WHERE outbox.id = sent.row AND outbox.state IN ('waiting', 'live')"""
_CLEARED = Rows("cleared", about="text", platform="text", chat="text")
_CLEAR = """
UPDATE outbox SET state = 'done', leased_until = 0 FROM {cleared}
WHERE outbox.subject = cleared.about AND outbox.platform = cleared.platform AND outbox.chat = cleared.chat
  AND outbox.state = 'live' AND outbox.message IS NOT NULL
RETURNING outbox.platform, outbox.chat, outbox.subject, outbox.message"""
_ARRIVED = f"""
UPDATE outbox SET state = CASE WHEN kind IN {FOLLOWING} THEN 'live' ELSE 'done' END,
  due_at = CASE WHEN kind IN {FOLLOWING} THEN sent.at ELSE outbox.due_at END, message = sent.as_, leased_until = 0
FROM {{sent}} WHERE outbox.id = sent.row AND outbox.state = 'waiting'"""
_PUT_OFF = update(outbox).where(outbox.c.id == bindparam("row")).values(due_at=_AT, leased_until=0)
_TOUCH = update(outbox).where(one_of(outbox.c.subject, "subjects"), outbox.c.state == State.LIVE).values(due_at=_NOW)


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
        rows = (await self._connection.execute(_EVENTS, {"on": platform, "now": self._now, "most": limit})).all()
        if rows:
            await self._connection.execute(_LEASE_EVENTS, {"ids": [row.id for row in rows], "until": self._now + LEASE})
        return [Received(event_id, chat, body) for _, event_id, chat, body in rows]

    async def first(self, platform: str, event_id: str, chat: str) -> bool:
        """Marks an event as handled, in the transaction of its effects; False when it was handled before."""
        assert len(event_id) <= MAX_EVENT_ID, event_id
        row = {"platform": platform, "event_id": event_id, "chat": chat, "received_at": self._now, "handled_at": self._now}
        return (await self._connection.execute(_FIRST[self._dialect], row)).first() is not None

    async def mark_handled(self, events: Sequence[tuple[str, str, str]]) -> None:
        """`first` for many (platform, event id, chat) whose effects are unique by themselves."""
        if not events:
            return
        rows = [(platform, event_id, chat, self._now) for platform, event_id, chat in events]
        await run_rows(self._connection, _MARK, {_HANDLED: rows})

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
        rows = [
            (
                each.key, each.address.platform, each.address.chat, each.kind, each.subject, json.dumps(each.body, ensure_ascii=False),
                State.WAITING, self._now, each.leased_until, self._now,
            )
            for each in notices
        ]  # fmt: skip
        return {key: row_id for key, row_id in await run_rows(self._connection, _SAY, {_SAID: rows})}

    async def take_deliveries(self, platforms: Sequence[str], limit: int) -> list[Delivery]:
        """Leases what is due: of each chat its first waiting row, and live rows whose chat has nothing waiting. Oldest first."""
        wanted = {"platforms": platforms, "now": self._now, "most": limit, "until": self._now + LEASE}
        rows = sorted((await self._connection.execute(_DELIVERIES, wanted)).all(), key=lambda row: row.id)
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

    async def delivered(self, sent: Sequence[Sent]) -> list[str | None]:
        """Rows were sent or edited. Returns for each the message that it clears, which is live no more: whoever asks removes it."""
        rows = [(each.row_id, State.DONE if each.next_edit is None else State.LIVE, each.next_edit, each.message) for each in sent]
        await run_rows(self._connection, _DELIVERED, {_SENT: rows})
        cleared = {each.clears for each in sent if each.clears is not None}
        if not cleared:
            return [None] * len(sent)
        about = [(subject, address.platform, address.chat) for address, subject in cleared]
        gone = await run_rows(self._connection, _CLEAR, {_CLEARED: about})
        messages = {(Address(platform, chat), subject): message for platform, chat, subject, message in gone}
        return [None if each.clears is None else messages.get(each.clears) for each in sent]

    async def arrived(self, sent: Sequence[Sent]) -> None:
        """Whoever wrote rows has sent them. A message that follows something stays live, and is edited as soon as something changes."""
        rows = [(each.row_id, State.LIVE, each.next_edit, each.message) for each in sent]
        await run_rows(self._connection, _ARRIVED, {_SENT: rows})

    async def postpone(self, row_id: int, due_at: int) -> None:
        """A row could not be sent now; it is tried again at `due_at`, and what is behind it in its chat waits."""
        values = {"due_at": due_at, "leased_until": 0, "tries": outbox.c.tries + 1}
        await self._connection.execute(update(outbox).where(outbox.c.id == row_id).values(**values))

    async def put_off(self, row_id: int, due_at: int) -> None:
        """A row waits for its chat's flood limit; that is no failed try."""
        await self._connection.execute(_PUT_OFF, {"row": row_id, "at": due_at})

    async def drop(self, row_id: int, problem: str) -> None:
        """A row can never be delivered, unless it is done."""
        values = {"state": State.DROPPED, "problem": problem[:200], "leased_until": 0}
        await self._connection.execute(update(outbox).where(outbox.c.id == row_id, outbox.c.state != State.DONE).values(**values))

    async def drop_chat(self, address: Address, problem: str) -> None:
        """A chat shut us out: nothing that waits for it, or for a topic of it, is sent."""
        group = whole(address.chat)
        here = (outbox.c.platform == address.platform) & or_(outbox.c.chat == group, outbox.c.chat.startswith(f"{group}/", autoescape=True))
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
