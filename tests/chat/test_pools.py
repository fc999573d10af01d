"""/pool in both languages: one pool for a Telegram group and a Discord server, who sets its rules, and what it does not pay for."""

import json
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import select

from bots.chat.chat import SENTENCES
from bots.chat.pools import asking
from bots.chat.types import Answer, Event, Person, Place
from core.address import Address
from core.generations.pages import page
from core.ledger.models import held_account, wallet
from core.mailbox.models import Delivery, outbox
from core.pools.models import pool
from core.words import LOCALES, Text, Words
from core.worker import Worker
from tests.chat.desk import KEY, Desk, readable, seated, sentence
from tests.chat.post import Recorder, unhurried
from tests.stage import PRICE, work_off

GROUP, SERVER = "-100", "900"
RULES = {"request_cap": "-", "member_cap": "5", "day_cap": "20", "models": "-", "quiet": "-"}


@pytest.fixture(params=LOCALES)
async def desk(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with seated(database_url, tmp_path, request.param) as opened:
        yield opened


async def in_group(desk: Desk, who: str = "ada", *, admin: bool = False, **said: object) -> Answer:
    return await desk.says(who, place=Place(GROUP, private=False, community=GROUP, admin=admin), **said)


async def in_server(desk: Desk, *, admin: bool = False, **said: object) -> Answer:
    """Somebody else, on the other platform."""
    place = Place("c1", private=False, community=SERVER, admin=admin)
    event = Event(f"d{next(desk.numbers)}", "discord", Person("77", "dora", desk.locale), place, message="5", **said)  # type: ignore[arg-type]  # by name
    answer = await desk.chat.handle(event)
    if sentence(answer):
        readable(answer, desk.locale)
    return answer


async def test_one_pool_for_both_platforms(desk: Desk) -> None:
    await desk.stage.lend(KEY)
    assert (await in_group(desk, command="pool")).private, "whoever does not administer the group begins none"
    begun = await in_group(desk, admin=True, command="pool")
    assert not begun.private
    given = await in_group(desk, "bo", action="give 10")
    assert "10" in sentence(given)
    code = sentence(await in_group(desk, admin=True, action="pool_code")).split("\n")[0].split()[-1].rpartition("：")[2]
    assert (await in_server(desk, command="pool", argument=code)).private, "somebody who does not administer the server"
    joined = await in_server(desk, admin=True, command="pool", argument=code)
    assert "10" in sentence(joined)
    assert sentence(await in_server(desk, command="imagine", argument="a fox"))
    await work_off(Worker(desk.stage.app, 1))
    assert await desk.stage.balance(pool(1)) == 10_000 - PRICE
    uses = sentence(await in_group(desk, action="pool_uses"))
    assert "4.5" in uses
    assert "fox" not in uses
    assert "10" in sentence(await desk.says("bo", command="pool")), "in private: what one gave"
    assert sentence(await desk.says("ada", command="pool"))


async def test_what_the_pool_does_not_pay_for_is_paid_otherwise(desk: Desk) -> None:
    await in_group(desk, admin=True, command="pool")
    await in_group(desk, "bo", action="give 50")
    refused = await in_group(desk, action="pool_set", answers=RULES)
    assert refused.private, "only whoever administers the group sets rules"
    assert "20" in sentence(await in_group(desk, admin=True, action="pool_set", answers=RULES))
    assert not (await in_group(desk, command="imagine", argument="one")).private
    over = await in_group(desk, command="imagine", argument="two --ar 16:9")
    assert over.private
    assert over.message is not None
    own = over.message.rows[0][0].action
    assert (await in_group(desk, "bo", action=own)).private, "somebody else's wish is not theirs to pay"
    assert (await desk.stage.balance(held_account(wallet(desk.user.id)))) == 0
    assert not (await in_group(desk, action=own)).private
    assert (await in_group(desk, action=own)).private, "once"
    async with desk.stage.app.read() as work:
        newest, first = await page(work.connection, desk.user.id, 5)
    assert (newest.payer, newest.prompt, newest.parameters.ratio) == (wallet(desk.user.id), "two", "16:9")
    assert first.payer == pool(1)
    assert not (await in_group(desk, command="imagine", argument="three --pay me")).private
    assert sentence(await in_group(desk, admin=True, action="pool_switch"))
    assert not (await in_group(desk, "bo", command="imagine", argument="four")).private, "a pool that is stopped leaves it to the wallet"


async def test_a_pool_that_does_not_suffice_offers_a_cheaper_model_and_asks(desk: Desk) -> None:
    """In Telegram the refusal is read in private; the picture and the asking are in the group all the same."""
    await in_group(desk, admin=True, command="pool")
    await in_group(desk, "bo", action="give 10")
    over = await in_group(desk, command="imagine", argument="a fox --model ultra --seed 7")
    assert over.private and over.message is not None
    own, ask, cheaper = (key for row in over.message.rows for key in row)
    assert own.action.startswith("pay_me ")
    assert "3.75" in cheaper.label
    assert sentence(await desk.press(ask.action, "bo")) == sentence(await desk.press("pool_ask x")), "the asker alone"
    assert sentence(await desk.press(ask.action)) != sentence(await desk.press(ask.action)), "once an hour"
    assert (await desk.press(cheaper.action)).private
    assert sentence(await desk.press(cheaper.action)) == sentence(await desk.press("pay_me x")), "once"
    async with desk.stage.app.read() as work:
        (made,) = await page(work.connection, desk.user.id, 5)
        said = await work.connection.execute(select(outbox).where(outbox.c.chat == GROUP, outbox.c.kind.in_(("pool_ask", "generation"))))
        kinds = [row.kind for row in said]
    assert (made.payer, made.held, made.parameters.seed, made.address) == (pool(1), 3_750, 7, Address("telegram", GROUP))
    assert kinds == ["pool_ask", "generation"]
    await in_group(desk, admin=True, action="pool_set", answers=RULES | {"request_cap": "4"})
    poor = await in_group(desk, command="imagine", argument="a fox --style anime")
    assert poor.message is not None
    assert poor.message.rows[0][0].action.startswith("pay_me ")
    assert not [key for row in poor.message.rows for key in row if key.action.startswith("cheaper")], "no other model takes all of it"


async def test_the_asking_is_the_card_of_the_pool(desk: Desk) -> None:
    await desk.chat.sent(await in_group(desk, admin=True, command="pool"), "1")
    over = await in_group(desk, command="imagine", argument="a fox")
    assert over.message is not None
    await in_group(desk, action=over.message.rows[0][1].action)
    sender = Recorder()
    delivery = unhurried(desk.stage, sender)
    while await delivery.deliver():
        pass
    (said,) = sender.of(Address("telegram", GROUP))
    assert Words(SENTENCES).say(Text("pool_ask", {"name": "ada"}), desk.locale) in said


async def test_members_ask_to_be_let_and_admins_let_them(desk: Desk) -> None:
    await desk.chat.sent(await in_group(desk, admin=True, command="pool"), "1")
    await in_group(desk, "bo", action="give 50")
    assert (await in_group(desk, action="pool_who list")).private, "only whoever administers the group"
    assert not (await in_group(desk, admin=True, action="pool_who admins")).private
    by_admin = await in_group(desk, admin=True, command="imagine", argument="one")
    assert not by_admin.private
    assert (await in_group(desk, command="imagine", argument="two")).private
    await in_group(desk, admin=True, action="pool_who list")
    refused = await in_group(desk, command="imagine", argument="three")
    assert refused.private and refused.message is not None
    asks = refused.message.rows[0][1].action
    let = f"pool_let {desk.user.id}"
    assert (await in_group(desk, "bo", admin=True, action=let)).private, "nobody is let who has not asked"
    await desk.press(asks)
    async with desk.stage.app.read() as work:
        (row,) = await work.connection.execute(select(outbox).where(outbox.c.chat == GROUP, outbox.c.kind == "pool_let"))
        reply = await asking(
            work, Delivery(row.id, Address("telegram", GROUP), row.kind, None, json.loads(row.body), False, 0, None, 0, "")
        )
    assert [key.action for line in reply.rows for key in line] == [let]
    assert (await in_group(desk, action=let)).private, "nobody lets themselves"
    assert "ada" in sentence(await in_group(desk, "bo", admin=True, action=let))
    assert not (await in_group(desk, command="imagine", argument="four")).private
    assert "ada" not in sentence(await in_group(desk, "bo", admin=True, action=f"pool_drop {desk.user.id}"))
    assert (await in_group(desk, command="imagine", argument="five")).private


async def test_prompts_are_shown_where_the_rules_say_so(desk: Desk) -> None:
    await desk.stage.lend(KEY)
    await in_group(desk, admin=True, command="pool")
    await in_group(desk, "bo", action="give 50")
    for prompt in ("hidden fox", "shown owl"):
        await in_group(desk, command="imagine", argument=prompt)
        await work_off(Worker(desk.stage.app, 1))
        if prompt == "hidden fox":
            assert (await in_group(desk, action="pool_prompts")).private
            await in_group(desk, admin=True, action="pool_prompts")
    uses = sentence(await in_group(desk, "bo", action="pool_uses"))
    assert "shown owl" in uses and "hidden fox" not in uses
    await in_group(desk, admin=True, action="pool_prompts")
    assert "owl" not in sentence(await in_group(desk, "bo", action="pool_uses"))


async def test_a_pool_goes_with_its_group_when_that_gets_another_id(desk: Desk) -> None:
    await in_group(desk, admin=True, command="pool")
    await in_group(desk, "bo", action="give 50")
    for event in ("to", "from", "to"):
        await desk.chat.moved("telegram", event, GROUP, "-1007")
    there = Place("-1007", private=False, community="-1007", admin=True)
    assert "50" in sentence(await desk.says("ada", command="pool", place=there))
    assert (await in_group(desk, action="pool")).private, "no pool under the old id"
    assert "50" in sentence(await desk.says("bo", command="pool")), "whoever gave sees it as before"
    assert "50" not in sentence(await in_group(desk, admin=True, command="pool")), "another one"
    await desk.chat.moved("telegram", "late", GROUP, "-1007")
    assert "50" in sentence(await desk.says("ada", command="pool", place=there)), "a pool begun under the new id stays"


@pytest.mark.parametrize("amount", ["0", "-5", "x", "²", "1e9", "0.0001", "999999"])
async def test_what_is_no_gift(desk: Desk, amount: str) -> None:
    await in_group(desk, admin=True, command="pool")
    answer = await in_group(desk, action="give", answers={"amount": amount})
    assert answer.private
    assert sentence(answer)
    assert await desk.stage.balance(pool(1)) == 0


@pytest.mark.parametrize("wrong", [{"day_cap": "x"}, {"models": "nothing"}, {"quiet": "25-3"}, {"member_cap": "0"}])
async def test_what_is_no_rule(desk: Desk, wrong: dict[str, str]) -> None:
    await in_group(desk, admin=True, command="pool")
    answer = await in_group(desk, admin=True, action="pool_set", answers=RULES | wrong)
    assert answer.private
    assert sentence(answer)


async def test_rules_and_gifts_are_asked_for_in_private(desk: Desk) -> None:
    """A form that begins in a group asks its questions in the private chat, and counts for the group."""
    await in_group(desk, admin=True, command="pool")
    assert (await in_group(desk, "bo", action="give")).private
    assert "25" in sentence(await desk.says("bo", text="25"))
    assert await desk.stage.balance(pool(1)) == 25_000
    assert (await in_group(desk, admin=True, action="pool_rules")).private
    for answer in ("-", "5", "20", "-", "-"):
        said = await desk.says("ada", text=answer)
    assert "20" in sentence(said)
    async with desk.stage.app.read() as work:
        found = await work.pools.here("telegram", GROUP)
    assert found is not None
    assert (found.policy.member_cap, found.policy.day_cap) == (5_000, 20_000)


async def test_a_picture_sent_along_is_not_lost(desk: Desk) -> None:
    await in_group(desk, admin=True, command="pool")
    buffer = BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, "PNG")
    over = await in_group(desk, command="imagine", argument="a hat", attachment=buffer.getvalue())
    assert over.message is not None
    assert not (await in_group(desk, action=over.message.rows[0][0].action)).private
    async with desk.stage.app.read() as work:
        (made,) = await page(work.connection, desk.user.id, 5)
    assert made.operation == "edit"
    assert made.source_blob is not None
