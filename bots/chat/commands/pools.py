"""/pool: Credits that a group or server shares: show, give, rules, and one pool for several groups by a code."""

from dataclasses import replace

from bots.chat.pools import card, stops
from bots.chat.registry import Context, action, command
from bots.chat.types import Button, Field, Form, Option, Reply
from bots.chat.wishes import recalled
from core.access.rules import new_code
from core.access.service import CODES_PER_HOUR
from core.address import Address
from core.db import HOUR
from core.generations.pages import uses_of
from core.joining.errors import TooManyCodes
from core.mailbox.models import Notice
from core.money import format_credits, parse_credits
from core.pools.errors import CommunityAdminsOnly, PoolNotFound
from core.pools.models import Community, Spenders, pool
from core.pools.rules import CAPS, read_policy
from core.words import Amount, Text

MAX_CODE = 40
USES = 10
SHOWN_PROMPT = 60
SHOWN_POOLS = 5
"""Pools that somebody gave to whose uses are offered in private."""
LETTING, LETTING_SECONDS = "letting:{community}:{user}", 24 * 60 * 60
"""The hint that somebody asks to be let spend, and for how long: only who asks can be let."""
ASK_EVERY = HOUR
"""Microseconds between two askings of one member for contributions."""


@command("pool", Option("join", max_length=MAX_CODE))
async def on_pool(context: Context) -> Reply:
    """The pool here; in private, what one gave to which. Whoever administers a group without one begins it, or joins another by a code."""
    event = context.event
    if event.place.private:
        return await _given(context)
    words = (event.options.get("join") or event.argument.removeprefix("join ")).split()
    if words:
        only_admins(context)
        joined = await context.work.pools.use_code(words[0][:MAX_CODE], event.platform, _place(context))
        return await card(context.work, joined)
    found = await context.work.pools.here(event.platform, _place(context))
    if found is not None:
        await context.work.pools.mark_chat(event.platform, _place(context), gone=False)
        return await card(context.work, found)
    only_admins(context)
    name = event.place.title or context.user.name
    return await card(context.work, await context.work.pools.found(event.platform, _place(context), name))


@action("pool")
async def on_show(context: Context) -> Reply:
    """The pool here, as it is now."""
    return replace(await card(context.work, await pool_here(context)), edit=True)


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
    community = await pool_here(context)
    added = await context.work.pools.contribute(community, context.user, amount, f"{context.event.platform}:{context.event.id}")
    facts = {"name": context.user.name, "amount": Amount(amount), "added": Amount(added)}
    return await card(context.work, community, Text("pool.given_matched" if added else "pool.given", facts))


@action("pool_uses")
async def on_uses(context: Context) -> Reply:
    """Its newest uses."""
    return await _uses(context, await pool_here(context), (Button(Text("button.pool"), "pool"),))


@action("pool_given")
async def on_given(context: Context) -> Reply:
    """Where the Credits went of a pool that the presser gave to, also after they, or its groups, have left. Raises PoolNotFound."""
    given = {community.id: community for community, _ in await context.work.pools.given_by(context.user.id)}
    if context.number() not in given:
        raise PoolNotFound()
    return replace(await _uses(context, given[context.number()], (), prompts=False), private=True, edit=False)


async def _uses(context: Context, community: Community, back: tuple[Button, ...], *, prompts: bool = True) -> Reply:
    """With prompts where its rules show them to members: else those are their creators' own."""
    found = await uses_of(context.work.connection, community, USES)
    lines = []
    for each in found:
        facts = {"id": each.generation, "user": each.user, "model": each.model, "amount": Amount(each.amount)}
        shown = prompts and each.prompt and {"prompt": each.prompt[:SHOWN_PROMPT]}
        lines.append(Text("pool.use.prompt", facts | shown) if shown else Text("pool.use", facts))
    return Reply(Text("pool.uses", {"lines": lines}) if lines else Text("pool.unused"), rows=(back,) if back else (), edit=True)


@action("pool_rules")
async def on_rules(context: Context) -> Reply:
    """The rules as a form, for whoever administers the group."""
    only_admins(context)
    now = (await pool_here(context)).policy
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
    only_admins(context)
    community = await context.work.pools.lock((await pool_here(context)).id)
    policy = read_policy(context.event.answers, community.policy, list(context.app.catalog.sale(context.app.today())))
    return await card(context.work, await context.work.pools.set_policy(community, policy))


@action("pool_switch")
async def on_switch(context: Context) -> Reply:
    """Stops paying, or pays again."""
    only_admins(context)
    community = await context.work.pools.lock((await pool_here(context)).id)
    policy = replace(community.policy, enabled=not community.policy.enabled)
    return replace(await card(context.work, await context.work.pools.set_policy(community, policy)), edit=True)


@action("pool_strict")
async def on_strict(context: Context) -> Reply:
    """Forbids further topics here and veils pictures, or does so no more."""
    only_admins(context)
    community = await context.work.pools.lock((await pool_here(context)).id)
    return replace(await card(context.work, await context.work.pools.set_strict(community, not community.strict)), edit=True)


@action("pool_code")
async def on_code(context: Context) -> Reply:
    """A code by which a group or server of another platform shares this pool. For the asker alone."""
    only_admins(context)
    code = new_code()
    if not await context.work.pools.keep_code(await pool_here(context), code):
        raise TooManyCodes(limit=CODES_PER_HOUR)
    return Reply(Text("pool.code", {"code": code}), private=True)


@action("pool_ask")
async def on_ask(context: Context) -> Reply:
    """Asks in the group for Credits, or to be let spend, for a wish that the pool did not pay: at most once an hour for each member."""
    found = await recalled(context.app.hints, context.event, next(iter(context.words), ""))
    community = await context.work.pools.here(context.event.platform, found.place.community or "") if found else None
    if found is None or community is None:
        return Reply(Text("pay_me.gone"), private=True)
    wants_in = community.policy.spenders is Spenders.LIST and context.user.id not in await context.work.pools.listed(community)
    kind = "pool_let" if wants_in else "pool_ask"
    if wants_in:
        await context.app.hints.remember(LETTING.format(community=community.id, user=context.user.id), "1", LETTING_SECONDS)
    key = f"{kind}:{community.id}:{context.user.id}:{context.work.now // ASK_EVERY}"
    body = {"reader": context.user.id, "community": community.id}
    said = await context.work.mailbox.say([Notice(key, Address(context.event.platform, found.place.chat), kind, body)])
    return Reply(Text(f"{kind}.said" if said else "pool_ask.before"), private=True)


def only_admins(context: Context) -> None:
    """Raises CommunityAdminsOnly."""
    if not context.event.place.admin:
        raise CommunityAdminsOnly()


def _place(context: Context) -> str:
    return context.event.place.community or context.event.place.chat


async def pool_here(context: Context) -> Community:
    """The pool of the group or server that was spoken in. Raises PoolNotFound."""
    found = None if context.event.place.private else await context.work.pools.here(context.event.platform, _place(context))
    if found is None:
        raise PoolNotFound()
    return found


async def _mine(context: Context) -> tuple[tuple[Button, ...], ...]:
    """Buttons by which the presser ends what they have promised, to whatever pools."""
    return stops(await context.work.sponsors.mine(context.user.id), await context.work.refills.mine(context.user.id))


async def _given(context: Context) -> Reply:
    found = await context.work.pools.given_by(context.user.id)
    if not found:
        return Reply(Text("pool.private"), rows=await _mine(context), private=True)
    balances = await context.work.ledger.balances([pool(community.id) for community, _ in found])
    gone = await context.work.pools.gone([community.id for community, _ in found])
    lines = [
        Text(
            "pool.gave.gone" if community.id in gone else "pool.gave",
            {"id": community.id, "name": community.name, "amount": Amount(amount), "left": Amount(balances[pool(community.id)])},
        )
        for community, amount in found
    ]
    rows = tuple(
        (Button(Text("button.pool_given", {"name": community.name}), f"pool_given {community.id}"),) for community, _ in found[:SHOWN_POOLS]
    )
    return Reply(Text("pool.yours", {"lines": lines}), rows=rows + await _mine(context), private=True)
