"""/lend and /resources: what miners lend. Always for the asker alone."""

from bots.chat.registry import Answered, Context, action, command
from bots.chat.types import Button, Field, Form, Reply
from core.generations.pages import tries_of_resource
from core.money import format_credits, format_dollars
from core.resources.models import MAX_LABEL, Resource, Scope, State
from core.resources.rules import may_lend, show_hours, show_offset
from core.words import Amount, Text

NO_LABEL = "-"
"""What is answered where no label is wanted: an empty message cannot be sent."""
Rows = tuple[tuple[Button, ...], ...]


@command("lend", private=True)
async def on_lend(context: Context) -> Reply:
    """Choose a provider."""
    rules = [rule for rule in context.app.catalog.providers.values() if rule.lending != "refused"]
    rows = tuple((Button(Text("button.provider", {"name": rule.name}), f"lend {rule.id}", style="primary"),) for rule in rules)
    return Reply(Text("lend.choose", {"percent": context.app.settings.miner_percent}), rows=rows, private=True)


@action("lend")
async def on_provider(context: Context) -> Reply:
    """Shows the provider's rule, to be attested."""
    rule = may_lend(context.app.catalog, context.words[0] if context.words else "")
    rows = (
        (Button(Text("button.attest"), f"attest {rule.id} {rule.rule_version}", style="primary"),),
        (Button(Text("button.leave"), "leave"),),
    )
    return Reply(Text(f"lend.rule.{rule.id}", {"version": rule.rule_version, "name": rule.name}), rows=rows, private=True)


@action("leave")
async def on_leave(context: Context) -> Reply:
    """Ends the conversation about lending."""
    return Reply(Text("lend.left"), private=True, edit=True)


@action("attest")
async def on_attest(context: Context) -> Answered:
    """The miner confirmed the rule that was shown; a newer text has to be read first."""
    rule = may_lend(context.app.catalog, context.words[0] if context.words else "")
    if context.words[1:2] != (rule.rule_version,):
        return await on_provider(context)
    resource = await context.work.resources.draft(context.user.id, rule, context.user.locale, context.app.settings.resources_per_miner)
    return await _hand(context, resource)


@action("hand")
async def on_hand(context: Context) -> Reply:
    """A new link for the key."""
    return await _hand(context, await context.work.resources.get(context.number(), context.user.id))


async def _hand(context: Context, resource: Resource) -> Reply:
    minutes = context.app.settings.handover_minutes
    token = await context.work.resources.open_handover(resource.id, minutes)
    url = f"{context.app.settings.public_url.rstrip('/')}/handover/{token}"
    rule = context.app.catalog.providers[resource.provider]
    facts = {"minutes": minutes, "provider": rule.name, "shape": rule.key_shape}
    rows: Rows = ((Button(Text("button.handover"), url=url),),)
    if url.startswith("http://"):  # a chat refuses links that are not public; the address itself can be opened on this machine
        return Reply(Text(f"lend.hand.{context.event.platform}", facts | {"url": url}), private=True)
    return Reply(Text(f"lend.hand.{context.event.platform}", facts | {"url": url}), rows=rows, private=True)


@command("resources", private=True, always=True)
@action("resources", always=True)
async def on_resources(context: Context) -> Reply:
    """What the user lends."""
    found = await context.work.resources.list_of(context.user.id)
    if not found:
        return Reply(Text("resources.none"), private=True)
    rows = tuple(
        (Button(Text("button.one_resource", {"id": each.id, "provider": each.provider, "state": Text(f"resource.state.{each.state}")}),
                f"resource {each.id}"),)
        for each in found[:5]
    )  # fmt: skip
    return Reply(Text("resources", {"n": len(found)}), rows=rows, private=True)


@action("resource", always=True)
async def on_resource(context: Context) -> Reply:
    """One resource with its buttons."""
    return _card(context, await context.work.resources.get(context.number(), context.user.id))


@action("resource_stats", always=True)
async def on_stats(context: Context) -> Reply:
    """How one of theirs does: numbers alone, nothing of what was asked for."""
    resource = await context.work.resources.get(context.number(), context.user.id)
    tries, limits, fault = await tries_of_resource(context.work.connection, resource), resource.limits, resource.health.fault
    facts = {
        "id": resource.id,
        "provider": context.app.catalog.providers[resource.provider].name,
        "label": _label(resource),
        "delivered": tries.delivered,
        "failed": tries.failed,
        "rejected": tries.rejected,
        "lost": tries.lost,
        "success": "—" if tries.success is None else tries.success,
        "p50": "—" if tries.p50 is None else f"{tries.p50:.1f}",
        "p95": "—" if tries.p95 is None else f"{tries.p95:.1f}",
        "earned": Amount(tries.earned),
        "sold": Amount(tries.sold),
        "day_used": Amount(limits.day_limit - resource.day_left),
        "day_limit": Amount(limits.day_limit),
        "month_used": Amount(limits.month_limit - resource.month_left),
        "month_limit": Amount(limits.month_limit),
        "in_flight": resource.in_flight,
        "concurrency": limits.max_concurrency,
        "hours": Text("resource.always") if limits.opens_at == limits.closes_at else show_hours(limits),
        "offset": show_offset(limits),
        "health": Text(f"health.{resource.health.state}"),
        "why": Text("resource.why", {"fault": Text(f"fault.{fault}")}) if fault else "",
    }
    rows = ((Button(Text("button.refresh"), f"resource_stats {resource.id}"), Button(Text("button.resource"), f"resource {resource.id}")),)
    return Reply(Text("resource.stats", facts), rows=rows, private=True)


@action("limits")
async def on_limits(context: Context) -> Reply:
    """Asks for price and limits."""
    resource = await context.work.resources.get(context.number(), context.user.id)
    now = resource.limits
    fields = (
        Field("price_percent", Text("field.price_percent"), "integer", str(now.price_percent), hint=Text("field.price_percent.hint")),
        Field(
            "max_concurrency", Text("field.max_concurrency"), "integer", str(now.max_concurrency), hint=Text("field.max_concurrency.hint")
        ),
        Field("per_minute", Text("field.per_minute"), "integer", str(now.per_minute), hint=Text("field.per_minute.hint")),
        Field("day_limit", Text("field.day_limit"), "text", format_credits(now.day_limit), hint=Text("field.day_limit.hint")),
        Field("hours", Text("field.hours"), "text", show_hours(now), hint=Text("field.hours.hint")),
    )
    return Reply(form=Form(f"set {resource.id}", Text("form.limits"), fields), private=True)


@action("more_limits")
async def on_more_limits(context: Context) -> Reply:
    """Asks for what the first form, of at most five questions, has no room for."""
    resource = await context.work.resources.get(context.number(), context.user.id)
    now = resource.limits
    fields = (
        Field("month_limit", Text("field.month_limit"), "text", format_credits(now.month_limit), hint=Text("field.month_limit.hint")),
        Field("utc_offset", Text("field.utc_offset"), "text", show_offset(now), hint=Text("field.utc_offset.hint")),
        Field("label", Text("field.label"), "text", resource.label or NO_LABEL, max_length=MAX_LABEL, hint=Text("field.label.hint")),
    )
    return Reply(form=Form(f"set {resource.id}", Text("form.more_limits"), fields), private=True)


@action("set")
async def on_set(context: Context) -> Reply:
    """Price and limits as answered. Raises BadLimit."""
    resource = await context.work.resources.get(context.number(), context.user.id)
    answers = {name: "" if name == "label" and text.strip() == NO_LABEL else text for name, text in context.event.answers.items()}
    changed = await context.work.resources.change(resource, answers)
    return _card(context, changed)


@action("scope")
async def on_scope(context: Context) -> Reply:
    """Whose generations it serves."""
    resource = await context.work.resources.get(context.number(), context.user.id)
    wanted = context.words[1] if context.words[1:] and context.words[1] in set(Scope) else Scope.MARKET
    return _card(context, await context.work.resources.change(resource, {"scope": wanted}))


@action("pause", always=True)
async def on_pause(context: Context) -> Reply:
    """No new work; what runs is finished."""
    return await _move(context, State.PAUSED)


@action("resume")
async def on_resume(context: Context) -> Reply:
    """Work again."""
    return await _move(context, State.LISTED)


@action("withdraw", always=True)
async def on_withdraw(context: Context) -> Reply:
    """For good: the key is wiped."""
    return await _end(context, State.WITHDRAWN)


@action("revoke", always=True)
async def on_revoke(context: Context) -> Reply:
    """Panic: the ciphertext is wiped at once; calls that run end by themselves."""
    return await _end(context, State.REVOKED)


async def _move(context: Context, state: State) -> Reply:
    resource = await context.work.resources.get(context.number(), context.user.id)
    await context.work.resources.move(resource, state)
    return _card(context, await context.work.resources.get(resource.id))


async def _end(context: Context, state: State) -> Reply:
    resource = await context.work.resources.get(context.number(), context.user.id)
    if context.words[1:] != ("yes",):
        word = "withdraw" if state is State.WITHDRAWN else "revoke"
        rows = (
            (Button(Text("button.yes"), f"{word} {resource.id} yes", style="danger"), Button(Text("button.no"), f"resource {resource.id}")),
        )
        return Reply(Text(f"resource.sure.{state}", {"id": resource.id}), rows=rows, private=True)
    await context.work.resources.move(resource, state)
    return Reply(Text(f"resource.ended.{state}", {"id": resource.id}), private=True)


def _label(resource: Resource) -> Text | str:
    return Text("resource.label", {"label": resource.label}) if resource.label else ""


def _card(context: Context, resource: Resource) -> Reply:
    limits, number = resource.limits, resource.id
    health = Text(f"health.{resource.health.state}")
    facts = {
        "id": number,
        "provider": context.app.catalog.providers[resource.provider].name,
        "label": _label(resource),
        "state": Text(f"resource.state.{resource.state}"),
        "health": health,
        "percent": limits.price_percent,
        "concurrency": limits.max_concurrency,
        "in_flight": resource.in_flight,
        "per_minute": limits.per_minute,
        "day_left": Amount(resource.day_left),
        "day_limit": Amount(limits.day_limit),
        "delivered": resource.health.delivered,
        "latency": f"{resource.health.latency:.1f}",
        "scope": Text(f"scope.{resource.scope}"),
        "balance": Text("balance.unknown") if resource.balance is None else format_dollars(resource.balance),
    }
    return Reply(Text("resource", facts), rows=_card_rows(resource), private=True)


def _card_rows(resource: Resource) -> Rows:
    number = resource.id
    if resource.state is State.DRAFT:
        return ((Button(Text("button.new_key"), f"hand {number}", style="primary"),),)
    rows: Rows = ((Button(Text("button.set_limits"), f"limits {number}", style="primary"),),) if resource.state is not State.PROBING else ()
    if resource.state in (State.LISTED, State.PAUSED):
        word = "pause" if resource.state is State.LISTED else "resume"
        other = Scope.OWN if resource.scope is Scope.MARKET else Scope.MARKET
        rows += ((Button(Text(f"button.{word}"), f"{word} {number}"), Button(Text(f"button.scope.{other}"), f"scope {number} {other}")),)
        more = Button(Text("button.more_limits"), f"more_limits {number}")
        rows += ((Button(Text("button.resource_stats"), f"resource_stats {number}"), more),)
    ends = (Button(Text("button.withdraw"), f"withdraw {number}"), Button(Text("button.revoke"), f"revoke {number}", style="danger"))
    return (*rows, ends)
