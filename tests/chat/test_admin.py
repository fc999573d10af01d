"""What admins do in the chat, in both languages; as text in a private chat of Discord too, where their commands are not declared."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bots.chat.chat import SENTENCES
from bots.chat.notices import word
from bots.chat.rendering import pictures_of
from core.ledger.models import Leg, Posting, earnings, wallet
from core.mailbox.models import Sent
from core.users.models import Identity, Role
from core.words import LOCALES, Words
from core.worker import Worker
from tests.chat.desk import KEY, Desk, refused, seated, sentence
from tests.stage import work_off


@pytest.fixture(params=LOCALES)
async def desk(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with seated(database_url, tmp_path, request.param) as opened:
        root = await opened.stage.app.run(lambda work: work.users.resolve(Identity("telegram", "root", "root", "root", request.param)))
        await opened.stage.app.run(lambda work: work.users.add_role(root.id, Role.ADMIN))
        yield opened


async def test_look_up_grant_ban_and_back(desk: Desk) -> None:
    card = await desk.says("root", command="user", argument="ada")
    assert card.private
    assert "telegram:ada" in sentence(card)
    assert "100" in sentence(card)
    assert card.message is not None
    grant, ban = (key.action for key in card.message.rows[0])
    assert sentence(await desk.press(grant, "root"))
    assert sentence(await desk.says("root", text="12.5"))
    assert "112.5" in sentence(await desk.says("root", text="a mistake of ours"))
    assert await desk.stage.balance(wallet(desk.user.id)) == 112_500
    assert sentence(await desk.press(ban, "root"))
    banned = await desk.says("root", text="sells keys")
    assert banned.message is not None
    assert banned.message.rows[0][1].action.startswith("unban ")
    await refused(desk, command="imagine", argument="a fox")
    kinds = []
    async with desk.stage.app.begin() as work:
        for row in await work.mailbox.take_deliveries(["telegram"], 50):
            kinds.append((row.address.chat, row.kind))
            if row.kind == "banned":
                assert (await word(desk.stage.app, row)).reply is not None
    assert ("ada", "banned") in kinds
    assert sentence(await desk.press(banned.message.rows[0][1].action, "root"))
    assert sentence(await desk.says("root", text="cleared"))
    assert (await desk.says(command="imagine", argument="a fox")).message is not None


async def test_figures_and_their_chart(desk: Desk) -> None:
    await desk.stage.lend(KEY)
    await desk.stage.submit("a", "b", user=desk.user)
    await work_off(Worker(desk.stage.app, 1))
    for period in ("", "week", "month", "year"):
        assert "2" in sentence(await desk.says("root", command="stats", argument=period))
    async with desk.stage.app.begin() as work:
        rows = await work.mailbox.take_deliveries(["telegram"], 50)
        (chart,) = [each for each in rows if each.kind == "chart"]
        reply = (await word(desk.stage.app, chart)).reply
    assert reply is not None
    reader = chart.body["reader"]
    (picture,) = await pictures_of(desk.stage.app, reply)
    assert picture.data.startswith(b"\x89PNG")
    folder = desk.stage.app.settings.data_dir / "blobs" / "charts"
    assert [each.name for each in folder.iterdir()] == [f"stats-{reader}.png"], "four times asked, one picture"


async def test_the_books_are_proved(desk: Desk) -> None:
    assert "0" not in sentence(await desk.says("root", command="audit")).split()[:1]
    async with desk.stage.app.begin() as work:
        await work.connection.exec_driver_sql("UPDATE accounts SET balance = balance + 1 WHERE address LIKE 'user:%:wallet'")
    assert "user:" in sentence(await desk.says("root", command="audit"))


@pytest.mark.parametrize("who", ["", "nobody", "discord:1", "²", "%"])
async def test_nobody_is_found(desk: Desk, who: str) -> None:
    for command in ("user", "grant", "ban", "unban"):
        await refused(desk, who="root", command=command, argument=who)


@pytest.mark.parametrize("amount", ["0", "-1", "x", "1000.001", "²"])
async def test_what_is_no_grant(desk: Desk, amount: str) -> None:
    await refused(desk, who="root", action=f"granted {desk.user.id}", answers={"amount": amount, "reason": "because"})


async def test_a_key_is_looked_at_stopped_and_freed(desk: Desk) -> None:
    lent = await desk.stage.lend(KEY, desk.user)
    await desk.stage.submit("a", user=desk.user)
    await work_off(Worker(desk.stage.app, 1))
    card = await desk.says("root", command="resource", argument=f"#{lent.id}")
    assert card.private
    assert re.search(r"\$10\.00.{1,2}20\d\d-\d\d-\d\d \d\d:\d\d UTC", sentence(card))
    assert KEY not in sentence(card)
    assert card.message is not None
    assert sentence(await desk.press(card.message.rows[0][0].action, "root"))
    assert "looks odd" in sentence(await desk.says("root", text="looks odd"))
    await refused(desk, action=f"resume {lent.id}")
    for number in ("999", "0", "x", "²", "-1"):
        await refused(desk, who="root", command="resource", argument=number)
    freed = await desk.press(f"free_resource {lent.id}", "root")
    assert sentence(freed)
    assert sentence(await desk.says("root", text="was nothing"))
    assert sentence(await desk.press(f"resume {lent.id}"))
    async with desk.stage.app.begin() as work:
        rows = [each for each in await work.mailbox.take_deliveries(["telegram"], 50) if each.address.chat == "ada"]
        rows += [each for each in await work.mailbox.take_deliveries(["telegram"], 50) if each.address.chat == "ada"]
        assert rows
        for row in rows:
            assert (await word(desk.stage.app, row)).reply is not None


async def test_maintenance_is_a_sentence_for_everybody(desk: Desk) -> None:
    await desk.stage.lend(KEY)
    assert sentence(await desk.says("root", command="maintenance"))
    assert sentence(await desk.says("root", command="maintenance", argument="on"))
    assert "a move" in sentence(await desk.says("root", text="a move"))
    await refused(desk, command="imagine", argument="a fox")
    assert sentence(await desk.press("maintenance", "root"))
    assert "a move" in sentence(await desk.says("root", command="stats"))
    assert sentence(await desk.press("maintenance off", "root"))
    assert sentence(await desk.says("root", text="moved"))
    assert (await desk.says(command="imagine", argument="a fox")).message is not None


async def test_every_alarm_has_its_words(desk: Desk) -> None:
    lent, alerts = await desk.stage.lend(KEY, desk.user), ("rail", "provider", "audit")
    await Worker(desk.stage.app, 1).probe()  # from here on what is gone counts
    async with desk.stage.app.begin() as work:
        for kind in alerts:
            await work.alerts.say(kind, kind, rail="stripe", provider="openai", failed=9, tries=10, lent=2, able=0, checks=["sum"])
            await work.alerts.over(kind, kind, rail="stripe", provider="openai", failed=0, tries=10, lent=2, able=2)
        assert await work.alerts.check_leak(lent, 1_000_000, {})
        await work.controls.close(desk.user, "a move")
        await work.alerts.check_drained()
    said = []
    for _ in range(8):
        async with desk.stage.app.begin() as work:
            for row in await work.mailbox.take_deliveries(["telegram"], 50):
                reply = (await word(desk.stage.app, row)).reply
                assert reply is not None and reply.text is not None
                text = Words(SENTENCES).say(reply.text, desk.locale)
                assert "{" not in text and not text.startswith(("alert.", "notice.")), text
                said.append(reply.text.code)
                await work.mailbox.delivered([Sent(row.id, "1")])
    wanted = {"alert.leak", "alert.drained", "notice.resource_leak"} | {f"alert.{kind}{end}" for kind in alerts for end in ("", ".over")}
    assert wanted <= set(said)


async def test_somebody_takes_their_data_and_leaves(desk: Desk) -> None:
    assert (await desk.says(command="privacy")).message is not None
    exported = await desk.press("export")
    assert exported.private
    assert "/exports/" in sentence(exported)
    assert "100" in sentence(await desk.press("erase"))
    assert sentence(await desk.press("erase yes"))
    assert await desk.stage.balance(wallet(desk.user.id)) == 100_000, "the ledger is kept"
    assert "100" not in sentence(await desk.says(command="balance"))


async def test_a_payout_from_the_wish_to_the_reference(desk: Desk) -> None:
    legs = (Leg("platform:fees", -120_000), Leg(earnings(desk.user.id), 120_000))
    await desk.stage.app.run(lambda work: work.ledger.post(Posting("earned", "release", legs)))
    assert sentence(await desk.says(command="payout"))
    assert "60" in sentence(await desk.says(text="60"))
    await refused(desk, command="payout", argument="50")
    card = await desk.says("root", command="payouts")
    assert card.message is not None
    assert sentence(await desk.press(card.message.rows[0][0].action, "root"))
    approved = await desk.says("root", text="known")
    assert approved.message is not None
    assert sentence(await desk.press(approved.message.rows[0][0].action, "root"))
    assert sentence(await desk.says("root", text="bank-1"))
    assert await desk.stage.balance(earnings(desk.user.id)) == 60_000
    assert sentence(await desk.says("root", command="payouts"))


async def test_a_large_payout_is_paid_by_another_admin(desk: Desk) -> None:
    legs = (Leg("platform:fees", -2_000_000), Leg(earnings(desk.user.id), 2_000_000))
    await desk.stage.app.run(lambda work: work.ledger.post(Posting("earned", "release", legs)))
    await desk.says(command="payout", argument="1000.001")
    assert " 1000 " in sentence(await desk.says("root", command="payouts"))
    approved = await desk.press_form("payout_approve 1", {"reason": "known"}, "root")
    assert approved.message is not None
    await refused(desk, "1000", who="root", action="payout_paid 1", answers={"reason": "bank-1"})
    bo = await desk.stage.app.run(lambda work: work.users.resolve(Identity("telegram", "bo", "bo", "bo", desk.locale)))
    await desk.stage.app.run(lambda work: work.users.add_role(bo.id, Role.ADMIN))
    assert "bank-1" in sentence(await desk.press_form("payout_paid 1", {"reason": "bank-1"}, "bo"))
