"""A moderation provider: OpenAI's `POST /v1/moderations`, free of charge. https://platform.openai.com/docs/api-reference/moderations

It is asked with the operator's own key: about the prompt before an image provider is, so that what it finds never touches a miner's
account, and about the picture before anybody sees it. Of pictures it judges self-harm, sexual and violence alone.
"""

import base64
from collections.abc import Mapping, Sequence

from core.providers.base import Fault
from core.providers.http import Client, call, sendable
from core.vault.secret import Secret

MODEL = "omni-moderation-latest"
SECONDS = 5.0
"""An answer that takes longer counts as none."""
MAX_ANSWER = 256 * 1024
MAX_CATEGORY = 40

Part = Mapping[str, str | Mapping[str, str]]
"""Of what is asked about: {"type": "image_url", "image_url": {"url": …}}."""


class Moderator:
    """Shared by all calls of a process; its client is the caller's."""

    def __init__(self, base_url: str, key: Secret, client: Client) -> None:
        self._url = base_url.rstrip("/")
        self._key = key
        self._client = client

    async def look(self, prompt: str) -> frozenset[str] | None:
        """The categories that a prompt is flagged for, such as "violence/graphic"; None where no answer is to be had.

        Never raises for what the outside does.
        """
        return await self._ask(sendable(prompt))

    async def look_at(self, picture: bytes) -> frozenset[str] | None:
        """The same for a JPEG."""
        url = "data:image/jpeg;base64," + base64.b64encode(picture).decode()
        return await self._ask([{"type": "image_url", "image_url": {"url": url}}])

    async def _ask(self, about: str | Sequence[Part]) -> frozenset[str] | None:
        content = {"model": MODEL, "input": about}
        answer = await call(
            self._client, "POST", f"{self._url}/v1/moderations", self._key, seconds=SECONDS, limit=MAX_ANSWER, content=content
        )
        if isinstance(answer, Fault) or answer.status != 200:
            return None
        match answer.json():
            case {"results": [{"categories": dict(categories), "flagged": bool(flagged)}]}:
                found = {str(name)[:MAX_CATEGORY] for name, hit in categories.items() if hit is True}
                return frozenset(found or ({"flagged"} if flagged else ()))
        return None
