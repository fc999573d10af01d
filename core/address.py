"""Where something is said: a platform and what its sender calls a chat. Plain data for the mailbox and for users."""

import re
from dataclasses import dataclass

MAX_CHAT = 64
_TOPIC = re.compile(r"(-[0-9]+)/[0-9]+")


@dataclass(frozen=True, slots=True)
class Address:
    """`platform` such as "telegram"; `chat` means something to that platform's sender alone.

    It may be a topic within a group, "-100123/45": what is said there goes there, and everything else is about the group, `whole(chat)`.
    """

    platform: str
    chat: str


def whole(chat: str) -> str:
    """The group of which a chat is a topic; any other chat as it is.

    >>> whole("-100123/45"), whole("-100123"), whole("dm:7"), whole("a/5@example.org")
    ('-100123', '-100123', 'dm:7', 'a/5@example.org')
    """
    found = _TOPIC.fullmatch(chat)
    return found[1] if found else chat
