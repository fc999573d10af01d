"""The desk: what payments need from outside. Opens checkouts, asks rails that kept silent, tells them of refunds, closes what nobody paid.

Each process runs it for the rails that it can reach: the worker for Stripe and Alipay, the Telegram bot for Stars. No transaction is open
while a rail is asked. Everything to do is a row with a due time, so a desk that dies leaves nothing behind but a lease that lapses.
"""

import asyncio
from collections.abc import Mapping

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from core.app import OUTBOX, PAYMENTS, App
from core.db import MINUTE, UNREACHABLE
from core.errors import AetherflowError
from core.hints import wait
from core.payments.models import Payment, Refund, RefundKind, RefundState, State
from core.payments.rails.base import Checkout, Rail, RailAway, RailEvent, RailRefused, Refunding, Returned, Said
from core.payments.rails.stars import PAGE, StarsRail
from core.payments.receive import decode, drop_refund, finish_refund, lock_refund
from core.unit_of_work import UnitOfWork

AT_ONCE = 16
AWAY = 5
"""Failures of a rail, one after the other in whatever process, by which the admins are told."""
STARS_READ = "stars:read"
KEPT_SECONDS = 30 * 24 * 3600

log = structlog.get_logger(__name__)


class Desk:
    """One per process that reaches rails; `rails` by name."""

    def __init__(self, app: App, rails: Mapping[str, Rail]) -> None:
        self._app = app
        self._rails = rails
        self._names = list(rails)
        self._caught_up_at = 0

    async def run(self) -> None:
        """Works until cancelled; outlives a database that is away for a while."""
        due = self._app.hints.on(PAYMENTS)
        while True:
            try:
                while await self.work():
                    pass
                await self._catch_up_if_due()
            except (*UNREACHABLE, AetherflowError) as error:
                log.error("desk_trouble", problem=type(error).__name__)
            await wait(due, self._app.settings.sweep_seconds)

    async def work(self) -> int:
        """One round of everything that is due; returns how much there was."""
        payments = await self._app.run(lambda work: work.payments.take_due(self._names, AT_ONCE))
        refunds = await self._app.run(lambda work: work.payments.take_refunds(self._names, AT_ONCE))
        await asyncio.gather(*(self._payment(each) for each in payments), *(self._refund(*each) for each in refunds))
        return len(payments) + len(refunds) + await self._unapplied()

    async def _catch_up_if_due(self) -> None:
        now = self._app.now()
        if now - self._caught_up_at >= self._app.settings.sync_minutes * MINUTE:
            self._caught_up_at = now
            await self.catch_up()

    async def catch_up(self) -> int:
        """Stars whose message never came are found in the bot's list of transactions; returns how many lines were read.

        The place reached is a hint: without it the list is read from its beginning, and what is known changes nothing.
        """
        rail = self._rails.get("stars")
        if not isinstance(rail, StarsRail):
            return 0
        offset = begun = int(await self._app.hints.recall(STARS_READ) or 0)
        try:
            while True:
                events, lines = await rail.missed(offset)
                for event in events:
                    await self._app.receive(rail.name, event)
                offset += lines
                if lines < PAGE:
                    break
        except RailAway as error:
            log.warning("rail_away", rail=rail.name, problem=error.facts.get("problem"))
        await self._app.hints.remember(STARS_READ, str(offset), KEPT_SECONDS)
        return offset - begun

    async def _unapplied(self) -> int:
        """Events that were kept and not applied: their process died in between, or they came too early."""
        found = 0
        for name in self._names:
            kept = await self._app.run(lambda work, rail=name: work.mailbox.take_events(rail, AT_ONCE))  # type: ignore[misc]  # a default
            for each in kept:
                await self._app.apply(name, decode(self._app.vault.unveil(each.body, f"{name}:{each.event_id}")))
            found += len(kept)
        return found

    async def _payment(self, payment: Payment) -> None:
        try:
            await (self._open(payment) if payment.state is State.CREATED else self._ask(payment))
        except RailAway as error:
            log.warning("rail_away", rail=payment.rail, payment=payment.id, problem=error.facts.get("problem"))
            await self._app.run(lambda work: work.payments.ask_later(payment))
            await self._failed(payment.rail)
        except RailRefused as error:
            problem = str(error.facts.get("problem", ""))[:64]
            log.error("rail_refused", rail=payment.rail, payment=payment.id, problem=problem)
            await self._end(payment, State.FAILED, problem)
        else:
            await self._answered(payment.rail)

    async def _failed(self, rail: str) -> None:
        key = f"rail:{rail}"

        async def count(work: UnitOfWork) -> bool:
            return await work.alerts.failed(key) >= AWAY and await work.alerts.say(key, "rail", rail=rail)

        if await self._app.run(count):
            await self._app.hints.wake(OUTBOX)

    async def _answered(self, rail: str) -> None:
        key = f"rail:{rail}"
        async with self._app.read() as work:
            if await work.alerts.is_well(key):
                return

        async def forget(work: UnitOfWork) -> bool:
            await work.alerts.answered(key)
            return await work.alerts.over(key, "rail", rail=rail)

        if await self._app.run(forget):
            await self._app.hints.wake(OUTBOX)

    async def _open(self, payment: Payment) -> None:
        if payment.expires_at <= self._app.now():
            await self._end(payment, State.EXPIRED)
            return
        opened = await self._rails[payment.rail].open(await self._checkout(payment))

        async def write(work: UnitOfWork) -> None:
            if await work.payments.opened(payment, opened):
                await work.mailbox.touch([payment.subject])

        await self._app.run(write)
        await self._app.hints.wake(OUTBOX)

    async def _checkout(self, payment: Payment) -> Checkout:
        app = self._app
        async with app.read() as work:
            user = await work.users.get(payment.user_id)
        base = app.settings.public_url.rstrip("/")
        return Checkout(
            payment.order, f"{payment.credits // 1000} Credits", payment.amount, payment.currency, payment.expires_at, user.locale,
            f"{base}/payments/{payment.order}", f"{base}/webhooks/{payment.rail}", payment.way,
        )  # fmt: skip

    async def _ask(self, payment: Payment) -> None:
        """A payment that is pending: paid without a word, still open, or over."""
        rail, app = self._rails[payment.rail], self._app
        event = await rail.ask(payment.order, payment.reference)
        if event is not None and event.said is not Said.PENDING:
            await app.receive(payment.rail, event)
            return
        if payment.expires_at <= app.now():
            try:
                await rail.close(payment.order, payment.reference)
            except RailRefused:  # it was paid between the question and now
                await app.run(lambda work: work.payments.ask_later(payment))
                return
            await app.receive(payment.rail, RailEvent(f"closed:{payment.order}", Said.EXPIRED, payment.order))
            return
        await app.run(lambda work: work.payments.ask_later(payment))

    async def _end(self, payment: Payment, state: State, problem: str | None = None) -> None:
        async def write(work: UnitOfWork) -> None:
            if await work.payments.failed(payment, state, problem):
                await work.mailbox.touch([payment.subject])

        await self._app.run(write)
        await self._app.hints.wake(OUTBOX)

    async def _refund(self, refund: Refund, payment: Payment) -> None:
        charge = refund.thing if refund.kind is RefundKind.SURPLUS else payment.charge
        assert charge is not None, refund
        payer = payment.address.chat if payment.address else None
        telling = Refunding(refund.name, payment.order, charge, refund.amount, payment.amount, payment.currency, refund.reason, payer)
        try:
            returned = await self._rails[payment.rail].refund(telling)
        except RailAway as error:
            log.warning("rail_away", rail=payment.rail, refund=refund.id, problem=error.facts.get("problem"))
            returned = Returned.PENDING
            await self._failed(payment.rail)
        else:
            await self._answered(payment.rail)

        async def write(work: UnitOfWork) -> None:
            now_payment, now_refund = await lock_refund(work.connection, refund)
            if now_refund.state is not RefundState.REQUESTED:
                return  # an event was faster
            if returned is Returned.PENDING:
                await work.payments.refund_later(refund)
            else:
                end = drop_refund if returned is Returned.REFUSED else _finish
                await end(work.connection, work.now, now_payment, now_refund)

        await self._app.run(write)
        await self._app.hints.wake(OUTBOX)


async def _finish(connection: AsyncConnection, now: int, payment: Payment, refund: Refund) -> None:
    await finish_refund(connection, now, payment, refund, None)
