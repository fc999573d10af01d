"""Refills: at the beginning of a day, week or month a pool is filled up from somebody's wallet, by a worker, once a period."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db import Rows, statement
from core.ledger.models import Entry, Leg, Posting, debt, wallet
from core.ledger.service import Ledger
from core.mailbox.models import Notice
from core.mailbox.service import Mailbox
from core.pools.models import Every, Refill, communities, community_chats, pool, refills
from core.pools.promise import Promises
from core.pools.rules import period, refill
from core.users.service import Users

REFILL_BATCH = 200
"""Refills of one transaction."""
_DONE = Rows("done", id="bigint", given="bigint", due_at="bigint", short_at="bigint", ended_at="bigint")
_WRITE = """
UPDATE refills SET given = done.given, due_at = done.due_at, short_at = done.short_at, ended_at = done.ended_at
FROM {done} WHERE refills.id = done.id"""

_STILL = refills.c.ended_at.is_(None) & (refills.c.given < refills.c.most)


class Refills(Promises[Refill]):
    """One transaction's view of the refills. One begins with `level` and `most` (milli-credits), `every`, and `due_at`."""

    def __init__(self, connection: AsyncConnection, now: int) -> None:
        super().__init__(connection, now, refills, _STILL, _read)

    async def do(self) -> int:
        """Does what is due, all in one entry each and one statement; returns how many were looked at.

        Whoever's wallet does not suffice gives nothing in that period, and is told so once. Rows are locked in the order of gifts by hand:
        the communities, the refills, the accounts.
        """
        there = (community_chats.c.community_id == refills.c.community_id) & community_chats.c.gone_at.is_(None)
        due = (refills.c.due_at <= self._now) & exists().where(there)  # not of a pool whose groups are gone
        places = sorted({each.community_id for each in await self.going_on(due, limit=REFILL_BATCH)})
        if not places:
            return 0
        locked = select(communities.c.id).where(communities.c.id.in_(places)).order_by(communities.c.id)
        await self._connection.execute(locked.with_for_update())
        found = await self.going_on(due, refills.c.community_id.in_(places), limit=REFILL_BATCH, lock=True)
        if found:
            await self._give(found)
        return len(found)

    async def _give(self, found: Sequence[Refill]) -> None:
        ledger = Ledger(self._connection, self._now)
        people, places = {each.user_id for each in found}, {each.community_id for each in found}
        left = await ledger.lock([*map(pool, places), *(of(person) for person in people for of in (wallet, debt))])
        amounts: dict[int, int | None] = {}
        postings: dict[int, Posting] = {}
        for each in found:
            giver, taker = wallet(each.user_id), pool(each.community_id)
            amount = amounts[each.id] = refill(each, left[taker], 0 if left[debt(each.user_id)] else left[giver])
            if amount:
                left[giver], left[taker] = left[giver] - amount, left[taker] + amount
                key = f"allowance:{each.id}:{period(each.every, self._now)[0]}"
                postings[each.id] = Posting(key, "allowance", (Leg(giver, -amount), Leg(taker, amount)))
        answers = dict(zip(postings, await ledger.post_many(list(postings.values())), strict=True))
        given = {number for number, answer in answers.items() if isinstance(answer, Entry) and not answer.replayed}
        await self._write(found, {each.id: (amounts[each.id] or 0) if each.id in given else 0 for each in found}, amounts)
        await self._tell(found, given, amounts)

    async def _write(self, found: Sequence[Refill], given: Mapping[int, int], wanted: Mapping[int, int | None]) -> None:
        rows = []
        for each in found:
            total = each.given + given[each.id]
            short_at = (each.short_at or self._now) if wanted[each.id] is None else None if given[each.id] else each.short_at
            ended_at = self._now if total == each.most else None
            rows.append((each.id, total, period(each.every, self._now)[1], short_at, ended_at))
        dialect = self._connection.dialect.name
        await self._connection.execute(statement(dialect, _WRITE, _DONE), _DONE.parameters(dialect, rows))

    async def _tell(self, found: Sequence[Refill], given: set[int], wanted: Mapping[int, int | None]) -> None:
        """A word to whoever's wallet does not suffice, unless that was said, and to whose refill has given all that it may."""
        said = [(each, "short") for each in found if wanted[each.id] is None and each.short_at is None]
        said += [(each, "over") for each in found if each.id in given and each.left == wanted[each.id]]
        addresses = await Users(self._connection, self._now).addresses([each.user_id for each, _ in said])
        notices = [
            Notice(
                f"refill:{each.id}:{what}:{period(each.every, self._now)[0]}", addresses[each.user_id], "refill",
                {"reader": each.user_id, "community": each.community_id, "what": what, "level": each.level, "most": each.most},
            )
            for each, what in said
            if each.user_id in addresses
        ]  # fmt: skip
        await Mailbox(self._connection, self._now).say(notices)


def _read(row: Mapping[Any, Any]) -> Refill:
    return Refill(
        row["id"], row["community_id"], row["promiser"], row["name"], row["level"], Every(row["every"]), row["most"], row["given"],
        row["short_at"],
    )  # fmt: skip
