"""Messages of ours as mails: the common markup as plain text and as HTML, pictures as attachments. Buttons that act cannot be pressed in a
mail and are left out; those that open an address become links."""

import html
import re
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from bots.chat.types import Key, Message

SUBJECT_LIMIT = 150
_TAG = re.compile(r"(</?(?:b|i|code)>)")
_URL = re.compile(r"https?://[^\s<>\"]*[^\s<>\".,;:!?)\]]")
_ENDINGS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}
_PAGE = """<!doctype html><html><head><meta charset="utf-8"></head>
<body style="font:16px/1.5 system-ui,sans-serif;max-width:36em;margin:0 auto;padding:16px">{body}</body></html>
"""


def mail(message: Message, sender: Address, to: Address, message_id: str, at: int) -> EmailMessage:
    """One mail, its subject the first line of the text. `at`: microseconds since 1970."""
    words, links = plain(message.text), [key for row in message.rows for key in row if key.url]
    made = EmailMessage(policy=SMTP)
    made["From"], made["To"] = sender, to
    made["Subject"] = subject(words)
    made["Date"] = format_datetime(datetime.fromtimestamp(at // 1_000_000, UTC))
    made["Message-ID"] = f"<{message_id}@{sender.domain}>"
    made["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence note answers it
    made.set_content("\n\n".join([words, *(f"{key.label}: {key.url}" for key in links)]) + "\n", cte="quoted-printable")
    made.add_alternative(_PAGE.format(body=page(message.text, links)), subtype="html", cte="quoted-printable")
    for number, picture in enumerate(message.pictures, start=1):
        ending = _ENDINGS.get(picture.media_type, "bin")
        kind = picture.media_type.partition("/")[2]
        made.add_attachment(picture.data, maintype="image", subtype=kind, filename=f"{picture.name}-{number}.{ending}")
    return made


def subject(words: str) -> str:
    """The first line that says something, on one line."""
    first = next((line for line in words.splitlines() if line.strip()), "Aetherflow")
    return " ".join("".join(each if each.isprintable() else " " for each in first).split())[:SUBJECT_LIMIT]


def plain(text: str) -> str:
    """The markup without its tags."""
    return html.unescape(_TAG.sub("", text)).strip()


def page(text: str, links: list[Key]) -> str:
    """The markup as HTML that is safe whatever it holds: all but its three tags is escaped again; web addresses become links."""
    parts = [part if _TAG.fullmatch(part) else _linked(html.unescape(part)) for part in _TAG.split(text.strip())]
    anchors = [f"<p>{_anchor(key.url or '', key.label)}</p>" for key in links]
    return "".join(parts).replace("\n", "<br>\n") + "".join(anchors)


def _linked(words: str) -> str:
    parts, end = [], 0
    for found in _URL.finditer(words):
        parts += [html.escape(words[end : found.start()], quote=False), _anchor(found[0], found[0])]
        end = found.end()
    return "".join([*parts, html.escape(words[end:], quote=False)])


def _anchor(url: str, words: str) -> str:
    return f'<a href="{html.escape(url)}">{html.escape(words, quote=False)}</a>'
