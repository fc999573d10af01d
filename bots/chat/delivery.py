"""The delivery loop: outbox rows become messages, in order per chat, within each platform's flood limits. One loop for both platforms."""

import asyncio
import io
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from PIL import Image

from bots.chat.notices import EDIT_EVERY, Wording, word
from bots.chat.rendering import load, pictures_of, render
from bots.chat.types import Message, Picture, Sender, SendFailed
from core.address import Address
from core.app import OUTBOX, App
from core.blobs import BlobNotFound, BlobsUnavailable
from core.db import SECOND, UNREACHABLE
from core.errors import NotFound
from core.hints import wait
from core.mailbox.models import Delivery as Row
from core.unit_of_work import UnitOfWork
from core.vault.errors import CannotOpen
from core.words import Text, Words

AT_ONCE = 64
MAX_TRIES = 20
BACK_OFF = (1, 2, 5, 15, 60, 300)
"""Seconds until the next try, when the platform did not say."""
PRIVATE_ONLY = "-"
"""The id of a message that cannot be edited (seen by one person alone)."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """Messages (and edits) that a platform takes: `overall` a second; in one chat `burst` within `window` seconds, `at_once` in one."""

    overall: int
    burst: int
    window: float
    at_once: int


PACES: Mapping[str, Pace] = {"telegram": Pace(25, 18, 60.0, 3), "discord": Pace(40, 5, 5.0, 5), "email": Pace(10, 20, 60.0, 5)}
"""Telegram: about 30/s in all, 20 a minute in a group, and about 1/s in a chat, where a few at once are let through; Discord: 50/s in all
and 5 in 5 s in a channel. Kept a little below.
Mail servers have no common limit; many count what one sender hands in."""
MAX_CHATS = 1000
"""Chats that are counted before those that have been silent for a window are forgotten."""


class Throttle:
    """Counts what was sent. Edits give way: they are put off rather than take the place of a message."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._sent: deque[float] = deque()
        self._chats: dict[str, deque[float]] = defaultdict(deque)
        self._held: dict[str, float] = {}

    def hold(self, chat: str, until: float) -> None:
        """The platform says that nothing may go to `chat` before `until`."""
        self._held[chat] = until

    def wait(self, chat: str, now: float, *, edit: bool) -> float:
        """Seconds until one more may go to `chat`; 0 takes the place."""
        if len(self._chats) >= MAX_CHATS:
            self._forget_silent(now)
        if (held := self._held.get(chat, 0.0) - now) > 0:
            return held
        recent = self._chats[chat]
        _forget(self._sent, now - 1.0)
        _forget(recent, now - self._pace.window)
        room = self._pace.burst // 2 if edit else self._pace.burst
        if len(recent) >= room:
            return max(0.05, recent[-room] + self._pace.window - now)
        if len(recent) >= self._pace.at_once and recent[-self._pace.at_once] > now - 1.0:
            return max(0.05, recent[-self._pace.at_once] + 1.0 - now)
        if len(self._sent) >= self._pace.overall:
            return max(0.05, self._sent[0] + 1.0 - now)
        recent.append(now)
        self._sent.append(now)
        return 0.0

    def _forget_silent(self, now: float) -> None:
        self._held = {chat: until for chat, until in self._held.items() if until > now}
        for chat in [chat for chat, times in self._chats.items() if not times or times[-1] <= now - self._pace.window]:
            del self._chats[chat]


class Delivery:
    """One per process that has senders. `senders` by platform name."""

    def __init__(self, app: App, words: Words, senders: Mapping[str, Sender]) -> None:
        self._app = app
        self._words = words
        self._senders = senders
        self._throttles = {name: Throttle(PACES[name]) for name in senders}
        self._busy = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Delivers until `stop`; at most AT_ONCE messages are under way, and none of them holds up the others."""
        due = self._app.hints.on(OUTBOX)
        async with asyncio.TaskGroup() as group:
            while not stop.is_set():
                try:
                    rows = await self._take(AT_ONCE - self._busy)
                except UNREACHABLE as error:
                    log.error("delivery_trouble", problem=type(error).__name__)
                    await wait(due, 2.0)
                    continue
                for row in rows:
                    self._busy += 1
                    group.create_task(self._under_way(row, due))
                if not rows:
                    await wait(due, 1.0)

    async def deliver(self) -> int:
        """One round, to its end; returns how many rows were taken."""
        rows = await self._take(AT_ONCE)
        await asyncio.gather(*(self._one(row) for row in rows))
        return len(rows)

    async def _take(self, most: int) -> list[Row]:
        if most <= 0:
            return []
        return await self._app.run(lambda work: work.mailbox.take_deliveries(list(self._senders), most))

    async def _under_way(self, row: Row, due: asyncio.Event) -> None:
        try:
            await self._one(row)
        except UNREACHABLE as error:
            log.error("delivery_trouble", row=row.id, problem=type(error).__name__)
        finally:
            self._busy -= 1
            due.set()  # there is room, and the chat's next row may go

    async def _one(self, row: Row) -> None:
        sender = self._senders[row.address.platform]
        pause = self._throttles[row.address.platform].wait(row.address.chat, asyncio.get_running_loop().time(), edit=row.live)
        if pause:
            await self._app.run(lambda work: work.mailbox.put_off(row.id, work.now + int(pause * SECOND)))
            return
        try:
            await self._say(sender, row)
        except SendFailed as error:
            await self._failed(row, error)
        except (NotFound, BlobsUnavailable, CannotOpen) as error:
            await self._failed(row, SendFailed("later" if isinstance(error, BlobsUnavailable) else "refused", str(error)))

    async def _say(self, sender: Sender, row: Row) -> None:
        wording, message = await self._message(sender, row)
        if message is None:
            await self._app.run(lambda work: work.mailbox.delivered(row.id, None))
            return
        sent = row.message
        if row.live and row.message not in (None, PRIVATE_ONLY):
            await sender.edit(row.address.chat, str(row.message), message)
        elif not row.live:
            sent = await sender.send(row.address.chat, message, str(row.id))
        edit_at = self._app.now() + EDIT_EVERY if wording.live else None

        async def write(work: UnitOfWork) -> tuple[int, str] | None:
            await work.mailbox.delivered(row.id, sent, edit_at)
            return await work.mailbox.live_message(row.address, str(row.subject)) if wording.clears and row.subject else None

        followed = await self._app.run(write)
        if followed is not None:
            await self._clear(sender, row.address, *followed)

    async def _clear(self, sender: Sender, address: Address, row_id: int, message: str) -> None:
        """The message that followed a generation has done its work once the result has arrived."""
        try:
            if message != PRIVATE_ONLY:
                await sender.delete(address.chat, message)
        except SendFailed as error:
            log.info("not_cleared", problem=error.kind)
        await self._app.run(lambda work: work.mailbox.delivered(row_id, None))

    async def _message(self, sender: Sender, row: Row) -> tuple[Wording, Message | None]:
        if row.kind == "reply":
            return Wording(None, "en"), load(row.body)
        async with self._app.read() as work:
            wording = await word(self._app, work, row)
        if wording.reply is None:
            return wording, None
        try:
            pictures = await pictures_of(self._app, wording.reply)
        except BlobNotFound:
            return wording, Message(self._words.say(Text("error.blob_not_found"), wording.locale))
        fitting = tuple([await asyncio.to_thread(fit, each, sender.max_picture_bytes) for each in pictures])
        return wording, render(self._words, wording.reply, wording.locale, fitting)

    async def _failed(self, row: Row, error: SendFailed) -> None:
        log.warning("not_delivered", row=row.id, platform=row.address.platform, kind=error.kind, problem=error.problem[:200])
        later = error.kind == "later" and row.tries < MAX_TRIES
        pause = error.retry_after if error.retry_after is not None else BACK_OFF[min(row.tries, len(BACK_OFF) - 1)]
        if error.retry_after is not None:  # whatever was told to wait, its chat is meant
            until = asyncio.get_running_loop().time() + error.retry_after
            self._throttles[row.address.platform].hold(row.address.chat, until)

        async def write(work: UnitOfWork) -> None:
            if error.kind == "blocked":
                await work.mailbox.drop_chat(row.address, error.problem)
            elif later:
                await work.mailbox.postpone(row.id, work.now + int(pause * SECOND))
            else:
                await work.mailbox.drop(row.id, f"{error.kind}: {error.problem}")

        await self._app.run(write)


def fit(picture: Picture, limit: int) -> Picture:
    """The picture within the sender's limit: as it is, else as JPEG, smaller until it fits."""
    if len(picture.data) <= limit:
        return picture
    image = Image.open(io.BytesIO(picture.data)).convert("RGB")
    while True:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=90)
        if buffer.tell() <= limit or min(image.size) < 64:
            return Picture(buffer.getvalue(), "image/jpeg", picture.name, picture.spoiler)
        image = image.resize((image.width * 3 // 4, image.height * 3 // 4))


def _forget(times: deque[float], before: float) -> None:
    while times and times[0] <= before:
        times.popleft()
