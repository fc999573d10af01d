"""Alive, ready, and figures."""

import shutil
from pathlib import Path

import httpx
from redis.asyncio import Redis

from tests.api.stage import Served, served_stage


async def test_ready_says_so_line_by_line(served: Served) -> None:
    async with httpx.AsyncClient(base_url=served.url) as anyone:
        assert (await anyone.get("/healthz")).json() == {"status": "ok"}
        answer = await anyone.get("/readyz")
        assert (answer.status_code, answer.text) == (200, "ok database\nok blobs\n")
        figures = (await anyone.get("/metrics")).text
        assert 'aetherflow_generations{state="queued"} 0.0' in figures


async def test_a_store_that_is_away_is_not_ready(sqlite_url: str, tmp_path: Path) -> None:
    async with (
        served_stage(sqlite_url, tmp_path, lend=False, blob_url=(tmp_path / "pictures").as_uri()) as served,
        httpx.AsyncClient(base_url=served.url) as anyone,
    ):
        shutil.rmtree(tmp_path / "pictures")
        (tmp_path / "pictures").write_text("no folder")
        answer = await anyone.get("/readyz")
        assert (answer.status_code, answer.text) == (503, "ok database\nfailed blobs\n")
        assert (await anyone.get("/healthz")).status_code == 200


async def test_a_redis_that_is_away_is_not_ready(sqlite_url: str, redis_url: str, tmp_path: Path) -> None:
    async with (
        served_stage(sqlite_url, tmp_path, lend=False, redis_url=redis_url) as served,
        httpx.AsyncClient(base_url=served.url) as anyone,
        Redis.from_url(redis_url) as redis,
    ):
        assert (await anyone.get("/readyz")).text == "ok database\nok blobs\nok redis\n"
        await redis.config_set("maxmemory", "1")
        try:
            answer = await anyone.get("/readyz")
        finally:
            await redis.config_set("maxmemory", "0")
        assert (answer.status_code, answer.text) == (503, "ok database\nok blobs\nfailed redis\n")


async def test_a_database_that_is_away_is_not_ready(postgres_url: str, tmp_path: Path) -> None:
    async with served_stage(postgres_url, tmp_path, lend=False) as served, httpx.AsyncClient(base_url=served.url) as anyone:
        await served.app.database.close()
        served.app.database._reader = served.app.database._reader.execution_options()
        served.app.database._reader.sync_engine.pool._creator = _refused  # type: ignore[assignment]  # as a server that is gone
        answer = await anyone.get("/readyz")
        assert (answer.status_code, answer.text) == (503, "failed database\nok blobs\n")


def _refused(*_arguments: object, **_named: object) -> None:
    raise ConnectionRefusedError
