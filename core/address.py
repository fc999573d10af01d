"""Where something is said: a platform and what its sender calls a chat. Plain data for the mailbox and for users."""

from dataclasses import dataclass

MAX_CHAT = 64


@dataclass(frozen=True, slots=True)
class Address:
    """`platform` such as "telegram"; `chat` means something to that platform's sender alone."""

    platform: str
    chat: str
