"""Disputes over HTTP: a creator's own, and an admin's verdicts."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import Field

from api.caller import Caller, allowed
from api.idempotency import Answer, IdempotencyKey, once
from api.pages import Cursor, Limit, Page, Pager
from api.shown import MAX_ID, Asked, Credits, Shown, When, core_of, moment, moment_or_none, refusals
from core.acts.models import MAX_REASON
from core.disputes.models import VERDICTS, Dispute, Kind, State
from core.money import CREDIT, format_credits, parse_credits

router = APIRouter(tags=["disputes"])

Opener = Annotated[Caller, Depends(allowed("disputes"))]
Admin = Annotated[Caller, Depends(allowed("admin"))]
Number = Annotated[int, Path(ge=1, le=MAX_ID)]


class DisputeAsked(Asked):
    """What is wrong with which picture."""

    generation: int = Field(ge=1, le=MAX_ID)
    kind: Annotated[Kind, Field(strict=False)]


class ResolveAsked(Asked):
    """A verdict. `amount` for a part or goodwill."""

    verdict: Literal["refund", "part", "reject", "goodwill", "take_back"]
    amount: str | None = Field(None, pattern=r"^\d{1,9}(\.\d{1,3})?$", examples=["2"])
    reason: str = Field(min_length=1, max_length=MAX_REASON)
    reverses: bool = Field(False, description="It takes the place of a rejection.")


class DisputeShown(Shown):
    """A dispute as its creator and admins see it."""

    id: int
    generation: int
    kind: Kind
    state: State
    reason: str = Field(description="Of the verdict; `blank`, `duplicate` or `wrong_size` where it was clear by rule.")
    amount: Credits | None = Field(description="What went back, was given as goodwill, or is taken back.")
    proposed: State | None = Field(description="A verdict that another admin has to confirm; for admins alone.")
    taken_by: int | None = Field(description="The admin who works on it; for admins alone.")
    taken_until: When | None
    created_at: When
    decided_at: When | None


@router.post(
    "/disputes", status_code=201, response_model=DisputeShown, responses=refusals(400, 401, 403, 404, 409, 413, 415, 422),
    summary="Open a dispute",
)  # fmt: skip
async def open_dispute(request: Request, asked: DisputeAsked, caller: Opener, key: IdempotencyKey = None) -> Response:
    """About a delivered picture of one's own, once, until what it earned is released. What is clear is refunded within seconds."""
    app = core_of(request)

    async def act() -> Answer:
        made = await app.run(lambda work: work.disputes.open(asked.generation, caller.user, asked.kind, app.settings.rejected_disputes))
        return Answer(201, _shown(made).model_dump_json().encode(), {"Location": f"/disputes/{made.id}"})

    done, replayed = await once(request, app, caller.user.id, key, asked.model_dump(mode="json"), act)
    return done.response(replayed=replayed)


@router.get("/disputes", response_model=Page[DisputeShown], responses=refusals(400, 401, 403, 422), summary="My disputes")
async def list_disputes(request: Request, caller: Opener, limit: Limit = 20, cursor: Cursor = None) -> Page[DisputeShown]:
    """The newest first."""
    app = core_of(request)
    pager = Pager(request, app, caller.user.id, limit)
    place = pager.place(cursor)
    async with app.read() as work:
        found = await work.disputes.of_user(caller.user.id, limit + 1, place[0] if place else None)
    return pager.page(found, lambda each: (each.id,), _shown)


@router.get("/disputes/{number}", response_model=DisputeShown, responses=refusals(401, 403, 404, 422), summary="One dispute")
async def read_dispute(request: Request, number: Number, caller: Opener) -> DisputeShown:
    """As it stands."""
    async with core_of(request).read() as work:
        return _shown(await work.disputes.get(number, caller.user.id))


@router.get("/admin/disputes", response_model=Page[DisputeShown], responses=refusals(400, 401, 403, 422), summary="Open disputes")
async def list_open(
    request: Request, caller: Admin, limit: Annotated[int, Query(ge=1, le=100)] = 20, after: Annotated[int, Query(ge=0, le=MAX_ID)] = 0
) -> Page[DisputeShown]:
    """The oldest first; the next page is asked for with the last one's number as `after`."""
    async with core_of(request).read() as work:
        found = await work.disputes.waiting(limit + 1, after)
    more = f"/admin/disputes?limit={limit}&after={found[limit - 1].id}" if len(found) > limit else None
    return Page(data=[_shown(each, admin=True) for each in found[:limit]], next=more)


@router.post(
    "/admin/disputes/{number}/resolve", response_model=DisputeShown, responses=refusals(400, 401, 403, 404, 409, 413, 415, 422),
    summary="Decide a dispute",
)  # fmt: skip
async def resolve_dispute(request: Request, number: Number, asked: ResolveAsked, caller: Admin, key: IdempotencyKey = None) -> Response:
    """Both sides are told, with the reason. Nobody decides about their own.

    What moves more than one admin may is `proposed`, and counts once another admin sends the same verdict. `take_back`, of another admin
    than the one who decided and within 30 days, undoes a refund, a part or goodwill where the Credits are still there.
    """
    app = core_of(request)
    amount = parse_credits(asked.amount) if asked.amount else 0
    alone = app.settings.verdict_confirm_above * CREDIT

    async def act() -> Answer:
        decided = await app.run(
            lambda work: work.disputes.decide(
                number, caller.user, VERDICTS[asked.verdict], asked.reason, alone=alone, amount=amount, reverses=asked.reverses
            )
        )
        return Answer(200, _shown(decided, admin=True).model_dump_json().encode())

    done, replayed = await once(request, app, caller.user.id, key, asked.model_dump(), act)
    return done.response(replayed=replayed)


@router.post(
    "/admin/disputes/{number}/take", response_model=DisputeShown, responses=refusals(400, 401, 403, 404, 409, 422),
    summary="Take a dispute",
)  # fmt: skip
async def take_dispute(request: Request, number: Number, caller: Admin, key: IdempotencyKey = None) -> Response:
    """For 30 minutes no other admin decides about it; once more takes it for longer. A verdict gives it back."""
    app = core_of(request)

    async def act() -> Answer:
        taken = await app.run(lambda work: work.disputes.take(number, caller.user))
        return Answer(200, _shown(taken, admin=True).model_dump_json().encode())

    done, replayed = await once(request, app, caller.user.id, key, {}, act)
    return done.response(replayed=replayed)


def _shown(dispute: Dispute, *, admin: bool = False) -> DisputeShown:
    return DisputeShown(
        id=dispute.id, generation=dispute.generation_id, kind=dispute.kind, state=dispute.state, reason=dispute.reason,
        amount=None if dispute.amount is None else format_credits(dispute.amount), proposed=dispute.proposed if admin else None,
        taken_by=dispute.taken_by if admin else None, taken_until=moment_or_none(dispute.taken_until) if admin else None,
        created_at=moment(dispute.created_at),
        decided_at=moment_or_none(dispute.decided_at),
    )  # fmt: skip
