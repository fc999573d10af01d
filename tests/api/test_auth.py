"""Accounts and API tokens over HTTP: what each answer says, and what it does not."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import event, text, update

from core.access.models import api_tokens
from core.access.service import NOTED_EVERY
from core.db import MINUTE
from core.users.models import Role
from tests.api.stage import Served, served_stage

WHO = {"email": "ada@example.org", "password": "a long sentence is best"}


@pytest.fixture
async def served(database_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    settings: dict[str, Any] = {"smtp_url": "smtp://127.0.0.1:1", "logins_per_account": 100}
    async with served_stage(database_url, tmp_path, **settings) as opened:
        yield opened


async def newest_code(served: Served) -> str:
    """The code in the newest mail."""
    async with served.app.read() as work:
        query = text("SELECT key, body FROM outbox WHERE kind = 'mail' ORDER BY id DESC LIMIT 1")
        key, body = (await work.connection.execute(query)).one()
    veiled = bytes.fromhex((json.loads(body) if isinstance(body, str) else body)["veiled"])
    return str(json.loads(served.app.vault.unveil(veiled, key))["link"]).partition("code=")[2]


def bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def signed_up(served: Served, anyone: httpx.AsyncClient) -> dict[str, Any]:
    assert (await anyone.post("/auth/register", json=WHO)).status_code == 202
    answer = await anyone.post("/auth/verify", json={"code": await newest_code(served)})
    assert answer.status_code == 200
    return dict(answer.json())


async def test_a_person_signs_up_in_stays_in_and_out(served: Served) -> None:
    async with httpx.AsyncClient(base_url=served.url) as anyone:
        pair = await signed_up(served, anyone)
        me = (await anyone.get("/me", headers=bearing(pair["access_token"]))).json()
        assert (me["name"], me["roles"], me["frozen"]) == ("ada", ["creator"], False)
        assert me["identities"] == [{"platform": "email", "id": WHO["email"]}]
        assert "admin" not in me["scopes"]
        again = (await anyone.post("/auth/login", json=WHO)).json()
        fresh = (await anyone.post("/auth/refresh", json={"refresh_token": again["refresh_token"]})).json()
        out = await anyone.post("/auth/logout", json={"everywhere": True}, headers=bearing(fresh["access_token"]))
        assert out.status_code == 204
        for token in (pair["access_token"], fresh["access_token"]):
            refused = await anyone.get("/me", headers=bearing(token))
            assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
        wrong = await anyone.post("/auth/login", json=WHO | {"password": "not my password"})
        nobody = await anyone.post("/auth/login", json=WHO | {"email": "nobody@example.org"})
        assert (wrong.status_code, nobody.status_code) == (401, 401)
        assert wrong.json()["detail"] == nobody.json()["detail"], "which of them is wrong is not said"


async def test_no_answer_tells_whether_an_address_is_known(served: Served) -> None:
    async with httpx.AsyncClient(base_url=served.url) as anyone:
        await signed_up(served, anyone)
        for path, body in (("/auth/register", WHO), ("/auth/forgot", {"email": WHO["email"]})):
            known = await anyone.post(path, json=body)
            unknown = await anyone.post(path, json=body | {"email": "nobody@example.org"})
            assert (known.status_code, known.content) == (unknown.status_code, unknown.content)


async def test_a_lost_password_is_set_anew(served: Served) -> None:
    async with httpx.AsyncClient(base_url=served.url) as anyone:
        await signed_up(served, anyone)
        await anyone.post("/auth/forgot", json={"email": WHO["email"]})
        code, new = await newest_code(served), "quite another sentence"
        assert (await anyone.post("/auth/reset", json={"code": code, "password": new})).status_code == 204
        assert (await anyone.post("/auth/reset", json={"code": code, "password": new})).status_code == 410
        assert (await anyone.post("/auth/login", json=WHO)).status_code == 401
        pair = (await anyone.post("/auth/login", json=WHO | {"password": new})).json()
        changed = {"old_password": new, "new_password": WHO["password"]}
        assert (await anyone.post("/auth/password", json=changed, headers=bearing(pair["access_token"]))).status_code == 204
        assert (await anyone.post("/auth/login", json=WHO)).status_code == 200


async def test_tries_are_counted_by_account_and_by_address(sqlite_url: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"logins_per_account": 3, "logins_per_address": 8}
    async with served_stage(sqlite_url, tmp_path, lend=False, **settings) as served, httpx.AsyncClient(base_url=served.url) as anyone:
        statuses = [(await anyone.post("/auth/login", json=WHO)).status_code for _ in range(4)]
        assert statuses == [401, 401, 401, 429]
        others = [(await anyone.post("/auth/login", json=WHO | {"email": f"{n}@example.org"})).status_code for n in range(5)]
        assert others == [401, 401, 401, 401, 429]


async def test_a_token_is_shown_once_and_does_what_its_scopes_say(served: Served) -> None:
    session = bearing((await served.session()).access)
    async with httpx.AsyncClient(base_url=served.url) as anyone:
        asked = {"name": "script", "scopes": ["generate", "wallet:read"], "cap": "9", "days": 7}
        made = (await anyone.post("/me/tokens", json=asked, headers=session)).json()
        assert made["token"].startswith(made["hint"])
        assert made["last_used_at"] is None
        mine = bearing(made["token"])
        first, second = [await anyone.post("/generations", json={"prompt": "a fox"}, headers=mine) for _ in range(2)]
        third = await anyone.post("/generations", json={"prompt": "a fox"}, headers=mine)
        assert (first.status_code, second.status_code, third.status_code) == (202, 202, 402)
        assert (third.json()["type"], third.json()["left"], third.json()["needed"]) == ("urn:aetherflow:cap_reached", "0", "4.5")
        refused = await anyone.get("/generations", headers=mine)
        assert (refused.status_code, refused.json()["scope"]) == (403, "generations:read")
        for method, path, body in (("POST", "/me/tokens", asked), ("GET", "/me/tokens", None), ("POST", "/auth/logout", {})):
            assert (await anyone.request(method, path, json=body, headers=mine)).json()["type"] == "urn:aetherflow:session_needed"
        listed = (await anyone.get("/me/tokens", headers=session)).json()["data"]
        assert listed[0]["last_used_at"] >= listed[0]["created_at"]
        assert [(each["name"], each["cap"], each["spent"]) for each in listed] == [("script", "9", "9")]
        assert made["token"] not in json.dumps(listed)
        assert (await anyone.delete(f"/me/tokens/{made['id']}", headers=session)).status_code == 204
        assert (await anyone.get("/wallet", headers=mine)).status_code == 401


async def test_nobody_gives_themselves_the_scope_of_admins(served: Served) -> None:
    asked = {"name": "root", "scopes": ["admin"]}
    async with httpx.AsyncClient(base_url=served.url) as anyone:
        session = bearing((await served.session()).access)
        assert (await anyone.post("/me/tokens", json=asked, headers=session)).status_code == 403
        await served.app.run(lambda work: work.users.add_role(served.stage.creator.id, Role.ADMIN))
        made = (await anyone.post("/me/tokens", json=asked, headers=session)).json()
        assert (await anyone.get("/me", headers=bearing(made["token"]))).json()["scopes"] == ["admin"]


async def test_a_budget_is_a_budget_over_http(served: Served) -> None:
    await served.app.grant(served.stage.creator.id, 1_000_000, "grant:more")
    session = bearing((await served.session()).access)
    async with served.working(), httpx.AsyncClient(base_url=served.url, timeout=60) as anyone:
        made = (await anyone.post("/me/tokens", json={"name": "ten", "scopes": ["generate"], "cap": "45"}, headers=session)).json()
        body = {"prompt": "a fox"}
        asking = (anyone.post("/v1/images/generations", json=body, headers=bearing(made["token"])) for _ in range(32))
        answers = await asyncio.gather(*asking)
    assert sorted(each.status_code for each in answers) == [200] * 10 + [429] * 22
    assert (await served.stage.audit()).clean


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (WHO | {"email": "nobody"}, ""),
        (WHO | {"password": "short"}, ""),
        (WHO | {"admin": True}, "#/admin"),
        ({"email": WHO["email"]}, "#/password"),
        (WHO | {"password": "x" * 200}, "#/password"),
    ],
    ids=["address", "password", "extra", "missing", "long"],
)
async def test_what_is_wrong_is_named(served: Served, body: dict[str, Any], field: str) -> None:
    async with httpx.AsyncClient(base_url=served.url) as anyone:
        refused = await anyone.post("/auth/register", json=body, headers={"Accept-Language": "zh"})
    assert (refused.status_code, refused.headers["Content-Language"]) == (422, "zh")
    assert [each["pointer"] for each in refused.json().get("errors", [])] == ([field] if field else [])


async def test_two_accounts_become_one_by_a_code(served: Served) -> None:
    """The code is made in one session and sent in the other; the newer account's session ends."""
    stage = served.stage
    async with httpx.AsyncClient(base_url=served.url) as anyone:
        newer = bearing((await signed_up(served, anyone))["access_token"])
        older = bearing((await served.session(stage.creator)).access)
        made = (await anyone.post("/me/link", json={}, headers=newer)).json()
        assert made["user"] is None
        own = await anyone.post("/me/link", json={"code": made["code"]}, headers=newer)
        assert (own.status_code, own.json()["type"]) == (409, "urn:aetherflow:same_user")
        joined = await anyone.post("/me/link", json={"code": made["code"]}, headers=older)
        assert (joined.status_code, joined.json()) == (200, {"code": None, "user": stage.creator.id})
        assert (await anyone.get("/me", headers=newer)).status_code == 401
        me = (await anyone.get("/me", headers=older)).json()
        assert {each["platform"] for each in me["identities"]} == {"telegram", "email"}
        again = bearing((await anyone.post("/auth/login", json=WHO)).json()["access_token"])
        assert (await anyone.get("/me", headers=again)).json()["id"] == stage.creator.id
        used = await anyone.post("/me/link", json={"code": made["code"]}, headers=older)
        assert used.status_code == 410
        for _ in range(5):
            last = await anyone.post("/me/link", json={"code": "AAAAA-AAAAA"}, headers=older)
        assert last.status_code == 429


async def test_a_tokens_use_is_noted_once_a_minute(served: Served) -> None:
    """Of many requests at once one writes, and the next ones none: they cost the statements that they did."""
    noted: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE api_tokens"):
            noted.append(statement)

    engine = served.app.database._writer.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    async with served.working(), served.client() as client:
        made = [client.post("/v1/images/generations", json={"prompt": f"a fox {number}"}) for number in range(6)]
        assert [each.status_code for each in await asyncio.gather(*made)] == [200] * 6
        assert noted
        before = len(noted)
        assert (await client.post("/v1/images/generations", json={"prompt": "a fox"})).status_code == 200
        assert len(noted) == before
        async with served.app.begin() as work:
            await work.connection.execute(update(api_tokens).values(last_used_at=api_tokens.c.last_used_at - NOTED_EVERY))
        noted.clear()
        assert (await client.post("/v1/images/generations", json={"prompt": "a fox"})).status_code == 200
        assert len(noted) == 1
    event.remove(engine, "before_cursor_execute", note)
    async with served.app.read() as work:
        (token,) = await work.access.tokens(served.stage.creator.id, {})
        assert token.last_used_at is not None and work.now - MINUTE < token.last_used_at <= work.now
