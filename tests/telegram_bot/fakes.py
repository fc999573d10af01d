"""A chat layer that answers by rule, and a store of updates in memory with leases, as the adapter sees them."""

import asyncio
import contextlib
import io
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from bots.chat.types import Answer, CommandSpec, Event, Message, Paid, Person, Place, Platform

TOKEN = "7000000001:AAsandboxTokenForTests_x-y"
WORDS = {
    ("hint.private", "en"): "I wrote to you in private <3",
    ("hint.private", "zh"): "我已私信给您",
    ("bot", "en"): "Pictures from words",
    ("bot", "zh"): "文字生成图片",
}


@dataclass
class MemoryStore:
    """Implements UpdateStore. `lease`: seconds until what was taken is offered again."""

    lease: float = 30.0
    waiting: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    stored: list[str] = field(default_factory=list)
    checkouts: list[dict[str, Any]] = field(default_factory=list)  # what a webhook put aside
    broken: bool = False
    _leased: dict[str, float] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def store(self, updates: Sequence[tuple[str, str, dict[str, Any]]]) -> None:
        if self.broken:
            raise OSError("no database")
        for event_id, chat, raw in updates:
            self.stored.append(event_id)
            if event_id not in self.waiting and event_id not in self.done:
                self.waiting[event_id] = (chat, raw)
        self._news.set()

    async def take(self, limit: int) -> list[tuple[str, dict[str, Any]]]:
        now = time.monotonic()
        seen: set[str] = set()
        taken: list[tuple[str, dict[str, Any]]] = []
        for event_id, (chat, raw) in self.waiting.items():
            if chat not in seen and self._leased.get(event_id, 0) <= now and len(taken) < limit:
                self._leased[event_id] = now + self.lease
                taken.append((event_id, raw))
            seen.add(chat)
        return taken

    async def take_checkouts(self, limit: int) -> list[dict[str, Any]]:
        taken, self.checkouts = self.checkouts[:limit], self.checkouts[limit:]
        return taken

    async def drop(self, event_id: str) -> None:
        self.finish(event_id)

    async def wait(self, timeout: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), min(timeout, 0.2))
        self._news.clear()

    def finish(self, event_id: str) -> None:
        """What the chat layer does in its transaction."""
        del self.waiting[event_id]
        self.done.append(event_id)


Rule = Callable[[Event], Awaitable[Answer]]
Verdict = Callable[[str, Person], Awaitable[str | None]]


class FakeChat:
    """Implements PayingChatPort: marks events as handled, answers by `rule`, and lets payments through by `verdict`."""

    commands: tuple[CommandSpec, ...] = (CommandSpec("imagine"), CommandSpec("balance", private=True), CommandSpec("ban", admin=True))

    def __init__(self, store: MemoryStore, rule: Rule | None = None) -> None:
        self._store = store
        self.rule = rule or echo
        self.events: list[Event] = []
        self.reports: list[tuple[Answer, str | None]] = []
        self.verdict: Verdict = owner_only
        self.checkouts: list[tuple[str, str, int, str]] = []
        self.payments: list[Paid] = []
        self.refunds: list[tuple[str, str]] = []
        self.moves: list[tuple[str, str]] = []
        self.presences: list[tuple[str, bool]] = []
        self.asking = {"pool"}
        self.about: Place | None = None
        self.troubles = 0  # how many payments are still to fail

    async def handle(self, event: Event) -> Answer:
        self.events.append(event)
        answer = await self.rule(event)
        self._finish(event.id)
        return answer

    async def asks(self, event: Event) -> Place | None:
        return self.about or (event.place if event.word in self.asking else None)

    async def remembered(self, event: Event, asked: Place) -> Place | None:
        return None

    async def told(self, event: Event, said: Place) -> None:
        """Forgets it."""

    async def sent(self, answer: Answer, message_id: str | None) -> None:
        self.reports.append((answer, message_id))

    async def complete(self, event: Event, option: str, typed: str) -> list[tuple[str, str]]:
        return []

    async def checkout(self, order: str, person: Person, amount: int, currency: str) -> str | None:
        self.checkouts.append((order, person.id, amount, currency))
        return await self.verdict(order, person)

    async def paid(self, event_id: str, person: Person, paid: Paid) -> None:
        if self.troubles:
            self.troubles -= 1
            raise OSError("no database")
        assert person.id == paid.person_id
        self.payments.append(paid)
        self._finish(event_id)

    async def moved(self, platform: Platform, event_id: str, old: str, new: str) -> None:
        self.moves.append((old, new))
        self._finish(event_id)

    async def present(self, platform: Platform, event_id: str, group: str, *, here: bool) -> None:
        self.presences.append((group, here))
        self._finish(event_id)

    async def known(self, platform: Platform, groups: Collection[str]) -> None:
        raise AssertionError("Telegram tells of each group alone")

    async def refunded(self, person: Person, charge: str, event_id: str) -> None:
        self.refunds.append((person.id, charge))
        self._finish(event_id)

    def _finish(self, event_id: str) -> None:
        if event_id in self._store.waiting:
            self._store.finish(event_id)

    def describe(self, code: str, locale: str) -> str:
        return WORDS.get((code, locale), f"{code} in {locale}")


async def owner_only(order: str, person: Person) -> str | None:
    """Orders are written "<person>:<number>"; anybody else is refused."""
    return None if order.partition(":")[0] == person.id else f"Order {order} is not yours"


async def echo(event: Event) -> Answer:
    """Repeats what was said."""
    words = f"{event.command or ''} {event.argument or event.text or event.action or ''}".strip()
    return Answer(message=Message(f"you: {words}"), outbox=int(event.id))


def picture(width: int = 64, height: int = 64, kind: str = "PNG", color: str = "teal") -> bytes:
    """A small real picture."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), color).save(file, kind)
    return file.getvalue()
