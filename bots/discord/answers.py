"""Answers to interactions, while Discord lets them be changed through the interaction.

What goes through an interaction's token does not count against the 50 requests a second that a bot may make over all
(discord.com/developers/docs/interactions/receiving-and-responding#endpoints): so those are left for the pictures.
"""

import time
from collections import OrderedDict

import discord

GOOD_SECONDS = 14 * 60.0
"""A token is good for 15 minutes."""
MOST = 10_000


class Answers:
    """Of one process, in memory alone: a message that is not known here is changed through its channel."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, tuple[float, discord.Webhook]] = OrderedDict()

    def remember(self, message_id: int, token: discord.Webhook) -> None:
        """`message_id` was said through `token`."""
        now = time.monotonic()
        self._known[message_id] = (now + GOOD_SECONDS, token)
        while len(self._known) > MOST or next(iter(self._known.values()))[0] <= now:
            self._known.popitem(last=False)

    def through(self, message_id: int) -> discord.Webhook | None:
        """What the message was said through; None when that is over, or was never known here."""
        until, token = self._known.get(message_id, (0.0, None))
        return token if time.monotonic() < until else None

    def forget(self, message_id: int) -> None:
        """The message is gone, or its token is."""
        self._known.pop(message_id, None)
