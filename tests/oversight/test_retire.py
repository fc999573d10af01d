"""Models that retire soon: whoever serves them is told once, by one of many workers."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from sqlalchemy import select, update

from core.catalog import WARN_DAYS
from core.mailbox.models import outbox
from core.oversight.models import rounds
from core.providers.base import Probe
from core.worker import Worker
from tests.stage import Stage, staged


async def told(stage: Stage) -> list[str]:
    """The keys of what was said."""
    async with stage.app.read() as work:
        return sorted(await work.connection.scalars(select(outbox.c.key).where(outbox.c.kind == "retires")))


async def test_who_serves_it_and_the_admins_are_told_once(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path) as stage:
        admin, other = await stage.admin(), await stage.person("other")
        await stage.lend("sk-1111111111")
        stage.provider.probes["sk-2222222222"] = Probe(models=frozenset({"ultra"}))
        await stage.lend("sk-2222222222", other)
        catalog = stage.app.catalog
        core = catalog.models[catalog.default_model]
        assert core.provider_model == "core"
        last = stage.app.today() + timedelta(WARN_DAYS)
        for retires in (last + timedelta(1), last, last):
            stage.app.catalog = replace(catalog, models={**catalog.models, core.id: replace(core, retires=retires)})
            workers = [Worker(stage.app, seed) for seed in (1, 2)]
            await asyncio.gather(*(worker.sweep() for worker in workers))
            async with stage.app.begin() as work:
                await work.connection.execute(update(rounds).values(due_at=1))
            await asyncio.gather(*(worker.sweep() for worker in workers))
            wanted = [f"retires:{core.id}:{last}:{reader}" for reader in (stage.miner.id, admin.id)]
            assert await told(stage) == (sorted(wanted) if retires == last else [])
