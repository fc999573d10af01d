"""Money for pools in both chats and languages: bought straight for them, added by sponsors, and by refills."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from bots.chat.chat import SENTENCES
from bots.chat.rendering import render
from bots.chat.types import Paid, Person, Place
from core.pools.models import pool
from core.users.models import Identity, User
from core.words import LOCALES, Words
from core.worker import Worker
from tests.chat.desk import Desk, readable, seated, sentence
from tests.chat.test_votes import CHATS, say
from tests.payments.till import paid, till


@pytest.fixture(params=LOCALES)
async def desk(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with seated(database_url, tmp_path, request.param) as opened:
        settings = opened.stage.app.settings
        opened.stage.app.settings = settings.model_copy(update={"telegram_token": SecretStr("1:a")})
        yield opened


async def told(desk: Desk, kind: str) -> str:
    """What is said unasked, of one kind, to whoever hears it: one chat, in the right language."""
    (reply,) = (await desk.notices(kind)).values()
    return render(Words(SENTENCES), reply, desk.locale).text


@pytest.mark.parametrize("platform", CHATS)
async def test_credits_are_bought_straight_for_the_pool(desk: Desk, platform: str) -> None:
    """By Stars inside Telegram, by the other rails elsewhere; the buttons are the presser's own."""
    desk.platform = platform  # type: ignore[assignment]  # one of both
    begun = await say(desk, "boss", admin=True, command="pool")
    assert begun.message is not None
    assert "pool_buy" in [key.action for row in begun.message.rows for key in row]
    offered = await say(desk, "ann", action="pool_buy")
    assert offered.private and offered.message is not None
    rail = "stars" if platform == "telegram" else "stripe"
    taste = offered.message.rows[0][0].action
    assert taste.startswith(f"buy taste {rail} 1 ") and len(taste.encode()) <= 64
    assert (await say(desk, "bob", action=taste)).private, "not to him"
    alone = desk.event("ann", action=taste, place=Place("ann", private=True))
    answer = await desk.chat.handle(alone)
    app = desk.stage.app
    async with app.read() as work:
        ann, bob = await work.users.find(desk.platform, "ann"), await work.users.find(desk.platform, "bob")
        assert ann is not None and bob is not None
        assert not await work.payments.newest(bob.id)
        (payment,) = await work.payments.newest(ann.id)
    assert payment.community_id == 1
    if platform == "telegram":
        assert answer.message is not None and answer.message.bill is not None
        person = Person("ann", "ann", desk.locale)
        assert await desk.chat.checkout(payment.order, person, payment.amount, "XTR") is None
        for event in ("p1", "p2"):
            await desk.chat.paid(event, person, Paid(payment.order, "charge-1", payment.amount, "XTR", "ann"))
    else:
        await till(desk.stage).desk.work()
        for event in ("p1", "p2"):
            await app.receive("stripe", paid(payment, event))
    assert await desk.stage.balance(pool(1)) == payment.credits
    assert await desk.stage.balance(f"user:{ann.id}:wallet") == 0
    assert ("pool" if desk.locale == "en" else "点数池") in await told(desk, "payment_news")
    shown = await say(desk, "cat", action="pool")
    assert "ann" in sentence(shown) and "100" in sentence(shown)
    statement = await desk.chat.handle(desk.event("ann", action="statement"))
    readable(statement, desk.locale)
    assert "-100" in sentence(statement) and ("given to a pool" if desk.locale == "en" else "捐入点数池") in sentence(statement)


async def user_of(desk: Desk, who: str, credits: int) -> User:
    """Somebody of the desk's platform with so many milli-credits."""
    identity = Identity(desk.platform, who, who, f"dm:{who}" if desk.platform == "discord" else who, desk.locale)
    user = await desk.stage.app.run(lambda work: work.users.resolve(identity))
    await desk.stage.app.grant(user.id, credits, f"grant:{who}:{desk.platform}")
    return user


@pytest.mark.parametrize("platform", CHATS)
async def test_a_sponsor_matches_gifts_until_they_end_it(desk: Desk, platform: str) -> None:
    desk.platform = platform  # type: ignore[assignment]  # as above
    sponsor, _ = await user_of(desk, "ann", 100_000), await user_of(desk, "bob", 100_000)
    await say(desk, "boss", admin=True, command="pool")
    assert (await say(desk, "ann", action="pool_pledge")).private, "a form"
    assert (await say(desk, "ann", action="pool_pledged", answers={"percent": "200", "most": "5"})).private, "no such pledge"
    assert "25" in sentence(await say(desk, "ann", action="pool_pledged", answers={"percent": "50", "most": "25"}))
    given = sentence(await say(desk, "bob", action="give 10"))
    assert "bob" in given and "5" in given and "15" in given, given
    assert await desk.stage.balance(f"user:{sponsor.id}:wallet") == 95_000
    ways = await say(desk, "bob", action="pool_ways")
    assert ways.edit and ways.message is not None and "20" in sentence(ways)
    end = ways.message.rows[1][0].action
    assert (await say(desk, "bob", action=end)).private, "it is not theirs"
    private = await desk.says("ann", command="pool")
    assert private.message is not None and private.message.rows[-1][0].action == end, "also where no group is"
    assert sentence(await desk.press(end, "ann")) != sentence(await desk.press(end, "ann"))
    assert "20" in sentence(await say(desk, "bob", action="give 5"))
    assert await desk.stage.balance(pool(1)) == 20_000


@pytest.mark.parametrize("platform", CHATS)
async def test_admins_and_sponsors_refill_and_are_told_when_they_cannot(desk: Desk, platform: str) -> None:
    """The worker gives at once and says on the card what goes on; the giver ends it in private too."""
    desk.platform = platform  # type: ignore[assignment]  # as above
    boss, _ = await user_of(desk, "boss", 30_000), await user_of(desk, "ann", 30_000)
    await say(desk, "boss", admin=True, command="pool")
    words = {"level": "20", "every": "week", "most": "500"}
    for said in ({"action": "pool_refill"}, {"action": "pool_refilled", "answers": words}):
        assert (await say(desk, "ann", **said)).private, "neither an admin nor a sponsor"
    assert (await say(desk, "boss", admin=True, action="pool_refilled", answers=words | {"every": "year"})).private, "no such refill"
    shown = sentence(await say(desk, "boss", admin=True, action="pool_refilled", answers=words))
    assert "20" in shown and "500" in shown
    worker = Worker(desk.stage.app, 1)
    await worker.sweep()
    assert await desk.stage.balance(pool(1)) == 20_000
    await say(desk, "ann", action="pool_pledged", answers={"percent": "100", "most": "5"})
    assert (await say(desk, "ann", action="pool_refill")).private, "a sponsor is asked"
    shown = sentence(await say(desk, "ann", action="pool_refilled", answers=words | {"level": "100", "every": "day"}))
    assert "480" in shown and "100" in shown
    await worker.sweep()
    assert await desk.stage.balance(pool(1)) == 20_000, "her wallet has less than the 80 that are missing"
    assert "100" in await told(desk, "refill")
    ways = await say(desk, "boss", action="pool_ways")
    assert ways.message is not None
    _, two, _ = (key.action for row in ways.message.rows[1:] for key in row)
    assert two == "refill_end 1"
    assert (await say(desk, "ann", action=two)).private, "it is not hers"
    private = await desk.says("boss", command="pool")
    assert private.message is not None and private.message.rows[-1][0].action == two
    assert sentence(await desk.press(two, "boss")) != sentence(await desk.press(two, "boss"))
    async with desk.stage.app.read() as work:
        assert [each.user_id for each in await work.refills.of(1)] != [boss.id]
    assert "500" in sentence(await say(desk, "boss", action="pool"))
