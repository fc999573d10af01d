"""The Sender of mails: each goes out over a connection of its own. https://www.rfc-editor.org/rfc/rfc5321"""

import asyncio
import contextlib
import re
from collections.abc import Callable
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Literal

import aiosmtplib

from bots.chat.delivery import PRIVATE_ONLY
from bots.chat.types import Message, Platform, SendFailed
from bots.mail.mime import mail
from bots.mail.server import MailServer, read_address

PICTURE_BYTES = 5 * 1024 * 1024
"""Of each picture: many servers take 25 MB in all, and base64 adds a third."""
CALL_SECONDS = 30.0
GOODBYE_SECONDS = 2.0
_GONE = (550, 551, 553)
"""At RCPT: no such mailbox, moved elsewhere, a name that is none (RFC 5321 §4.2.3)."""
_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}\b", re.ASCII)


class MailSender:
    """`chat` is an e-mail address. `name_of` makes of a nonce what the Message-ID is called, the same for the same nonce, so that a mail
    that is sent again is one mail to most readers; `now` gives microseconds since 1970."""

    platform: Platform = "email"
    max_picture_bytes = PICTURE_BYTES

    def __init__(self, server: MailServer, sender: Address, name_of: Callable[[str], str], now: Callable[[], int]) -> None:
        self._server, self._from = server, sender
        self._name_of, self._now = name_of, now

    async def send(self, chat: str, message: Message, nonce: str) -> str:
        """See Sender. What is returned says that a mail cannot be edited."""
        if message.bill is not None:
            raise SendFailed("refused", "a bill cannot be paid by mail")
        if (to := read_address(chat)) is None:
            raise SendFailed("gone", "no address")
        made = mail(message, self._from, to, self._name_of(nonce), self._now())
        await self._hand_in(made, chat)
        return PRIVATE_ONLY

    async def edit(self, chat: str, message_id: str, message: Message) -> None:
        """What was mailed stays as it is."""
        raise SendFailed("refused", "a mail cannot be edited")

    async def delete(self, chat: str, message_id: str) -> None:
        """See Sender. What was mailed is out of our hands."""

    async def _hand_in(self, made: EmailMessage, chat: str) -> None:
        server = self._server
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.user or None,
            password=server.password or None,
            use_tls=server.tls,
            start_tls=server.start_tls,
            timeout=CALL_SECONDS,
        )
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await client.connect()
                await client.send_message(made, sender=self._from.addr_spec, recipients=[chat])
        except (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError) as error:
            raise _failed(error) from None
        finally:
            # The mail is taken or it is not: how the conversation ends changes nothing.
            with contextlib.suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
                async with asyncio.timeout(GOODBYE_SECONDS):
                    await client.quit()
            client.close()


def _failed(error: Exception) -> SendFailed:
    """Servers' words quote addresses, so only their codes are passed on."""
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return _refused(error.recipients[0], _GONE)
    if isinstance(error, aiosmtplib.SMTPAuthenticationError):  # the operator can cure it
        return SendFailed("later", f"sign-in {_codes(error)}")
    if isinstance(error, aiosmtplib.SMTPResponseException) and not isinstance(error, aiosmtplib.SMTPConnectResponseError):
        return _refused(error, _GONE if isinstance(error, aiosmtplib.SMTPRecipientRefused) else ())
    if isinstance(error, aiosmtplib.SMTPNotSupported):  # no TLS where it is needed, or no SMTPUTF8 for this address
        return SendFailed("refused", type(error).__name__)
    return SendFailed("later", type(error).__name__)


def _refused(error: aiosmtplib.SMTPResponseException, gone: tuple[int, ...]) -> SendFailed:
    kind: Literal["gone", "refused", "later"] = "gone" if error.code in gone else "refused" if error.code >= 500 else "later"
    return SendFailed(kind, _codes(error))


def _codes(error: aiosmtplib.SMTPResponseException) -> str:
    """As "550 5.1.1"."""
    enhanced = _ENHANCED.match(error.message.strip())
    return f"{error.code} {enhanced[0]}" if enhanced else str(error.code)
