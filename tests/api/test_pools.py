"""Pools over HTTP: whom they pay for when no platform says who is in the group, what is shown of them, and giving to one."""

import asyncio
from dataclasses import replace
from typing import Any

import httpx
from openai import AsyncOpenAI
from sqlalchemy import update

from core.db import DAY
from core.generations.models import generations
from core.ledger.models import held_account, wallet
from core.pools.models import Community, Policy, Spenders, community_spenders, pool
from core.pools.rules import SEEN
from core.users.models import User
from tests.api.stage import Served
from tests.stage import PRICE, breaches

GIVEN = 20 * PRICE
LISTED = Policy(spenders=Spenders.LIST)
ASKED = {"prompt": "a fox"}


async def founded(served: Served, policy: Policy = LISTED, *, given: int = GIVEN) -> Community:
    """A community in a Telegram group; the creator gave to its pool."""
    made = await served.app.run(lambda work: work.pools.found("telegram", "-100", "Aether Club"))
    await served.app.run(lambda work: work.pools.contribute(made, served.stage.creator, given, "k"))
    return await ruled(served, made, policy)


async def ruled(served: Served, community: Community, policy: Policy) -> Community:
    """With other rules."""
    return await served.app.run(lambda work: work.pools.set_policy(community, policy))


async def listed(served: Served, community: Community, name: str) -> User:
    """Somebody without Credits whom the community's admins let spend just now."""
    user = await served.stage.person(name)
    await served.app.run(lambda work: work.pools.let(community, user.id, may=True))
    return user


async def absent(served: Served, *tables: Any) -> None:
    """As if all that was so long ago that it does not count any more."""
    async with served.app.begin() as work:
        for table, column in tables:
            await work.connection.execute(update(table).values({column: column - SEEN - DAY}))


def why(answer: httpx.Response) -> tuple[int, str, str]:
    """Status, code, and the beginning of what is said."""
    body = answer.json()
    return answer.status_code, body["type"].rpartition(":")[2], body["detail"]


async def test_it_pays_for_whom_its_admins_named_and_nobody_else(served: Served) -> None:
    community = await founded(served)
    member, stranger = await listed(served, community, "member"), await served.stage.person("stranger", 100_000)
    order = ASKED | {"pool": community.id}
    async with served.client(member) as client, served.client(stranger) as other, served.client() as giver:
        made = (await client.post("/generations", json=order)).json()
        assert (made["pool"], made["price"]) == (community.id, "4.5")
        assert (await giver.post("/generations", json=ASKED)).json()["pool"] is None
        refused = [await each.post("/generations", json=order) for each in (other, giver)]
        refused.append(await other.post("/generations", json=ASKED | {"pool": 999}))
        assert {why(each) for each in refused} == {why(refused[0])}  # nobody learns which pools there are
        assert why(refused[0])[:2] == (409, "pool_closed")
        assert "put you on it" in why(refused[0])[2]
        for rule in (Spenders.ALL, Spenders.ADMINS):
            await ruled(served, community, replace(LISTED, spenders=rule))
            assert why(await client.post("/generations", json=order)) == why(refused[0])
        await ruled(served, community, replace(LISTED, enabled=False))
        assert "stopped" in why(await client.post("/generations", json=order))[2]
        await ruled(served, community, replace(LISTED, request_cap=PRICE - 1))
        assert why(await client.post("/generations", json=order))[:2] == (402, "pool_cap")
        assert "order" not in (await client.post("/generations", json=order)).json()
        await ruled(served, community, LISTED)
        gory = order | {"prompt": "a gory scene"}
        assert (await client.post("/generations", json=gory)).status_code == 202
        await served.app.run(lambda work: work.pools.set_strict(community, True))
        assert why(await client.post("/generations", json=gory))[:2] == (422, "forbidden_prompt")
        await served.app.run(lambda work: work.pools.let(community, member.id, may=False))
        assert why(await client.post("/generations", json=order)) == why(refused[0])
        said = await client.post("/generations", json=order, headers={"Accept-Language": "zh"})
        assert "请群管理员" in why(said)[2]
    assert await served.stage.balance(held_account(pool(community.id))) == 2 * PRICE
    assert not breaches(await served.stage.audit())


async def test_who_was_not_seen_in_the_group_for_long_is_asked_to_show_up(served: Served) -> None:
    community = await founded(served)
    member = await listed(served, community, "member")
    order = ASKED | {"pool": community.id}
    async with served.client(member) as client:
        assert (await client.post("/generations", json=order)).status_code == 202
        await absent(served, (community_spenders, community_spenders.c.added_at))  # the order by HTTP itself shows nothing
        assert "30 days" in why(await client.post("/generations", json=order))[2]
        assert (await client.get(f"/pools/{community.id}")).json()["why_not"] == "unseen"
        await served.app.submit(replace(served.stage.order("chat", member), community_id=community.id))  # in the group, of its pool
        assert (await client.post("/generations", json=order)).status_code == 202
        await absent(served, (generations, generations.c.created_at))
        assert "30 days" in why(await client.post("/generations", json=order))[2]
    remote = replace(served.stage.order("late", member), community_id=community.id, remote=True)
    answer = (await asyncio.gather(served.app.submit(remote), return_exceptions=True))[0]
    assert getattr(answer, "facts", {})["why"] == "unseen"  # the order itself is looked at too, not the page before it alone


async def test_openai_clients_name_a_pool_by_their_extra_body(served: Served) -> None:
    community = await founded(served, given=2 * PRICE)
    member = await listed(served, community, "member")
    async with served.working(), AsyncOpenAI(base_url=f"{served.url}/v1", api_key=await served.token(member), max_retries=0) as client:
        made = await client.images.generate(prompt="a fox", n=2, extra_body={"pool": community.id}, response_format="url")
        assert len(made.data or ()) == 2
        async with served.client(member) as plain:
            refused = await plain.post("/v1/images/generations", json={"prompt": "a cat", "n": 2, "pool": community.id})
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "insufficient_quota")
    assert await served.stage.balance(pool(community.id)) == 0
    assert await served.stage.balance(wallet(member.id)) == 0
    assert not breaches(await served.stage.audit())


async def test_what_a_bound_token_orders_is_paid_by_its_pool_or_by_nobody(served: Served) -> None:
    community = await founded(served, replace(LISTED, request_cap=PRICE))
    member = await listed(served, community, "member")
    other = await served.app.run(lambda work: work.pools.found("discord", "7", "Other Club"))
    await served.app.run(lambda work: work.pools.set_policy(other, LISTED))
    await served.app.run(lambda work: work.pools.let(other, member.id, may=True))
    await served.app.grant(member.id, 1_000_000, "grant:member")
    asked = {"name": "club", "scopes": ["generate", "generations:read"], "cap": "9", "pool": community.id}
    session = {"Authorization": f"Bearer {(await served.session(member)).access}"}
    async with httpx.AsyncClient(base_url=served.url, headers=session) as person:
        refused = [await person.post("/me/tokens", json=asked | {"pool": number}) for number in (999, community.id)]
        assert (why(refused[0])[:2], refused[1].status_code) == ((409, "pool_closed"), 201)
        stranger = {"Authorization": f"Bearer {(await served.session()).access}"}
        assert why(await person.post("/me/tokens", json=asked, headers=stranger))[:2] == (409, "pool_closed")  # who gave is not on the list
        made = refused[1].json()
        shown = (await person.get("/me/tokens")).json()["data"]
        assert [(each["id"], each["pool"], each["cap"]) for each in shown] == [(made["id"], community.id, "9")] and made[
            "pool"
        ] == community.id
    async with httpx.AsyncClient(base_url=served.url, headers={"Authorization": f"Bearer {made['token']}"}, timeout=30) as client:
        taken = [await client.post("/generations", json=ASKED | named) for named in ({}, {"pool": community.id})]
        assert [each.json()["pool"] for each in taken] == [community.id] * 2
        assert why(await client.post("/generations", json=ASKED))[:2] == (402, "cap_reached")
        wrong = ASKED | {"pool": other.id}
        for language, words in (("en", f"bound to pool {community.id}"), ("zh", f"已绑定点数池 {community.id}")):
            said = await client.post("/generations", json=wrong, headers={"Accept-Language": language})
            assert why(said)[:2] == (403, "token_bound") and words in why(said)[2]
        said = await client.post("/v1/images/generations", json=wrong)
        assert (said.status_code, said.json()["error"]["code"]) == (403, "token_bound")
    async with httpx.AsyncClient(base_url=served.url, headers=session) as person:
        token = (await person.post("/me/tokens", json=asked | {"cap": None})).json()["token"]
    async with httpx.AsyncClient(base_url=served.url, headers={"Authorization": f"Bearer {token}"}, timeout=30) as client:
        key = {"Idempotency-Key": "same"}
        first = await client.post("/generations", json=ASKED, headers=key)
        assert (first.status_code, first.json()["pool"]) == (202, community.id)
        async with served.client(member) as free:  # the same key and words, paid by another: no replay of the pool's
            assert (await free.post("/generations", json=ASKED, headers=key)).json()["type"] == "urn:aetherflow:key_reused"
        steps: list[tuple[Policy, tuple[int, str]]] = [
            (replace(LISTED, request_cap=PRICE - 1), (402, "pool_cap")),
            (replace(LISTED, enabled=False), (409, "pool_closed")),
            (Policy(), (409, "pool_closed")),
        ]
        for rules, expected in steps:
            await ruled(served, community, rules)
            assert why(await client.post("/generations", json=ASKED))[:2] == expected
        await ruled(served, community, LISTED)
        await served.app.run(lambda work: work.pools.let(community, member.id, may=False))
        assert why(await client.post("/generations", json=ASKED))[:2] == (409, "pool_closed")
        assert (await client.post("/v1/images/generations", json=ASKED)).status_code == 409
    assert await served.stage.balance(wallet(member.id)) == 1_000_000
    assert await served.stage.balance(held_account(pool(community.id))) == 3 * PRICE
    assert not breaches(await served.stage.audit())


async def test_what_is_shown_of_a_pool(served: Served) -> None:
    first = await founded(served, replace(LISTED, member_cap=10 * PRICE, models=frozenset({"core"}), quiet=(3, 4)))
    second = await served.app.run(lambda work: work.pools.found("discord", "7", "Other Club"))
    member = await listed(served, first, "member")
    await served.app.run(lambda work: work.pools.let(second, member.id, may=True))
    async with served.client(member) as client, served.client() as giver, served.client(await served.stage.person("x")) as other:
        page = (await client.get("/pools", params={"limit": 1})).json()
        assert [each["name"] for each in page["data"]] == ["Other Club"]
        assert page["data"][0]["why_not"] == "remote"
        rest = (await client.get(page["next"])).json()
        assert [each["name"] for each in rest["data"]] == ["Aether Club"]
        assert rest["next"] is None
        shown = (await client.get(f"/pools/{first.id}")).json()
        assert shown == rest["data"][0]
        assert (shown["balance"], shown["today"], shown["listed"], shown["given"]) == ("90", "0", True, "0")
        rules = {"request_cap": None, "member_cap": "45", "day_cap": None, "models": ["core"], "quiet": "3-4", "spenders": "list"}
        assert shown["rules"] == rules | {"strict": False}
        gave = (await giver.get("/pools")).json()["data"]  # as in the chat: what one gave, and what is left of it all
        assert [(each["given"], each["balance"], each["rules"], each["today"]) for each in gave] == [("90", "90", None, None)]
        assert (await other.get("/pools")).json() == {"data": [], "next": None}
        assert (await other.get(f"/pools/{first.id}")).status_code == 404


async def test_giving_counts_once_and_needs_a_session(served: Served) -> None:
    community, creator = await founded(served), served.stage.creator
    path, before = f"/pools/{community.id}/contributions", await served.stage.balance(wallet(creator.id))
    session = {"Authorization": f"Bearer {(await served.session()).access}"}
    async with served.client(Idempotency_Key="g1") as token:
        assert why(await token.post(path, json={"amount": "2"}))[:2] == (403, "session_needed")
    async with httpx.AsyncClient(base_url=served.url, headers=session | {"Idempotency-Key": "g2"}) as client:
        answers = await asyncio.gather(*(client.post(path, json={"amount": "2.5"}) for _ in range(6)))
        assert {each.status_code for each in answers} <= {201, 409}
        again = await client.post(path, json={"amount": "2.5"})
        assert (again.status_code, again.json()["given"], again.headers["Idempotency-Replayed"]) == (201, "92.5", "true")
        assert (await client.post(path, json={"amount": "3"})).status_code == 422
        for amount, status in (("0", 422), ("0.000", 422), ("-1", 422), ("999999999", 402)):
            refused = await client.post(path, json={"amount": amount}, headers={"Idempotency-Key": f"g{amount}"})
            assert refused.status_code == status, amount
    assert await served.stage.balance(wallet(creator.id)) == before - 2_500
    assert await served.stage.balance(pool(community.id)) == GIVEN + 2_500
    assert not breaches(await served.stage.audit())
