"""Balance, history and earnings. Always for the asker alone."""

from datetime import UTC, datetime

from bots.chat.registry import Context, action, command
from bots.chat.types import Button, Reply
from core.db import SECOND
from core.generations.pages import page
from core.ledger.models import earnings, held_account, pending, wallet
from core.ledger.statement import statement
from core.money import format_credits, format_price
from core.receipts import LINK_SECONDS, receipt_link
from core.words import Amount, Text

PAGE = 8
"""Lines of one page."""
RECEIPTS = 5
"""Payments whose receipts are offered at once."""
MOVEMENTS = frozenset(
    {"hold", "capture", "release", "expire", "topup", "grant", "refund", "refund_failed", "chargeback", "chargeback_won"}
    | {"debt", "joined", "verdict", "goodwill", "taken_back", "contribute", "from_pool", "allowance"}
)
"""Kinds of entries that have words of their own."""
BOOKS = (Button(Text("button.statement"), "statement"), Button(Text("button.receipts"), "receipts"))


@command("balance", private=True, always=True)
@action("balance", always=True)
async def on_balance(context: Context) -> Reply:
    """What there is to spend, what is held, and what is earned."""
    mine = context.user.id
    names = {"wallet": wallet(mine), "held": held_account(wallet(mine)), "pending": pending(mine), "earnings": earnings(mine)}
    balances = await context.work.ledger.balances(names.values())
    facts = {name: Amount(balances[account]) for name, account in names.items()}
    buttons = (Button(Text("button.topup"), "topup", style="primary"), Button(Text("button.history"), "history"))
    return Reply(Text("balance", facts), rows=(buttons,), private=True)


@command("history", private=True, always=True)
@action("history", always=True)
async def on_history(context: Context) -> Reply:
    """The newest generations with what they cost; or, from a button, those before a number."""
    before = context.number() if context.event.action else 0
    found = await page(context.work.connection, context.user.id, PAGE + 1, before or None)
    if not found and not before:
        return Reply(Text("history.empty"), rows=(BOOKS,), private=True)
    lines = [
        Text("history.line", {
            "id": each.id, "state": Text(f"state.{each.state}"), "paid": Amount(each.paid), "model": each.model,
            "prompt": each.prompt[:60] or "—",
        })
        for each in found[:PAGE]
    ]  # fmt: skip
    older = f"history {found[PAGE - 1].id}" if len(found) > PAGE else ""
    rows = (*_turn("history" if before else "", older), BOOKS)
    return Reply(Text("history", {"lines": lines, "n": len(lines)}), rows=rows, private=True, edit=bool(context.event.action))


@action("statement", always=True)
async def on_statement(context: Context) -> Reply:
    """The wallet's movements, the newest first, each with the balance after it; or those before a place."""
    place = (context.number(), context.number(1)) if context.words else None
    found = await statement(context.work.connection, wallet(context.user.id), PAGE + 1, place)
    lines = [
        Text("statement.line", {
            "at": datetime.fromtimestamp(each.at / SECOND, UTC).strftime("%Y-%m-%d %H:%M"),
            "what": Text(f"movement.{each.movement if each.movement in MOVEMENTS else 'other'}"),
            "amount": ("+" if each.amount > 0 else "") + format_credits(each.amount), "after": Amount(each.balance_after),
        })
        for each in found[:PAGE]
    ]  # fmt: skip
    last = found[PAGE - 1] if len(found) > PAGE else None
    rows = _turn("statement" if place else "", f"statement {last.entry} {last.position}" if last else "")
    text = Text("statement", {"lines": lines}) if lines else Text("statement.empty")
    return Reply(text, rows=(*rows, (Button(Text("button.history"), "history"),)), private=True, edit=True)


@action("receipts", always=True)
async def on_receipts(context: Context) -> Reply:
    """The newest paid payments, each with a link to its receipt that ends by itself; for the asker alone."""
    found = [each for each in await context.work.payments.newest(context.user.id) if each.paid_at is not None][:RECEIPTS]
    links = {each.id: receipt_link(context.app, each) for each in found}
    buttons = all(url.startswith("https://") for url in links.values())  # no platform has buttons that lead elsewhere
    lines = [
        Text("receipts.line" if buttons else "receipts.line.link", {
            "at": datetime.fromtimestamp((each.paid_at or 0) / SECOND, UTC).strftime("%Y-%m-%d"), "id": each.id,
            "price": format_price(each.amount, each.currency), "credits": Amount(each.credits), "url": links[each.id],
        })
        for each in found
    ]  # fmt: skip
    opens = tuple((Button(Text("button.receipt", {"id": each.id}), url=links[each.id]),) for each in found) if buttons else ()
    text = Text("receipts", {"lines": lines, "minutes": LINK_SECONDS // 60}) if lines else Text("receipts.empty")
    return Reply(text, rows=(*opens, (Button(Text("button.history"), "history"),)), private=True, edit=True)


def _turn(newest: str, older: str) -> tuple[tuple[Button, ...], ...]:
    """A row of buttons to turn pages by; none when there is one page."""
    row = [Button(Text("button.newest"), newest)] if newest else []
    row += [Button(Text("button.older"), older)] if older else []
    return (tuple(row),) if row else ()
