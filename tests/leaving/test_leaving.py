"""Leaving, on both databases: all that is kept comes along, and afterwards nothing names the person while the books are whole."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select

from core.access.errors import Unauthenticated
from core.access.models import Scope
from core.access.rules import new_token
from core.accounts import Accounts
from core.blobs import BlobNotFound
from core.db import metadata
from core.disputes.models import Kind
from core.disputes.models import State as Verdict
from core.joining.errors import AdminApart
from core.leaving.errors import NotYet
from core.ledger.errors import InDebt
from core.ledger.models import Posting, held_account, wallet
from core.payments.rules import Purse, taking
from core.presets.models import Draft
from core.users.models import Identity, Role, User
from core.worker import Worker
from tests.stage import PRICE, Stage, breaches, staged, work_off

NAME, KEY, PROMPT = "ada-lovelace", "sk-ada-lovelace-1", "a portrait of ada-lovelace"


@pytest.fixture
async def stage(database_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(database_url, tmp_path) as opened:
        yield opened


async def settled(stage: Stage) -> User:
    """Somebody who has ordered, lent, published and signed in."""
    user = await stage.person(NAME)
    await stage.app.grant(user.id, 100 * PRICE, "grant:somebody")
    await stage.lend(KEY, user)
    await stage.app.submit(stage.order("one", user, PROMPT))
    await work_off(Worker(stage.app, 1))
    await stage.app.run(lambda work: work.presets.publish(Draft("ada-shoe", "Shoe", "a {subject}"), user.id, 5))
    cover = await stage.app.blobs.put("covers", b"of ada-lovelace", "image/jpeg")
    await stage.app.run(lambda work: work.presets.set_cover("ada-shoe", user.id, cover))
    await stage.app.run(lambda work: work.access.set_password(user.id, "hash"))
    async with stage.app.read() as work:
        return await work.users.get(user.id)


async def everything(stage: Stage) -> str:
    """Every row of every table but the log of what was done."""
    found = []
    async with stage.app.read() as work:
        for table in metadata.sorted_tables:
            found += [repr(tuple(row)) for row in await work.connection.execute(select(table))]
    return "\n".join(found)


async def test_all_that_is_kept_comes_along(stage: Stage) -> None:
    user = await settled(stage)
    async with stage.app.read() as work:
        document = await work.leaving.document(user)
    text = json.dumps(document)
    assert document["generations"][0]["prompt"] == PROMPT
    assert document["balances"]["wallet"] == 99 * PRICE
    assert [each["after"] for each in document["movements"]["wallet"]] == [99 * PRICE, 100 * PRICE]
    assert document["identities"][0]["external_id"] == NAME
    assert document["presets"][0]["name"] == "ada-shoe"
    assert KEY not in text


async def test_nothing_names_the_person_any_more(stage: Stage) -> None:
    user = await settled(stage)
    pair, token = await Accounts(stage.app)._begin(user), new_token()
    await stage.app.run(lambda work: work.access.add_token(user.id, token, "t", [Scope.GENERATE], None, None, 5))
    await stage.app.submit(stage.order("waits", user, PROMPT))
    made = await stage.generation(1)
    await stage.app.run(lambda work: work.leaving.erase(user))
    assert NAME not in await everything(stage)
    worker = Worker(stage.app, 1)
    await worker.sweep()
    await worker.sweep()
    assert made.blob is not None
    with pytest.raises(BlobNotFound):
        await stage.app.blobs.get(made.blob)
    for shown in (pair.access, token):
        with pytest.raises(Unauthenticated):
            await Accounts(stage.app).enter(shown)
    assert await stage.balance(held_account(wallet(user.id))) == 0
    again = await stage.app.run(lambda work: work.users.resolve(Identity("telegram", NAME, "x", NAME)))
    assert again.id != user.id, "whoever writes again is somebody new"
    assert await stage.balance(wallet(again.id)) == 0
    assert not breaches(await stage.audit())


async def test_not_while_something_goes_on(stage: Stage) -> None:
    user = await settled(stage)
    dispute = await stage.app.run(lambda work: work.disputes.open(1, user, Kind.OTHER, 3))
    before = await everything(stage)
    with pytest.raises(NotYet):
        await stage.app.run(lambda work: work.leaving.erase(user))
    assert await everything(stage) == before
    admin = await stage.person("olga")
    await stage.app.run(lambda work: work.disputes.decide(dispute.id, admin, Verdict.REJECTED, "fine", alone=20_000))
    legs = taking(user.id, "stripe", 700, Purse(0, 0, 0))
    await stage.app.run(lambda work: work.ledger.post(Posting("owes", "chargeback", legs)))
    with pytest.raises(InDebt):
        await stage.app.run(lambda work: work.leaving.erase(user))
    await stage.app.run(lambda work: work.users.add_role(user.id, Role.ADMIN))
    async with stage.app.read() as work:
        now_admin = await work.users.get(user.id)
    with pytest.raises(AdminApart):
        await stage.app.run(lambda work: work.leaving.erase(now_admin))
