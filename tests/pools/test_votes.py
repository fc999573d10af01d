"""Votes on both databases: as many different members as the rule says, once each, and one submission whoever presses last."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from core.db import HOUR
from core.generations.models import Order
from core.generations.vote import MAX_OPEN
from core.ledger.models import held_account
from core.pools.errors import BadPolicy, BallotNotFound, BallotOver, MayNotVote, NotYourWish, TooManyBallots, VotesNeeded
from core.pools.models import Asker, Ballot, BallotState, Community, Policy, Spenders, ballots, pool
from core.pools.rules import read_votes
from core.users.models import User, users
from core.worker import Worker
from tests.pools.test_pools import PLENTY, founded, ruled
from tests.stage import PRICE, Stage, breaches, staged, work_off

RULE = Policy(vote_above=PRICE - 1, votes=3)


@pytest.fixture
async def stage(database_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(database_url, tmp_path, credits=PLENTY) as opened:
        yield opened


def wanted(stage: Stage, community: Community, user: User, key: str = "w") -> Order:
    return replace(stage.order(key, user), community_id=community.id)


async def asked(stage: Stage, community: Community, user: User, key: str = "w") -> Ballot:
    """A wish that the pool paid for only if members agreed, put to the vote."""
    order = wanted(stage, community, user, key)
    with pytest.raises(VotesNeeded) as needed:
        await stage.app.submit(order)
    return await stage.app.run(lambda work: work.ballots.open(order, needed.value.facts["votes"], 24))


async def agree(stage: Stage, ballot: Ballot, user: User, community: Community, *, admin: bool = False) -> BallotState | str:
    """What becomes of the ballot when somebody agrees, or why they do not."""
    try:
        return (await stage.app.vote(ballot.id, user.id, community, voter=Asker(admin=admin))).state
    except MayNotVote as refused:
        return str(refused.facts["why"])
    except BallotOver as over:
        return f"over: {over.facts['state']}"


async def seen(stage: Stage, ballot: Ballot) -> Ballot:
    async with stage.app.read() as work:
        return await work.ballots.get(ballot.id)


async def test_whoever_presses_last_it_is_submitted_once(stage: Stage) -> None:
    """Ten members press at once, twice each, on each of three wishes of three members who vote for each other."""
    community = await founded(stage, 3 * PRICE, RULE)
    people = [await stage.person(f"m{number}") for number in range(10)]
    opened = [await asked(stage, community, user, f"w{user.id}") for user in people[:3]]
    presses = [agree(stage, ballot, user, community) for ballot in opened for user in people * 2]
    answers = Counter(await asyncio.gather(*presses))
    assert answers["agreed"] == 3 and answers["open"] == 6, answers
    assert set(answers) <= {"agreed", "open", "own", "twice", "over: agreed"}
    assert await stage.balance(held_account(pool(community.id))) == 3 * PRICE
    await stage.lend("sk-pool-one")
    assert await work_off(Worker(stage.app, 1)) == 3
    assert await stage.balance(pool(community.id)) == 0
    assert {(await seen(stage, each)).wish for each in opened} == {""}, "the prompt is kept with the picture alone"
    assert not breaches(await stage.audit())


async def test_agreed_wishes_keep_to_the_caps_when_they_are_submitted(stage: Stage) -> None:
    """Six wishes pass the rules when they are asked for; the last votes come at once, and the cap of the day leaves two."""
    community = await founded(stage, PLENTY // 2, replace(RULE, votes=1, day_cap=2 * PRICE))
    asker, member = await stage.person("asker"), await stage.person("member")
    people = [await stage.person(f"a{number}") for number in range(6)]
    opened = [await asked(stage, community, user, f"w{user.id}") for user in people]
    answers = Counter(await asyncio.gather(*(agree(stage, ballot, member, community) for ballot in opened)))
    assert answers == {"agreed": 2, "refused": 4}
    assert {(await seen(stage, each)).why for each in opened} == {None, "pool_cap"}
    assert await stage.balance(held_account(pool(community.id))) == 2 * PRICE
    community = await ruled(stage, community, replace(RULE, votes=1))
    dear = await asked(stage, community, asker, "dear")
    async with stage.app.begin() as work:
        await work.connection.execute(update(ballots).values(price=PRICE - 1))
    assert await agree(stage, dear, member, community) == "refused"
    assert (await seen(stage, dear)).why == "changed", "it costs otherwise now"
    assert not breaches(await stage.audit())


async def test_who_may_agree_and_who_still_counts(stage: Stage) -> None:
    community = await founded(stage, PLENTY // 2, RULE)
    app = stage.app
    asker, one, two, three, four, five = [await stage.person(f"m{number}") for number in range(6)]
    first = await asked(stage, community, asker)
    again = await app.run(lambda work: work.ballots.open(wanted(stage, community, asker), 3, 24))
    assert again == first, "the same wish is one ballot"
    assert [await agree(stage, first, user, community) for user in (asker, one, one, two)] == ["own", "open", "twice", "open"]
    async with app.begin() as work:
        await work.connection.execute(update(users).where(users.c.id == one.id).values(frozen=True))
        await work.connection.execute(update(users).where(users.c.id == two.id).values(merged_into=asker.id))
    assert await agree(stage, first, three, community) == "open", "neither the frozen nor who asks counts"
    community = await ruled(stage, community, replace(RULE, spenders=Spenders.LIST))
    assert await agree(stage, first, four, community) == "list"
    community = await ruled(stage, community, replace(RULE, spenders=Spenders.ADMINS, votes=5))
    assert await agree(stage, first, four, community) == "admins"
    assert await agree(stage, first, four, community, admin=True) == "open"
    async with app.read() as work:
        assert await work.ballots.progress(first) == (1, 5), "the rule has become stricter, and who agreed as a member was no admin"
    community = await ruled(stage, community, replace(community.policy, spenders=Spenders.ROLES, roles=(("7", "Painters"),)))
    for voter, why in ((Asker(roles=("8",)), "roles"), (Asker(), "no_roles"), (Asker(member=False), "left")):
        with pytest.raises(MayNotVote) as barred:
            await app.vote(first.id, five.id, community, voter=voter)
        assert barred.value.facts["why"] == why
    assert (await app.vote(first.id, five.id, community, voter=Asker(roles=("7",)))).state is BallotState.OPEN
    other = await app.run(lambda work: work.pools.found("telegram", "-200", "Others"))
    for place, number in ((other, first.id), (community, 99)):
        with pytest.raises(BallotNotFound):
            await app.vote(number, four.id, place, voter=Asker(admin=True))
    with pytest.raises(NotYourWish):
        await app.run(lambda work: work.ballots.withdraw(first.id, four.id))
    assert (await app.run(lambda work: work.ballots.withdraw(first.id, asker.id))).state is BallotState.WITHDRAWN
    with pytest.raises(BallotOver):
        await app.run(lambda work: work.ballots.withdraw(first.id, asker.id))
    assert not breaches(await stage.audit())


async def test_what_nobody_agrees_to_lapses_and_there_are_only_so_many(stage: Stage) -> None:
    community = await founded(stage, PLENTY // 2, RULE)
    app, asker, member = stage.app, await stage.person("asker"), await stage.person("member")
    opened = [await asked(stage, community, asker, f"w{number}") for number in range(MAX_OPEN)]
    with pytest.raises(TooManyBallots):
        await asked(stage, community, asker, "more")
    async with app.begin() as work:
        await work.connection.execute(update(ballots).where(ballots.c.id != opened[-1].id).values(expires_at=app.now() - HOUR))
    assert await agree(stage, opened[0], member, community) == "over: lapsed", "also before the worker says so"
    await asyncio.gather(Worker(app, 1).sweep(), Worker(app, 2).sweep())
    assert [(await seen(stage, each)).state for each in opened] == ["lapsed", "lapsed", "open"]
    person = replace(asker, locale="en")
    await app.run(lambda work: work.leaving.erase(person))
    left = await seen(stage, opened[-1])
    assert (left.state, left.wish) == (BallotState.WITHDRAWN, "")
    assert not breaches(await stage.audit())


@pytest.mark.parametrize("answers", [{"vote_above": "x"}, {"vote_above": "5", "votes": "0"}, {"vote_above": "5", "votes": "21"}])
def test_what_is_no_rule_of_votes(answers: dict[str, str]) -> None:
    with pytest.raises(BadPolicy):
        read_votes(answers, Policy())
