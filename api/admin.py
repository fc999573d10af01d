"""For programs of the operator: users, movements and figures, by an admin's token with the scope `admin`."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import Field

from api.caller import Caller, allowed
from api.pages import Cursor, Limit, Page, Pager
from api.shown import MAX_ID, Credits, Shown, When, core_of, moment, refusals
from api.wallet import Transaction, page_of
from core.db import DAY
from core.ledger.models import MAX_ADDRESS
from core.money import format_credits
from core.oversight.models import Figures
from core.users.models import Role

router = APIRouter(prefix="/admin", tags=["admin"])
Admin = Annotated[Caller, Depends(allowed("admin"))]
PERIODS = {"day": DAY, "week": 7 * DAY, "month": 30 * DAY}


class UserShown(Shown):
    """A user as admins see them."""

    id: int
    name: str
    roles: list[str]
    frozen: bool
    identities: list[str] = Field(examples=[["telegram:1001"]])
    balances: dict[str, Credits]
    generations: list[int] = Field(description="The newest.")
    payments: list[int] = Field(description="The newest.")
    lent: int = Field(description="Keys that are listed.")


class StatisticsShown(Shown):
    """The market's figures in a stretch of time."""

    delivered: int
    failed: int
    waiting: int = Field(description="Waiting or running now.")
    p50_seconds: float | None
    p95_seconds: float | None
    sold: Credits
    commission: Credits
    held: Credits = Field(description="Now.")
    owed: Credits = Field(description="To people, now.")


class MovementShown(Shown):
    """One leg of one movement of the ledger."""

    id: str = Field(description="Its place in the ledger.", examples=["41-0"])
    at: When
    kind: str = Field(examples=["hold"])
    account: str = Field(examples=["user:7:wallet"])
    amount: Credits = Field(description="Onto the account, or with a minus sign off it.")
    balance_after: Credits | None = Field(description="null on accounts that may go below zero.")
    reference: str = Field(description="The movement's business key; it never happens twice.", examples=["capture:17"])


@router.get("/users", response_model=UserShown, responses=refusals(401, 403, 404, 422), summary="One user")
async def find_user(request: Request, caller: Admin, who: Annotated[str, Query(min_length=1, max_length=64)]) -> UserShown:
    """By number, `platform:id`, e-mail address or name."""
    async with core_of(request).read() as work:
        found = await work.oversight.dossier((await work.oversight.look_up(who)).id)
    user = found.user
    return UserShown(
        id=user.id, name=user.name, roles=[(role.name or "").lower() for role in Role if role in user.roles], frozen=user.frozen,
        identities=[f"{platform}:{id_}" for platform, id_ in found.identities], lent=found.lent,
        balances={name: format_credits(value) for name, value in found.balances.items()},
        generations=[each.id for each in found.made], payments=[each.id for each in found.paid],
    )  # fmt: skip


@router.get(
    "/users/{number}/transactions", response_model=Page[Transaction], responses=refusals(400, 401, 403, 404, 422),
    summary="A user's statement",
)  # fmt: skip
async def list_user_transactions(
    request: Request,
    caller: Admin,
    number: Annotated[int, Path(ge=1, le=MAX_ID)],
    account: Literal["wallet", "held", "pending", "earnings", "debt"] = "wallet",
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Page[Transaction]:
    """Every movement on one of their accounts, the newest first."""
    async with core_of(request).read() as work:
        await work.users.get(number)
    return await page_of(request, caller, f"user:{number}:{account}", limit, cursor)


@router.get(
    "/transactions", response_model=Page[MovementShown], responses=refusals(400, 401, 403, 422), summary="Movements of all accounts"
)
async def list_movements(
    request: Request,
    caller: Admin,
    account: Annotated[str | None, Query(min_length=1, max_length=MAX_ADDRESS, description="Of this one alone.")] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Page[MovementShown]:
    """Every leg of every movement, the newest first."""
    app = core_of(request)
    pager = Pager(request, app, caller.user.id, limit)
    place = pager.place(cursor)
    async with app.read() as work:
        found = await work.records.movements(limit + 1, account, (place[0], place[1]) if place else None)
    return pager.page(found, lambda row: (row["entry_id"], row["position"]), _movement)


@router.get("/statistics", response_model=StatisticsShown, responses=refusals(401, 403, 422), summary="Figures")
async def show_statistics(request: Request, caller: Admin, period: Literal["day", "week", "month"] = "day") -> StatisticsShown:
    """Of the last day, week or month."""
    async with core_of(request).read() as work:
        found: Figures = await work.oversight.figures(work.now - PERIODS[period])
    return StatisticsShown(
        delivered=found.delivered, failed=found.failed, waiting=found.waiting, p50_seconds=found.p50, p95_seconds=found.p95,
        sold=format_credits(found.sold), commission=format_credits(found.commission), held=format_credits(found.held),
        owed=format_credits(found.owed),
    )  # fmt: skip


def _movement(row: dict[str, Any]) -> MovementShown:
    after = row["balance_after"]
    return MovementShown(
        id=row["pk"], at=moment(row["at"]), kind=row["kind"], account=row["account"], amount=format_credits(row["amount"]),
        balance_after=None if after is None else format_credits(after), reference=row["reference"],
    )  # fmt: skip
