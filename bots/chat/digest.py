"""The daily digest in words."""

from datetime import UTC, datetime

from bots.chat.types import Button, Reply
from core.db import SECOND
from core.mailbox.models import Delivery
from core.money import format_dollars
from core.words import Amount, Text


def digest(delivery: Delivery) -> Reply:
    """What somebody earned and lost on a day, with the button that ends these messages."""
    body = delivery.body
    facts = {
        "day": datetime.fromtimestamp(body["day"] / SECOND, UTC).strftime("%Y-%m-%d"),
        "earned": Amount(body["earned"]),
        "delivered": body["delivered"],
        "lost": Text("digest.lost", {"n": body["lost"], "cost": format_dollars(body["cost"])}) if body["lost"] else "",
    }
    rows = ((Button(Text("button.earnings"), "earnings"), Button(Text("button.digest_off"), "digest off")),)
    return Reply(Text("digest", facts), rows=rows)
