"""OpenAI: every outcome, by real sockets, against canned answers and against the stand-in."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from core.providers.base import (
    MAX_PICTURE_BYTES,
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
from core.providers.openai import MODELS, SIZES, OpenAIProvider
from core.vault.secret import Secret
from sandbox.openai import OpenAISandbox
from tests.providers.conftest import listening
from tests.providers.test_http import encoded, served

KEY = "sk-proj-demo-miner-1"
CAT = ImageRequest(Operation.GENERATE, "gpt-image-2", "a cat", end_user="u-1")
PNG = encoded("PNG")
USAGE = {"input_tokens": 60, "input_tokens_details": {"text_tokens": 10, "image_tokens": 50}, "output_tokens": 200, "total_tokens": 260}
COST = 10 * 5 + 50 * 8 + 200 * 30
ID = {"x-request-id": "req-1"}


@pytest.fixture
async def sandbox() -> AsyncIterator[OpenAISandbox]:
    """The stand-in, listening; `public_url` is where."""
    async with listening(OpenAISandbox(public_url="", draft=True)) as made:
        yield made


@pytest.fixture
def provider(sandbox: OpenAISandbox, client: Client) -> OpenAIProvider:
    return OpenAIProvider(f"{sandbox.public_url}/openai", client)


async def answered(client: Client, status: int, body: Any, headers: Mapping[str, str] | None = None) -> Outcome:
    """The outcome when a server gives this one answer; asserts that it was asked once."""
    asked = 0

    async def handler(_request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        return web.Response(status=status, body=body if isinstance(body, bytes) else json.dumps(body).encode(), headers=headers)

    async with served(handler) as url:
        outcome = await OpenAIProvider(url, client).generate(CAT, Secret(KEY), timeout=20.0)
    assert asked == 1
    return outcome


def made(data: bytes | str = PNG, usage: object = USAGE) -> dict[str, Any]:
    return {"created": 1, "data": [{"b64_json": data if isinstance(data, str) else base64.b64encode(data).decode()}], "usage": usage}


def error(
    code: str | None, kind: str = "invalid_request_error", message: str = "no", param: str | None = None, **more: Any
) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code, **more}}


VERIFY = "Your organization must be verified to use the model `gpt-image-2`. Please go to the settings."


@pytest.mark.parametrize(
    ("status", "body", "headers", "outcome"),
    [
        (200, b"", ID, FailedCost(Fault.BAD_ANSWER, None, "req-1")),
        (200, b"{", {}, FailedCost(Fault.BAD_ANSWER)),
        (200, b"[1]", {}, FailedCost(Fault.BAD_ANSWER)),
        (200, {"created": 1, "data": [], "usage": USAGE}, {}, FailedCost(Fault.BAD_ANSWER, COST)),
        (200, {"created": 1, "data": [{"url": "http://127.0.0.1/a.png"}]}, {}, FailedCost(Fault.BAD_ANSWER)),
        (200, made(""), {}, FailedCost(Fault.BAD_ANSWER, COST)),
        (200, made("*not base64*"), {}, FailedCost(Fault.BAD_ANSWER, COST)),
        (200, made("кот"), {}, FailedCost(Fault.BAD_ANSWER, COST)),
        (200, made(PNG[:-20]), {}, FailedCost(Fault.BAD_ANSWER, COST)),
        (200, made(encoded("GIF")), {}, FailedCost(Fault.BAD_ANSWER, COST)),
        (200, made(encoded("PNG", 8, 8)), {}, FailedCost(Fault.BAD_ANSWER, COST)),
        (200, b"{" + b" " * (MAX_PICTURE_BYTES * 4 // 3 + 100_000), {}, FailedCost(Fault.BAD_ANSWER)),
        (307, b"", {"Location": "/"}, FailedFree(Fault.BAD_ANSWER)),
        (400, error("invalid_value"), ID, FailedFree(Fault.BAD_REQUEST, None, "req-1")),
        (400, error("invalid_value", param="model"), {}, FailedFree(Fault.MODEL_MISSING)),
        (400, error("unknown_parameter", param="seed"), {}, FailedFree(Fault.BAD_REQUEST)),
        (400, error("moderation_blocked", "image_generation_user_error"), ID, Rejected(reference="req-1")),
        (400, error("moderation_blocked", moderation_details={"moderation_stage": "input"}), {}, Rejected()),
        (400, error("moderation_blocked", moderation_details={"moderation_stage": "output"}), {}, Rejected(charged=True)),
        (400, error("moderation_blocked", moderation_details="output"), {}, Rejected()),
        (400, error("content_policy_violation"), {}, Rejected()),
        (400, error(None, message=VERIFY), {}, FailedFree(Fault.UNVERIFIED)),
        (403, error(None, message=VERIFY), {}, FailedFree(Fault.UNVERIFIED)),
        (403, error("unsupported_country_region_territory"), {}, FailedFree(Fault.BAD_KEY)),
        (401, error("invalid_api_key"), {}, FailedFree(Fault.BAD_KEY)),
        (401, b"<html>", {}, FailedFree(Fault.BAD_KEY)),
        (404, error("model_not_found"), {}, FailedFree(Fault.MODEL_MISSING)),
        (400, error("model_not_found"), {}, FailedFree(Fault.MODEL_MISSING)),
        (404, error(None), {}, FailedFree(Fault.BAD_REQUEST)),
        (413, error(None), {}, FailedFree(Fault.BAD_REQUEST)),
        (422, error(None), {}, FailedFree(Fault.BAD_REQUEST)),
        (402, error(None), {}, FailedFree(Fault.EMPTY)),
        (429, error("rate_limit_exceeded", "requests"), {"retry-after": "12"}, FailedFree(Fault.RATE_LIMITED, 12.0)),
        (429, error("slow_down"), {}, FailedFree(Fault.RATE_LIMITED)),
        (429, b"", {}, FailedFree(Fault.RATE_LIMITED)),
        (
            429,
            error("rate_limit_exceeded"),
            {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m12.5s", "x-ratelimit-reset-tokens": "9h"},
            FailedFree(Fault.RATE_LIMITED, 72.5),
        ),
        (
            429,
            error("rate_limit_exceeded"),
            {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "soon"},
            FailedFree(Fault.RATE_LIMITED),
        ),
        *(
            (429, error(code, "insufficient_quota"), {"retry-after": "5"}, FailedFree(Fault.EMPTY, 5.0))
            for code in (
                "insufficient_quota",
                "credit_balance_exhausted",
                "billing_hard_limit_reached",
                "organization_spend_limit_exceeded",
                "project_spend_limit_exceeded",
                "organization_usage_limit_exceeded",
                "some_new_code",
            )
        ),
        (429, error("rate_limit_exceeded", "insufficient_quota"), {}, FailedFree(Fault.RATE_LIMITED)),
        (500, error(None, "server_error"), {}, FailedFree(Fault.SERVER)),
        (503, b"", {"retry-after": "30"}, FailedFree(Fault.SERVER, 30.0)),
        (504, b"", ID, Unknown(Fault.SERVER, "req-1")),
        (400, {"error": "a string"}, {}, FailedFree(Fault.BAD_REQUEST)),
        (400, {"error": {"code": ["a"], "message": {"b": 1}, "type": 7}}, {}, FailedFree(Fault.BAD_REQUEST)),
    ],
)
async def test_what_an_answer_means(client: Client, status: int, body: Any, headers: dict[str, str], outcome: Outcome) -> None:
    assert await answered(client, status, body, headers) == outcome


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (USAGE, COST),
        (None, None),
        ({"input_tokens": 1, "output_tokens": 5}, None),
        (USAGE | {"output_tokens": -1}, None),
        (USAGE | {"output_tokens": 1.5}, None),
        (USAGE | {"output_tokens": 10**12}, None),
        (USAGE | {"input_tokens_details": {"text_tokens": 1, "image_tokens": 0}, "output_tokens": 7_033}, 5 + 7_033 * 30),
    ],
)
async def test_the_cost_comes_from_the_usage(client: Client, usage: object, cost: int | None) -> None:
    outcome = await answered(client, 200, made(usage=usage), ID)
    assert isinstance(outcome, Delivered)
    assert (outcome.cost, outcome.seed, outcome.reference, outcome.picture.data) == (cost, None, "req-1", PNG)


async def sent(client: Client, request: ImageRequest) -> dict[str, Any]:
    """The path and the fields that a request turns into."""
    got: dict[str, Any] = {}

    async def handler(http: web.Request) -> web.StreamResponse:
        if http.content_type == "application/json":
            got.update(await http.json())
        else:
            form = await http.post()
            got.update(
                {
                    name: (one.filename, one.content_type, one.file.read()) if isinstance(one, web.FileField) else one
                    for name, one in form.items()
                }
            )
        got["path"] = http.path
        return web.json_response(made())

    async with served(handler) as url:
        assert isinstance(await OpenAIProvider(url, client).generate(request, Secret(KEY), timeout=5.0), Delivered)
    return got


async def test_what_is_sent_to_generate(client: Client) -> None:
    full = replace(
        CAT, prompt="猫 \ud800", negative_prompt="dog", aspect_ratio="16:9", seed=5, style="anime", quality="high", strength=3, image=PNG
    )
    common = {"model": "gpt-image-2", "prompt": "猫 ?", "size": "1536x864", "safety_identifier": "u-1", "path": "/v1/images/generations"}
    assert await sent(client, full) == common | {"quality": "high"}
    assert await sent(client, replace(full, quality="xhigh")) == common | {"quality": "medium"}
    newer = replace(full, model="gpt-image-2.6-flare", quality="xhigh", end_user="a b")
    del common["safety_identifier"]
    assert await sent(client, newer) == common | {"model": "gpt-image-2.6-flare", "quality": "xhigh"}


async def test_what_is_sent_to_edit(client: Client) -> None:
    wide = encoded("JPEG", 160, 90)
    got = await sent(client, replace(CAT, operation=Operation.EDIT, image=wide, quality="low", seed=1, strength=30, negative_prompt="dog"))
    assert got == {
        "path": "/v1/images/edits",
        "model": "gpt-image-2",
        "prompt": "a cat",
        "size": "1536x864",
        "quality": "low",
        "safety_identifier": "u-1",
        "image": ("image.jpeg", "image/jpeg", wide),
    }


@pytest.mark.parametrize("ratio", SIZES)
def test_sizes_are_within_the_limits(ratio: str) -> None:
    width, height = map(int, SIZES[ratio].split("x"))
    wide, high = map(int, ratio.split(":"))
    assert width % 16 == height % 16 == 0
    assert abs(width / height * high / wide - 1) < 0.01
    assert 810 * 810 <= width * height <= 2560 * 1440


@pytest.mark.parametrize(
    "request_",
    [
        replace(CAT, model="dall-e-3"),
        replace(CAT, prompt=" \n"),
        replace(CAT, prompt="x" * 32_001),
        replace(CAT, aspect_ratio="4:1"),
        replace(CAT, operation=Operation.UPSCALE, image=PNG),
        replace(CAT, operation=Operation.EDIT),
        replace(CAT, operation=Operation.EDIT, image=b"no picture"),
    ],
)
async def test_what_the_model_cannot_do_is_not_sent(sandbox: OpenAISandbox, provider: OpenAIProvider, request_: ImageRequest) -> None:
    assert await provider.generate(request_, Secret(KEY), timeout=5.0) == FailedFree(Fault.BAD_REQUEST)
    assert sandbox.calls == 0


@pytest.mark.parametrize("operation", [Operation.GENERATE, Operation.EDIT])
@pytest.mark.parametrize("model", MODELS)
async def test_the_stand_in_takes_what_every_model_is_sent(
    sandbox: OpenAISandbox, provider: OpenAIProvider, model: str, operation: Operation
) -> None:
    account = sandbox.add_key(KEY, credits=100)
    request = replace(CAT, operation=operation, model=model, aspect_ratio="21:9", quality="high", image=encoded("WEBP", 320, 200))
    outcome = await provider.generate(request, Secret(KEY), timeout=10.0)
    assert isinstance(outcome, Delivered)
    assert (100 - account.credits) * 10_000 == outcome.cost


@pytest.mark.parametrize(
    ("kind", "outcome", "charged"),
    [
        ("server", FailedFree(Fault.SERVER), False),
        ("unavailable", FailedFree(Fault.SERVER, 3.0), False),
        ("rate_limited", FailedFree(Fault.RATE_LIMITED, 3.0), False),
        ("empty", FailedFree(Fault.EMPTY), False),
        ("unauthorized", FailedFree(Fault.BAD_KEY), False),
        ("unverified", FailedFree(Fault.UNVERIFIED), False),
        ("moderated", Rejected(), False),
        ("model_missing", FailedFree(Fault.MODEL_MISSING), False),
        ("filtered", Rejected(charged=True), True),
        ("cut", FailedCost(Fault.BAD_ANSWER), True),
        ("garbage", FailedCost(Fault.BAD_ANSWER), True),
        ("hang", Unknown(Fault.TIMEOUT), False),
    ],
)
async def test_trouble_makes_one_call_and_the_right_outcome(
    sandbox: OpenAISandbox, provider: OpenAIProvider, kind: str, outcome: Outcome, charged: bool
) -> None:
    account = sandbox.add_key(KEY, credits=10, fail_rate=1.0, fail_kind=kind, retry_after=3)
    got = await provider.generate(CAT, Secret(KEY), timeout=0.5 if kind == "hang" else 5.0)
    assert replace(got, reference="") == outcome
    assert account.calls == 1
    assert (account.credits < 10) is charged


async def test_an_unverified_account_and_a_missing_model(sandbox: OpenAISandbox, provider: OpenAIProvider) -> None:
    sandbox.add_key(KEY, verified=False)
    assert replace(await provider.generate(CAT, Secret(KEY), timeout=5.0), reference="") == FailedFree(Fault.UNVERIFIED)
    sandbox.add_key(KEY, models=frozenset({"gpt-image-2.6-flare"}))
    assert replace(await provider.generate(CAT, Secret(KEY), timeout=5.0), reference="") == FailedFree(Fault.MODEL_MISSING)
    assert await provider.probe(Secret(KEY)) == Probe(models=frozenset({"gpt-image-2.6-flare"}))


async def test_a_probe_lists_the_models(sandbox: OpenAISandbox, provider: OpenAIProvider) -> None:
    probe = await provider.probe(Secret(KEY))
    assert probe.fault is None
    assert probe.balance is None
    assert probe.models is not None
    assert set(MODELS) <= probe.models
    assert await provider.probe(Secret("sk-proj-unknown")) == Probe(Fault.BAD_KEY)
    assert sandbox.calls == 0


SCOPES = "You have insufficient permissions for this operation. Missing scopes: api.model.read. Check that you have the correct role."


@pytest.mark.parametrize(
    ("status", "body", "headers", "probe"),
    [
        (200, {"object": "list", "data": [{"id": "a"}, {"id": 7}, "b", {"id": "x" * 101}, {}]}, {}, Probe(models=frozenset({"a"}))),
        (200, {"object": "list", "data": []}, {}, Probe(models=frozenset())),
        (200, {"data": {}}, {}, Probe(Fault.BAD_ANSWER)),
        (200, b"nonsense", {}, Probe(Fault.BAD_ANSWER)),
        (403, error(None, message=SCOPES), {}, Probe()),
        (401, error(None, message=SCOPES), {}, Probe()),
        (401, error("invalid_api_key"), {}, Probe(Fault.BAD_KEY)),
        (403, error(None), {}, Probe(Fault.BAD_KEY)),
        (429, error("insufficient_quota"), {}, Probe(Fault.EMPTY)),
        (429, error("rate_limit_exceeded"), {"retry-after": "2"}, Probe(Fault.RATE_LIMITED, retry_after=2.0)),
        (500, b"", {}, Probe(Fault.SERVER)),
    ],
)
async def test_what_a_probe_says(client: Client, status: int, body: Any, headers: dict[str, str], probe: Probe) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.path == "/v1/models"
        return web.Response(status=status, body=body if isinstance(body, bytes) else json.dumps(body).encode(), headers=headers)

    async with served(handler) as url:
        assert await OpenAIProvider(url, client).probe(Secret(KEY)) == probe


async def test_nobody_there(client: Client, unused_tcp_port: int) -> None:
    provider = OpenAIProvider(f"http://127.0.0.1:{unused_tcp_port}", client)
    assert await provider.generate(CAT, Secret(KEY), timeout=5.0) == FailedFree(Fault.NETWORK)
    assert await provider.probe(Secret(KEY)) == Probe(Fault.NETWORK)


async def test_a_key_that_fits_no_header(sandbox: OpenAISandbox, provider: OpenAIProvider) -> None:
    assert await provider.generate(CAT, Secret(KEY + "\r\nX: 1"), timeout=5.0) == FailedFree(Fault.BAD_KEY)
    assert await provider.probe(Secret("sk-proj-密钥")) == Probe(Fault.BAD_KEY)
    assert sandbox.calls == 0


async def test_a_cancelled_call_is_cancelled(sandbox: OpenAISandbox, provider: OpenAIProvider) -> None:
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
        ("sk-proj-" + "aB1_-" * 20, True),
        (KEY, True),
        ("sk-svcacct-abcdefgh", True),
        ("sk-" + "a" * 20 + "T3BlbkFJ" + "a" * 20, True),
        ("sk-" + "a" * 48, False),
        ("sk-demo-miner-1", False),
        (KEY + "\n", False),
        ("sk-proj-", False),
    ],
)
def test_what_looks_like_a_key(text: str, like: bool) -> None:
    provider: Provider = OpenAIProvider("http://127.0.0.1", make_client())
    assert provider.looks_like_key(text) is like
