"""A till on a fresh database, on either engine."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.payments.till import Till, till
from tests.stage import staged


@pytest.fixture
async def shop(database_url: str, tmp_path: Path) -> AsyncIterator[Till]:
    """A creator without Credits, a rail, a desk."""
    async with staged(database_url, tmp_path, credits=0) as stage:
        yield till(stage)
