"""The delivery loop: outbox rows become messages, in order per chat, within each platform's flood limits. One loop for both platforms."""

import asyncio
import io
from collections.abc import Mapping

import structlog
from PIL import Image

from bots.chat.moves import follow
from bots.chat.notices import Wording, word
from bots.chat.pace import PACES, Throttle
from bots.chat.rendering import load, pictures_of, render
from bots.chat.types import Message, Picture, Sender, SendFailed
from core.address import Address, whole
from core.app import OUTBOX, App, outbox_of
from core.blobs import BlobNotFound, BlobsUnavailable
from core.db import SECOND, UNREACHABLE
from core.errors import NotFound
from core.hints import wait
from core.mailbox.models import Delivery as Row
from core.mailbox.models import Sent
from core.unit_of_work import UnitOfWork
from core.vault.errors import CannotOpen
from core.words import Text, Words

AT_ONCE = 64
TAKE_PAUSE = 0.01
"""Seconds between two looks while there is work: what becomes due meanwhile is taken together, at a cost of one transaction."""
IDLE_PAUSE, TROUBLE_PAUSE = 1.0, 2.0
"""Seconds until the next look where nobody wakes the loop: usually, and when the database is away."""
SHORT_PAUSE = 1.0
"""Seconds that a message waits for flood limits with its taker; a longer wait is written down, and so is that of an edit."""
MAX_TRIES = 20
BACK_OFF = (1, 2, 5, 15, 60, 300)
"""Seconds until the next try, when the platform did not say."""
PRIVATE_ONLY = "-"
"""The id of a message that cannot be edited (seen by one person alone)."""

log = structlog.get_logger(__name__)


class Delivery:
    """One per process that has senders. `senders` by platform name; a platform whose adapter answers at once brings the throttle that
    counts those answers."""

    def __init__(self, app: App, words: Words, senders: Mapping[str, Sender], throttles: Mapping[str, Throttle] | None = None) -> None:
        self._app = app
        self._words = words
        self._senders = senders
        self._throttles = {name: Throttle(PACES[name]) for name in senders} | dict(throttles or {})
        self._busy = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Delivers until `stop`; at most AT_ONCE messages are under way, and none of them holds up the others."""
        due = self._app.hints.on(OUTBOX, *map(outbox_of, self._senders))

        async def wake_to_stop() -> None:
            await stop.wait()
            due.set()

        async with asyncio.TaskGroup() as group:
            group.create_task(wake_to_stop())
            while not stop.is_set():
                for platform in self._senders:
                    self._app.pulse.beat(platform, TROUBLE_PAUSE)
                try:
                    rows = await self._take(AT_ONCE - self._busy)
                except UNREACHABLE as error:
                    log.error("delivery_trouble", problem=type(error).__name__)
                    await wait(due, TROUBLE_PAUSE)
                    continue
                for row in rows:
                    self._busy += 1
                    group.create_task(self._under_way(row, due))
                await (asyncio.sleep(TAKE_PAUSE) if rows else wait(due, IDLE_PAUSE))

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
        pause, patience = self._pause(row), 0.0 if row.live else SHORT_PAUSE
        while 0 < pause <= patience:
            await asyncio.sleep(pause)
            pause, patience = self._pause(row), patience - pause
        if pause:
            pause = max(pause, SHORT_PAUSE) if row.live else pause
            await self._app.run(lambda work: work.mailbox.put_off(row.id, work.now + int(pause * SECOND)))
            return
        try:
            await self._say(self._senders[row.address.platform], row)
        except SendFailed as error:
            await self._failed(row, error)
        except (NotFound, BlobsUnavailable, CannotOpen) as error:
            await self._failed(row, SendFailed("later" if isinstance(error, BlobsUnavailable) else "refused", str(error)))

    def _pause(self, row: Row) -> float:
        """Seconds until the row may be said; 0 takes its place."""
        return self._throttles[row.address.platform].wait(row.address.chat, asyncio.get_running_loop().time(), edit=row.live)

    async def _say(self, sender: Sender, row: Row) -> None:
        wording, message = await self._message(sender, row)
        if message is None:
            await self._app.delivered(Sent(row.id, None))
            return
        sent = row.message
        if row.live and row.message not in (None, PRIVATE_ONLY):
            await sender.edit(row.address.chat, str(row.message), message)
        elif not row.live:
            sent = await sender.send(row.address.chat, message, str(row.id))
        edit_at = self._app.now() + wording.edit_in if wording.live else None
        clears = (row.address, row.subject) if wording.clears and row.subject else None
        followed = await self._app.delivered(Sent(row.id, sent, edit_at, clears))
        if followed not in (None, PRIVATE_ONLY):
            await self._clear(sender, row.address, str(followed))

    async def _clear(self, sender: Sender, address: Address, message: str) -> None:
        """The message that followed a generation has done its work once the result has arrived."""
        try:
            await sender.delete(address.chat, message)
        except SendFailed as error:
            log.info("not_cleared", problem=error.kind)

    async def _message(self, sender: Sender, row: Row) -> tuple[Wording, Message | None]:
        if row.kind == "reply":
            return Wording(None, "en"), load(row.body)
        wording = await word(self._app, row)
        if wording.reply is None:
            return wording, None
        try:
            pictures = await pictures_of(self._app, wording.reply)
        except BlobNotFound:
            return wording, Message(self._words.say(Text("error.blob_not_found"), wording.locale))
        most = sender.max_picture_bytes
        fitting = tuple([each if len(each.data) <= most else await asyncio.to_thread(fit, each, most) for each in pictures])
        return wording, render(self._words, wording.reply, wording.locale, fitting)

    async def _failed(self, row: Row, error: SendFailed) -> None:
        log.warning("not_delivered", row=row.id, platform=row.address.platform, kind=error.kind, problem=error.problem[:200])
        later = error.kind == "later" and row.tries < MAX_TRIES
        pause = error.retry_after if error.retry_after is not None else BACK_OFF[min(row.tries, len(BACK_OFF) - 1)]
        if error.retry_after is not None:  # whatever was told to wait, its chat is meant, or all of them
            now = asyncio.get_running_loop().time()
            self._throttles[row.address.platform].hold(None if error.everywhere else row.address.chat, now + error.retry_after, now)

        async def write(work: UnitOfWork) -> None:
            if error.moved_to is not None:
                await follow(work, row.address, error.moved_to)
                await work.mailbox.put_off(row.id, work.now)
            elif error.kind == "blocked":
                await work.mailbox.drop_chat(row.address, error.problem)
            elif later:
                await work.mailbox.postpone(row.id, work.now + int(pause * SECOND))
            else:
                await work.mailbox.drop(row.id, f"{error.kind}: {error.problem}")
                if error.kind == "gone" and not row.live:
                    await work.pools.mark_chat(row.address.platform, whole(row.address.chat), gone=True)

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
