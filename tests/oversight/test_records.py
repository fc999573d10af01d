"""The views of the back office: what they show, what they never show, and how they are paged and searched."""

from pathlib import Path

import pytest

from core.oversight.record import DEEPEST, LARGEST_PAGE, VIEWS, Records, Unit, unit_of
from core.worker import Worker
from tests.stage import staged, work_off

SECRET = ("key", "hash", "token", "password", "prompt", "body", "chat", "content", "url", "code", "seed", "blob", "order", "charge")


def test_no_view_has_a_secret() -> None:
    assert not [(name, column) for name, view in VIEWS.items() for column in view.names if any(part in column for part in SECRET)]


def test_an_amount_of_money_is_not_one_of_credits() -> None:
    assert unit_of("payments", "amount") is Unit.PLAIN
    assert unit_of("disputes", "amount") is Unit.CREDITS
    assert unit_of("acts", "at") is Unit.MOMENT


async def test_every_view_is_read_searched_and_paged(database_url: str, tmp_path: Path) -> None:
    async with staged(database_url, tmp_path) as stage:
        await stage.lend("sk-first")
        await stage.app.grant(stage.creator.id, 100_000, "grant:1")
        await stage.submit("a", "b", "c")
        await work_off(Worker(stage.app, 1))
        async with stage.app.read() as work:
            records = Records(work.connection)
            for name in VIEWS:
                rows = await records.newest(name)
                assert len(rows) == await records.count(name)
                assert all([await records.get(name, row["pk"]) == row for row in rows])
                assert await records.newest(name, search="no such \0 thing") == []
            made = await records.newest("generations")
            assert [row["id"] for row in made] == sorted((row["id"] for row in made), reverse=True)
            assert await records.newest("generations", skip=1, limit=1) == made[1:2]
            assert await records.newest("generations", search=str(stage.creator.id)) == made
            assert {row["account"] for row in await records.newest("movements", search=f"user:{stage.creator.id}:wallet")} == {
                f"user:{stage.creator.id}:wallet"
            }
            assert [row["id"] for row in await records.newest("users", search=stage.creator.name)] == [stage.creator.id]
            assert [row["id"] for row in await records.newest("users", search="telegram:creator")] == [stage.creator.id]
            assert await records.newest("users", search="nobody@example.org") == []
            assert await records.newest("users", skip=DEEPEST) == []
            assert len(await records.newest("movements", limit=10 * LARGEST_PAGE)) <= LARGEST_PAGE
            legs = await records.newest("movements")
            assert await records.movements(len(legs)) == legs
            assert await records.movements(2, before=(legs[1]["entry_id"], legs[1]["position"])) == legs[2:4]
            mine = await records.movements(100, f"user:{stage.creator.id}:wallet")
            assert mine == [each for each in legs if each["account"] == f"user:{stage.creator.id}:wallet"] != []
            for bad in ("", "x", "-1", "9" * 25, "1-2-3", "1-99999999999", "²"):
                assert await records.get("movements", bad) is None
            with pytest.raises(KeyError):
                await records.newest("api_tokens")
