"""Messages about payouts: for the admin who decides, and for whoever asked."""

from typing import Any

from bots.chat.types import Button, Reply
from core.payouts.models import STEPS, Payout
from core.words import Amount, Text


def payout_card(payout: Payout, alone: int) -> Reply:
    """A payout with what can be done about it, for admins; above `alone` milli-credits by two of them."""
    steps = tuple(
        Button(Text(f"button.payout_{word}"), f"payout_step {payout.id} {word}", style="danger" if word == "refuse" else "primary")
        for word in STEPS.get(payout.state, ())
    )
    rows = (*((steps,) if steps else ()), (Button(Text("button.next_dispute"), f"payouts {payout.id}"),))
    second = payout.amount > alone and payout.state in STEPS
    facts = payout_facts(payout) | {"second": Text("payouts.second", {"limit": Amount(alone)}) if second else ""}
    return Reply(Text("payouts.one", facts), rows=rows, private=True)


def payout_facts(payout: Payout) -> dict[str, Any]:
    """What the sentences about a payout mention."""
    state = Text(f"payout.state.{payout.state}")
    return {"id": payout.id, "amount": Amount(payout.amount), "user": payout.user_id, "state": state, "reference": payout.reference or "—"}
