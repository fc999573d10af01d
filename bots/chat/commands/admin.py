"""/user, /grant, /ban, /unban, /stats, /audit: for the platform's admins, each act with a reason."""

from collections.abc import Sequence

from bots.chat.chart import BAD, GOOD, Chart, follow
from bots.chat.registry import Context, action, command
from bots.chat.types import Button, Field, Form, Option, Reply
from core.acts.models import MAX_REASON
from core.db import DAY
from core.money import CREDIT, parse_credits
from core.oversight.models import Bar, Dossier
from core.users.models import Role
from core.words import Amount, Text

PERIODS = {"day": DAY, "week": 7 * DAY, "month": 30 * DAY}
MAX_WHO = 64


@command("user", Option("who", max_length=MAX_WHO), private=True, admin=True)
@action("user", admin=True)
async def on_user(context: Context) -> Reply:
    """One user as a whole, by number, platform:id, e-mail address or name."""
    found = await context.work.oversight.look_up(_who(context))
    return _card(await context.work.oversight.dossier(found.id))


@command("grant", Option("who", max_length=MAX_WHO), private=True, admin=True)
@action("grant", admin=True)
async def on_grant(context: Context) -> Reply:
    """Asks how much, and why."""
    found = await context.work.oversight.look_up(_who(context))
    amount = Field("amount", Text("field.amount"), max_length=12)
    return Reply(form=Form(f"granted {found.id}", Text("button.grant"), (amount, reason_field())), private=True)


@action("granted", admin=True)
async def on_granted(context: Context) -> Reply:
    """Gives the Credits, once for each sent form. Raises NotOneself, GrantTooLarge, ReasonNeeded."""
    answers, most = context.event.answers, context.app.settings.grant_most * CREDIT
    try:
        amount = parse_credits(answers.get("amount", ""))
    except ValueError:
        amount = 0
    key = f"{context.event.platform}:{context.event.id}"
    await context.work.oversight.grant(context.user, context.number(), amount, answers.get("reason", ""), key, most)
    return _card(await context.work.oversight.dossier(context.number()))


@command("ban", Option("who", max_length=MAX_WHO), private=True, admin=True)
@action("ban", admin=True)
async def on_ban(context: Context) -> Reply:
    """Asks why."""
    return await _ask(context, "banned", "button.ban")


@command("unban", Option("who", max_length=MAX_WHO), private=True, admin=True)
@action("unban", admin=True)
async def on_unban(context: Context) -> Reply:
    """Asks why."""
    return await _ask(context, "unbanned", "button.unban")


@action("banned", admin=True)
async def on_banned(context: Context) -> Reply:
    """Freezes the user. Raises NotOneself, StandsSo, ReasonNeeded."""
    await context.work.oversight.ban(context.user, context.number(), context.event.answers.get("reason", ""))
    return _card(await context.work.oversight.dossier(context.number()))


@action("unbanned", admin=True)
async def on_unbanned(context: Context) -> Reply:
    """Lifts it. Raises NotOneself, StandsSo, ReasonNeeded."""
    await context.work.oversight.unban(context.user, context.number(), context.event.answers.get("reason", ""))
    return _card(await context.work.oversight.dossier(context.number()))


@command("stats", Option("period", choices=tuple(PERIODS)), private=True, admin=True)
async def on_stats(context: Context) -> Reply:
    """The market's figures; a chart of them follows."""
    event = context.event
    period = event.options.get("period") or event.argument.strip() or "day"
    length = PERIODS.get(period, DAY)
    found = await context.work.oversight.figures(context.work.now - length)
    standing = await context.work.controls.closing()
    ended = found.delivered + found.failed
    facts = {
        "period": Text(f"stats.{period if period in PERIODS else 'day'}"), "delivered": found.delivered, "failed": found.failed,
        "rate": f"{100 * found.delivered / ended:.1f}%" if ended else "—", "waiting": found.waiting,
        "p50": "—" if found.p50 is None else f"{found.p50:.1f} s", "p95": "—" if found.p95 is None else f"{found.p95:.1f} s",
        "sold": Amount(found.sold), "held": Amount(found.held), "owed": Amount(found.owed), "commission": Amount(found.commission),
        "maintenance": "" if standing.since is None else Text("stats.maintenance", {"reason": standing.reason}),
    }  # fmt: skip
    await follow(context, "stats", chart_of(found.bars, context.work.now - length, context.work.now))
    return Reply(Text("stats", facts), private=True)


@command("audit", private=True, admin=True, alone=True)
async def on_audit(context: Context) -> Reply:
    """Proves the books now."""
    found = await context.app.audit()
    wrong = [each for each in found.findings if each.breaches]
    lines = [Text("audit.breach", {"name": each.name, "rows": list(each.breaches[:5])}) for each in wrong]
    facts = {"checks": len(found.findings), "entries": found.figures["entries"], "legs": found.figures["legs"], "lines": lines}
    return Reply(Text("audit.breached" if wrong else "audit.clean", facts), private=True)


def chart_of(bars: Sequence[Bar], since: int, until: int) -> Chart:
    """What was delivered and what failed between two moments."""
    delivered, failed = sum(each.delivered for each in bars), sum(each.failed for each in bars)
    title = Text("stats.drawn", {"delivered": f"{delivered:,}", "failed": f"{failed:,}"})
    pairs = [(each.delivered, each.failed) for each in bars]
    return Chart(title, (Text("stats.good"), Text("stats.bad")), (GOOD, BAD), pairs, since, until)


def _who(context: Context) -> str:
    event = context.event
    return (event.options.get("who") or event.argument.strip() or (context.words[0] if event.action and context.words else ""))[:MAX_WHO]


async def _ask(context: Context, word: str, title: str) -> Reply:
    found = await context.work.oversight.look_up(_who(context))
    return Reply(form=Form(f"{word} {found.id}", Text(title), (reason_field(),)), private=True)


def reason_field() -> Field:
    """Why an admin does something."""
    return Field("reason", Text("field.reason"), max_length=MAX_REASON)


def _card(found: Dossier) -> Reply:
    user, number = found.user, found.user.id
    facts = {
        "id": number, "name": user.name, "roles": [(role.name or "").lower() for role in Role if role in user.roles],
        "known": [f"{platform}:{id_}" for platform, id_ in found.identities], "lent": found.lent,
        "strikes": found.strikes,
        "made": [Text("user.made", {"id": each.id, "state": Text(f"state.{each.state}")}) for each in found.made] or "—",
        "paid": [Text("user.paid", {"id": each.id, "state": Text(f"payment.state.{each.state}")}) for each in found.paid] or "—",
        "acts": found.acts or "—",
    } | {name: Amount(value) for name, value in found.balances.items()}  # fmt: skip
    other = ("unban", "button.unban") if user.frozen else ("ban", "button.ban")
    rows = (
        (
            Button(Text("button.grant"), f"grant {number}", style="primary"),
            Button(Text(other[1]), f"{other[0]} {number}", style="danger"),
        ),
    )
    return Reply(Text("user.frozen" if user.frozen else "user.card", facts), rows=rows, private=True)
