"""What stands around every route: headers, ids, body limits, languages, rate limits, and the last resort."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, Request

from api.frame import JSON_BYTES, BodyLimit, Frame, limit_of
from api.limits import bucket, client_address, trusted_networks
from api.shown import core_of
from core.config import Settings
from core.errors import Misconfigured
from tests.api.stage import Served, served_stage, serving


async def test_every_answer_has_an_id_and_safe_headers(served_once: Served) -> None:
    async with httpx.AsyncClient(base_url=served_once.url) as anyone:
        for method, path in (("GET", "/healthz"), ("GET", "/nothing"), ("PUT", "/models"), ("POST", "/generations"), ("GET", "/docs")):
            answer = await anyone.request(method, path)
            headers = answer.headers
            assert len(headers["X-Request-Id"]) >= 16, path
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert headers["X-Frame-Options"] == "DENY"
            assert "default-src 'none'" in headers["Content-Security-Policy"]
            assert "Cache-Control" in headers
            assert "Strict-Transport-Security" not in headers
            assert "server" not in headers
            if answer.status_code >= 400:
                assert headers["Content-Type"] == "application/problem+json"
                assert answer.json()["instance"] == headers["X-Request-Id"]
        assert (await anyone.get("/healthz")).headers["Cache-Control"] == "no-store"
        assert (await anyone.put("/models")).headers["Allow"] == "GET"


async def test_a_request_id_may_be_brought_along_but_no_junk(served_once: Served) -> None:
    async with httpx.AsyncClient(base_url=served_once.url) as anyone:
        assert (await anyone.get("/healthz", headers={"X-Request-Id": "abc-12345"})).headers["X-Request-Id"] == "abc-12345"
        for junk in ("x", "a b c d e f g h", "é" * 10, "x" * 65):
            assert (await anyone.get("/healthz", headers=[(b"X-Request-Id", junk.encode())])).headers["X-Request-Id"] != junk


async def test_https_is_insisted_on_where_it_is_offered(sqlite_url: str, tmp_path: Path) -> None:
    async with (
        served_stage(sqlite_url, tmp_path, lend=False, public_url="https://aetherflow.example") as served,
        httpx.AsyncClient(base_url=served.url) as anyone,
    ):
        assert "max-age=31536000" in (await anyone.get("/healthz")).headers["Strict-Transport-Security"]


async def test_a_body_is_measured_while_it_streams(served_once: Served) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 8192
            yield b" " * 8192

    async with served_once.client() as client:
        with_length = await client.post("/generations", content=b" " * (JSON_BYTES + 1), headers={"Content-Type": "application/json"})
        assert (with_length.status_code, with_length.json()["type"]) == (413, "urn:aetherflow:too_large")
        async with asyncio.timeout(10):
            try:
                streamed = await client.post("/generations", content=endless(), headers={"Content-Type": "application/json"})
            except httpx.TransportError:  # the server broke off before the client stopped sending
                streamed = None
        assert streamed is None or streamed.status_code == 413
        assert sent < 200 * JSON_BYTES
        just = await client.post("/generations", content=b" " * JSON_BYTES, headers={"Content-Type": "application/json"})
        assert just.status_code == 400


def test_pictures_and_callbacks_may_be_larger() -> None:
    assert limit_of("/generations", "application/json") == 64 * 1024
    assert limit_of("/generations", "") == 64 * 1024
    assert limit_of("/generations", "multipart/form-data; boundary=x") == 10 * 1024 * 1024
    assert limit_of("/webhooks/stripe", "application/json") == 1024 * 1024


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        (b"{", "application/json", 400, "malformed"),
        (b"", "application/json", 422, "invalid_request"),
        (b"[]", "application/json", 422, "invalid_request"),
        (b'{"prompt": "a fox"}', "text/plain", 415, "unsupported_media"),
        (b"prompt=a", "application/x-www-form-urlencoded", 415, "unsupported_media"),
        (b'{"prompt": "\xff"}', "application/json", 400, "malformed"),
        (b'{"prompt": "a", "seed": 1e999}', "application/json", 422, "invalid_request"),
    ],
)
async def test_a_body_that_is_no_request_is_refused_as_what_it_is(
    served_once: Served, content: bytes, kind: str, status: int, code: str
) -> None:
    async with served_once.client() as client:
        answer = await client.post("/generations", content=content, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:aetherflow:{code}")


async def test_the_language_is_the_requests_else_the_users(served_once: Served) -> None:
    app, creator = served_once.app, served_once.stage.creator
    await app.run(lambda work: work.users.set_locale(creator.id, "zh"))
    async with served_once.client() as client:
        for header, title in (
            (None, "未找到"),
            ("en", "Not found"),
            ("de, zh;q=0.5, en;q=0.4", "未找到"),
            ("de", "未找到"),
            ("*", "未找到"),
        ):
            answer = await client.get("/generations/9", headers={} if header is None else {"Accept-Language": header})
            assert answer.json()["title"] == title, header
    async with httpx.AsyncClient(base_url=served_once.url) as anyone:
        assert (await anyone.get("/nothing")).json()["title"] == "Not found"
        assert (await anyone.get("/nothing", headers={"Accept-Language": "zh-TW"})).headers["Content-Language"] == "zh"


async def test_a_user_who_asks_too_often_waits(sqlite_url: str, tmp_path: Path) -> None:
    async with served_stage(sqlite_url, tmp_path, lend=False, requests_per_user=3) as served:
        other = await served.stage.person("other")
        async with served.client() as client, served.client(other) as stranger:
            answers = [await client.get("/wallet") for _ in range(4)]
            assert [each.status_code for each in answers] == [200, 200, 200, 429]
            assert [each.headers["RateLimit"].split(";")[1] for each in answers] == ["r=2", "r=1", "r=0", "r=0"]
            assert answers[0].headers["RateLimit-Policy"] == '"user";q=3;w=60'
            assert 1 <= int(answers[3].headers["Retry-After"]) <= 60
            assert answers[3].json()["type"] == "urn:aetherflow:slow_down"
            assert (await stranger.get("/wallet")).status_code == 200


async def test_an_address_that_asks_too_often_waits_whoever_it_says_it_is(sqlite_url: str, tmp_path: Path) -> None:
    async with (
        served_stage(sqlite_url, tmp_path, lend=False, requests_per_address=2) as served,
        httpx.AsyncClient(base_url=served.url) as anyone,
    ):
        for number in range(2):
            assert (await anyone.get("/wallet", headers={"Authorization": f"Bearer {number}"})).status_code == 401
        refused = await anyone.get("/wallet", headers={"X-Forwarded-For": "192.0.2.1", "Authorization": "Bearer 3"})
        assert refused.status_code == 429
        assert (await anyone.get("/healthz")).status_code == 200


async def test_only_ones_own_proxy_says_who_asks(sqlite_url: str, tmp_path: Path) -> None:
    async with (
        served_stage(sqlite_url, tmp_path, lend=False, requests_per_address=1, trusted_proxies="127.0.0.0/8") as served,
        httpx.AsyncClient(base_url=served.url) as proxy,
    ):
        for number in range(3):
            assert (await proxy.get("/models", headers={"X-Forwarded-For": f"198.51.100.9, 192.0.2.{number}"})).status_code == 200
        assert (await proxy.get("/models", headers={"X-Forwarded-For": "203.0.113.1, 192.0.2.0"})).status_code == 429


def test_addresses_are_read_from_behind() -> None:
    trusted = trusted_networks(Settings(trusted_proxies="10.0.0.0/8, 192.0.2.7"))
    assert client_address("203.0.113.5", ["198.51.100.1"], trusted) == "203.0.113.5"
    assert client_address("10.0.0.1", ["6.6.6.6, 198.51.100.1"], trusted) == "198.51.100.1"
    assert client_address("10.0.0.1", ["6.6.6.6, 198.51.100.1", "192.0.2.7"], trusted) == "198.51.100.1"
    assert client_address("10.0.0.1", ["junk"], trusted) == "10.0.0.1"
    assert client_address("10.0.0.1", [], trusted) == "10.0.0.1"
    assert bucket("2001:db8::1") == bucket("2001:db8::ffff") != bucket("2001:db8:0:1::1")
    with pytest.raises(Misconfigured):
        trusted_networks(Settings(trusted_proxies="everybody"))


async def test_pages_of_other_origins_are_let_in_by_setting_alone(sqlite_url: str, tmp_path: Path) -> None:
    preflight = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    async with (
        served_stage(sqlite_url, tmp_path, lend=False) as served,
        httpx.AsyncClient(base_url=served.url) as browser,
    ):
        assert "access-control-allow-origin" not in (await browser.options("/wallet", headers=preflight)).headers
        assert "access-control-allow-origin" not in (await browser.get("/models", headers=preflight)).headers


async def test_a_named_origin_is_let_in(sqlite_url: str, tmp_path: Path) -> None:
    preflight = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    async with (
        served_stage(sqlite_url, tmp_path, lend=False, cors_origins="https://a.example") as served,
        httpx.AsyncClient(base_url=served.url) as browser,
    ):
        allowed = await browser.options("/wallet", headers=preflight)
        assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, "https://a.example")
        assert "access-control-allow-credentials" not in allowed.headers
        other = await browser.options("/wallet", headers=preflight | {"Origin": "https://b.example"})
        assert "access-control-allow-origin" not in other.headers


async def test_what_nobody_caught_is_one_sentence_without_its_inside(served_once: Served) -> None:
    api = FastAPI()
    api.state.core, api.state.waiting = served_once.app, served_once.api.state.waiting

    @api.get("/broken")
    async def broken(request: Request) -> None:
        raise RuntimeError(f"a secret of {core_of(request)}")

    api.add_middleware(BodyLimit)
    api.add_middleware(Frame, https=False)
    async with serving(api) as url, httpx.AsyncClient(base_url=url) as anyone:
        answer = await anyone.get("/broken")
    assert answer.status_code == 500
    assert answer.json()["type"] == "urn:aetherflow:internal"
    assert "secret" not in answer.text
