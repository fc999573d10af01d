"""The stand-ins for the image providers hold requests against the official limits, keep balances, and play trouble on demand."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from io import BytesIO
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from PIL import Image

from sandbox import pictures
from sandbox.image_api import ImageApi
from sandbox.openai import MAX_PROMPT, OpenAISandbox
from sandbox.stability import StabilitySandbox

STABILITY, OPENAI = "sk-demo-a", "sk-proj-demo-a"
PNG = pictures.draw("a", 1, 320, 200)


@dataclass
class World:
    """Both stand-ins on one server, and someone who calls them."""

    url: str
    session: aiohttp.ClientSession
    stability: StabilitySandbox
    openai: OpenAISandbox

    async def get(self, path: str, key: str | None = None) -> tuple[int, Any]:
        """Status and JSON."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with self.session.get(self.url + path, headers=headers) as response:
            return response.status, await response.json()

    async def form(
        self, path: str, fields: dict[str, str | bytes], key: str = STABILITY, accept: str = "image/*"
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (names in lower case) and body of a multipart request."""
        data = aiohttp.FormData(default_to_multipart=True)
        for name, value in fields.items():
            if isinstance(value, bytes):
                data.add_field(name, BytesIO(value), filename="a")
            else:
                data.add_field(name, value)
        headers = {"Authorization": f"Bearer {key}", "Accept": accept}
        async with self.session.post(self.url + path, data=data, headers=headers) as response:
            return response.status, {name.lower(): value for name, value in response.headers.items()}, await response.read()

    async def json(self, path: str, body: Any, key: str = OPENAI) -> tuple[int, Any]:
        """Status and JSON of a JSON request."""
        async with self.session.post(self.url + path, json=body, headers={"Authorization": f"Bearer {key}"}) as response:
            text = await response.text()
            return response.status, await response.json() if response.content_type == "application/json" else text


@pytest.fixture
async def world() -> AsyncIterator[World]:
    stability, openai = StabilitySandbox(public_url="", draft=True), OpenAISandbox(public_url="", draft=True)
    app = web.Application(client_max_size=64 * 1024 * 1024)

    async def close(_app: web.Application) -> None:
        await stability.close()
        await openai.close()

    app.add_routes([*stability.routes(), *openai.routes()])
    app.on_shutdown.append(close)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1_024).start()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield World(f"http://127.0.0.1:{runner.addresses[0][1]}", session, stability, openai)
    await runner.cleanup()


CORE = "/stability/v2beta/stable-image/generate/core"
ULTRA = "/stability/v2beta/stable-image/generate/ultra"
SD3 = "/stability/v2beta/stable-image/generate/sd3"
FAST = "/stability/v2beta/stable-image/upscale/fast"
CAREFUL = "/stability/v2beta/stable-image/upscale/conservative"


def sized(width: int, height: int) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        (CORE, {"prompt": "a cat"}, 200),
        (CORE, {"prompt": "a cat", "none": b""}, 200),
        (
            CORE,
            {"prompt": "猫" * 10_000, "seed": "4294967294", "style_preset": "anime", "aspect_ratio": "9:21", "output_format": "webp"},
            200,
        ),
        (CORE, {}, 400),
        (CORE, {"prompt": "  "}, 400),
        (CORE, {"prompt": "x" * 10_001}, 400),
        (CORE, {"prompt": b"\xff\xfe"}, 400),
        (CORE, {"prompt": "a", "seed": "4294967295"}, 400),
        (CORE, {"prompt": "a", "seed": "1.5"}, 400),
        (CORE, {"prompt": "a", "aspect_ratio": "4:3"}, 400),
        (CORE, {"prompt": "a", "style_preset": "vivid"}, 400),
        (CORE, {"prompt": "a", "output_format": "gif"}, 400),
        (CORE, {"prompt": "a", "strength": "0.5"}, 400),
        (ULTRA, {"prompt": "a", "image": PNG, "strength": "0.5"}, 200),
        (ULTRA, {"prompt": "a", "image": PNG}, 400),
        (ULTRA, {"prompt": "a", "strength": "0.5"}, 400),
        (ULTRA, {"prompt": "a", "image": PNG, "strength": "1.1"}, 400),
        (ULTRA, {"prompt": "a", "image": b"text", "strength": "1"}, 400),
        (ULTRA, {"prompt": "a", "image": sized(63, 100), "strength": "1"}, 400),
        (SD3, {"prompt": "a"}, 200),
        (SD3, {"prompt": "a", "model": "sd3.5-flash", "mode": "text-to-image", "cfg_scale": "7.5", "output_format": "jpeg"}, 200),
        (SD3, {"prompt": "a", "mode": "image-to-image", "image": PNG, "strength": "0.3"}, 200),
        (SD3, {"prompt": "a", "mode": "image-to-image", "image": PNG, "strength": "0.3", "aspect_ratio": "1:1"}, 400),
        (SD3, {"prompt": "a", "mode": "image-to-image"}, 400),
        (SD3, {"prompt": "a", "image": PNG, "strength": "0.3"}, 400),
        (SD3, {"prompt": "a", "model": "sd3.5-large-turbo", "negative_prompt": "b"}, 400),
        (SD3, {"prompt": "a", "model": "sdxl"}, 400),
        (SD3, {"prompt": "a", "cfg_scale": "11"}, 400),
        (FAST, {"image": PNG}, 200),
        (FAST, {}, 400),
        (FAST, {"image": PNG, "prompt": "a"}, 400),
        (FAST, {"image": sized(1_537, 64)}, 400),
        (FAST, {"image": sized(1_100, 1_000)}, 400),
        (CAREFUL, {"image": PNG, "prompt": "a", "creativity": "0.2"}, 200),
        (CAREFUL, {"image": PNG}, 400),
        (CAREFUL, {"image": PNG, "prompt": "a", "creativity": "0.9"}, 400),
        ("/stability/v2beta/stable-image/generate/nothing", {"prompt": "a"}, 404),
        ("/stability/v2beta/elsewhere", {"prompt": "a"}, 404),
        (CORE, {"prompt": "a", "none": b"x" * (10 * 1024 * 1024)}, 413),
    ],
)
async def test_stability_holds_requests_against_the_limits(world: World, path: str, fields: dict[str, str | bytes], status: int) -> None:
    got, headers, body = await world.form(path, fields)
    assert got == status
    if status == 200:
        assert headers["finish-reason"] == "SUCCESS"
        assert 0 < int(headers["seed"]) <= 4_294_967_294
        assert headers["content-type"].removeprefix("image/") == fields.get("output_format", "png")
        assert pictures.size(body)
    else:
        assert set(json_of(body)) == {"id", "name", "errors"}
    assert (world.stability.account(STABILITY).credits == 1_000) is (status != 200)


def json_of(body: bytes) -> dict[str, Any]:
    content = json.loads(body)
    assert isinstance(content, dict)
    return content


@pytest.mark.parametrize(
    ("headers", "status", "name"),
    [
        ({}, 401, "unauthorized"),
        ({"Authorization": "Bearer sk-unknown"}, 401, "unauthorized"),
        ({"Authorization": f"Basic {STABILITY}"}, 401, "unauthorized"),
        ({"Authorization": f"Bearer {OPENAI}"}, 401, "unauthorized"),
        ({"Authorization": f"Bearer {STABILITY}"}, 400, "bad_request"),
    ],
)
async def test_stability_wants_a_key_and_a_form(world: World, headers: dict[str, str], status: int, name: str) -> None:
    async with world.session.post(world.url + CORE, json={"prompt": "a"}, headers=headers) as response:
        assert (response.status, (await response.json())["name"]) == (status, name)


async def test_stability_answers_in_json_when_asked(world: World) -> None:
    status, headers, body = await world.form(CORE, {"prompt": "a", "seed": "5"}, accept="application/json")
    content = json_of(body)
    assert (status, content["finish_reason"], content["seed"]) == (200, "SUCCESS", 5)
    assert "finish-reason" not in headers
    assert pictures.size(base64.b64decode(content["image"]))
    assert (await world.form(CORE, {"prompt": "a"}, accept="text/html"))[0] == 400


async def test_stability_pictures_have_their_real_sizes(world: World) -> None:
    world.stability.draft = False
    core = pictures.size((await world.form(CORE, {"prompt": "a"}))[2])
    large = pictures.size((await world.form(SD3, {"prompt": "a", "aspect_ratio": "16:9"}))[2])
    fast = pictures.size((await world.form(FAST, {"image": PNG}))[2])
    careful = pictures.size((await world.form(CAREFUL, {"image": PNG, "prompt": "a"}))[2])
    assert 1.4e6 < core[0] * core[1] < 1.6e6
    assert large == (1344, 768)
    assert fast == (1280, 800)
    assert 3.9e6 < careful[0] * careful[1] < 4.1e6


async def test_the_balance_falls_per_picture_and_never_below_zero(world: World) -> None:
    world.stability.add_key("sk-small", credits=10)
    answers = await asyncio.gather(*(world.form(CORE, {"prompt": f"cat {n}"}, key="sk-small") for n in range(8)))
    assert sorted(status for status, _, _ in answers) == [200] * 3 + [402] * 5
    assert await world.get("/stability/v1/user/balance", "sk-small") == (200, {"credits": 1.0})
    account = world.stability.account("sk-small")
    assert (account.calls, account.pictures, account.credits) == (8, 3, Decimal(1))


async def test_words_are_moderated(world: World) -> None:
    status, _, body = await world.form(CORE, {"prompt": "a Forbidden thing"})
    assert (status, json_of(body)["name"]) == (403, "content_moderation")
    assert world.stability.account(STABILITY).credits == 1_000
    status, headers, body = await world.form(CORE, {"prompt": "a filtered thing"})
    assert (status, headers["finish-reason"]) == (200, "CONTENT_FILTERED")
    assert world.stability.account(STABILITY).credits == 997
    for word, stage in (("forbidden", "input"), ("filtered", "output")):
        status, content = await world.json("/openai/v1/images/generations", {"model": "gpt-image-2", "prompt": f"a {word} thing"})
        assert (status, content["error"]["code"]) == (400, "moderation_blocked")
        assert content["error"]["moderation_details"]["moderation_stage"] == stage


async def test_stability_free_calls(world: World) -> None:
    assert (await world.get("/stability/v1/user/balance", "sk-demo-b")) == (200, {"credits": 1_000.0})
    status, content = await world.get("/stability/v1/user/balance", "sk-wrong")
    assert (status, set(content)) == (401, {"id", "name", "message"})
    status, content = await world.get("/stability/v1/user/account", STABILITY)
    assert (status, content["organizations"][0]["role"]) == (200, "OWNER")
    status, content = await world.get("/stability/v1/engines/list", STABILITY)
    assert (status, set(content[0])) == (200, {"id", "name", "description", "type"})
    assert world.stability.calls == 0


async def test_stability_allows_150_calls_in_10_seconds(world: World) -> None:
    fields: dict[str, str | bytes] = {"prompt": "a"}
    statuses = [status for status, _, _ in await asyncio.gather(*(world.form(CORE, fields) for _ in range(155)))]
    assert sorted(statuses) == [200] * 150 + [429] * 5
    assert (await world.form(CORE, fields, key="sk-demo-other"))[0] == 200
    world.stability.rate_limit = None
    assert (await world.form(CORE, fields))[0] == 200


OK = {"model": "gpt-image-2", "prompt": "a"}


@pytest.mark.parametrize(
    ("change", "status", "code", "param"),
    [
        ({}, 200, None, None),
        ({"n": 2, "size": "1536x864", "quality": "high", "output_format": "webp", "output_compression": 50}, 200, None, None),
        ({"model": "gpt-image-2.6-flare", "quality": "max", "moderation": "low", "safety_identifier": "u"}, 200, None, None),
        ({"seed": 1}, 400, "unknown_parameter", "seed"),
        ({"response_format": "url"}, 400, "unknown_parameter", "response_format"),
        ({"prompt": "x" * (MAX_PROMPT + 1)}, 400, "invalid_value", "prompt"),
        ({"prompt": ""}, 400, "invalid_value", "prompt"),
        ({"prompt": None}, 400, "missing_required_parameter", "prompt"),
        ({"n": "1"}, 400, "invalid_value", "n"),
        ({"quality": "max"}, 400, "invalid_value", "quality"),
        ({"quality": "hd"}, 400, "invalid_value", "quality"),
        ({"size": "1000x1000"}, 400, "invalid_value", "size"),
        ({"size": "1024x4096"}, 400, "invalid_value", "size"),
        ({"size": "512x512"}, 400, "invalid_value", "size"),
        ({"size": "3840x2160"}, 200, None, None),
        ({"size": "3856x2160"}, 400, "invalid_value", "size"),
        ({"model": "gpt-image-1.5", "size": "1536x864"}, 400, "invalid_value", "size"),
        ({"model": "gpt-image-1.5"}, 200, None, None),
        ({"model": "dall-e-3"}, 404, "model_not_found", "model"),
        ({"model": "omni-moderation-latest"}, 404, "model_not_found", "model"),
        ({"background": "transparent", "output_format": "jpeg"}, 400, "invalid_value", "background"),
        ({"output_compression": 50}, 400, "invalid_value", "output_compression"),
        ({"stream": True}, 400, "invalid_value", "stream"),
        ({"safety_identifier": "u" * 65}, 400, "invalid_value", "safety_identifier"),
    ],
)
async def test_openai_holds_requests_against_the_limits(
    world: World, change: dict[str, Any], status: int, code: str | None, param: str | None
) -> None:
    got, content = await world.json("/openai/v1/images/generations", OK | change)
    assert got == status
    if status == 200:
        assert len(content["data"]) == change.get("n", 1)
        assert pictures.size(base64.b64decode(content["data"][0]["b64_json"]))
        usage = content["usage"]
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    else:
        assert set(content["error"]) == {"message", "type", "param", "code"}
        assert (content["error"]["code"], content["error"]["param"]) == (code, param)


async def test_openai_moderates_texts_and_pictures(world: World) -> None:
    def data(prompt: str) -> dict[str, Any]:
        url = "data:image/png;base64," + base64.b64encode(pictures.draw(prompt, 1, 128, 96)).decode()
        return {"type": "image_url", "image_url": {"url": url}}

    for asked, expected in (
        ("a violent fox", {"violence": ["text"]}),
        ([data("a fox")], {}),
        ([{"type": "text", "text": "a hateful fox"}, data("a bare fox")], {"hate": ["text"], "sexual": ["image"]}),
    ):
        status, content = await world.json("/openai/v1/moderations", {"model": "omni-moderation-latest", "input": asked})
        (found,) = content["results"]
        hits = {name: found["category_applied_input_types"][name] for name, hit in found["categories"].items() if hit}
        assert (status, hits, found["flagged"]) == (200, expected, bool(expected))
    for wrong in (None, [{"type": "image_url"}], [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]):
        status, _ = await world.json("/openai/v1/moderations", {"model": "omni-moderation-latest", "input": wrong})
        assert status == 400


async def test_openai_prices_are_the_official_examples(world: World) -> None:
    for quality, size, dollars in (("low", "1024x1024", 0.006), ("medium", "1024x1024", 0.053), ("high", "1024x1024", 0.211)):
        account = world.openai.add_key("sk-proj-a")
        status, _ = await world.json("/openai/v1/images/generations", OK | {"quality": quality, "size": size}, key="sk-proj-a")
        assert status == 200
        assert abs(float(1_000 - account.credits) / 100 - dollars) < 0.0005


async def test_openai_edits(world: World) -> None:
    path = "/openai/v1/images/edits"
    status, _, body = await world.form(path, {**OK, "image": PNG, "n": "2", "size": "1024x1024"}, key=OPENAI)
    assert (status, len(json_of(body)["data"])) == (200, 2)
    assert json_of(body)["usage"]["input_tokens_details"]["image_tokens"] > 0
    wrong: tuple[tuple[dict[str, str | bytes], str], ...] = (
        ({**OK}, "image"),
        ({**OK, "image": b"text"}, "image"),
        ({**OK, "image": PNG, "strength": "1"}, "strength"),
    )
    for fields, param in wrong:
        status, _, body = await world.form(path, fields, key=OPENAI)
        assert (status, json_of(body)["error"]["param"]) == (400, param)
    assert (await world.json(path, OK))[0] == 400


async def test_openai_models_and_errors(world: World) -> None:
    status, content = await world.get("/openai/v1/models", OPENAI)
    dates = {model["id"]: model["shutdown_date"] for model in content["data"]}
    assert (status, dates["gpt-image-2.6-flare"], dates["gpt-image-1.5"]) == (200, None, "2026-12-01")
    assert (await world.get("/openai/v1/models/gpt-image-2", OPENAI))[1]["id"] == "gpt-image-2"
    assert (await world.get("/openai/v1/models/nope", OPENAI))[0] == 404
    assert (await world.get("/openai/v1/models", STABILITY))[0] == 401
    assert (await world.get("/openai/v1/nothing", OPENAI))[0] == 404
    headers = {"Authorization": f"Bearer {OPENAI}"}
    for body, kind in ((b"{", "application/json"), (b"[]", "application/json"), (b"{}", "text/plain")):
        async with world.session.post(
            world.url + "/openai/v1/images/generations", data=body, headers=headers | {"Content-Type": kind}
        ) as response:
            assert response.status == 400
    world.openai.add_key("sk-proj-new", verified=False)
    status, content = await world.json("/openai/v1/images/generations", OK, key="sk-proj-new")
    assert (status, content["error"]["code"]) == (403, None)
    assert "must be verified" in content["error"]["message"]
    world.openai.add_key("sk-proj-poor", credits=1)
    status, content = await world.json("/openai/v1/images/generations", OK, key="sk-proj-poor")
    assert (status, content["error"]["code"]) == (429, "insufficient_quota")


async def test_a_held_call_is_charged_though_its_caller_is_gone(world: World) -> None:
    world.stability.hold()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(world.form(CORE, {"prompt": "a"}))
        await world.stability.arrived(1, key=STABILITY)
        task.cancel()
    account = world.stability.account(STABILITY)
    assert account.calls == 1
    assert account.credits == 1_000
    world.stability.release()
    assert (await world.form(CORE, {"prompt": "b"}))[0] == 200
    await world.stability.painted(2)
    assert account.credits == 994


async def test_latency(world: World) -> None:
    with pytest.raises(TimeoutError):
        await world.stability.arrived(within=0.05)
    world.stability.add_key("sk-slow", latency=0.3)
    began = time.monotonic()
    await world.form(CORE, {"prompt": "a"}, key="sk-slow")
    assert time.monotonic() - began >= 0.3


async def test_a_share_of_the_calls_fails(world: World) -> None:
    world.stability.faults.set(fail_rate=0.3, fail_kind="server")
    answers = await asyncio.gather(*(world.form(CORE, {"prompt": "a"}) for _ in range(100)))
    failed = sum(status == 500 for status, _, _ in answers)
    assert 15 <= failed <= 45
    assert world.stability.account(STABILITY).credits == 1_000 - 3 * (100 - failed)


@pytest.mark.parametrize("vendor", ["stability", "openai"])
async def test_the_switches_by_http(world: World, vendor: str) -> None:
    api: ImageApi = world.stability if vendor == "stability" else world.openai
    key, path = (STABILITY, CORE) if vendor == "stability" else (OPENAI, "/openai/v1/images/generations")
    hands = f"/hands/{vendor}"
    status, shown = await world.json(
        f"{hands}/faults", {"latency": 0.01, "fail_rate": 1, "fail_kind": "rate_limited", "retry_after": 9, "draft": True}
    )
    assert (status, shown["fail_kind"], shown["hold"]) == (200, "rate_limited", False)
    data: dict[str, Any] = {"data": aiohttp.FormData({"prompt": "a"}, default_to_multipart=True)} if vendor == "stability" else {"json": OK}
    async with world.session.post(world.url + path, headers={"Authorization": f"Bearer {key}"}, **data) as response:
        assert (response.status, response.headers["Retry-After"]) == (429, "9")
    assert (await world.json(f"{hands}/faults", {"key": key, "fail_kind": "hang"}))[1]["keys"][key]["fail_kind"] == "hang"
    assert (await world.json(f"{hands}/faults", {"key": key}))[1]["keys"] == {}
    assert (await world.json(f"{hands}/faults", {"hold": True}))[1]["hold"] is True
    assert (await world.json(f"{hands}/faults", {"hold": False}))[1]["hold"] is False
    assert (await world.get(f"{hands}/faults"))[1]["latency"] == 0.01
    new = key.replace("demo-a", "new")
    assert (await world.json(f"{hands}/keys", {"key": new, "credits": 2.5, "latency": 0.02}))[0] == 200
    assert {"key": new, "credits": 2.5, "calls": 0, "pictures": 0} in (await world.get(f"{hands}/keys"))[1]
    assert api.account(new).credits == Decimal("2.5")
    odd: tuple[object, ...] = ({"fail_kind": "odd"}, {"latency": -1}, {"latency": "1"}, {"fail_rate": 2}, {"odd": 1}, {"key": "x"}, [])
    for wrong in odd:
        assert (await world.json(f"{hands}/faults", wrong))[0] == 400
    for bad in ({}, {"key": "pk-1"}, {"key": new, "credits": "much"}, {"key": new, "odd": 1}):
        assert (await world.json(f"{hands}/keys", bad))[0] == 400


def test_the_shapes_of_keys() -> None:
    stability, openai = StabilitySandbox(public_url="").may_be_key, OpenAISandbox(public_url="").may_be_key
    assert [stability(key) for key in ("sk-a", "sk-proj-a", "sk-", "sk-a b", "a")] == [True, False, False, False, False]
    assert [openai(key) for key in ("sk-a", "sk-proj-a", "sk-proj-", "sk-proj-a b", "a")] == [False, True, False, False, False]
