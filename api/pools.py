"""Pools over HTTP: those that the caller may see, and giving to one. Who may spend one here, and why, is in docs/decisions/0008."""

import secrets
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import Field

from api.caller import Caller, SignedIn, allowed
from api.idempotency import Answer, IdempotencyKey, business_key, once
from api.language import WORDS, language_of
from api.pages import Cursor, Limit, Page, Pager
from api.problems import Problem
from api.shown import MAX_ID, Asked, Credits, Shown, core_of, refusals
from core.access.errors import TokenBound
from core.app import App
from core.generations.admit import Membership, memberships
from core.moderation import Audience
from core.money import format_credits, parse_credits
from core.pools.errors import PoolClosed, PoolNotFound
from core.pools.models import Policy
from core.unit_of_work import UnitOfWork
from core.words import Text

router = APIRouter(tags=["pools"])

Reader = Annotated[Caller, Depends(allowed("generate"))]
Number = Annotated[int, Path(ge=1, le=MAX_ID, description="A pool's number.")]


class PoolRules(Shown):
    """What a pool pays for. A cap that is null is none."""

    request_cap: Credits | None
    member_cap: Credits | None = Field(description="Of one member and day (UTC).")
    day_cap: Credits | None = Field(description="Of all together in a day (UTC).")
    models: list[str] = Field(description="Empty: all on sale.")
    quiet: str | None = Field(description="Hours (UTC) in which it pays nothing.", examples=["22-7"])
    spenders: str = Field(examples=["list"])
    strict: bool = Field(description="Further topics are not drawn.")


class PoolShown(Shown):
    """A pool. What only members of its group see is null for whoever is not on the list of its admins."""

    id: int
    name: str
    balance: Credits
    given: Credits = Field(description="By the caller.")
    listed: bool = Field(description="The pool's admins have the caller on their list of who may spend.")
    pays: bool = Field(description="It pays for the caller over HTTP, within its rules.")
    why_not: str | None = Field(
        description="`remote`: the rule is not the list, or the caller is not on it; `unseen`: not seen in the group for 30 days; `off`.",
        examples=["remote"],
    )
    rules: PoolRules | None
    today: Credits | None = Field(description="Spent today (UTC) by all, held ones included.")
    mine: Credits = Field(description="Spent today by the caller.")


class ContributionAsked(Asked):
    """How much of the wallet is given, for good."""

    amount: str = Field(pattern=r"^\d{1,9}(\.\d{1,3})?$", examples=["10"])


@router.get("/pools", response_model=Page[PoolShown], responses=refusals(400, 401, 403, 422), summary="My pools")
async def list_pools(request: Request, caller: Reader, limit: Limit = 20, cursor: Cursor = None) -> Page[PoolShown]:
    """Those whose admins have the caller on their list, and those that the caller gave to; the newest first."""
    app = core_of(request)
    pager = Pager(request, app, caller.user.id, limit)
    place = pager.place(cursor)
    async with app.read() as work:
        found = await memberships(work.connection, work.now, caller.user.id, limit + 1, place[0] if place else None)
    return pager.page(found, lambda each: (each.community.id,), _shown)


@router.get("/pools/{number}", response_model=PoolShown, responses=refusals(401, 403, 404, 422), summary="One pool")
async def read_pool(request: Request, number: Number, caller: Reader) -> PoolShown:
    """As it is now."""
    async with core_of(request).read() as work:
        return _shown(await _find(work, caller.user.id, number))


@router.post(
    "/pools/{number}/contributions", status_code=201, response_model=PoolShown,
    responses=refusals(400, 401, 402, 403, 404, 409, 413, 415, 422), summary="Give Credits to a pool",
)  # fmt: skip
async def contribute(request: Request, number: Number, asked: ContributionAsked, caller: SignedIn, key: IdempotencyKey = None) -> Response:
    """They come off the wallet, for good. Needs a session: what is given is within no token's spending cap."""
    app = core_of(request)
    name = business_key(caller.user.id, key or secrets.token_hex(16))

    async def give(work: UnitOfWork) -> PoolShown:
        found = await _find(work, caller.user.id, number)
        await work.pools.contribute(found.community, caller.user, parse_credits(asked.amount), name)
        return _shown(await _find(work, caller.user.id, number))

    async def act() -> Answer:
        if parse_credits(asked.amount) <= 0:
            message = WORDS.plain(Text("invalid.low", {"limit": "0.001", "expected": ""}), language_of(request))
            raise Problem("invalid_request", errors=[{"pointer": "#/amount", "message": message}])
        return Answer(201, (await app.run(give)).model_dump_json().encode(), {"Location": f"/pools/{number}"})

    done, replayed = await once(request, app, caller.user.id, key, asked.model_dump(), act)
    return done.response(replayed=replayed)


def payer_of(caller: Caller, pool: int | None) -> int | None:
    """The pool that pays for what the caller orders: the one that their token is bound to, else the one that they name; None: they do.

    Whether it does pay is decided by its rules, each time. Raises TokenBound for another pool than the token's.
    """
    if caller.pool is not None and pool not in (None, caller.pool):
        raise TokenBound(pool=caller.pool)
    return pool if caller.pool is None else caller.pool


async def audience_of(app: App, user_id: int, pool: int | None) -> Audience:
    """Who sees a picture that the asker, or a pool, pays for: the asker alone, by the topics of the pool's community.

    Raises PoolClosed for a pool that does not pay for them over HTTP; whether there is such a pool is told to nobody else. What counts is
    looked at once more while the order is taken.
    """
    if pool is None:
        return Audience()
    async with app.read() as work:
        found = await memberships(work.connection, work.now, user_id, 1, only=pool)
    if not found:
        raise PoolClosed(why="remote", order="")
    if found[0].closed is not None:
        raise found[0].closed
    return Audience(strict=found[0].community.strict)


async def _find(work: UnitOfWork, user_id: int, number: int) -> Membership:
    found = await memberships(work.connection, work.now, user_id, 1, only=number)
    if not found:
        raise PoolNotFound()
    return found[0]


def _shown(found: Membership) -> PoolShown:
    community = found.community
    return PoolShown(
        id=community.id, name=community.name, balance=format_credits(found.balance), given=format_credits(found.given),
        listed=found.listed, pays=found.closed is None, why_not=None if found.closed is None else str(found.closed.facts["why"]),
        rules=_rules(community.policy, strict=community.strict) if found.listed else None,
        today=format_credits(found.today) if found.listed else None, mine=format_credits(found.mine),
    )  # fmt: skip


def _rules(policy: Policy, *, strict: bool) -> PoolRules:
    caps = (None if cap is None else format_credits(cap) for cap in (policy.request_cap, policy.member_cap, policy.day_cap))
    request_cap, member_cap, day_cap = caps
    quiet = f"{policy.quiet[0]}-{policy.quiet[1]}" if policy.quiet else None
    return PoolRules(
        request_cap=request_cap, member_cap=member_cap, day_cap=day_cap, models=sorted(policy.models), quiet=quiet,
        spenders=policy.spenders, strict=strict,
    )  # fmt: skip
