"""The mail server of the sandbox, by the standard library's client and by an official one, and its panel."""

import asyncio
import smtplib
from collections.abc import AsyncIterator
from email.message import EmailMessage

import aiohttp
import aiosmtplib
import pytest

from sandbox.mail import MailSandbox
from sandbox.world import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.start(port=0)
    yield world
    await world.stop()


def a_mail(to: str = "ada@example.org", text: str = "Hello 你好\n.\n..dots\nhttps://a.example/x?y=1&z=2 end\n") -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "shop@example.org", to, "Grüße 你好"
    mail.set_content(text)
    mail.add_alternative(f"<p>{'long ' * 3_000}</p>", subtype="html")
    return mail


async def send(server: MailSandbox, mail: EmailMessage, username: str | None = None, password: str | None = None) -> None:
    await aiosmtplib.send(mail, hostname="127.0.0.1", port=server.port, start_tls=False, username=username, password=password)


async def test_a_mail_is_kept_as_it_was_sent(world: World) -> None:
    sent = a_mail()
    await send(world.mail, sent, username="me", password="any")
    kept = await world.mail.newest("ADA@example.org")
    assert (kept.number, kept.sender, kept.to, kept.by) == (1, "shop@example.org", ("ada@example.org",), "me")
    assert kept.subject == "Grüße 你好"
    assert kept.text == "Hello 你好\n.\n..dots\nhttps://a.example/x?y=1&z=2 end\n"
    assert kept.links == ["https://a.example/x?y=1&z=2"]
    assert kept.html.count("long ") == 3_000
    assert kept.message["From"] == "shop@example.org"
    assert world.mail.of("bo@example.org") == []


async def test_the_newest_is_waited_for(world: World) -> None:
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(world.mail.newest("ada@example.org", after=1))
        for text in ("first\n", "second\n"):
            await send(world.mail, a_mail(text=text))
    assert waiting.result().text == "second\n"
    with pytest.raises(TimeoutError):
        await world.mail.newest("ada@example.org", after=2, within=0.01)


async def test_another_client_reaches_it_too(world: World) -> None:
    def talk() -> dict[str, tuple[int, bytes]]:
        with smtplib.SMTP("127.0.0.1", world.mail.port) as client:
            client.login("me", "any")  # AUTH PLAIN
            return client.sendmail("a@example.org", ["b@example.org", "c@example.org"], "Subject: x\r\n\r\nhello")

    assert await asyncio.to_thread(talk) == {}
    assert (await world.mail.newest("c@example.org")).to == ("b@example.org", "c@example.org")
    assert "AUTH" in world.mail.commands
    assert not [line for line in world.mail.commands if "bWUA" in line]  # no password is kept


@pytest.mark.parametrize(
    ("at", "answer", "error"),
    [
        ("MAIL", "451 4.3.0 Busy", aiosmtplib.SMTPSenderRefused),
        ("RCPT", "550 5.1.1 No such user", aiosmtplib.SMTPRecipientsRefused),
        ("DATA", "452 4.3.1 Full", aiosmtplib.SMTPDataError),
        ("END", "554 5.7.1 Spam", aiosmtplib.SMTPDataError),
    ],
)
async def test_a_fault_comes_once_at_its_place(world: World, at: str, answer: str, error: type[Exception]) -> None:
    world.mail.fail(answer, at=at)
    with pytest.raises(error):
        await send(world.mail, a_mail())
    assert world.mail.mails == []
    await send(world.mail, a_mail())
    assert len(world.mail.mails) == 1


async def test_a_password_can_be_wanted(world: World) -> None:
    world.mail.password = "right"
    with pytest.raises(aiosmtplib.SMTPAuthenticationError):
        await send(world.mail, a_mail(), username="me", password="wrong")
    await send(world.mail, a_mail(), username="me", password="right")
    assert [mail.by for mail in world.mail.mails] == ["me"]


@pytest.mark.parametrize(
    ("lines", "codes"),
    [
        (["RCPT TO:<a@example.org>"], ["503"]),
        (["DATA"], ["503"]),
        (["MAIL FROM:nobody", "MAIL FROM:<a@example.org>", "RCPT TO:<>", "RCPT TO:<b@example.org>"], ["501", "250", "501", "250"]),
        (["EXPN all", "VRFY a", "", "NOOP"], ["502", "502"]),
        (["AUTH PLAIN !!", "AUTH CRAM-MD5"], ["501", "501"]),
        (["HELO me", "MAIL FROM:<a@example.org>", "RSET", "RCPT TO:<a@example.org>", "QUIT"], ["250", "250", "250", "503", "221"]),
    ],
)
async def test_what_is_out_of_order_is_refused(world: World, lines: list[str], codes: list[str]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", world.mail.port)
    assert (await reader.readline()).startswith(b"220")
    for line, code in zip(lines, codes, strict=False):
        writer.write(f"{line}\r\n".encode())
        assert (await reader.readline()).decode().startswith(code), line
    writer.close()
    await writer.wait_closed()


async def test_the_panel_shows_mails_and_runs_nothing_of_theirs(world: World) -> None:
    await send(world.mail, a_mail(text="<script>alert(1)</script> https://a.example/verify?code=1&x=2\n"))
    await send(world.mail, a_mail("bo@example.org"))
    async with aiohttp.ClientSession(world.url) as session:
        async with session.get("/mail") as answer:
            page = await answer.text()
            assert page.count("<li>") == 2
            assert "script" not in answer.headers["Content-Security-Policy"]
        async with session.get("/mail", params={"to": "bo@example.org"}) as answer:
            assert (await answer.text()).count("<li>") == 1
        async with session.get("/mail/1") as answer:
            page = await answer.text()
        assert "<script>" not in page
        assert '<a href="https://a.example/verify?code=1&amp;x=2"' in page
        async with session.get("/mail/9") as answer:
            assert answer.status == 404
        async with session.get("/hands/mail", params={"to": "ada@example.org"}) as answer:
            (mail,) = await answer.json()
        assert (mail["number"], mail["links"]) == (1, ["https://a.example/verify?code=1&x=2"])


async def test_the_port_is_free_again_and_a_talk_ends() -> None:
    server = MailSandbox()
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    await reader.readline()
    await server.close()
    await server.close()
    assert await reader.read() == b""
    writer.close()
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", server.port)
