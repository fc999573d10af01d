"""The mail server that SMTP_URL names, and whom mails come from."""

import ipaddress
from dataclasses import dataclass, field
from email.errors import MessageError
from email.headerregistry import Address
from email.utils import parseaddr
from urllib.parse import unquote, urlsplit

from core.config import Settings
from core.errors import Misconfigured

PORTS = {"smtp": 587, "smtps": 465}
"""Submission, with STARTTLS or with TLS from the first byte (RFC 8314)."""


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mails are handed in. `tls`: from the first byte. `user` empty: nobody signs in."""

    host: str
    port: int
    tls: bool
    user: str
    password: str = field(repr=False)

    @property
    def start_tls(self) -> bool | None:
        """None takes STARTTLS where it is offered. With a password to protect, and the server not on this machine, it has to be."""
        if self.tls:
            return False
        return True if self.user and not _is_loopback(self.host) else None


def mail_server(settings: Settings) -> MailServer:
    """What SMTP_URL names. Raises Misconfigured, which repeats nothing of it: it holds a password."""
    problem = "it is smtp://user:password@host:587 or smtps://user:password@host:465"
    try:
        parts = urlsplit(settings.smtp_url.get_secret_value())
        port = parts.port
    except ValueError:
        raise Misconfigured(setting="SMTP_URL", problem=problem) from None
    if parts.scheme not in PORTS or not parts.hostname or parts.path.strip("/") or parts.query:
        raise Misconfigured(setting="SMTP_URL", problem=problem)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if bool(user) != bool(password):
        raise Misconfigured(setting="SMTP_URL", problem="it has a user or a password, and needs both or none")
    return MailServer(parts.hostname, port or PORTS[parts.scheme], parts.scheme == "smtps", user, password)


def mail_from(settings: Settings, server: MailServer) -> Address:
    """MAIL_FROM, else the user of SMTP_URL. Raises Misconfigured where that is no address."""
    name, address = parseaddr(settings.mail_from or server.user)
    if (made := read_address(address, name)) is None:
        raise Misconfigured(setting="MAIL_FROM", problem="whom mails come from is needed: Name <address@example.org>")
    return made


def read_address(text: str, name: str = "") -> Address | None:
    """An address with both of its halves; None for anything else."""
    try:
        made = Address(name, addr_spec=text)
    except (ValueError, IndexError, MessageError):  # the library's parser raises all three
        return None
    return made if made.username and made.domain and text.isprintable() else None


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
