"""Presets over HTTP: what is listed, and one's own."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import Field

from api.caller import Caller, allowed
from api.idempotency import Answer, IdempotencyKey, once
from api.pictures import cover_link
from api.shown import MAX_ID, Asked, Shown, core_of, refusals
from core.app import App
from core.presets.models import MAX_NAME, MAX_TAGS, MAX_TEMPLATE, MAX_TITLE, MAX_VALUE, Draft, Preset
from core.presets.rules import PREFIX, fields_of
from core.users.errors import Frozen

router = APIRouter(tags=["presets"])

Reader = Annotated[Caller, Depends(allowed("generate"))]
Author = Annotated[Caller, Depends(allowed("presets"))]
Name = Annotated[str, Path(min_length=1, max_length=64)]
Value = Annotated[str, Field(max_length=MAX_VALUE)]
MAX_OPTIONS = 20


class PresetShown(Shown):
    """One version of a preset."""

    name: str = Field(examples=["neon-shoe"])
    version: int
    title: str
    template: str = Field(examples=["a neon {subject} at {place}"])
    fields: list[str] = Field(examples=[["subject", "place"]])
    defaults: dict[str, str] = Field(description="Of fields that may be left out.", examples=[{"place": "night"}])
    options: dict[str, str] = Field(description="Settings that count unless others are asked for.", examples=[{"ar": "16:9"}])
    tags: list[str]
    mine: bool
    cover: str | None = Field(description="A link to its cover, good for an hour; null where there is none.")


class PresetsShown(Shown):
    """A page of presets, by name."""

    data: list[PresetShown]
    after: str | None = Field(description="What to ask for `after` to get the next page; null on the last one.")


class PresetAsked(Asked):
    """What is published. The same name again is the next version of one's own."""

    name: str = Field(min_length=1, max_length=MAX_NAME, examples=["neon-shoe"])
    title: str = Field(min_length=1, max_length=MAX_TITLE)
    template: str = Field(min_length=1, max_length=MAX_TEMPLATE, examples=["a neon {subject} at {place}"])
    defaults: dict[str, Value] = Field(default_factory=dict, max_length=MAX_OPTIONS)
    options: dict[str, Value] = Field(default_factory=dict, max_length=MAX_OPTIONS)
    tags: list[Annotated[str, Field(max_length=20)]] = Field(default_factory=list, max_length=MAX_TAGS)


class CoverAsked(Asked):
    """Which picture."""

    generation: int = Field(ge=1, le=MAX_ID, description="A delivered picture of one's own, made with the preset.")


@router.get("/presets", response_model=PresetsShown, responses=refusals(401, 403, 422), summary="Presets")
async def list_presets(
    request: Request,
    caller: Reader,
    search: Annotated[str, Query(max_length=100, description="Words in name, title or tags.")] = "",
    after: Annotated[str, Query(max_length=MAX_NAME)] = "",
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> PresetsShown:
    """Those that are listed, by name."""
    app = core_of(request)
    async with app.read() as work:
        found = await work.presets.search(search.split(), limit + 1, after)
    more = found[limit - 1].name if len(found) > limit else None
    return PresetsShown(data=[_shown(app, each, caller) for each in found[:limit]], after=more)


@router.get("/presets/{name}", response_model=PresetShown, responses=refusals(401, 403, 404, 422), summary="One preset")
async def read_preset(request: Request, name: Name, caller: Reader) -> PresetShown:
    """Its newest version."""
    async with core_of(request).read() as work:
        return _shown(core_of(request), await work.presets.find(name), caller)


@router.post(
    "/presets",
    status_code=201,
    response_model=PresetShown,
    responses=refusals(400, 401, 403, 409, 413, 415, 422),
    summary="Publish a preset",
)
async def publish_preset(request: Request, asked: PresetAsked, caller: Author, key: IdempotencyKey = None) -> Response:
    """By publishing one says that the text is one's own to publish. Its author earns by each picture that others make with it."""
    if caller.user.frozen:
        raise Frozen()
    app = core_of(request)
    options = asked.options | {PREFIX + name: value for name, value in asked.defaults.items()}
    draft = Draft(asked.name, asked.title, asked.template, options, tuple(asked.tags))

    async def act() -> Answer:
        made = await app.run(lambda work: work.presets.publish(draft, caller.user.id, app.settings.presets_per_author))
        return Answer(201, _shown(app, made, caller).model_dump_json().encode(), {"Location": f"/presets/{made.name}"})

    done, replayed = await once(request, app, caller.user.id, key, asked.model_dump(), act)
    return done.response(replayed=replayed)


@router.post(
    "/presets/{name}/cover", response_model=PresetShown, responses=refusals(400, 401, 403, 404, 409, 413, 415, 422, 503),
    summary="Give a preset of mine a cover",
)  # fmt: skip
async def cover_preset(request: Request, name: Name, asked: CoverAsked, caller: Author, key: IdempotencyKey = None) -> Response:
    """A picture that its author made with it, in any version; a smaller copy is kept. Veiled pictures cannot be covers."""
    if caller.user.frozen:
        raise Frozen()
    app = core_of(request)

    async def act() -> Answer:
        covered = await app.cover(asked.generation, caller.user.id, name.strip().lower())
        return Answer(200, _shown(app, covered, caller).model_dump_json().encode())

    done, replayed = await once(request, app, caller.user.id, key, asked.model_dump(), act)
    return done.response(replayed=replayed)


@router.post("/presets/{name}/withdraw", status_code=204, responses=refusals(401, 403, 404, 422), summary="Withdraw a preset of mine")
async def withdraw_preset(request: Request, name: Name, caller: Author) -> None:
    """It is for no new picture; those made with it stay, and their remixes still pay."""
    await core_of(request).run(lambda work: work.presets.withdraw(name, caller.user.id))


def _shown(app: App, preset: Preset, caller: Caller) -> PresetShown:
    defaults = {key.removeprefix(PREFIX): value for key, value in preset.options.items() if key.startswith(PREFIX)}
    options = {key: value for key, value in preset.options.items() if not key.startswith(PREFIX)}
    return PresetShown(
        name=preset.name, version=preset.version, title=preset.title, template=preset.template, fields=fields_of(preset.template),
        defaults=defaults, options=options, tags=list(preset.tags), mine=preset.author_id == caller.user.id,
        cover=cover_link(app, preset) if preset.cover else None,
    )  # fmt: skip
