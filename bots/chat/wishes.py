"""Wishes: priced for the people here, paid by the pool here or by the creator, and kept while a pool's refusal is read."""

import json
from dataclasses import asdict, dataclass, replace

from bots.chat.forms import place_of
from bots.chat.registry import Context
from bots.chat.types import Event, Place
from core.address import Address
from core.generations.models import Order, Parameters, Wish
from core.hints import Hints
from core.moderation import Audience
from core.pools.models import Community

WISH_SECONDS = 15 * 60
"""How long a wish that a pool did not pay for can be paid otherwise by a button."""


@dataclass(frozen=True, slots=True)
class Recalled:
    """A wish that a pool did not pay for, and where it was said, as that was then."""

    wish: Wish
    place: Place


async def ordered(context: Context, wish: Wish, *, alone: bool = False) -> Order:
    """A wish for the people here, paid by the pool of the group or server, unless that is stopped or the creator pays (`alone`).

    Raises what App.price raises.
    """
    event, place = context.event, context.event.place
    community = await community_of(context)
    order = order_of(context, wish, community)
    if community is None or not community.policy.enabled or alone:
        return order
    kept = {"wish": asdict(wish), "place": asdict(place)}
    await context.app.hints.remember(_key(event, order.key), json.dumps(kept), WISH_SECONDS)
    return replace(
        order, community_id=community.id, by_admin=place.admin, by_member=place.member, roles=place.roles,
        channels=channels_of(event),
        preset=await context.work.presets.made_with(wish.preset_id, wish.prompt) if community.policy.presets else None,
    )  # fmt: skip


def order_of(context: Context, wish: Wish, community: Community | None) -> Order:
    """A wish for the people here, paid by the creator. Raises what App.price raises."""
    event = context.event
    strict = community is not None and community.strict
    audience = Audience(strict, adult=event.place.private or event.place.age_restricted)
    checked, price = context.app.price(wish, audience)
    return Order(
        key=f"{event.platform}:{event.id}",
        user_id=context.user.id,
        wish=checked,
        price=price,
        address=Address(event.platform, event.place.chat),
        event=(event.platform, event.id, event.place.chat),
        audience=audience,
    )


async def community_of(context: Context) -> Community | None:
    """The community of the group or server here; None in private."""
    place = context.event.place
    return None if place.private or place.community is None else await context.work.pools.here(context.event.platform, place.community)


def channels_of(event: Event) -> tuple[str, ...]:
    """Where something was said, as a pool's rules name it, the narrowest first."""
    return tuple(f"{event.platform}:{each}" for each in event.place.channels)


async def recalled(hints: Hints, event: Event, order: str, *, take: bool = False) -> Recalled | None:
    """The wish of the presser's own that a button names; None when that is too long ago. `take`: a second press finds nothing."""
    text = await hints.recall(_key(event, order))
    if take:
        await hints.remember(_key(event, order), "", WISH_SECONDS)
    if not text:
        return None
    kept = json.loads(text)
    return Recalled(Wish(**kept["wish"] | {"parameters": Parameters(**kept["wish"]["parameters"])}), place_of(kept["place"]))


def _key(event: Event, order: str) -> str:
    return f"wished:{order}:{event.platform}:{event.person.id}"
