"""How often Telegram is asked whether somebody is in a group: of a wish once in a while, of what changes its pool each time."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path

from telegram import Bot

from bots.chat.pace import PACES, Throttle
from bots.telegram.handlers import TelegramHandlers
from bots.telegram.outgoing import TelegramSender
from core.pools.models import Community, pool
from sandbox.actor import action_of
from sandbox.telegram import TelegramSandbox
from tests.chat.desk import KEY, Desk, seated
from tests.sandbox.telegram_stage import ADA, BO, CLUB
from tests.stage import PRICE


class Door:
    """The bot at the group, with the whole chat layer behind it."""

    def __init__(self, desk: Desk, bot: Bot, sandbox: TelegramSandbox) -> None:
        self.desk, self.sandbox, self._bot = desk, sandbox, bot
        self._handlers = TelegramHandlers(desk.chat, TelegramSender(bot), bot, Throttle(PACES["telegram"]))
        self._offset = 0

    async def hears(self, said: Awaitable[str], *, leaves: int = 0) -> None:
        """Handles what was said or pressed; somebody has left the group meanwhile, and is back when it is done."""
        await said
        admin = leaves in self.sandbox.state.chat(CLUB).admins
        if leaves:
            self.sandbox.leave(leaves, CLUB)
        for update in await self._bot.get_updates(offset=self._offset, timeout=0):
            self._offset = update.update_id + 1
            await self._handlers.on_update(update.to_dict())
        if leaves:
            self.sandbox.join(leaves, CLUB)
            self.sandbox.state.chat(CLUB).admins |= {leaves} if admin else set()

    async def pool(self) -> Community:
        async with self.desk.stage.app.read() as work:
            found = await work.pools.here("telegram", str(CLUB))
        assert found is not None
        return found

    async def drawn(self) -> float:
        """Pictures that the pool of 50 Credits has set Credits aside for."""
        return (50_000 - await self.desk.stage.balance(pool(1))) / PRICE


async def test_members_are_asked_once_in_a_while_and_admins_each_time(
    sandbox: TelegramSandbox, bot: Bot, sqlite_url: str, tmp_path: Path
) -> None:
    """Whoever was removed spends no more after that; whoever was an admin, a moment ago too, changes nothing."""
    sandbox.flood_limits = None
    async with seated(sqlite_url, tmp_path, "en", membership_seconds=1) as desk:
        await desk.stage.lend(KEY)
        door = Door(desk, bot, sandbox)
        await door.hears(sandbox.say(ADA, CLUB, "/pool"))
        community = await door.pool()
        await desk.stage.app.run(lambda work: work.pools.contribute(community, desk.user, 50_000, "1"))
        await door.hears(sandbox.say(BO, CLUB, "/imagine a fox"), leaves=BO)
        assert await door.drawn() == 0, "of whoever is no member nothing is remembered"
        await door.hears(sandbox.say(BO, CLUB, "/imagine a fox"))
        await door.hears(sandbox.say(BO, CLUB, "/imagine a hat"), leaves=BO)
        assert await door.drawn() == 2, "Telegram was not asked again"
        await asyncio.sleep(1.0)
        await door.hears(sandbox.say(BO, CLUB, "/imagine a cat"), leaves=BO)
        assert await door.drawn() == 2
        await door.hears(sandbox.say(ADA, CLUB, "/imagine a cat"))
        card = await sandbox.wait_for(ADA, CLUB, lambda message: action_of(message, "pool_switch") is not None)
        await door.hears(sandbox.press(ADA, CLUB, card["id"], "pool_switch"), leaves=ADA)
        assert (await door.drawn(), (await door.pool()).policy.enabled) == (3, True)
        await door.hears(sandbox.press(ADA, CLUB, card["id"], "pool_switch"))
        assert not (await door.pool()).policy.enabled
