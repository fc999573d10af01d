"""The same request again: the same answer, and one effect."""

import asyncio

import pytest
from sqlalchemy import text

from api.idempotency import business_key
from core.db import Database
from core.generations.models import Order, Wish
from core.idempotency.service import KEEP, LEASE, Idempotency
from core.ledger.models import wallet
from core.users.models import Identity
from core.users.service import Users
from tests.api.stage import Served
from tests.stage import PRICE, breaches

ASKED = {"prompt": "a fox"}


async def test_a_repeated_order_is_answered_alike_and_charged_once(served: Served) -> None:
    async with served.client(Idempotency_Key="k1") as client:
        first = await client.post("/generations", json=ASKED)
        again = await client.post("/generations", json=ASKED)
    assert first.status_code == again.status_code == 202
    assert first.content == again.content
    assert again.headers["Location"] == first.headers["Location"]
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert await served.stage.balance(wallet(served.stage.creator.id)) == 1_000_000 - PRICE


async def test_a_refusal_is_repeated_too(served: Served) -> None:
    poor = await served.stage.person("poor")
    async with served.client(poor, Idempotency_Key="k1") as client:
        first = await client.post("/generations", json=ASKED)
        await served.app.grant(poor.id, 100_000, "later")
        again = await client.post("/generations", json=ASKED)
        assert (first.status_code, first.content) == (again.status_code, again.content)
        assert again.status_code == 402
        assert (await client.post("/generations", json=ASKED, headers={"Idempotency-Key": "k2"})).status_code == 202


async def test_a_key_stands_for_one_content_one_route_and_one_user(served: Served) -> None:
    other = await served.stage.person("other", 100_000)
    async with served.client(Idempotency_Key="k1") as client, served.client(other, Idempotency_Key="k1") as stranger:
        number = (await client.post("/generations", json=ASKED)).json()["id"]
        changed = await client.post("/generations", json={"prompt": "a wolf"})
        assert (changed.status_code, changed.json()["type"]) == (422, "urn:aetherflow:key_reused")
        assert (await client.post(f"/generations/{number}/cancel")).json()["type"] == "urn:aetherflow:key_reused"
        theirs = await stranger.post("/generations", json=ASKED)
        assert (theirs.status_code, theirs.json()["id"]) == (202, number + 1)


async def test_parallel_duplicates_have_one_effect(served: Served) -> None:
    async with served.client(Idempotency_Key="k1") as client:
        answers = await asyncio.gather(*(client.post("/generations", json=ASKED) for _ in range(12)))
        done = [each for each in answers if each.status_code == 202]
        busy = [each for each in answers if each.status_code == 409]
        assert done
        assert len(done) + len(busy) == 12
        assert all(each.json()["type"] == "urn:aetherflow:busy" and each.headers["Retry-After"] == "1" for each in busy)
        assert len({each.content for each in done}) == 1
        assert (await client.post("/generations", json=ASKED)).content == done[0].content
        assert len((await client.get("/generations")).json()["data"]) == 1
    assert await served.stage.balance(wallet(served.stage.creator.id)) == 1_000_000 - PRICE
    assert not breaches(await served.stage.audit())


async def test_whoever_died_before_the_answer_is_followed_without_a_second_effect(served: Served) -> None:
    app, creator = served.app, served.stage.creator
    wish, price = app.price(Wish("a fox"))
    before = await app.submit(Order(business_key(creator.id, "k1"), creator.id, wish, price))  # and then the process died
    async with served.client(Idempotency_Key="k1") as client:
        followed = await client.post("/generations", json=ASKED)
        assert (followed.status_code, followed.json()["id"]) == (202, before.generation.id)
    assert await served.stage.balance(wallet(creator.id)) == 1_000_000 - PRICE


async def test_what_failed_by_our_mistake_may_be_sent_again(served: Served) -> None:
    async with served.client(Idempotency_Key="k1") as client:
        async with served.app.begin() as work:
            await work.connection.execute(text("ALTER TABLE generations RENAME TO moved"))
        assert (await client.post("/generations", json=ASKED)).status_code == 500
        async with served.app.begin() as work:
            await work.connection.execute(text("ALTER TABLE moved RENAME TO generations"))
        assert (await client.post("/generations", json=ASKED)).status_code == 202


@pytest.mark.parametrize("key", ["", "a b", "ä", "x" * 256])
async def test_a_malformed_key_is_refused(served_once: Served, key: str) -> None:
    async with served_once.client() as client:
        refused = await client.post("/generations", json=ASKED, headers=[(b"Idempotency-Key", key.encode())])
    assert (refused.status_code, refused.json()["errors"][0]["parameter"]) == (422, "Idempotency-Key")


async def test_what_is_kept_can_not_be_read_in_the_database(served: Served) -> None:
    async with served.client(Idempotency_Key="k1") as client:
        await client.post("/generations", json={"prompt": "unmistakable"})
    async with served.app.read() as work:
        (kept,) = (await work.connection.execute(text("SELECT answer FROM idempotent_answers"))).scalars()
    assert len(kept) > 100
    assert b"unmistakable" not in kept


async def test_a_key_is_taken_by_one_and_comes_free_again(database: Database) -> None:
    now = 1_000_000 * KEEP
    async with database.begin() as connection:
        user = (await Users(connection, now).resolve(Identity("email", "a", "a", ""))).id

    async def take(at: int, content: str = "c") -> tuple[bool, bytes | None]:
        standing = await database.run(lambda connection: Idempotency(connection, at).take(user, "k", content))
        return standing.mine, standing.answer

    assert sorted([mine for mine, _ in await asyncio.gather(*(take(now) for _ in range(8)))]) == [False] * 7 + [True]
    assert await take(now + LEASE - 1) == (False, None)
    assert await take(now + LEASE, "other") == (False, None)
    assert await take(now + LEASE) == (True, None)  # whoever had it is dead
    await database.run(lambda connection: Idempotency(connection, now).keep(user, "k", b"first"))
    await database.run(lambda connection: Idempotency(connection, now).keep(user, "k", b"second"))
    assert await take(now + 2 * LEASE) == (False, b"first")
    assert await database.run(lambda connection: Idempotency(connection, now + KEEP).prune()) == 0
    assert await database.run(lambda connection: Idempotency(connection, now + KEEP + LEASE).prune()) == 1
    assert await take(now + KEEP + LEASE, "other") == (True, None)
