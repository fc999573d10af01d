"""What miners lend. A key never comes or goes by JSON: it is handed over through the one-time form alone."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import ConfigDict, Field

from api.caller import Caller, allowed
from api.idempotency import Answer, IdempotencyKey, once
from api.language import WORDS, language_of
from api.problems import Problem
from api.shown import MAX_ID, Asked, Credits, Shown, When, core_of, moment, refusals
from core.app import GENERATIONS, App
from core.catalog import ProviderRule
from core.db import MINUTE, SECOND
from core.generations.pages import tries_of_resource
from core.money import format_credits
from core.resources.errors import NotAllowedNow
from core.resources.models import MAX_LABEL, HealthState, Limits, Resource, Scope, State
from core.resources.rules import NEXT, may_lend, show_hours
from core.unit_of_work import UnitOfWork
from core.users.errors import Frozen
from core.words import Text

router = APIRouter(tags=["resources"])

Miner = Annotated[Caller, Depends(allowed("resources"))]
Number = Annotated[int, Path(ge=1, le=MAX_ID, description="A resource's number.")]
Amount = Annotated[str, Field(max_length=20, examples=["1000"], description="Credits, as a decimal number in a string.")]


class ResourceAsked(Asked):
    """Lending begins with the provider's rule: without `attested_rule` the answer is its text and version."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"provider": "stability", "attested_rule": "2025-07-31"}]})

    provider: str = Field(max_length=32)
    attested_rule: str | None = Field(
        None, max_length=32, description="The version of the rule that the miner has read, and whose terms their own contract meets."
    )


class ResourceChange(Asked):
    """What is to change; what is left out stays. Limits never fall below what is used."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"price_percent": 80, "day_limit": "500", "state": "listed"}]})

    label: str | None = Field(None, max_length=MAX_LABEL)
    state: Literal["listed", "paused"] | None = None
    scope: Literal["own", "market"] | None = Field(None, description="Whose generations it serves.")
    price_percent: int | None = Field(None, ge=10, le=100, description="Of the list price.")
    max_concurrency: int | None = Field(None, ge=1, le=100)
    per_minute: int | None = Field(None, ge=1, le=1000)
    strike_limit: int | None = Field(None, ge=1, le=200, description="Prompts that its provider may refuse in 24 hours before it rests.")
    day_limit: Amount | None = None
    month_limit: Amount | None = None
    hours: str | None = Field(None, max_length=20, examples=["09:00-18:00", "always"], description="Of the miner's day.")
    utc_offset: str | None = Field(None, max_length=8, examples=["+8"], description="Hours that the miner's day is ahead of UTC.")


class LimitsShown(Shown):
    """What a miner allows."""

    price_percent: int
    max_concurrency: int
    per_minute: int
    strike_limit: int = Field(description="Prompts that its provider may refuse in 24 hours before it rests.")
    day_limit: Credits
    month_limit: Credits
    hours: str = Field(examples=["09:00-18:00", "always"])
    utc_offset_minutes: int


class ResourceShown(Shown):
    """A resource as its owner sees it; never its key."""

    id: int
    provider: str
    label: str
    state: State
    scope: Scope
    health: HealthState
    fault: str | None = Field(description="What was wrong last, where it is not well.")
    models: list[str] | None = Field(description="The provider's models that the key serves; null: whatever is on sale.")
    limits: LimitsShown
    in_flight: int
    day_left: Credits
    month_left: Credits


class Resources(Shown):
    """What the caller lends; there are few, so there is one page."""

    data: list[ResourceShown]


class Handover(Shown):
    """The one-time link to the form that takes the key."""

    url: str = Field(examples=["https://aetherflow.example/handover/…"])
    expires_at: When


class ResourceOpened(Shown):
    """A resource that waits for its key."""

    resource: ResourceShown
    handover: Handover


class Stats(Shown):
    """How a resource does."""

    health: HealthState
    fault: str | None
    in_flight: int
    delivered: int = Field(description="Attempts that delivered a picture.")
    failed: int = Field(description="Attempts that failed at no cost.")
    lost: int = Field(description="Attempts that failed at the miner's cost.")
    sold: Credits = Field(description="What creators paid for what it delivered; the miner's share is part of it.")
    earned: Credits = Field(description="The miner's share of that, less what was refunded.")
    day_used: Credits
    month_used: Credits
    latency_seconds: float = Field(description="Moving average of a delivered call.")
    p50_seconds: float | None = Field(description="Half of the newest delivered calls took at most so long.")
    p95_seconds: float | None = Field(description="95 % of the newest delivered calls took at most so long.")
    balance_usd: str | None = Field(description="What the provider said is left, where it does.", examples=["10.00"])
    synced_at: When | None


@router.get("/resources", response_model=Resources, responses=refusals(401, 403), summary="What one lends")
async def list_resources(request: Request, caller: Miner) -> Resources:
    """The caller's resources, the newest first, without those that were withdrawn."""
    async with core_of(request).read() as work:
        found = await work.resources.list_of(caller.user.id)
    return Resources(data=[show(each) for each in found])


@router.post(
    "/resources",
    status_code=201,
    response_model=ResourceOpened,
    responses=refusals(400, 401, 403, 409, 413, 415, 422),
    summary="Lend a key",
)
async def create_resource(request: Request, asked: ResourceAsked, caller: Miner, key: IdempotencyKey = None) -> Response:
    """Records that the rule was attested, and answers the link to the form for the key. The key itself is refused here."""
    app = core_of(request)
    language = language_of(request)

    async def act() -> Answer:
        rule = _attested(app, asked, language)
        most = app.settings.resources_per_miner

        async def begin(work: UnitOfWork) -> ResourceOpened:
            drafted = await work.resources.draft(caller.user.id, rule, language, most)
            return await _opened(app, work, drafted)

        opened = await app.run(begin)
        headers = {"Location": f"/resources/{opened.resource.id}"}
        return Answer(201, opened.model_dump_json().encode(), headers)

    _refuse_frozen(caller)
    done, replayed = await once(request, app, caller.user.id, key, asked.model_dump(), act)
    return done.response(replayed=replayed)


@router.post(
    "/resources/{number}/handover", status_code=201, response_model=ResourceOpened, responses=refusals(401, 403, 404, 409, 422),
    summary="A new link for the key",
)  # fmt: skip
async def renew_handover(request: Request, number: Number, caller: Miner, key: IdempotencyKey = None) -> Response:
    """For a key that was refused, or that is to be replaced. Earlier links of the resource end."""
    app = core_of(request)

    async def act() -> Answer:
        async def begin(work: UnitOfWork) -> ResourceOpened:
            resource = await work.resources.get(number, caller.user.id)
            if State.PROBING not in NEXT[resource.state]:
                raise NotAllowedNow(resource=number, state=resource.state, action="handover")
            return await _opened(app, work, resource)

        return Answer(201, (await app.run(begin)).model_dump_json().encode())

    _refuse_frozen(caller)
    done, replayed = await once(request, app, caller.user.id, key, {}, act)
    return done.response(replayed=replayed)


@router.patch(
    "/resources/{number}", response_model=ResourceShown, responses=refusals(400, 401, 403, 404, 409, 413, 415, 422),
    summary="Price, limits, pause, resume",
)  # fmt: skip
async def change_resource(request: Request, number: Number, asked: ResourceChange, caller: Miner) -> ResourceShown:
    """Changes all of it or nothing. Limits that are set for the first time put the resource on the list."""
    _refuse_frozen(caller)
    app = core_of(request)
    answers = {name: str(value) for name, value in asked.model_dump(exclude_none=True, exclude={"state"}).items()}

    async def change(work: UnitOfWork) -> Resource:
        resource = await work.resources.get(number, caller.user.id)
        if answers:
            resource = await work.resources.change(resource, answers)
        if asked.state is not None and asked.state != resource.state:
            await work.resources.move(resource, State(asked.state))
        return await work.resources.get(number)

    changed = await app.run(change)
    await app.hints.wake(GENERATIONS)
    return show(changed)


@router.delete("/resources/{number}", status_code=204, responses=refusals(401, 403, 404, 409, 422), summary="Withdraw")
async def withdraw_resource(
    request: Request,
    number: Number,
    caller: Miner,
    revoke: Annotated[bool, Query(description="Panic: the key is suspected to be known to others.")] = False,
) -> Response:
    """For good: the key is wiped at once; calls that run end by themselves."""

    async def end(work: UnitOfWork) -> None:
        resource = await work.resources.get(number, caller.user.id)
        await work.resources.move(resource, State.REVOKED if revoke else State.WITHDRAWN)

    await core_of(request).run(end)
    return Response(status_code=204)


@router.get("/resources/{number}/stats", response_model=Stats, responses=refusals(401, 403, 404, 422), summary="How it does")
async def read_stats(request: Request, number: Number, caller: Miner) -> Stats:
    """What became of the resource's attempts, and what is used of its limits."""
    async with core_of(request).read() as work:
        resource = await work.resources.get(number, caller.user.id)
        tries = await tries_of_resource(work.connection, resource)
    limits, balance = resource.limits, resource.balance
    return Stats(
        health=resource.health.state,
        fault=resource.health.fault,
        in_flight=resource.in_flight,
        delivered=tries.delivered,
        failed=tries.failed + tries.rejected,
        lost=tries.lost,
        sold=format_credits(tries.sold),
        earned=format_credits(tries.earned),
        day_used=format_credits(limits.day_limit - resource.day_left),
        month_used=format_credits(limits.month_limit - resource.month_left),
        latency_seconds=round(resource.health.latency, 3),
        p50_seconds=None if tries.p50 is None else round(tries.p50, 3),
        p95_seconds=None if tries.p95 is None else round(tries.p95, 3),
        balance_usd=None if balance is None else f"{balance // 1_000_000}.{balance % 1_000_000 // 10_000:02d}",
        synced_at=None if resource.synced_at is None else moment(int(resource.synced_at * SECOND)),
    )


def show(resource: Resource) -> ResourceShown:
    """A resource as the api shows it."""
    return ResourceShown(
        id=resource.id,
        provider=resource.provider,
        label=resource.label,
        state=resource.state,
        scope=resource.scope,
        health=resource.health.state,
        fault=resource.health.fault,
        models=None if resource.models is None else sorted(resource.models),
        limits=_limits(resource.limits),
        in_flight=resource.in_flight,
        day_left=format_credits(resource.day_left),
        month_left=format_credits(resource.month_left),
    )


def _limits(limits: Limits) -> LimitsShown:
    return LimitsShown(
        price_percent=limits.price_percent,
        max_concurrency=limits.max_concurrency,
        per_minute=limits.per_minute,
        strike_limit=limits.strike_limit,
        day_limit=format_credits(limits.day_limit),
        month_limit=format_credits(limits.month_limit),
        hours=show_hours(limits),
        utc_offset_minutes=limits.utc_offset,
    )


def _attested(app: App, asked: ResourceAsked, language: str) -> ProviderRule:
    """The provider's rule, as attested. Raises LendingRefused, or Problem rule_not_attested with its text, to be read first."""
    rule = may_lend(app.catalog, asked.provider)
    if asked.attested_rule != rule.rule_version:
        code = f"lend.rule.{rule.id}" if WORDS.knows(f"lend.rule.{rule.id}") else "lend.rule"
        text = WORDS.plain(Text(code, {"name": rule.name, "version": rule.rule_version}), language)
        raise Problem("rule_not_attested", errors=[{"pointer": "#/attested_rule", "message": text}], rule=rule.rule_version)
    return rule


async def _opened(app: App, work: UnitOfWork, resource: Resource) -> ResourceOpened:
    minutes = app.settings.handover_minutes
    token = await work.resources.open_handover(resource.id, minutes)
    url = f"{app.settings.public_url.rstrip('/')}/handover/{token}"
    return ResourceOpened(resource=show(resource), handover=Handover(url=url, expires_at=moment(work.now + minutes * MINUTE)))


def _refuse_frozen(caller: Caller) -> None:
    if caller.user.frozen:
        raise Frozen()
