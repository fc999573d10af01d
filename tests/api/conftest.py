"""The api on either database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api.stage import Served, served_stage


@pytest.fixture
async def served(database_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    """The api over a stage, once per engine."""
    async with served_stage(database_url, tmp_path) as opened:
        yield opened


@pytest.fixture
async def served_once(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    """The same on SQLite alone, for what does not depend on the database."""
    async with served_stage(sqlite_url, tmp_path) as opened:
        yield opened
