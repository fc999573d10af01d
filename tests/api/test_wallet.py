"""Balances and statements."""

from itertools import pairwise

from tests.api.stage import Served


async def test_the_wallet_shows_every_account(served: Served) -> None:
    creator, miner = served.stage.creator, served.stage.miner
    async with served.client(creator) as client, served.client(miner) as lender:
        assert (await client.get("/wallet")).json() == {"balance": "1000", "held": "0", "pending": "0", "earnings": "0"}
        await client.post("/generations", json={"prompt": "a fox"})
        assert (await client.get("/wallet")).json() == {"balance": "995.5", "held": "4.5", "pending": "0", "earnings": "0"}
        await served.stage.submit("other")
        async with served.working():
            assert (await client.post("/v1/images/generations", json={"prompt": "a fox"})).status_code == 200
        assert float((await lender.get("/wallet")).json()["pending"]) > 0


async def test_the_statement_adds_up(served: Served) -> None:
    async with served.client() as client:
        for number in range(4):
            made = (await client.post("/generations", json={"prompt": f"fox {number}"})).json()["id"]
            if number % 2:
                await client.post(f"/generations/{made}/cancel")
        lines, address = [], "/wallet/transactions?limit=2"
        while address:
            body = (await client.get(address)).json()
            lines += body["data"]
            address = body["next"]
        assert [line["kind"] for line in lines] == ["release", "hold", "hold", "release", "hold", "hold", "grant"]
        assert lines[0]["balance_after"] == (await client.get("/wallet")).json()["balance"] == "991"
        for newer, older in pairwise(lines):
            assert float(newer["balance_after"]) == float(older["balance_after"]) + float(newer["amount"])
        assert len({line["id"] for line in lines}) == len(lines)
        held = (await client.get("/wallet/transactions?account=held")).json()["data"]
        assert held[0]["balance_after"] == "9"
        assert (await client.get("/wallet/transactions?account=platform:fees")).status_code == 422


async def test_nobody_sees_anothers_statement(served_once: Served) -> None:
    other = await served_once.stage.person("other")
    async with served_once.client(other) as stranger:
        assert (await stranger.get("/wallet/transactions")).json() == {"data": [], "next": None}
