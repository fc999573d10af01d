"""A worker or a delivery is killed with SIGKILL at each step of a generation: one picture, one charge, one message, and clean books.

Real processes, the real provider on real sockets, both databases. Nobody waits for a lease to end: the second worker's clock is ahead.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import SecretStr
from sqlalchemy import RowMapping, func, select

from bots.chat.chat import SENTENCES
from bots.chat.delivery import Delivery
from core.address import Address
from core.app import App
from core.db import SECOND
from core.generations.models import Generation, State, attempts
from core.ledger.models import pending, wallet
from core.mailbox.models import outbox
from core.mailbox.service import LEASE
from core.providers.http import make_client, read_picture
from core.providers.stability import StabilityProvider
from core.unit_of_work import UnitOfWork
from core.words import Words
from core.worker import Worker
from sandbox.stability import StabilitySandbox
from sandbox.world import World
from tests.fleet import environment
from tests.generations import killed_delivery
from tests.generations.killed_worker import Point
from tests.stage import PRICE, Stage, breaches, staged, work_off

pytestmark = pytest.mark.timeout(120)

ROOT = Path(__file__).parents[2]
CREDITS = 1_000_000
KEYS = ("sk-demo-1111111111", "sk-demo-2222222222")
SECONDS = 60.0
"""How long a process may take to its point on a busy machine."""
ADA, BO = "1001", "200000000000000002"

STANDS: dict[Point, tuple[State, int, int, int]] = {
    Point.IDLE: (State.QUEUED, 0, 1, 1),
    Point.CLAIMING: (State.QUEUED, 0, 1, 1),
    Point.CLAIMED: (State.RUNNING, 1, 2, 1),
    Point.CALLING: (State.RUNNING, 1, 2, 2),
    Point.ANSWERED: (State.RUNNING, 1, 2, 2),
    Point.STORED: (State.RUNNING, 1, 2, 2),
    Point.SETTLING: (State.RUNNING, 1, 2, 2),
    Point.SETTLED: (State.DELIVERED, 0, 1, 1),
}
"""What is left where the worker was killed: the generation's state and its open attempts; and in the end: all attempts, and how many
pictures the provider has made. Those are two wherever the first one was paid for and lost: the risk of whoever lends the key."""


class Later(App):
    """The same App with a clock that is `ahead` microseconds."""

    def __init__(self, app: App, ahead: int) -> None:
        vars(self).update(vars(app))
        self._ahead = ahead

    def now(self) -> int:  # type: ignore[override]  # an App's needs no instance
        return App.now() + self._ahead

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[UnitOfWork]:
        async with self.database.begin() as connection:
            yield UnitOfWork(connection, self.now())

    @asynccontextmanager
    async def read(self) -> AsyncIterator[UnitOfWork]:
        async with self.database.read() as connection:
            yield UnitOfWork(connection, self.now())

    async def run(self, work: Any) -> Any:
        return await self.database.run(lambda connection: work(UnitOfWork(connection, self.now())))


class Gate(asyncio.Event):
    """A gate of the outside world that tells when the first call stands at it: its form is read, its key is known, nothing is charged."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = asyncio.Event()

    async def wait(self) -> Literal[True]:
        self.reached.set()
        return await super().wait()


@dataclass
class Market:
    """A stage whose provider is the real one, and the outside world that it calls."""

    stage: Stage
    world: World

    @property
    def stability(self) -> StabilitySandbox:
        return self.world.stability

    def later(self, ahead: int) -> App:
        """This process some microseconds later."""
        return Later(self.stage.app, ahead)

    async def order(self, platform: str = "telegram", chat: str = ADA) -> int:
        """A queued generation whose result is said in that chat."""
        order = replace(self.stage.order("k"), address=Address(platform, chat))
        return (await self.stage.app.submit(order)).generation.id

    @asynccontextmanager
    async def process(self, module: str, point: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A process with this one's settings, killed at the end of the block, where it must be alive and at its point."""
        started = await asyncio.create_subprocess_exec(
            sys.executable, "-m", f"tests.generations.{module}", point, *arguments, cwd=ROOT, env=environment(self.stage.app.settings),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            yield started
            assert started.returncode is None, "it has ended by itself"
        finally:
            if started.returncode is None:
                started.send_signal(signal.SIGKILL)
            await started.communicate()
        assert started.returncode == -signal.SIGKILL

    async def killed_at(self, module: str, point: str, *arguments: str) -> None:
        """A process comes to the point and is killed there."""
        if point == Point.CALLING:
            gate = self.stability.gate = Gate()
        async with self.process(module, point, *arguments) as process, asyncio.timeout(SECONDS):
            if point == Point.CALLING:
                await gate.reached.wait()
                return
            assert process.stdout is not None
            async for line in process.stdout:
                if line.decode().strip() == point:
                    return
            raise AssertionError(f"it has ended before it came to: {point}")

    async def attempts(self) -> list[RowMapping]:
        """Every attempt, in order."""
        async with self.stage.app.read() as work:
            return list((await work.connection.execute(select(attempts).order_by(attempts.c.fence))).mappings())

    async def results(self) -> int:
        """How many results were written for somebody to deliver."""
        async with self.stage.app.read() as work:
            return await work.connection.scalar(select(func.count()).select_from(outbox).where(outbox.c.kind == "result")) or 0

    async def assert_one_picture_for_one_price(self, made: int) -> Generation:
        """The creator has paid once and has one whole picture; the miner has earned once; nothing is held or in flight; the books agree."""
        stage = self.stage
        ended = await stage.generation(made)
        assert (ended.state, ended.paid) == (State.DELIVERED, PRICE)
        assert ended.blob
        assert read_picture(await stage.app.blobs.get(ended.blob)) is not None
        assert await stage.balance(wallet(stage.creator.id)) == CREDITS - PRICE
        assert await stage.balance(pending(stage.miner.id)) == 3_825
        assert await self.results() == 1
        assert [row["outcome"] for row in await self.attempts()] == ["unknown"] * (ended.fence - 1) + ["delivered"]
        async with stage.app.read() as work:
            assert {each.in_flight for each in await work.resources.list_of(stage.miner.id)} == {0}
        assert not breaches(await stage.audit())
        return ended


@asynccontextmanager
async def opened(url: str, folder: Path, keys: tuple[str, ...] = KEYS, **changes: Any) -> AsyncIterator[Market]:
    """A market in which `keys` are lent."""
    world, client = World(), make_client()
    await world.start(port=0)
    world.stability.draft = True
    changes |= {
        "stability_api_url": f"{world.url}/stability", "telegram_api_url": f"{world.url}/telegram", "telegram_token": SecretStr("1:demo"),
        "discord_api_url": f"{world.url}/discord/api/v10", "discord_token": SecretStr("demo"),
    }  # fmt: skip
    try:
        async with staged(url, folder, credits=CREDITS, **changes) as stage:
            provider = StabilityProvider(stage.app.settings.stability_api_url, client)
            stage.app.providers = {provider.name: provider}
            for key in keys:
                await stage.lend(key)
            yield Market(stage, world)
    finally:
        await client.aclose()
        await world.stop()


@pytest.mark.parametrize("point", Point, ids=lambda point: point.name.lower())
async def test_a_worker_killed_anywhere_costs_one_lease_and_one_sweep(database_url: str, tmp_path: Path, point: Point) -> None:
    state, left_open, made_in_all, pictures = STANDS[point]
    async with opened(database_url, tmp_path) as market:
        stage, made = market.stage, await market.order()
        await market.killed_at("killed_worker", point)
        killed = stage.app.now()
        market.stability.release()
        assert (await stage.generation(made)).state is state
        unfinished = [row["lease_until"] for row in await market.attempts() if row["finished_at"] is None]
        assert len(unfinished) == left_open
        assert await market.results() == (1 if state is State.DELIVERED else 0)
        for lease_until in unfinished:
            assert lease_until <= killed + int(stage.app.settings.lease_seconds * SECOND)
            early, due = (Worker(market.later(moment - stage.app.now()), 2) for moment in (lease_until - 10 * SECOND, lease_until))
            await early.sweep()
            assert await work_off(early) == 0
            await due.sweep()
            assert await work_off(due) == 1
        assert await work_off(Worker(stage.app, 3)) == (1 if state is State.QUEUED else 0)
        ended = await market.assert_one_picture_for_one_price(made)
        assert ended.fence == made_in_all
        await market.stability.painted(pictures)
        assert market.stability.pictures == pictures


async def test_a_worker_killed_in_a_call_is_followed_in_time_by_one_that_runs(database_url: str, tmp_path: Path) -> None:
    async with opened(database_url, tmp_path, lease_seconds=1.0, sweep_seconds=0.2) as market:
        stage, made = market.stage, await market.order()
        await market.killed_at("killed_worker", Point.CALLING)
        killed = stage.app.now()
        market.stability.release()
        await run_until(Worker(stage.app, 2), stage, made, State.DELIVERED)
        await market.assert_one_picture_for_one_price(made)
        first, second = await market.attempts()
        assert first["lease_until"] <= second["started_at"] <= killed + int((1.0 + 0.2) * SECOND) + BUSY


BUSY = 3 * SECOND
"""What a machine may add on which other tests run."""


@pytest.mark.parametrize("point", [Point.CALLING, Point.ANSWERED], ids=lambda point: point.name.lower())
async def test_without_a_second_key_the_price_goes_back(database_url: str, tmp_path: Path, point: Point) -> None:
    async with opened(database_url, tmp_path, KEYS[:1]) as market:
        stage, made = market.stage, await market.order()
        await market.killed_at("killed_worker", point)
        market.stability.release()
        lease = int(stage.app.settings.lease_seconds * SECOND)
        await run_until(Worker(market.later(lease), 2), stage, made, State.FAILED)
        assert (await stage.generation(made)).reason == "no_resource"
        assert await stage.balance(wallet(stage.creator.id)) == CREDITS
        assert await stage.balance(pending(stage.miner.id)) == 0
        assert await market.results() == 1
        assert not breaches(await stage.audit())


async def run_until(worker: Worker, stage: Stage, made: int, state: State) -> None:
    """Runs the worker with all of its loops until the generation is there."""
    stop = asyncio.Event()
    async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
        running = group.create_task(worker.run(stop))
        while (await stage.generation(made)).state is not state:  # noqa: ASYNC110  # the database tells nobody
            await asyncio.sleep(0.05)
        stop.set()
        await running


# Delivery. Discord knows a message by its nonce, so it shows it once. Telegram has no such key: a process that dies between Telegram's
# answer and its own note sends the picture again. That is the one place where something is said twice; nothing is ever lost or charged.

MESSAGES = {
    ("telegram", killed_delivery.Point.TAKEN): 1,
    ("telegram", killed_delivery.Point.SENT): 2,
    ("discord", killed_delivery.Point.TAKEN): 1,
    ("discord", killed_delivery.Point.SENT): 1,
}


@pytest.mark.parametrize(("platform", "point"), MESSAGES, ids=lambda each: each.name.lower() if hasattr(each, "name") else each)
async def test_a_delivery_killed_anywhere_is_followed_by_the_message(
    database_url: str, tmp_path: Path, platform: str, point: killed_delivery.Point
) -> None:
    async with opened(database_url, tmp_path, KEYS[:1]) as market:  # one notice to the miner: a second one would wait for the chat's pace
        stage, shown = market.stage, await _listener(market, platform)
        made = await market.order(platform, ADA if platform == "telegram" else f"dm:{BO}")
        await work_off(Worker(stage.app, 1))
        await market.killed_at("killed_delivery", point, platform)
        assert len(shown()) == (1 if point is killed_delivery.Point.SENT else 0)
        async with killed_delivery.sender_of(platform, stage.app.settings) as sender:
            assert await Delivery(stage.app, Words(SENTENCES), {platform: sender}).deliver() == 0
            restarted = Delivery(market.later(LEASE), Words(SENTENCES), {platform: sender})
            while await restarted.deliver():
                pass
        assert len(shown()) == MESSAGES[platform, point]
        await market.assert_one_picture_for_one_price(made)


async def _listener(market: Market, platform: str) -> Any:
    """What tells the messages with a picture in the creator's private chat."""
    hands: Any = market.world.telegram if platform == "telegram" else market.world.discord
    person = ADA if platform == "telegram" else BO
    chat = hands.private_chat(person)
    if platform == "telegram":
        await hands.say(person, chat, "/start")
    return lambda: [each for each in hands.messages(person, chat) if each["pictures"]]
