"""Accounts by e-mail on both databases: what a mailed link opens, what ends a session, and what a cap holds."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from core.access.errors import BadAddress, BadPassword, CapReached, CodeExpired, MailOff, Unauthenticated, WrongPassword
from core.access.models import Scope
from core.access.rules import new_token, read_address
from core.access.service import CODES_PER_HOUR
from core.access.sign import ACCESS, Claim, Signer
from core.accounts import Accounts, Pair
from core.app import App
from core.db import HOUR
from core.errors import Misconfigured
from core.generations.models import Order, Submitted, Wish
from core.users.models import User
from core.vault.keyring import new_key
from tests.stage import PRICE, Stage, staged

ADDRESS, PASSWORD = "ada@example.org", "a long sentence is best"


@pytest.fixture
async def stage(database_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(database_url, tmp_path, smtp_url="smtp://127.0.0.1:1") as opened:
        yield opened


async def mails(app: App) -> list[tuple[str, str]]:
    """(code of the words, path and query of the link) of every mail that was written, oldest first."""
    async with app.read() as work:
        rows = await work.connection.execute(text("SELECT key, body FROM outbox WHERE kind = 'mail' ORDER BY id"))
        found = [(key, json.loads(body) if isinstance(body, str) else body) for key, body in rows]
    return [(body["code"], json.loads(app.vault.unveil(bytes.fromhex(body["veiled"]), key))["link"]) for key, body in found]


def code_of(link: str) -> str:
    return link.partition("code=")[2]


async def registered(accounts: Accounts, app: App, address: str = ADDRESS) -> tuple[User, Pair]:
    await accounts.register(address, PASSWORD, "Ada", "en")
    return await accounts.verify(code_of((await mails(app))[-1][1]))


async def test_an_account_opens_by_its_mailed_link_once(stage: Stage) -> None:
    accounts = Accounts(stage.app)
    with pytest.raises(WrongPassword):
        await accounts.login(ADDRESS, PASSWORD)
    user, pair = await registered(accounts, stage.app, "Ada@Example.org")
    assert (await accounts.enter(pair.access)).user == user
    assert (await accounts.login("ADA@example.org", PASSWORD))[0] == user
    ((_, link),) = await mails(stage.app)
    assert link.startswith(stage.app.settings.public_url)
    with pytest.raises(CodeExpired):
        await accounts.verify(code_of(link))


async def test_a_known_address_is_told_by_mail_and_by_no_answer(stage: Stage) -> None:
    accounts = Accounts(stage.app)
    await registered(accounts, stage.app)
    await accounts.register(ADDRESS, "another long sentence", "Eve", "zh")
    await accounts.forgot("nobody@example.org")
    assert [code for code, _ in await mails(stage.app)] == ["mail.verify", "mail.known"]
    with pytest.raises(WrongPassword):
        await accounts.login(ADDRESS, "another long sentence")


async def test_two_who_verify_at_once_open_one_account(stage: Stage) -> None:
    accounts = Accounts(stage.app)
    await accounts.register(ADDRESS, PASSWORD, "Ada", "en")
    code = code_of((await mails(stage.app))[0][1])
    answers = await asyncio.gather(*(accounts.verify(code) for _ in range(8)), return_exceptions=True)
    assert sum(not isinstance(each, BaseException) for each in answers) == 1
    assert all(isinstance(each, CodeExpired) for each in answers if isinstance(each, BaseException))


async def test_mails_to_one_address_are_few(stage: Stage) -> None:
    accounts = Accounts(stage.app)
    for _ in range(CODES_PER_HOUR + 3):
        await accounts.register(ADDRESS, PASSWORD, "Ada", "en")
    assert len(await mails(stage.app)) == CODES_PER_HOUR


async def test_a_reset_ends_every_session_and_its_link_works_once(stage: Stage) -> None:
    accounts = Accounts(stage.app)
    _, pair = await registered(accounts, stage.app)
    await accounts.forgot(ADDRESS)
    code = code_of((await mails(stage.app))[-1][1])
    with pytest.raises(BadPassword):
        await accounts.reset(code, "short")
    await accounts.reset(code, "quite another sentence")
    for outdated in (accounts.enter(pair.access), accounts.refresh(pair.refresh)):
        with pytest.raises(Unauthenticated):
            await outdated
    with pytest.raises(CodeExpired):
        await accounts.reset(code, "a third long sentence")
    with pytest.raises(WrongPassword):
        await accounts.login(ADDRESS, PASSWORD)
    await accounts.login(ADDRESS, "quite another sentence")
    assert [each for each, _ in await mails(stage.app)] == ["mail.verify", "mail.reset", "mail.changed"]


async def test_a_changed_password_leaves_only_the_session_that_changed_it(stage: Stage) -> None:
    accounts = Accounts(stage.app)
    _, mine = await registered(accounts, stage.app)
    _, other = await accounts.login(ADDRESS, PASSWORD)
    entrance = await accounts.enter(mine.access)
    with pytest.raises(WrongPassword):
        await accounts.change_password(entrance, ADDRESS, "not my password", "quite another sentence")
    await accounts.change_password(entrance, ADDRESS, PASSWORD, "quite another sentence")
    assert (await accounts.enter(mine.access)).user == entrance.user
    with pytest.raises(Unauthenticated):
        await accounts.enter(other.access)


async def test_a_refresh_token_used_twice_ends_its_session(stage: Stage) -> None:
    accounts = Accounts(stage.app)
    _, first = await registered(accounts, stage.app)
    second = await accounts.refresh(first.refresh)
    third = await accounts.refresh(second.refresh)
    assert (await accounts.enter(third.access)).user.name == "Ada"
    with pytest.raises(Unauthenticated):
        await accounts.refresh(first.refresh)  # somebody else has it too
    for token in (first.access, third.access):
        with pytest.raises(Unauthenticated):
            await accounts.enter(token)
    with pytest.raises(Unauthenticated):
        await accounts.refresh(third.refresh)


async def test_of_many_who_refresh_at_once_one_is_served(stage: Stage) -> None:
    accounts = Accounts(stage.app)
    _, pair = await registered(accounts, stage.app)
    answers = await asyncio.gather(*(accounts.refresh(pair.refresh) for _ in range(16)), return_exceptions=True)
    assert sum(isinstance(each, Pair) for each in answers) == 1
    assert all(isinstance(each, Pair | Unauthenticated) for each in answers)


async def test_logging_out_ends_this_session_or_all(stage: Stage) -> None:
    accounts = Accounts(stage.app)
    _, first = await registered(accounts, stage.app)
    _, second = await accounts.login(ADDRESS, PASSWORD)
    await accounts.logout(await accounts.enter(first.access), everywhere=False)
    with pytest.raises(Unauthenticated):
        await accounts.enter(first.access)
    _, third = await accounts.login(ADDRESS, PASSWORD)
    await accounts.logout(await accounts.enter(second.access), everywhere=True)
    with pytest.raises(Unauthenticated):
        await accounts.enter(third.access)


async def test_tokens_of_another_kind_key_or_time_are_nobodys(stage: Stage) -> None:
    accounts, now = Accounts(stage.app), stage.app.now()
    user, pair = await registered(accounts, stage.app)
    foreign = Signer(new_key("k1")).sign("access", Claim(user.id, 1, 0), now)
    unsigned = "eyJhbGciOiJub25lIn0." + pair.access.split(".")[1] + "."
    for token in (pair.refresh, foreign, unsigned, "", "x" * 5000, "aef_unknown", pair.access[:-2]):
        with pytest.raises(Unauthenticated):
            await accounts.enter(token)
    ours = Signer(stage.app.settings.jwt_secret.get_secret_value())
    claim = ours.read("access", pair.access, now)
    assert ours.read("access", ours.sign("access", claim, now - ACCESS + HOUR), now) == claim
    with pytest.raises(Unauthenticated):
        ours.read("access", ours.sign("access", claim, now - ACCESS), now)


def test_a_ring_of_keys_turns() -> None:
    old, new = new_key("2026a"), new_key("2026b")
    token = Signer(old).sign("access", Claim(7, 3, 0), 0)
    assert Signer(f"{new},{old}").read("access", token, 0) == Claim(7, 3, 0)
    with pytest.raises(Unauthenticated):
        Signer(new).read("access", token, 0)


SAME = "k1:" + "a" * 44 + ",k1:" + "b" * 44


@pytest.mark.parametrize("ring", ["", "k1", "k1:!!", "k1:c2hvcnQ=", SAME])
def test_a_malformed_ring_is_refused_without_showing_it(ring: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        Signer(ring)
    assert refused.value.facts["setting"] == "JWT_SECRET"
    assert len(ring) < 5 or ring.partition(":")[2] not in str(refused.value)


@pytest.mark.parametrize("address", ["", "ada", "ada@", "@example.org", "a b@example.org", "ada@example", f"{'a' * 60}@example.org"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(BadAddress):
        read_address(address)


async def test_without_mail_there_are_no_accounts(sqlite_url: str, tmp_path: Path) -> None:
    async with staged(sqlite_url, tmp_path) as stage:
        with pytest.raises(MailOff):
            await Accounts(stage.app).register(ADDRESS, PASSWORD, "Ada", "en")


async def test_no_secret_is_in_the_database(stage: Stage) -> None:
    accounts, token = Accounts(stage.app), new_token()
    user, _ = await registered(accounts, stage.app)
    await accounts.forgot(ADDRESS)
    link = (await mails(stage.app))[-1][1]
    async with stage.app.begin() as work:
        await work.access.add_token(user.id, token, "mine", [Scope.GENERATE], None, None, 5)
    stored = []
    async with stage.app.read() as work:
        for table in ("passwords", "sessions", "api_tokens", "mailed_codes", "outbox"):
            stored += [str(tuple(row)) for row in await work.connection.execute(text(f"SELECT * FROM {table}"))]
    assert len(stored) >= 5
    for secret in (PASSWORD, token, code_of(link)):
        assert not [row for row in stored if secret in row]


async def test_a_cap_holds_whatever_runs_in_parallel(stage: Stage) -> None:
    await stage.app.grant(stage.creator.id, 1_000_000, "grant:more")
    async with stage.app.begin() as work:
        made = await work.access.add_token(stage.creator.id, new_token(), "mine", [Scope.GENERATE], 10 * PRICE + 1, None, 5)
    wish, price = stage.app.price(Wish("a fox"))
    orders = [Order(f"k{number}", stage.creator.id, wish, price, token_id=made.id) for number in range(64)]
    answers = await asyncio.gather(*(stage.app.submit(each) for each in orders), return_exceptions=True)
    assert sum(isinstance(each, Submitted) for each in answers) == 10
    refused = [each for each in answers if isinstance(each, CapReached)]
    assert (len(refused), refused[0].facts) == (54, {"needed": PRICE, "left": 1})
    async with stage.app.begin() as work:
        await work.generations.cancel(next(each for each in answers if isinstance(each, Submitted)).generation.id, stage.creator.id)
    again = await stage.app.submit(Order("again", stage.creator.id, wish, price, token_id=made.id))
    assert not again.replayed, "what was cancelled is free again"


async def test_what_is_over_is_deleted(stage: Stage) -> None:
    accounts = Accounts(stage.app)
    await registered(accounts, stage.app)
    await accounts.forgot(ADDRESS)
    async with stage.app.begin() as work:
        assert await work.access.prune() == 0
        for table in ("sessions", "mailed_codes"):
            await work.connection.execute(text(f"UPDATE {table} SET expires_at = 1"))
        assert await work.access.prune() == 2
