"""OpenAI's images API with our Credits: any client of theirs works with this address as its `base_url` and an API token of ours as its key.

Source: OpenAI's OpenAPI document (github.com/openai/openai-openapi) and what the client `openai` 3.57 sends. What cannot be had here is
refused by name; what is harmless to leave out is taken and left out: `background` auto and opaque, `moderation`, `user`,
`safety_identifier`.
"""

import asyncio
import base64
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from api.caller import Caller, allowed
from api.idempotency import Answer, IdempotencyKey, business_key, once
from api.language import WORDS, language_of
from api.openai_errors import openai_error
from api.openai_sizes import ratio_of
from api.pictures import BEST, Format, link, picture
from api.pools import audience_of, payer_of
from api.problems import Problem
from api.shown import MAX_ID, Asked, core_of
from api.waiting import Waiting
from core.app import ENDED, OUTBOX, App
from core.catalog import MAX_PROMPT, MAX_SEED, Model, UnknownModel
from core.db import SECOND
from core.errors import Refusal
from core.generations.admit import look_for
from core.generations.errors import NotWaiting
from core.generations.models import Generation, Order, Parameters, State, Wish
from core.generations.service import read_by_key
from core.generations.spend import purses_of
from core.ledger.errors import InsufficientCredits
from core.ledger.models import earnings, wallet
from core.money import format_credits
from core.unit_of_work import UnitOfWork
from core.words import Text

router = APIRouter(prefix="/v1", tags=["OpenAI-compatible"])

Creator = Annotated[Caller, Depends(allowed("generate"))]
CREATED = 1_764_000_000
"""When models came on sale; OpenAI's clients want a number, and the catalog keeps none."""
QUALITIES: Mapping[str, str | None] = {"auto": None, "standard": None, "hd": "high"}
"""Words of older clients; others are looked for among the model's own qualities."""


class ImagesAsked(Asked):
    """What OpenAI's clients send, and of ours `seed`, `negative_prompt` and `pool` (by the client's `extra_body`)."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"prompt": "a red fox in the snow", "model": "core", "size": "1024x1024"}]})

    prompt: str = Field(min_length=1, max_length=MAX_PROMPT)
    model: str | None = Field(None, max_length=64)
    n: int | None = Field(None, ge=1, le=10)
    size: str | None = Field(None, max_length=16, examples=["1024x1024", "auto"])
    quality: str | None = Field(None, max_length=40)
    output_format: Format | None = None
    output_compression: int | None = Field(None, ge=0, le=100)
    response_format: Literal["b64_json", "url"] | None = None
    background: Literal["auto", "opaque"] | None = Field(None, description="`transparent` cannot be had.")
    moderation: Literal["auto", "low"] | None = None
    style: str | None = Field(None, max_length=40)
    user: str | None = Field(None, max_length=512)
    safety_identifier: str | None = Field(None, max_length=512)
    stream: Literal[False] | None = Field(None, description="Pictures come whole.")
    partial_images: Literal[0] | None = None
    seed: int | None = Field(None, ge=0, le=MAX_SEED)
    negative_prompt: str | None = Field(None, max_length=MAX_PROMPT)
    pool: int | None = Field(None, ge=1, le=MAX_ID, description="A pool of GET /pools that pays; none: the token's, or the caller.")


class ImageShown(BaseModel):
    """One picture, by its bytes or by a link that is good for an hour."""

    b64_json: str | None = None
    url: str | None = None


class ImagesShown(BaseModel):
    """The delivered pictures."""

    created: int
    data: list[ImageShown]
    output_format: Format
    size: str = Field(examples=["1024x1024"])
    quality: str | None = None


class ModelShown(BaseModel):
    """A model on sale."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    shutdown_date: str | None


class ModelsShown(BaseModel):
    """Every model on sale that draws from a prompt."""

    object: Literal["list"] = "list"
    data: list[ModelShown]


def _errors(*statuses: int) -> dict[int | str, dict[str, object]]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/OpenAIError"}}}
    return {status: {"description": "As OpenAI's API says it.", "content": content} for status in statuses}


@router.get("/models", response_model=ModelsShown, responses=_errors(401, 403, 429), summary="Models, as OpenAI lists them")
async def list_openai_models(request: Request, caller: Creator) -> ModelsShown:
    """What can be named as `model`. Prices are at GET /models."""
    sale = core_of(request).catalog.sale(core_of(request).today())
    return ModelsShown(data=[_model(each) for each in sale.values() if "generate" in each.operations])


@router.get(
    "/models/{model}", response_model=ModelShown, responses=_errors(400, 401, 403, 404, 429), summary="One model, as OpenAI shows it"
)
async def read_openai_model(request: Request, model: Annotated[str, Path(max_length=64)], caller: Creator) -> ModelShown:
    """One of them."""
    app = core_of(request)
    return _model(app.catalog.find(model, app.today()))


@router.post(
    "/images/generations", response_model=ImagesShown, responses=_errors(400, 401, 403, 404, 409, 413, 415, 429, 503, 504),
    summary="Make pictures and wait for them",
)  # fmt: skip
async def create_images(request: Request, asked: ImagesAsked, caller: Creator, key: IdempotencyKey = None) -> Response:
    """Orders `n` pictures, waits, and answers those that were delivered, which alone are paid for: `Aetherflow-Credits` says how much.

    If none is there within OPENAI_WAIT_SECONDS the answer is 504 with the numbers of the generations, which go on; see GET /generations.
    """
    app = core_of(request)
    asked = asked.model_copy(update={"pool": payer_of(caller, asked.pool)})
    orders = await _orders(app, caller, asked, key or secrets.token_hex(16), language_of(request))

    async def act() -> Answer:
        numbers = await _submit_all(app, caller.user.id, orders)
        return Answer(202, json.dumps(numbers).encode())

    done, replayed = await once(request, app, caller.user.id, key, asked.model_dump(), act)
    if done.status != 202:
        return done.response(replayed=replayed)
    waiting: Waiting = request.app.state.waiting
    numbers: list[int] = json.loads(done.body)
    ended = await waiting.for_all(numbers, app.settings.openai_wait_seconds)
    response = await _answer(request, app, asked, numbers, [ended[number] for number in numbers if number in ended])
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response


def _model(model: Model) -> ModelShown:
    shutdown = model.retires.isoformat() if model.retires else None
    return ModelShown(id=model.id, created=CREATED, owned_by=model.provider, shutdown_date=shutdown)


async def _orders(app: App, caller: Caller, asked: ImagesAsked, key: str, language: str) -> list[Order]:
    """The checked orders of a request.

    Raises UnknownModel, BadParameter, BadPrompt, ForbiddenPrompt, PoolClosed, or Problem invalid_request for a size nobody draws.
    """
    most = app.settings.openai_pictures
    if (asked.n or 1) > most:
        message = WORDS.plain(Text("invalid.high", {"limit": most, "expected": ""}), language)
        raise Problem("invalid_request", errors=[{"pointer": "#/n", "message": message}])
    model = app.catalog.find(asked.model or app.catalog.default_model, app.today())
    if "generate" not in model.operations:
        raise UnknownModel(model=model.id, known=sorted(app.catalog.sale(app.today())))
    quality = QUALITIES.get(asked.quality or "auto", asked.quality)
    style = None if asked.style in ("vivid", "natural") else asked.style
    parameters = Parameters(ratio_of(asked.size, model, language), asked.seed, asked.negative_prompt or "", style, quality)
    audience = await audience_of(app, caller.user.id, asked.pool)
    wish, price = await app.ask(caller.user.id, Wish(asked.prompt, model.id, parameters=parameters), audience)
    order = Order(
        business_key(caller.user.id, key), caller.user.id, wish, price, community_id=asked.pool, remote=True, token_id=caller.token_id,
        audience=audience,
    )  # fmt: skip
    return [replace(order, key=f"{order.key}:{number}") for number in range(asked.n or 1)]


async def _submit_all(app: App, user_id: int, orders: Sequence[Order]) -> list[int]:
    """All of them or none: a payer that does not suffice for all is refused before any is ordered; when one is refused nevertheless,
    those that still wait are cancelled again. Raises the refusal."""
    if len(orders) > 1:
        async with app.read() as work:
            known = await read_by_key(work.connection, [order.key for order in orders])  # by somebody who died before they answered
            await _check_payer(work, [order for order in orders if order.key not in known])
    answers = await asyncio.gather(*(app.submit(order) for order in orders), return_exceptions=True)
    refusals = [each for each in answers if isinstance(each, BaseException)]
    accepted = [each.generation.id for each in answers if not isinstance(each, BaseException)]
    if not refusals:
        return accepted
    for number in accepted:
        try:
            await app.run(lambda work, number=number: work.generations.cancel(number, user_id))  # type: ignore[misc]  # bound by default
        except NotWaiting:
            continue  # it runs already: it is delivered and paid for, and stands in GET /generations
    await app.hints.wake(OUTBOX, ENDED)
    raise next((each for each in refusals if isinstance(each, Refusal)), refusals[0])


async def _check_payer(work: UnitOfWork, orders: Sequence[Order]) -> None:
    """Raises the refusal of the pool, or InsufficientCredits, where the payer does not suffice for several orders of one user."""
    if len(orders) < 2:
        return
    first, number = orders[0], orders[0].community_id
    if number is not None:
        purses = await purses_of(work.connection, [number], work.now, lock=False)
        await look_for(work.connection, purses, orders, work.now)
        if problem := next((each for order in orders if (each := purses[number].take(order, work.now))), None):
            raise problem
        return
    accounts = (wallet(first.user_id), earnings(first.user_id))
    balances = await work.ledger.balances(accounts)
    if sum(balance // first.price for balance in balances.values()) < len(orders):
        needed = sum(order.price for order in orders)
        raise InsufficientCredits(account=accounts[0], needed=needed, available=max(balances.values()))


async def _answer(request: Request, app: App, asked: ImagesAsked, numbers: Sequence[int], ended: Sequence[Generation]) -> Response:
    headers = {"Aetherflow-Generations": ",".join(map(str, numbers))}
    delivered = [each for each in ended if each.state in (State.DELIVERED, State.DISPUTED) and each.blob is not None]
    if not delivered:
        return _nothing(request, numbers, ended, headers)
    kind: Format = asked.output_format or "png"
    compression = BEST if asked.output_compression is None else asked.output_compression
    headers["Aetherflow-Credits"] = format_credits(sum(each.paid for each in delivered))
    if asked.response_format == "url":
        data = [f'{{"url":{json.dumps(link(app, each, kind, compression))}}}'.encode() for each in delivered]
    else:
        pictures = await asyncio.gather(*(picture(app, each, kind, compression) for each in delivered))
        data = [b'{"b64_json":"' + base64.b64encode(each) + b'"}' for each in pictures]
    first = delivered[0]
    facts = {
        "created": (first.finished_at or first.created_at) // SECOND,
        "output_format": kind,
        "size": f"{first.width}x{first.height}",
        "quality": first.parameters.quality,
    }
    start = json.dumps({name: value for name, value in facts.items() if value is not None}, separators=(",", ":"))
    # Put together by hand: a picture has a hundred thousand characters, none of which needs to be escaped.
    body = start[:-1].encode() + b',"data":[' + b",".join(data) + b"]}"
    return Response(body, headers=headers, media_type="application/json")


def _nothing(request: Request, numbers: Sequence[int], ended: Sequence[Generation], headers: Mapping[str, str]) -> Response:
    """No picture: refused content is the asker's to change, other failures are nobody's, and the rest is still under way."""
    listed = ", ".join(map(str, numbers))
    if len(ended) < len(numbers):
        status, code = 504, "too_slow"
    elif any(each.reason in ("moderated", "forbidden_prompt", "withheld") for each in ended):
        status, code = 400, "moderated"
    elif all(each.state is State.CANCELLED for each in ended):
        status, code = 409, "cancelled"
    else:
        status, code = 503, "not_made"
    message = WORDS.plain(Text(f"error.{code}", {"generations": listed}), language_of(request))
    return openai_error(status, code, message, {"generations": numbers}, [], headers)
