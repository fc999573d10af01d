"""How fast each platform may be written to: spread evenly in each chat, with a small burst, and bounded over all chats."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from core.address import whole

MAX_CHATS = 1000
"""Chats that are counted before those about which there is nothing left to know are forgotten."""
SHORTEST_PAUSE = 0.05
NOTHING = 1e-6
"""Seconds that are no pause: sums of floats are off by less."""
LONGEST_DEBT = 60.0
"""Seconds that answers sent without asking can put a chat off, so that what waits for it arrives all the same."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """At most `burst` at once, then one every `every` seconds: in any w seconds at most `burst` + w / `every`."""

    burst: int
    every: float


@dataclass(frozen=True, slots=True)
class Pace:
    """Messages (and edits) that a platform takes: `overall` in a second; in one chat as `chat` says, in a group as `group` says."""

    overall: int
    chat: Bucket
    group: Bucket

    def of(self, chat: str) -> Bucket:
        """Telegram's groups have negative ids (core.telegram.org/bots/api#chat); elsewhere no chat's name begins so."""
        return self.group if chat.startswith("-") else self.chat


_CHANNEL, _MAILBOX = Bucket(2, 5 / 3), Bucket(5, 4.0)
PACES: Mapping[str, Pace] = {
    "telegram": Pace(28, Bucket(3, 1.0), Bucket(3, 3.75)),
    "discord": Pace(47, _CHANNEL, _CHANNEL),
    "email": Pace(10, _MAILBOX, _MAILBOX),
}
"""Telegram: about 30/s in all, about 1/s in a chat where a few at once are let through, and 20 a minute in a group
(core.telegram.org/bots/faq#my-bot-is-hitting-limits). Discord: 50/s in all; a channel takes 5 in 5 s. Kept a little below.
Mail servers have no common limit; many count what one sender hands in."""


@dataclass(slots=True)
class _Chat:
    """`full_at`: when the bucket will be full again. `held`: nothing may go before."""

    full_at: float = 0.0
    held: float = 0.0


class Throttle:
    """Counts what was sent to one platform by one process: to a group's topics together. Edits give way: they are put off rather than take
    a message's place."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._sent: deque[float] = deque()
        self._chats: dict[str, _Chat] = {}
        self._held = 0.0
        self._tidy_at = MAX_CHATS

    def wait(self, chat: str, now: float, *, edit: bool) -> float:
        """Seconds until one more may go to `chat`; 0 takes the place."""
        bucket, known = self._pace.of(chat), self._chats.get(whole(chat)) or _Chat()
        room = bucket.burst - 1 - (bucket.burst // 2 if edit else 0)
        held = max(known.held, self._held) - now
        spaced = known.full_at - now - room * bucket.every
        pause = max(held, spaced, self._crowded(now))
        if pause > NOTHING:
            return max(SHORTEST_PAUSE, pause)
        self.spend(chat, now)
        return 0.0

    def spend(self, chat: str, now: float) -> None:
        """One more has gone to `chat` without asking: somebody was answered at once."""
        known, every = self._known(chat, now), self._pace.of(chat).every
        known.full_at = min(max(known.full_at, now) + every, now + max(LONGEST_DEBT, self._pace.of(chat).burst * every))
        self._sent.append(now)
        if len(self._sent) > self._pace.overall:
            self._sent.popleft()

    def hold(self, chat: str | None, until: float, now: float) -> None:
        """The platform says that nothing may go to `chat` before `until`; None means to nobody. The longest wait counts."""
        if chat is None:
            self._held = max(self._held, until)
        else:
            known = self._known(chat, now)
            known.held = max(known.held, until)

    def _crowded(self, now: float) -> float:
        """Seconds until the platform as a whole takes one more."""
        return self._sent[0] + 1.0 - now if len(self._sent) >= self._pace.overall else 0.0

    def _known(self, chat: str, now: float) -> _Chat:
        chat = whole(chat)
        if chat not in self._chats and len(self._chats) >= self._tidy_at:
            self._chats = {name: each for name, each in self._chats.items() if max(each.full_at, each.held) > now}
            self._tidy_at = max(MAX_CHATS, 2 * len(self._chats))
        return self._chats.setdefault(chat, _Chat())
