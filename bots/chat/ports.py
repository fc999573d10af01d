"""The chat layer as platforms see it that have payments of their own, or whose groups come and go."""

from collections.abc import Collection
from typing import Protocol

from bots.chat.types import ChatPort, Event, Paid, Person, Place, Platform


class PaymentPort(Protocol):
    """The chat layer as a platform with payments of its own sees it. A payment is a claim of the platform, checked against the order."""

    async def checkout(self, order: str, person: Person, amount: int, currency: str) -> str | None:
        """Whether this person may pay this order now: None, or the sentence in their language why not. Credits nothing.

        The answer is needed within a few seconds. A payment that was let through may never come.
        """

    async def paid(self, event_id: str, person: Person, paid: Paid) -> None:
        """The money has moved. Marks the event as handled in the transaction that credits; the same charge again changes nothing.

        Whatever is raised leaves the event unhandled, and it is offered again.
        """

    async def refunded(self, person: Person, charge: str, event_id: str) -> None:
        """The platform has given a charge back to the person. Marks the event as handled, as `paid` does."""


class GroupsPort(Protocol):
    """The chat layer as a platform tells it what becomes of groups and servers. Marks the event as handled, where it has an id of its own;
    again changes nothing."""

    async def moved(self, platform: Platform, event_id: str, old: str, new: str) -> None:
        """A group has another id from now on."""

    async def present(self, platform: Platform, event_id: str, group: str, *, here: bool) -> None:
        """The bot was added to a group or server, or removed from it; an empty `event_id` where the platform gives none."""

    async def known(self, platform: Platform, groups: Collection[str]) -> None:
        """These are all groups and servers that the bot is in."""


class MembersPort(Protocol):
    """The chat layer as a platform tells it about members that does so only when asked (see ChatPort.asks)."""

    async def remembered(self, event: Event, asked: Place) -> Place | None:
        """`asked` with what was told of the person there within MEMBERSHIP_SECONDS, for a wish that a pool may pay for. None: the platform
        is asked now, as it is about everything that changes a pool."""

    async def told(self, event: Event, said: Place) -> None:
        """What the platform says of the person in a group now."""


class GroupChatPort(ChatPort, GroupsPort, Protocol):
    """The chat layer but for payments."""


class PayingChatPort(GroupChatPort, MembersPort, PaymentPort, Protocol):
    """The whole chat layer."""
