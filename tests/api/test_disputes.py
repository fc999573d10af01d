"""Disputes and an admin's routes over HTTP, from the picture to the verdict."""

from core.ledger.models import wallet
from tests.api.stage import Served
from tests.stage import breaches


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


async def test_an_admin_takes_a_dispute_and_reverses_a_rejection(served: Served) -> None:
    olga, pawel = await served.stage.admin(), await served.stage.admin("pawel")
    async with served.client() as creator, served.client(olga) as first, served.client(pawel, Accept_Language="zh") as second:
        async with served.working():
            made = await creator.post("/v1/images/generations", json={"prompt": "a fox", "response_format": "url"})
        opened = await creator.post("/disputes", json={"generation": int(made.headers["Aetherflow-Generations"]), "kind": "other"})
        path = f"/admin/disputes/{opened.json()['id']}"
        taken = await first.post(f"{path}/take", headers={"Idempotency-Key": "t1"})
        again = await first.post(f"{path}/take", headers={"Idempotency-Key": "t1"})
        assert (taken.status_code, taken.json()["taken_by"], again.json()) == (200, olga.id, taken.json())
        assert taken.json()["taken_until"]
        mine = (await creator.get("/disputes")).json()["data"][0]
        assert (mine["taken_by"], mine["taken_until"]) == (None, None), "who works on it is for admins"
        other = {"verdict": "refund", "reason": "no fox"}
        for refused in (await second.post(f"{path}/take"), await second.post(f"{path}/resolve", json=other)):
            assert (refused.status_code, refused.json()["minutes"], "olga" in refused.json()["detail"]) == (409, 30, True)
        assert (await creator.post(f"{path}/take")).status_code == 403
        assert (await first.post("/admin/disputes/999/take")).status_code == 404
        rejected = await first.post(f"{path}/resolve", json={"verdict": "reject", "reason": "it is a fox"})
        assert (rejected.json()["state"], rejected.json()["taken_by"]) == ("rejected", None)
        assert (await second.post(f"{path}/take")).json()["type"] == "urn:aetherflow:already_decided"
        assert (await second.post(f"{path}/resolve", json=other)).status_code == 409
        reversed_ = await second.post(f"{path}/resolve", json=other | {"reverses": True})
        assert (reversed_.json()["state"], reversed_.json()["amount"]) == ("refunded", "4.5")
        late = await first.post(f"{path}/resolve", json=other | {"reverses": True})
        assert (late.status_code, late.json()["type"]) == (409, "urn:aetherflow:not_reversible")
    assert await served.stage.balance(wallet(served.stage.creator.id)) == 1_000_000
    assert not breaches(await served.stage.audit())


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
