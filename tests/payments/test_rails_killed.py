"""A worker or an api is killed with SIGKILL between the checkout and the Credits: they come once, and the books agree.

Real processes, the real rails on real sockets, both databases. Nobody waits for a lease to end: everything becomes older instead.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

import demo
from core.payments.models import Payment, State, TopUp
from tests.fleet import environment
from tests.payments.killed_till import Point
from tests.payments.rails_stage import Rails, listening, rails, sealed
from tests.payments.test_rails_race import CREDITS, RAILS

pytestmark = pytest.mark.timeout(120)
ROOT = Path(__file__).parents[2]
SECONDS = 60.0
MINUTES = 5 / (24 * 60)
CREDITING = (Point.ASKED, Point.KEPT, Point.APPLYING, Point.APPLIED)


@pytest.fixture
async def made(database_url: str, tmp_path: Path) -> AsyncIterator[Rails]:
    async with rails(database_url, tmp_path) as opened:
        yield opened


@asynccontextmanager
async def killed(made: Rails, point: Point, role: str, **changes: object) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process with this one's settings, killed at the end of the block, where it must be alive."""
    settings = made.app.settings.model_copy(update=changes)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.payments.killed_till", point, role, cwd=ROOT, env=environment(settings),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(SECONDS):
            yield process
        assert process.returncode is None, "it has ended by itself"
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.communicate()
    assert process.returncode == -signal.SIGKILL


async def arrived(process: asyncio.subprocess.Process, point: Point) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        if line.decode().strip() == point:
            return
    raise AssertionError(f"it has ended before it came to: {point}")


async def paid(made: Rails, rail: str) -> Payment:
    """A payment that the buyer has paid and nobody has told of: the rail holds its callback back."""
    payment = await made.begin(rail)
    await (made.session_paid(payment) if rail == "stripe" else made.trade_paid(payment))
    return payment


async def restarted(made: Rails) -> None:
    """Another worker, some minutes later. The end of a checkout stays what it was: it is a part of what the rail was asked for."""
    await made.age(MINUTES, "due_at")
    while await made.desk.work():
        pass


async def assert_credited_once(made: Rails, payment: Payment) -> None:
    """Also when the rail's own callback comes in the end, which it does now."""
    assert (await made.payment(payment.id)).state is State.PAID
    assert (await made.credits(), await made.topups(), await made.waiting()) == (CREDITS, 1, 0)
    made.world.stripe.events.release()
    made.world.alipay.courier.release()
    await made.world.stripe.settled()
    await made.world.alipay.courier.settled()
    await restarted(made)
    assert (await made.payment(payment.id)).state is State.PAID
    assert (await made.credits(), await made.topups(), await made.waiting()) == (CREDITS, 1, 0)
    await made.assert_sound()


@pytest.mark.parametrize("rail", RAILS)
async def test_a_worker_killed_after_the_checkout_was_opened_opens_no_second_one(made: Rails, rail: str) -> None:
    begun = await made.app.top_up(TopUp("k", made.stage.creator.id, "small", rail))
    async with killed(made, Point.OPENED, "worker") as process:
        await arrived(process, Point.OPENED)
    assert (await made.payment(begun.id)).state is State.CREATED
    await restarted(made)
    payment = await made.payment(begun.id)
    assert payment.state is State.PENDING
    assert len(made.world.stripe.state.sessions) == (1 if rail == "stripe" else 0)
    await (made.session_paid(payment) if rail == "stripe" else made.trade_paid(payment))
    await restarted(made)
    await assert_credited_once(made, payment)


@pytest.mark.parametrize("rail", RAILS)
@pytest.mark.parametrize("point", CREDITING, ids=lambda point: point.name.lower())
async def test_a_worker_killed_while_it_asks_credits_once(made: Rails, rail: str, point: Point) -> None:
    payment = await paid(made, rail)
    await made.age(MINUTES)
    async with killed(made, point, "worker") as process:
        await arrived(process, point)
    done = point is Point.APPLIED
    assert (await made.payment(payment.id)).state is (State.PAID if done else State.PENDING)
    assert await made.waiting() == (1 if point in (Point.KEPT, Point.APPLYING) else 0)
    await restarted(made)
    await assert_credited_once(made, payment)


@pytest.mark.parametrize("rail", RAILS)
@pytest.mark.parametrize("point", CREDITING[1:], ids=lambda point: point.name.lower())
async def test_an_api_killed_in_a_callback_credits_once(made: Rails, rail: str, point: Point) -> None:
    """What it has kept is applied by a worker, without another word of the rail; what was not answered comes again as well."""
    payment = await made.begin(rail)
    told = await (made.session_paid(payment) if rail == "stripe" else made.trade_paid(payment))
    port = demo._free_port()
    there = made.url
    async with asyncio.TaskGroup() as group, killed(made, point, "api", api_port=port) as process:
        made.url = f"http://127.0.0.1:{port}"
        await listening(made)
        call = group.create_task(unanswered(made, rail, told))
        await arrived(process, point)
    made.url = there
    assert call.result()
    assert (await made.payment(payment.id)).state is (State.PAID if point is Point.APPLIED else State.PENDING)
    while await made.desk.work():
        pass
    await assert_credited_once(made, payment)


async def unanswered(made: Rails, rail: str, told: dict[str, str]) -> bool:
    """Whether a callback is left without an answer."""
    try:
        await (made.stripe(told) if rail == "stripe" else made.post("alipay", sealed(told)))
    except aiohttp.ClientError:
        return True
    return False
