"""Lending over HTTP, from the rule to the wiped key."""

from typing import Any
from urllib.parse import urlsplit

import httpx

from core.resources.models import State
from core.worker import Worker
from tests.api.stage import Served

ATTESTED = {"provider": "stability", "attested_rule": "2025-07-31"}


async def lent(served: Served, client: httpx.AsyncClient, key: str = "sk-second") -> dict[str, Any]:
    """A resource whose key was handed over and works."""
    opened = (await client.post("/resources", json=ATTESTED)).json()
    async with httpx.AsyncClient(base_url=served.url) as browser:
        assert (await browser.post(urlsplit(opened["handover"]["url"]).path, data={"key": key})).status_code == 200
    await Worker(served.app, 1).probe()
    shown: dict[str, Any] = (await client.get("/resources")).json()["data"][0]
    return shown


async def test_the_rule_is_read_before_anything_is_lent(served: Served) -> None:
    async with served.client(served.stage.miner) as client:
        unread = await client.post("/resources", json={"provider": "stability"})
        assert (unread.status_code, unread.json()["type"]) == (422, "urn:aetherflow:rule_not_attested")
        assert unread.json()["rule"] == "2025-07-31"
        assert "may not be bought, sold or transferred" in unread.json()["errors"][0]["message"]
        outdated = await client.post("/resources", json=ATTESTED | {"attested_rule": "2020-01-01"})
        assert outdated.status_code == 422
        unknown = await client.post("/resources", json=ATTESTED | {"provider": "none"})
        assert unknown.json()["type"] == "urn:aetherflow:lending_refused"
        assert len((await client.get("/resources")).json()["data"]) == 1


async def test_a_key_is_not_taken_as_json(served_once: Served) -> None:
    async with served_once.client(served_once.stage.miner) as client:
        refused = await client.post("/resources", json=ATTESTED | {"key": "sk-very-secret"})
        assert refused.status_code == 422
        assert refused.json()["errors"] == [{"pointer": "#/key", "message": "is not known here"}]
        assert "sk-very-secret" not in refused.text


async def test_a_key_goes_through_the_form_and_is_listed(served: Served) -> None:
    async with served.client(served.stage.miner) as client:
        resource = await lent(served, client)
        assert (resource["state"], resource["limits"]["hours"]) == ("ready", "always")
        path = f"/resources/{resource['id']}"
        change = {
            "price_percent": 80,
            "day_limit": "12.5",
            "month_limit": "100",
            "hours": "09:00-18:00",
            "utc_offset": "+8",
            "label": "mine",
        }
        changed = (await client.patch(path, json=change)).json()
        assert (changed["state"], changed["label"]) == ("listed", "mine")
        assert changed["limits"] == {
            "price_percent": 80, "max_concurrency": 2, "per_minute": 20, "day_limit": "12.5", "month_limit": "100",
            "hours": "09:00-18:00", "utc_offset_minutes": 480, "strike_limit": 20,
        }  # fmt: skip
        assert (await client.patch(path, json={"state": "paused"})).json()["state"] == "paused"
        assert (await client.patch(path, json={"state": "paused"})).json()["state"] == "paused"
        assert (await client.patch(path, json={"state": "listed", "hours": "always"})).json()["state"] == "listed"
        bad = await client.patch(path, json={"day_limit": "0.0001", "price_percent": 50})
        assert (bad.status_code, bad.json()["errors"]) == (422, [{"pointer": "#/day_limit"}])
        assert (await client.get("/resources")).json()["data"][0]["limits"]["price_percent"] == 80
        assert (await client.delete(path)).status_code == 204
        assert [each["id"] for each in (await client.get("/resources")).json()["data"]] == [1]
        ended = await client.patch(path, json={"state": "listed"})
        assert (ended.status_code, ended.json()["type"]) == (409, "urn:aetherflow:not_allowed_now")
        assert (await client.post(f"{path}/handover")).status_code == 409


async def test_a_panic_revokes(served: Served) -> None:
    async with served.client(served.stage.miner) as client:
        resource = await lent(served, client)
        assert (await client.delete(f"/resources/{resource['id']}?revoke=true")).status_code == 204
    async with served.app.read() as work:
        assert (await work.resources.get(resource["id"])).state is State.REVOKED


async def test_a_new_link_ends_the_earlier_one(served: Served) -> None:
    async with served.client(served.stage.miner) as client, httpx.AsyncClient(base_url=served.url) as browser:
        opened = (await client.post("/resources", json=ATTESTED)).json()
        renewed = (await client.post(f"/resources/{opened['resource']['id']}/handover")).json()
        first, second = (urlsplit(each["handover"]["url"]).path for each in (opened, renewed))
        assert (await browser.get(first)).status_code == 410
        assert (await browser.get(second)).status_code == 200


async def test_a_repeated_beginning_is_one_resource_with_one_link(served: Served) -> None:
    async with served.client(served.stage.miner, Idempotency_Key="k1") as client:
        first, again = [await client.post("/resources", json=ATTESTED) for _ in range(2)]
        assert first.json() == again.json()
        assert len((await client.get("/resources")).json()["data"]) == 2


async def test_stats_say_what_became_of_the_attempts(served: Served) -> None:
    async with served.working(), served.client() as client:
        assert (await client.post("/v1/images/generations", json={"prompt": "a fox", "n": 2})).status_code == 200
    async with served.client(served.stage.miner) as client:
        stats = (await client.get("/resources/1/stats")).json()
        assert (stats["delivered"], stats["failed"], stats["lost"]) == (2, 0, 0)
        assert (stats["sold"], stats["day_used"], stats["in_flight"]) == ("9", "9", 0)
        assert stats["balance_usd"] == "10.00"
        assert stats["earned"] == "7.65" and 0 <= stats["p50_seconds"] <= stats["p95_seconds"]


async def test_anothers_resource_is_not_there(served: Served) -> None:
    other = await served.stage.person("other")
    async with served.client(other) as stranger:
        assert (await stranger.get("/resources")).json() == {"data": []}
        assert (await stranger.get("/resources/1/stats")).status_code == 404
        assert (await stranger.patch("/resources/1", json={"state": "paused"})).status_code == 404
        assert (await stranger.delete("/resources/1")).status_code == 404
        assert (await stranger.post("/resources/1/handover")).status_code == 404


async def test_whoever_is_frozen_lends_nothing_more_and_may_withdraw(served: Served) -> None:
    miner = served.stage.miner
    await served.app.run(lambda work: work.users.freeze(miner.id, True))
    async with served.client(miner) as client:
        assert (await client.post("/resources", json=ATTESTED)).json()["type"] == "urn:aetherflow:frozen"
        assert (await client.patch("/resources/1", json={"state": "paused"})).status_code == 403
        assert (await client.delete("/resources/1")).status_code == 204
