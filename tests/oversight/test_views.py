"""What admins look through, on both databases: every view is read, found in and paged; no secret is in any of them."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.access.rules import new_token
from core.address import Address
from core.disputes.models import Kind
from core.ledger.models import wallet
from core.mailbox.models import Notice
from core.oversight.record import MAX_PAGE, VIEWS
from core.users.models import Identity
from core.worker import Worker
from tests.stage import Stage, staged, work_off

KEY = "sk-secret-0123456789"
HIDDEN = {
    "hash",
    "token_hash",
    "password",
    "body",
    "prompt",
    "chat",
    "content",
    "url",
    "code",
    "order",
    "ciphertext",
    "nonce",
    "wrapped",
    "external_id",
}


@pytest.fixture
async def stage(database_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(database_url, tmp_path) as opened:
        yield opened


async def test_every_view_is_read_and_has_no_secret(stage: Stage) -> None:
    app, token = stage.app, new_token()
    await stage.lend(KEY)
    (made,) = await stage.submit("a")
    await work_off(Worker(app, 1))
    await app.run(lambda work: work.disputes.open(made.id, stage.creator, Kind.SIZE))
    await app.run(lambda work: work.access.set_password(stage.creator.id, "$argon2id$secret"))
    await app.run(lambda work: work.acts.record(None, "grant", "user:1", "because"))
    await app.run(lambda work: work.mailbox.say([Notice("mail:1", Address("email", "a@b.example"), "mail", {"link": token})]))
    async with app.read() as work:
        for name, view in VIEWS.items():
            assert not HIDDEN & view.columns.keys(), name
            rows = await work.records.page(name, MAX_PAGE + 1)
            assert len(rows) <= MAX_PAGE
            assert await work.records.count(name) == len(rows), name
            for row in rows:
                assert row.keys() == {*view.columns, "pk"}
                assert await work.records.get(name, row["pk"]) == row
            said = json.dumps(rows)
            assert not [word for word in (KEY, token, "argon2id", "a cat", "a@b.example") if word in said], name
        filled = {name for name in VIEWS if await work.records.count(name)}
    assert filled == {"users", "wallets", "statements", "resources", "generations", "disputes", "presets", "outbox", "acts"}


async def test_what_is_searched_is_found_whatever_is_typed(stage: Stage) -> None:
    await stage.app.run(lambda work: work.users.resolve(Identity("telegram", "77", "Zoe", "77")))
    mine = wallet(stage.creator.id)
    async with stage.app.read() as work:
        assert [row["name"] for row in await work.records.page("users", 5, search="telegram:77")] == ["Zoe"]
        assert [row["address"] for row in await work.records.page("wallets", 5, search=mine)] == [mine]
        found = await work.records.page("statements", 5, search=mine)
        assert found and {row["account"] for row in found} == {mine}
        assert await work.records.page("users", 5, search="nobody") == []
        for name in VIEWS:
            for odd in ("\0", "9" * 15, "9" * 30, "-1", "1-1", "1-99999999999999", "'; --", "\udcff", "点"):
                assert len(await work.records.page(name, 5, search=odd)) <= 5
                assert await work.records.get(name, odd) is None or odd == "1-1"
            assert await work.records.page(name, 5, skip=10**9) == []


async def test_all_movements_are_paged_without_a_gap(stage: Stage) -> None:
    await stage.person("bo", credits=5_000)
    async with stage.app.read() as work:
        whole = await work.records.movements(100)
        assert len(whole) >= 4
        by_one, place = [], None
        while page := await work.records.movements(1, before=place):
            by_one += page
            place = (page[-1].entry, page[-1].position)
        assert by_one == whole
        mine = await work.records.movements(100, wallet(stage.creator.id))
        assert mine == [each for each in whole if each.account == wallet(stage.creator.id)]
