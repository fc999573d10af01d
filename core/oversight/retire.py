"""Models that retire soon: who lends keys that serve them, and the admins, are told once for each model."""

from collections.abc import Iterable

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from core.catalog import Model
from core.mailbox.models import Notice
from core.mailbox.service import Mailbox
from core.resources.models import State, resources
from core.users.service import Users

LENT = (State.LISTED, State.PAUSED)
AT_ONCE = 1_000
"""Readers that one statement names."""


async def announce(connection: AsyncConnection, now: int, retiring: Iterable[Model]) -> int:
    """Writes a notice for each model and reader; once, as its key lives longer than the warning. Returns for how many there are."""
    people, count = Users(connection, now), 0
    for model in retiring:
        serves = or_(resources.c.models.is_(None), resources.c.models.contains(f'"{model.provider_model}"', autoescape=True))
        lent = (resources.c.provider == model.provider) & resources.c.state.in_(LENT) & serves
        owners = (await connection.scalars(select(resources.c.owner_id).where(lent).distinct().order_by(resources.c.owner_id))).all()
        sides = dict.fromkeys(owners, "miner") | dict.fromkeys(await people.admins(), "admin")
        readers = sorted(sides)
        for start in range(0, len(readers), AT_ONCE):
            addresses = await people.addresses(readers[start : start + AT_ONCE])
            notices = [
                Notice(
                    f"retires:{model.id}:{model.retires}:{reader}", address, "retires",
                    {"reader": reader, "side": sides[reader], "model": model.id, "date": str(model.retires)},
                )
                for reader, address in sorted(addresses.items())
            ]  # fmt: skip
            await Mailbox(connection, now).say(notices)
            count += len(notices)
    return count
