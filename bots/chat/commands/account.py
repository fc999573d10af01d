"""Welcome, help, language, and what the platforms require: terms and privacy."""

from bots.chat.registry import REGISTRY, Context, action, command
from bots.chat.types import Button, Option, Reply
from core.access.rules import new_code
from core.app import EXPORT
from core.ledger.models import earnings, pending, wallet
from core.words import LOCALES, Amount, Text

TOPICS = ("create", "lend", "credits")
ORDER = (
    ("imagine", "preset", "cancel", "history", "dispute"),
    ("balance", "topup", "paysupport"),
    ("pool",),
    ("lend", "resources", "earnings", "payout"),
    ("start", "help", "language", "link", "terms", "privacy"),
    ("user", "grant", "ban", "unban", "disputes", "payouts", "resource", "rescue", "maintenance", "stats", "audit"),
)
"""The commands as a newcomer needs them: pictures, Credits, sharing, lending, oneself; then those of admins."""
EXPORT_SECONDS = 15 * 60
"""How long a link to one's data is good."""


@command("start", always=True)
async def on_start(context: Context) -> Reply:
    """Welcome by role."""
    balances = await context.work.ledger.balances([f"user:{context.user.id}:wallet"])
    known = any(balances.values())
    rows: tuple[tuple[Button, ...], ...] = (
        (Button(Text("button.help.create"), "help create", style="primary"), Button(Text("button.help.lend"), "help lend")),
        (Button(Text("button.balance"), "balance"), Button(Text("button.language"), "language")),
    )
    wallet_page = f"{context.app.settings.public_url.rstrip('/')}/app"
    if context.event.place.private and wallet_page.startswith("https://"):  # Telegram opens nothing else
        rows += ((Button(Text("button.wallet"), url=wallet_page, app=True),),)
    return Reply(Text("start.back" if known else "start.new", {"name": context.user.name}), rows=rows)


@command("help", Option("topic", choices=TOPICS), always=True)
@action("help", always=True)
async def on_help(context: Context) -> Reply:
    """Help by topic; without one every command, by topic in lines."""
    topic = context.event.options.get("topic") or next(iter(context.words), "")
    rows = (tuple(Button(Text(f"button.help.{each}"), f"help {each}") for each in TOPICS),)
    if topic in TOPICS:
        return Reply(Text(f"help.{topic}", _help_facts(context)), rows=rows)
    lines = [" ".join(f"/{name}" for name in group if _may(context, name)) for group in ORDER]
    return Reply(Text("help.all", {"commands": "\n".join(filter(None, lines))}), rows=rows)


def _may(context: Context, name: str) -> bool:
    spec = REGISTRY.commands[name].spec
    return spec is not None and (context.user.is_admin or not spec.admin)


def _help_facts(context: Context) -> dict[str, object]:
    sale = [each for each in context.app.catalog.sale(context.app.today()).values() if "generate" in each.operations]
    hours = context.app.settings.earnings_hold_hours
    return {"models": [each.id for each in sale], "percent": context.app.settings.miner_percent, "hours": hours}


@command("language", Option("language", choices=LOCALES), always=True)
@action("language", always=True)
async def on_language(context: Context) -> Reply:
    """Shows or changes the language."""
    wanted = context.event.options.get("language") or next(iter(context.words), "")
    if wanted in LOCALES:
        await context.work.users.set_locale(context.user.id, wanted)
        return Reply(Text("language.changed"), private=True)
    rows = ((Button(Text("language.en"), "language en"), Button(Text("language.zh"), "language zh")),)
    return Reply(Text("language.ask"), rows=rows, private=True)


@command("terms", always=True)
async def on_terms(context: Context) -> Reply:
    """The terms in short."""
    return Reply(Text("terms", {"hours": context.app.settings.earnings_hold_hours}))


@command("privacy", always=True)
async def on_privacy(context: Context) -> Reply:
    """What is kept of a person, and why; to get it, and to be erased."""
    rows = ((Button(Text("button.export"), "export"), Button(Text("button.erase"), "erase", style="danger")),)
    return Reply(Text("privacy"), rows=rows)


@action("export", always=True)
async def on_export(context: Context) -> Reply:
    """A link to all that is kept, for the asker alone and for some minutes."""
    token = new_code()
    await context.app.hints.remember(f"{EXPORT}:{token}", str(context.user.id), EXPORT_SECONDS)
    url = f"{context.app.settings.public_url.rstrip('/')}/exports/{token}"
    rows = ((Button(Text("button.export"), url=url),),) if url.startswith("https://") else ()
    return Reply(Text("export", {"url": url, "minutes": EXPORT_SECONDS // 60}), rows=rows, private=True)


@action("erase")
async def on_erase(context: Context) -> Reply:
    """Takes the person out, once they have said so twice. Raises AdminApart, InDebt, NotYet."""
    if context.words[:1] != ("yes",):
        names = {"wallet": wallet(context.user.id), "earnings": earnings(context.user.id), "pending": pending(context.user.id)}
        balances = await context.work.ledger.balances(names.values())
        yes = Button(Text("button.erase_yes"), "erase yes", style="danger")
        return Reply(Text("erase.sure", {"left": Amount(sum(balances.values()))}), rows=((yes,),), private=True)
    await context.work.leaving.erase(context.user)
    return Reply(Text("erase.done"), private=True)
