"""A Sender that writes down what arrives, and the delivery loop around it: what tests of delivery share."""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select, update

from bots.chat.chat import SENTENCES
from bots.chat.delivery import Delivery
from bots.chat.pace import Bucket, Pace, Throttle
from bots.chat.rendering import dump
from bots.chat.types import Message, Picture, Platform, SendFailed
from core.address import Address
from core.db import SECOND
from core.generations.models import Generation
from core.mailbox.models import Notice, outbox
from core.words import Words
from core.worker import Worker
from tests.stage import Stage, ended, staged

UNHURRIED = Pace(1_000, Bucket(1_000, 0.001), Bucket(1_000, 0.001))
ADA, BO = Address("telegram", "1001"), Address("telegram", "1002")


@dataclass
class Recorder:
    """A Sender that writes down what arrived. `trouble` is what a chat answers next; a chat with a gate hangs until it opens."""

    platform: Platform = "telegram"
    max_picture_bytes: int = 1_000_000
    calls: list[tuple[str, str, str]] = field(default_factory=list)  # "send", "edit" or "delete", chat, text or message id
    pictures: list[Picture] = field(default_factory=list)
    nonces: list[str] = field(default_factory=list)
    trouble: dict[str, deque[SendFailed | None]] = field(default_factory=lambda: defaultdict(deque))
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    tries: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, chat: str, message: Message, nonce: str) -> str:
        await self._answer(chat)
        self.nonces.append(nonce)
        self.pictures += message.pictures
        return self._note("send", chat, message.text)

    async def edit(self, chat: str, message_id: str, message: Message) -> None:
        await self._answer(chat)
        self._note("edit", chat, message.text)

    async def delete(self, chat: str, message_id: str) -> None:
        await self._answer(chat)
        self._note("delete", chat, message_id)

    def of(self, chat: Address, *kinds: str) -> list[str]:
        """Texts that arrived in a chat, sent ones unless named otherwise."""
        return [words for kind, where, words in self.calls if where == chat.chat and kind in (kinds or ("send",))]

    async def _answer(self, chat: str) -> None:
        self.tries += 1
        if chat in self.gates:
            await self.gates[chat].wait()
        await asyncio.sleep(0)
        if self.trouble[chat] and (failed := self.trouble[chat].popleft()) is not None:
            raise failed

    def _note(self, kind: str, chat: str, words: str) -> str:
        self.calls.append((kind, chat, words))
        self.arrived.set()
        return f"m{len(self.calls)}"


@dataclass
class Post:
    """One process that delivers, and the market around it."""

    stage: Stage
    sender: Recorder
    delivery: Delivery

    def anew(self) -> Delivery:
        """The delivery loop of another process."""
        return unhurried(self.stage, self.sender)

    async def say(self, chat: Address, *words: str) -> None:
        """Replies that somebody else has to deliver, in one transaction."""
        notices = [Notice(f"{chat.chat}:{each}", chat, "reply", dump(Message(each))) for each in words]
        await self.stage.app.run(lambda work: work.mailbox.say(notices))

    async def move(self, seconds: float) -> None:
        """So much time passes for what waits in the outbox."""
        shift = int(seconds * SECOND)
        async with self.stage.app.begin() as work:
            await work.connection.execute(update(outbox).values(due_at=outbox.c.due_at - shift, leased_until=outbox.c.leased_until - shift))

    async def later(self, seconds: float) -> None:
        """So much time passes for all: what this process has counted is forgotten too."""
        await self.move(seconds)
        self.delivery = self.anew()

    async def all(self) -> None:
        """Delivers until nothing is due."""
        while await self.delivery.deliver():
            pass

    async def rows(self, chat: Address) -> list[Any]:
        """The outbox of a chat."""
        async with self.stage.app.read() as work:
            return list(await work.connection.execute(select(outbox).where(outbox.c.chat == chat.chat).order_by(outbox.c.id)))

    async def due_in(self, chat: Address, number: int = 0) -> float:
        """Seconds until a row of a chat is due."""
        return (float((await self.rows(chat))[number].due_at) - self.stage.app.now()) / SECOND


def unhurried(stage: Stage, sender: Recorder) -> Delivery:
    """A delivery loop on a platform that takes whatever comes; tests of the pace set their own."""
    delivery = Delivery(stage.app, Words(SENTENCES), {sender.platform: sender})
    delivery._throttles[sender.platform] = Throttle(UNHURRIED)
    return delivery


@asynccontextmanager
async def posted(url: str, folder: Path) -> AsyncIterator[Post]:
    """A Post on a migrated database."""
    async with staged(url, folder) as stage:
        sender = Recorder()
        yield Post(stage, sender, unhurried(stage, sender))


async def running(post: Post, locale: str = "en") -> tuple[Generation, Worker]:
    """A generation whose call hangs, its progress message delivered."""
    stage = post.stage
    await stage.app.run(lambda work: work.users.set_locale(stage.creator.id, locale))
    await stage.lend("sk-1111111111")
    stage.provider.gate = asyncio.Event()
    (made,) = await stage.submit("k")
    await post.all()
    worker = Worker(stage.app, 1)
    assert len((await worker.claim()).leases) == 1
    await post.all()
    return made, worker


async def finish(post: Post, worker: Worker) -> None:
    assert post.stage.provider.gate is not None
    post.stage.provider.gate.set()
    await ended(worker)
