"""Where a pool pays, and for which presets: buttons and a form for whoever administers the group."""

from collections.abc import Callable
from dataclasses import replace

from bots.chat.commands.pools import only_admins, pool_here
from bots.chat.registry import Context, action
from bots.chat.types import Button, Field, Form, Reply
from bots.chat.wishes import channels_of
from core.pools.models import MAX_NAME, MAX_NAMES, Community, Policy
from core.pools.rules import read_names, read_presets, toggled
from core.presets.errors import PresetNotFound
from core.words import Text

MAX_PRESETS = 20
"""Presets that are looked for, of those that a form names."""


@action("pool_where")
async def on_where(context: Context) -> Reply:
    """Where the pool pays, and for which presets."""
    only_admins(context)
    return _shown(context, await pool_here(context))


@action("pool_here")
async def on_here(context: Context) -> Reply:
    """It pays in this channel, group or topic, and in those that were chosen before; or here no more. Raises TooManyChosen."""
    only_admins(context)
    here = "" if context.event.heard is not None else next(iter(channels_of(context.event)), "")
    name = (context.event.place.channel or here)[:MAX_NAME]
    return await _ruled(context, lambda now: replace(now, channels=toggled(now.channels, (here, name)) if here else now.channels))


@action("pool_everywhere")
async def on_everywhere(context: Context) -> Reply:
    """It pays in every channel, group and topic."""
    only_admins(context)
    return await _ruled(context, lambda now: replace(now, channels=()))


@action("pool_presets")
async def on_presets(context: Context) -> Reply:
    """Asks for the presets that it pays for."""
    only_admins(context)
    now = (await pool_here(context)).policy
    field = Field("presets", Text("pool.ask.presets"), default=" ".join(sorted(now.presets)) or "-", max_length=MAX_NAMES)
    return Reply(form=Form("pool_with", Text("button.pool_presets"), (field,)), private=True)


@action("pool_with")
async def on_with(context: Context) -> Reply:
    """It pays for these presets from now on; for all pictures where none is named. Raises BadPolicy."""
    only_admins(context)
    text, known = context.event.answers.get("presets", ""), []
    for name in sorted(read_names(text))[:MAX_PRESETS]:
        try:
            known.append((await context.work.presets.find(name)).name)
        except PresetNotFound:
            continue
    named = read_presets(text, known)
    return replace(await _ruled(context, lambda now: replace(now, presets=named)), edit=False)


async def _ruled(context: Context, change: Callable[[Policy], Policy]) -> Reply:
    community = await context.work.pools.lock((await pool_here(context)).id)
    return _shown(context, await context.work.pools.set_policy(community, change(community.policy)))


def _shown(context: Context, community: Community) -> Reply:
    policy, here = community.policy, next(iter(channels_of(context.event)), "")
    facts = {
        "where": [Text("pool.listed", {"name": name}) for _, name in policy.channels] or Text("pool.everywhere"),
        "presets": [Text("pool.listed", {"name": name}) for name in sorted(policy.presets)] or Text("pool.any_preset"),
    }
    chosen = here in {key for key, _ in policy.channels}
    word = "not_here" if chosen else "here_too" if policy.channels else "only_here"
    everywhere = (Button(Text("button.pool_everywhere"), "pool_everywhere"),) if policy.channels else ()
    place = (Button(Text(f"button.pool_{word}"), "pool_here", style="primary"),) if context.event.heard is None else ()
    rows = (
        *([(*place, *everywhere)] if place or everywhere else []),
        (Button(Text("button.pool_presets"), "pool_presets"), Button(Text("button.pool"), "pool")),
    )
    return Reply(Text("pool.where", facts), rows=rows, edit=True)
