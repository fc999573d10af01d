"""What admins are alarmed of, in words."""

from typing import Any

from bots.chat.disputes import look_at
from bots.chat.types import Button, Reply
from core.mailbox.models import Delivery
from core.money import format_dollars
from core.words import Text


def alarm(delivery: Delivery) -> Reply:
    """What is wrong, or well again, and where to look."""
    kind, told = str(delivery.body["alert"]), delivery.body["facts"]
    facts: dict[str, Any] = {name: format_dollars(value) if name in ("gone", "used") else value for name, value in told.items()}
    rows: tuple[tuple[Button, ...], ...] = ()
    if kind == "leak":
        rows = ((Button(Text("button.resource"), f"inspect {told['resource']}"),),)
    elif kind == "dispute":
        rows = ((look_at(told["dispute"]),),)
    return Reply(Text(f"alert.{kind}", facts), rows=rows)
