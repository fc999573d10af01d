"""Which group something is about, and whether it matters what the platform says of the person there, so that it is asked now."""

from dataclasses import replace

from bots.chat import forms
from bots.chat.types import Button, Event, Place, Reply
from bots.chat.wishes import recalled
from core.address import whole
from core.app import App

SPENDING = frozenset({"imagine", "again", "vary", "upscale", "edited", "fill", "cheaper", "agree"})
"""What a pool may pay for, and the votes on it."""
LOOKING = frozenset({"pool_uses", "pool_given", "pool_ask", "pool_ways", "pool_buy", "pool_pledge", "pool_pledged"})
"""Actions of a pool that everybody may take."""
CARRIED = ("pool", "give")
"""How actions about a group's pool begin."""
MARK = "@"
MEMBER, ADMIN = "member", "admin"
"""What is remembered of somebody in a group."""
MAX_ACTION = 64
"""Bytes of a button's action."""


async def asks(app: App, event: Event) -> Place | None:
    """See ChatPort: the group about which its platform is asked: of each wish that a pool may pay for, as neither a press nor a comment in
    a discussion group shows that the person is a member (core.telegram.org/tdlib/docs, join_to_send_messages)."""
    place, word = await _about(app, event)
    if place is None or place.community is None:
        return None
    if _named(event) is not None:
        return place
    if word != "pool" and word not in SPENDING:
        return place if word.startswith("pool_") and word not in LOOKING else None
    async with app.read() as work:
        community = await work.pools.here(event.platform, place.community)
    if word == "pool":
        begins = event.command is not None and (community is None or bool(event.argument or event.options))
        return place if begins else None
    if community is None or not community.policy.enabled:
        return None
    return place


async def remembered(app: App, event: Event, asked: Place) -> Place | None:
    """See MembersPort."""
    if (await _about(app, event))[1] not in SPENDING:
        return None
    was = await app.hints.recall(_key(event, asked))
    return replace(asked, member=True, admin=was == ADMIN) if was else None


async def told(app: App, event: Event, said: Place) -> None:
    """See MembersPort. Only members are remembered, so that whoever has just joined need not wait."""
    if seconds := app.settings.membership_seconds:
        await app.hints.remember(_key(event, said), (ADMIN if said.admin else MEMBER) if said.member else "", seconds)


def _key(event: Event, place: Place) -> str:
    return f"membership:{event.platform}:{place.community}:{event.person.id}"


def settled(event: Event) -> Event:
    """A press in private on the card of a group's pool, as one that is about the group, when the platform says that the person is there."""
    named = _named(event)
    if named is None or event.action is None:
        return event
    plain = replace(event, action=event.action.rpartition(" ")[0])
    about = event.about
    if about is None or about.chat != named or not about.member:
        return plain
    return replace(plain, place=about, heard=event.place, about=None)


def carried(reply: Reply, place: Place) -> Reply:
    """What is read in private about a group's pool, with buttons that name the group."""
    return replace(reply, rows=tuple(tuple(_carried(each, place) for each in row) for row in reply.rows))


def _carried(button: Button, place: Place) -> Button:
    action = f"{button.action} {MARK}{whole(place.chat)}"
    fits = button.action.startswith(CARRIED) and len(action.encode()) <= MAX_ACTION
    return replace(button, action=action) if fits else button


def _named(event: Event) -> str | None:
    """The group that a button in private names."""
    last = (event.action or "").rpartition(" ")[2]
    return last.removeprefix(MARK) if event.place.private and len(last) > 1 and last.startswith(MARK) else None


async def _about(app: App, event: Event) -> tuple[Place | None, str]:
    if not event.place.private:
        return event.place, event.word
    if (named := _named(event)) is not None:
        return Place(named, private=False, community=named, channels=(named,)), event.word
    if event.word == "cheaper":
        found = await recalled(app.hints, event, next(iter((event.action or "").split()[1:]), ""))
        return (found.place if found else None), event.word
    last = await forms.last(app.hints, event) if event.text or event.word == "form" else None
    return (last.place, last.action.partition(" ")[0]) if last else (None, "")
