"""Updates in the inbox: stored before they are acknowledged, veiled, because people paste keys anywhere."""

import json
from collections.abc import Sequence
from typing import Any

from core.app import INBOX, App
from core.hints import wait
from core.mailbox.models import Received
from core.unit_of_work import UnitOfWork

PLATFORM = "telegram"
CHECKOUTS = "telegram:pay"
"""Where a webhook keeps pre-checkout queries, apart from what waits in the order of its chat."""

LONGEST_WAIT = 30.0
"""Seconds until whoever takes updates takes again, also where the hints are away."""


class InboxStore:
    """The UpdateStore of the product."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._woken = app.hints.on(INBOX)

    async def store(self, updates: Sequence[tuple[str, str, dict[str, Any]]]) -> None:
        """Keeps raw updates; those known already change nothing."""
        events = [
            Received(event_id, chat, self._app.vault.veil(json.dumps(raw).encode(), f"{PLATFORM}:{event_id}"))
            for event_id, chat, raw in updates
        ]
        await self._app.run(lambda work: work.mailbox.store(PLATFORM, events))
        await self._app.hints.wake(INBOX)

    async def take(self, limit: int) -> list[tuple[str, dict[str, Any]]]:
        """Leases updates that nobody has handled, at most one per chat."""
        self._app.pulse.beat("telegram.updates", LONGEST_WAIT)
        taken = await self._app.run(lambda work: work.mailbox.take_events(PLATFORM, limit))
        return [(each.event_id, json.loads(self._app.vault.unveil(each.body, f"{PLATFORM}:{each.event_id}"))) for each in taken]

    async def take_checkouts(self, limit: int) -> list[dict[str, Any]]:
        """Takes pre-checkout queries that a webhook stored, for good."""

        async def take(work: UnitOfWork) -> list[Received]:
            taken = await work.mailbox.take_events(CHECKOUTS, limit)
            await work.mailbox.mark_handled([(CHECKOUTS, each.event_id, each.chat) for each in taken])
            return taken

        taken = await self._app.run(take)
        return [json.loads(self._app.vault.unveil(each.body, f"{CHECKOUTS}:{each.event_id}")) for each in taken]

    async def drop(self, event_id: str) -> None:
        """An update that is nothing to us."""
        await self._app.run(lambda work: work.mailbox.mark_handled([(PLATFORM, event_id, "")]))

    async def wait(self, timeout: float) -> None:  # noqa: ASYNC109  # as its protocol
        """Until there may be updates."""
        await wait(self._woken, timeout)
