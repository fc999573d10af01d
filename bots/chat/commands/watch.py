"""/resource, /maintenance: what admins see of a key and of the market, and stop. Each act with a reason."""

from datetime import UTC, datetime

from bots.chat.commands.admin import reason_field
from bots.chat.registry import Answered, Context, action, command, number_of
from bots.chat.types import Button, Form, Option, Reply
from core.app import PROBES
from core.money import format_dollars
from core.oversight.models import Closing, File, Try
from core.resources.errors import ResourceNotFound
from core.resources.models import State, Stop
from core.words import Amount, Text


@command("resource", Option("number", "integer", required=True, minimum=1), private=True, admin=True)
async def on_inspect_command(context: Context) -> Reply:
    """One resource as a whole, by its number."""
    text = (context.event.options.get("number") or context.event.argument).strip().removeprefix("#")
    try:
        return _card(context, await context.work.controls.file(number_of(text)))
    except ResourceNotFound:
        return Reply(Text("inspect.none", {"number": text[:16] or "—"}), private=True)


@action("inspect", admin=True)
async def on_inspect(context: Context) -> Reply:
    """One resource as a whole."""
    return _card(context, await context.work.controls.file(context.number()))


@action("look_again", admin=True)
async def on_look_again(context: Context) -> Reply:
    """Has its key tried now."""
    found = await context.work.controls.file(context.number())
    await context.work.resources.probe_soon(found.resource.id)
    await context.app.hints.wake(PROBES)
    return Reply(Text("inspect.looking"), toast=True)


@action("stop_resource", admin=True)
async def on_stop(context: Context) -> Reply:
    """Asks why."""
    return _ask(f"stopped_resource {context.number()}", "button.stop_resource")


@action("free_resource", admin=True)
async def on_free(context: Context) -> Reply:
    """Asks why."""
    return _ask(f"freed_resource {context.number()}", "button.free_resource")


@action("stopped_resource", admin=True)
async def on_stopped(context: Context) -> Reply:
    """Pauses it until an admin lifts that. Raises ResourceNotFound, NotAllowedNow, ReasonNeeded."""
    await context.work.controls.stop(context.user, context.number(), context.event.answers.get("reason", ""))
    return _card(context, await context.work.controls.file(context.number()))


@action("freed_resource", admin=True)
async def on_freed(context: Context) -> Reply:
    """Lifts it. Raises ResourceNotFound, NotAllowedNow, ReasonNeeded."""
    await context.work.controls.free(context.user, context.number(), context.event.answers.get("reason", ""))
    return _card(context, await context.work.controls.file(context.number()))


@command("maintenance", Option("wanted", choices=("on", "off")), private=True, admin=True)
async def on_maintenance(context: Context) -> Answered:
    """Whether new work is taken; `on` and `off` ask why."""
    wanted = (context.event.options.get("wanted") or context.event.argument).strip().lower()
    if wanted in ("on", "off"):
        return _ask(f"maintained {wanted}", f"button.maintenance_{wanted}")
    return _standing(await context.work.controls.closing())


@action("maintenance", admin=True)
async def on_maintenance_button(context: Context) -> Reply:
    """Asks why; without a word, how it stands now."""
    if context.words[:1] in (("on",), ("off",)):
        return _ask(f"maintained {context.words[0]}", f"button.maintenance_{context.words[0]}")
    return _standing(await context.work.controls.closing(), edit=True)


@action("maintained", admin=True)
async def on_maintained(context: Context) -> Reply:
    """Nothing new is taken, or again. Raises StandsSo, ReasonNeeded."""
    act = context.work.controls.close if context.words[:1] == ("on",) else context.work.controls.reopen
    return _standing(await act(context.user, context.event.answers.get("reason", "")))


def _ask(action_: str, title: str) -> Reply:
    return Reply(form=Form(action_, Text(title), (reason_field(),)), private=True)


def _standing(found: Closing, *, edit: bool = False) -> Reply:
    facts = {"waiting": found.waiting, "running": found.running, "reason": found.reason}
    wanted = "on" if found.since is None else "off"
    buttons = (
        Button(Text(f"button.maintenance_{wanted}"), f"maintenance {wanted}", style="danger" if wanted == "on" else "primary"),
        Button(Text("button.refresh"), "maintenance"),
    )
    return Reply(Text("maintenance.off" if found.since is None else "maintenance.on", facts), rows=(buttons,), private=True, edit=edit)


def _card(context: Context, found: File) -> Reply:
    resource, limits, number = found.resource, found.resource.limits, found.resource.id
    facts = {
        "id": number,
        "provider": context.app.catalog.providers[resource.provider].name,
        "owner": found.owner.id,
        "name": found.owner.name,
        "state": Text(f"resource.state.{resource.state}"),
        "health": Text(f"health.{resource.health.state}"),
        "why": Text(f"fault.{resource.health.fault}") if resource.health.fault else "",
        "stopped": Text(f"inspect.stopped.{resource.stopped or 'no'}"),
        "in_flight": resource.in_flight,
        "concurrency": limits.max_concurrency,
        "day_used": Amount(limits.day_limit - resource.day_left),
        "day_limit": Amount(limits.day_limit),
        "month_used": Amount(limits.month_limit - resource.month_left),
        "month_limit": Amount(limits.month_limit),
        "balance": Text("balance.unknown") if resource.balance is None else format_dollars(resource.balance),
        "synced": "—" if resource.synced_at is None else f"{datetime.fromtimestamp(resource.synced_at, UTC):%Y-%m-%d %H:%M} UTC",
        "tries": [_try(each) for each in found.tries] or "—",
        "acts": found.acts or "—",
    }
    rows: tuple[tuple[Button, ...], ...] = (
        (Button(Text("button.look_again"), f"look_again {number}"), Button(Text("button.owner"), f"user {found.owner.id}")),
    )
    if resource.state not in (State.WITHDRAWN, State.REVOKED):
        word = "stop_resource" if resource.stopped is Stop.NO else "free_resource"
        rows = ((Button(Text(f"button.{word}"), f"{word} {number}", style="danger"),), *rows)
    return Reply(Text("inspect", facts), rows=rows, private=True)


def _try(each: Try) -> Text:
    outcome = Text(f"outcome.{each.outcome or 'open'}")
    seconds = "—" if each.seconds is None else f"{each.seconds:.1f} s"
    return Text("inspect.try", {"id": each.generation, "outcome": outcome, "seconds": seconds, "reasons": ", ".join(each.reasons) or "—"})
