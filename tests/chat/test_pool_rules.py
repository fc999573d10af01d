"""A pool's rules about who, where and with what, in both languages; what is asked of the platform for them; groups that are gone."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from bots.chat.types import Answer, Event, Person, Place, SendFailed
from core.address import Address
from core.generations.pages import page
from core.ledger.models import wallet
from core.mailbox.models import outbox
from core.pools.models import pool
from core.users.models import Role
from core.words import LOCALES
from core.worker import Worker
from tests.chat.desk import KEY, Desk, readable, seated, sentence
from tests.chat.post import Recorder, unhurried
from tests.stage import PRICE, work_off

GROUP, SERVER = "-100", "900"
HERE = Place(GROUP, private=False, community=GROUP, channels=(GROUP,), title="Aether Club", channel="Aether Club")
RULER = replace(HERE, admin=True)
DOOR = Place("ada", private=True)
ROLES = tuple((f"{number}", f"Role {number}") for number in range(1, 13))


@pytest.fixture(params=[("en", "sqlite_url"), ("zh", "postgres_url")], ids=LOCALES)
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    """Each language on one of the two databases: what the rules are on both, tests/pools tests."""
    locale, url = request.param
    async with seated(request.getfixturevalue(url), tmp_path, locale) as opened:
        yield opened


@pytest.fixture
async def plain(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    """Where neither the language nor the database matters."""
    async with seated(sqlite_url, tmp_path, "en") as opened:
        yield opened


async def begun(desk: Desk, credits: int = 50) -> None:
    """A pool of the group, with so many Credits."""
    await desk.says(place=RULER, command="pool")
    await desk.says("bo", place=HERE, action=f"give {credits}")


async def in_server(
    desk: Desk, *, admin: bool = False, roles: tuple[str, ...] = (), channels: tuple[str, ...] = ("41", "4"), **said: object
) -> Answer:
    """Somebody on the platform that has roles and channels."""
    place = Place("41", private=False, community=SERVER, admin=admin, roles=roles, channels=channels, title="Lounge", channel="#art")
    person = Person("77", "dora", desk.locale)
    event = Event(f"d{next(desk.numbers)}", "discord", person, place, message="5", offered=ROLES, opens_forms=True, **said)  # type: ignore[arg-type]  # by name
    answer = await desk.chat.handle(event)
    if sentence(answer):
        readable(answer, desk.locale)
    return answer


async def shared(desk: Desk) -> None:
    """One pool for the group and the server."""
    await begun(desk)
    code = sentence(await desk.says(place=RULER, action="pool_code")).split("\n")[0].split()[-1].rpartition("：")[2]
    await in_server(desk, admin=True, command="pool", argument=code)


def actions(answer: Answer) -> list[str]:
    return [key.action for row in answer.message.rows for key in row] if answer.message else []


async def test_only_members_with_a_role(desk: Desk) -> None:
    """Roles are chosen where there are roles; elsewhere the rule is not offered, and a wish under it is refused with the reason."""
    await shared(desk)
    assert "pool_who roles" not in actions(await desk.says(place=RULER, action="pool_who"))
    assert (await desk.says(place=RULER, action="pool_who roles")).private, "also not by a forged press"
    who = await in_server(desk, admin=True, action="pool_who roles")
    assert "pool_roles" in actions(who)
    assert (await in_server(desk, action="pool_role 7 0")).private, "only whoever administers the server"
    assert (await in_server(desk, roles=("7",), command="imagine", argument="a fox")).private, "no role is chosen yet"
    first = await in_server(desk, admin=True, action="pool_roles")
    assert [each for each in actions(first) if each.startswith("pool_role")] == [f"pool_role {n} 0" for n in range(1, 11)] + [
        "pool_roles 10"
    ]
    assert "pool_role 12 10" in actions(await in_server(desk, admin=True, action="pool_roles 10"))
    for forged in ("99", "7"):
        chosen = await in_server(desk, admin=True, action=f"pool_role {forged} 0")
    assert "Role 7" in sentence(chosen)
    assert (await in_server(desk, roles=("8",), command="imagine", argument="a fox")).private
    assert not (await in_server(desk, roles=("8", "7"), command="imagine", argument="a fox")).private
    refused = await desk.says(place=HERE, command="imagine", argument="a fox")
    assert refused.private and "Telegram" in sentence(refused) and "Discord" in sentence(refused)
    assert actions(refused)[0].startswith("pay_me ")
    assert "Role 7" in sentence(await desk.says(place=HERE, command="pool"))
    await in_server(desk, admin=True, action="pool_role 7 0")
    assert (await in_server(desk, roles=("7",), command="imagine", argument="a fox")).private


async def test_only_in_some_channels_and_with_some_presets(desk: Desk) -> None:
    await shared(desk)
    assert (await desk.says(place=HERE, action="pool_here")).private
    assert "#art" in sentence(await in_server(desk, admin=True, action="pool_here"))
    assert not (await in_server(desk, command="imagine", argument="a fox")).private
    assert (await in_server(desk, channels=("4",), command="imagine", argument="a fox")).private, "a channel is no part of its thread"
    assert (await desk.says(place=HERE, command="imagine", argument="a fox")).private
    assert "Aether Club" in sentence(await desk.says(place=RULER, action="pool_here")), "the group too"
    topic = replace(HERE, channels=(f"{GROUP}/5", GROUP))
    assert not (await desk.says(place=topic, command="imagine", argument="a fox")).private, "a topic is a part of its group"
    card = sentence(await desk.says(place=HERE, command="pool"))
    assert "#art" in card and "Aether Club" in card
    assert "pool_everywhere" not in actions(await desk.says(place=RULER, action="pool_everywhere"))
    assert (await in_server(desk, admin=True, action="pool_with", answers={"presets": "no-such-thing"})).private
    assert "neon-shoe" not in sentence(await desk.says(place=HERE, command="pool"))
    assert "logo-mark" in sentence(await in_server(desk, admin=True, action="pool_with", answers={"presets": "Logo-Mark"}))
    assert (await desk.says(place=HERE, command="imagine", argument="a fox")).private
    assert not (await desk.says(place=HERE, command="imagine", argument="a fox --preset logo-mark")).private
    assert "logo-mark" in sentence(await desk.says(place=HERE, command="pool"))


async def test_the_pool_pays_for_the_buttons_below_a_picture(desk: Desk) -> None:
    """As for /imagine: by its rules, else what its refusal offers; with `--pay me` that one alone was the creator's."""
    await desk.stage.lend(KEY)
    await begun(desk)
    await desk.says(place=HERE, command="imagine", argument="a fox --pay me")
    await work_off(Worker(desk.stage.app, 1))
    for pressed in ("again 1", "vary 1", "upscale 1"):
        assert not (await desk.says("bo", place=HERE, action=pressed)).private
    assert not (await desk.says(place=HERE, action="edited 1", answers={"prompt": "a hat"})).private
    async with desk.stage.app.read() as work:
        made = {user: await page(work.connection, user, 9) for user in (desk.user.id, desk.user.id - 1)}
    payers = [each.payer for each in (*reversed(made[desk.user.id]), *made[desk.user.id - 1])]
    assert payers == [wallet(desk.user.id)] + [pool(1)] * 4
    await desk.says(place=RULER, action="pool_set", answers={"member_cap": "5"})
    refused = await desk.says("bo", place=HERE, action="vary 1")
    assert refused.private
    own = actions(refused)[0]
    assert not (await desk.says("bo", place=HERE, action=own)).private
    assert not (await desk.press("again 1")).private, "in private there is no pool"
    async with desk.stage.app.read() as work:
        (paid, *_), (alone, *_) = [await page(work.connection, user, 9) for user in (desk.user.id - 1, desk.user.id)]
    assert (paid.payer, paid.operation, paid.parent_id) == (wallet(desk.user.id - 1), "edit", 1)
    assert alone.payer == wallet(desk.user.id)


async def test_a_changed_prompt_is_not_the_preset_any_more(plain: Desk) -> None:
    await plain.stage.lend(KEY)
    await begun(plain)
    await plain.says(place=RULER, action="pool_with", answers={"presets": "logo-mark"})
    form = await plain.says(place=HERE, action="fill logo-mark", answers={"subject": "an owl"})
    assert not form.private
    await work_off(Worker(plain.stage.app, 1))
    assert not (await plain.says(place=HERE, action="again 1")).private
    edited = await plain.says(place=HERE, action="edited 1", answers={"prompt": "a hat"})
    assert edited.private
    assert not (await plain.says(place=HERE, action=actions(edited)[0])).private
    assert (await plain.says(place=HERE, action="again 3")).private, "its number goes along, its words do not"


async def test_the_platform_is_asked_when_it_matters(plain: Desk) -> None:
    """Of every wish that a pool may pay for: in a discussion group whoever comments speaks, and is no member."""
    ask, said = plain.chat.asks, plain.event
    assert await ask(said(place=HERE, command="imagine")) is None, "no pool"
    assert await ask(said(place=HERE, command="pool")) == HERE, "who begins one?"
    await begun(plain)
    asked: dict[str, Place | None] = {}
    for who in ("all", "list", "admins"):
        await plain.says(place=RULER, action=f"pool_who {who}")
        asked[who] = await ask(said(place=HERE, command="imagine"))
    assert asked == {"all": HERE, "list": HERE, "admins": HERE}
    await plain.says(place=RULER, action="pool_who all")
    for quiet in ({"command": "pool"}, {"command": "balance"}, {"action": "pool_uses"}, {"action": "give 10"}, {"text": "hello"}):
        assert await ask(said(place=HERE, **quiet)) is None, quiet
    assert await ask(said(command="imagine")) is None, "in private"
    for loud in ({"command": "pool", "argument": "CODE"}, {"action": "pool_switch"}, {"action": "again 1"}):
        assert await ask(said(place=HERE, **loud)) == HERE, loud
    await plain.says(place=RULER, action="pool_switch")
    assert await ask(said(place=HERE, action="again 1")) is None, "a pool that is stopped pays for nobody"


async def test_who_has_left_spends_no_more(desk: Desk) -> None:
    """A refusal is read in private, and its buttons are pressed there: whoever has left the group meanwhile is told so."""
    await begun(desk)
    await desk.says(place=RULER, action="pool_set", answers={"request_cap": "4"})
    over = await desk.says(place=HERE, command="imagine", argument="a fox")
    cheaper = actions(over)[-1]
    assert cheaper.startswith("cheaper ")
    event = desk.event(action=cheaper)
    about = await desk.chat.asks(event)
    assert about == HERE
    left = await desk.chat.handle(replace(event, about=replace(about, member=False)))
    assert left.private and actions(left)[0].startswith("pay_me ")
    assert await desk.stage.balance(pool(1)) == 50_000
    assert (await desk.says(place=replace(HERE, member=False), command="imagine", argument="a fox --model core")).private


async def test_the_card_of_a_group_in_the_private_chat(desk: Desk) -> None:
    """A form of a group is answered in private: the card that follows there is of that group, for whoever the platform knows in it."""
    await begun(desk)
    await desk.says(place=RULER, action="pool_presets")
    event = desk.event(text="logo-mark")
    assert await desk.chat.asks(event) == RULER
    refused = await desk.chat.handle(replace(event, about=HERE))
    assert refused.private, "no admin any more when the form is sent"
    await desk.says(place=RULER, action="pool_presets")
    answer = await desk.says(text="logo-mark", about=RULER)
    assert "logo-mark" in sentence(answer)
    pressed = next(each for each in actions(answer) if each.startswith("pool "))
    assert pressed == f"pool @{GROUP}"
    card = await desk.says(action=pressed, about=await desk.chat.asks(desk.event(action=pressed)))
    assert "Aether Club" in sentence(card)
    for about in (None, replace(HERE, member=False), replace(HERE, chat="-7", community="-7")):
        assert "Aether Club" not in sentence(await desk.says(action=pressed, about=about)), "whoever is not there, or not asked about"
    assert (await desk.says(action=f"pool_switch @{GROUP}", about=HERE)).private
    assert "50" in sentence(await desk.says(action=f"pool_switch @{GROUP}", about=RULER))
    async with desk.stage.app.read() as work:
        found = await work.pools.here("telegram", GROUP)
        said = set(await work.connection.scalars(select(outbox.c.chat).where(outbox.c.kind == "reply", outbox.c.body.contains("@-100"))))
    assert found is not None and not found.policy.enabled
    assert said == {"ada"}, "also what delivery would say again"


async def test_a_picture_asked_for_by_a_form_is_drawn_in_the_group(plain: Desk) -> None:
    await plain.stage.lend(KEY)
    await begun(plain)
    await plain.says(place=HERE, command="imagine", argument="a fox")
    await work_off(Worker(plain.stage.app, 1))
    await plain.says(place=HERE, action="edit_prompt 1")
    event = plain.event(text="a hat")
    assert await plain.chat.asks(event) == HERE
    answer = await plain.chat.handle(replace(event, about=HERE))
    assert answer.outbox is None and answer.toast and "group" in answer.toast
    assert await plain.chat.handle(event) == await plain.chat.handle(event), "again changes nothing"
    async with plain.stage.app.read() as work:
        hat, fox = await page(work.connection, plain.user.id, 5)
    assert (hat.prompt, hat.payer, hat.address) == ("a hat", pool(1), fox.address)


async def test_a_group_that_is_gone_and_its_pool(desk: Desk) -> None:
    """Removed, the Credits are kept and whoever gave is told; an admin of the platform, with a reason, brings the pool to another group."""
    await desk.stage.lend(KEY)
    await begun(desk)
    await desk.says(place=HERE, command="imagine", argument="a fox")
    await work_off(Worker(desk.stage.app, 1))
    before = sentence(await desk.says("bo", command="pool"))
    assert "Aether Club" in before and "45.5" in before
    for _ in range(2):
        await desk.chat.present("telegram", "gone", GROUP, here=False)
    gone = await desk.says("bo", command="pool")
    assert "45.5" in sentence(gone) and "#1" in sentence(gone) and len(sentence(gone)) > len(before)
    assert "4.5" in sentence(await desk.press("pool_given 1", "bo")), "where it went"
    assert "4.5" not in sentence(await desk.press("pool_given 1")), "who gave nothing sees nothing"
    admin = await desk.stage.person("olga")
    await desk.stage.app.run(lambda work: work.users.add_role(admin.id, Role.ADMIN))
    assert (await desk.says(command="rescue", argument="1")).private
    await desk.chat.handle(desk.event("olga", command="rescue", argument="#1"))
    words = sentence(await desk.chat.handle(desk.event("olga", text="Its founder proved it.")))
    code = words.split("\n")[0].split()[-1].rpartition("：")[2]
    there = Place("-7", private=False, community="-7", admin=True, title="New Club")
    assert "45.5" in sentence(await desk.says(place=there, command="pool", argument=code))
    assert sentence(await desk.says("bo", command="pool")) == before
    await desk.chat.handle(desk.event("olga", command="rescue", argument="1"))
    again = sentence(await desk.chat.handle(desk.event("olga", text="Once more.")))
    assert code not in again and "/pool" in again, "a group has the bot"
    await desk.chat.present("telegram", "back", GROUP, here=True)
    assert "45.5" in sentence(await desk.says(place=HERE, command="pool")), "as before"
    async with desk.stage.app.read() as work:
        assert [each.act for each in await work.acts.newest(subject=pool(1))] == ["rescue"]


class Mover(Recorder):
    """A platform whose group became another; what is sent to the old one is refused."""

    async def send(self, chat: str, message: object, nonce: str) -> str:
        self._moved(chat)
        return await super().send(chat, message, nonce)  # type: ignore[arg-type]  # as it is

    async def edit(self, chat: str, message_id: str, message: object) -> None:
        self._moved(chat)
        await super().edit(chat, message_id, message)  # type: ignore[arg-type]  # as it is

    @staticmethod
    def _moved(chat: str) -> None:
        if chat == GROUP:
            raise SendFailed("gone", "upgraded", moved_to="-1007")


async def test_what_is_said_in_a_group_goes_with_it(plain: Desk) -> None:
    """The message about a picture cannot be edited in the old group: it is said anew in the new one, and the picture follows."""
    await plain.stage.lend(KEY)
    await begun(plain)
    async with plain.stage.app.begin() as work:
        await work.mailbox.drop_chat(Address("telegram", GROUP), "said")
    await plain.chat.sent(await plain.says(place=HERE, command="imagine", argument="a fox"), "11")
    sender = Mover()
    delivery = unhurried(plain.stage, sender)
    async with plain.stage.app.begin() as work:
        await work.mailbox.touch(["generation:1"])
    while await delivery.deliver():
        pass
    assert sender.of(Address("telegram", "-1007")), "said anew"
    await work_off(Worker(plain.stage.app, 1))
    while await delivery.deliver():
        pass
    async with plain.stage.app.read() as work:
        rows = list(await work.connection.execute(select(outbox.c.chat, outbox.c.state).where(outbox.c.subject == "generation:1")))
        found = await work.pools.here("telegram", "-1007")
    assert rows and {(row.chat, row.state) for row in rows} == {("-1007", "done")}
    assert found is not None and await plain.stage.balance(pool(1)) == 50_000 - PRICE


async def test_a_group_that_was_deleted_shows_when_something_is_said_there(plain: Desk) -> None:
    """No platform tells of it; and whoever speaks in a group proves that it is there."""
    await begun(plain)
    async with plain.stage.app.begin() as work:
        await work.mailbox.drop_chat(Address("telegram", GROUP), "said")
    sender = Recorder()
    sender.trouble[GROUP].append(SendFailed("gone", "Forbidden: the group chat was deleted"))
    await plain.chat.sent(await plain.says(place=HERE, command="imagine", argument="a fox"), None)
    delivery = unhurried(plain.stage, sender)
    while await delivery.deliver():
        pass
    gone = []
    for said in ("", "pool"):
        if said:
            await plain.says(place=HERE, command=said)
        async with plain.stage.app.read() as work:
            gone.append(await work.pools.gone([1]))
    assert gone == [{1}, set()]
