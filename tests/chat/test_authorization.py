"""Who may do what in the chat: every command and every button against everybody who may say or forge it. One without a line here fails."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bots.chat.chat import SENTENCES
from bots.chat.registry import REGISTRY
from bots.chat.types import Answer
from core.disputes.models import Kind
from core.ledger.models import wallet
from core.presets.models import Draft
from core.users.models import Identity, Role
from core.worker import Worker
from tests.chat.desk import KEY, OTHER, Desk, seated, sentence
from tests.stage import work_off

ACTORS = ("new", "other", "miner", "admin", "frozen", "owner")
"""Somebody never seen; somebody with Credits; a miner; an admin; and whose it is, first frozen, then free. In this order."""


@dataclass(frozen=True)
class Rule:
    """The refusal's code for each actor; "" where it is done. `owner` is whose generation, resource and dispute it is about."""

    owner: str = ""
    others: str | None = None
    new: str | None = None
    admin: str | None = None
    frozen: str = "frozen"

    def expected(self, actor: str) -> str:
        """The code for one of ACTORS."""
        others = self.owner if self.others is None else self.others
        found = {"new": self.new, "admin": self.admin, "frozen": self.frozen, "owner": self.owner}.get(actor)
        return others if found is None else found


OPEN = Rule(frozen="")
MONEY = Rule(new="insufficient_credits")
MINE = Rule(others="generation_not_found")
LENT = Rule(others="resource_not_found")
LENT_ALWAYS = Rule(others="resource_not_found", frozen="")
CANCEL = Rule(owner="not_waiting", others="generation_not_found", frozen="")  # it was cancelled while they were frozen
ADMINS = Rule(owner="admins_only", admin="")
COMMANDS: dict[str, tuple[str, Rule]] = {
    "start": ("", OPEN),
    "help": ("", OPEN),
    "language": ("", OPEN),
    "terms": ("", OPEN),
    "privacy": ("", OPEN),
    "balance": ("", OPEN),
    "history": ("", OPEN),
    "earnings": ("", OPEN),
    "resources": ("", OPEN),
    "paysupport": ("", OPEN),
    "cancel": ("{waiting}", CANCEL),
    "imagine": ("a fox", MONEY),
    "lend": ("", Rule()),
    "topup": ("", Rule()),
    "link": ("", Rule(admin="admin_apart")),
    "dispute": ("{delivered}", MINE),
    "disputes": ("", ADMINS),
    "preset": ("", Rule()),
    "user": ("bo", ADMINS),
    "grant": ("bo", ADMINS),
    "ban": ("bo", ADMINS),
    "unban": ("bo", ADMINS),
    "stats": ("", ADMINS),
    "resource": ("{resource}", ADMINS),
    "maintenance": ("", ADMINS),
    "audit": ("", ADMINS),
    "pool": ("", Rule()),
    "rescue": ("1", Rule(owner="admins_only", admin="pool_not_found")),
    "payout": ("50", Rule(owner="payout_amount")),  # nobody here has earned that much
    "payouts": ("", ADMINS),
}
ACTIONS: dict[str, Rule] = {
    "help lend": OPEN,
    "language en": OPEN,
    "balance": OPEN,
    "history": OPEN,
    "statement": OPEN,
    "receipts": OPEN,
    "paysupport": OPEN,
    "topup": Rule(),
    "buy small stripe": Rule(owner="rail_off"),  # inside Telegram only Stars
    "pool_ways": Rule(owner="pool_not_found"),
    "pool_pledge": Rule(owner="pool_not_found"),
    "pool_pledged": Rule(owner="pool_not_found"),
    "pool_refill": Rule(owner="pool_not_found"),
    "pool_refilled": Rule(owner="pool_not_found"),
    "refill_end 1": Rule(owner="pledge_not_found", frozen="pledge_not_found"),
    "pledge_end 1": Rule(owner="pledge_not_found", frozen="pledge_not_found"),
    "pool_buy": Rule(owner="pool_not_found"),
    "join AAAAAAAAAA": Rule(owner="join_code_expired"),
    "again {delivered}": MINE,
    "edit_prompt {delivered}": MINE,
    "edited {delivered}": Rule(owner="bad_prompt.empty", others="generation_not_found"),
    "vary {delivered}": MINE,
    "upscale {delivered}": MINE,
    "cover {delivered}": Rule(owner="preset_not_found", others="generation_not_found"),  # it was made with no preset
    "cancel {waiting}": CANCEL,
    "report {delivered}": MINE,
    "dispute {delivered} other": MINE,
    "disputes": ADMINS,
    "answer_dispute {dispute}": Rule(),  # the question; the answer is refused to all but whoever earns
    "user bo": ADMINS,
    "grant bo": ADMINS,
    "granted 1": Rule(owner="admins_only", admin="grant_too_large"),
    "ban bo": ADMINS,
    "banned 1": Rule(owner="admins_only", admin="reason_needed"),
    "unban bo": ADMINS,
    "unbanned 1": Rule(owner="admins_only", admin="stands_so"),
    "inspect {resource}": ADMINS,
    "look_again {resource}": ADMINS,
    "stop_resource {resource}": ADMINS,
    "stopped_resource {resource}": Rule(owner="admins_only", admin="reason_needed"),
    "free_resource {resource}": ADMINS,
    "freed_resource {resource}": Rule(owner="admins_only", admin="not_allowed_now"),
    "maintenance": ADMINS,
    "maintained on": Rule(owner="admins_only", admin="reason_needed"),
    "verdict {dispute} refund": ADMINS,
    "verdict {dispute} take_back": ADMINS,
    "decide {dispute} refund": Rule(owner="admins_only", admin="reason_needed"),
    "show_dispute {dispute}": ADMINS,
    "take {dispute}": ADMINS,
    "confirm_verdict {dispute} refunded 4500": Rule(owner="admins_only", admin="not_proposed"),
    "presets -": Rule(),
    "preset logo-mark": Rule(),
    "use_preset logo-mark": Rule(),
    "fill logo-mark": Rule(owner="bad_preset_field"),
    "publish": Rule(),
    "publish_preset": Rule(owner="bad_preset.name"),
    "unlist neon-shoe yes": Rule(others="preset_not_found"),
    "report_preset neon-shoe": Rule(),
    "freeze_preset neon-shoe": ADMINS,
    "frozen_preset neon-shoe": Rule(owner="admins_only", admin="reason_needed"),
    "pool": Rule(owner="pool_not_found"),  # here everybody is in private
    "give 10": Rule(owner="pool_not_found"),
    "pool_uses": Rule(owner="pool_not_found"),
    "pool_rules": Rule(owner="community_admins_only"),
    "pool_who all": Rule(owner="community_admins_only"),
    "pool_prompts": Rule(owner="community_admins_only"),
    "pool_let 1": Rule(owner="community_admins_only"),
    "pool_drop 1": Rule(owner="community_admins_only"),
    "pool_roles": Rule(owner="community_admins_only"),
    "pool_role 1": Rule(owner="community_admins_only"),
    "pool_where": Rule(owner="community_admins_only"),
    "pool_here": Rule(owner="community_admins_only"),
    "pool_everywhere": Rule(owner="community_admins_only"),
    "pool_presets": Rule(owner="community_admins_only"),
    "pool_with": Rule(owner="community_admins_only"),
    "pool_given 1": Rule(owner="pool_not_found"),
    "rescued 1": Rule(owner="admins_only", admin="pool_not_found"),
    "pool_set": Rule(owner="community_admins_only"),
    "pool_switch": Rule(owner="community_admins_only"),
    "pool_strict": Rule(owner="community_admins_only"),
    "pool_votes": Rule(owner="community_admins_only"),
    "pool_votes_set": Rule(owner="community_admins_only"),
    "agree 1": Rule(owner="pool_not_found"),
    "withdraw_wish 1": Rule(owner="ballot_not_found", frozen="ballot_not_found"),
    "pool_code": Rule(owner="community_admins_only"),
    "pay_me telegram:e1": Rule(),
    "cheaper telegram:e1 core": Rule(),
    "pool_ask telegram:e1": Rule(),
    "export": OPEN,
    "erase": Rule(),
    "payout": Rule(),
    "earnings": OPEN,
    "digest off": OPEN,
    "payouts": ADMINS,
    "payout_step 1 paid": Rule(owner="admins_only", admin="payout_not_found"),
    "payout_approve 1": Rule(owner="admins_only", admin="payout_not_found"),
    "payout_paid 1": Rule(owner="admins_only", admin="payout_not_found"),
    "payout_refuse 1": Rule(owner="admins_only", admin="payout_not_found"),
    "lend stability": Rule(),
    "leave": Rule(),
    "attest stability 2025-07-31": Rule(),
    "hand {resource}": LENT,
    "resources": OPEN,
    "resource {resource}": LENT_ALWAYS,
    "resource_stats {resource}": LENT_ALWAYS,
    "limits {resource}": LENT,
    "more_limits {resource}": LENT,
    "set {resource}": LENT,
    "scope {resource} own": LENT,
    "pause {resource}": Rule(owner="not_allowed_now", others="resource_not_found", frozen=""),
    "resume {resource}": Rule(owner="not_allowed_now", others="resource_not_found"),
    "withdraw {resource}": LENT_ALWAYS,
    "revoke {resource}": LENT_ALWAYS,
}


@pytest.fixture
async def desk(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with seated(sqlite_url, tmp_path, "en") as opened:
        yield opened


async def cast(desk: Desk) -> dict[str, int]:
    """Everybody, and what "ada" has: the numbers that a button may name."""
    app, stage = desk.stage.app, desk.stage
    foreign = await stage.lend(OTHER)
    delivered, disputed = await stage.submit("one", "two", user=desk.user)
    await work_off(Worker(app, 1))
    dispute = await app.run(lambda work: work.disputes.open(disputed.id, desk.user, Kind.OTHER, 3))
    mine = await stage.lend(KEY, desk.user)
    (waiting,) = await stage.submit("three", user=desk.user)
    draft = Draft("neon-shoe", "Neon shoe", "a neon {subject}")
    await app.run(lambda work: work.presets.publish(draft, desk.user.id, 20))
    for name, role in (("miner", Role.MINER), ("admin", Role.ADMIN), ("other", Role.CREATOR)):
        user = await app.run(lambda work, n=name: work.users.resolve(Identity("telegram", n, n, n, "en")))  # type: ignore[misc]  # a default
        await app.run(lambda work, u=user.id, r=role: work.users.add_role(u, r))  # type: ignore[misc]  # as above
        await app.grant(user.id, 100_000, f"grant:{name}")
    assert foreign.id != mine.id
    return {"delivered": delivered.id, "waiting": waiting.id, "resource": mine.id, "dispute": dispute.id}


def refusal(answer: Answer) -> str:
    """The code of the refusal that an answer says; empty for any other answer."""
    said = sentence(answer)
    return max((code for code, pattern in REFUSALS if said and pattern.fullmatch(said)), key=len, default="")


def patterns() -> list[tuple[str, re.Pattern[str]]]:
    """What each refusal looks like, whatever its facts."""
    text = (SENTENCES / "en" / "LC_MESSAGES" / "aetherflow.po").read_text(encoding="utf-8")
    found = []
    for code, said in re.findall(r'^msgid "error\.([a-z_.]+)"\nmsgstr "(.*)"$', text, re.MULTILINE):
        parts = re.split(r"\{\w+\}", re.sub(r"</?(?:b|i|code)>", "", said).replace("\\n", "\n").replace('\\"', '"'))
        found.append((code, re.compile(".*".join(map(re.escape, parts)), re.DOTALL)))
    return found


REFUSALS = patterns()


async def ask(desk: Desk, actor: str, said: dict[str, str]) -> str:
    """What becomes of it when that actor says it."""
    if actor in ("frozen", "owner"):
        await desk.stage.app.run(lambda work: work.users.freeze(desk.user.id, actor == "frozen"))
    who = "ada" if actor in ("frozen", "owner") else actor
    return refusal(await desk.says(who, **said))


def test_everything_that_can_be_said_has_its_rule() -> None:
    assert set(COMMANDS) == set(REGISTRY.commands)
    assert {each.split()[0] for each in ACTIONS} == set(REGISTRY.actions)


@pytest.mark.parametrize("name", COMMANDS)
async def test_commands(desk: Desk, name: str) -> None:
    argument, rule = COMMANDS[name]
    filled = argument.format(**await cast(desk))
    found = {actor: await ask(desk, actor, {"command": name, "argument": filled}) for actor in ACTORS}
    assert found == {actor: rule.expected(actor) for actor in ACTORS}


@pytest.mark.parametrize("pressed", ACTIONS)
async def test_buttons(desk: Desk, pressed: str) -> None:
    rule = ACTIONS[pressed]
    filled = pressed.format(**await cast(desk))
    found = {actor: await ask(desk, actor, {"action": filled}) for actor in ACTORS}
    assert found == {actor: rule.expected(actor) for actor in ACTORS}


async def test_nothing_that_was_refused_moved_anything(desk: Desk) -> None:
    numbers = await cast(desk)
    before = await desk.stage.balance(wallet(desk.user.id))
    for pressed in ACTIONS:
        for actor in ("other", "miner", "admin"):
            await ask(desk, actor, {"action": pressed.format(**numbers)})
    assert await desk.stage.balance(wallet(desk.user.id)) == before
