"""A dispute from the report button to the verdict, in the chat; and who may not give one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bots.chat.notices import word
from core.generations.models import State
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
        reply = (await word(desk.stage.app, work, kinds["bundle"])).reply
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
