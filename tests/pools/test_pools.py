"""Pools on both databases: caps hold however many press at once, nothing given is lost, and who belongs where."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from core.access.errors import CodeExpired
from core.access.rules import new_code
from core.db import DAY
from core.disputes.models import Kind
from core.disputes.models import State as Verdict
from core.generations.models import State, Submitted
from core.generations.pages import uses_of
from core.ledger.errors import InsufficientCredits
from core.ledger.models import held_account, wallet
from core.pools.errors import BadPolicy, PoolCap, PoolClosed, PoolEmpty, PoolExists, PoolNotFound, TooManyChosen
from core.pools.models import MAX_CHOSEN, Community, Named, Policy, Spenders, pool
from core.pools.rules import read_policy, read_presets, toggled
from core.users.errors import Frozen, UserNotFound
from core.users.models import User, users
from core.worker import Worker
from tests.stage import PRICE, Stage, breaches, staged, work_off

MEMBERS, ENOUGH = 64, 10
PLENTY = 1_000 * PRICE


@pytest.fixture
async def stage(database_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(database_url, tmp_path, credits=PLENTY) as opened:
        yield opened


async def founded(stage: Stage, given: int, policy: Policy | None = None) -> Community:
    """A community in a Telegram group, with so many milli-credits."""
    app = stage.app
    made = await app.run(lambda work: work.pools.found("telegram", "-100", "Aether Club"))
    if given:
        await app.run(lambda work: work.pools.contribute(made, stage.creator, given, "k"))
    return await app.run(lambda work: work.pools.set_policy(made, policy)) if policy else made


async def ruled(stage: Stage, community: Community, policy: Policy) -> Community:
    """With other rules."""
    return await stage.app.run(lambda work: work.pools.set_policy(community, policy))


async def press(stage: Stage, community: Community, user: User, number: int = 0) -> object:
    """What becomes of one /imagine that the pool is to pay."""
    order = replace(
        stage.order(f"{user.id}:{number}", user), community_id=community.id, roles=("7", "9"), channels=("discord:41", HERE), preset=NEON
    )
    try:
        return await stage.app.submit(order)
    except Exception as error:  # noqa: BLE001  # what it was is counted
        return error


HERE, NEON = "discord:4", "neon-shoe"
NARROW = Policy(
    day_cap=ENOUGH * PRICE, spenders=Spenders.ROLES, roles=(("7", "Painters"),), channels=((HERE, "#art"),), presets=frozenset({NEON})
)
"""Who, where, with what and how much, all at once."""
CASES = {
    "balance": (ENOUGH * PRICE, Policy(), PoolEmpty, 1),
    "day": (PLENTY // 2, Policy(day_cap=ENOUGH * PRICE + 1), PoolCap, 1),
    "member": (PLENTY // 2, Policy(member_cap=PRICE), PoolCap, MEMBERS // ENOUGH),
    "rules": (PLENTY // 2, NARROW, PoolCap, 1),
}
"""What there is, the rules, the refusal, and how often each member presses."""


@pytest.mark.parametrize("kind", CASES)
async def test_exactly_what_a_pool_allows(stage: Stage, kind: str) -> None:
    given, policy, refused, presses = CASES[kind]
    community = await founded(stage, given, policy)
    people = [await stage.person(f"m{number}") for number in range(MEMBERS if presses == 1 else ENOUGH)]
    tries = [press(stage, community, user, number) for number in range(presses) for user in people]
    answers = Counter(type(each) for each in await asyncio.gather(*tries))
    assert answers == {Submitted: ENOUGH, refused: len(tries) - ENOUGH}
    assert await stage.balance(held_account(pool(community.id))) == ENOUGH * PRICE
    await stage.lend("sk-pool-one")
    await work_off(Worker(stage.app, 1))
    assert await stage.balance(pool(community.id)) == given - ENOUGH * PRICE
    assert not breaches(await stage.audit())


async def test_yesterday_and_what_came_to_nothing_do_not_count(stage: Stage) -> None:
    community = await founded(stage, PLENTY // 2, Policy(member_cap=2 * PRICE))
    user = await stage.person("member")
    first, second = await press(stage, community, user, 1), await press(stage, community, user, 2)
    assert isinstance(first, Submitted) and isinstance(second, Submitted)
    assert isinstance(await press(stage, community, user, 3), PoolCap)
    await stage.app.run(lambda work: work.generations.cancel(first.generation.id, user.id))
    assert isinstance(await press(stage, community, user, 4), Submitted)
    async with stage.app.begin() as work:
        await work.connection.exec_driver_sql(f"UPDATE generations SET created_at = created_at - {DAY}")
    assert isinstance(await press(stage, community, user, 5), Submitted)


async def test_a_refund_goes_back_to_the_pool(stage: Stage) -> None:
    community = await founded(stage, 2 * PRICE)
    user, admin = await stage.person("member"), await stage.person("admin")
    await stage.lend("sk-pool-one")
    made = await press(stage, community, user)
    assert isinstance(made, Submitted)
    await work_off(Worker(stage.app, 1))
    opened = await stage.app.run(lambda work: work.disputes.open(made.generation.id, user, Kind.OTHER, 3))
    await stage.app.run(lambda work: work.disputes.decide(opened.id, admin, Verdict.REFUNDED, "blank", alone=20_000))
    assert (await stage.generation(made.generation.id)).state is State.REFUNDED
    assert await stage.balance(pool(community.id)) == 2 * PRICE
    assert await stage.balance(wallet(user.id)) == 0
    assert not breaches(await stage.audit())


@pytest.mark.parametrize(
    ("policy", "why"), [(Policy(enabled=False), "off"), (Policy(models=frozenset({"ultra"})), "model"), (Policy(quiet=(0, 23)), "quiet")]
)
async def test_what_the_rules_do_not_allow(stage: Stage, policy: Policy, why: str) -> None:
    community = await founded(stage, PLENTY // 2, policy)
    if why == "quiet":
        hour = stage.app.now() // 3_600_000_000 % 24
        closed = Policy(quiet=(hour, (hour + 1) % 24))
        community = await stage.app.run(lambda work: work.pools.set_policy(community, closed))
    answer = await press(stage, community, stage.creator)
    assert isinstance(answer, PoolClosed)
    assert answer.facts["why"] == why


async def test_who_asks_where_and_with_what(stage: Stage) -> None:
    """Each rule for itself, and the first that is broken is told; none of them is a matter of how the others stand."""
    community = await founded(stage, PLENTY // 2, NARROW)
    fits = replace(stage.order("x"), community_id=community.id, roles=("7",), channels=(HERE,), preset=NEON)
    broken: list[tuple[dict[str, object], str]] = [
        ({"by_member": False}, "left"), ({"roles": None}, "no_roles"), ({"roles": ("8",)}, "roles"), ({"preset": None}, "preset"),
        ({"preset": "logo-mark"}, "preset"), ({"channels": ("discord:5", "telegram:4")}, "channel"), ({"channels": ()}, "channel"),
    ]  # fmt: skip
    found = []
    for changes, _ in broken:
        with pytest.raises(PoolClosed) as caught:
            await stage.app.submit(replace(fits, **changes))  # type: ignore[arg-type]  # by name
        found.append(caught.value.facts["why"])
    assert found == [why for _, why in broken]
    await stage.app.submit(fits)
    everybody = await ruled(stage, community, Policy())
    assert everybody.policy == Policy()
    with pytest.raises(PoolClosed):
        await stage.app.submit(replace(fits, key="y", by_member=False))


async def test_rules_and_credits_stay_when_groups_go(stage: Stage) -> None:
    """The bot is removed, added again, and the group gets another id: the pool pays on, and a rule about the group goes along."""
    community = await founded(stage, 5 * PRICE, Policy(channels=(("telegram:-100", "Aether Club"), ("discord:4", "#art"))))
    app = stage.app
    await app.run(lambda work: work.pools.add_chat(community.id, "discord", "42"))
    states = []
    for platform, place, gone in [("telegram", "-100", True), ("discord", "42", True), ("discord", "43", True), ("discord", "42", False)]:
        await app.run(lambda work, a=(platform, place), g=gone: work.pools.mark_chat(*a, gone=g))  # type: ignore[misc]  # defaults
        async with app.read() as work:
            states.append(await work.pools.gone([community.id, 99]))
    for known in ([], ["42"]):
        await app.run(lambda work, k=known: work.pools.mark_chats("discord", k))  # type: ignore[misc]  # a default
        async with app.read() as work:
            states.append(await work.pools.gone([community.id]))
    assert states == [{99}, {community.id, 99}, {community.id, 99}, {99}, {community.id}, set()]
    await app.run(lambda work: work.pools.move_chat("telegram", "-100", "-1007"))
    async with app.read() as work:
        moved = await work.pools.here("telegram", "-1007")
        assert await work.pools.given_by(stage.creator.id) == [(moved, 5 * PRICE)]
    assert moved is not None and moved.policy.channels == (("telegram:-1007", "Aether Club"), ("discord:4", "#art"))
    assert not breaches(await stage.audit())


async def test_only_whom_the_admins_let_spend(stage: Stage) -> None:
    """Members of the list press while others do, some of them twice listed, one under the account that was joined into theirs."""
    community = await founded(stage, PLENTY // 2, Policy(spenders=Spenders.LIST))
    app = stage.app
    people = [await stage.person(f"m{number}") for number in range(12)]
    lets = [app.run(lambda work, u=user: work.pools.let(community, u.id, may=True)) for user in people[:4] * 2]  # type: ignore[misc]  # a default
    await asyncio.gather(*lets)
    other = await stage.person("other")
    await app.run(lambda work: work.pools.let(community, other.id, may=True))
    async with app.begin() as work:
        await work.connection.execute(update(users).where(users.c.id == other.id).values(merged_into=people[4].id))
    await app.run(lambda work: work.pools.let(community, other.id, may=True))
    answers = await asyncio.gather(*(press(stage, community, user) for user in people))
    assert [isinstance(each, Submitted) for each in answers] == [True] * 5 + [False] * 7
    assert all(isinstance(each, PoolClosed) and each.facts["why"] == "list" for each in answers[5:])
    await app.run(lambda work: work.pools.let(community, people[4].id, may=False))
    assert isinstance(await press(stage, community, people[4], 1), PoolClosed)
    with pytest.raises(UserNotFound):
        await app.run(lambda work: work.pools.let(community, 999, may=True))
    assert not breaches(await stage.audit())


async def test_admins_alone_and_prompts_from_now_on(stage: Stage) -> None:
    community = await founded(stage, PLENTY // 2, Policy(spenders=Spenders.ADMINS))
    app, user = stage.app, stage.creator
    refused = await press(stage, community, user)
    assert isinstance(refused, PoolClosed) and refused.facts["why"] == "admins"
    await stage.lend("sk-pool-one")
    seen = []
    for number in range(3):
        await app.submit(replace(stage.order(f"a{number}", user), community_id=community.id, by_admin=True))
        await work_off(Worker(app, 1))
        async with app.read() as work:
            seen.append([each.prompt for each in await uses_of(work.connection, community, 9)])
        if number == 0:
            community = await ruled(stage, community, replace(community.policy, prompts_since=app.now()))
    assert community.policy.spenders is Spenders.ADMINS
    changed = read_policy({"day_cap": "5"}, community.policy, [])
    assert (changed.spenders, changed.prompts_since) == (Spenders.ADMINS, community.policy.prompts_since), "a form that does not ask"
    assert seen == [[None], ["a cat", None], ["a cat", "a cat", None]]


async def test_giving_is_once_and_never_more_than_there_is(stage: Stage) -> None:
    community = await founded(stage, 0)
    user = await stage.person("giver", 10_000)
    for _ in range(3):
        await stage.app.run(lambda work: work.pools.contribute(community, user, 4_000, "same"))
    assert await stage.balance(pool(community.id)) == 4_000
    with pytest.raises(InsufficientCredits):
        await stage.app.run(lambda work: work.pools.contribute(community, user, 7_000, "more"))
    await stage.app.run(lambda work: work.pools.contribute(community, stage.creator, 1_000, "other"))
    async with stage.app.read() as work:
        assert await work.pools.top(community) == [("giver", 4_000), ("creator", 1_000)]
        assert await work.pools.given_by(user.id) == [(community, 4_000)]
    frozen = replace(user, frozen=True)
    with pytest.raises(Frozen):
        await stage.app.run(lambda work: work.pools.contribute(community, frozen, 1_000, "frozen"))
    assert not breaches(await stage.audit())


async def test_two_platforms_share_one_pool_by_a_code(stage: Stage) -> None:
    community, code = await founded(stage, 5_000), new_code()
    app = stage.app
    assert await app.run(lambda work: work.pools.keep_code(community, code))
    joined = await app.run(lambda work: work.pools.use_code(code, "discord", "42"))
    assert joined == community
    with pytest.raises(CodeExpired):
        await app.run(lambda work: work.pools.use_code(code, "discord", "43"))
    with pytest.raises(PoolExists):
        await app.run(lambda work: work.pools.found("discord", "42", "again"))
    second = new_code()
    await app.run(lambda work: work.pools.keep_code(community, second))
    with pytest.raises(PoolExists):
        await app.run(lambda work: work.pools.use_code(second, "telegram", "-100"))
    answers = await asyncio.gather(
        *(app.run(lambda work, n=n: work.pools.found("telegram", "-7", f"c{n}")) for n in range(6)),  # type: ignore[misc]  # a default
        return_exceptions=True,
    )
    assert [type(each) for each in answers].count(Community) == 1
    assert all(isinstance(each, Community | PoolExists) for each in answers)
    with pytest.raises(PoolNotFound):
        await app.submit(replace(stage.order("x"), community_id=99))


WRONG = [
    ("request_cap", "x"), ("request_cap", "²"), ("member_cap", "0"), ("day_cap", "-5"), ("models", "none such"), ("quiet", "22"),
    ("quiet", "22-24"), ("quiet", "7-7"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "text"), WRONG)
def test_what_is_no_rule(field: str, text: str) -> None:
    with pytest.raises(BadPolicy) as caught:
        read_policy({field: text}, Policy(), ["core", "ultra"])
    assert caught.value.facts["field"] == field


def test_a_policy_as_a_form_says_it() -> None:
    answers = {"request_cap": "10", "member_cap": "-", "day_cap": "none", "models": "core, ultra", "quiet": "22 - 7"}
    found = read_policy(answers, Policy(member_cap=5), ["core", "ultra"])
    assert found == Policy(True, 10_000, None, None, frozenset({"core", "ultra"}), (22, 7))
    assert read_policy({}, found, ["core"]) == found
    assert read_presets("Neon-Shoe, logo-mark", ["neon-shoe", "logo-mark"]) == {"neon-shoe", "logo-mark"}
    assert read_presets("-", []) == frozenset()
    for text in ("nothing", " ".join(f"preset-{number:034}" for number in range(10))):
        with pytest.raises(BadPolicy):
            read_presets(text, [f"preset-{number:034}" for number in range(10)])
    chosen: tuple[Named, ...] = ()
    for number in range(MAX_CHOSEN):
        chosen = toggled(chosen, (str(number), "role"))
    with pytest.raises(TooManyChosen):
        toggled(chosen, ("more", "role"))
    assert len(toggled(chosen, ("0", "renamed"))) == MAX_CHOSEN - 1


async def test_giving_and_spending_at_once_wait_for_each_other_in_one_order(stage: Stage) -> None:
    """No deadlock that the database has to break: each locks the community before its account."""
    community = await founded(stage, 20 * PRICE)
    people = [await stage.person(f"m{number}", 100_000) for number in range(4)]

    async def give(user: User, number: int) -> None:
        await stage.app.run(lambda work: work.pools.contribute(community, user, 1_000, f"{user.id}:{number}"))

    gives = [give(user, number) for user in people for number in range(4)]
    spends = [press(stage, community, user, number) for user in people for number in range(4)]
    answers = await asyncio.gather(*gives, *spends)
    assert sum(isinstance(each, Submitted) for each in answers) == 16
    assert await stage.balance(pool(community.id)) == 20 * PRICE + 16_000 - 16 * PRICE
    assert not breaches(await stage.audit())


@pytest.mark.parametrize("hours", ["7-07", "22-022"])
def test_quiet_hours_that_are_none(hours: str) -> None:
    with pytest.raises(BadPolicy):
        read_policy({"quiet": hours}, Policy(), [])
