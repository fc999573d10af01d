"""/pool: Credits that a group or server shares: show, give, rules, and one pool for several groups by a code."""

import json
from dataclasses import replace

from bots.chat.registry import Context, action, command
from bots.chat.types import Button, Field, Form, Option, Reply
from core.access.rules import new_code
from core.access.service import CODES_PER_HOUR
from core.generations.pages import uses_of
from core.generations.spend import purses_of
from core.joining.errors import TooManyCodes
from core.money import format_credits, parse_credits
from core.pools.errors import CommunityAdminsOnly, PoolNotFound
from core.pools.models import Community, Policy, pool
from core.pools.rules import CAPS, read_policy
from core.words import Amount, Text

GIFTS = ("10", "50", "100")
MAX_CODE = 40
USES = 10
WISH_SECONDS = 15 * 60
"""How long a wish that a pool did not pay for can be paid otherwise by a button."""


@command("pool", Option("join", max_length=MAX_CODE))
async def on_pool(context: Context) -> Reply:
    """The pool here; in private, what one gave to which. Whoever administers a group without one begins it, or joins another by a code."""
    event = context.event
    if event.place.private:
        return await _given(context)
    words = (event.options.get("join") or event.argument.removeprefix("join ")).split()
    if words:
        _admins(context)
        joined = await context.work.pools.use_code(words[0][:MAX_CODE], event.platform, _place(context))
        return await _card(context, joined)
    found = await context.work.pools.here(event.platform, _place(context))
    if found is not None:
        return await _card(context, found)
    _admins(context)
    return await _card(context, await context.work.pools.found(event.platform, _place(context), context.user.name))


@action("pool")
async def on_show(context: Context) -> Reply:
    """The pool here, as it is now."""
    return replace(await _card(context, await _here(context)), edit=True)


@action("give")
async def on_give(context: Context) -> Reply:
    """Gives Credits of the presser's wallet: an amount from a button, or as a form says."""
    text = context.event.answers.get("amount") or (context.words[0] if context.words else "")
    try:
        amount = parse_credits(text)
    except ValueError:
        amount = 0
    if amount <= 0 and context.event.answers:
        return Reply(Text("pool.bad_gift"), rows=((Button(Text("button.give"), "give"),),), private=True)
    if amount <= 0:
        field = Field("amount", Text("pool.ask.amount"), max_length=12)
        return Reply(form=Form("give", Text("button.give"), (field,)), private=True)
    community = await _here(context)
    await context.work.pools.contribute(community, context.user, amount, f"{context.event.platform}:{context.event.id}")
    return await _card(context, community, Text("pool.given", {"name": context.user.name, "amount": Amount(amount)}))


@action("pool_uses")
async def on_uses(context: Context) -> Reply:
    """Its newest uses, without prompts: those are their creators' own."""
    found = await uses_of(context.work.connection, (await _here(context)).id, USES)
    lines = [
        Text("pool.use", {"id": each.generation, "user": each.user, "model": each.model, "amount": Amount(each.amount)}) for each in found
    ]
    back = ((Button(Text("button.pool"), "pool"),),)
    return Reply(Text("pool.uses", {"lines": lines}) if lines else Text("pool.unused"), rows=back, edit=True)


@action("pool_rules")
async def on_rules(context: Context) -> Reply:
    """The rules as a form, for whoever administers the group."""
    _admins(context)
    now = (await _here(context)).policy
    caps = {name: getattr(now, name) for name in CAPS}
    shown = {name: "-" if cap is None else format_credits(cap) for name, cap in caps.items()}
    fields = tuple(Field(name, Text(f"pool.ask.{name}"), default=each, max_length=12) for name, each in shown.items())
    quiet = f"{now.quiet[0]}-{now.quiet[1]}" if now.quiet else "-"
    fields += (
        Field("models", Text("pool.ask.models"), default=" ".join(sorted(now.models)) or "-"),
        Field("quiet", Text("pool.ask.quiet"), default=quiet, max_length=8),
    )
    return Reply(form=Form("pool_set", Text("button.pool_rules"), fields), private=True)


@action("pool_set")
async def on_set(context: Context) -> Reply:
    """The rules from now on. Raises BadPolicy."""
    _admins(context)
    community = await context.work.pools.lock((await _here(context)).id)
    policy = read_policy(context.event.answers, community.policy, list(context.app.catalog.sale(context.app.today())))
    return await _card(context, await context.work.pools.set_policy(community, policy))


@action("pool_switch")
async def on_switch(context: Context) -> Reply:
    """Stops paying, or pays again."""
    _admins(context)
    community = await context.work.pools.lock((await _here(context)).id)
    policy = replace(community.policy, enabled=not community.policy.enabled)
    return replace(await _card(context, await context.work.pools.set_policy(community, policy)), edit=True)


@action("pool_code")
async def on_code(context: Context) -> Reply:
    """A code by which a group or server of another platform shares this pool. For the asker alone."""
    _admins(context)
    code = new_code()
    if not await context.work.pools.keep_code(await _here(context), code):
        raise TooManyCodes(limit=CODES_PER_HOUR)
    return Reply(Text("pool.code", {"code": code}), private=True)


async def payer_of(context: Context, options: dict[str, str]) -> int | None:
    """The community whose pool pays for a wish: the one here, unless it is stopped, or the creator pays themselves (`pay` is "me")."""
    event = context.event
    if event.place.private or event.place.community is None or options.get("pay", "").lower() == "me":
        return None
    found = await context.work.pools.here(event.platform, event.place.community)
    if found is None or not found.policy.enabled:
        return None
    await context.app.hints.remember(f"wish:{event.platform}:{event.id}:{context.user.id}", json.dumps(options), WISH_SECONDS)
    return found.id


async def recalled(context: Context, name: str) -> dict[str, str]:
    """The options of a wish of the presser's own that a pool did not pay for; empty when that is too long ago."""
    key = f"wish:{name}:{context.user.id}"
    text = await context.app.hints.recall(key)
    await context.app.hints.remember(key, "", WISH_SECONDS)  # a second press finds nothing
    options: dict[str, str] = json.loads(text) if text else {}
    return options


def _admins(context: Context) -> None:
    if not context.event.place.admin:
        raise CommunityAdminsOnly()


def _place(context: Context) -> str:
    return context.event.place.community or context.event.place.chat


async def _here(context: Context) -> Community:
    found = None if context.event.place.private else await context.work.pools.here(context.event.platform, _place(context))
    if found is None:
        raise PoolNotFound()
    return found


async def _given(context: Context) -> Reply:
    found = await context.work.pools.given_by(context.user.id)
    if not found:
        return Reply(Text("pool.private"), private=True)
    balances = await context.work.ledger.balances([pool(community.id) for community, _ in found])
    lines = [
        Text("pool.gave", {"name": community.name, "amount": Amount(amount), "left": Amount(balances[pool(community.id)])})
        for community, amount in found
    ]
    return Reply(Text("pool.yours", {"lines": lines}), private=True)


async def _card(context: Context, community: Community, news: Text | None = None) -> Reply:
    purse = (await purses_of(context.work.connection, [community.id], context.work.now, lock=False))[community.id]
    top = [Text("pool.giver", {"name": name, "amount": Amount(amount)}) for name, amount in await context.work.pools.top(community)]
    facts = {
        "name": community.name, "balance": Amount(purse.balance), "today": Amount(sum(purse.today.values())), "members": len(purse.today),
        "rules": _rules(community.policy), "top": top or Text("pool.nobody"), "news": news or Text("pool.no_news"),
    }  # fmt: skip
    rows = (
        tuple(Button(Text("button.give_amount", {"amount": each}), f"give {each}", style="primary") for each in GIFTS),
        (Button(Text("button.give"), "give"), Button(Text("button.pool_uses"), "pool_uses")),
        (
            Button(Text("button.pool_rules"), "pool_rules"), Button(Text("button.pool_code"), "pool_code"),
            Button(Text("button.pool_off" if community.policy.enabled else "button.pool_on"), "pool_switch"),
        ),
    )  # fmt: skip
    return Reply(Text("pool.card" if community.policy.enabled else "pool.card.off", facts), rows=rows)


def _rules(policy: Policy) -> list[Text]:
    said = [Text(f"pool.rule.{name}", {"amount": Amount(cap)}) for name in CAPS if (cap := getattr(policy, name)) is not None]
    if policy.models:
        said.append(Text("pool.rule.models", {"models": sorted(policy.models)}))
    if policy.quiet is not None:
        said.append(Text("pool.rule.quiet", {"start": policy.quiet[0], "end": policy.quiet[1]}))
    return said or [Text("pool.rule.none")]
