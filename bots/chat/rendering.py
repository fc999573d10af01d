"""Reply + locale -> Message: the chat layer's words as both platforms show them."""

from typing import Any

from bots.chat.types import Bill, Form, Key, Message, Picture, Question, Questions, Reply
from core.app import App
from core.words import Words

MAX_LABEL = 80


def rows_of(words: Words, reply: Reply, locale: str) -> tuple[tuple[Key, ...], ...]:
    """The buttons of a Reply, labelled."""
    return tuple(
        tuple(Key(words.plain(each.label, locale)[:MAX_LABEL], each.action, each.url, each.style, each.app) for each in row)
        for row in reply.rows
    )


def render(words: Words, reply: Reply, locale: str, pictures: tuple[Picture, ...] = ()) -> Message:
    """The message of a Reply that has text, or something to pay, or both."""
    assert reply.text is not None or reply.invoice is not None
    text = words.say(reply.text, locale) if reply.text is not None else ""
    bill = None
    if (invoice := reply.invoice) is not None:
        bill = Bill(invoice.order, words.plain(invoice.title, locale), words.plain(invoice.description, locale), invoice.amount)
    return Message(text, rows_of(words, reply, locale), pictures, bill=bill)


async def pictures_of(app: App, reply: Reply) -> tuple[Picture, ...]:
    """The media of a Reply as bytes. Raises BlobNotFound, BlobsUnavailable."""
    return tuple([Picture(await app.blobs.get(each.blob), each.media_type, "aetherflow", each.spoiler) for each in reply.media])


def questions(words: Words, form: Form, locale: str) -> Questions:
    """A form for a platform with modals."""
    return Questions(
        form.action,
        words.plain(form.title, locale)[:45],
        tuple(
            Question(
                each.name, words.plain(each.label, locale)[:45], each.kind, each.default,
                tuple((value, words.plain(label, locale)) for value, label in each.choices), each.max_length,
                words.plain(each.hint, locale)[:100] if each.hint else "",
            )
            for each in form.fields
        ),
    )  # fmt: skip


def dump(message: Message) -> dict[str, Any]:
    """A message without pictures, as the outbox keeps it."""
    rows = [[[key.label, key.action, key.url, key.style, key.app] for key in row] for row in message.rows]
    bill = message.bill
    return {"text": message.text, "rows": rows, "bill": [bill.order, bill.title, bill.description, bill.amount] if bill else None}


def load(body: dict[str, Any]) -> Message:
    """What `dump` kept."""
    bill = Bill(*body["bill"]) if body.get("bill") else None
    return Message(body["text"], tuple(tuple(Key(*key) for key in row) for row in body["rows"]), bill=bill)
