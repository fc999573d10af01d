"""Messages as mails: subject, both texts, links, attachments; what would break out of a header or of the page does not."""

from email import message_from_bytes, policy
from email.headerregistry import Address
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.chat.types import Key, Message, Picture
from bots.mail.mime import SUBJECT_LIMIT, mail, page, plain, subject
from bots.mail.server import MailServer, mail_from, mail_server
from core.config import Settings
from core.errors import Misconfigured

SENDER, ADA = Address("Aetherflow 流", addr_spec="hello@shop.example"), Address(addr_spec="ada@example.org")
AT = 1_800_000_000_000_000


def read(message: Message) -> EmailMessage:
    """The mail as its reader's program has it."""
    parsed = message_from_bytes(bytes(mail(message, SENDER, ADA, "abc", AT)), policy=policy.default)
    assert isinstance(parsed, EmailMessage)
    return parsed


def part(message: EmailMessage, kind: str) -> str:
    body = message.get_body((kind,))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")


def test_a_mail_has_everything() -> None:
    rows = ((Key("Pay", url="https://pay.example/x?a=1&b=2"), Key("Balance", "balance")),)
    pictures = (Picture(b"\x89PNG1", name="cat"), Picture(b"\xff\xd8", "image/jpeg", "cat"))
    made = read(Message("<b>You &amp; 你</b>\n\nSee https://a.example/v?code=1&amp;x=2.\n<code>a &lt; b</code>", rows, pictures))
    assert (made["Subject"], made["To"], made["Message-ID"]) == ("You & 你", "ada@example.org", "<abc@shop.example>")
    assert made["From"] == "Aetherflow 流 <hello@shop.example>"
    assert (made["Date"], made["Auto-Submitted"]) == ("Fri, 15 Jan 2027 08:00:00 +0000", "auto-generated")
    assert part(made, "plain") == "You & 你\n\nSee https://a.example/v?code=1&x=2.\na < b\n\nPay: https://pay.example/x?a=1&b=2\n"
    shown = part(made, "html")
    assert "<b>You &amp; 你</b><br>" in shown
    assert 'See <a href="https://a.example/v?code=1&amp;x=2">https://a.example/v?code=1&amp;x=2</a>.<br>' in shown
    assert "<code>a &lt; b</code>" in shown
    assert '<a href="https://pay.example/x?a=1&amp;b=2">Pay</a>' in shown
    assert "Balance" not in shown
    files = [(each.get_filename(), each.get_content_type(), each.get_content()) for each in made.iter_attachments()]
    assert files == [("cat-1.png", "image/png", b"\x89PNG1"), ("cat-2.jpg", "image/jpeg", b"\xff\xd8")]


@given(st.text(max_size=400))
def test_a_subject_is_one_short_line(words: str) -> None:
    made = subject(words)
    assert len(made) <= SUBJECT_LIMIT
    assert made.isprintable()
    assert read(Message("x"))["Subject"] == "x"
    bytes(mail(Message(words.replace("<", "&lt;")), SENDER, ADA, "1", AT))  # no header can be broken out of


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ('<img src=x onerror="x">', '&lt;img src=x onerror="x"&gt;'),
        ("<b onclick=x>a</b>", "&lt;b onclick=x&gt;a</b>"),
        ("javascript:alert(1)", "javascript:alert(1)"),
        ("&lt;script&gt;", "&lt;script&gt;"),
        ('https://a.example/"onmouseover="x', '<a href="https://a.example/">https://a.example/</a>"onmouseover="x'),
        ("http://a.example).", '<a href="http://a.example">http://a.example</a>).'),
    ],
)
def test_only_three_tags_pass(text: str, safe: str) -> None:
    assert page(text, []) == safe


def test_plain_is_what_was_meant() -> None:
    assert plain("<b>a</b> &amp;lt; <i>b</i>\n") == "a &lt; b"


# Settings.


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail.example.org", MailServer("mail.example.org", 587, False, "", "")),
        ("smtps://me%40x.example:p%3Aw@mail.example.org", MailServer("mail.example.org", 465, True, "me@x.example", "p:w")),
        ("smtp://me:pw@[::1]:2525", MailServer("::1", 2525, False, "me", "pw")),
    ],
)
def test_a_server_by_its_url(url: str, expected: MailServer) -> None:
    server = mail_server(Settings(smtp_url=url))
    assert (server, server.password) == (expected, expected.password)
    assert "pw" not in repr(server)


@pytest.mark.parametrize(
    ("server", "start_tls"),
    [
        (MailServer("mail.example.org", 587, False, "me", "pw"), True),
        (MailServer("mail.example.org", 587, False, "", ""), None),
        (MailServer("127.0.0.1", 587, False, "me", "pw"), None),
        (MailServer("mail.example.org", 465, True, "me", "pw"), False),
    ],
)
def test_a_password_does_not_travel_in_the_clear(server: MailServer, start_tls: bool | None) -> None:
    assert server.start_tls is start_tls


@pytest.mark.parametrize(
    "url",
    [
        "mail.example.org",
        "http://secret-1:pw@x",
        "smtp://",
        "smtp://secret-1@x",
        "smtp://:secret-1@x",
        "smtp://u:secret-1@x:port",
        "smtp://x/y?z=secret-1",
    ],
)
def test_a_wrong_url_is_told_and_not_shown(url: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        mail_server(Settings(smtp_url=url))
    assert refused.value.facts["setting"] == "SMTP_URL"
    assert "secret-1" not in str(refused.value.facts)


@pytest.mark.parametrize(
    ("given_from", "user", "expected"),
    [
        ("Aetherflow <hello@example.org>", "me", "Aetherflow <hello@example.org>"),
        ("hello@example.org", "", "hello@example.org"),
        ("", "me@example.org", "me@example.org"),
        ("流 <a@b.example>", "", "流 <a@b.example>"),
    ],
)
def test_whom_mails_come_from(given_from: str, user: str, expected: str) -> None:
    assert str(mail_from(Settings(mail_from=given_from), MailServer("x", 1, False, user, ""))) == expected


@pytest.mark.parametrize(("given_from", "user"), [("", ""), ("", "me"), ("Aetherflow", ""), ("a@", ""), ("@b", ""), ("a b@c@d", "")])
def test_mail_without_a_sender_does_not_start(given_from: str, user: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        mail_from(Settings(mail_from=given_from), MailServer("x", 1, False, user, ""))
    assert refused.value.facts["setting"] == "MAIL_FROM"
