"""Receipts over HTTP: what they say, and that nobody else sees them."""

import httpx

from api.shown import moment
from core.db import SECOND
from core.payments.rails.base import Said
from core.receipts import PURPOSE
from core.users.models import Identity
from core.vault.sign import sign
from tests.api.stage import Served
from tests.payments.till import moved, till


async def test_a_receipt_is_for_whoever_paid(served: Served) -> None:
    app, shop = served.app, till(served.stage)
    ada = await app.run(lambda work: work.users.resolve(Identity("telegram", "ada", "<b>Ada</b> & Co", "ada", "zh")))
    bought, open_ = await shop.bought(user=ada), await shop.start("k2", ada)
    await shop.say(moved(bought, Said.REFUNDED, "evt_r", "re_1", 200))
    path = "/wallet/payments/{}/receipt"
    async with served.client(ada) as client, served.client() as other:
        found = (await client.get(path.format(bought.id))).json()
        url, [back] = found.pop("url"), found["returned"]
        begun, done = back.pop("created_at"), back.pop("finished_at")
        assert found["paid_at"] <= begun <= done
        assert found.pop("paid_at").endswith("Z")
        assert found == {
            "number": f"AF-{bought.id:06d}", "payment": bought.id, "state": "part_refunded", "buyer": "<b>Ada</b> & Co", "package": "small",
            "credits": "500", "price": "$5.00", "currency": "USD", "rail": "stripe", "order": bought.order, "reference": bought.charge,
            "returned": [{"kind": "refund", "state": "done", "amount": "$2.00", "credits": "200"}],
        }  # fmt: skip
        refused = [await other.get(path.format(bought.id)), await client.get(path.format(open_.id)), await client.get(path.format(999))]
        assert {(each.status_code, each.json()["type"]) for each in refused} == {(404, "urn:aetherflow:payment_not_found")}
    now = app.now() // SECOND
    made = [f"{bought.id},{ada.id},{now - 1}", f"{bought.id},{served.stage.creator.id},{now + 9}", f"{open_.id},{ada.id},{now + 9}"]
    async with httpx.AsyncClient(base_url=served.url, headers={"Accept-Language": "en"}) as nobody:
        place = "/receipts/" + url.rpartition("/")[2]
        shown, english = await nobody.get(place), await nobody.get(place, params={"lang": "en"})
        assert (shown.status_code, shown.headers["Cache-Control"], shown.headers["Content-Language"]) == (200, "no-store", "zh")
        policy = shown.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script" not in policy + shown.text
        assert all(each in shown.text for each in ("收据", found["number"], "$2.00", "&lt;b&gt;Ada", bought.order, "部分退款", "$3.00"))
        assert "refunded in part" in english.text
        day, minute = done[:10], done[11:16]
        assert f"{day} {minute} UTC: $2.00, for 200 Credits (done)" in english.text
        assert f"{day} {minute} UTC：$2.00，扣回 200 点（已完成）" in shown.text
        asked = await app.run(lambda work: work.payments.ask_refund(bought.id, by=ada.id, reason="too many", credits=100_000))
        under_way = (await nobody.get(place, params={"lang": "en"})).text
        assert f"{moment(asked.created_at)[:16].replace('T', ' ')} UTC: $1.00, for 100 Credits (on its way)" in under_way
        for signed in (place[:-2] + "xx", *(f"/receipts/{sign(app.vault, PURPOSE, each)}" for each in made)):
            gone = await nobody.get(signed)
            assert (gone.status_code, bought.order in gone.text) == (404, False)
        assert (await nobody.get(f"/app/receipts/{bought.id}")).status_code == 401
