"""A worker's desk or an api in a process of its own, there to be killed: it works as any other does, up to one point.

python -m tests.payments.killed_till POINT ROLE, with its settings in the environment. At the point it says so in one line and stands still.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from api.server import serve
from core.app import App, open_app
from core.config import load
from core.db import Database
from core.desk import Desk
from core.payments.models import State, payments
from core.payments.rails.base import Checkout, Opened, Rail, RailEvent, Refunding, Returned
from core.payments.receive import Applied
from tests.generations.killed_worker import stand_still
from tests.payments.rails_stage import real_rails


class Point(StrEnum):
    """Where a process can be killed, in the order in which it comes by."""

    OPENED = "the rail has opened the checkout, nobody has noted it"
    ASKED = "the rail has answered, nothing is kept"
    KEPT = "the event is in the inbox, nothing is applied"
    APPLYING = "in the crediting, before its commit"
    APPLIED = "after the crediting"


class _Rail:
    """A rail that stops where it is told to."""

    def __init__(self, rail: Rail) -> None:
        self._rail = rail
        self.name, self.currency = rail.name, rail.currency
        self.read = rail.read

    async def open(self, checkout: Checkout) -> Opened:
        opened = await self._rail.open(checkout)
        await stand_still(Point.OPENED)
        return opened

    async def ask(self, order: str, reference: str | None) -> RailEvent | None:
        event = await self._rail.ask(order, reference)
        await stand_still(Point.ASKED)
        return event

    async def refund(self, refunding: Refunding) -> Returned:
        return await self._rail.refund(refunding)

    async def close(self, order: str, reference: str | None) -> None:
        await self._rail.close(order, reference)


class _App(App):
    def __init__(self, app: App) -> None:
        vars(self).update(vars(app))

    async def apply(self, rail: str, event: RailEvent) -> Applied:
        await stand_still(Point.KEPT)
        return await super().apply(rail, event)


class _Database(Database):
    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """The crediting is known by what it has written: a payment that is paid."""
        async with super().begin() as connection:
            yield connection
            paid = await connection.scalar(select(payments.c.id).where(payments.c.state == State.PAID).limit(1))
            if paid is not None:
                await stand_still(Point.APPLYING)
        if paid is not None:
            await stand_still(Point.APPLIED)


async def main() -> None:
    """Works until it is killed."""
    async with open_app(load(env_file=None), {}) as opened, real_rails(opened) as rails:
        app = _App(opened)
        app.database = _Database(app.settings.sqlalchemy_url)
        app.rails = {name: _Rail(rail) for name, rail in rails.items()}
        if sys.argv[2] == "worker":
            await Desk(app, app.rails).run()
        else:
            await serve(app, asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main())
