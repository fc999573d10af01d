"""Disputes and an admin's routes over HTTP, from the picture to the verdict."""

from tests.api.stage import Served


async def test_from_the_picture_to_the_verdict(served: Served) -> None:
    admin = await served.stage.admin()
    async with served.client() as creator, served.client(admin) as olga:
        async with served.working():
            made = await creator.post("/v1/images/generations", json={"prompt": "a fox", "response_format": "url"})
        number = int(made.headers["Aetherflow-Generations"])
        opened = await creator.post("/disputes", json={"generation": number, "kind": "other"}, headers={"Idempotency-Key": "d1"})
        again = await creator.post("/disputes", json={"generation": number, "kind": "other"}, headers={"Idempotency-Key": "d1"})
        assert (opened.status_code, again.json(), again.headers["Idempotency-Replayed"]) == (201, opened.json(), "true")
        assert (await creator.post("/disputes", json={"generation": number, "kind": "other"})).status_code == 409
        dispute = opened.json()["id"]
        assert [each["id"] for each in (await olga.get("/admin/disputes")).json()["data"]] == [dispute]
        path = f"/admin/disputes/{dispute}/resolve"
        assert (await creator.post(path, json={"verdict": "refund", "reason": "mine"})).status_code == 403
        assert (await olga.post(path, json={"verdict": "part", "reason": "half"})).status_code == 409
        served.app.settings.verdict_confirm_above = 1
        proposed = await olga.post(path, json={"verdict": "goodwill", "amount": "2", "reason": "sorry"})
        assert (proposed.json()["state"], proposed.json()["proposed"]) == ("open", "compensated")
        assert (await creator.get(f"/disputes/{dispute}")).json()["proposed"] is None, "nothing that may not come true"
        served.app.settings.verdict_confirm_above = 2
        decided = await olga.post(path, json={"verdict": "part", "amount": "2", "reason": "half of it"})
        assert (decided.json()["state"], decided.json()["amount"]) == ("partly", "2")
        assert (await olga.post(path, json={"verdict": "refund", "reason": "more"})).status_code == 409
        assert (await creator.get(f"/disputes/{dispute}")).json()["reason"] == "half of it"
        assert [each["id"] for each in (await creator.get("/disputes")).json()["data"]] == [dispute]
        assert (await olga.get(f"/disputes/{dispute}")).status_code == 404, "it is not the admin's own"
        undo = {"verdict": "take_back", "reason": "it was as asked"}
        assert (await olga.post(path, json=undo)).json()["type"] == "urn:aetherflow:own_verdict"
        async with served.client(await served.stage.admin("petra")) as petra:
            taken = await petra.post(path, json=undo)
            assert (taken.json()["state"], taken.json()["amount"]) == ("taken_back", "2")
            assert (await petra.post(path, json=undo)).json()["type"] == "urn:aetherflow:not_taken_back"


async def test_an_admin_looks_up(served: Served) -> None:
    admin = await served.stage.admin()
    async with served.client(admin) as olga:
        found = (await olga.get("/admin/users", params={"who": "telegram:creator"})).json()
        assert found["id"] == served.stage.creator.id
        assert found["identities"] == ["telegram:creator"]
        assert (await olga.get("/admin/users", params={"who": "nobody"})).status_code == 404
        page = (await olga.get(f"/admin/users/{found['id']}/transactions", params={"limit": 1})).json()
        assert page["data"][0]["kind"] == "grant"
        assert (await olga.get("/admin/users/999/transactions")).status_code == 404
        whole = (await olga.get("/admin/transactions", params={"limit": 100})).json()["data"]
        mine = [each for each in whole if each["account"] == f"user:{found['id']}:wallet"]
        first = (await olga.get("/admin/transactions", params={"limit": 1, "account": mine[0]["account"]})).json()
        rest = (await olga.get(first["next"])).json() if first["next"] else {"data": []}
        assert [*first["data"], *rest["data"]][:2] == mine[:2]
        assert first["data"][0]["amount"] == page["data"][0]["amount"]
        assert (await olga.get("/admin/statistics", params={"period": "week"})).json()["delivered"] == 0
