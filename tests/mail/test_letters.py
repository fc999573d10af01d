"""Mails about an account from the outbox to the mailbox, on both databases: veiled while they wait, in the reader's language, said once."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import select, update

import cli
from bots.chat.chat import SENTENCES
from bots.chat.delivery import Delivery
from bots.chat.letters import LINK_MINUTES
from bots.mail.outgoing import MailSender
from bots.mail.server import mail_from, mail_server
from core.address import Address
from core.mailbox.models import Notice, outbox
from core.words import Words
from sandbox.mail import MailSandbox
from tests.stage import Stage, staged

ADA = "ada@example.org"
LINK = "https://shop.example/auth/verify?code=abc-123&x=1"


@dataclass
class PostOffice:
    """A stage with a mail server, and the delivery that hands in there."""

    stage: Stage
    server: MailSandbox
    delivery: Delivery

    async def write(
        self, code: str, key: str = "k1", locale: str = "en", address: str = ADA, platform: str = "email", **facts: object
    ) -> None:
        """What the account side says."""
        veiled = self.stage.app.vault.veil(json.dumps({"link": LINK} | facts).encode(), key).hex()
        body = {"code": code, "locale": locale, "veiled": veiled}
        await self.stage.app.run(lambda work: work.mailbox.say([Notice(key, Address(platform, address), "mail", body)]))

    async def rows(self) -> list[tuple[str, str | None, str]]:
        """State, problem and body of each row."""
        async with self.stage.app.read() as work:
            found = await work.connection.execute(select(outbox.c.state, outbox.c.problem, outbox.c.body).order_by(outbox.c.id))
            return [(state, problem, body) for state, problem, body in found]


@asynccontextmanager
async def opened(url: str, folder: Path) -> AsyncIterator[PostOffice]:
    server = MailSandbox()
    await server.start()
    try:
        async with staged(url, folder, smtp_url=SecretStr(server.smtp_url), mail_from="Aetherflow <hello@shop.example>") as stage:
            app = stage.app
            smtp = mail_server(app.settings)
            sender = MailSender(smtp, mail_from(app.settings, smtp), lambda nonce: app.vault.pseudonym(f"mail:{nonce}"), app.now)
            yield PostOffice(stage, server, Delivery(app, Words(SENTENCES), {"email": sender}))
    finally:
        await server.close()


@pytest.fixture
async def office(database_url: str, tmp_path: Path) -> AsyncIterator[PostOffice]:
    async with opened(database_url, tmp_path) as made:
        yield made


@pytest.mark.parametrize("locale", ["en", "zh", "fr"])
async def test_every_mail_in_both_languages(office: PostOffice, locale: str) -> None:
    for code in LINK_MINUTES:
        await office.write(code, key=code, locale=locale, address=f"{code}@example.org")
    while await office.delivery.deliver():
        pass
    mails = {mail.to[0].partition("@")[0]: mail for mail in office.server.mails}
    assert mails.keys() == LINK_MINUTES.keys()
    for code, mail in mails.items():
        assert mail.links == ([LINK] if LINK_MINUTES[code] else [])
        assert ("您" in mail.text) == (locale == "zh")
        assert mail.subject == mail.text.splitlines()[0]
        assert not [rest for rest in ("{", "mail.", "<b>") if rest in mail.text]
    assert ("24 小时" if locale == "zh" else "24 hours") in mails["mail.verify"].text
    assert ("30 分钟" if locale == "zh" else "30 minutes") in mails["mail.reset"].text
    assert LINK.replace("&", "&amp;") in mails["mail.reset"].html


async def test_the_row_may_say_for_how_long(office: PostOffice) -> None:
    await office.write("mail.reset", minutes=45)
    await office.delivery.deliver()
    assert "45 minutes" in (await office.server.newest(ADA)).text


async def test_the_link_is_never_in_the_database(office: PostOffice) -> None:
    await office.write("mail.reset")
    assert "abc-123" not in str(await office.rows())
    await office.delivery.deliver()
    assert (await office.server.newest(ADA)).links == [LINK]
    ((state, _, body),) = await office.rows()
    assert state == "done"
    assert "abc-123" not in body


async def test_a_busy_server_is_tried_again_and_the_mail_comes_once(office: PostOffice) -> None:
    office.server.fail("450 4.2.0 Greylisted", times=2)
    await office.write("mail.verify")
    for _ in range(3):
        await office.delivery.deliver()
        async with office.stage.app.begin() as work:
            await work.connection.execute(update(outbox).values(due_at=0))
    assert await office.delivery.deliver() == 0
    assert len(office.server.mails) == 1


async def test_an_address_that_is_gone_is_given_up(office: PostOffice) -> None:
    office.server.fail("550 5.1.1 No such user")
    await office.write("mail.verify")
    await office.write("mail.reset", key="k2")
    while await office.delivery.deliver():
        pass
    assert [row[:2] for row in await office.rows()] == [("dropped", "gone: 550 5.1.1"), ("done", None)]


async def test_what_does_not_open_is_dropped_and_the_next_one_goes_out(office: PostOffice) -> None:
    veiled = office.stage.app.vault.veil(b"{}", "another key").hex()
    body = {"code": "mail.reset", "locale": "en", "veiled": veiled}
    await office.stage.app.run(lambda work: work.mailbox.say([Notice("k0", Address("email", ADA), "mail", body)]))
    await office.write("mail.verify")
    while await office.delivery.deliver():
        pass
    assert [row[0] for row in await office.rows()] == ["dropped", "done"]
    assert len(office.server.mails) == 1


async def test_an_unknown_mail_is_not_sent(office: PostOffice) -> None:
    await office.write("mail.free_credits")
    while await office.delivery.deliver():
        pass
    assert office.server.mails == []
    assert [row[0] for row in await office.rows()] == ["done"]


async def test_the_worker_sends_mails(sqlite_url: str, tmp_path: Path) -> None:
    """As `aetherflow worker` and `aetherflow up` wire it."""
    async with opened(sqlite_url, tmp_path) as office:
        await office.write("mail.verify")
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            running = group.create_task(cli.run_roles(office.stage.app.settings, ("worker",), stop))
            mail = await office.server.newest(ADA)
            stop.set()
            await running
    assert mail.links == [LINK]
