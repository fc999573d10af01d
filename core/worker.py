"""The worker: runs what is due. Claims, calls, settles; keeps leases alive; sweeps up what others left; tries keys.

Only the worker calls providers, and only here is a key opened, for one call. No transaction is open while a call waits.
"""

import asyncio
import hashlib
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import stamina
import structlog
from sqlalchemy.exc import DBAPIError

from core.app import ENDED, GENERATIONS, OUTBOX, PROBES, App
from core.blobs import BlobNotFound, BlobsUnavailable
from core.db import HOUR, MINUTE, SECOND
from core.desk import Desk
from core.disputes.alert import escalate
from core.disputes.rules import examine
from core.errors import AetherflowError
from core.generations.claim import Claimed, claim_many
from core.generations.digest import until_digest, write_digests
from core.generations.models import Generation, Lease, OutcomeKind, Settlement
from core.generations.settle import RELEASE_BATCH, give_up, lapsed, release_earnings, renew
from core.hints import wait
from core.joining.service import collect_joined
from core.judge import Judge
from core.ledger.seal import BATCH, seal
from core.mailbox.models import Notice
from core.moderation import Verdict
from core.oversight.alert import EVERY
from core.oversight.retire import announce
from core.payments.service import collect_debts
from core.pools.refill import REFILL_BATCH
from core.providers.base import Delivered, FailedCost, FailedFree, Fault, ImageRequest, Operation, Outcome, Probe, Rejected
from core.resources.models import Resource
from core.resources.rules import news_of_probe
from core.unit_of_work import UnitOfWork
from core.vault.errors import CannotOpen, SecretMissing, VaultAway
from core.vault.models import Sealed
from core.vault.secret import Secret
from core.vault.service import fetch_one
from core.vault.transit import TOO_OLD

PROBES_AT_ONCE = 16
SWEEP_LIMIT = 200
SETTLE_SECONDS = 60.0
"""How long a finished call tries to get its result into the database."""
DRAIN_SECONDS = 30.0
"""How long a stopping worker waits for its running calls; what is left lapses and is taken up by another."""
RETRY_SECONDS = 1.0
AUDIT_LEASE = HOUR
"""No audit takes longer; one whose worker died is run again after it."""
CLAIM_PAUSE = 0.005
"""Seconds between two claims while there is work: what comes in meanwhile is claimed together, at a cost of one claim."""

log = structlog.get_logger(__name__)

_KINDS = {
    Delivered: OutcomeKind.DELIVERED,
    Rejected: OutcomeKind.REJECTED,
    FailedFree: OutcomeKind.FAILED_FREE,
    FailedCost: OutcomeKind.FAILED_COST,
}


class Worker:
    """One per process. `seed` makes its scheduling repeatable."""

    def __init__(self, app: App, seed: int | None = None) -> None:
        self._app = app
        self._random = random.Random(seed)  # ties among equals, nothing secret
        self._desk = Desk(app, app.rails)
        self._judge = Judge(app)
        self._running: dict[asyncio.Task[None], Lease] = {}
        self._kms_was_away = True  # what one that died said may be over

    @property
    def in_flight(self) -> int:
        """Calls that are under way."""
        return len(self._running)

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop`; then waits DRAIN_SECONDS for running calls."""
        loops = (self._claim_loop, self._heartbeat_loop, self._sweep_loop, self._probe_loop, self._desk.run)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._forever(loop), name=loop.__name__) for loop in loops]
            await stop.wait()
            tasks[0].cancel()
            if self._running:
                await asyncio.wait(self._running, timeout=DRAIN_SECONDS)
            for task in (*tasks, *self._running):
                task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _forever(self, loop: Callable[[], Awaitable[None]]) -> None:
        """A loop outlives a database that is away for a while."""
        while True:
            try:
                await loop()
            except (DBAPIError, OSError, AetherflowError) as error:
                log.error("worker_trouble", loop=loop.__name__, problem=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)

    # Claiming and calling

    async def _claim_loop(self) -> None:
        work = self._app.hints.on(GENERATIONS)
        while True:
            self._app.pulse.beat("worker", self._app.settings.sweep_seconds)
            claimed = await self.claim()
            if claimed.hopeless:
                await self._app.database.run(lambda c, ids=[each.id for each in claimed.hopeless]: give_up(c, self._app.now(), ids))  # type: ignore[misc]  # a lambda with a default
                await self._app.hints.wake(OUTBOX, ENDED)
            if claimed.leases:
                await self._app.hints.wake(OUTBOX)
                await asyncio.sleep(CLAIM_PAUSE)
                continue
            pause = self._app.settings.sweep_seconds
            if claimed.retry_at is not None:
                pause = min(pause, max(0.01, (claimed.retry_at - self._app.now()) / SECOND))
            await wait(work, pause)

    async def claim(self) -> Claimed:
        """One claim; begins a call for each lease that it gave."""
        settings, slots = self._app.settings, self._app.settings.worker_slots - len(self._running)
        if slots <= 0:
            return Claimed([], [], None)
        async with self._app.read() as work:
            if not await work.generations.any_queued():  # most wake-ups are of a slot that nobody waits for
                return Claimed([], [], None)
        seed = self._random.getrandbits(48)
        claimed = await self._app.database.run(
            lambda connection: claim_many(
                connection, self._app.catalog, now=self._app.now(), today=self._app.today(), slots=slots,
                lease=int(settings.lease_seconds * SECOND), running_per_user=settings.running_per_user,
                strikes_per_user=settings.strikes_per_user, seed=seed,
            )
        )  # fmt: skip
        for lease in claimed.leases:
            task = asyncio.get_running_loop().create_task(self._attempt(lease))  # owned here: held in _running, awaited by run()
            self._running[task] = lease
            task.add_done_callback(self._running.pop)
        return claimed

    async def _attempt(self, lease: Lease) -> None:
        began = time.monotonic()
        blob: str | None = None
        verdict = await self._judge.of_prompt(lease.generation)
        outcome: Outcome
        if verdict is None:
            outcome = FailedFree(Fault.UNCHECKED)
        else:
            outcome = Rejected(Fault.FORBIDDEN) if verdict is Verdict.REFUSED else await self._call(lease)
        seconds = time.monotonic() - began
        if isinstance(outcome, Delivered):
            seen = await self._judge.of_picture(lease.generation, outcome.picture.data)
            verdict = seen if verdict is Verdict.FINE else verdict
            if seen is Verdict.REFUSED:
                outcome = Rejected(Fault.WITHHELD, True, outcome.cost, outcome.reference)
        if isinstance(outcome, Delivered):
            try:
                blob = await self._app.blobs.put("pictures", outcome.picture.data, outcome.picture.media_type)
            except BlobsUnavailable as error:
                log.error("picture_not_stored", generation=lease.generation.id, problem=str(error))
                outcome = FailedCost(Fault.BAD_ANSWER, outcome.cost, outcome.reference)
        settlement = replace(_settlement(lease, outcome, blob, seconds), spoiler=verdict is Verdict.VEILED)
        won = await self._settle(settlement)
        log.info(
            "settled", generation=lease.generation.id, fence=lease.fence, resource=lease.resource_id, outcome=settlement.kind,
            fault=settlement.fault, seconds=round(settlement.seconds, 3), won=won,
        )  # fmt: skip
        if not won and blob is not None:
            await self._app.blobs.delete(blob)

    async def _call(self, lease: Lease) -> Outcome:
        """One provider call. Whatever happens, an outcome comes back."""
        generation, settings = lease.generation, self._app.settings
        provider = self._app.providers.get(lease.provider)
        if provider is None or lease.sealed is None:
            return FailedFree(Fault.MODEL_MISSING)
        try:
            key = await self._open(lease.sealed, generation)
            if key is None:
                return FailedFree(Fault.UNOPENED)
            source = await self._app.blobs.get(generation.source_blob) if generation.source_blob else None
        except CannotOpen:
            return FailedFree(Fault.BAD_KEY)
        except (BlobNotFound, BlobsUnavailable):
            return FailedFree(Fault.BAD_REQUEST)
        chosen = generation.parameters
        request = ImageRequest(
            Operation(generation.operation), lease.provider_model, generation.prompt, chosen.negative, chosen.ratio, chosen.seed,
            chosen.style, chosen.quality, source, chosen.strength, self._app.vault.pseudonym(f"user:{generation.user_id}"),
        )  # fmt: skip
        return await provider.generate(request, key, timeout=settings.call_seconds)

    async def _open(self, sealed: Sealed, generation: Generation) -> Secret | None:
        """The key in clear, for one call. While the KMS is away the generation waits; None once it is back, or the time is over: whoever
        has waited begins anew, as what a key may do in a minute, and when, was reckoned at the claim. A version that the KMS has no more is
        not waited for: the next claim may find the key wrapped by another. Raises CannotOpen."""
        try:
            return await self._app.vault.open(sealed)
        except VaultAway as error:
            problem: str | None = error.facts["problem"]
        log.warning("kms_waited_for", generation=generation.id, problem=problem)
        while self._app.now() < generation.deadline:
            await asyncio.sleep(RETRY_SECONDS)
            if problem != TOO_OLD:
                problem = await self._app.vault.lacking(sealed.wrapping)
            if problem in (None, TOO_OLD):
                break
        return None

    async def _settle(self, settlement: Settlement) -> bool:
        async for attempt in stamina.retry_context(on=(DBAPIError, OSError), attempts=None, timeout=SETTLE_SECONDS, wait_max=5.0):
            with attempt:
                return await self._app.settle(settlement)
        raise AssertionError("unreachable")

    async def _heartbeat_loop(self) -> None:
        lease = self._app.settings.lease_seconds
        while True:
            await asyncio.sleep(lease / 3)
            leases = list(self._running.values())
            if leases:
                until = self._app.now() + int(lease * SECOND)
                await self._app.database.run(lambda connection, each=leases, u=until: renew(connection, each, u))  # type: ignore[misc]  # as above

    # Sweeping

    async def _sweep_loop(self) -> None:
        while True:
            await self.sweep()
            await asyncio.sleep(self._app.settings.sweep_seconds)

    async def sweep(self) -> None:
        """Finds everything that is due, whatever hints were lost."""
        app = self._app
        async with app.read() as work:
            gone = await lapsed(work.connection, work.now, SWEEP_LIMIT)
        if gone:
            log.warning("leases_lapsed", count=len(gone))
            await asyncio.gather(*(app.settle(each) for each in gone))
        if await app.database.run(lambda connection: give_up(connection, app.now())):
            await app.hints.wake(OUTBOX, ENDED)
        while await app.database.run(lambda connection: release_earnings(connection, app.now())) == RELEASE_BATCH:
            pass
        while await app.run(lambda work: work.refills.do()) == REFILL_BATCH:
            pass
        if await app.run(lambda work: work.ballots.lapse()):
            await app.hints.wake(OUTBOX)
        await app.database.run(lambda connection: collect_joined(connection, app.now()))
        await app.database.run(lambda connection: collect_debts(connection, app.now()))
        while await app.database.run(lambda connection: seal(connection, app.now())) == BATCH:
            pass
        await self._inspect()
        await self._bury()
        await self._watch()
        await app.run(_prune)

    async def _bury(self) -> None:
        """Deletes the bytes of pictures that nobody needs any more."""
        async with self._app.read() as work:
            names = await work.leaving.doomed()
        try:
            for name in names:
                await self._app.blobs.delete(name)
        except BlobsUnavailable:
            return  # another time
        await self._app.run(lambda work: work.leaving.buried(names))

    async def _inspect(self) -> None:
        """Looks at the pictures of new disputes; what is clear is refunded at once."""
        app = self._app
        async with app.read() as work:
            found = await work.disputes.uninspected()
        for number, generation in found:
            model, ratio = app.catalog.models.get(generation.model), generation.parameters.ratio
            promised = ratio if model is not None and generation.operation == "generate" and ratio in model.ratios else None
            try:
                data = await app.blobs.get(str(generation.blob))
            except BlobNotFound:
                data = b""
            except BlobsUnavailable:
                return  # another time
            evidence = await asyncio.to_thread(examine, data, promised)
            await app.run(lambda work, d=number, e=evidence: work.disputes.inspected(d, e))  # type: ignore[misc]  # defaults
        if found:
            await app.hints.wake(OUTBOX)

    async def _watch(self) -> None:
        """Looks for what admins have to know; of all workers one does."""
        app, hours = self._app, self._app.settings.audit_hours

        async def look(work: UnitOfWork) -> bool:
            if await work.alerts.is_turn("providers", EVERY):
                await work.alerts.check_providers(app.providers)
            await work.alerts.check_drained()
            if app.vault.away or self._kms_was_away:
                await (work.alerts.say if app.vault.away else work.alerts.over)("vault", "vault", problem=app.vault.away)
            if await work.alerts.is_turn("disputes", EVERY):
                await escalate(work.connection, work.now, app.settings.dispute_hours)
            if await work.alerts.is_turn("digest", until_digest(work.now)):
                await write_digests(work.connection, work.now)
            if await work.alerts.is_turn("retirements", HOUR):
                await announce(work.connection, work.now, app.catalog.retiring(app.today()))
            return hours > 0 and await work.alerts.is_turn("audit", hours * HOUR, AUDIT_LEASE)

        if await app.run(look):
            wrong = [each.name for each in (await app.audit()).findings if each.breaches]
            log.info("audited", breached=wrong)

            async def tell(work: UnitOfWork) -> None:
                await (work.alerts.say if wrong else work.alerts.over)("audit", "audit", checks=wrong)
                await work.alerts.done("audit", hours * HOUR)

            await app.run(tell)
        self._kms_was_away = app.vault.away is not None
        await app.hints.wake(OUTBOX)

    # Probing

    async def _probe_loop(self) -> None:
        due = self._app.hints.on(PROBES)
        while True:
            if not await self.probe():
                await wait(due, self._app.settings.sweep_seconds)

    async def probe(self) -> int:
        """Tries the keys that are due, and syncs balances and model lists; returns how many."""
        every = self._app.settings.sync_minutes * MINUTE
        found = await self._app.run(lambda work: work.resources.take_probes(PROBES_AT_ONCE, every))
        await asyncio.gather(*(self._probe_one(each) for each in found))
        return len(found)

    async def _probe_one(self, resource: Resource) -> None:
        app = self._app
        provider = app.providers.get(resource.provider)
        if provider is None:
            return
        async with app.read() as work:
            try:
                sealed = await fetch_one(work.connection, resource.subject)
            except SecretMissing:
                return
        try:
            probe = await provider.probe(await app.vault.open(sealed))
        except VaultAway:
            return  # another time
        except CannotOpen:
            probe = Probe(fault=Fault.BAD_KEY)
        served = app.catalog.served_by(resource.provider)

        async def write(work: UnitOfWork) -> None:
            after = await work.resources.on_probed(resource, probe, served)
            await work.alerts.check_leak(resource, probe.balance, provider.costs)
            notice = news_of_probe(resource, after)
            address = (await work.users.addresses([resource.owner_id])).get(resource.owner_id)
            if notice is not None and address is not None:
                body = {"resource": resource.id, "fault": probe.fault, "balance": probe.balance}
                key = f"{resource.subject}:{notice}:{resource.key_version}:{work.now}"
                await work.mailbox.say([Notice(key, address, notice, body, resource.subject)])

        await app.run(write)
        await app.hints.wake(OUTBOX, GENERATIONS)


async def _prune(work: UnitOfWork) -> None:
    """Deletes what was kept long enough."""
    await work.mailbox.prune()
    await work.idempotency.prune()
    await work.leaving.doom_uploads()
    await work.access.prune()


def _settlement(lease: Lease, outcome: Outcome, blob: str | None, seconds: float) -> Settlement:
    kind = _KINDS.get(type(outcome), OutcomeKind.UNKNOWN)
    fault = None if isinstance(outcome, Delivered) else outcome.fault
    retry_after = outcome.retry_after if isinstance(outcome, FailedFree) else None
    cost = getattr(outcome, "cost", None)
    if not isinstance(outcome, Delivered):
        return Settlement(lease, kind, fault, retry_after, cost, outcome.reference, seconds)
    picture, asked = outcome.picture, lease.generation.parameters.seed
    return Settlement(
        lease, kind, None, None, cost, outcome.reference, seconds, blob, picture.media_type, picture.width, picture.height,
        outcome.seed if outcome.seed is not None else asked, hashlib.sha256(picture.data).hexdigest(),
    )  # fmt: skip
