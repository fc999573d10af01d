"""A group that has another id from now on."""

from core.address import Address, whole
from core.unit_of_work import UnitOfWork


async def follow(work: UnitOfWork, old: Address, chat: str) -> None:
    """Its pool, what is drawn for it and what is said there go along. Again changes nothing.

    A group that moves has no topics: Telegram gives them to supergroups alone, which do not move.
    """
    old = Address(old.platform, whole(old.chat))
    await work.pools.move_chat(old.platform, old.chat, chat)
    await work.generations.move_chat(old, chat)
    await work.ballots.move_chat(old, chat)
    await work.mailbox.move_chat(old, chat)
