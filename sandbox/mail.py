"""A mail server that keeps what it takes, on a free loopback port of its own: SMTP as in RFC 5321, with AUTH PLAIN and LOGIN, without TLS.

/mail           the inbox panel: every mail, the newest first; `?to=` shows those of one address
/mail/{number}  one mail
/hands/mail     the same as JSON
"""

import asyncio
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage

from aiohttp import web

from sandbox import mail_pages

KEPT = 1_000
MAX_MAIL = 25 * 1024 * 1024
"""Bytes of one mail, as most servers take them."""
MAX_LINE = 4_096
MAX_RECIPIENTS = 100
_PATH = re.compile(r"<([^<>\s]{0,254})>(.*)", re.ASCII)


@dataclass(frozen=True)
class Mail:
    """One mail that was taken: `sender` and `to` are the envelope's. `by`: who signed in; empty for nobody."""

    number: int
    sender: str
    to: tuple[str, ...]
    at: datetime
    by: str
    raw: bytes = field(repr=False)

    @property
    def message(self) -> EmailMessage:
        """Parsed."""
        parsed = message_from_bytes(self.raw, policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed

    @property
    def subject(self) -> str:
        """Decoded."""
        return str(self.message["Subject"] or "")

    @property
    def text(self) -> str:
        """The part that is plain text; empty where there is none."""
        part = self.message.get_body(("plain",))
        return str(part.get_content()).replace("\r\n", "\n") if part is not None else ""

    @property
    def html(self) -> str:
        """The part that is HTML; empty where there is none."""
        part = self.message.get_body(("html",))
        return str(part.get_content()) if part is not None else ""

    @property
    def links(self) -> list[str]:
        """Every address of the web in the text."""
        return re.findall(r"https?://[^\s<>\"]+", self.text)


@dataclass
class _Fault:
    answer: str
    at: str
    times: int


@dataclass
class _Envelope:
    by: str = ""
    sender: str | None = None
    to: list[str] = field(default_factory=list)


class MailSandbox:
    """`start` listens; `smtp_url` is then the setting. `mails`: what was taken, the oldest first.

    `password`: empty takes any; else only this one. `commands`: every line that came, without what follows AUTH.
    """

    def __init__(self) -> None:
        self.port = 0
        self.password = ""
        self.mails: list[Mail] = []
        self.commands: list[str] = []
        self._count = 0
        self._faults: list[_Fault] = []
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()
        self._news = asyncio.Condition()

    @property
    def smtp_url(self) -> str:
        """What a product sets: any user, any password."""
        return f"smtp://sandbox%40aetherflow.example:{self.password or 'sandbox'}@127.0.0.1:{self.port}"

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listens on loopback; port 0 takes a free one. Raises OSError where the port is taken."""
        self._server = await asyncio.start_server(self._on_talk, host, port, limit=MAX_LINE)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Ends every conversation and frees the port. Once more does nothing."""
        if (server := self._server) is None:
            return
        self._server = None
        server.close()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        await server.wait_closed()

    def routes(self) -> list[web.RouteDef]:
        """The panel, and the same for programs."""
        return [
            web.get("/mail", self._on_panel),
            web.get("/mail/{number}", self._on_mail),
            web.get("/hands/mail", self._on_list),
        ]

    # Hands

    def fail(self, answer: str, *, at: str = "RCPT", times: int = 1) -> None:
        """The next commands `at` (MAIL, RCPT, DATA, AUTH, or END for the mail itself) are answered so, as with "550 5.1.1 No such user"."""
        if not re.fullmatch(r"[45][0-9]{2} .+", answer):
            raise ValueError("answer: a code of 4xx or 5xx and its words")
        self._faults.append(_Fault(answer, at.upper(), times))

    def of(self, address: str) -> list[Mail]:
        """The mails to an address, the newest first."""
        return [mail for mail in reversed(self.mails) if address.lower() in (each.lower() for each in mail.to)]

    async def newest(self, address: str, after: int = 0, within: float = 10.0) -> Mail:
        """The newest mail to an address with a number above `after`, waited for. Raises TimeoutError after `within` seconds."""

        def there() -> Mail | None:
            return next((mail for mail in self.of(address) if mail.number > after), None)

        async with asyncio.timeout(within), self._news:
            await self._news.wait_for(lambda: there() is not None)
        found = there()
        assert found is not None
        return found

    # The conversation

    async def _on_talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        try:
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass  # the other side has gone, or does not speak SMTP
        finally:
            self._talks.discard(task)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        envelope = _Envelope()
        await _say(writer, "220 sandbox.aetherflow.example ESMTP")
        while line := (await reader.readline()).decode(errors="replace").rstrip("\r\n"):
            verb, _, rest = line.partition(" ")
            verb = verb.upper()
            self.commands.append(verb if verb == "AUTH" else line)
            if fault := self._fault(verb):
                await _say(writer, fault)
            elif verb == "EHLO":
                await _say(writer, "250-sandbox", "250-AUTH PLAIN LOGIN", "250-8BITMIME", "250-SMTPUTF8", f"250 SIZE {MAX_MAIL}")
            elif verb == "AUTH":
                await self._sign_in(reader, writer, envelope, rest)
            elif verb == "DATA":
                await self._take(reader, writer, envelope)
            elif verb == "QUIT":
                await _say(writer, "221 2.0.0 Bye")
                return
            else:
                await _say(writer, _simple(verb, rest, envelope))

    async def _sign_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, envelope: _Envelope, rest: str) -> None:
        way, _, first = rest.partition(" ")
        try:
            if way.upper() == "PLAIN":
                given = first or await _ask(reader, writer, "")
                _, envelope.by, password = mail_pages.from_base64(given).split("\0")
            elif way.upper() == "LOGIN":
                envelope.by = mail_pages.from_base64(first or await _ask(reader, writer, "VXNlcm5hbWU6"))
                password = mail_pages.from_base64(await _ask(reader, writer, "UGFzc3dvcmQ6"))
            else:
                raise ValueError(way)
        except ValueError:
            await _say(writer, "501 5.5.2 That cannot be read")
            return
        if self.password and password != self.password:
            envelope.by = ""
            await _say(writer, "535 5.7.8 Wrong user or password")
            return
        await _say(writer, "235 2.7.0 Signed in")

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, envelope: _Envelope) -> None:
        if not envelope.to or envelope.sender is None:
            await _say(writer, "503 5.5.1 MAIL and RCPT first")
            return
        await _say(writer, "354 Go on, and end with a dot")
        lines, size = [], 0
        while (line := await _whole_line(reader)) != b".\r\n":
            if not line:
                raise ConnectionError
            lines.append(line[1:] if line.startswith(b".") else line)
            size += len(line)
            if size > MAX_MAIL:
                raise ConnectionError
        if fault := self._fault("END"):
            await _say(writer, fault)
        else:
            await self._keep(envelope, b"".join(lines))
            await _say(writer, f"250 2.0.0 Taken as {self._count}")
        envelope.sender, envelope.to = None, []

    async def _keep(self, envelope: _Envelope, raw: bytes) -> None:
        assert envelope.sender is not None
        self._count += 1
        async with self._news:
            self.mails.append(Mail(self._count, envelope.sender, tuple(envelope.to), datetime.now(UTC), envelope.by, raw))
            del self.mails[:-KEPT]
            self._news.notify_all()

    def _fault(self, verb: str) -> str:
        for fault in self._faults:
            if fault.at == verb:
                fault.times -= 1
                if fault.times <= 0:
                    self._faults.remove(fault)
                return fault.answer
        return ""

    # The panel

    async def _on_panel(self, request: web.Request) -> web.Response:
        address = request.query.get("to", "")
        shown = self.of(address) if address else [*reversed(self.mails)]
        rows = [(mail.number, mail.at, ", ".join(mail.to), mail.subject) for mail in shown]
        return mail_pages.inbox(rows, address)

    async def _on_mail(self, request: web.Request) -> web.Response:
        number = request.match_info["number"]
        mail = next((mail for mail in self.mails if str(mail.number) == number), None)
        if mail is None:
            raise web.HTTPNotFound
        files = [str(part.get_filename()) for part in mail.message.iter_attachments()]
        return mail_pages.one(mail.subject, mail.sender, ", ".join(mail.to), mail.at, mail.text, files)

    async def _on_list(self, request: web.Request) -> web.Response:
        address = request.query.get("to", "")
        shown = self.of(address) if address else [*reversed(self.mails)]
        return web.json_response(
            [
                {"number": mail.number, "from": mail.sender, "to": mail.to, "subject": mail.subject, "text": mail.text, "links": mail.links}
                for mail in shown
            ]
        )


def _simple(verb: str, rest: str, envelope: _Envelope) -> str:
    """What a command is answered that needs no more than its line."""
    match verb:
        case "HELO":
            return "250 sandbox"
        case "NOOP":
            return "250 2.0.0 Yes"
        case "RSET":
            envelope.sender, envelope.to = None, []
            return "250 2.0.0 Forgotten"
        case "MAIL":
            if (path := _path(rest, "FROM:")) is None:
                return "501 5.5.4 MAIL FROM:<address>"
            envelope.sender, envelope.to = path, []
            return "250 2.1.0 Go on"
        case "RCPT":
            path = _path(rest, "TO:")
            if envelope.sender is None:
                return "503 5.5.1 MAIL first"
            if not path or "@" not in path:
                return "501 5.1.3 RCPT TO:<address>"
            if len(envelope.to) >= MAX_RECIPIENTS:
                return "452 4.5.3 Too many"
            envelope.to.append(path)
            return "250 2.1.5 Go on"
    return "502 5.5.2 That is not known here"


def _path(rest: str, word: str) -> str | None:
    if not rest.upper().startswith(word):
        return None
    found = _PATH.fullmatch(rest[len(word) :].strip())
    return found[1] if found else None


async def _say(writer: asyncio.StreamWriter, *lines: str) -> None:
    writer.write("".join(f"{line}\r\n" for line in lines).encode())
    await writer.drain()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, question: str) -> str:
    await _say(writer, f"334 {question}")
    return (await reader.readline()).decode().strip()


async def _whole_line(reader: asyncio.StreamReader) -> bytes:
    """A line of a mail; some are longer than a command may be."""
    parts = []
    while True:
        try:
            parts.append(await reader.readuntil(b"\n"))
            return b"".join(parts)
        except asyncio.LimitOverrunError as error:
            parts.append(await reader.readexactly(error.consumed))
        except asyncio.IncompleteReadError as error:
            return b"" if not error.partial else b"".join([*parts, error.partial])
