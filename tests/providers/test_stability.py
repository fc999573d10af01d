"""Stability: every outcome, by real sockets, against canned answers and against the stand-in."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from decimal import Decimal
from io import BytesIO
from typing import Any

import pytest
from aiohttp import web
from PIL import Image

from core.providers.base import (
    Delivered,
    FailedCost,
    FailedFree,
    Fault,
    ImageRequest,
    Operation,
    Outcome,
    Probe,
    Provider,
    Rejected,
    Unknown,
)
from core.providers.http import Client, make_client
from core.providers.stability import MAX_UPLOAD, MODELS, StabilityProvider
from core.vault.secret import Secret
from sandbox.stability import StabilitySandbox
from tests.providers.conftest import listening
from tests.providers.test_http import encoded, served

KEY = "sk-demo-miner-1"
CAT = ImageRequest(Operation.GENERATE, "core", "a cat", end_user="u-1")
PNG = encoded("PNG")
MADE = {"finish-reason": "SUCCESS", "seed": "7", "x-request-id": "req-1"}


@pytest.fixture
async def sandbox() -> AsyncIterator[StabilitySandbox]:
    """The stand-in, listening; `public_url` is where."""
    async with listening(StabilitySandbox(public_url="", draft=True)) as made:
        yield made


@pytest.fixture
def provider(sandbox: StabilitySandbox, client: Client) -> StabilityProvider:
    return StabilityProvider(f"{sandbox.public_url}/stability/", client)


async def answered(
    client: Client,
    status: int,
    body: bytes | Mapping[str, Any] = b"",
    headers: Mapping[str, str] | None = None,
    request: ImageRequest = CAT,
) -> Outcome:
    """The outcome when a server gives this one answer; asserts that it was asked once."""
    asked = 0

    async def handler(_request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        return web.Response(status=status, body=body if isinstance(body, bytes) else json.dumps(body).encode(), headers=headers)

    async with served(handler) as url:
        outcome = await StabilityProvider(url, client).generate(request, Secret(KEY), timeout=5.0)
    assert asked == 1
    return outcome


def error(name: str) -> dict[str, Any]:
    return {"id": "1", "name": name, "errors": ["something about credits"]}


COST = 30_000


@pytest.mark.parametrize(
    ("status", "body", "headers", "outcome"),
    [
        (200, PNG, MADE | {"finish-reason": "CONTENT_FILTERED"}, Rejected(charged=True, cost=COST, reference="req-1")),
        (200, PNG, {"x-request-id": "req-1"}, FailedCost(Fault.BAD_ANSWER, COST, "req-1")),
        (200, PNG, MADE | {"finish-reason": "ERROR"}, FailedCost(Fault.BAD_ANSWER, COST, "req-1")),
        (200, b"", MADE, FailedCost(Fault.BAD_ANSWER, COST, "req-1")),
        (200, PNG[:-20], MADE, FailedCost(Fault.BAD_ANSWER, COST, "req-1")),
        (200, b"<html>", MADE, FailedCost(Fault.BAD_ANSWER, COST, "req-1")),
        (200, encoded("PNG", 1, 1), MADE, FailedCost(Fault.BAD_ANSWER, COST, "req-1")),
        (202, {"id": "1"}, {}, FailedCost(Fault.BAD_ANSWER, COST)),
        (204, b"", {}, FailedCost(Fault.BAD_ANSWER, COST)),
        (302, b"", {"Location": "/"}, FailedFree(Fault.BAD_ANSWER)),
        (400, error("bad_request"), {"x-request-id": "req-1"}, FailedFree(Fault.BAD_REQUEST, None, "req-1")),
        (400, b"\xff\x00", {}, FailedFree(Fault.BAD_REQUEST)),
        (400, b"[" * 100_000, {}, FailedFree(Fault.BAD_REQUEST)),
        (400, b"x" * 1_000_000, {}, FailedFree(Fault.BAD_REQUEST)),
        (401, error("unauthorized"), {}, FailedFree(Fault.BAD_KEY)),
        (401, {"message": "Incorrect API key provided"}, {}, FailedFree(Fault.BAD_KEY)),
        (402, error("payment_required"), {}, FailedFree(Fault.EMPTY)),
        (402, b"", {}, FailedFree(Fault.EMPTY)),
        (403, error("payment_required"), {}, FailedFree(Fault.EMPTY)),
        (403, error("content_moderation"), {"x-request-id": "req-1"}, Rejected(reference="req-1")),
        (403, error("permission_denied"), {}, FailedFree(Fault.BAD_KEY)),
        (403, b"<html>blocked</html>", {}, FailedFree(Fault.BAD_KEY)),
        (404, error("not_found"), {}, FailedFree(Fault.MODEL_MISSING)),
        (410, b"", {}, FailedFree(Fault.MODEL_MISSING)),
        (413, error("payload_too_large"), {}, FailedFree(Fault.BAD_REQUEST)),
        (422, error("invalid_language"), {}, FailedFree(Fault.BAD_REQUEST)),
        (429, error("rate_limit_exceeded"), {}, FailedFree(Fault.RATE_LIMITED)),
        (429, error("rate_limit_exceeded"), {"Retry-After": "9"}, FailedFree(Fault.RATE_LIMITED, 9.0)),
        (
            429,
            b"",
            {"Retry-After": "Wed, 25 Nov 2026 00:01:00 GMT", "Date": "Wed, 25 Nov 2026 00:00:00 GMT"},
            FailedFree(Fault.RATE_LIMITED, 60.0),
        ),
        (429, error("payment_required"), {}, FailedFree(Fault.EMPTY)),
        (500, error("internal_error"), {}, FailedFree(Fault.SERVER)),
        (502, b"", {}, FailedFree(Fault.SERVER)),
        (503, b"", {"Retry-After": "30"}, FailedFree(Fault.SERVER, 30.0)),
        (504, b"", {}, Unknown(Fault.SERVER)),
        (524, b"", {}, Unknown(Fault.SERVER)),
        (500, error("content_moderation"), {}, FailedFree(Fault.SERVER)),
        (403, error("content_moderation"), {"x-request-id": "a\tb <script>"}, Rejected()),
    ],
)
async def test_what_an_answer_means(client: Client, status: int, body: Any, headers: dict[str, str], outcome: Outcome) -> None:
    assert await answered(client, status, body, headers) == outcome


async def test_a_picture_is_delivered(client: Client) -> None:
    outcome = await answered(client, 200, PNG, MADE | {"Content-Type": "text/plain"})
    assert isinstance(outcome, Delivered)
    assert (outcome.seed, outcome.cost, outcome.reference) == (7, COST, "req-1")
    assert (outcome.picture.data, outcome.picture.media_type, outcome.picture.width) == (PNG, "image/png", 64)


async def sent(client: Client, request: ImageRequest) -> dict[str, Any]:
    """The path, the fields and the headers that a request turns into."""
    got: dict[str, Any] = {}

    async def handler(http: web.Request) -> web.StreamResponse:
        form = await http.post()
        got.update({name: value.file.read() if isinstance(value, web.FileField) else value for name, value in form.items()})
        got.update(path=http.path, accept=http.headers["Accept"], user=http.headers.get("stability-client-user-id"))
        return web.Response(body=PNG, headers=MADE)

    async with served(handler) as url:
        assert isinstance(await StabilityProvider(url, client).generate(request, Secret(KEY), timeout=5.0), Delivered)
    return got


async def test_what_is_sent_to_generate(client: Client) -> None:
    full = replace(CAT, negative_prompt="dog", aspect_ratio="16:9", seed=5, style="anime", quality="high", strength=3, image=PNG)
    common = {"prompt": "a cat", "seed": "5", "aspect_ratio": "16:9", "output_format": "png", "accept": "image/*", "user": "u-1"}
    path = "/v2beta/stable-image/generate/"
    assert await sent(client, full) == common | {"path": path + "core", "negative_prompt": "dog", "style_preset": "anime"}
    assert await sent(client, replace(full, model="ultra")) == common | {"path": path + "ultra", "negative_prompt": "dog"}
    sd3 = common | {"path": path + "sd3", "mode": "text-to-image"}
    large = await sent(client, replace(full, model="sd3.5-large"))
    turbo = await sent(client, replace(full, model="sd3.5-large-turbo"))
    assert large == sd3 | {"model": "sd3.5-large", "negative_prompt": "dog"}
    assert turbo == sd3 | {"model": "sd3.5-large-turbo"}


async def test_what_is_sent_to_edit_and_upscale(client: Client) -> None:
    wide = encoded("JPEG", 160, 90)
    edit = ImageRequest(Operation.EDIT, "sd3.5-medium", "make it \ud800 blue", image=wide, strength=35, end_user="bad\nuser")
    got = await sent(client, edit)
    assert (got["mode"], got["model"], got["strength"], got["prompt"]) == ("image-to-image", "sd3.5-medium", "0.35", "make it ? blue")
    assert got["image"] == wide
    assert got["user"] is None
    assert "aspect_ratio" not in got
    ultra = await sent(client, replace(edit, model="ultra", strength=None))
    assert (ultra["aspect_ratio"], ultra["strength"]) == ("16:9", "0.70")
    fast = await sent(client, ImageRequest(Operation.UPSCALE, "upscale-fast", "", image=wide))
    assert (fast["path"], fast["output_format"]) == ("/v2beta/stable-image/upscale/fast", "jpeg")
    assert "prompt" not in fast
    careful = await sent(client, ImageRequest(Operation.UPSCALE, "upscale-conservative", "a cat", image=wide))
    assert (careful["path"], careful["prompt"]) == ("/v2beta/stable-image/upscale/conservative", "a cat")


async def test_a_picture_too_large_for_an_endpoint_is_made_smaller(client: Client) -> None:
    got = await sent(client, ImageRequest(Operation.UPSCALE, "upscale-fast", "", image=encoded("PNG", 1536, 1024)))
    with Image.open(BytesIO(got["image"])) as picture:
        assert 1_000_000 < picture.width * picture.height <= 1_048_576
        assert abs(picture.width / picture.height - 1.5) < 0.01
    noise = BytesIO()
    Image.effect_noise((2600, 2600), 80).convert("RGB").save(noise, "PNG")
    assert len(noise.getvalue()) > MAX_UPLOAD
    got = await sent(client, ImageRequest(Operation.EDIT, "ultra", "a cat", image=noise.getvalue()))
    assert len(got["image"]) <= MAX_UPLOAD


@pytest.mark.parametrize(
    "request_",
    [
        replace(CAT, model="dall-e-3"),
        replace(CAT, prompt="  "),
        replace(CAT, prompt="x" * 10_001),
        replace(CAT, negative_prompt="x" * 10_001),
        replace(CAT, aspect_ratio="4:3"),
        replace(CAT, seed=-1),
        replace(CAT, seed=4_294_967_295),
        replace(CAT, operation=Operation.EDIT, image=PNG),
        replace(CAT, operation=Operation.UPSCALE, image=PNG),
        replace(CAT, operation=Operation.EDIT, model="ultra"),
        replace(CAT, operation=Operation.EDIT, model="ultra", image=b"no picture"),
        replace(CAT, operation=Operation.EDIT, model="ultra", image=encoded("PNG", 63, 200)),
        replace(CAT, operation=Operation.EDIT, model="ultra", image=PNG, strength=101),
        replace(CAT, operation=Operation.UPSCALE, model="upscale-fast"),
        replace(CAT, operation=Operation.UPSCALE, model="upscale-conservative", prompt="", image=PNG),
        replace(CAT, model="upscale-fast"),
    ],
)
async def test_what_the_model_cannot_do_is_not_sent(sandbox: StabilitySandbox, provider: StabilityProvider, request_: ImageRequest) -> None:
    assert await provider.generate(request_, Secret(KEY), timeout=5.0) == FailedFree(Fault.BAD_REQUEST)
    assert sandbox.calls == 0


@pytest.mark.parametrize("model", MODELS)
async def test_the_stand_in_takes_what_every_model_is_sent(sandbox: StabilitySandbox, provider: StabilityProvider, model: str) -> None:
    account = sandbox.add_key(KEY, credits=100)
    for operation in MODELS[model].operations:
        request = replace(
            CAT, operation=operation, model=model, negative_prompt="dog", style="anime", strength=50, image=encoded("PNG", 320, 200)
        )
        outcome = await provider.generate(request, Secret(KEY), timeout=10.0)
        assert isinstance(outcome, Delivered)
        assert (100 - account.credits) * 10_000 == outcome.cost
        account.credits = Decimal(100)


@pytest.mark.parametrize(
    ("kind", "outcome", "charged"),
    [
        ("server", FailedFree(Fault.SERVER), False),
        ("unavailable", FailedFree(Fault.SERVER, 3.0), False),
        ("rate_limited", FailedFree(Fault.RATE_LIMITED, 3.0), False),
        ("empty", FailedFree(Fault.EMPTY), False),
        ("unauthorized", FailedFree(Fault.BAD_KEY), False),
        ("moderated", Rejected(), False),
        ("model_missing", FailedFree(Fault.MODEL_MISSING), False),
        ("filtered", Rejected(charged=True, cost=COST), True),
        ("cut", FailedCost(Fault.BAD_ANSWER, COST), True),
        ("garbage", FailedCost(Fault.BAD_ANSWER, COST), True),
        ("hang", Unknown(Fault.TIMEOUT), False),
    ],
)
async def test_trouble_makes_one_call_and_the_right_outcome(
    sandbox: StabilitySandbox, provider: StabilityProvider, kind: str, outcome: Outcome, charged: bool
) -> None:
    account = sandbox.add_key(KEY, credits=10, fail_rate=1.0, fail_kind=kind, retry_after=3)
    got = await provider.generate(CAT, Secret(KEY), timeout=0.5 if kind == "hang" else 5.0)
    assert replace(got, reference="") == outcome
    assert account.calls == 1
    assert account.credits == (7 if charged else 10)


async def test_words_are_moderated(provider: StabilityProvider) -> None:
    forbidden = await provider.generate(replace(CAT, prompt="a forbidden cat"), Secret(KEY), timeout=5.0)
    filtered = await provider.generate(replace(CAT, prompt="a filtered cat"), Secret(KEY), timeout=5.0)
    assert replace(forbidden, reference="") == Rejected()
    assert replace(filtered, reference="") == Rejected(charged=True, cost=COST)


async def test_a_key_runs_empty(sandbox: StabilitySandbox, provider: StabilityProvider) -> None:
    sandbox.add_key(KEY, credits=4)
    assert await provider.probe(Secret(KEY)) == Probe(balance=40_000)
    assert isinstance(await provider.generate(CAT, Secret(KEY), timeout=5.0), Delivered)
    assert replace(await provider.generate(CAT, Secret(KEY), timeout=5.0), reference="") == FailedFree(Fault.EMPTY)
    assert await provider.probe(Secret(KEY)) == Probe(Fault.EMPTY, balance=10_000)


@pytest.mark.parametrize(
    ("status", "body", "headers", "probe"),
    [
        (200, {"credits": 12.34}, {}, Probe(balance=123_400)),
        (200, {"credits": 7}, {}, Probe(balance=70_000)),
        (200, {"credits": -3}, {}, Probe(Fault.EMPTY, balance=0)),
        (200, b'{"credits": NaN}', {}, Probe(Fault.BAD_ANSWER)),
        (200, b'{"credits": 1e999}', {}, Probe(Fault.BAD_ANSWER)),
        (200, {"credits": True}, {}, Probe(Fault.BAD_ANSWER)),
        (200, {"credits": "12"}, {}, Probe(Fault.BAD_ANSWER)),
        (200, b"[]", {}, Probe(Fault.BAD_ANSWER)),
        (200, b"x" * 100_000, {}, Probe(Fault.BAD_ANSWER)),
        (401, {"name": "unauthorized"}, {}, Probe(Fault.BAD_KEY)),
        (403, b"", {}, Probe(Fault.BAD_KEY)),
        (429, b"", {"Retry-After": "60"}, Probe(Fault.RATE_LIMITED, retry_after=60.0)),
        (500, b"", {}, Probe(Fault.SERVER)),
    ],
)
async def test_what_a_probe_says(client: Client, status: int, body: Any, headers: dict[str, str], probe: Probe) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.path == "/v1/user/balance"
        return web.Response(status=status, body=body if isinstance(body, bytes) else json.dumps(body).encode(), headers=headers)

    async with served(handler) as url:
        assert await StabilityProvider(url, client).probe(Secret(KEY)) == probe


async def test_nobody_there(client: Client, unused_tcp_port: int) -> None:
    provider = StabilityProvider(f"http://127.0.0.1:{unused_tcp_port}", client)
    assert await provider.generate(CAT, Secret(KEY), timeout=5.0) == FailedFree(Fault.NETWORK)
    assert await provider.probe(Secret(KEY)) == Probe(Fault.NETWORK)


async def test_a_key_that_fits_no_header(sandbox: StabilitySandbox, provider: StabilityProvider) -> None:
    assert await provider.generate(CAT, Secret(KEY + "\nX: 1"), timeout=5.0) == FailedFree(Fault.BAD_KEY)
    assert await provider.probe(Secret("sk-密钥")) == Probe(Fault.BAD_KEY)
    assert sandbox.calls == 0


async def test_a_cancelled_call_is_cancelled(sandbox: StabilitySandbox, provider: StabilityProvider) -> None:
    sandbox.hold()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(provider.generate(CAT, Secret(KEY), timeout=30.0))
        await sandbox.arrived(key=KEY)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert sandbox.account(KEY).calls == 1


@pytest.mark.parametrize(
    ("text", "like"),
    [
        ("sk-" + "a1B2" * 12, True),
        (KEY, True),
        ("sk-proj-abcdefgh", False),
        ("sk-ant-api03-abcdefgh", False),
        ("sk-or-v1-abcdefgh", False),
        ("sk-" + "a" * 20 + "T3BlbkFJ" + "a" * 20, False),
        ("sk-learn", False),
        ("my key is sk-aaaaaaaa", False),
        (KEY + "\n", False),
        ("", False),
    ],
)
def test_what_looks_like_a_key(text: str, like: bool) -> None:
    provider: Provider = StabilityProvider("http://127.0.0.1", make_client())
    assert provider.looks_like_key(text) is like


async def test_closing_twice(client: Client) -> None:
    provider = StabilityProvider("http://127.0.0.1", client)
    await provider.close()
    await provider.close()
    assert client.is_closed
