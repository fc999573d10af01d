"""/earnings: what is spendable, what is pending and until when, what failed tries have cost; a chart of two weeks follows."""

from datetime import UTC, datetime

from bots.chat.chart import GOOD, WAITS, Chart, follow
from bots.chat.registry import Context, action, command
from bots.chat.types import Button, Reply
from core.db import DAY, SECOND
from core.generations.digest import DIGEST_HOUR
from core.generations.earn import Loss, due_by_day, earned_by_day, losses
from core.ledger.models import earnings, pending
from core.money import CREDIT, format_dollars
from core.words import Amount, Text

DAYS = 14
"""Of the chart."""
LINES = 5
"""Days of release that are named; what is due later is one sum."""


@command("earnings", private=True, always=True)
@action("earnings", always=True)
async def on_earnings(context: Context) -> Reply:
    """A miner's or an author's income."""
    mine, connection = context.user.id, context.work.connection
    balances = await context.work.ledger.balances([pending(mine), earnings(mine)])
    waits = balances[pending(mine)]
    due = (await due_by_day(connection, mine))[:LINES] if waits else []
    later = waits - sum(each.amount for each in due)
    facts = {
        "pending": Amount(waits),
        "earnings": Amount(balances[earnings(mine)]),
        "hours": context.app.settings.earnings_hold_hours,
        "due": [Text("earnings.due", {"at": _time(each.at), "amount": Amount(each.amount)}) for each in due],
        "later": Text("earnings.later", {"amount": Amount(later)}) if later > 0 else "",
        "causes": [_cause(each) for each in await losses(connection, mine)],
        **await context.work.generations.tries_of_owner(mine),
    }
    await _chart(context)
    wanted = "off" if await context.work.users.wants_digest(mine) else "on"
    rows = ((Button(Text("button.payout"), "payout"), Button(Text(f"button.digest_{wanted}"), f"digest {wanted}")),)
    return Reply(Text("earnings", facts), rows=rows, private=True)


@action("digest", always=True)
async def on_digest(context: Context) -> Reply:
    """Switches the daily message off, or on again."""
    wanted = context.words[:1] == ("on",)
    await context.work.users.set_digest(context.user.id, wanted)
    return Reply(Text("digest.on" if wanted else "digest.off", {"hour": DIGEST_HOUR}), private=True)


async def _chart(context: Context) -> None:
    """A picture of the last days, as the next message; none where nothing was earned."""
    first = context.work.now - context.work.now % DAY - (DAYS - 1) * DAY
    found = {each.day: each for each in await earned_by_day(context.work.connection, context.user.id, first)}
    if not found:
        return
    bars = []
    for number in range(DAYS):
        each = found.get(first + number * DAY)
        bars.append((max(0, each.amount - each.pending), max(0, each.pending)) if each else (0, 0))
    names = (Text("earnings.spendable"), Text("earnings.pending"))
    chart = Chart(Text("earnings.drawn", {"days": DAYS}), names, (GOOD, WAITS), bars, first, first + DAYS * DAY, CREDIT)
    await follow(context, "earnings", chart)


def _cause(loss: Loss) -> Text:
    fault = Text(f"fault.{loss.fault or 'timeout'}")
    return Text("earnings.cause", {"n": loss.count, "fault": fault, "cost": format_dollars(loss.cost)})


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / SECOND, UTC).strftime("%Y-%m-%d %H:%M")
