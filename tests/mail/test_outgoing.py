"""Mails over real SMTP: what the server answers decides what becomes of them. Also against aiosmtpd, which is not ours, with TLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.headerregistry import Address
from pathlib import Path

import pytest
from aiosmtpd.handlers import Sink
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from bots.chat.types import Bill, Message, Picture, Sender, SendFailed
from bots.mail.outgoing import MailSender
from bots.mail.server import MailServer
from sandbox.mail import MailSandbox

ADA = "ada@example.org"
HELLO = Message("<b>Hello</b>\n\nhttps://a.example/x")


def a_sender(port: int, host: str = "127.0.0.1", *, tls: bool = False, user: str = "me", password: str = "pw") -> MailSender:
    server = MailServer(host, port, tls, user, password)
    return MailSender(server, Address("Shop", addr_spec="shop@example.org"), lambda nonce: f"n{nonce}", lambda: 1_800_000_000_000_000)


@pytest.fixture
async def server() -> AsyncIterator[MailSandbox]:
    made = MailSandbox()
    await made.start()
    yield made
    await made.close()


async def test_a_mail_arrives_whole(server: MailSandbox) -> None:
    sender: Sender = a_sender(server.port)
    assert await sender.send(ADA, Message(HELLO.text, pictures=(Picture(b"\x89PNG" * 100_000),)), "7") == "-"
    mail = await server.newest(ADA)
    assert (mail.sender, mail.to, mail.by, mail.subject) == ("shop@example.org", (ADA,), "me", "Hello")
    assert mail.message["Message-ID"] == "<n7@example.org>"
    assert mail.links == ["https://a.example/x"]
    (picture,) = mail.message.iter_attachments()
    assert picture.get_content() == b"\x89PNG" * 100_000
    await sender.delete(ADA, "-")
    with pytest.raises(SendFailed):
        await sender.edit(ADA, "-", HELLO)


async def test_the_same_nonce_is_the_same_mail(server: MailSandbox) -> None:
    for nonce in ("1", "1", "2"):
        await a_sender(server.port).send(ADA, HELLO, nonce)
    assert [mail.message["Message-ID"] for mail in server.mails] == ["<n1@example.org>"] * 2 + ["<n2@example.org>"]


@pytest.mark.parametrize(
    ("answer", "at", "kind", "problem"),
    [
        ("450 4.2.0 Greylisted, ada@example.org", "RCPT", "later", "450 4.2.0"),
        ("452 4.2.2 Full", "RCPT", "later", "452 4.2.2"),
        ("421 4.7.0 Too fast", "MAIL", "later", "421 4.7.0"),
        ("451 4.3.0 Trouble", "END", "later", "451 4.3.0"),
        ("550 5.1.1 No such user ada@example.org", "RCPT", "gone", "550 5.1.1"),
        ("551 Moved", "RCPT", "gone", "551"),
        ("553 5.1.3 No name", "RCPT", "gone", "553 5.1.3"),
        ("552 5.2.2 Full for good", "RCPT", "refused", "552 5.2.2"),
        ("554 5.7.1 Spam", "END", "refused", "554 5.7.1"),
        ("550 5.7.1 Spam", "END", "refused", "550 5.7.1"),
        ("530 5.7.0 Sign in", "MAIL", "refused", "530 5.7.0"),
        ("535 5.7.8 Wrong", "AUTH", "later", "sign-in 535 5.7.8"),
    ],
)
async def test_what_the_server_says_decides(server: MailSandbox, answer: str, at: str, kind: str, problem: str) -> None:
    server.fail(answer, at=at, times=2 if at == "AUTH" else 1)  # the client tries two ways to sign in
    with pytest.raises(SendFailed) as failed:
        await a_sender(server.port).send(ADA, HELLO, "1")
    assert (failed.value.kind, failed.value.problem) == (kind, problem)
    assert ADA not in failed.value.problem
    assert server.mails == []
    await a_sender(server.port).send(ADA, HELLO, "1")
    assert len(server.mails) == 1


async def test_how_the_talk_ends_changes_nothing(server: MailSandbox) -> None:
    server.fail("421 4.0.0 Going down", at="QUIT")
    await a_sender(server.port).send(ADA, HELLO, "1")
    assert len(server.mails) == 1


async def test_a_server_that_is_away_is_tried_later(server: MailSandbox) -> None:
    port = server.port
    await server.close()
    with pytest.raises(SendFailed) as failed:
        await a_sender(port).send(ADA, HELLO, "1")
    assert failed.value.kind == "later"


async def test_a_server_that_hangs_up_is_tried_later() -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as listening:
        with pytest.raises(SendFailed) as failed:
            await a_sender(listening.sockets[0].getsockname()[1]).send(ADA, HELLO, "1")
    assert failed.value.kind == "later"


@pytest.mark.parametrize(
    "chat", ["", "ada", "ada@", "@example.org", "a\r\nRCPT TO:<b@c.example>@d.example", "a b@example.org", "ada@example.org\n"]
)
async def test_what_is_no_address_is_sent_nothing(server: MailSandbox, chat: str) -> None:
    with pytest.raises(SendFailed) as failed:
        await a_sender(server.port).send(chat, HELLO, "1")
    assert failed.value.kind == "gone"
    assert server.commands == []


async def test_a_bill_cannot_be_mailed(server: MailSandbox) -> None:
    with pytest.raises(SendFailed) as failed:
        await a_sender(server.port).send(ADA, Message("", bill=Bill("o", "t", "d", 5)), "1")
    assert failed.value.kind == "refused"


# A server of others, with TLS.


class Box(Sink):
    """Keeps what it takes: whether the connection was secure, who signed in, and to whom it went."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[tuple[bool, str, list[str]]] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802  # the library's name
        self.taken.append((session.ssl is not None, str(session.auth_data), envelope.rcpt_tos))
        return "250 OK"


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    public, private = folder / "cert.pem", folder / "key.pem"
    public.write_bytes(made.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return public, private


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # it does not see that all of it is in TLS
@pytest.mark.parametrize("tls", [True, False], ids=["smtps", "starttls"])
async def test_tls_is_used_and_its_certificate_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tls: bool) -> None:
    public, private = certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(public, private)
    box = Box()
    loop = asyncio.get_running_loop()

    def conversation() -> SMTP:
        return SMTP(
            box, loop=loop, hostname="localhost", authenticator=lambda *_: AuthResult(success=True, auth_data="me"), auth_required=True,
            auth_require_tls=not tls, tls_context=None if tls else context, require_starttls=not tls,
        )  # fmt: skip

    listening = await loop.create_server(conversation, "localhost", 0, ssl=context if tls else None)
    port = listening.sockets[0].getsockname()[1]
    try:
        with pytest.raises(SendFailed) as failed:  # nobody vouches for it
            await a_sender(port, "localhost", tls=tls).send(ADA, HELLO, "1")
        assert failed.value.kind == "later"
        monkeypatch.setenv("SSL_CERT_FILE", str(public))
        await a_sender(port, "localhost", tls=tls).send(ADA, HELLO, "1")
    finally:
        listening.close()
        await listening.wait_closed()
    assert box.taken == [(not tls, "me", [ADA])]  # the server calls secure what STARTTLS made so
