"""A small market for tests of the core: one App on a fresh database, a fake provider, a miner and a creator with Credits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from core.address import Address
from core.app import App, Audit, open_app
from core.config import Settings
from core.generations.models import Generation, Order, Wish
from core.ledger.seal import BATCH, seal
from core.resources.models import Resource
from core.resources.rules import may_lend
from core.unit_of_work import UnitOfWork
from core.users.models import Identity, Role, User
from core.vault.keyring import new_key
from core.vault.secret import Secret
from core.worker import Worker
from tests.fakes import FakeProvider, FakeRail

PRICE = 4_500
"""Milli-credits of one picture of the default model."""
LIMITS = {"max_concurrency": "8", "per_minute": "1000", "day_limit": "1000", "month_limit": "10000"}
VAULT_KEY = new_key("k1")


@dataclass
class Stage:
    """What a test works with."""

    app: App
    provider: FakeProvider
    miner: User
    creator: User
    rail: FakeRail

    async def person(self, name: str, credits: int = 0) -> User:
        """Somebody more, with so many milli-credits."""
        user = await self.app.run(lambda work: work.users.resolve(Identity("telegram", name, name, name)))
        if credits:
            await self.app.grant(user.id, credits, f"grant:{name}")
        return user

    async def admin(self, name: str = "olga") -> User:
        """An admin of the platform."""
        user = await self.person(name)
        await self.app.run(lambda work: work.users.add_role(user.id, Role.ADMIN))
        async with self.app.read() as work:
            return await work.users.get(user.id)

    async def lend(self, key: str, owner: User | None = None, **answers: str) -> Resource:
        """A listed resource with the key `sk-…`, its limits LIMITS unless answered otherwise."""
        app, miner = self.app, owner or self.miner
        rule = may_lend(app.catalog, "stability")
        drafted = await app.run(lambda work: work.resources.draft(miner.id, rule, "en", 20))
        await app.hand_over(drafted, Secret(key))
        await Worker(app, 1).probe()

        async def offer(work: UnitOfWork) -> Resource:
            return await work.resources.change(await work.resources.get(drafted.id), LIMITS | answers)

        return await app.run(offer)

    def order(self, key: str, user: User | None = None, prompt: str = "a cat") -> Order:
        """An order of the creator's, or of somebody else's."""
        asked_by = user or self.creator
        wish, price = self.app.price(Wish(prompt))
        return Order(key, asked_by.id, wish, price, Address("telegram", str(asked_by.id)))

    async def submit(self, *keys: str, user: User | None = None) -> list[Generation]:
        """Generations of those keys, submitted at once."""
        submitted = await asyncio.gather(*(self.app.submit(self.order(key, user)) for key in keys))
        return [each.generation for each in submitted]

    async def generation(self, generation_id: int) -> Generation:
        """As it is now."""
        async with self.app.read() as work:
            return await work.generations.get(generation_id)

    async def balance(self, account: str) -> int:
        """Milli-credits on an account."""
        async with self.app.read() as work:
            return (await work.ledger.balances([account]))[account]

    async def audit(self) -> Audit:
        """Seals everything and proves the books."""
        while await self.app.database.run(lambda connection: seal(connection, self.app.now())) == BATCH:
            pass
        return await self.app.audit()


def breaches(audit: Audit) -> dict[str, tuple[str, ...]]:
    """What an audit found wrong, by the name of the check."""
    return {finding.name: finding.breaches for finding in audit.findings if finding.breaches}


async def ended(worker: Worker) -> None:
    """Waits for the calls that a worker has begun."""
    await asyncio.gather(*worker._running)


async def work_off(*workers: Worker) -> int:
    """Claims, calls and settles until nothing can start; returns how many attempts were made."""
    made = 0
    while True:
        claims = await asyncio.gather(*(worker.claim() for worker in workers))
        began = sum(len(claim.leases) for claim in claims)
        made += began
        await asyncio.gather(*(ended(worker) for worker in workers))
        if not began:
            return made


def settings_for(url: str, folder: Path, **changes: Any) -> Settings:
    """Settings of a process on that database; `changes` by name."""
    secrets = {"vault_keys": SecretStr(VAULT_KEY), "jwt_secret": SecretStr(VAULT_KEY)}
    return Settings(data_dir=folder, database_url=url, **(secrets | changes))


@asynccontextmanager
async def staged(url: str, folder: Path, *, credits: int = 1_000_000, **changes: Any) -> AsyncIterator[Stage]:
    """A Stage on a migrated database; the creator has `credits` milli-credits."""
    provider = FakeProvider()
    rail = FakeRail()
    changes = {"stripe_secret_key": "sk_test_1", "stripe_webhook_secret": "whsec_1"} | changes
    async with open_app(settings_for(url, folder, **changes), {"stability": provider}, {"stripe": rail}) as app:
        people = [Identity("telegram", name, name, name) for name in ("miner", "creator")]
        miner, creator = [await app.run(lambda work, each=each: work.users.resolve(each)) for each in people]  # type: ignore[misc]
        if credits:
            await app.grant(creator.id, credits, "grant:creator")
        yield Stage(app, provider, miner, creator, rail)
