"""What people promise to a pool beside giving by hand: a sponsor matches gifts up to a limit."""

from bots.chat.commands.pools import pool_here
from bots.chat.pools import card, promises, stops
from bots.chat.registry import Context, action
from bots.chat.types import Button, Field, Form, Reply
from core.pools.rules import read_pledge
from core.words import Amount, Text


@action("pool_ways")
async def on_ways(context: Context) -> Reply:
    """What is promised here, with buttons to promise more, and to end it, which only works for whoever promised."""
    community = await pool_here(context)
    said = await promises(context.work, community.id)
    more = (Button(Text("button.pledge"), "pledge", style="primary"), Button(Text("button.pool"), "pool"))
    rows = (more, *stops(await context.work.sponsors.of(community.id)))
    return Reply(Text("pool.ways", {"lines": said or Text("pool.nobody")}), rows=rows, edit=True)


@action("pledge")
async def on_pledge(context: Context) -> Reply:
    """Asks how many per cent of others' gifts the presser adds, and how much in all."""
    await pool_here(context)
    fields = (
        Field("percent", Text("pledge.ask.percent"), default="100", max_length=4),
        Field("most", Text("pledge.ask.most"), max_length=12),
    )
    return Reply(form=Form("pledged", Text("button.pledge"), fields), private=True)


@action("pledged")
async def on_pledged(context: Context) -> Reply:
    """The presser is a sponsor from now on. Raises BadPledge, Frozen, TooManyPledges."""
    community = await pool_here(context)
    percent, most = read_pledge(context.event.answers)
    await context.work.sponsors.pledge(community.id, context.user, percent, most)
    facts = {"name": context.user.name, "percent": percent, "most": Amount(most)}
    return await card(context.work, community, Text("pool.sponsored", facts))


@action("pledge_end", always=True)
async def on_pledge_end(context: Context) -> Reply:
    """A sponsor ends their word, wherever they press. Raises PledgeNotFound."""
    community = await context.work.sponsors.end(context.number(), context.user.id)
    return Reply(Text("pledge.ended", {"name": (await context.work.pools.get(community)).name}), private=True)
