"""What a disputed picture looks like, what is clear by rule within a sweep, and verdicts that are not all or nothing."""

import asyncio
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sqlalchemy import text

from core.disputes.errors import AlreadyDecided, BadAmount, DisputeNotFound, OwnDispute
from core.disputes.models import Dispute, Kind, State
from core.disputes.rules import RATIO_OFF, clear, examine, refund_part
from core.generations.models import Generation
from core.generations.models import State as GenerationState
from core.ledger.models import earnings, pending, wallet
from core.providers import openai
from core.providers.base import Delivered, Picture
from core.worker import Worker
from sandbox import stability
from tests.stage import PRICE, Stage, breaches, staged, work_off

SHARE = 3_825


def drawn(width: int = 64, height: int = 64, *, flat: bool = False) -> bytes:
    """A PNG of noise, or of one color."""
    image = Image.new("RGB", (width, height), (250, 250, 250))
    if not flat:
        image = Image.frombytes("RGB", (width, height), Random(1).randbytes(width * height * 3))
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
async def stage(database_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(database_url, tmp_path, credits=100_000) as opened:
        await opened.lend("sk-first")
        yield opened


async def made_of(stage: Stage, data: bytes, size: tuple[int, int] = (64, 64)) -> Generation:
    stage.provider.answer = lambda _request, _key: Delivered(Picture(data, "image/png", *size), seed=7, cost=30_000)
    (made,) = await stage.submit("k")
    await work_off(Worker(stage.app, 1))
    return await stage.generation(made.id)


async def opened(stage: Stage, generation: Generation) -> Dispute:
    return await stage.app.run(lambda work: work.disputes.open(generation.id, stage.creator, Kind.POOR_QUALITY, 3))


async def inspected(stage: Stage, dispute: Dispute) -> Dispute:
    """As it is after a worker's sweep."""
    await Worker(stage.app, 1).sweep()
    async with stage.app.read() as work:
        return await work.disputes.get(dispute.id)


async def told(stage: Stage) -> list[str]:
    async with stage.app.read() as work:
        return sorted(await work.connection.scalars(text("SELECT kind FROM outbox WHERE kind LIKE 'dispute%' OR kind = 'verdict'")))


@pytest.mark.parametrize(
    ("data", "size", "why"), [(drawn(flat=True), (64, 64), "blank"), (drawn(96, 64), (96, 64), "wrong_size")], ids=["blank", "wrong size"]
)
async def test_what_is_clear_is_refunded_by_rule(stage: Stage, data: bytes, size: tuple[int, int], why: str) -> None:
    await stage.admin()
    dispute = await opened(stage, made := await made_of(stage, data, size))
    decided = await inspected(stage, dispute)
    assert (decided.state, decided.decided_by, decided.reason) == (State.REFUNDED, None, why)
    assert (await stage.generation(made.id)).state is GenerationState.REFUNDED
    assert await stage.balance(wallet(stage.creator.id)) == 100_000
    assert await told(stage) == ["verdict", "verdict"], "no admin is asked"
    assert (await inspected(stage, dispute)) == decided, "once"
    assert not breaches(await stage.audit())


async def test_what_is_not_clear_is_people_s_to_decide(stage: Stage) -> None:
    await stage.admin()
    dispute = await inspected(stage, await opened(stage, await made_of(stage, drawn())))
    assert dispute.state is State.OPEN
    assert dispute.evidence is not None
    assert dispute.evidence["varies"] > 10
    assert dispute.evidence["fits"] is True
    assert [each["outcome"] for each in dispute.evidence["attempts"]] == ["delivered"]
    assert await told(stage) == ["dispute_against", "dispute_new"]
    await inspected(stage, dispute)
    assert await told(stage) == ["dispute_against", "dispute_new"], "once"


async def test_whoever_earns_answers_once(stage: Stage) -> None:
    dispute = await opened(stage, await made_of(stage, drawn()))
    for user in (stage.creator, await stage.person("other")):
        with pytest.raises(DisputeNotFound):
            await stage.app.run(lambda work, u=user: work.disputes.answer(dispute.id, u, "mine"))  # type: ignore[misc]  # a default
    answered = await stage.app.run(lambda work: work.disputes.answer(dispute.id, stage.miner, "  it is what\nwas asked for "))
    assert answered.answer == "it is what was asked for"
    with pytest.raises(AlreadyDecided):
        await stage.app.run(lambda work: work.disputes.answer(dispute.id, stage.miner, "again"))


async def test_a_part_goes_back_and_the_rest_is_released(stage: Stage) -> None:
    admin = await stage.admin()
    dispute = await opened(stage, made := await made_of(stage, drawn()))
    for wrong in (0, -1, PRICE, PRICE + 1):
        with pytest.raises(BadAmount):
            await stage.app.run(lambda work, a=wrong: work.disputes.decide(dispute.id, admin, State.PARTLY, "half", amount=a, alone=20_000))  # type: ignore[misc]  # a default
    with pytest.raises(OwnDispute):
        await stage.app.run(lambda work: work.disputes.decide(dispute.id, stage.miner, State.PARTLY, "half", amount=2_000, alone=20_000))
    decided = await stage.app.run(
        lambda work: work.disputes.decide(dispute.id, admin, State.PARTLY, "half of it", amount=2_000, alone=20_000)
    )
    assert (decided.state, decided.amount) == (State.PARTLY, 2_000)
    assert (await stage.generation(made.id)).state is GenerationState.DELIVERED
    assert await stage.balance(wallet(stage.creator.id)) == 100_000 - PRICE + 2_000
    assert (await stage.balance(pending(stage.miner.id)), await stage.balance(earnings(stage.miner.id))) == (0, SHARE - 1_700)
    async with stage.app.begin() as work:
        await work.connection.execute(text("UPDATE generations SET release_at = 1 WHERE release_at IS NOT NULL"))
    await Worker(stage.app, 1).sweep()
    assert await stage.balance(earnings(stage.miner.id)) == SHARE - 1_700, "released once"
    assert not breaches(await stage.audit())


async def test_goodwill_is_the_platform_s(stage: Stage) -> None:
    admin = await stage.admin()
    dispute = await opened(stage, await made_of(stage, drawn()))
    with pytest.raises(BadAmount):
        await stage.app.run(
            lambda work: work.disputes.decide(dispute.id, admin, State.COMPENSATED, "sorry", amount=PRICE + 1, alone=20_000)
        )
    decided = await stage.app.run(
        lambda work: work.disputes.decide(dispute.id, admin, State.COMPENSATED, "sorry", amount=1_000, alone=20_000)
    )
    assert decided.state is State.COMPENSATED
    assert await stage.balance(wallet(stage.creator.id)) == 100_000 - PRICE + 1_000
    assert await stage.balance(pending(stage.miner.id)) == SHARE
    assert not breaches(await stage.audit())


async def test_of_many_verdicts_at_once_one_counts(stage: Stage) -> None:
    admin = await stage.admin()
    dispute = await opened(stage, await made_of(stage, drawn()))
    run, disputes = stage.app.run, dispute.id
    verdicts = [
        run(lambda work: work.disputes.decide(disputes, admin, State.REFUNDED, "all", alone=20_000)),
        run(lambda work: work.disputes.decide(disputes, admin, State.REJECTED, "none", alone=20_000)),
        run(lambda work: work.disputes.decide(disputes, admin, State.PARTLY, "half", amount=2_000, alone=20_000)),
        run(lambda work: work.disputes.decide(disputes, admin, State.COMPENSATED, "sorry", amount=1_000, alone=20_000)),
        run(lambda work: work.disputes.inspected(disputes, {"varies": 0.0})),
        Worker(stage.app, 1).sweep(),
    ]
    answers = await asyncio.gather(*verdicts, return_exceptions=True)
    assert all(each is None or isinstance(each, Dispute | AlreadyDecided) for each in answers), answers
    async with stage.app.read() as work:
        acts = await work.acts.newest(subject=f"dispute:{dispute.id}")
    assert len(acts) == 1
    assert not breaches(await stage.audit())


def test_what_is_seen() -> None:
    assert examine(drawn(96, 64), "3:2")["fits"] is True
    assert examine(drawn(96, 64), "2:3")["fits"] is False
    assert examine(drawn(), None)["fits"] is None
    assert examine(drawn(flat=True), None)["varies"] == 0
    assert clear({}) is None


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=4), st.data())
def test_a_part_is_taken_in_proportion(amounts: list[int], data: st.DataObject) -> None:
    names = ["user:2:pending", "platform:fees", "user:3:pending", "user:4:pending"]
    shares = list(zip(names, amounts, strict=False))
    total = sum(amounts)
    if total < 2:
        return
    part = data.draw(st.integers(1, total - 1))
    first, second = refund_part(7, "user:1:wallet", shares, part)
    assert sum(leg.amount for leg in first.legs) == 0
    assert first.legs[-1].amount == part
    taken = {leg.account: -leg.amount for leg in first.legs[:-1]}
    rest = {leg.account: -leg.amount for leg in second.legs if leg.amount < 0} if second else {}
    assert sum(leg.amount for leg in second.legs) == 0 if second else True
    for account, amount in shares:
        assert 0 <= taken.get(account, 0) <= amount
        if account.startswith("user:"):
            assert taken.get(account, 0) + rest.get(account, 0) == amount


def test_bytes_that_are_no_picture_show_nothing() -> None:
    for data in (b"", b"\x89PNG", b"not a picture", drawn()[:200]):
        found = examine(data, "1:1")
        assert found["varies"] == 0
        assert clear(found) == "blank"


def test_what_providers_draw_is_as_promised() -> None:
    """Their sides are multiples of their own, so a ratio is met nearly; none of theirs may be taken for a mistake."""
    of_openai = ((ratio, tuple(map(int, size.split("x")))) for ratio, size in openai.SIZES.items())
    for ratio, (width, height) in (*stability.SIZES.items(), *of_openai):
        across, _, down = ratio.partition(":")
        assert abs(width / height * int(down) / int(across) - 1) <= RATIO_OFF, ratio
