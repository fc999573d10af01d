"""OpenAI's own client, unmodified, against our address."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any, TypeVar

import httpx
import openai
import pytest
from PIL import Image

from core.generations.models import State
from core.generations.pages import page
from core.ledger.models import held_account, wallet
from core.providers.base import Fault, Rejected
from core.users.models import User
from tests.api.stage import PICTURE, Served, served_stage
from tests.stage import PRICE, breaches

T = TypeVar("T")


@asynccontextmanager
async def official(served: Served, user: User | None = None, retries: int = 0) -> AsyncIterator[openai.AsyncOpenAI]:
    """The asynchronous client, as anybody would make it."""
    async with openai.AsyncOpenAI(api_key=await served.token(user), base_url=f"{served.url}/v1", max_retries=retries) as client:
        yield client


async def in_thread(served: Served, ask: Callable[[openai.OpenAI], T]) -> T:
    """`ask` with the blocking client, in a thread."""
    key = await served.token()

    def call() -> T:
        with openai.OpenAI(api_key=key, base_url=f"{served.url}/v1") as client:
            return ask(client)

    return await asyncio.to_thread(call)


def opened(data: bytes) -> tuple[str, tuple[int, int]]:
    """What kind of picture it is, and its size."""
    with Image.open(BytesIO(data)) as image:
        image.load()
        return str(image.format), image.size


async def test_the_blocking_client_gets_bytes(served: Served) -> None:
    async with served.working():
        answer = await in_thread(served, lambda client: client.images.generate(model="core", prompt="a fox", size="1536x1024"))
    assert answer.data
    assert base64.b64decode(answer.data[0].b64_json or "") == PICTURE
    assert answer.output_format == "png"
    assert served.stage.provider.calls[0][1].aspect_ratio == "3:2"
    assert not breaches(await served.stage.audit())


async def test_the_asynchronous_client_gets_several(served: Served) -> None:
    async with served.working(), official(served) as client:
        raw = await client.images.with_raw_response.generate(prompt="a fox", n=2, user="somebody")
    answer = raw.parse()
    assert len(answer.data or []) == 2
    assert raw.headers["Aetherflow-Credits"] == "9"
    assert len(raw.headers["Aetherflow-Generations"].split(",")) == 2
    assert await served.stage.balance(wallet(served.stage.creator.id)) == 1_000_000 - 2 * PRICE


async def test_a_link_needs_no_token_and_ends(served: Served) -> None:
    async with served.working(), official(served) as client:
        answer = await client.images.generate(prompt="a fox", response_format="url", output_format="jpeg", output_compression=80)
    assert answer.data
    url = httpx.URL(answer.data[0].url or "")
    assert url.host == "127.0.0.1"
    async with httpx.AsyncClient(base_url=served.url) as anyone:
        got = await anyone.get(url.path)
        assert (got.status_code, got.headers["Content-Type"]) == (200, "image/jpeg")
        assert opened(got.content) == ("JPEG", (48, 32))
        for place in (12, len(url.path) // 2, len(url.path) - 3):
            other = "A" if url.path[place] != "A" else "B"
            assert (await anyone.get(url.path[:place] + other + url.path[place + 1 :])).status_code == 404


@pytest.mark.parametrize(("wanted", "kind"), [("webp", "WEBP"), ("jpeg", "JPEG"), ("png", "PNG")])
async def test_pictures_come_in_the_format_asked_for(served_once: Served, wanted: Any, kind: str) -> None:
    async with served_once.working(), official(served_once) as client:
        answer = await client.images.generate(prompt="a fox", output_format=wanted)
    assert answer.data
    assert opened(base64.b64decode(answer.data[0].b64_json or ""))[0] == kind
    assert answer.output_format == wanted


async def test_models_are_listed(served_once: Served) -> None:
    async with official(served_once) as client:
        models = [each async for each in client.models.list()]
        assert "core" in {each.id for each in models}
        assert "upscale-fast" not in {each.id for each in models}
        assert (await client.models.retrieve("core")).owned_by == "stability"
        with pytest.raises(openai.NotFoundError) as caught:
            await client.models.retrieve("dall-e-3")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("asked", "param", "status"),
    [
        ({"size": "1024x1000"}, "size", 400),
        ({"size": "huge"}, "size", 400),
        ({"model": "dall-e-3"}, "model", 404),
        ({"model": "upscale-fast"}, "model", 404),
        ({"quality": "high"}, "quality", 400),
        ({"background": "transparent"}, "background", 400),
        ({"output_format": "gif"}, "output_format", 400),
        ({"stream": True}, "stream", 400),
        ({"n": 11}, "n", 400),
        ({"style": "cubist"}, "style", 400),
        ({"complexity": "high"}, "complexity", 400),
        ({"prompt": ""}, "prompt", 400),
    ],
)
async def test_what_cannot_be_had_is_refused_by_name(served_once: Served, asked: dict[str, Any], param: str, status: int) -> None:
    async with official(served_once) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.images.generate(**{"prompt": "a fox"} | asked)
    assert caught.value.status_code == status
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["param"] == param
    assert caught.value.type == "invalid_request_error"
    async with served_once.app.read() as work:
        assert not await page(work.connection, served_once.stage.creator.id, 50)


async def test_harmless_words_of_other_models_are_taken(served_once: Served) -> None:
    async with served_once.working(), official(served_once) as client:
        answer = await client.images.generate(
            prompt="a fox", size="auto", quality="auto", background="opaque", moderation="low", style="vivid", safety_identifier="x"
        )
    assert answer.data


async def test_a_wrong_token_is_an_authentication_error(served_once: Served) -> None:
    async with openai.AsyncOpenAI(api_key="sk-wrong", base_url=f"{served_once.url}/v1", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            await client.images.generate(prompt="a fox")
    assert caught.value.code == "invalid_api_key"


async def test_in_maintenance_nothing_new_is_taken(served: Served) -> None:
    """In our shape and in OpenAI's; what is read goes on."""
    admin = await served.stage.person("root")
    await served.app.run(lambda work: work.controls.close(admin, "a move"))
    async with official(served) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.images.generate(prompt="a fox")
    assert (caught.value.status_code, caught.value.code) == (503, "maintenance")
    async with served.client(idempotency_key="k") as plain:
        refused = await plain.post("/generations", json={"prompt": "a fox"})
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:aetherflow:maintenance")
        assert (await plain.get("/generations")).status_code == (await plain.get("/healthz")).status_code == 200
    for headers in (caught.value.response.headers, refused.headers):
        assert int(headers["Retry-After"]) > 0


async def test_without_credits_for_all_none_is_ordered(served: Served) -> None:
    poor = await served.stage.person("poor", PRICE + 1)
    async with served.working(), official(served, poor, retries=2) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            await client.images.generate(prompt="a fox", n=2)
    assert (caught.value.code, caught.value.type) == ("insufficient_quota", "insufficient_quota")
    assert caught.value.response.headers["x-should-retry"] == "false"
    async with served.app.read() as work:
        assert not await page(work.connection, poor.id, 50)
    assert await served.stage.balance(wallet(poor.id)) == PRICE + 1


async def test_refused_content_is_the_askers_to_change_and_costs_nothing(served: Served) -> None:
    served.stage.provider.answer = lambda _request, _key: Rejected(Fault.MODERATED)
    async with served.working(), official(served, retries=2) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.images.generate(prompt="a fox")
    assert (caught.value.code, caught.value.type) == ("moderation_blocked", "image_generation_user_error")
    assert len(served.stage.provider.calls) == 1
    assert await served.stage.balance(wallet(served.stage.creator.id)) == 1_000_000


async def test_what_takes_too_long_goes_on(database_url: str, tmp_path: Any) -> None:
    async with served_stage(database_url, tmp_path, openai_wait_seconds=0.2) as served, official(served, retries=2) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.images.generate(prompt="a fox", n=2)
        assert caught.value.status_code == 504
        assert isinstance(caught.value.body, dict)
        numbers = caught.value.body["generations"]
        assert len(numbers) == 2
        async with served.app.read() as work:
            newest = await page(work.connection, served.stage.creator.id, 50)
        assert sorted(each.id for each in newest) == numbers
        assert {each.state for each in newest} == {State.QUEUED}
        assert await served.stage.balance(held_account(wallet(served.stage.creator.id))) == 2 * PRICE


async def test_the_same_key_orders_once(served: Served) -> None:
    async with served.working(), official(served) as client:
        for _ in range(2):
            answer = await client.images.generate(prompt="a fox", n=2, extra_headers={"Idempotency-Key": "k1"})
            assert len(answer.data or []) == 2
        with pytest.raises(openai.BadRequestError) as caught:
            await client.images.generate(prompt="a wolf", n=2, extra_headers={"Idempotency-Key": "k1"})
    assert caught.value.code == "key_reused"
    assert len(served.stage.provider.calls) == 2


async def test_many_who_wait_are_answered_by_few_looks(served: Served) -> None:
    async with served.working(), official(served) as client:
        answers = await asyncio.gather(*(client.images.generate(prompt=f"fox {n}") for n in range(30)))
    assert all(answer.data for answer in answers)
    assert served.api.state.waiting.looks < 30 * 3
