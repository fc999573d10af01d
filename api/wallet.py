"""A user's Credits: what there is, and how it came to be."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field

from api.caller import Caller, allowed
from api.pages import Cursor, Limit, Page, Pager
from api.shown import Credits, Shown, When, core_of, moment, refusals
from core.ledger.models import earnings, held_account, pending, wallet
from core.ledger.statement import Line, statement
from core.money import format_credits

router = APIRouter(tags=["wallet"])

Reader = Annotated[Caller, Depends(allowed("wallet:read"))]
AccountName = Literal["wallet", "held", "pending", "earnings"]


class WalletShown(Shown):
    """A user's accounts."""

    balance: Credits = Field(description="To spend.")
    held: Credits = Field(description="Set aside for generations that wait or run.")
    pending: Credits = Field(description="Earned, and not released yet.")
    earnings: Credits = Field(description="Earned and released: to spend too.")


class Transaction(Shown):
    """One movement on one account."""

    id: str = Field(description="Its place in the ledger.", examples=["41-0"])
    at: When
    kind: str = Field(examples=["hold"])
    amount: Credits = Field(description="Onto the account, or with a minus sign off it.")
    balance_after: Credits
    reference: str = Field(description="The movement's business key; it never happens twice.", examples=["capture:17"])


@router.get("/wallet", response_model=WalletShown, responses=refusals(401, 403), summary="Balances")
async def show_wallet(request: Request, caller: Reader) -> WalletShown:
    """What the caller has."""
    names = _accounts(caller.user.id)
    async with core_of(request).read() as work:
        balances = await work.ledger.balances(names.values())
    shown = {name: format_credits(balances[account]) for name, account in names.items()}
    return WalletShown(balance=shown["wallet"], held=shown["held"], pending=shown["pending"], earnings=shown["earnings"])


@router.get(
    "/wallet/transactions", response_model=Page[Transaction], responses=refusals(400, 401, 403, 422), summary="Statement of an account"
)
async def list_transactions(
    request: Request,
    caller: Reader,
    account: Annotated[AccountName, Query(description="Which of the accounts.")] = "wallet",
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Page[Transaction]:
    """Every movement, the newest first, each with the balance after it."""
    return await page_of(request, caller, _accounts(caller.user.id)[account], limit, cursor)


async def page_of(request: Request, caller: Caller, account: str, limit: int, cursor: str | None) -> Page[Transaction]:
    """A page of an account's statement, for a caller who may read it."""
    app = core_of(request)
    pager = Pager(request, app, caller.user.id, limit)
    place = pager.place(cursor)
    async with app.read() as work:
        before = (place[0], place[1]) if place else None
        lines = await statement(work.connection, account, limit + 1, before)
    return pager.page(lines, lambda line: (line.entry, line.position), _shown)


def _accounts(user_id: int) -> dict[AccountName, str]:
    mine = wallet(user_id)
    return {"wallet": mine, "held": held_account(mine), "pending": pending(user_id), "earnings": earnings(user_id)}


def _shown(line: Line) -> Transaction:
    return Transaction(
        id=f"{line.entry}-{line.position}",
        at=moment(line.at),
        kind=line.kind,
        amount=format_credits(line.amount),
        balance_after=format_credits(line.balance_after),
        reference=line.key,
    )
