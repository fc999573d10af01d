"""The pages over HTTP: what a link alone does not do, who is signed in, and forms that another site sent."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from tests.access.test_init_data import TOKEN, init_data
from tests.api.stage import Served, served_stage
from tests.api.test_auth import WHO, newest_code, signed_up

FORMS = ("/auth/verify/form", "/auth/reset/form", "/app/login", "/app/telegram", "/app/logout", "/app/topup")

FOREIGN = ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"})


@pytest.fixture
async def served(database_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    settings: dict[str, Any] = {"smtp_url": SecretStr("smtp://127.0.0.1:1"), "telegram_token": SecretStr(TOKEN), "logins_per_account": 3}
    async with served_stage(database_url, tmp_path, **settings) as opened:
        yield opened


async def test_a_link_alone_opens_no_account(served: Served) -> None:
    async with httpx.AsyncClient(base_url=served.url) as anyone:
        await anyone.post("/auth/register", json=WHO)
        code = await newest_code(served)
        for _ in range(3):
            shown = await anyone.get("/auth/verify", params={"code": code})
            assert shown.status_code == 200
            assert shown.headers["Referrer-Policy"] == "no-referrer"
        assert (await anyone.post("/auth/login", json=WHO)).status_code == 401
        opened = await anyone.post("/auth/verify/form", data={"code": code})
        assert "/link" in opened.text
        assert (await anyone.post("/auth/login", json=WHO)).status_code == 200
        assert (await anyone.get("/auth/verify", params={"code": code})).status_code == 410
        assert (await anyone.post("/auth/verify/form", data={"code": code})).status_code == 410


async def test_a_new_password_is_typed_twice(served: Served) -> None:
    async with httpx.AsyncClient(base_url=served.url) as anyone:
        await signed_up(served, anyone)
        await anyone.post("/auth/forgot", json={"email": WHO["email"]})
        code, new = await newest_code(served), "quite another sentence"
        assert (await anyone.get("/auth/reset", params={"code": code})).status_code == 200
        for password, again in ((new, "something else"), ("short", "short"), ("", "")):
            refused = await anyone.post("/auth/reset/form", data={"code": code, "password": password, "again": again})
            assert refused.status_code == 422
            assert "alert" in refused.text
        assert (await anyone.post("/auth/reset/form", data={"code": code, "password": new, "again": new})).status_code == 200
        assert (await anyone.post("/auth/login", json=WHO | {"password": new})).status_code == 200
        assert (await anyone.post("/auth/reset/form", data={"code": code, "password": new, "again": new})).status_code == 410


async def test_the_wallet_is_shown_to_its_user_alone(served: Served) -> None:
    async with httpx.AsyncClient(base_url=served.url) as anyone:
        assert "password" in (await anyone.get("/app")).text
        await signed_up(served, anyone)
        signed_in = await anyone.post("/app/login", data=WHO)
        cookie = signed_in.headers["set-cookie"].lower()
        assert (signed_in.status_code, "httponly" in cookie, "samesite=lax" in cookie, "path=/app" in cookie) == (303, True, True, True)
        anyone.cookies = httpx.Cookies(signed_in.cookies)
        assert "id=balance" in (await anyone.get("/app")).text
        for strange in ("x", "1-", "-1", "1-1-1", "9" * 40, "²-²"):
            assert (await anyone.get("/app", params={"before": strange})).status_code == 200
        assert (await anyone.post("/app/topup", data={"package": "nothing", "rail": "stripe"})).status_code == 409
        assert (await anyone.post("/app/topup", data={"package": "small", "rail": "stars"})).status_code == 409
        kept = httpx.Cookies(anyone.cookies)
        assert (await anyone.post("/app/logout")).status_code == 303
        anyone.cookies = kept
        assert "id=balance" not in (await anyone.get("/app")).text


async def test_tries_to_sign_in_are_counted(served: Served) -> None:
    async with httpx.AsyncClient(base_url=served.url) as anyone:
        tries = [(await anyone.post("/app/login", data=WHO)).status_code for _ in range(4)]
    assert tries == [401, 401, 401, 429]


async def test_whoever_opened_the_mini_app(served: Served) -> None:
    app = served.app
    fresh = init_data({"auth_date": str(app.now() // 1_000_000)})
    async with httpx.AsyncClient(base_url=served.url) as anyone:
        refused = await anyone.post("/app/telegram", data={"data": fresh.replace("Ada", "Eve")})
        assert (refused.status_code, refused.json()["type"]) == (401, "urn:aetherflow:bad_init_data")
        came = await anyone.post("/app/telegram", data={"data": fresh})
        assert came.status_code == 204
        anyone.cookies = httpx.Cookies(came.cookies)
        assert "Ada &amp; Bo" in (await anyone.get("/app")).text
    async with app.read() as work:
        user = await work.users.find("telegram", "1001")
    assert user is not None
    assert user.locale == "zh"


@pytest.mark.parametrize("path", FORMS)
async def test_a_form_of_another_site_is_refused(served: Served, path: str) -> None:
    async with httpx.AsyncClient(base_url=served.url) as anyone:
        for headers in (
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
        ):
            refused = await anyone.post(path, data=WHO, headers=headers)
            assert (refused.status_code, refused.json()["type"]) == (403, "urn:aetherflow:foreign_form")
        assert (await anyone.post(path, data=WHO, headers={"Origin": served.url})).status_code != 403
        assert (await anyone.post(path, content=b"x" * 5000)).status_code == 413
