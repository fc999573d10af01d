"""Who may spend of a pool, and whether its members see prompts: buttons for whoever administers the group."""

from collections.abc import Callable
from dataclasses import replace

from bots.chat.commands.pools import LETTING, only_admins, pool_here
from bots.chat.registry import Context, action
from bots.chat.types import Button, Reply
from core.pools.models import Community, Policy, Spenders
from core.words import Text

SHOWN, IN_ROW = 10, 5
"""Members of the list that are shown at once, and in a row of buttons."""


@action("pool_who")
async def on_who(context: Context) -> Reply:
    """Who may spend, as it is, or from now on: all, admins or the list; a number shows the list from there."""
    word = next(iter(context.words), "")
    if word not in list(Spenders):
        only_admins(context)
        return await _shown(context, await pool_here(context), context.number())
    return await _ruled(context, lambda now: replace(now, spenders=Spenders(word)))


@action("pool_prompts")
async def on_prompts(context: Context) -> Reply:
    """Shows members the prompts of what the pool pays from now on, or no prompts any more."""
    return await _ruled(context, lambda now: replace(now, prompts_since=context.work.now if now.prompts_since is None else None))


@action("pool_let")
async def on_let(context: Context) -> Reply:
    """Lets somebody spend who has asked for it lately. Raises TooManySpenders."""
    only_admins(context)
    community = await pool_here(context)
    if not await context.app.hints.recall(LETTING.format(community=community.id, user=context.number())):
        return Reply(Text("pool.let_gone"), private=True)
    await context.work.pools.let(community, context.number(), may=True)
    return await _shown(context, community)


@action("pool_drop")
async def on_drop(context: Context) -> Reply:
    """Somebody of the list may not spend any more."""
    only_admins(context)
    community = await pool_here(context)
    await context.work.pools.let(community, context.number(), may=False)
    return await _shown(context, community)


async def _ruled(context: Context, change: Callable[[Policy], Policy]) -> Reply:
    only_admins(context)
    community = await context.work.pools.lock((await pool_here(context)).id)
    return await _shown(context, await context.work.pools.set_policy(community, change(community.policy)))


async def _shown(context: Context, community: Community, start: int = 0) -> Reply:
    listed = list((await context.work.pools.listed(community)).items())
    page = listed[start : start + SHOWN]
    shows = community.policy.prompts_since is not None
    facts = {
        "who": Text(f"pool.who.{community.policy.spenders}"),
        "prompts": Text("pool.prompts.shown" if shows else "pool.prompts.hidden"),
        "listed": [Text("pool.listed", {"name": name}) for _, name in page] or Text("pool.nobody"),
        "n": len(listed),
    }
    drops = [Button(Text("button.pool_drop", {"name": name}), f"pool_drop {number}") for number, name in page]
    more = (Button(Text("button.pool_more"), f"pool_who {start + SHOWN}"),) if len(listed) > start + SHOWN else ()
    rows = (
        tuple(
            Button(
                Text(f"button.pool_who.{each}"), f"pool_who {each}", style="primary" if each is community.policy.spenders else "secondary"
            )
            for each in Spenders
        ),
        *(tuple(drops[i : i + IN_ROW]) for i in range(0, len(drops), IN_ROW)),
        (Button(Text("button.pool_hide" if shows else "button.pool_show"), "pool_prompts"), Button(Text("button.pool"), "pool"), *more),
    )
    return Reply(Text("pool.who", facts), rows=rows, edit=True)
