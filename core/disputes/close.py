"""Closing a dispute with its verdict: what moves, what becomes of the picture, and what both sides are told. Its row is locked."""

import json
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.acts.service import Acts
from core.disputes.errors import RefundSpent
from core.disputes.models import Dispute, State, disputes
from core.disputes.rules import NEXT, compensation, refund, refund_part
from core.disputes.take_back import turned_around
from core.generations.models import OutcomeKind, attempts, generations
from core.generations.models import State as GenerationState
from core.generations.rules import earners
from core.ledger.errors import InsufficientCredits
from core.ledger.models import Posting
from core.ledger.service import Ledger, raise_first_refusal
from core.mailbox.models import Notice
from core.mailbox.service import Mailbox
from core.resources.service import Resources
from core.users.models import User
from core.users.service import Users

ENDS = (State.REFUNDED, State.PARTLY)
"""Verdicts against whoever made the picture; nothing of it waits for its release any more."""


async def close(
    connection: AsyncConnection, now: int, found: Dispute, row: Any, admin: User | None, verdict: State, reason: str, amount: int | None
) -> None:
    """Posts what the verdict moves, once; `admin` None: by rule. `row` is the picture's, locked. Raises ReasonNeeded, RefundSpent."""
    assert verdict in NEXT[found.state], (found.state, verdict)
    shares, by = json.loads(row["shares"]), admin.id if admin else None
    facts = {"verdict": verdict, "paid": row["paid"], "amount": amount}
    if found.proposed_by is not None:
        facts["proposed_by"] = found.proposed_by
    await Acts(connection, now).record(by, "verdict", found.subject, reason, **facts)
    match verdict, amount:
        case State.REFUNDED, _:
            postings: list[Posting | None] = [refund(found.generation_id, row["payer"], shares)]
        case State.PARTLY, int(part):
            postings = list(refund_part(found.generation_id, row["payer"], shares, part))
        case State.COMPENSATED, int(goodwill):
            postings = [compensation(found.id, found.user_id, goodwill)]
        case State.TAKEN_BACK, _:
            postings = list(await turned_around(connection, found))
        case _:
            postings = []
    await _judge_maker(connection, now, found, verdict)
    if due := list(filter(None, postings)):
        await _post(connection, now, found, due)
    await _move_picture(connection, now, found, verdict)
    closed = replace(found, state=verdict)
    await write(
        connection, found.id, state=verdict, reason=" ".join(reason.split()), decided_by=by, decided_at=now, amount=amount, taken_by=None,
        taken_until=None, proposed_by=None, proposed=None, proposed_amount=None, proposed_reason=None,
    )  # fmt: skip
    await _tell(connection, now, closed, await Users(connection, now).persons(earners(shares)))


async def write(connection: AsyncConnection, dispute_id: int, **values: Any) -> None:
    """Changes a dispute's row."""
    await connection.execute(update(disputes).where(disputes.c.id == dispute_id).values(**values))


async def move(connection: AsyncConnection, generation_id: int, state: GenerationState, **values: Any) -> None:
    """Changes the state of a picture's row, which is locked."""
    await connection.execute(update(generations).where(generations.c.id == generation_id).values(state=state, **values))


async def _post(connection: AsyncConnection, now: int, found: Dispute, postings: list[Posting]) -> None:
    """All of it or nothing. Verdicts reach for what nobody can have spent; what they gave may be spent when it is taken back."""
    try:
        raise_first_refusal(await Ledger(connection, now).post_many(postings))
    except InsufficientCredits as error:
        raise RefundSpent(dispute=found.id, needed=error.facts["needed"], available=error.facts["available"]) from None


async def _move_picture(connection: AsyncConnection, now: int, found: Dispute, verdict: State) -> None:
    """The picture is refunded, or delivered; of one whose refund is taken back the earnings are due, and released as any others are."""
    if verdict is State.TAKEN_BACK:
        due = {"release_at": now} if found.state is State.REFUNDED else {}
        await move(connection, found.generation_id, GenerationState.DELIVERED, **due)
        return
    after = GenerationState.REFUNDED if verdict is State.REFUNDED else GenerationState.DELIVERED
    await move(connection, found.generation_id, after, **({"release_at": None} if verdict in ENDS else {}))


async def _judge_maker(connection: AsyncConnection, now: int, found: Dispute, verdict: State) -> None:
    """The resource that made the picture stands worse with the scheduler, or as before where that was wrong."""
    lost, regained = verdict in ENDS, verdict is State.TAKEN_BACK and found.state in ENDS
    if not lost and not regained:
        return
    delivered = (attempts.c.generation_id == found.generation_id) & (attempts.c.outcome == OutcomeKind.DELIVERED)
    if (resource := await connection.scalar(select(attempts.c.resource_id).where(delivered))) is not None:
        lent = Resources(connection, now)
        await (lent.lose(resource) if lost else lent.regain(resource, found.decided_at or now))


async def _tell(connection: AsyncConnection, now: int, dispute: Dispute, owners: AbstractSet[int]) -> None:
    readers = {dispute.user_id: "opener"} | dict.fromkeys(owners - {dispute.user_id}, "miner")
    addresses = await Users(connection, now).addresses(readers)
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
    await Mailbox(connection, now).say(notices)
