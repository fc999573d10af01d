"""A budget is a budget: what suffices for 10 pictures makes exactly 10, with 64 requests at once over two api processes, also when one of
the processes is killed in the middle of it."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.access.models import Scope
from core.access.rules import new_token
from core.app import ENDED
from core.generations.models import Generation, State
from core.generations.pages import page
from core.hints import wait
from core.ledger.models import held_account, wallet
from core.pools.models import Policy, Spenders, pool
from core.providers.http import make_client
from core.providers.stability import StabilityProvider
from core.users.models import User
from sandbox.world import World
from tests.fleet import Fleet, fleet
from tests.stage import PRICE, Stage, breaches, staged

PICTURES, REQUESTS, ROUND = 10, 64, 20
TRIES = int(os.environ.get("AETHERFLOW_TEST_TRIES", ROUND))
"""Wallet, token and pool by turns; with 60, each of them is killed in every way."""
KILLS = {5: "first", 9: "worker", 13: "second", 17: "worker"}
"""The tries of a round in which a process is killed."""
BOUND = 9
"""Of so many tries, the last is a pool's by a token that is bound to it: every third try of a pool, killed in 17."""
pytestmark = [pytest.mark.timeout(max(300, 15 * TRIES)), pytest.mark.asyncio(loop_scope="module")]
BUDGETS = ("wallet", "token", "pool")
SECONDS = 60.0
REFUSED = 429
"""`insufficient_quota`, as OpenAI says it."""
RICH = 1_000 * PRICE


@dataclass
class Spender:
    """Somebody who asks, and the account that pays; `pool` where it is a community's."""

    user: User
    token: str
    payer: str
    pool: int | None = None


@dataclass
class Town:
    """Two api processes and a worker over one database, and a test's own look into it."""

    stage: Stage
    fleet: Fleet

    async def spender(self, budget: str, number: int) -> Spender:
        """Somebody whose wallet, whose token's cap, or whose community's pool suffices for PICTURES."""
        cap = PICTURES * PRICE + 1 if budget == "token" else None
        user = await self.stage.person(f"{budget}{number}", PICTURES * PRICE if budget == "wallet" else RICH)
        if budget == "pool":
            return await self.member(user, number)
        return Spender(user, await self.token(user, cap), wallet(user.id))

    async def token(self, user: User, cap: int | None = None, bound_to: int | None = None) -> str:
        """A token of theirs."""
        token = new_token()
        await self.stage.app.run(lambda work: work.access.add_token(user.id, token, "t", [Scope.GENERATE], cap, None, 5, bound_to))
        return token

    async def member(self, user: User, number: int) -> Spender:
        """The same person, let spend of a pool that somebody else has filled; now and then their token is bound to it and names none."""
        giver, app = await self.stage.person(f"giver{number}", PICTURES * PRICE), self.stage.app
        made = await app.run(lambda work: work.pools.found("telegram", f"-{number}", "Club"))
        made = await app.run(lambda work: work.pools.set_policy(made, Policy(spenders=Spenders.LIST)))
        await app.run(lambda work: work.pools.let(made, user.id, may=True))
        await app.run(lambda work: work.pools.contribute(made, giver, PICTURES * PRICE, f"{number}"))
        bound = number % BOUND == BOUND - 1
        return Spender(user, await self.token(user, bound_to=made.id if bound else None), pool(made.id), None if bound else made.id)

    async def ask(self, who: Spender, number: int) -> int:
        """The status of one request, at one of the two; 0 when its process was killed."""
        address = self.fleet.apis[number % 2]
        headers = {"Authorization": f"Bearer {who.token}", "Idempotency-Key": f"r{number}"}
        wanted = {"prompt": f"fox {number}", "response_format": "url", "pool": who.pool}
        try:
            async with httpx.AsyncClient(base_url=address, headers=headers, timeout=SECONDS) as client:
                answer = await client.post("/v1/images/generations", json=wanted)
        except httpx.TransportError:
            return 0
        return answer.status_code

    async def kill(self, which: str) -> None:
        """In the middle: as soon as somebody's picture is there. Started again at once."""
        name = {"first": self.fleet.apis[0], "second": self.fleet.apis[1]}.get(which, which)
        await self.fleet.kill(name)
        await self.fleet.start(name)

    async def ended(self, user: User) -> list[Generation]:
        """All generations of somebody, once none of them waits or runs."""
        news = self.stage.app.hints.on(ENDED)
        async with asyncio.timeout(SECONDS):
            while True:
                async with self.stage.app.read() as work:
                    found = await page(work.connection, user.id, 101)
                if all(each.state not in (State.QUEUED, State.RUNNING) for each in found):
                    return found
                await wait(news, 0.5)


@asynccontextmanager
async def opened(url: str, redis_url: str, folder: Path) -> AsyncIterator[Town]:
    """A town with two lent keys."""
    world, client = World(), make_client()
    await world.start(port=0)
    world.stability.draft = True
    changes: dict[str, Any] = {
        "stability_api_url": f"{world.url}/stability", "redis_url": redis_url, "lease_seconds": 2.0, "sweep_seconds": 0.2,
        "requests_per_address": 1_000_000, "running_per_user": 8,
    }  # fmt: skip
    try:
        async with staged(url, folder, **changes) as stage:
            provider = StabilityProvider(stage.app.settings.stability_api_url, client)
            stage.app.providers = {provider.name: provider}
            for key in ("sk-demo-1111111111", "sk-demo-2222222222"):
                world.stability.add_key(key, 100_000)
                await stage.lend(key)
            async with fleet(stage.app.settings, 2) as running:
                yield Town(stage, running)
    finally:
        await client.aclose()
        await world.stop()


async def test_exactly_what_a_budget_suffices_for(postgres_url: str, redis_url: str, tmp_path: Path) -> None:
    async with opened(postgres_url, redis_url, tmp_path) as town:
        for number in range(TRIES):
            budget = BUDGETS[number % len(BUDGETS)]
            who = await town.spender(budget, number)
            asked = [asyncio.ensure_future(town.ask(who, each)) for each in range(REQUESTS)]
            if (which := KILLS.get(number % ROUND)) is not None:
                await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
                await town.kill(which)
            statuses = Counter(await asyncio.gather(*asked))
            found = await town.ended(who.user)
            states = Counter(each.state for each in found)
            assert states == {State.DELIVERED: PICTURES}, (number, statuses)
            assert sum(each.paid for each in found) == PICTURES * PRICE
            assert {each.payer for each in found} == {who.payer}
            left = RICH - PICTURES * PRICE if budget == "token" else 0
            assert (await town.stage.balance(who.payer), await town.stage.balance(held_account(who.payer))) == (left, 0)
            assert budget != "pool" or await town.stage.balance(wallet(who.user.id)) == RICH
            if which is None:
                assert statuses == {200: PICTURES, REFUSED: REQUESTS - PICTURES}
            else:
                assert set(statuses) <= {0, 200, REFUSED}, statuses
        assert not breaches(await town.stage.audit())
