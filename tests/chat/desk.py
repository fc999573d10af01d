"""One person at the chat layer: what they say, whether they can read the answer, and what it changed."""

import html
import itertools
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select

import core.tables  # noqa: F401  # every table, for the dump
from bots.chat.chat import SENTENCES, Chat
from bots.chat.notices import word
from bots.chat.types import Answer, Event, Person, Place, Platform, Reply
from core.address import Address
from core.db import metadata
from core.ledger.models import accounts
from core.mailbox.models import Delivery, outbox
from core.resources.models import Resource
from core.resources.rules import may_lend
from core.users.models import Identity, User
from core.words import Words
from tests.fakes import FakeProvider
from tests.stage import Stage, staged

KEY, OTHER, FOREIGN = "sk-st-0123456789abcdef", "sk-st-fedcba9876543210", "sk-proj-0123456789abcdef"
ANSWERS = {"price_percent": "90", "max_concurrency": "4", "per_minute": "60", "day_limit": "500", "hours": "always"}
MAIL = {"inbox", "outbox"}
"""What was said and answered: the only tables in which a refusal leaves a trace."""
DO = {
    "en": r"/[a-z]{4,}|\bplease\b|\ballowed:|\bchoose\b|\bon sale\b|at most \d|\brevoke it\b|\bwrite to\b|\bhand over\b|\bmust be\b",
    "zh": r"/[a-z]{4,}|请|允许：|在售：|最多 \d",
}


@dataclass
class Desk:
    """The chat layer with one person who reads `locale`, and somebody else."""

    stage: Stage
    locale: str
    chat: Chat
    user: User
    platform: Platform = "telegram"
    numbers: Any = field(default_factory=itertools.count)

    def event(self, who: str = "ada", **said: Any) -> Event:
        """Something that a person says in private, under an id of its own."""
        place = said.pop("place", Place(who, private=True))
        return Event(f"e{next(self.numbers)}", self.platform, Person(who, who, self.locale), place, message="5", **said)

    async def says(self, who: str = "ada", **said: Any) -> Answer:
        """The answer to it, whose sentence is checked for its language."""
        answer = await self.chat.handle(self.event(who, **said))
        if sentence(answer):
            readable(answer, self.locale)
        return answer

    async def imagine(self, argument: str) -> Answer:
        """The answer to /imagine."""
        return await self.says(command="imagine", argument=argument)

    async def press(self, action: str, who: str = "ada") -> Answer:
        """The answer to a pressed button."""
        return await self.says(who, action=action)

    async def press_form(self, action: str, answers: dict[str, str], who: str = "ada") -> Answer:
        """The answer to a sent form."""
        return await self.says(who, action=action, answers=answers)

    async def lent(self, key: str = KEY) -> Resource:
        """A listed resource of the person."""
        return await self.stage.lend(key, self.user)

    async def drafted(self) -> Resource:
        """A resource of the person's whose key is awaited."""
        rule = may_lend(self.stage.app.catalog, "stability")
        return await self.stage.app.run(lambda work: work.resources.draft(self.user.id, rule, self.locale, 20))

    async def notices(self, kind: str) -> dict[str, Reply]:
        """What is said unasked, of one kind, by the chat that hears it; whatever else waits there before."""
        async with self.stage.app.read() as work:
            found = {}
            for row in (await work.connection.execute(select(outbox).where(outbox.c.kind == kind))).all():
                place, body = Address(row.platform, row.chat), json.loads(row.body)
                delivery = Delivery(row.id, place, kind, row.subject, body, False, 0, None, row.created_at, row.key)
                found[row.chat] = (await word(self.stage.app, delivery)).reply
        return {chat: reply for chat, reply in found.items() if reply is not None}

    async def dump(self) -> dict[str, list[str]]:
        """Every row but the mail and empty accounts, and the names of all pictures."""
        found = {}
        async with self.stage.app.read() as work:
            for table in metadata.sorted_tables:
                if table.name not in MAIL:
                    rows = select(table) if table is not accounts else select(accounts).where(accounts.c.balance != 0)
                    found[table.name] = sorted(repr(tuple(each)) for each in await work.connection.execute(rows))
        folder = self.stage.app.settings.data_dir / "blobs"
        return found | {"pictures": sorted(each.name for each in folder.rglob("*") if each.is_file())}


@asynccontextmanager
async def seated(url: str, folder: Path, locale: str, platform: Platform = "telegram", **changes: Any) -> AsyncIterator[Desk]:
    """A Desk on a migrated database: "ada" and "bo" with 100 Credits each, who read that language."""
    async with staged(url, folder, credits=0, events_per_minute=10_000, **changes) as stage:
        stage.provider.prefix = "sk-st-"
        stage.app.providers = {"stability": stage.provider, "openai": FakeProvider("openai", "sk-proj-")}
        for who in ("bo", "ada"):
            identity = Identity(platform, who, who, who, locale)
            user = await stage.app.run(lambda work, i=identity: work.users.resolve(i))  # type: ignore[misc]  # a default
            await stage.app.grant(user.id, 100_000, f"grant:{who}")
        yield Desk(stage, locale, Chat(stage.app, Words(SENTENCES)), user, platform)


def sentence(answer: Answer) -> str:
    """What a person reads, without markup."""
    words = answer.message.text if answer.message else answer.toast or ""
    return html.unescape(re.sub(r"</?(b|i|code)>", "", words))


def readable(answer: Answer, locale: str) -> None:
    """A sentence in that language and no other, whatever is quoted in it."""
    words = re.sub(r"<(code|i)>.*?</\1>", "", answer.message.text if answer.message else answer.toast or "", flags=re.DOTALL)
    assert bool(re.search(r"[\u4e00-\u9fff]", words)) is (locale == "zh"), words
    if locale == "zh":
        assert not re.search(r"[A-Za-z']+(?: [A-Za-z']+){2,}", words), words
    else:
        assert len(re.findall(r"[A-Za-z']+", words)) >= 3, words


async def refused(desk: Desk, *told: str, **said: Any) -> Answer:
    """An event that changes nothing, and its answer, which says all of `told` to the asker alone and what to do next."""
    before = await desk.dump()
    answer = await desk.says(**said)
    words = sentence(answer)
    after = await desk.dump()
    changed = {name: (before[name], each) for name, each in after.items() if each != before[name]}
    assert not changed, changed
    assert answer.private
    assert all(each in words for each in told), words
    assert re.search(DO[desk.locale], words.lower()), f"does not say what to do: {words}"
    return answer
