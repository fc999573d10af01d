"""Two users who are one person become one, on both databases: what moves, what ends, what comes later, and who is refused."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from core.access.errors import Unauthenticated
from core.access.models import Scope
from core.access.rules import new_token
from core.access.service import CODES_PER_HOUR
from core.accounts import Accounts
from core.db import HOUR, MINUTE, metadata
from core.disputes.models import Kind
from core.disputes.models import State as Verdict
from core.errors import Refusal
from core.generations.models import State
from core.generations.pages import page
from core.joining.errors import AdminApart, JoinCodeExpired, SameUser, TooManyCodes
from core.joining.service import COLLECT_BATCH, MOVED, collect_joined, read_code
from core.ledger.models import Posting, debt, earnings, pending, wallet
from core.payments.rules import Purse, taking
from core.users.errors import Frozen, JustJoined, TooManyStrikes
from core.users.models import Identity, Role, User
from core.worker import Worker
from tests.stage import PRICE, Stage, breaches, staged, work_off

STAYS = {"passwords.user_id", "sessions.user_id", "api_tokens.user_id", "idempotent_answers.user_id", "users.merged_into"}
STAYS |= {
    "payouts.user_id",
    "payouts.approved_by",
    "payouts.decided_by",
    "preset_reports.user_id",
    "acts.by",
    "disputes.decided_by",
    "refunds.by",
    "community_spenders.user_id",
    "ballot_votes.user_id",
    "pledges.user_id",
    "refills.user_id",
}
"""What ends with the user who goes, is a part of what happened, or is read as of whom they joined."""


@pytest.fixture
async def stage(database_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(database_url, tmp_path) as opened:
        yield opened


async def code_of(stage: Stage, user: User) -> str:
    return await stage.app.run(lambda work: work.joining.new_code(user))


async def join(stage: Stage, user: User, other: User) -> User:
    """`user` says the code that `other` was shown."""
    code = await code_of(stage, other)
    return await stage.app.run(lambda work: work.joining.join(user, code))


async def make_older(stage: Stage, micros: int) -> None:
    async with stage.app.begin() as work:
        for column in ("expires_at", "created_at"):
            await work.connection.execute(text(f"UPDATE mailed_codes SET {column} = {column} - {micros}"))
        await work.connection.execute(text("UPDATE generations SET release_at = release_at - :by"), {"by": micros})


def test_every_row_of_a_user_either_goes_or_stays_for_a_reason() -> None:
    named = {
        f"{table.name}.{column.name}"
        for table in metadata.tables.values()
        for column in table.columns
        if any(key.target_fullname == "users.id" for key in column.foreign_keys)
    }
    moved = {f"{column.table.name}.{column.name}" for column in MOVED}
    assert named == moved | STAYS
    assert not moved & STAYS


async def test_the_older_stays_with_all_that_both_had(stage: Stage) -> None:
    other = await stage.person("elsewhere", 20_000)
    resource = await stage.lend("sk-st-elsewhere", other)
    (made,) = await stage.submit("theirs", user=other)
    before = await stage.balance(wallet(stage.creator.id))
    kept = await join(stage, other, stage.creator)
    assert kept.id == stage.creator.id
    assert Role.MINER in kept.roles
    assert await stage.balance(wallet(kept.id)) == before + 20_000 - PRICE
    assert await stage.balance(wallet(other.id)) == 0
    async with stage.app.read() as work:
        assert (await work.users.find("telegram", "elsewhere")) == kept
        assert [each.id for each in await work.resources.list_of(kept.id)] == [resource.id]
        assert [each.id for each in await page(work.connection, kept.id, 5)] == [made.id]
    assert not breaches(await stage.audit())


async def test_what_comes_later_to_the_other_is_moved_on(stage: Stage) -> None:
    """A hold that is released, earnings whose time has come, a dispute's refund: all were on the way when the two were joined."""
    other = await stage.person("elsewhere", 2 * PRICE)
    await stage.lend("sk-st-elsewhere", other)
    first, second = await stage.submit("first", "second", user=other)
    await stage.app.run(lambda work: work.generations.cancel(second.id, other.id))
    (foreign,) = await stage.submit("foreign")
    worker = Worker(stage.app, 1)
    await work_off(worker)
    kept = await join(stage, stage.creator, other)
    assert (await stage.generation(first.id)).user_id == kept.id
    share = await stage.balance(pending(other.id))
    assert share > 0
    dispute = await stage.app.run(lambda work: work.disputes.open(first.id, kept, Kind.OTHER, 3))
    admin = await stage.person("admin")
    await stage.app.run(lambda work: work.disputes.decide(dispute.id, admin, Verdict.REFUNDED, "blank", alone=20_000))
    assert await stage.balance(wallet(other.id)) == PRICE
    await make_older(stage, 1000 * HOUR)
    await worker.sweep()
    assert [await stage.balance(of(other.id)) for of in (wallet, pending, earnings)] == [0, 0, 0]
    assert await stage.balance(earnings(kept.id)) == share // 2
    assert foreign.user_id == kept.id
    assert await stage.balance(wallet(kept.id)) == 1_000_000 - PRICE + 2 * PRICE
    assert not breaches(await stage.audit())


async def test_strikes_go_along(stage: Stage) -> None:
    other = await stage.person("elsewhere")
    for user, count in ((stage.creator, 1), (other, 2)):
        await stage.app.run(lambda work, u=user.id, n=count: work.users.strike({u: n}, 3))  # type: ignore[misc]  # defaults
    kept = await join(stage, stage.creator, other)
    async with stage.app.read() as work:
        assert (await work.users.strikes(kept.id))[0] == 3
    await stage.app.run(lambda work: work.users.strike({kept.id: 1}, 3))
    with pytest.raises(TooManyStrikes):
        await stage.app.submit(stage.order("more", kept))


async def test_a_debt_goes_along(stage: Stage) -> None:
    other = await stage.person("elsewhere")
    legs = taking(other.id, "stripe", 700, Purse(0, 0, 0))
    await stage.app.run(lambda work: work.ledger.post(Posting("owes", "chargeback", legs)))
    kept = await join(stage, stage.creator, other)
    assert (await stage.balance(debt(kept.id)), await stage.balance(debt(other.id))) == (700, 0)
    await Worker(stage.app, 1).sweep()
    assert await stage.balance(debt(kept.id)) == 0
    assert await stage.balance(wallet(kept.id)) == 1_000_000 - 700
    assert not breaches(await stage.audit())


async def test_sessions_and_tokens_of_the_other_end(stage: Stage) -> None:
    accounts, app, token = Accounts(stage.app), stage.app, new_token()
    user = await app.run(lambda work: work.users.resolve(Identity("email", "ada@example.org", "Ada", "ada@example.org")))
    await app.run(lambda work: work.access.set_password(user.id, "$argon2id$hash"))
    pair = await accounts._begin(user)
    await app.run(lambda work: work.access.add_token(user.id, token, "script", [Scope.GENERATE], None, None, 5))
    kept = await join(stage, user, stage.creator)
    for shown in (pair.access, token):
        with pytest.raises(Unauthenticated):
            await accounts.enter(shown)
    async with app.read() as work:
        assert await work.access.password_of(kept.id) == "$argon2id$hash"
        assert await work.access.password_of(user.id) is None


async def test_a_password_is_never_replaced_by_the_others(stage: Stage) -> None:
    other = await stage.person("elsewhere")
    for user, hashed in ((stage.creator, "mine"), (other, "theirs")):
        await stage.app.run(lambda work, u=user, h=hashed: work.access.set_password(u.id, h))  # type: ignore[misc]  # defaults
    kept = await join(stage, stage.creator, other)
    async with stage.app.read() as work:
        assert await work.access.password_of(kept.id) == "mine"


async def test_a_chain_is_flat(stage: Stage) -> None:
    """b into a, then a into the first: whoever was b is the first as well, and what reaches b arrives there."""
    first, a, b = [await stage.person(name) for name in ("first", "second", "third")]
    await join(stage, b, a)
    await join(stage, a, first)
    await stage.app.grant(b.id, 5_000, "late")
    await Worker(stage.app, 1).sweep()
    assert await stage.balance(wallet(first.id)) == 5_000
    assert not breaches(await stage.audit())


async def test_a_code_is_good_once_for_ten_minutes_and_not_for_oneself(stage: Stage) -> None:
    other = await stage.person("elsewhere")
    code = await code_of(stage, other)
    with pytest.raises(SameUser):
        await stage.app.run(lambda work: work.joining.join(other, code))
    typed = f" {code[:5].lower()}-{code[5:]} "
    assert read_code(typed) == code
    assert (await stage.app.run(lambda work: work.joining.look(stage.creator, typed))).id == other.id
    await make_older(stage, 10 * MINUTE)
    for wrong in (code, "", "user:1", "x" * 5000):
        with pytest.raises(JoinCodeExpired):
            await stage.app.run(lambda work, w=wrong: work.joining.join(stage.creator, w))  # type: ignore[misc]  # a default
    await join(stage, stage.creator, other)
    for _ in range(CODES_PER_HOUR):
        await code_of(stage, stage.miner)
    with pytest.raises(TooManyCodes):
        await code_of(stage, stage.miner)


@pytest.mark.parametrize("which", ["mine", "theirs"])
@pytest.mark.parametrize("what", [Frozen, AdminApart])
async def test_nobody_is_joined_with_the_frozen_or_an_admin(stage: Stage, which: str, what: type[Refusal]) -> None:
    other = await stage.person("elsewhere", 1_000)
    code = await code_of(stage, other)
    marked = stage.creator if which == "mine" else other
    if what is Frozen:
        await stage.app.run(lambda work: work.users.freeze(marked.id, True))
    else:
        await stage.app.run(lambda work: work.users.add_role(marked.id, Role.ADMIN))
    with pytest.raises(what):  # also for whoever was looked up before
        await stage.app.run(lambda work: work.joining.join(stage.creator, code))
    async with stage.app.read() as work:
        now_marked = await work.users.get(marked.id)
    with pytest.raises(what):
        await code_of(stage, now_marked)
    assert await stage.balance(wallet(other.id)) == 1_000


async def test_one_code_at_once_from_many_sides_joins_one(stage: Stage) -> None:
    target = await stage.person("target", 1_000)
    others = [await stage.person(f"o{number}", 1_000) for number in range(8)]
    code = await code_of(stage, target)
    answers = await asyncio.gather(
        *(stage.app.run(lambda work, o=other: work.joining.join(o, code)) for other in others),  # type: ignore[misc]  # a default
        return_exceptions=True,
    )
    assert [type(each) for each in answers].count(User) == 1
    assert all(isinstance(each, JoinCodeExpired) for each in answers if not isinstance(each, User)), answers
    assert await stage.balance(wallet(target.id)) == 2_000
    assert not breaches(await stage.audit())


async def test_joining_in_the_midst_of_everything(stage: Stage) -> None:
    """Both order, both earn, the worker settles and sweeps while they are joined: not a Credit is lost or made."""
    other = await stage.person("elsewhere", 100_000)
    await stage.lend("sk-st-elsewhere", other)
    await stage.lend("sk-st-mine")
    total = 1_000_000 + 100_000
    worker = Worker(stage.app, 1)
    code = await code_of(stage, other)

    async def order(user: User, number: int) -> bool:
        try:
            await stage.app.submit(stage.order(f"{user.id}:{number}", user))
        except JustJoined:
            return False
        return True

    async def joins() -> User:
        return await stage.app.run(lambda work: work.joining.join(stage.creator, code))

    orders = [order(user, number) for number in range(8) for user in (stage.creator, other)]
    answers = await asyncio.gather(*orders[:8], joins(), worker.sweep(), *orders[8:], work_off(worker))
    await work_off(worker)
    await make_older(stage, 1000 * HOUR)
    while await stage.app.database.run(lambda connection: collect_joined(connection, stage.app.now())) == COLLECT_BATCH:
        pass
    await worker.sweep()
    async with stage.app.read() as work:
        names = [of(user.id) for of in (wallet, pending, earnings) for user in (stage.creator, other, stage.miner)]
        balances = await work.ledger.balances(names)
        paid = await work.connection.scalar(text("SELECT SUM(paid) FROM generations"))
        earned = await work.connection.scalar(text("SELECT SUM(amount) FROM legs WHERE account LIKE 'user:%pending' AND amount > 0"))
        states = set(await work.connection.scalars(text("SELECT state FROM generations")))
    assert sum(balances.values()) == total - paid + earned
    assert all(balances[of(other.id)] == 0 for of in (wallet, pending, earnings))
    assert states == {State.DELIVERED}
    assert answers.count(True) >= 8
    assert not breaches(await stage.audit())
