"""A group that has another id from now on."""

from core.address import Address
from core.unit_of_work import UnitOfWork


async def follow(work: UnitOfWork, old: Address, chat: str) -> None:
    """Its pool, what is drawn for it and what is said there go along. Again changes nothing."""
    await work.pools.move_chat(old.platform, old.chat, chat)
    await work.generations.move_chat(old, chat)
    await work.ballots.move_chat(old, chat)
    await work.mailbox.move_chat(old, chat)
