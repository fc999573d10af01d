"""Ordering pictures and getting them."""

import asyncio
from io import BytesIO
from pathlib import Path

import httpx
from PIL import Image

from core.ledger.models import held_account, wallet
from tests.api.stage import PICTURE, Served, served_stage
from tests.stage import PRICE, breaches


async def finished(client: httpx.AsyncClient, number: int) -> dict[str, object]:
    """A generation once it has ended."""
    async with asyncio.timeout(20):
        while True:
            shown: dict[str, object] = (await client.get(f"/generations/{number}")).json()
            if shown["state"] not in ("queued", "running"):
                return shown


async def test_an_order_becomes_a_picture_that_is_paid_for(served: Served) -> None:
    async with served.client() as client:
        ordered = await client.post("/generations", json={"prompt": "a fox", "ratio": "16:9", "seed": 3})
        assert ordered.status_code == 202, ordered.text
        body = ordered.json()
        assert (body["state"], body["price"], body["paid"], body["image"]) == ("queued", "4.5", "0", None)
        assert ordered.headers["Location"] == f"/generations/{body['id']}"
        waiting = (await client.get(ordered.headers["Location"])).json()
        assert waiting["place"] == 1
        async with served.working():
            shown = await finished(client, body["id"])
        assert (shown["state"], shown["paid"], shown["seed"]) == ("delivered", "4.5", 7)
        assert shown["image"] == {"url": f"/generations/{body['id']}/image", "media_type": "image/png", "width": 48, "height": 32}
        got = await client.get(f"/generations/{body['id']}/image")
        assert (got.content, got.headers["Content-Type"]) == (PICTURE, "image/png")
        assert "private" in got.headers["Cache-Control"]
        again = await client.get(f"/generations/{body['id']}/image", headers={"If-None-Match": got.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert not breaches(await served.stage.audit())


async def test_somebody_elses_is_not_there(served: Served) -> None:
    other = await served.stage.person("other")
    async with served.client() as client, served.client(other) as stranger:
        number = (await client.post("/generations", json={"prompt": "a fox"})).json()["id"]
        for path in (f"/generations/{number}", f"/generations/{number}/image"):
            assert (await stranger.get(path)).status_code == 404
        assert (await stranger.post(f"/generations/{number}/cancel")).status_code == 404
        assert (await stranger.get("/generations")).json() == {"data": [], "next": None}


async def test_cancelling_gives_the_credits_back(served: Served) -> None:
    creator = served.stage.creator
    async with served.client() as client:
        number = (await client.post("/generations", json={"prompt": "a fox"})).json()["id"]
        assert await served.stage.balance(held_account(wallet(creator.id))) == PRICE
        assert (await client.get(f"/generations/{number}/image")).json()["type"] == "urn:aetherflow:not_delivered"
        cancelled = await client.post(f"/generations/{number}/cancel")
        assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
        assert await served.stage.balance(held_account(wallet(creator.id))) == 0
        again = await client.post(f"/generations/{number}/cancel")
        assert (again.status_code, again.json()["type"]) == (409, "urn:aetherflow:not_waiting")


async def test_an_edit_begins_from_a_picture_of_ones_own(served: Served) -> None:
    async with served.client() as client:
        first = (await client.post("/generations", json={"prompt": "a fox"})).json()["id"]
        early = await client.post("/generations", json={"prompt": "bluer", "operation": "edit", "parent": first})
        assert (early.status_code, early.json()["type"]) == (409, "urn:aetherflow:not_delivered")
        async with served.working():
            await finished(client, first)
            edit = await client.post("/generations", json={"prompt": "bluer", "operation": "edit", "parent": first, "strength": 60})
            assert edit.status_code == 202, edit.text
            assert (await finished(client, edit.json()["id"]))["state"] == "delivered"
        assert served.stage.provider.calls[-1][1].image == PICTURE
        alone = await client.post("/generations", json={"prompt": "bluer", "operation": "edit"})
        assert alone.json()["errors"] == [{"pointer": "#/parent", "message": "belongs to edit and upscale, and they need it"}]


async def test_an_empty_wallet_is_told_what_is_missing(served: Served) -> None:
    poor = await served.stage.person("poor", 1_000)
    async with served.client(poor) as client:
        refused = await client.post("/generations", json={"prompt": "a fox"})
        assert refused.status_code == 402
        body = refused.json()
        assert (body["needed"], body["available"]) == ("4.5", "1")
        assert "4.5 Credits" in body["detail"]
        assert "account" not in body
    async with served.client(poor, Accept_Language="zh-CN,zh;q=0.9") as client:
        chinese = (await client.post("/generations", json={"prompt": "a fox"})).json()
        assert chinese["detail"].startswith("需要 4.5 点")
        assert chinese["title"] == "点数不足"


async def test_what_a_model_does_not_take_is_named(served_once: Served) -> None:
    async with served_once.client() as client:
        for asked, pointer in (
            ({"prompt": "a fox", "ratio": "7:3"}, "#/ratio"),
            ({"prompt": "a fox", "model": "none"}, "#/model"),
            ({"prompt": "  "}, "#/prompt"),
            ({"prompt": "a fox", "negative": "\u202e"}, "#/negative"),
            ({"prompt": "a fox", "seed": 1, "model": "gpt-image-2"}, "#/seed"),
            ({"prompt": "a fox", "unknown": 1}, "#/unknown"),
            ({"prompt": 3}, "#/prompt"),
        ):
            refused = await client.post("/generations", json=asked)
            assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, pointer), asked
        assert (await client.get("/generations")).json()["data"] == []


async def test_pages_follow_one_another(served: Served) -> None:
    async with served.client() as client:
        numbers = [(await client.post("/generations", json={"prompt": f"fox {n}"})).json()["id"] for n in range(5)]
        seen, address = [], "/generations?limit=2&state=queued"
        while address:
            body = (await client.get(address)).json()
            assert len(body["data"]) <= 2
            seen += [each["id"] for each in body["data"]]
            address = body["next"]
        assert seen == numbers[::-1]
        assert (await client.get("/generations?limit=5")).json()["next"] is None


async def test_a_cursor_is_good_for_its_list_and_reader_alone(served_once: Served) -> None:
    other = await served_once.stage.person("other", 100_000)
    async with served_once.client() as client, served_once.client(other) as stranger:
        for n in range(3):
            await client.post("/generations", json={"prompt": f"fox {n}"})
            await stranger.post("/generations", json={"prompt": f"fox {n}"})
        address = (await client.get("/generations?limit=1")).json()["next"]
        cursor = httpx.URL(address).params["cursor"]
        assert (await client.get(address)).status_code == 200
        middle = len(cursor) // 2
        changed = cursor[:middle] + ("A" if cursor[middle] != "A" else "B") + cursor[middle + 1 :]
        for reader, path in (
            (stranger, address),
            (client, f"/generations?cursor={changed}"),
            (client, f"/generations?state=queued&cursor={cursor}"),
            (client, f"/wallet/transactions?cursor={cursor}"),
            (client, "/generations?cursor=MTIz"),
            (client, "/generations?cursor=%F0%9F%A6%8A"),
            (client, f"/generations?cursor={cursor}%3D%3D"),
        ):
            refused = await reader.get(path)
            assert (refused.status_code, refused.json()["type"]) == (400, "urn:aetherflow:bad_cursor"), path


async def test_a_preset_makes_the_prompt(served: Served) -> None:
    """What the request names itself wins over the preset's settings; a remix keeps the preset."""
    async with served.client() as client, served.working():
        wrong = await client.post("/generations", json={"preset": "logo-mark"})
        assert (wrong.status_code, wrong.json()["type"]) == (422, "urn:aetherflow:bad_preset_field")
        unknown = await client.post("/generations", json={"preset": "nothing", "prompt": "x"})
        assert unknown.status_code == 404
        asked = {"preset": "travel-poster", "prompt": "Mars", "fields": {"season": "dust storm"}, "ratio": "16:9"}
        made = (await client.post("/generations", json=asked)).json()
        assert made["prompt"].startswith("vintage travel poster of Mars, dust storm")
        assert made["ratio"] == "16:9"
        plain = (await client.post("/generations", json={"preset": "travel-poster", "prompt": "Mars"})).json()
        assert plain["ratio"] == "2:3"
        listed = (await client.get("/presets", params={"search": "poster", "limit": 1})).json()
        assert [each["name"] for each in listed["data"]] == ["travel-poster"]
        mine = {"name": "neon-shoe", "title": "Neon", "template": "neon {subject}", "defaults": {"subject": "shoe"}}
        assert (await client.post("/presets", json=mine)).json()["fields"] == ["subject"]
        assert (await client.post("/presets", json=mine | {"options": {"image": "x"}})).status_code == 422
        assert (await client.post("/presets/neon-shoe/withdraw")).status_code == 204


async def test_covers_and_refused_prompts(database_url: str, tmp_path: Path) -> None:
    async with served_stage(database_url, tmp_path, strikes_per_user=2) as served, served.client() as client:
        mine = {"name": "blue-shoe", "title": "Blue", "template": "a blue {subject}"}
        published = [await client.post("/presets", json=mine, headers={"Idempotency-Key": "p1"}) for _ in range(2)]
        assert [(each.json()["version"], each.json()["cover"]) for each in published] == [(1, None)] * 2, "a retry is no second version"
        async with served.working():
            for asked in ({"preset": "blue-shoe", "prompt": "boot"}, {"prompt": "a boot"}):
                waiting = (await client.post("/generations", json=asked)).json()["id"]
                await served.api.state.waiting.for_all([waiting], 20)
        assert (await client.post("/presets/blue-shoe/cover", json={"generation": waiting})).status_code == 404, "made without it"
        async with served.client(await served.stage.person("other")) as other:
            theirs = await other.post("/presets/blue-shoe/cover", json={"generation": waiting - 1})
            assert theirs.json()["type"] == "urn:aetherflow:generation_not_found"
        covered = [
            await client.post("/presets/Blue-Shoe/cover", json={"generation": waiting - 1}, headers={"Idempotency-Key": "c1"})
            for _ in range(2)
        ]
        assert [each.status_code for each in covered] == [200, 200]
        assert covered[0].json() == covered[1].json()
        link = (await client.get("/presets/blue-shoe")).json()["cover"]
        place = "/covers/" + link.rpartition("/")[2]
        async with httpx.AsyncClient(base_url=served.url) as nobody:
            shown = await nobody.get(place)
            assert (shown.status_code, shown.headers["Content-Type"]) == (200, "image/jpeg")
            with Image.open(BytesIO(shown.content)) as picture:
                assert picture.size == (48, 32)
            assert (await nobody.get(place[:-2] + "xx")).status_code == 404
            await client.post("/presets/blue-shoe/withdraw")
            assert (await nobody.get(place)).status_code == 404
        assert (await client.post("/generations", json={"prompt": "x\u0007"})).status_code == 422, "what is malformed is no strike"
        for path, name in (("/generations", "prompt"), ("/v1/images/generations", "prompt")):
            assert (await client.post(path, json={name: "a fake passport"})).status_code in (400, 422)
        waits = await client.post("/generations", json={"prompt": "a fox"})
        assert waits.status_code == 429
        assert 86_000 < int(waits.headers["Retry-After"]) <= 86_400
        assert waits.json()["until"].endswith("Z")
        assert waits.json()["until"] in waits.json()["detail"]
