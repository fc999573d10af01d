"""The moderation provider, over real sockets: what it refuses costs nothing and touches no resource, and what follows from its silence."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from sqlalchemy import update

from core.db import SECOND
from core.generations.models import Generation, OutcomeKind, State, attempts, generations
from core.ledger.models import wallet
from core.moderation import ALONE, Audience
from core.providers.http import Client
from core.providers.moderator import Moderator
from core.vault.secret import Secret
from core.worker import Worker
from sandbox.openai import OpenAISandbox
from tests.providers.conftest import listening
from tests.providers.test_http import served
from tests.stage import Stage, breaches, ended, staged, work_off

KEY = "sk-proj-demo-operator"


@pytest.fixture
async def sandbox() -> AsyncIterator[OpenAISandbox]:
    """The stand-in, listening; `public_url` is where."""
    async with listening(OpenAISandbox(public_url="", draft=True)) as made:
        yield made


def moderator(sandbox: OpenAISandbox, client: Client, key: str = KEY) -> Moderator:
    return Moderator(f"{sandbox.public_url}/openai", Secret(key), client)


async def asked(stage: Stage, key: str, prompt: str, audience: Audience = ALONE) -> Generation:
    return (await stage.app.submit(replace(stage.order(key, prompt=prompt), audience=audience))).generation


async def test_what_it_finds(sandbox: OpenAISandbox, client: Client) -> None:
    look = moderator(sandbox, client).look
    assert await look("a fox \ud800") == frozenset()
    assert await look("a gruesome and hateful fox") == frozenset({"violence/graphic", "hate"})
    assert await moderator(sandbox, client, "sk-other").look("a fox") is None
    assert await moderator(sandbox, client, "no\nheader").look("a fox") is None
    sandbox.faults.set(fail_rate=1.0, fail_kind="server")
    assert await look("a fox") is None


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"results": []}', b'{"results": [{"categories": [], "flagged": true}]}', b"\xff"])
async def test_nonsense_is_no_answer(client: Client, body: bytes) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body)

    async with served(answer) as url:
        assert await Moderator(url, Secret(KEY), client).look("a fox") is None


async def test_a_refused_prompt_costs_nothing_and_touches_no_account(
    database_url: str, tmp_path: Path, sandbox: OpenAISandbox, client: Client
) -> None:
    async with staged(database_url, tmp_path) as stage:
        stage.app.moderator = moderator(sandbox, client)
        lent = await stage.lend("sk-1111111111")
        made = [
            await asked(stage, "fine", "a fox"),
            await asked(stage, "never", "a genocidal fox"),
            await asked(stage, "veiled", "a sexual fox"),
            await asked(stage, "public", "a sexual fox", Audience(adult=False)),
            await asked(stage, "strict", "a hateful fox", Audience(strict=True)),
            await asked(stage, "lax", "a hateful fox", Audience(adult=False)),
        ]
        worker = Worker(stage.app, 1)
        for _ in made:
            await work_off(worker)
        states = [await stage.generation(each.id) for each in made]
        assert [(each.state, each.reason, each.spoiler) for each in states] == [
            (State.DELIVERED, None, False),
            (State.FAILED, "forbidden_prompt", False),
            (State.DELIVERED, None, True),
            (State.FAILED, "forbidden_prompt", False),
            (State.FAILED, "forbidden_prompt", False),
            (State.DELIVERED, None, False),
        ]
        assert len(stage.provider.calls) == 3 and sandbox.moderations == 6 + 3, "the prompts, and what was made"
        assert await stage.balance(wallet(stage.creator.id)) == 1_000_000 - 3 * 4_500
        async with stage.app.read() as work:
            resource = await work.resources.get(lent.id)
            assert (resource.strikes, resource.in_flight, resource.health.failures) == (0, 0, 0)
            assert (await work.users.strikes(stage.creator.id))[0] == 3
        assert not breaches(await stage.audit())


@pytest.mark.parametrize("outage", ["go_on", "wait"])
async def test_its_outage(database_url: str, tmp_path: Path, sandbox: OpenAISandbox, client: Client, outage: str) -> None:
    async with staged(database_url, tmp_path, moderation_outage=outage, moderation_seconds=0.1) as stage:
        stage.app.moderator = moderator(sandbox, client)
        await stage.lend("sk-1111111111")
        sandbox.faults.set(fail_rate=1.0, fail_kind="unavailable")
        made = await asked(stage, "k", "a sexual fox")
        worker = Worker(stage.app, 1)
        await worker.claim()
        if outage == "wait":
            done = asyncio.ensure_future(ended(worker))
            await asyncio.wait([done], timeout=0.3)
            assert not done.done() and not stage.provider.calls
            sandbox.faults.set(fail_rate=0.0)
            await done
            assert not stage.provider.calls, "what its key may do in a minute is reckoned anew"
            await worker.claim()
            await ended(worker)
        else:
            await ended(worker)
        found = await stage.generation(made.id)
        assert (found.state, found.spoiler) == (State.DELIVERED, True), "flagged once it answers; or nobody looked at what was made"
        assert len(stage.provider.calls) == 1


async def test_waiting_for_it_ends_with_the_generations_time(
    database_url: str, tmp_path: Path, sandbox: OpenAISandbox, client: Client
) -> None:
    async with staged(database_url, tmp_path, moderation_outage="wait") as stage:
        stage.app.moderator = moderator(sandbox, client, "sk-other")
        lent = await stage.lend("sk-1111111111")
        made = await asked(stage, "k", "a fox")
        worker = Worker(stage.app, 1)
        async with stage.app.begin() as work:
            soon = update(generations).where(generations.c.id == made.id).values(deadline=work.now + SECOND // 2)
            await work.connection.execute(soon)
        (lease,) = (await worker.claim()).leases
        await ended(worker)
        assert (await stage.generation(made.id)).reason == "too_late"
        assert not stage.provider.calls
        async with stage.app.read() as work:
            row = (await work.connection.execute(attempts.select().where(attempts.c.generation_id == lease.generation.id))).one()
            assert (row.outcome, row.fault) == (OutcomeKind.FAILED_FREE, "unchecked")
            assert (await work.resources.get(lent.id)).health.failures == 0
            assert (await work.users.strikes(stage.creator.id))[0] == 0
        assert not breaches(await stage.audit())
