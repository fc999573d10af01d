"""Ordering pictures, following them, and getting them."""

import hashlib
import secrets
from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import ConfigDict, Field

from api.caller import Caller, allowed
from api.idempotency import Answer, IdempotencyKey, business_key, once
from api.language import WORDS, language_of
from api.pages import Cursor, Limit, Page, Pager
from api.pools import audience_of, payer_of
from api.problems import Problem
from api.shown import MAX_ID, Asked, Credits, Shown, When, core_of, moment, moment_or_none, refusals
from core.app import ENDED, OUTBOX, App
from core.catalog import MAX_PROMPT, MAX_SEED
from core.generations.errors import NotDelivered
from core.generations.models import Generation, Order, Parameters, State, Wish
from core.generations.pages import page
from core.money import format_credits
from core.pools.models import pool_of
from core.presets.models import MAX_FIELDS, MAX_VALUE, Preset
from core.presets.rules import PREFIX, filled
from core.words import Text

router = APIRouter(tags=["generations"])

Creator = Annotated[Caller, Depends(allowed("generate"))]
Reader = Annotated[Caller, Depends(allowed("generations:read"))]
Number = Annotated[int, Path(ge=1, le=MAX_ID, description="A generation's number.")]
WITH_PICTURE = frozenset({State.DELIVERED, State.DISPUTED})


class GenerationAsked(Asked):
    """What is asked for. The price comes from the catalog; what a model does not take is refused and costs nothing."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"prompt": "a red fox in the snow", "model": "core", "ratio": "16:9"}]})

    prompt: str = Field("", max_length=MAX_PROMPT, description="What the picture shows. Only `upscale` may do without.")
    model: str | None = Field(None, max_length=64, description="A model of GET /models; none: the catalog's default.")
    operation: Literal["generate", "edit", "upscale"] = "generate"
    parent: int | None = Field(None, ge=1, le=MAX_ID, description="The delivered generation whose picture is edited or enlarged.")
    ratio: str = Field("1:1", max_length=8)
    seed: int | None = Field(None, ge=0, le=MAX_SEED)
    negative: str = Field("", max_length=MAX_PROMPT, description="What is not to be seen.")
    style: str | None = Field(None, max_length=40)
    quality: str | None = Field(None, max_length=40)
    strength: int | None = Field(None, ge=0, le=100, description="How far an edit may move away from its source.")
    preset: str | None = Field(None, min_length=1, max_length=64, description="A preset of GET /presets; `prompt` is its first field.")
    fields: dict[str, Annotated[str, Field(max_length=MAX_VALUE)]] = Field(
        default_factory=dict, max_length=MAX_FIELDS, description="Values of the preset's fields.", examples=[{"place": "the moon"}]
    )
    pool: int | None = Field(None, ge=1, le=MAX_ID, description="A pool of GET /pools that pays; none: the token's, or the caller.")


class Picture(Shown):
    """A delivered picture."""

    url: str = Field(examples=["/generations/17/image"])
    media_type: str = Field(examples=["image/png"])
    width: int
    height: int


class GenerationShown(Shown):
    """A generation as its creator sees it."""

    id: int
    state: State
    model: str
    operation: str
    prompt: str
    ratio: str
    negative: str
    style: str | None
    quality: str | None
    strength: int | None
    seed: int | None = Field(description="The picture's seed, where the provider tells it; else the one that was asked for.")
    parent: int | None
    pool: int | None = Field(description="The pool that pays; null: the caller.")
    price: Credits = Field(description="Held: the most that it costs.")
    paid: Credits = Field(description="What it did cost: 0 for everything but a delivered picture.")
    place: int | None = Field(description="Its place in line while it waits; null where that was not looked up.")
    reason: str | None = Field(description="Why it failed.", examples=["moderated"])
    image: Picture | None
    created_at: When
    deadline: When = Field(description="If it is not delivered until then, it fails and costs nothing.")
    finished_at: When | None


@router.post(
    "/generations", status_code=202, response_model=GenerationShown, responses=refusals(400, 401, 402, 403, 404, 409, 413, 415, 422, 503),
    summary="Order a picture",
)  # fmt: skip
async def create_generation(request: Request, asked: GenerationAsked, caller: Creator, key: IdempotencyKey = None) -> Response:
    """Holds the price and queues. Follow it at `Location` until `state` is `delivered`, `failed` or `cancelled`."""
    app = core_of(request)
    asked = asked.model_copy(update={"pool": payer_of(caller, asked.pool)})

    async def act() -> Answer:
        order_key = business_key(caller.user.id, key or secrets.token_hex(16))
        if (asked.parent is None) != (asked.operation == "generate"):
            message = WORDS.plain(Text("invalid.parent"), language_of(request))
            raise Problem("invalid_request", errors=[{"pointer": "#/parent", "message": message}])
        return await _order(app, caller, asked, order_key)

    done, replayed = await once(request, app, caller.user.id, key, asked.model_dump(), act)
    return done.response(replayed=replayed)


@router.get("/generations", response_model=Page[GenerationShown], responses=refusals(400, 401, 403, 422), summary="One's generations")
async def list_generations(
    request: Request,
    caller: Reader,
    state: Annotated[State | None, Query(description="Only those in this state.")] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Page[GenerationShown]:
    """The caller's generations, the newest first."""
    app = core_of(request)
    pager = Pager(request, app, caller.user.id, limit)
    place = pager.place(cursor)
    async with app.read() as work:
        found = await page(work.connection, caller.user.id, limit + 1, place[0] if place else None, state)
    return pager.page(found, lambda each: (each.id,), show)


@router.get("/generations/{number}", response_model=GenerationShown, responses=refusals(401, 403, 404, 422), summary="One generation")
async def read_generation(request: Request, number: Number, caller: Reader) -> GenerationShown:
    """As it is now, with its place in line while it waits."""
    async with core_of(request).read() as work:
        found = await work.generations.get(number, caller.user.id)
        place = await work.generations.place(found) if found.state is State.QUEUED else None
    return show(found, place)


@router.get(
    "/generations/{number}/image", summary="The picture", response_class=Response,
    responses={
        200: {"description": "The bytes.", "content": {kind: {"schema": {"type": "string", "format": "binary"}}
                                                       for kind in ("image/png", "image/jpeg", "image/webp")}},
        304: {"description": "The caller has it already."},
        **refusals(401, 403, 404, 409, 422, 503),
    },
)  # fmt: skip
async def read_image(request: Request, number: Number, caller: Reader) -> Response:
    """The delivered picture, as the provider made it. It never changes, so it may be kept by its `ETag`."""
    app = core_of(request)
    async with app.read() as work:
        found = await work.generations.get(number, caller.user.id)
    if found.blob is None or found.state not in WITH_PICTURE:
        raise NotDelivered(generation=number, state=found.state)
    tag = f'"{hashlib.sha256(found.blob.encode()).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "private, max-age=86400, immutable"}
    if tag in request.headers.get("If-None-Match", ""):
        return Response(status_code=304, headers=headers)
    name = f"aetherflow-{number}.{(found.media_type or '').rpartition('/')[2]}"
    headers["Content-Disposition"] = f'inline; filename="{name}"'
    return Response(await app.blobs.get(found.blob), headers=headers, media_type=found.media_type)


@router.post(
    "/generations/{number}/cancel", response_model=GenerationShown, responses=refusals(401, 403, 404, 409, 422), summary="Cancel what waits"
)
async def cancel_generation(request: Request, number: Number, caller: Creator, key: IdempotencyKey = None) -> Response:
    """Gives the held Credits back. What runs already is finished and paid for."""
    app = core_of(request)

    async def act() -> Answer:
        cancelled = await app.run(lambda work: work.generations.cancel(number, caller.user.id))
        await app.hints.wake(OUTBOX, ENDED)
        return Answer(200, show(cancelled).model_dump_json().encode())

    done, replayed = await once(request, app, caller.user.id, key, {}, act)
    return done.response(replayed=replayed)


def show(generation: Generation, place: int | None = None) -> GenerationShown:
    """A generation as the api shows it."""
    chosen, seen = generation.parameters, generation.state in WITH_PICTURE and generation.blob is not None
    image = None
    if seen:
        image = Picture(
            url=f"/generations/{generation.id}/image", media_type=generation.media_type or "image/png",
            width=generation.width or 0, height=generation.height or 0,
        )  # fmt: skip
    return GenerationShown(
        id=generation.id,
        state=generation.state,
        model=generation.model,
        operation=generation.operation,
        prompt=generation.prompt,
        ratio=chosen.ratio,
        negative=chosen.negative,
        style=chosen.style,
        quality=chosen.quality,
        strength=chosen.strength,
        seed=generation.seed if generation.seed is not None else chosen.seed,
        parent=generation.parent_id,
        pool=pool_of(generation.payer),
        price=format_credits(generation.held),
        paid=format_credits(generation.paid),
        place=place,
        reason=generation.reason,
        image=image,
        created_at=moment(generation.created_at),
        deadline=moment(generation.deadline),
        finished_at=moment_or_none(generation.finished_at),
    )


async def _order(app: App, caller: Caller, asked: GenerationAsked, order_key: str) -> Answer:
    wish = Wish(asked.prompt, asked.model, asked.operation, _parameters(asked))
    if asked.preset is not None:
        async with app.read() as work:
            preset = await work.presets.find(asked.preset)
        wish = _with_preset(wish, asked, preset)
    if asked.parent is not None:
        async with app.read() as work:
            parent = await work.generations.get(asked.parent, caller.user.id)
        if parent.blob is None or parent.state is not State.DELIVERED:
            raise NotDelivered(generation=parent.id, state=parent.state)
        wish = replace(wish, source_blob=parent.blob, parent_id=parent.id, spoiler=parent.spoiler)
        wish = replace(wish, preset_id=wish.preset_id or parent.preset_id)
    audience = await audience_of(app, caller.user.id, asked.pool)
    checked, price = await app.ask(caller.user.id, wish, audience)
    async with app.read() as work:
        made_with = await work.presets.made_with(checked.preset_id, checked.prompt)
    order = Order(
        order_key, caller.user.id, checked, price, community_id=asked.pool, token_id=caller.token_id, audience=audience, preset=made_with
    )
    submitted = await app.submit(replace(order, remote=True))
    generation = submitted.generation
    headers = {"Location": f"/generations/{generation.id}"}
    return Answer(202, show(generation).model_dump_json().encode(), headers)


def _parameters(asked: GenerationAsked) -> Parameters:
    return Parameters(asked.ratio, asked.seed, asked.negative, asked.style, asked.quality, asked.strength)


def _with_preset(wish: Wish, asked: GenerationAsked, preset: Preset) -> Wish:
    """The wish with the preset's prompt and settings; what the request names itself wins. Raises BadPresetField."""
    options = filled(preset, {"prompt": asked.prompt} | {PREFIX + name: value for name, value in asked.fields.items()})
    named = asked.model_fields_set
    parameters = Parameters(
        ratio=asked.ratio if "ratio" in named else options.get("ar", asked.ratio),
        seed=asked.seed if asked.seed is not None or not options.get("seed", "").isdecimal() else int(options["seed"]),
        negative=asked.negative or options.get("no", ""),
        style=asked.style or options.get("style"),
        quality=asked.quality or options.get("quality"),
        strength=asked.strength,
    )
    return replace(wish, prompt=options["prompt"], model=asked.model or options.get("model"), parameters=parameters, preset_id=preset.id)
