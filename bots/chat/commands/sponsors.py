"""What people promise to a pool beside giving by hand: a sponsor matches gifts up to a limit, a refill fills it up once a period."""

from bots.chat.commands.pools import pool_here
from bots.chat.pools import card, promises, stops
from bots.chat.registry import Context, action
from bots.chat.types import Button, Field, Form, Reply
from core.pools.errors import AdminsOrSponsors
from core.pools.models import Community, Every
from core.pools.rules import read_pledge, read_refill
from core.words import Amount, Text


@action("pool_ways")
async def on_ways(context: Context) -> Reply:
    """What is promised here, with buttons to promise more, and to end it, which only works for whoever promised."""
    community = await pool_here(context)
    said = await promises(context.work, community.id)
    more = (
        Button(Text("button.pledge"), "pool_pledge", style="primary"), Button(Text("button.refill"), "pool_refill", style="primary"),
        Button(Text("button.pool"), "pool"),
    )  # fmt: skip
    rows = (more, *stops(await context.work.sponsors.of(community.id), await context.work.refills.of(community.id)))
    return Reply(Text("pool.ways", {"lines": said or Text("pool.nobody")}), rows=rows, edit=True)


@action("pool_pledge")
async def on_pledge(context: Context) -> Reply:
    """Asks how many per cent of others' gifts the presser adds, and how much in all."""
    await pool_here(context)
    fields = (
        Field("percent", Text("pledge.ask.percent"), default="100", max_length=4),
        Field("most", Text("pledge.ask.most"), max_length=12),
    )
    return Reply(form=Form("pool_pledged", Text("button.pledge"), fields), private=True)


@action("pool_pledged")
async def on_pledged(context: Context) -> Reply:
    """The presser is a sponsor from now on. Raises BadPledge, Frozen, TooManyPledges."""
    community = await pool_here(context)
    percent, most = read_pledge(context.event.answers)
    await context.work.sponsors.begin(community.id, context.user, percent=percent, most=most)
    facts = {"name": context.user.name, "percent": percent, "most": Amount(most)}
    return await card(context.work, community, Text("pool.sponsored", facts))


@action("pledge_end", always=True)
async def on_pledge_end(context: Context) -> Reply:
    """A sponsor ends their word, wherever they press. Raises PledgeNotFound."""
    community = await context.work.sponsors.end(context.number(), context.user.id)
    return Reply(Text("pledge.ended", {"name": (await context.work.pools.get(community)).name}), private=True)


@action("pool_refill")
async def on_refill(context: Context) -> Reply:
    """Asks up to how much, how often, and how much in all, from the presser's wallet."""
    await _may_refill(context)
    choices = tuple((each.value, Text(f"every.{each}")) for each in Every)
    fields = (
        Field("level", Text("pledge.ask.level"), max_length=12),
        Field("every", Text("pledge.ask.every"), "choice", default="week", choices=choices),
        Field("most", Text("pledge.ask.most"), max_length=12),
    )
    return Reply(form=Form("pool_refilled", Text("button.refill"), fields), private=True)


@action("pool_refilled")
async def on_refilled(context: Context) -> Reply:
    """The presser refills the pool from now on: a worker does it at once, and then at the beginning of each period.

    Raises AdminsOrSponsors, BadPledge, Frozen, TooManyPledges.
    """
    community = await _may_refill(context)
    level, every, most = read_refill(context.event.answers)
    await context.work.refills.begin(community.id, context.user, level=level, every=every, most=most, due_at=context.work.now)
    facts = {"name": context.user.name, "level": Amount(level), "every": Text(f"every.{every}"), "most": Amount(most)}
    return await card(context.work, community, Text("pool.refilled", facts))


@action("refill_end", always=True)
async def on_refill_end(context: Context) -> Reply:
    """Whoever gives ends their refill, wherever they press. Raises PledgeNotFound."""
    community = await context.work.refills.end(context.number(), context.user.id)
    return Reply(Text("refill.ended", {"name": (await context.work.pools.get(community)).name}), private=True)


async def _may_refill(context: Context) -> Community:
    """The pool here. Raises AdminsOrSponsors, PoolNotFound."""
    community = await pool_here(context)
    sponsors = [each.user_id for each in await context.work.sponsors.of(community.id)]
    if not context.event.place.admin and context.user.id not in sponsors:
        raise AdminsOrSponsors()
    return community
