"""A dispute from the report button to the verdict, in the chat; and who may not give one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bots.chat.notices import word
from bots.chat.types import Reply
from core.db import DAY
from core.disputes.alert import escalate
from core.generations.models import State
from core.mailbox.models import Sent
from core.mailbox.service import Mailbox
from core.users.models import Identity, Role
from core.words import LOCALES
from core.worker import Worker
from tests.chat.desk import KEY, Desk, refused, seated, sentence
from tests.stage import work_off


@pytest.fixture(params=LOCALES)
async def desk(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with seated(database_url, tmp_path, request.param) as opened:
        yield opened


async def delivered(desk: Desk) -> int:
    await desk.stage.lend(KEY)
    (made,) = await desk.stage.submit("mine", user=desk.user)
    await work_off(Worker(desk.stage.app, 1))
    return made.id


async def make_admin(desk: Desk, who: str) -> None:
    user = await desk.stage.app.run(lambda work: work.users.resolve(Identity("telegram", who, who, who, desk.locale)))
    await desk.stage.app.run(lambda work: work.users.add_role(user.id, Role.ADMIN))


@pytest.mark.parametrize("verdict", ["refund", "reject"])
async def test_from_the_report_to_the_verdict(desk: Desk, verdict: str) -> None:
    number = await delivered(desk)
    asked = await desk.press(f"report {number}")
    assert asked.message is not None
    poor = asked.message.rows[1][0].action
    assert f"#{number}" in sentence(await desk.press(poor))
    assert (await desk.stage.generation(number)).state is State.DISPUTED
    await make_admin(desk, "bo")
    queue = await desk.says("bo", command="disputes")
    assert queue.private and "1" in sentence(queue)
    async with desk.stage.app.begin() as work:
        kinds = {each.kind: each for each in await work.mailbox.take_deliveries(["telegram"], 50)}
        reply = (await word(desk.stage.app, kinds["bundle"])).reply
    assert reply is not None and len(reply.media) == 1
    press = next(key.action for key in reply.rows[0] if key.action.endswith(verdict))
    assert sentence(await desk.press(press, "bo"))  # the form's one question
    told = await desk.says("bo", text="the picture is blank")
    assert "#1" in sentence(told)
    expected = {"refund": State.REFUNDED, "reject": State.DELIVERED}[verdict]
    assert (await desk.stage.generation(number)).state is expected
    assert sentence(await desk.press("disputes", "bo"))


async def test_the_command_lists_what_can_be_disputed(desk: Desk) -> None:
    assert sentence(await desk.says(command="dispute"))
    number = await delivered(desk)
    listed = await desk.says(command="dispute")
    assert listed.message is not None
    assert listed.message.rows[0][0].action == f"report {number}"
    assert f"#{number}" in sentence(await desk.says(command="dispute", argument=str(number)))


@pytest.mark.parametrize(
    "said", [{"command": "disputes"}, *({"action": action} for action in ("disputes", "verdict 1 refund", "decide 1 refund"))]
)
async def test_nobody_but_an_admin_decides(desk: Desk, said: dict[str, str]) -> None:
    number = await delivered(desk)
    await desk.press(f"dispute {number} other")
    await refused(desk, **said)
    await refused(desk, action="decide 1 refund", answers={"reason": "because I say so"})


@pytest.mark.parametrize("action", ["report 99", "dispute 99 other", "report ²", "dispute"])
async def test_a_picture_that_is_not_theirs(desk: Desk, action: str) -> None:
    await refused(desk, action=action)


async def test_a_second_one_is_refused(desk: Desk) -> None:
    number = await delivered(desk)
    await desk.press(f"dispute {number} failed")
    await refused(desk, action=f"dispute {number} other")


async def test_parts_goodwill_and_an_answer(desk: Desk) -> None:
    """The miner answers once, an admin gives goodwill; amounts that are none are refused."""
    number = await delivered(desk)
    miner = desk.stage.miner.name
    await desk.stage.app.run(lambda work: work.users.set_locale(desk.stage.miner.id, desk.locale))
    await desk.press(f"dispute {number} other")
    assert sentence(await desk.press("answer_dispute 1", miner))
    assert sentence(await desk.says(miner, text="as asked"))
    await refused(desk, who=miner, action="answer_dispute 1", answers={"answer": "once more"})
    await refused(desk, action="answer_dispute 1", answers={"answer": "not mine to answer"})
    await make_admin(desk, "bo")
    for amount in ("0", "x", "4.501", "-1"):
        await refused(desk, who="bo", action="decide 1 goodwill", answers={"amount": amount, "reason": "sorry"})
    await refused(desk, who="bo", action="decide 1 part", answers={"amount": "4.5", "reason": "sorry"})
    assert sentence(await desk.press("verdict 1 part", "bo"))
    assert sentence(await desk.says("bo", text="2"))
    assert "2" in sentence(await desk.says("bo", text="half"))
    assert (await desk.stage.generation(number)).state is State.DELIVERED
    assert sentence(await desk.press("disputes 1", "bo"))


async def drain(desk: Desk) -> list[tuple[str, Reply]]:
    """All that waits to be said, in the order of saying, as (kind, words)."""
    said = []
    async with desk.stage.app.begin() as work:
        box = Mailbox(work.connection, work.now + 3 * DAY)  # when nothing is leased any more
        while rows := await box.take_deliveries(["telegram"], 50):
            for row in rows:
                if row.kind not in ("reply", "generation") and (reply := (await word(desk.stage.app, row)).reply) is not None:
                    said.append((row.kind, reply))
                await box.delivered([Sent(row.id, "1")])
    return said


async def shown(desk: Desk, who: str, **said: str) -> Reply:
    """The bundle that follows."""
    assert sentence(await desk.says(who, **said) if "command" in said else await desk.press(said["action"], who))
    return [reply for kind, reply in await drain(desk) if kind == "bundle"][-1]


def actions(reply: Reply) -> list[str]:
    return [key.action for row in reply.rows for key in row]


async def test_two_admins_take_propose_confirm_and_reverse(desk: Desk) -> None:
    number = await delivered(desk)
    await desk.press(f"dispute {number} other")
    await make_admin(desk, "bo")
    await make_admin(desk, "cy")
    desk.stage.app.settings.verdict_confirm_above = 4
    assert "take 1" in actions(await shown(desk, "bo", command="disputes"))
    assert "30" in sentence(await desk.press("take 1", "bo"))
    for action in ("take 1", "decide 1 reject"):
        await refused(desk, who="cy", action=action, answers={"reason": "as asked"} if "decide" in action else {})
    await desk.press("verdict 1 reject", "bo")
    assert "#1" in sentence(await desk.says("bo", text="as asked"))
    assert "verdict 1 refund again" in actions(await shown(desk, "cy", command="disputes", argument="1"))
    await desk.press("verdict 1 refund again", "bo")
    assert "4.5" in sentence(await desk.says("bo", text="seen again"))
    assert (await desk.stage.generation(number)).state is State.DELIVERED
    confirm = next(each for each in actions(await shown(desk, "cy", action="show_dispute 1")) if each.startswith("confirm_verdict"))
    await refused(desk, who="bo", action=confirm)
    await refused(desk, who="cy", action="confirm_verdict 1 partly 1000")
    assert "#1" in sentence(await desk.press(confirm, "cy"))
    assert (await desk.stage.generation(number)).state is State.REFUNDED
    await refused(desk, who="cy", action=confirm)
    await refused(desk, who="cy", action="decide 1 refund again", answers={"reason": "once more"})
    assert actions(await shown(desk, "cy", action="show_dispute 1")) == ["verdict 1 take_back", "disputes 1"]
    await refused(desk, who="cy", action="decide 1 take_back", answers={"reason": "as asked"})
    await desk.press("verdict 1 take_back", "bo")
    assert "4.5" in sentence(await desk.says("bo", text="as asked"))
    assert (await desk.stage.generation(number)).state is State.REFUNDED
    await make_admin(desk, "di")
    confirm = next(each for each in actions(await shown(desk, "di", action="show_dispute 1")) if each.startswith("confirm_verdict"))
    assert "4.5" in sentence(await desk.press(confirm, "di"))
    assert (await desk.stage.generation(number)).state is State.DELIVERED
    told = [desk.chat.words.say(reply.text, desk.locale) for kind, reply in await drain(desk) if kind == "verdict" and reply.text]
    assert [("4.5" in each, "as asked" in each) for each in told] == [(True, True)] * 2, "both sides"
    await refused(desk, who="bo", action="decide 1 take_back", answers={"reason": "once more"})
    assert actions(await shown(desk, "cy", action="show_dispute 1")) == ["disputes 1"]


async def test_whoever_is_asked_to_confirm_and_what_waits(desk: Desk) -> None:
    number = await delivered(desk)
    await desk.press(f"dispute {number} other")
    await make_admin(desk, "bo")
    await make_admin(desk, "cy")
    desk.stage.app.settings.verdict_confirm_above = 0
    await desk.press("verdict 1 goodwill", "bo")
    await desk.says("bo", text="1")
    await desk.says("bo", text="sorry")
    async with desk.stage.app.begin() as work:
        await escalate(work.connection, work.now + 2 * DAY, 24)
    replies = [(kind, reply) for kind, reply in await drain(desk) if kind in ("dispute_confirm", "alert")]
    assert sorted(kind for kind, _ in replies) == ["alert", "alert", "dispute_confirm"]
    for kind, reply in replies:
        assert desk.chat.words.say(reply.text, desk.locale) if reply.text else False
        assert ("confirm_verdict 1 compensated 1000" in actions(reply)) is (kind == "dispute_confirm")
        assert "show_dispute 1" in actions(reply)
