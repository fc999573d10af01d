"""The App: settings become database, vault, blobs, providers; and the use cases that reach beyond one transaction."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import TypeVar

from core.blobs import Blobs
from core.catalog import Catalog, load_catalog
from core.coalescer import Coalescer
from core.config import Settings
from core.db import HOUR, SECOND, Database
from core.errors import Refusal
from core.generations.audit import audit_generations
from core.generations.models import Order, OutcomeKind, Settlement, Submitted, Told, Wish
from core.generations.rules import check
from core.generations.settle import SettleRules, settle_many
from core.generations.submit import submit_many
from core.hints import Hints, open_hints, wait
from core.keys import open_keys
from core.ledger.audit import Finding, audit_ledger, figures
from core.ledger.rules import gift
from core.mailbox.models import Received, Sent
from core.moderation import ALONE, Audience, ForbiddenPrompt, load_moderation
from core.payments.audit import audit_payments
from core.payments.errors import RailOff
from core.payments.models import CURRENCIES, Payment, TopUp
from core.payments.models import State as PaymentState
from core.payments.packages import Packages, load_packages
from core.payments.rails.base import Rail, RailEvent
from core.payments.receive import Applied, apply, encode, line_of
from core.pools.audit import audit_pools
from core.pools.models import Asker, Ballot, Community
from core.presets.errors import BadPreset, PresetNotFound
from core.presets.models import Preset
from core.presets.rules import shrunk
from core.providers.base import Provider
from core.providers.classifier import Classifier
from core.providers.moderator import Moderator
from core.pulse import Pulse
from core.resources.errors import KeyOfAnother, NotAKey
from core.resources.models import Resource
from core.resources.rules import may_lend
from core.unit_of_work import UnitOfWork
from core.users.models import Identity, Role, User
from core.vault.models import MAX_SECRET
from core.vault.secret import Secret
from core.vault.service import Vault, open_vault

T = TypeVar("T")
EXPORT = "export"
"""What hints keep of a link to somebody's data: "export:TOKEN" -> the user's number."""
MAX_BATCH = 200
"""Items of one coalesced transaction at most."""

GENERATIONS, INBOX, OUTBOX, PAYMENTS, PROBES, ENDED = "generations", "inbox", "outbox", "payments", "probes", "ended"
"""Topics of wake-ups. ENDED: a generation neither waits nor runs any more."""


def now() -> int:
    """The one clock: microseconds since 1970, UTC."""
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit proved (findings without breaches) and the figures that it saw."""

    findings: list[Finding]
    figures: dict[str, int]

    @property
    def clean(self) -> bool:
        """Whether everything was proved."""
        return not any(finding.breaches for finding in self.findings)


class App:
    """Share one per process. Made by `open_app`."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        hints: Hints,
        blobs: Blobs,
        vault: Vault,
        catalog: Catalog,
        providers: Mapping[str, Provider],
        packages: Packages,
        rails: Mapping[str, Rail],
        moderator: Moderator | None = None,
        classifier: Classifier | None = None,
    ) -> None:
        self.settings = settings
        self.database = database
        self.hints = hints
        self.blobs = blobs
        self.vault = vault
        self.catalog = catalog
        self.providers = providers
        self.packages = packages
        self.moderation = load_moderation(settings.moderation_file)
        self.rails = rails
        self.moderator = moderator
        self.classifier = classifier
        self.pulse = Pulse(settings.pulse_dir, settings.pulse_seconds, self.now)
        self._submits: Coalescer[Order, Submitted] = Coalescer(self._submit, MAX_BATCH)
        self._settles: Coalescer[Settlement, bool] = Coalescer(self._settle, MAX_BATCH)
        self.arrived: Coalescer[Sent, None] = Coalescer(self._arrived, MAX_BATCH)
        """Mailbox.arrived, for whatever arrives at the same time."""
        self.delivered: Coalescer[Sent, str | None] = Coalescer(self._delivered, MAX_BATCH)
        """Mailbox.delivered, likewise."""
        self.known: Coalescer[tuple[str, str], User | None] = Coalescer(self._known, MAX_BATCH, gather=0)
        """Users.known: the user behind a platform and an id there."""
        self.told: Coalescer[int, Told] = Coalescer(self._told, MAX_BATCH, gather=0)
        """Generations.told: what is said of the generation of a number. Raises GenerationNotFound."""
        self._settle_rules = SettleRules(
            settings.miner_percent,
            settings.earnings_hold_hours * HOUR,
            settings.tries_per_generation,
            catalog,
            settings.royalty_percent,
            settings.royalties_per_day,
            settings.strikes_per_user,
        )

    @staticmethod
    def now() -> int:
        """Microseconds since 1970; read it once per unit of work."""
        return now()

    def today(self) -> date:
        """The current day, UTC: what is on sale depends on it."""
        return datetime.fromtimestamp(now() / SECOND, UTC).date()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[UnitOfWork]:
        """One transaction that may write."""
        async with self.database.begin() as connection:
            yield UnitOfWork(connection, now())

    @asynccontextmanager
    async def read(self) -> AsyncIterator[UnitOfWork]:
        """For reading alone."""
        async with self.database.read() as connection:
            yield UnitOfWork(connection, now())

    async def run(self, work: Callable[[UnitOfWork], Awaitable[T]]) -> T:
        """`work` in one transaction, run again when the database asks for that."""
        return await self.database.run(lambda connection: work(UnitOfWork(connection, now())))

    def price(self, wish: Wish, audience: Audience = ALONE) -> tuple[Wish, int]:
        """A checked wish and the most that it costs, in milli-credits. Raises BadPrompt, ForbiddenPrompt, UnknownModel, BadParameter."""
        checked, _, price = check(wish, self.catalog, self.today())
        veiled = self.moderation.check(checked.prompt, audience)
        return replace(checked, spoiler=checked.spoiler or veiled), price

    async def ask(self, user_id: int, wish: Wish, audience: Audience = ALONE) -> tuple[Wish, int]:
        """`price` for whoever asks without a chat; a forbidden prompt counts as a strike of theirs."""
        try:
            return self.price(wish, audience)
        except ForbiddenPrompt:
            await self.run(lambda work: work.users.strike({user_id: 1}, self.settings.strikes_per_user))
            raise

    @property
    def _limits(self) -> dict[str, int]:
        """What `submit_many` is told of the settings."""
        settings = self.settings
        return {
            "minutes": settings.generation_minutes, "queued_per_user": settings.queued_per_user,
            "strikes_per_user": settings.strikes_per_user,
        }  # fmt: skip

    async def submit(self, order: Order) -> Submitted:
        """Holds and queues, together with whatever is submitted at the same time. Raises the refusal."""
        return await self._submits(order)

    async def vote(self, ballot_id: int, user_id: int, place: Community, *, voter: Asker) -> Ballot:
        """Somebody agrees to a wish, which is submitted when as many do as are needed. Raises what Ballots.vote does."""
        ballot = await self.run(lambda work: work.ballots.vote(ballot_id, user_id, place, voter=voter, price=self.price, **self._limits))
        await self.hints.wake(GENERATIONS, OUTBOX)
        return ballot

    async def settle(self, settlement: Settlement) -> bool:
        """Settles a lease, together with whatever is settled at the same time; whether it won."""
        return await self._settles(settlement)

    async def hand_over(self, resource: Resource, secret: Secret, token: str | None = None) -> Resource:
        """Takes a miner's key: checks its shape, seals it, and only then stores it and asks for a probe.

        `token` is the one-time link that it came by, which is used up. Raises NotAKey, KeyOfAnother, DuplicateSecret, LinkExpired,
        NotAllowedNow, LendingRefused, VaultAway.
        """
        rule = may_lend(self.catalog, resource.provider)
        text = secret.reveal().strip()
        if not text.isascii() or not text.isprintable() or " " in text or not 8 <= len(text) <= MAX_SECRET:
            raise NotAKey(provider=rule.name, shape=rule.key_shape)
        matching = self.providers_of_key(text)
        if resource.provider not in matching:
            if matching:
                raise KeyOfAnother(provider=rule.name, other=self.catalog.providers[matching[0]].name)
            raise NotAKey(provider=rule.name, shape=rule.key_shape)
        version = resource.key_version + 1
        sealed = await self.vault.seal(Secret(text), subject=resource.subject, provider=resource.provider, version=version)

        async def keep(work: UnitOfWork) -> Resource:
            if token is not None:
                await work.resources.use_link(token)
            await work.resources.keep_key(resource, sealed)
            await work.users.add_role(resource.owner_id, Role.MINER)
            return await work.resources.get(resource.id)

        kept = await self.run(keep)
        await self.hints.wake(PROBES)
        return kept

    def providers_of_key(self, text: str) -> list[str]:
        """Whose keys have this shape, by provider id."""
        return [name for name, provider in self.providers.items() if provider.looks_like_key(text)]

    async def cover(self, generation_id: int, author_id: int, name: str | None = None) -> Preset:
        """A picture that an author made with a preset of theirs becomes its cover; `name`: of that preset alone.

        Raises GenerationNotFound, NotDelivered, PresetNotFound, BadPreset for a veiled one.
        """
        async with self.read() as work:
            made = await work.generations.delivered((await work.generations.get(generation_id, author_id)).id)
            preset = await work.presets.find((await work.presets.get(made.preset_id or 0)).name)
        if preset.author_id != author_id or name not in (None, preset.name):
            raise PresetNotFound(preset=name or preset.name)
        if made.spoiler:
            raise BadPreset(field="cover", problem="cover")
        picture = await asyncio.to_thread(shrunk, await self.blobs.get(str(made.blob)))
        blob = await self.blobs.put("covers", picture, "image/jpeg")

        async def keep(work: UnitOfWork) -> Preset:
            await work.leaving.doom(await work.presets.set_cover(preset.name, author_id, blob))
            return await work.presets.find(preset.name)

        return await self.run(keep)

    async def grant(self, user_id: int, amount: int, key: str) -> None:
        """Gives Credits out of nothing but the operator's word; `key` makes it once."""
        await self.run(lambda work: work.ledger.post(gift(key, user_id, amount)))

    async def top_up(self, wanted: TopUp) -> Payment:
        """Begins a payment, and has its rail asked for a checkout. Raises RailOff, PackageNotFound, Frozen, TooManyPayments, KeyReused."""
        settings = self.settings
        if wanted.rail not in settings.rails:
            raise RailOff(rail=wanted.rail, open=settings.rails)
        currency = CURRENCIES[wanted.rail]
        package = self.packages.find(wanted.package, currency)
        limits = {"minutes": settings.payment_minutes, "unpaid": settings.unpaid_payments, "per_day": settings.payments_per_day}
        payment = await self.run(lambda work: work.payments.start(wanted, package, currency, **limits))
        await self.hints.wake(PAYMENTS)
        return payment

    async def opened(self, payment: Payment, seconds: float) -> Payment:
        """The payment as soon as its rail has answered; as it is after so many seconds."""
        news = self.hints.on(OUTBOX)
        deadline = time.monotonic() + seconds
        while payment.state is PaymentState.CREATED and (left := deadline - time.monotonic()) > 0:
            await wait(news, left)
            async with self.read() as work:
                payment = await work.payments.get(payment.id)
        return payment

    async def receive(self, rail: str, event: RailEvent) -> Applied:
        """Keeps what a rail says, and then applies it: two transactions, so that it is not lost even when it cannot be applied yet."""
        body = self.vault.veil(encode(event), f"{rail}:{event.id}")
        kept = Received(event.id, line_of(event), body)
        await self.run(lambda work: work.mailbox.store(rail, [kept]))
        return await self.apply(rail, event)

    async def apply(self, rail: str, event: RailEvent) -> Applied:
        """Applies what is kept. One that came too early stays, and its order is asked about at once."""
        applied = await self.database.run(lambda connection: apply(connection, now(), rail, event))
        await self.hints.wake(PAYMENTS if applied is Applied.EARLY else OUTBOX)
        return applied

    async def audit(self) -> Audit:
        """Proves the books from one snapshot of the database."""
        async with self.database.snapshot() as connection:
            checks = (audit_ledger, audit_generations, audit_payments, audit_pools)
            return Audit([finding for check_ in checks for finding in await check_(connection)], await figures(connection))

    async def _submit(self, orders: Sequence[Order]) -> Sequence[Submitted | Refusal]:
        answers = await self.database.run(lambda connection: submit_many(connection, orders, now=now(), **self._limits))
        await self.hints.wake(GENERATIONS)
        return answers

    async def _settle(self, settlements: Sequence[Settlement]) -> Sequence[bool]:
        won = await self.database.run(lambda connection: settle_many(connection, settlements, now=now(), rules=self._settle_rules))
        await self.hints.wake(*_outboxes(settlements), ENDED, GENERATIONS)  # of the last: slots are free
        return won

    async def _arrived(self, sent: Sequence[Sent]) -> Sequence[None]:
        await self.run(lambda work: work.mailbox.arrived(sent))
        return [None] * len(sent)

    async def _delivered(self, sent: Sequence[Sent]) -> Sequence[str | None]:
        return await self.run(lambda work: work.mailbox.delivered(sent))

    async def _known(self, people: Sequence[tuple[str, str]]) -> Sequence[User | None]:
        async with self.read() as work:
            return await work.users.known(people)

    async def _told(self, ids: Sequence[int]) -> Sequence[Told | Exception]:
        async with self.read() as work:
            return await work.generations.told(ids)

    async def _make_admins(self) -> None:
        """Whoever the settings name is an admin; who was one by them alone and is named no more is none. Each is in the log, once."""
        named = []
        for platform, person in self.settings.admin_identities:
            chat = f"dm:{person}" if platform == "discord" else person if platform == "telegram" else ""
            identity = Identity(platform, person, person, chat)

            async def make(work: UnitOfWork, identity: Identity = identity) -> int:
                user = await work.users.resolve(identity)
                if await work.users.name_admin(user.id):
                    await work.acts.record(None, "make_admin", f"user:{user.id}", "named in ADMINS")
                return user.id

            named.append(await self.run(make))

        async def drop(work: UnitOfWork) -> None:
            for number in await work.users.unname_admins(named):
                await work.acts.record(None, "unmake_admin", f"user:{number}", "no longer named in ADMINS")

        await self.run(drop)

    async def close(self) -> None:
        """Waits for what is under way."""
        for each in (self._submits, self._settles, self.arrived, self.delivered, self.known, self.told):
            await each.close()


def outbox_of(platform: str) -> str:
    """The topic of messages for one platform."""
    return f"{OUTBOX}:{platform}"


def _outboxes(settlements: Sequence[Settlement]) -> set[str]:
    """Where there is something to say: a failure may be news for the key's owner too, wherever that is."""
    if any(each.kind is not OutcomeKind.DELIVERED for each in settlements):
        return {OUTBOX}
    addresses = [each.lease.generation.address for each in settlements]
    return {outbox_of(each.platform) for each in addresses if each is not None}


@asynccontextmanager
async def open_app(
    settings: Settings,
    providers: Mapping[str, Provider],
    rails: Mapping[str, Rail] | None = None,
    moderator: Moderator | None = None,
    classifier: Classifier | None = None,
) -> AsyncIterator[App]:
    """Everything of one process, open; closed at the end of the block. The schema must be at head.

    `providers`, `rails`, `moderator` and `classifier` (None: off) are made by the caller; the worker calls them, the others only ask for
    the shape of keys and read callbacks.
    """
    async with AsyncExitStack() as stack:
        catalog = load_catalog(settings.catalog_file)
        database = Database(settings.sqlalchemy_url)
        stack.push_async_callback(database.close)
        blobs = Blobs(settings.blob_location)
        stack.callback(blobs.close)
        vault = await open_vault(database, await stack.enter_async_context(open_keys(settings)))
        hints = await stack.enter_async_context(open_hints(settings.redis_url))
        packages = load_packages(settings.packages_file)
        app = App(settings, database, hints, blobs, vault, catalog, providers, packages, rails or {}, moderator, classifier)
        stack.push_async_callback(app.close)
        await app._make_admins()  # noqa: SLF001  # its own factory
        await app.run(lambda work: work.presets.load_starters())
        yield app
