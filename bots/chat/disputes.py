"""Messages about disputes: the bundle that an admin decides by, and the verdict for both sides."""

from typing import Any

from bots.chat.types import Button, Media, Reply
from core.disputes.models import Dispute
from core.mailbox.models import Delivery
from core.unit_of_work import UnitOfWork
from core.words import Amount, Text

SHOWN_PROMPT = 200


async def bundle(work: UnitOfWork, dispute: Dispute) -> Reply:
    """The disputed picture, what was asked for, and the buttons of the verdict."""
    generation = await work.generations.get(dispute.generation_id)
    facts = dispute_facts(dispute) | {
        "prompt": generation.prompt[:SHOWN_PROMPT], "model": generation.model, "paid": Amount(generation.paid), "user": dispute.user_id,
        "size": f"{generation.width}x{generation.height}",
    }  # fmt: skip
    rows = (
        (
            Button(Text("button.refund"), f"verdict {dispute.id} refund", style="primary"),
            Button(Text("button.reject"), f"verdict {dispute.id} reject", style="danger"),
        ),
    )
    media = (Media(generation.blob, generation.media_type or "image/png"),) if generation.blob else ()
    return Reply(Text("disputes.first", facts), rows=rows, media=media)


def told(dispute: Dispute, delivery: Delivery) -> Reply:
    """The verdict, as the opener or the miner reads it."""
    return Reply(Text(f"verdict.{dispute.state}.{delivery.body['side']}", dispute_facts(dispute)))


def dispute_facts(dispute: Dispute) -> dict[str, Any]:
    """What the sentences about a dispute mention."""
    return {"id": dispute.id, "generation": dispute.generation_id, "kind": Text(f"dispute.kind.{dispute.kind}"), "reason": dispute.reason}
