"""The back office without a browser: who gets in, what is never shown, and what each act needs."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import update

from api.office_session import COOKIE, IDLE, LONGEST
from core.disputes.models import Kind
from core.disputes.models import State as DisputeState
from core.ledger.models import FEES, Leg, Posting, earnings, wallet
from core.oversight.record import VIEWS
from core.unit_of_work import UnitOfWork
from core.users.models import Identity, Role, User, users
from core.vault.sign import sign
from core.words import LOCALES
from core.worker import Worker
from tests.api.stage import Served, served_stage
from tests.stage import breaches, work_off

BOSS, PASSWORD = "boss@example.org", "a long sentence is best"
CSRF = "starlette_admin_csrftoken"
KEY = "sk-first"


@pytest.fixture
async def served(database_url: str, tmp_path: Path) -> AsyncIterator[Served]:
    async with served_stage(database_url, tmp_path, logins_per_address=100, logins_per_account=100, requests_per_address=1000) as opened:
        yield opened


async def account(served: Served, address: str, *, admin: bool) -> User:
    """Somebody with a password."""
    hashed = await served.api.state.accounts._hash(PASSWORD)

    async def make(work: UnitOfWork) -> User:
        user = await work.users.resolve(Identity("email", address, "Boss", address, "en"))
        await work.access.set_password(user.id, hashed)
        if admin:
            await work.users.add_role(user.id, Role.ADMIN)
        return user

    user: User = await served.app.run(make)
    return user


@asynccontextmanager
async def browser(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=served.url, timeout=30) as client:
        yield client


async def sign_in(client: httpx.AsyncClient, address: str, password: str = PASSWORD) -> httpx.Response:
    await client.get("/admin/login")
    form = {"username": address, "password": password, "csrftoken": client.cookies[CSRF]}
    return await client.post("/admin/login", data=form)


async def act(client: httpx.AsyncClient, view: str, name: str, pk: int, *, csrf: bool = True, **form: str) -> httpx.Response:
    headers = {"X-CSRFToken": client.cookies[CSRF]} if csrf else {}
    return await client.post(f"/admin/_api/{view}/row-action", params={"pk": pk, "name": name}, data=form or {"x": ""}, headers=headers)


async def inside(client: httpx.AsyncClient) -> bool:
    answer = await client.get("/admin/users/list")
    assert answer.status_code in (200, 303)
    return answer.status_code == 200


async def test_only_an_admin_gets_in_and_stays_in(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    boss = await account(served, BOSS, admin=True)
    await account(served, "user@example.org", admin=False)
    async with browser(served) as client:
        assert not await inside(client)
        for who, word in (("user@example.org", PASSWORD), (BOSS, "not my password"), ("nobody@example.org", PASSWORD)):
            assert (await sign_in(client, who, word)).status_code == 400
            assert not await inside(client)
        answer = await sign_in(client, BOSS)
        assert answer.status_code == 303
        assert "example.org" not in caplog.text
        (cookie,) = (each for each in answer.headers.get_list("set-cookie") if each.startswith(f"{COOKIE}="))
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert await inside(client)
        policy = (await client.get("/admin/")).headers["content-security-policy"]
        assert "http" not in policy
        assert re.search(r"script-src 'self' 'nonce-[^' ]+';", policy), "nothing inline but by the nonce"
        session, now = (await served.app.run(lambda work: work.access.begin_session(boss.id))), served.app.now() // 1_000_000
        for began, seen, good in ((now, now, True), (now, now - IDLE, False), (now - LONGEST, now, False), (now + 9, now + 9, False)):
            client.cookies.delete(COOKIE)
            client.cookies.set(COOKIE, sign(served.app.vault, COOKIE, f"{boss.id},{session.session_id},{began},{seen}"), path="/admin")
            assert await inside(client) is good
        client.cookies.delete(COOKIE)
        client.cookies.set(COOKIE, sign(served.app.vault, "other", f"{boss.id},{session.session_id},{now},{now}"), path="/admin")
        assert not await inside(client)


async def test_what_ends_it_ends_it_at_once(served: Served) -> None:
    boss = await account(served, BOSS, admin=True)
    them = served.stage.creator.id

    async def demote() -> None:
        async with served.app.begin() as work:
            await work.connection.execute(update(users).where(users.c.id == boss.id).values(roles=int(Role.CREATOR)))

    async with browser(served) as client:
        for end in ("signed out", "signed out everywhere", "frozen", "former"):
            client.cookies.clear()
            await sign_in(client, BOSS)
            assert await inside(client), end
            old = client.cookies[COOKIE]
            if end == "signed out":
                await client.post("/admin/logout", data={"csrftoken": client.cookies[CSRF]})
                client.cookies.set(COOKIE, old, path="/admin")
            elif end == "signed out everywhere":
                await served.app.run(lambda work: work.access.end_sessions(boss.id))
            elif end == "frozen":
                await served.app.run(lambda work: work.users.freeze(boss.id, True))
            else:
                await demote()
            assert not await inside(client), end
            assert (await act(client, "users", "ban", them, reason="spam")).status_code == 303, end
            await served.app.run(lambda work: work.users.freeze(boss.id, False))
        client.cookies.clear()
        assert (await sign_in(client, BOSS)).status_code == 400, "no admin any more"
    async with served.app.read() as work:
        assert not (await work.users.get(them)).frozen


async def test_every_page_is_read_and_none_has_a_secret(served: Served) -> None:
    boss = await account(served, BOSS, admin=True)
    await served.app.grant(served.stage.creator.id, 100_000, "grant:1")
    number = (await served.stage.submit("private"))[0].id
    async with served.app.read() as work:
        prompt = (await work.generations.get(number)).prompt
    await work_off(Worker(served.app, 1))
    token = await served.token(boss)
    async with browser(served) as client:
        await sign_in(client, BOSS)
        index = await client.get("/admin/")
        assert index.status_code == 200
        for name in VIEWS:
            page = await client.get(f"/admin/{name}/list", params={"q": "", "page_size": 100})
            assert page.status_code == 200, name
            async with served.app.read() as work:
                rows = await work.records.newest(name, limit=3)
            texts = [page.text]
            for row in rows:
                one = await client.get(f"/admin/{name}/detail", params={"pk": row["pk"]})
                assert one.status_code == 200, (name, row)
                texts.append(one.text)
            for text in texts:
                assert KEY not in text
                assert token not in text
                assert "$argon2" not in text
                assert prompt not in text
            assert (await client.get(f"/admin/{name}/detail", params={"pk": "999999"})).status_code == 404
            assert (await client.get(f"/admin/{name}/create")).status_code == 403
            assert (await client.get(f"/admin/{name}/edit", params={"pk": "1"})).status_code in (403, 404)


async def test_an_act_needs_the_form_and_a_reason_and_counts_once(served: Served) -> None:
    await account(served, BOSS, admin=True)
    them = served.stage.creator.id
    async with served.app.read() as work:
        before = (await work.ledger.balances([wallet(them)]))[wallet(them)]
    async with browser(served) as client:
        await sign_in(client, BOSS)
        assert (await act(client, "users", "ban", them, csrf=False, reason="spam")).status_code == 403
        refused = await act(client, "users", "ban", them)
        assert refused.status_code == 400
        assert "reason" in refused.json()["msg"]
        for _ in range(2):
            assert (await act(client, "users", "grant", them, reason="a gift", amount="5", key="once")).status_code == 200
        assert (await act(client, "users", "grant", them, reason="a gift", amount="x", key="two")).status_code == 400
        assert (await act(client, "users", "grant", them, reason="a gift", amount="5")).status_code == 400, "no key of a form"
        assert (await act(client, "users", "grant", them, reason="a gift", amount="3", key="two")).status_code == 200, "it was mended"
        async with served.app.read() as work:
            assert (await work.ledger.balances([wallet(them)]))[wallet(them)] == before + 8_000
            assert len(await work.acts.newest(subject=f"user:{them}")) == 2
        assert (await act(client, "users", "ban", them, reason="spam")).status_code == 200
        assert (await act(client, "users", "ban", them, reason="spam")).status_code == 400
        assert (await act(client, "users", "unban", them, reason="a mistake")).status_code == 200
        assert (await act(client, "users", "ban", 10**12, reason="spam")).status_code == 400
        assert (await act(client, "users", "ban", 10**40, reason="sp\0am")).status_code == 400


async def test_payouts_are_decided_in_two_steps_and_large_ones_by_two(served: Served) -> None:
    second = "petra@example.org"
    bosses = [await account(served, each, admin=True) for each in (BOSS, second)]
    served.app.settings.payout_confirm_above = 60
    miner = served.stage.miner
    legs = (Leg(FEES, -200_000), Leg(earnings(miner.id), 200_000))
    await served.app.run(lambda work: work.ledger.post(Posting("earned", "release", legs)))

    async def asked(key: str, amount: int) -> int:
        return (await served.app.run(lambda work: work.payouts.ask(miner, amount, key, 1_000))).id

    async def state(number: int) -> tuple[str, str]:
        async with served.app.read() as work:
            found = await work.payouts.get(number)
        return found.state, found.reference

    async def offered(client: httpx.AsyncClient, number: int) -> set[str]:
        page = (await client.get("/admin/payouts/detail", params={"pk": number})).text
        return {each for each in ("approve", "paid", "refuse") if f'data-sa-name="{each}"' in page}

    async with browser(served) as olga, browser(served) as petra:
        await sign_in(olga, BOSS)
        await sign_in(petra, second)
        large = await asked("large", 61_000)
        assert await offered(olga, large) == {"approve", "refuse"}
        assert (await act(olga, "payouts", "paid", large, reason="bank 1")).status_code == 400, "it is not approved"
        assert (await act(olga, "payouts", "approve", large)).status_code == 400, "no reason"
        assert (await act(olga, "payouts", "approve", large, reason="known for long")).status_code == 200
        assert await offered(olga, large) == {"paid", "refuse"}
        alone = await act(olga, "payouts", "paid", large, reason="bank 1")
        assert (alone.status_code, "60" in alone.json()["msg"]) == (400, True), "another admin pays it"
        assert (await act(petra, "payouts", "paid", large, reason="bank 1")).status_code == 200
        assert (await act(petra, "payouts", "refuse", large, reason="too late")).status_code == 400
        assert await state(large) == ("paid", "bank 1")
        assert await offered(olga, large) == set()
        small = await asked("small", 60_000)
        for step, reason in (("approve", "fine"), ("paid", "bank 2")):
            assert (await act(olga, "payouts", step, small, reason=reason)).status_code == 200
        refused = await asked("refused", 10_000)
        assert (await act(petra, "payouts", "refuse", refused, reason="no account given")).status_code == 200
        assert [await state(each) for each in (small, refused)] == [("paid", "bank 2"), ("refused", "no account given")]
    async with served.app.read() as work:
        assert (await work.ledger.balances([earnings(miner.id)]))[earnings(miner.id)] == 200_000 - 61_000 - 60_000
        by = [each.by for each in reversed(await work.acts.newest(subject=f"payout:{large}"))]
    assert by == [each.id for each in bosses]
    assert not breaches(await served.stage.audit())


async def test_behind_https_the_session_is_sent_over_nothing_else(sqlite_url: str, tmp_path: Path) -> None:
    for public, secure in (("https://flow.example.org", True), ("http://127.0.0.1:8000", False)):
        folder = tmp_path / str(secure)
        async with served_stage(sqlite_url, folder, lend=False, public_url=public) as served, browser(served) as client:
            if secure:
                await account(served, BOSS, admin=True)
            form = await client.get("/admin/login")
            sent = {each.split("=")[0]: each for each in form.headers.get_list("set-cookie")}
            token = sent[CSRF].split("=", 1)[1].split(";")[0]  # a browser on http would keep it to itself
            login = {"username": BOSS, "password": PASSWORD, "csrftoken": token}
            answer = await client.post("/admin/login", data=login, headers={"Cookie": f"{CSRF}={token}"})
            assert answer.status_code == 303
            sent |= {each.split("=")[0]: each for each in answer.headers.get_list("set-cookie")}
            for name in (COOKIE, CSRF):
                parts = {each.strip().lower() for each in sent[name].split(";")}
                assert ("secure" in parts) is secure, name
            assert {"httponly", "samesite=strict", "path=/admin"} <= {each.strip().lower() for each in sent[COOKIE].split(";")}


async def test_a_dispute_is_decided_once(served: Served) -> None:
    boss = await account(served, BOSS, admin=True)
    await served.app.grant(served.stage.creator.id, 100_000, "grant:1")
    number = (await served.stage.submit("a fox"))[0].id
    async with served.app.read() as work:
        made = await work.generations.get(number)
    await work_off(Worker(served.app, 1))
    dispute = await served.app.run(lambda work: work.disputes.open(number, served.stage.creator, Kind.OTHER, 3))
    async with browser(served) as client:
        await sign_in(client, BOSS)
        page = await client.get("/admin/disputes/detail", params={"pk": dispute.id})
        assert made.prompt in page.text
        picture = re.search(r'src="(/pictures/[^"]+)"', page.text)
        assert picture
        assert (await client.get(picture[1])).headers["content-type"] == "image/webp"
        looked = {"varies": 40.0, "fits": None, "width": 48, "height": 32, "ratio": "1:1", "problem": "<b>odd</b>"}
        await served.app.run(lambda work: work.disputes.inspected(dispute.id, looked))
        for locale in LOCALES:
            await served.app.run(lambda work, to=locale: work.users.set_locale(boss.id, to))  # type: ignore[misc]  # a default
            text = (await client.get("/admin/disputes/detail", params={"pk": dispute.id})).text
            assert [mark in text for mark in ("✓", "✗", "?</strong>", "48x32", "#1", "0:00:0")] == [True] * 6
            assert "&lt;b&gt;odd&lt;/b&gt;" in text, "what others wrote is no markup"
            assert "back_office." not in text, "every word is there"
        assert (await act(client, "disputes", "part", dispute.id, reason="half", amount="1000")).status_code == 400
        assert (await act(client, "disputes", "part", dispute.id, reason="half", amount="1")).status_code == 200
        assert (await act(client, "disputes", "refund", dispute.id, reason="all")).status_code == 400
        assert (await act(client, "disputes", "take_back", dispute.id, reason="as asked")).status_code == 400, "it was their own verdict"
        assert 'data-sa-name="take_back"' in (await client.get("/admin/disputes/detail", params={"pk": dispute.id})).text


async def test_a_verdict_above_the_setting_waits_for_a_second_admin(served: Served) -> None:
    served.app.settings.verdict_confirm_above = 0
    await account(served, BOSS, admin=True)
    await served.app.grant(served.stage.creator.id, 100_000, "grant:1")
    number = (await served.stage.submit("a fox"))[0].id
    await work_off(Worker(served.app, 1))
    dispute = await served.app.run(lambda work: work.disputes.open(number, served.stage.creator, Kind.OTHER, 3))
    async with browser(served) as client:
        await sign_in(client, BOSS)
        assert (await act(client, "disputes", "refund", dispute.id, reason="all")).status_code == 200
    async with served.app.read() as work:
        found = await work.disputes.get(dispute.id)
    assert (found.state, found.proposed) == (DisputeState.OPEN, DisputeState.REFUNDED)
