"""The five roles one after the other in each chat and each language, as people live them: what they read, and what it did to the money.

A picture costs 4.5 Credits: 3.825 are its miner's, 0.225 the author's of its preset.
"""

import re
from pathlib import Path

import pytest

from core.ledger.models import pending, wallet
from core.pools.models import pool
from tests.journeys.stage import Played, played
from tests.journeys.words import WORDS

pytestmark = pytest.mark.timeout(120)
KEY = "sk-demo-0123456789abcdef"
LIMITS = {"price_percent": "100", "max_concurrency": "4", "per_minute": "60", "day_limit": "500", "hours": "always"}
PRESET = {"name": "neon-night", "title": "Neon", "template": "a neon sign that shows {subject}", "options": "-", "tags": "-"}


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("platform", ["telegram", "discord"])
async def test_five_roles(platform: str, language: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    scaled = (platform, language) == ("discord", "zh")
    url = request.getfixturevalue("postgres_url" if scaled else "sqlite_url")
    redis = request.getfixturevalue("redis_url") if scaled else ""
    async with played(platform, language, tmp_path / "data", url, redis) as stage:
        words = WORDS[language]
        await miner_lends(stage, words)
        await creator_buys_and_imagines(stage, words)
        await contributor_publishes(stage, words)
        await community_admin_keeps_a_pool(stage, words)
        await platform_admin_decides(stage, words)
        await the_books_agree(stage)


async def miner_lends(stage: Played, words: dict[str, str]) -> None:
    """By a message in Telegram, which is deleted at once; by the secure form in Discord."""
    miner = stage.people["miner"]
    await miner.says("/lend", words["choose a provider"])
    await miner.presses("lend stability", words["terms"])
    shown = await miner.presses("attest stability", words["hand over"], "/handover/")
    if miner.telegram:
        await miner.says(KEY, words["key works"])
        assert not [each for each in miner.hands.messages(miner.id, miner.chat) if KEY in each["html"]]
    else:
        link = re.search(r"https?://[^\s\"<>]+/handover/[\w-]+", shown["html"])
        assert link
        assert (await stage.page(link[0]))[0] == 200
        assert (await stage.page(link[0], key=KEY))[0] == 200
        await miner.reads(words["key works"])
    await miner.presses("limits")
    await miner.fills(LIMITS, words["listed"])
    await miner.says("/earnings", f"{words['pending']}0 ")


async def creator_buys_and_imagines(stage: Played, words: dict[str, str]) -> None:
    """Poor at first; then with Credits, by Stars in Telegram and on a page in Discord."""
    creator = stage.people["creator"]
    await creator.says("/start", words["welcome"])
    await creator.says("/imagine a fox", words["too poor"])
    await creator.says("/topup", words["top up"])
    if creator.telegram:
        await creator.presses("buy taste stars")
        bill = await creator.hands.wait_for(creator.id, creator.chat, lambda message: bool(message.get("invoice")))
        assert (await creator.hands.pay(creator.id, creator.chat, bill["id"]))["paid"]
    else:
        asked = await creator.presses("buy taste stripe", words["page"])
        url = next(key["url"] for row in asked["rows"] for key in row if key.get("url"))
        assert (await stage.page(url))[0] == 200
        assert (await stage.page(f"{url}/pay", pay="1"))[0] == 200
    await creator.reads(words["arrived"], "100")
    await creator.says("/imagine a red fox in the snow")
    await creator.reads("a red fox in the snow", "4.5", words["seconds"], picture=True)
    await creator.says("/balance", f"{words['wallet']}<b>95.5</b>")
    await stage.people["miner"].says("/earnings", f"{words['pending']}3.825 ", words["delivered one"])


async def contributor_publishes(stage: Played, words: dict[str, str]) -> None:
    """A preset that somebody else uses."""
    author, creator = stage.people["author"], stage.people["creator"]
    await author.says("/preset publish")
    await author.fills(PRESET, words["published"])
    await author.says("/earnings", f"{words['pending']}0 ")
    await creator.says("/imagine a wolf --preset neon-night" if creator.telegram else "/imagine a wolf preset:neon-night")
    await creator.reads("a neon sign that shows a wolf", picture=True)
    await author.says("/earnings", f"{words['pending']}0.225 ")
    await creator.says("/balance", f"{words['wallet']}<b>91</b>")


async def community_admin_keeps_a_pool(stage: Played, words: dict[str, str]) -> None:
    """Members agree to what is dear, and are refused what is the keeper's; the pool pays within its rules, nothing once it is stopped."""
    keeper, creator, guest, club = stage.people["keeper"], stage.people["creator"], stage.people["guest"], stage.club
    await keeper.says("/start", words["welcome"])
    await keeper.says("/pool", words["pool"], chat=club)
    await creator.presses("give 10", words["gave"], chat=club)
    await keeper.presses("pool_votes", chat=club)
    await keeper.fills({"vote_above": "4", "votes": "1"}, words["one agrees"], chat=stage.aside)
    await guest.says("/imagine a lighthouse", chat=club)
    await creator.presses("agree", words["agreed"], chat=club)
    await guest.reads("a lighthouse", picture=True, chat=club)
    await keeper.says("/pool", words["pool"], "5.5", chat=club)
    await keeper.presses("pool_rules", chat=club)
    rules = {"request_cap": "4", "member_cap": "-", "day_cap": "-", "models": "-", "quiet": "-"}
    await keeper.fills(rules, words["at most four"], chat=stage.aside)
    await guest.says("/start", words["welcome"])
    await guest.says("/imagine a castle", chat=club)
    await guest.reads(words["pool refuses"], chat=stage.aside)
    await keeper.presses("pool_switch", words["stopped"], chat=stage.aside)  # on the card that followed the form
    await creator.says("/balance", f"{words['wallet']}<b>81</b>")


async def platform_admin_decides(stage: Played, words: dict[str, str]) -> None:
    """A dispute, a grant, a ban and back, figures and the proof; nobody else may."""
    chief, deputy, creator, guest = (stage.people[name] for name in ("chief", "deputy", "creator", "guest"))
    await creator.says("/audit", words["admins only"])
    await chief.says("/balance", f"{words['wallet']}<b>0</b>")  # whom the operator named by number reads their own language
    await creator.says("/dispute", words["which picture"])
    await creator.presses("report 1", words["what is wrong"])
    await creator.presses("dispute 1 wrong_result", words["dispute is open"])
    await chief.says("/disputes")
    await chief.reads("a red fox in the snow", picture=True)
    await chief.presses("verdict 1 refund")
    await chief.fills({"reason": "Not red."}, words["decided"])
    await creator.reads(words["refunded"], "Not red.")
    await creator.says("/balance", f"{words['wallet']}<b>85.5</b>")
    await chief.says(f"/grant {stage.platform}:{creator.id}")
    await chief.fills({"amount": "20", "reason": "A gift."}, "105.5", "A gift.")
    await chief.says(f"/ban {stage.platform}:{guest.id}")
    await chief.fills({"reason": "Spam."}, words["banned"], "Spam.")
    await guest.reads(words["frozen"], "Spam.")
    await guest.says("/topup", words["is frozen"])
    await chief.says(f"/unban {stage.platform}:{guest.id}")
    await chief.fills({"reason": "A mistake."}, "A mistake.")
    await guest.reads(words["open again"], "A mistake.")
    await deputy.says("/start", words["welcome"])
    await deputy.says("/stats", words["figures"])
    await deputy.reads(words["chart"], picture=True)
    await deputy.says("/audit", words["books agree"])


async def the_books_agree(stage: Played) -> None:
    """What everybody has, in milli-credits, and the proof of all of it."""
    async with stage.books() as app:
        async with app.read() as work:
            users = {name: await work.users.find(stage.platform, each.id) for name, each in stage.people.items()}
            ids = {name: user.id for name, user in users.items() if user}
            wanted = {
                wallet(ids["creator"]): 105_500, wallet(ids["guest"]): 0, pool(1): 5_500,
                pending(ids["miner"]): 2 * 3_825, pending(ids["author"]): 225,
            }  # fmt: skip
            assert await work.ledger.balances(list(wanted)) == wanted
        audit = await app.audit()
    assert audit.clean, audit.findings
