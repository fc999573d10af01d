"""Buying in tests: a Stage with a desk, and the events that a rail would send."""

from dataclasses import dataclass

from sqlalchemy import text

from core.db import MINUTE
from core.desk import Desk
from core.payments.models import Payment, TopUp
from core.payments.rails.base import RailEvent, Said
from core.payments.receive import Applied
from core.users.models import User
from tests.stage import Stage


@dataclass
class Till:
    """What a payments test works with."""

    stage: Stage
    desk: Desk

    async def start(self, key: str = "k1", user: User | None = None, package: str = "small", community: int | None = None) -> Payment:
        """A payment that the buyer can pay, for their wallet or for a pool."""
        buyer = user or self.stage.creator
        begun = await self.stage.app.top_up(TopUp(key, buyer.id, package, "stripe", community_id=community))
        await self.desk.work()
        return await self.payment(begun.id)

    async def bought(self, key: str = "k1", user: User | None = None, package: str = "small", community: int | None = None) -> Payment:
        """A payment that is paid."""
        begun = await self.start(key, user, package, community)
        assert await self.say(paid(begun, f"evt_{begun.order}")) is Applied.APPLIED
        return await self.payment(begun.id)

    async def payment(self, payment_id: int) -> Payment:
        """As it is now."""
        async with self.stage.app.read() as work:
            return await work.payments.get(payment_id)

    async def say(self, event: RailEvent, rail: str = "stripe") -> Applied:
        """The rail says something."""
        return await self.stage.app.receive(rail, event)

    async def wallet(self, user: User | None = None) -> int:
        """Spendable milli-credits."""
        return await self.stage.balance(f"user:{(user or self.stage.creator).id}:wallet")

    async def age(self, minutes: int) -> None:
        """Everything here becomes so much older: what is due later becomes due."""
        back = {"by": minutes * MINUTE}
        async with self.stage.app.begin() as work:
            for table, columns in (
                ("payments", ("due_at", "expires_at", "created_at")),
                ("refunds", ("due_at",)),
                ("inbox", ("leased_until", "received_at")),
            ):
                changes = ", ".join(f"{each} = {each} - :by" for each in columns)
                await work.connection.execute(text(f"UPDATE {table} SET {changes}"), back)


def till(stage: Stage) -> Till:
    """A Till whose desk uses the stage's fake rail."""
    return Till(stage, Desk(stage.app, {"stripe": stage.rail}))


def paid(payment: Payment, event_id: str = "evt_paid", **changes: object) -> RailEvent:
    """What the rail says when a payment came; `changes` by field."""
    facts = {"order": payment.order, "charge": f"pi_{payment.order}", "amount": payment.amount, "currency": payment.currency}
    return RailEvent(event_id, Said.PAID, **(facts | changes))  # type: ignore[arg-type]  # by field


def moved(payment: Payment, said: Said, event_id: str, thing: str, amount: int | None = None, **changes: object) -> RailEvent:
    """What the rail says about money that goes back."""
    facts = {"charge": f"pi_{payment.order}", "amount": amount, "currency": payment.currency, "thing": thing}
    return RailEvent(event_id, said, **(facts | changes))  # type: ignore[arg-type]  # by field
