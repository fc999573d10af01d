"""What moderation says to prompts and to made pictures: asks whom the operator named, and lets the lists of core/moderation.py decide.

A prompt is looked at before a key is opened. A picture is looked at before anybody sees it: one that its audience is not shown is thrown
away and not charged; one about which nothing is known in time is delivered as a spoiler.
"""

import asyncio
from collections.abc import Awaitable, Callable
from io import BytesIO

import structlog
from PIL import Image

from core.app import App
from core.generations.models import Generation
from core.moderation import Verdict

RETRY_SECONDS = 1.0
LOOKED_AT = 768
"""Pixels of the longer side of what is looked at: enough to recognise anything, and small enough to send."""

Look = Callable[[bytes], Awaitable[frozenset[str] | None]]
"""The categories that a JPEG is flagged for; None: no answer is to be had."""

log = structlog.get_logger(__name__)


class Judge:
    """One per worker."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def of_prompt(self, generation: Generation) -> Verdict | None:
        """What follows from a prompt. Where the moderation provider is silent, the word lists were enough or, by setting, the generation
        waits for an answer; None after that, or when its time is over: what its key may do in a minute was reckoned before."""
        app = self._app
        if app.moderator is None or not generation.prompt:
            return Verdict.FINE
        waited = False
        while (found := await app.moderator.look(generation.prompt)) is None:
            log.warning("moderation_silent", generation=generation.id, outage=app.settings.moderation_outage)
            if app.settings.moderation_outage == "go_on":
                return Verdict.FINE
            if app.now() >= generation.deadline:
                return None
            waited = True
            await asyncio.sleep(RETRY_SECONDS)
        if waited:
            return None
        return app.moderation.judge(found, generation.audience)

    async def of_picture(self, generation: Generation, data: bytes) -> Verdict:
        """What follows from a made picture, within MODERATION_SECONDS. Veiled where one of those who look gave no answer by then."""
        looks = self._looks()
        if not looks:
            return Verdict.FINE
        small = await asyncio.to_thread(reduced, data)
        answers = [None] if small is None else await asyncio.gather(*(self._answer(look, small) for look in looks))
        found = frozenset[str]().union(*(each for each in answers if each is not None))
        verdict = self._app.moderation.judge(found, generation.audience)
        if verdict is Verdict.FINE and None in answers:
            log.warning("moderation_silent", generation=generation.id, outage="spoiler")
            return Verdict.VEILED
        return verdict

    def _looks(self) -> list[Look]:
        app = self._app
        provider: list[Look] = [] if app.moderator is None else [app.moderator.look_at]
        return provider if app.classifier is None else [*provider, app.classifier.look_at]

    async def _answer(self, look: Look, picture: bytes) -> frozenset[str] | None:
        try:
            async with asyncio.timeout(self._app.settings.moderation_seconds):
                while True:
                    if (found := await look(picture)) is not None:
                        return found
                    await asyncio.sleep(RETRY_SECONDS)
        except TimeoutError:
            return None


def reduced(data: bytes) -> bytes | None:
    """A picture as a JPEG of at most LOOKED_AT pixels on a side; None for bytes that cannot be read."""
    try:
        with Image.open(BytesIO(data)) as image:
            image.draft("RGB", (LOOKED_AT, LOOKED_AT))
            small = image.convert("RGB")
    except Exception:  # noqa: BLE001  # pillow's parsers raise anything at all on nonsense; whatever it is, it means "no picture"
        return None
    small.thumbnail((LOOKED_AT, LOOKED_AT))
    buffer = BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
