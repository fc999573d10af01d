"""The log of acts: written to, read, and never changed."""

from pathlib import Path

import pytest

from core.acts.errors import ReasonNeeded
from core.acts.models import MAX_REASON
from tests.stage import staged


async def test_a_line_is_read_as_it_was_written(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path) as stage:
        admin, person = stage.miner.id, stage.creator.id

        async with stage.app.begin() as work:
            first = await work.acts.record(admin, "ban", f"user:{person}", "  sells\n stolen keys ", queued=2)
            await work.acts.record(None, "pause", "resource:1", "leak alarm")
        async with stage.app.read() as work:
            (banned,) = await work.acts.newest(subject=f"user:{person}")
            everything = await work.acts.newest()
            older = await work.acts.newest(before=everything[0].id)
        assert (banned.id, banned.by, banned.reason, banned.facts) == (first, admin, "sells stolen keys", {"queued": 2})
        assert [each.act for each in everything] == ["pause", "ban"]
        assert [each.act for each in older] == ["ban"]


@pytest.mark.parametrize("reason", ["", " \n ", "x", "x" * (MAX_REASON + 1)])
async def test_an_act_without_a_reason_is_refused(database_url: str, tmp_path: Path, reason: str) -> None:
    async with staged(database_url, tmp_path) as stage:
        with pytest.raises(ReasonNeeded):
            async with stage.app.begin() as work:
                await work.acts.record(stage.miner.id, "grant", "user:1", reason)
        async with stage.app.read() as work:
            assert await work.acts.newest() == []
