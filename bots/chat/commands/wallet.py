"""Balance, history and earnings. Always for the asker alone."""

from bots.chat.registry import Context, action, command
from bots.chat.types import Button, Reply
from core.ledger.models import earnings, held_account, pending, wallet
from core.words import Amount, Text


@command("balance", private=True)
@action("balance")
async def on_balance(context: Context) -> Reply:
    """What there is to spend, what is held, and what is earned."""
    mine = context.user.id
    names = {"wallet": wallet(mine), "held": held_account(wallet(mine)), "pending": pending(mine), "earnings": earnings(mine)}
    balances = await context.work.ledger.balances(names.values())
    facts = {name: Amount(balances[account]) for name, account in names.items()}
    buttons = (Button(Text("button.topup"), "topup", style="primary"), Button(Text("button.history"), "history"))
    return Reply(Text("balance", facts), rows=(buttons,), private=True)


@command("history", private=True)
@action("history")
async def on_history(context: Context) -> Reply:
    """The newest generations with what they cost."""
    found = await context.work.generations.newest(context.user.id)
    if not found:
        return Reply(Text("history.empty"), private=True)
    lines = [
        Text("history.line", {
            "id": each.id, "state": Text(f"state.{each.state}"), "paid": Amount(each.paid), "model": each.model,
            "prompt": each.prompt[:60] or "—",
        })
        for each in found
    ]  # fmt: skip
    return Reply(Text("history", {"lines": lines, "n": len(lines)}), private=True)


@command("earnings", private=True)
async def on_earnings(context: Context) -> Reply:
    """A miner's income: pending, spendable, and lost by failed tries."""
    mine = context.user.id
    balances = await context.work.ledger.balances([pending(mine), earnings(mine)])
    tries = await context.work.generations.tries_of_owner(mine)
    facts = {
        "pending": Amount(balances[pending(mine)]),
        "earnings": Amount(balances[earnings(mine)]),
        "hours": context.app.settings.earnings_hold_hours,
        **tries,
    }
    return Reply(Text("earnings", facts), private=True)
