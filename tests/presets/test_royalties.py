"""Presets and their royalties on both databases: published in versions, paid in the capture, never farmed, given back with a refund."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from core.db import DAY
from core.disputes.models import Kind
from core.disputes.models import State as Verdict
from core.generations.models import Generation, State
from core.ledger.models import FEES, earnings, pending
from core.presets.errors import PresetNameTaken, PresetNotFound, TooManyPresets
from core.presets.models import Draft, Preset
from core.presets.service import PUBLISHED_PER_DAY
from core.users.models import Role, User
from core.worker import Worker
from tests.stage import PRICE, Stage, breaches, staged, work_off

DRAFT = Draft("neon-shoe", "Neon shoe", "a neon {subject}", {"ar": "16:9"}, ("neon",))
ROYALTY, MINER = 225, 3_825
MOST = 5


@pytest.fixture
async def stage(database_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(database_url, tmp_path, royalties_per_day=MOST) as opened:
        await opened.lend("sk-first")
        await opened.lend("sk-second")
        yield opened


async def publish(stage: Stage, author: User, draft: Draft = DRAFT) -> Preset:
    return await stage.app.run(lambda work: work.presets.publish(draft, author.id, 3))


async def ordered(stage: Stage, preset: Preset, *keys: str, user: User | None = None) -> list[Generation]:
    """Delivered pictures with a preset, submitted and settled at once."""
    orders = [stage.order(key, user) for key in keys]
    orders = [replace(each, wish=replace(each.wish, preset_id=preset.id)) for each in orders]
    made = await asyncio.gather(*(stage.app.submit(each) for each in orders))
    await work_off(Worker(stage.app, 1), Worker(stage.app, 2))
    return [await stage.generation(each.generation.id) for each in made]


async def test_an_author_earns_by_what_others_make(stage: Stage) -> None:
    author = await stage.person("author", 1_000_000)
    preset = await publish(stage, author)
    (made,) = await ordered(stage, preset, "one")
    assert (made.state, made.preset_id) == (State.DELIVERED, preset.id)
    assert await stage.balance(pending(author.id)) == ROYALTY
    assert await stage.balance(pending(stage.miner.id)) == MINER
    await ordered(stage, preset, "own", user=author)
    assert await stage.balance(pending(author.id)) == ROYALTY, "nobody pays themselves"
    async with stage.app.read() as work:
        assert Role.CONTRIBUTOR in (await work.users.get(author.id)).roles
    async with stage.app.begin() as work:
        await work.connection.exec_driver_sql("UPDATE generations SET release_at = 1")
    await Worker(stage.app, 1).sweep()
    assert await stage.balance(earnings(author.id)) == ROYALTY
    assert not breaches(await stage.audit())


async def test_a_miner_who_is_the_author_gets_both(stage: Stage) -> None:
    preset = await publish(stage, stage.miner)
    await ordered(stage, preset, "one")
    assert await stage.balance(pending(stage.miner.id)) == MINER + ROYALTY
    assert not breaches(await stage.audit())


async def test_a_refund_takes_the_royalty_back(stage: Stage) -> None:
    author, admin = await stage.person("author"), await stage.person("admin")
    (made,) = await ordered(stage, await publish(stage, author), "one")
    opened = await stage.app.run(lambda work: work.disputes.open(made.id, stage.creator, Kind.OTHER, 3))
    await stage.app.run(lambda work: work.disputes.decide(opened.id, admin, Verdict.REFUNDED, "blank", alone=20_000))
    assert await stage.balance(pending(author.id)) == 0
    assert not breaches(await stage.audit())


async def test_nobody_farms(stage: Stage) -> None:
    """Two workers settle at once: an author earns by MOST pictures of one creator a day, and by those of another."""
    author, other = await stage.person("author"), await stage.person("other", 1_000_000)
    preset = await publish(stage, author)
    made = await ordered(stage, preset, *(f"k{number}" for number in range(3 * MOST)))
    assert {each.state for each in made} == {State.DELIVERED}
    assert await stage.balance(pending(author.id)) == MOST * ROYALTY
    await ordered(stage, preset, "more")
    assert await stage.balance(pending(author.id)) == MOST * ROYALTY
    await ordered(stage, preset, "others", user=other)
    assert await stage.balance(pending(author.id)) == (MOST + 1) * ROYALTY
    async with stage.app.begin() as work:
        await work.connection.exec_driver_sql(f"UPDATE generations SET finished_at = finished_at - {DAY}")
    await ordered(stage, preset, "tomorrow")
    assert await stage.balance(pending(author.id)) == (MOST + 2) * ROYALTY
    assert not breaches(await stage.audit())


@pytest.mark.parametrize("who", ["author", "preset", "platform"])
async def test_nothing_for_the_frozen_and_the_platform(stage: Stage, who: str) -> None:
    author = await stage.person("author")
    preset = await publish(stage, author)
    if who == "author":
        await stage.app.run(lambda work: work.users.freeze(author.id, True))
    elif who == "preset":
        await stage.app.run(lambda work: work.presets.freeze(preset.name))
    else:
        preset = await stage.app.run(lambda work: work.presets.find("logo-mark"))
    before = await stage.audit()
    await ordered(stage, preset, "one")
    assert await stage.balance(pending(author.id)) == 0
    assert await stage.balance(pending(stage.miner.id)) == MINER
    after = await stage.audit()
    assert after.clean and before.clean
    assert FEES.startswith("platform:")
    assert PRICE - MINER == 675


async def test_versions_and_names(stage: Stage) -> None:
    author, other = await stage.person("author"), await stage.person("other")
    first = await publish(stage, author)
    second = await publish(stage, author, replace(DRAFT, template="a bright {subject}"))
    assert (first.version, second.version) == (1, 2)
    async with stage.app.read() as work:
        assert (await work.presets.find("Neon-Shoe ")).id == second.id
        assert (await work.presets.get(first.id)).template == "a neon {subject}"
        assert [each.name for each in await work.presets.search(["NEON"])] == ["neon-shoe"]
        assert [each.name for each in await work.presets.search(["%"])] == []
        assert len(await work.presets.search(limit=25)) == 9
    with pytest.raises(PresetNameTaken):
        await publish(stage, other)
    with pytest.raises(PresetNotFound):
        await stage.app.run(lambda work: work.presets.withdraw("neon-shoe", other.id))
    await stage.app.run(lambda work: work.presets.withdraw("neon-shoe", author.id))
    with pytest.raises(PresetNotFound):
        await stage.app.run(lambda work: work.presets.find("neon-shoe"))
    assert (await publish(stage, author)).version == 3


async def test_a_name_at_once_is_one_persons(stage: Stage) -> None:
    people = [await stage.person(f"p{number}") for number in range(6)]
    answers = await asyncio.gather(*(publish(stage, each) for each in people), return_exceptions=True)
    assert [type(each) for each in answers].count(Preset) == 1
    assert all(isinstance(each, Preset | PresetNameTaken) for each in answers), answers


async def test_no_more_than_allowed(stage: Stage) -> None:
    author = await stage.person("author")
    for number in range(3):
        await publish(stage, author, replace(DRAFT, name=f"neon-{number}x"))
    with pytest.raises(TooManyPresets):
        await publish(stage, author)
    for _ in range(PUBLISHED_PER_DAY - 3):
        await publish(stage, author, replace(DRAFT, name="neon-0x"))
    with pytest.raises(TooManyPresets):
        await publish(stage, author, replace(DRAFT, name="neon-0x"))


async def test_a_report_counts_each_person_once(stage: Stage) -> None:
    author, other = await stage.person("author"), await stage.person("other")
    await publish(stage, author)
    for user, expected in ((other, 1), (other, 1), (stage.creator, 2)):
        assert await stage.app.run(lambda work, u=user: work.presets.report("neon-shoe", u.id)) == expected  # type: ignore[misc]  # a default
