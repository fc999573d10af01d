"""How generations end when things meet: too late, cancelled while claimed, settled twice, submitted twice, and in a fair order."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import func, select, text, update

from bots.chat.chat import SENTENCES
from bots.chat.notices import word
from core.app import App
from core.db import MINUTE
from core.generations.claim import claim_many
from core.generations.errors import NotWaiting
from core.generations.models import Generation, Lease, OutcomeKind, Settlement, State, Submitted, generations
from core.generations.settle import give_up
from core.ledger.errors import KeyReused
from core.ledger.models import entries, held_account, holds, pending, wallet
from core.mailbox.models import Sent, outbox
from core.providers.base import Delivered, FailedFree, Fault, ImageRequest, Outcome, Picture
from core.words import LOCALES, Words
from core.worker import Worker
from tests.fakes import PIXEL
from tests.stage import PRICE, Stage, breaches, ended, staged, work_off

CREDITS = 1_000_000
WAITING_FOR_A_LOCK = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
ONE, TWO = "sk-1111111111", "sk-2222222222"


async def closing(stage: Stage, key: str) -> str | None:
    """The kind of the entry that closed a generation's hold."""
    query = select(entries.c.kind).join(holds, holds.c.closed_by == entries.c.id).where(holds.c.key == f"hold:{key}")
    async with stage.app.read() as work:
        kind: str | None = await work.connection.scalar(query)
        return kind


async def told(app: App, locale: str) -> list[str]:
    """What the chats are told next, in their order, as a reader of that language sees it."""
    async with app.begin() as work:
        await work.connection.execute(text("UPDATE users SET locale = :locale").bindparams(locale=locale))
    due = await app.run(lambda work: work.mailbox.take_deliveries(["telegram"], 100))
    said = []
    for each in due:
        async with app.read() as work:
            wording = await word(app, each)
        assert wording.reply is not None and wording.reply.text is not None
        said.append(Words(SENTENCES).plain(wording.reply.text, wording.locale))
    return said


def pictures(stage: Stage) -> list[Path]:
    """The pictures in the store."""
    return [each for each in (stage.app.settings.data_dir / "blobs").rglob("*") if each.is_file()]


# Too late, or for ever hopeless


@pytest.mark.parametrize("locale", LOCALES)
async def test_what_waited_too_long_is_given_back_and_its_chat_is_told_why(database_url: str, tmp_path: Path, locale: str) -> None:
    async with staged(database_url, tmp_path, generation_minutes=15) as stage:
        (made,) = await stage.submit("k")
        (announced,) = await stage.app.run(lambda work: work.mailbox.take_deliveries(["telegram"], 10))
        await stage.app.run(lambda work: work.mailbox.delivered([Sent(announced.id, "m", work.now + MINUTE)]))
        assert made.deadline == made.created_at + 15 * MINUTE
        assert await stage.app.database.run(lambda connection: give_up(connection, made.deadline - 1)) == 0
        assert await stage.app.database.run(lambda connection: give_up(connection, made.deadline)) == 1
        assert await stage.app.database.run(lambda connection: give_up(connection, made.deadline)) == 0
        failed = await stage.generation(made.id)
        assert (failed.state, failed.reason, failed.paid, failed.blob) == (State.FAILED, "too_late", 0, None)
        assert await closing(stage, "k") == "expire"
        assert (await stage.balance(made.payer), await stage.balance(held_account(made.payer))) == (CREDITS, 0)
        async with stage.app.begin() as work:
            await work.connection.execute(update(outbox).values(due_at=work.now, leased_until=0))
        (said,) = await told(stage.app, locale)
        assert {"en": "took too long", "zh": "等待时间过长"}[locale] in said
        assert {"en": "4.5 Credits are back", "zh": "4.5 点已退回"}[locale] in said
        assert not breaches(await stage.audit())


async def test_a_sweep_ends_what_is_too_late_and_leaves_the_rest(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path) as stage:
        late, waiting = await stage.submit("late", "waiting")
        async with stage.app.begin() as work:
            await work.connection.execute(update(generations).where(generations.c.id == late.id).values(deadline=work.now))
        workers = [Worker(stage.app, seed) for seed in range(6)]
        await asyncio.gather(*(worker.sweep() for worker in workers))
        assert (await stage.generation(late.id)).state is State.FAILED
        assert (await stage.generation(waiting.id)).state is State.QUEUED
        assert await stage.balance(wallet(stage.creator.id)) == CREDITS - PRICE
        assert not breaches(await stage.audit())


async def test_a_failure_after_the_deadline_is_not_tried_again(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path) as stage:
        await stage.lend(ONE)
        await stage.lend(TWO)
        stage.provider.gate = asyncio.Event()
        stage.provider.answer = lambda _request, _key: FailedFree(Fault.SERVER)
        (made,) = await stage.submit("k")
        worker = Worker(stage.app, 1)
        await worker.claim()
        async with stage.app.begin() as work:
            await work.connection.execute(update(generations).values(deadline=work.now))
        await worker.sweep()
        assert (await stage.generation(made.id)).state is State.RUNNING  # it runs: only its own end ends it
        stage.provider.gate.set()
        await ended(worker)
        failed = await stage.generation(made.id)
        assert (failed.state, failed.reason) == (State.FAILED, "too_late")
        assert len(stage.provider.calls) == 1
        assert await stage.balance(wallet(stage.creator.id)) == CREDITS
        assert not breaches(await stage.audit())


async def test_a_picture_that_arrives_after_the_deadline_is_delivered_and_paid_once(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path) as stage:
        worker, lease = await _calling(stage)
        async with stage.app.begin() as work:
            await work.connection.execute(update(generations).values(deadline=work.now - MINUTE))
        await worker.sweep()
        await _finish(stage, worker)
        done = await stage.generation(lease.generation.id)
        assert (done.state, done.paid, await closing(stage, "k")) == (State.DELIVERED, PRICE, "capture")
        assert not breaches(await stage.audit())


async def _calling(stage: Stage, key: str = "k") -> tuple[Worker, Lease]:
    """A worker that hangs in the call of one generation on one resource, and its lease."""
    await stage.lend(ONE)
    stage.provider.gate = asyncio.Event()
    await stage.submit(key)
    worker = Worker(stage.app, 1)
    (lease,) = (await worker.claim()).leases
    await stage.provider.arrived.wait()
    return worker, lease


async def _finish(stage: Stage, worker: Worker) -> None:
    assert stage.provider.gate is not None
    stage.provider.gate.set()
    await ended(worker)


async def test_a_late_settle_loses_and_its_picture_is_deleted(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path, tries_per_generation=1) as stage:
        slow, lease = await _calling(stage)
        assert await stage.app.settle(Settlement(lease, OutcomeKind.UNKNOWN, Fault.TIMEOUT))
        failed = await stage.generation(lease.generation.id)
        assert (failed.state, failed.reason) == (State.FAILED, "out_of_tries")
        await _finish(stage, slow)
        assert await stage.generation(lease.generation.id) == failed
        assert pictures(stage) == []
        assert (await stage.balance(wallet(stage.creator.id)), await stage.balance(pending(stage.miner.id))) == (CREDITS, 0)
        assert not breaches(await stage.audit())


async def test_of_two_pictures_of_one_generation_the_winners_is_kept(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path) as stage:
        slow, lease = await _calling(stage)
        slow_gate = stage.provider.gate
        await stage.lend(TWO)
        assert await stage.app.settle(Settlement(lease, OutcomeKind.UNKNOWN, Fault.TIMEOUT))
        stage.provider.gate = None
        assert await work_off(Worker(stage.app, 2)) == 1
        winner = await stage.generation(lease.generation.id)
        assert slow_gate is not None
        slow_gate.set()
        await ended(slow)
        assert await stage.generation(lease.generation.id) == winner
        assert [each.name for each in pictures(stage)] == [(winner.blob or "").rpartition("/")[2]]
        assert await stage.balance(pending(stage.miner.id)) == 3_825
        assert not breaches(await stage.audit())


async def test_two_settles_at_once_are_one(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path) as stage, staged(database_url, tmp_path, credits=0) as other:
        worker, lease = await _calling(stage)
        picture = {"media_type": "image/png", "width": 1, "height": 1}
        rivals = [
            *(Settlement(lease, OutcomeKind.DELIVERED, blob=f"pictures/{n}", **picture) for n in range(4)),  # type: ignore[arg-type]  # mixed values
            *(Settlement(lease, OutcomeKind.FAILED_FREE, Fault.BAD_REQUEST) for _ in range(4)),
        ]
        answers = await asyncio.gather(*((stage, other)[n % 2].app.settle(each) for n, each in enumerate(rivals)))
        assert sorted(answers) == [False] * 7 + [True]
        done, won = await stage.generation(lease.generation.id), rivals[answers.index(True)]
        assert (done.state is State.DELIVERED, done.blob) == (won.kind is OutcomeKind.DELIVERED, won.blob)
        assert await closing(stage, "k") == ("capture" if won.blob else "release")
        await _finish(stage, worker)
        assert (await stage.generation(lease.generation.id)).blob == won.blob
        async with stage.app.read() as work:
            assert await work.connection.scalar(select(func.count()).where(outbox.c.key == f"result:{done.id}")) == 1
        assert await stage.balance(wallet(stage.creator.id)) == CREDITS - (PRICE if won.blob else 0)
        assert not breaches(await stage.audit())


# Cancelled while it is claimed


async def test_cancel_against_claim_is_one_or_the_other(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path) as stage, staged(database_url, tmp_path, credits=0) as other:
        await stage.lend(ONE)
        workers = [Worker(stage.app, 1), Worker(other.app, 2)]
        cancelled: list[bool] = []
        for number in range(36):
            (made,) = await stage.submit(f"k{number}")
            shift = number % 12 - 4  # who comes later, by so many round trips
            claims = (_claim(stage, worker, -shift) for worker in workers)
            answers = await asyncio.gather(_cancel(other, made, shift), *claims)
            await asyncio.gather(*(ended(worker) for worker in workers))
            cancelled.append(bool(answers[0]))
            assert sum(answers) == 1  # it is cancelled, or one of the workers has it
            end = await stage.generation(made.id)
            assert (end.state, end.paid) == ((State.CANCELLED, 0) if cancelled[-1] else (State.DELIVERED, PRICE))
            assert await closing(stage, end.key) == ("release" if cancelled[-1] else "capture")
        delivered = cancelled.count(False)
        assert 0 < delivered < len(cancelled)  # it was a race
        assert len(stage.provider.calls) + len(other.provider.calls) == delivered
        assert await stage.balance(wallet(stage.creator.id)) == CREDITS - delivered * PRICE
        assert await stage.balance(pending(stage.miner.id)) == delivered * 3_825
        assert not breaches(await stage.audit())


async def _dawdle(stage: Stage, trips: int) -> None:
    """So many round trips to the database."""
    for _ in range(trips):
        async with stage.app.read() as work:
            await work.connection.execute(text("SELECT 1"))


async def _claim(stage: Stage, worker: Worker, later: int) -> int:
    """Claims after so many round trips; how many leases it got."""
    await _dawdle(stage, later)
    return len((await worker.claim()).leases)


async def _cancel(stage: Stage, generation: Generation, later: int) -> bool:
    """Cancels after so many round trips; whether it was still waiting."""
    await _dawdle(stage, later)
    try:
        await stage.app.run(lambda work: work.generations.cancel(generation.id, generation.user_id))
    except NotWaiting:
        return False
    return True


async def _claim_held_open(stage: Stage, generation: Generation) -> tuple[NotWaiting, State]:
    """Cancels a generation while the transaction that claims it is still open; what the canceller was told, and what it is now."""
    app = stage.app
    async with asyncio.TaskGroup() as group, app.begin() as work:  # it ends, and commits, before the group does
        claimed = await claim_many(
            work.connection,
            app.catalog,
            now=work.now,
            today=app.today(),
            slots=1,
            lease=MINUTE,
            running_per_user=4,
            strikes_per_user=10,
            seed=1,
        )
        assert [lease.generation.id for lease in claimed.leases] == [generation.id]
        cancelling = group.create_task(_refused(stage, generation))
        async with asyncio.timeout(20), app.read() as onlooker:
            while not await onlooker.connection.scalar(text(WAITING_FOR_A_LOCK)):  # noqa: ASYNC110  # the server tells nobody
                await asyncio.sleep(0.01)
    return cancelling.result(), (await stage.generation(generation.id)).state


async def _refused(stage: Stage, generation: Generation) -> NotWaiting:
    with pytest.raises(NotWaiting) as refused:
        await stage.app.run(lambda work: work.generations.cancel(generation.id, stage.creator.id))
    return refused.value


async def test_a_cancel_that_comes_second_waits_and_is_refused(postgres_url: str, tmp_path: Path) -> None:
    async with staged(postgres_url, tmp_path) as stage:
        await stage.lend(ONE)
        (made,) = await stage.submit("k")
        refused, state = await _claim_held_open(stage, made)
        assert (state, refused.facts["generation"]) == (State.RUNNING, made.id)
        assert await stage.balance(held_account(made.payer)) == PRICE


async def test_a_cancel_that_comes_second_is_told_what_it_is_now(postgres_url: str, tmp_path: Path) -> None:
    async with staged(postgres_url, tmp_path) as stage:
        await stage.lend(ONE)
        (made,) = await stage.submit("k")
        refused, state = await _claim_held_open(stage, made)
        assert refused.facts["state"] == state


# Submitted twice


@pytest.mark.parametrize("processes", [1, 2])
async def test_one_key_submitted_by_many_is_one_generation(database_url: str, tmp_path: Path, processes: int) -> None:
    async with staged(database_url, tmp_path) as stage, staged(database_url, tmp_path, credits=0) as other:
        apps = [stage.app, other.app][:processes]
        order = stage.order("k")
        submitted = await asyncio.gather(*(app.submit(order) for app in apps for _ in range(10)))
        assert len({each.generation.id for each in submitted}) == 1
        assert sum(not each.replayed for each in submitted) == 1
        assert await stage.balance(held_account(submitted[0].generation.payer)) == PRICE
        assert not breaches(await stage.audit())


@pytest.mark.parametrize("processes", [1, 2])
async def test_one_key_for_different_wishes_is_the_first_ones_alone(database_url: str, tmp_path: Path, processes: int) -> None:
    async with staged(database_url, tmp_path) as stage, staged(database_url, tmp_path, credits=0) as other:
        apps = [stage.app, other.app][:processes]
        somebody = await stage.person("somebody", CREDITS)
        orders = [
            *(stage.order("k", prompt=f"a cat {n}") for n in range(6)),
            stage.order("k", somebody, prompt="a cat 0"),
            replace(stage.order("k", prompt="a cat 0"), price=PRICE - 1),
        ]
        calls = (app.submit(order) for order in orders for app in apps)
        answers = await asyncio.gather(*calls, return_exceptions=True)
        kept = [answer for answer in answers if isinstance(answer, Submitted)]
        assert len({each.generation.id for each in kept}) == 1 and len(kept) == processes
        assert sum(isinstance(answer, KeyReused) for answer in answers) == len(answers) - processes
        held = [await stage.balance(held_account(wallet(user.id))) for user in (stage.creator, somebody)]
        assert sorted(held) == [0, kept[0].generation.held]
        assert not breaches(await stage.audit())


# In a fair order


@pytest.mark.parametrize("already", [0, 20])
async def test_five_hundred_requests_do_not_delay_anothers_first(database_url: str, tmp_path: Path, already: int) -> None:
    async with staged(database_url, tmp_path, credits=500 * PRICE) as stage:
        await stage.lend(ONE, max_concurrency="1", day_limit="10000", month_limit="10000")
        other = await stage.person("other", 3 * PRICE)
        await stage.submit(*(f"k{n}" for n in range(500)))
        drawn: list[str] = []

        def answer(request: ImageRequest, _key: str) -> Outcome:
            drawn.append(request.prompt)
            return Delivered(Picture(PIXEL, "image/png", 1, 1))

        stage.provider.answer = answer
        worker = Worker(stage.app, 1)

        async def draw(count: int) -> None:
            for _ in range(count):
                assert len((await worker.claim()).leases) == 1
                await ended(worker)

        await draw(already)
        theirs = [await stage.app.submit(stage.order(f"o{n}", other, prompt=f"theirs {n}")) for n in range(3)]
        async with stage.app.read() as work:
            assert await work.generations.place(theirs[0].generation) <= 2
        await draw(7)
        since = drawn[already:]
        assert since.index("theirs 0") <= 1 and "a cat" in since[:2]
        assert since.index("theirs 1") <= 3 and since.index("theirs 2") <= 5  # and then they take turns
