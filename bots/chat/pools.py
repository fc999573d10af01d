"""A pool in words, and what its refusal offers."""

from collections.abc import Sequence
from dataclasses import replace

from bots.chat.errors import explain
from bots.chat.types import Button, Reply
from core.app import App
from core.errors import Refusal
from core.generations.models import Order
from core.generations.spend import cheapest, purses_of
from core.mailbox.models import Delivery
from core.pools.models import Community, Pledge, Policy, Refill, Spenders
from core.pools.rules import CAPS
from core.unit_of_work import UnitOfWork
from core.words import Amount, Text

GIFTS = ("10", "50", "100")
STOPS_IN_ROW = 3
MAX_ACTION = 64
"""Bytes of a button's action."""


async def declined(app: App, order: Order, error: Refusal) -> Reply:
    """A pool's refusal with what can be done instead: a cheaper model that it would pay for, the own wallet, asking for Credits."""
    reply = explain(error)
    assert order.community_id is not None
    async with app.read() as work:
        purse = (await purses_of(work.connection, [order.community_id], work.now, lock=False))[order.community_id]
        found = cheapest(order, purse, app.catalog, app.today(), work.now)
    action = f"cheaper {order.key} {found[0]}" if found else ""
    if found is None or len(action.encode()) > MAX_ACTION:
        return reply
    label = Text("button.cheaper", {"model": found[0], "price": Amount(found[1])})
    return replace(reply, rows=(*reply.rows, (Button(label, action),)))


async def asking(work: UnitOfWork, delivery: Delivery) -> Reply:
    """A member asks in the group for Credits, or to be let spend."""
    user = await work.users.get(int(delivery.body["reader"]))
    if delivery.kind == "pool_ask":
        return await card(work, await work.pools.get(int(delivery.body["community"])), Text("pool_ask", {"name": user.name}))
    lets = Button(Text("button.pool_let", {"name": user.name}), f"pool_let {user.id}", style="primary")
    return Reply(Text("pool_let", {"name": user.name}), rows=((lets,),))


async def card(work: UnitOfWork, community: Community, news: Text | None = None) -> Reply:
    """A pool as anybody there may see it, with buttons to give, look and rule."""
    purse = (await purses_of(work.connection, [community.id], work.now, lock=False))[community.id]
    top = [Text("pool.giver", {"name": name, "amount": Amount(amount)}) for name, amount in await work.pools.top(community)]
    facts = {
        "name": community.name, "balance": Amount(purse.balance), "today": Amount(sum(purse.today.values())), "members": len(purse.today),
        "rules": _rules(community), "top": top or Text("pool.nobody"), "news": news or Text("pool.no_news"),
    }  # fmt: skip
    if promised := await promises(work, community.id):
        facts["news"] = Text("pool.promised", {"news": facts["news"], "lines": promised})
    rows = (
        tuple(Button(Text("button.give_amount", {"amount": each}), f"give {each}", style="primary") for each in GIFTS),
        (Button(Text("button.give"), "give"), Button(Text("button.pool_uses"), "pool_uses"), Button(Text("button.pool_who"), "pool_who")),
        (
            Button(Text("button.pool_rules"), "pool_rules"), Button(Text("button.pool_code"), "pool_code"),
            Button(Text("button.pool_off" if community.policy.enabled else "button.pool_on"), "pool_switch"),
        ),
        (
            Button(Text("button.pool_lax" if community.strict else "button.pool_strict"), "pool_strict"),
            Button(Text("button.pool_where"), "pool_where"), Button(Text("button.pool_votes"), "pool_votes"),
            Button(Text("button.pool_buy"), "pool_buy"), Button(Text("button.pool_ways"), "pool_ways"),
        ),
    )  # fmt: skip
    return Reply(Text("pool.card" if community.policy.enabled else "pool.card.off", facts), rows=rows)


async def promises(work: UnitOfWork, community_id: int) -> list[Text]:
    """What people have promised to a pool: sponsors who match gifts, and who refills it."""
    matching = [
        Text("pool.sponsor", {"name": each.name, "percent": each.percent, "left": Amount(each.left), "most": Amount(each.most)})
        for each in await work.sponsors.of(community_id)
    ]
    filling = [
        Text("pool.refill", {
            "name": each.name, "level": Amount(each.level), "every": Text(f"every.{each.every}"), "left": Amount(each.left),
            "most": Amount(each.most),
        })
        for each in await work.refills.of(community_id)
    ]  # fmt: skip
    return matching + filling


def stops(pledges: Sequence[Pledge], refills: Sequence[Refill]) -> tuple[tuple[Button, ...], ...]:
    """Buttons by which people end what they have promised."""
    ends = [Button(Text("button.pledge_end", {"name": each.name, "percent": each.percent}), f"pledge_end {each.id}") for each in pledges]
    for each in refills:
        facts = {"name": each.name, "level": Amount(each.level), "every": Text(f"every.{each.every}")}
        ends.append(Button(Text("button.refill_end", facts), f"refill_end {each.id}"))
    return tuple(tuple(ends[at : at + STOPS_IN_ROW]) for at in range(0, len(ends), STOPS_IN_ROW))


async def refill_news(work: UnitOfWork, delivery: Delivery) -> Reply:
    """What a giver is told about their refill: that it is used up, or that the wallet did not suffice."""
    body = delivery.body
    facts = {
        "name": (await work.pools.get(int(body["community"]))).name, "level": Amount(int(body["level"])),
        "most": Amount(int(body["most"])),
    }  # fmt: skip
    button = (
        Button(Text("button.topup"), "topup", style="primary") if body["what"] == "short" else Button(Text("button.balance"), "balance")
    )
    return Reply(Text(f"refill.{body['what']}", facts), rows=((button,),))


def who_spends(policy: Policy) -> Text:
    """Who may spend, with the roles where that goes by roles."""
    if policy.spenders is not Spenders.ROLES:
        return Text(f"pool.who.{policy.spenders}")
    roles = [Text("pool.listed", {"name": name}) for _, name in policy.roles]
    return Text("pool.who.roles", {"roles": roles}) if roles else Text("pool.who.no_roles")


def _rules(community: Community) -> list[Text]:
    policy = community.policy
    said = [Text(f"pool.rule.{name}", {"amount": Amount(cap)}) for name in CAPS if (cap := getattr(policy, name)) is not None]
    if policy.models:
        said.append(Text("pool.rule.models", {"models": sorted(policy.models)}))
    if policy.presets:
        said.append(Text("pool.rule.presets", {"presets": sorted(policy.presets)}))
    if policy.channels:
        said.append(Text("pool.rule.channels", {"channels": [Text("pool.listed", {"name": name}) for _, name in policy.channels]}))
    if policy.quiet is not None:
        said.append(Text("pool.rule.quiet", {"start": policy.quiet[0], "end": policy.quiet[1]}))
    if policy.spenders is not Spenders.ALL:
        said.append(Text("pool.rule.spenders", {"who": who_spends(policy)}))
    if policy.vote_above is not None:
        said.append(Text("pool.rule.votes", {"above": Amount(policy.vote_above), "n": policy.votes}))
    if policy.prompts_since is not None:
        said.append(Text("pool.rule.prompts"))
    if community.strict:
        said.append(Text("pool.rule.strict"))
    return said or [Text("pool.rule.none")]
