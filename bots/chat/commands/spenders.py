"""Who may spend of a pool, and whether its members see prompts: buttons for whoever administers the group."""

from collections.abc import Callable
from dataclasses import replace

from bots.chat.commands.pools import LETTING, only_admins, pool_here
from bots.chat.pools import who_spends
from bots.chat.registry import Context, action
from bots.chat.types import Button, Reply
from core.pools.errors import BadPolicy
from core.pools.models import MAX_NAME, Community, Policy, Spenders
from core.pools.rules import toggled
from core.words import Text

SHOWN, IN_ROW = 10, 5
"""Members of the list, or roles, that are shown at once, and in a row of buttons."""


@action("pool_who")
async def on_who(context: Context) -> Reply:
    """Who may spend, as it is, or from now on: all, admins, the list or, where the platform has them, roles; a number shows the list
    from there. Raises BadPolicy."""
    word = next(iter(context.words), "")
    if word not in list(Spenders):
        only_admins(context)
        return await _shown(context, await pool_here(context), context.number())
    if word == Spenders.ROLES and context.event.place.roles is None:
        raise BadPolicy(field="roles")
    return await _ruled(context, lambda now: replace(now, spenders=Spenders(word)))


@action("pool_roles")
async def on_roles(context: Context) -> Reply:
    """The roles of the community from a number on, to choose those that may spend."""
    only_admins(context)
    return _offered(context, await pool_here(context), context.number())


@action("pool_role")
async def on_role(context: Context) -> Reply:
    """Whoever has this role may spend, or may no more. Raises TooManyChosen."""
    only_admins(context)
    community = await context.work.pools.lock((await pool_here(context)).id)
    key = next(iter(context.words), "")
    name = (dict(community.policy.roles) | dict(context.event.offered)).get(key)
    if name is not None:
        policy = replace(community.policy, roles=toggled(community.policy.roles, (key, name[:MAX_NAME])))
        community = await context.work.pools.set_policy(community, policy)
    return _offered(context, community, context.number(1))


def _offered(context: Context, community: Community, start: int) -> Reply:
    """Chosen roles first: also those that the community has no more can be taken away."""
    chosen = dict(community.policy.roles)
    roles = list((chosen | {key: name for key, name in context.event.offered if key not in chosen}).items())
    keys = [
        Button(Text("button.pool_role", {"name": name}), f"pool_role {key} {start}", style="primary" if key in chosen else "secondary")
        for key, name in roles[start : start + SHOWN]
    ]
    turns = [(start - SHOWN, "button.pool_less"), (start + SHOWN, "button.pool_more")]
    pages = tuple(Button(Text(label), f"pool_roles {to}") for to, label in turns if 0 <= to < len(roles))
    rows = (*(tuple(keys[i : i + IN_ROW]) for i in range(0, len(keys), IN_ROW)), (Button(Text("button.pool_who"), "pool_who"), *pages))
    return Reply(Text("pool.roles", {"who": who_spends(community.policy)}), rows=rows, edit=True)


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
        "who": who_spends(community.policy),
        "prompts": Text("pool.prompts.shown" if shows else "pool.prompts.hidden"),
        "listed": [Text("pool.listed", {"name": name}) for _, name in page] or Text("pool.nobody"),
        "n": len(listed),
    }
    drops = [Button(Text("button.pool_drop", {"name": name}), f"pool_drop {number}") for number, name in page]
    more = (Button(Text("button.pool_more"), f"pool_who {start + SHOWN}"),) if len(listed) > start + SHOWN else ()
    has_roles = context.event.place.roles is not None
    choose = (Button(Text("button.pool_roles"), "pool_roles"),) if has_roles and community.policy.spenders is Spenders.ROLES else ()
    rows = (
        tuple(
            Button(
                Text(f"button.pool_who.{each}"), f"pool_who {each}", style="primary" if each is community.policy.spenders else "secondary"
            )
            for each in Spenders
            if each is not Spenders.ROLES or has_roles
        ),
        *(tuple(drops[i : i + IN_ROW]) for i in range(0, len(drops), IN_ROW)),
        (
            Button(Text("button.pool_hide" if shows else "button.pool_show"), "pool_prompts"),
            Button(Text("button.pool"), "pool"),
            *choose,
            *more,
        ),
    )
    return Reply(Text("pool.who", facts), rows=rows, edit=True)
