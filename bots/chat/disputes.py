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
    facts |= {"evidence": _seen(dispute), "answer": dispute.answer or "—"}
    rows = (
        (
            Button(Text("button.refund"), f"verdict {dispute.id} refund", style="primary"),
            Button(Text("button.reject"), f"verdict {dispute.id} reject", style="danger"),
        ),
        (Button(Text("button.part"), f"verdict {dispute.id} part"), Button(Text("button.goodwill"), f"verdict {dispute.id} goodwill")),
        (Button(Text("button.next_dispute"), f"disputes {dispute.id}"),),
    )
    media = (Media(generation.blob, generation.media_type or "image/png", generation.spoiler),) if generation.blob else ()
    return Reply(Text("disputes.first", facts), rows=rows, media=media)


def told(dispute: Dispute, delivery: Delivery) -> Reply:
    """The verdict, as the opener or the miner reads it."""
    return Reply(Text(f"verdict.{dispute.state}.{delivery.body['side']}", dispute_facts(dispute)))


def opened(dispute: Dispute, delivery: Delivery) -> Reply:
    """That there is a new one: for admins, or for who earns by the picture, who may say something to it."""
    name = "queue" if delivery.kind == "dispute_new" else "answer"
    action = f"disputes {dispute.id - 1}" if name == "queue" else f"answer_dispute {dispute.id}"
    return Reply(
        Text(f"dispute.{name}", dispute_facts(dispute)), rows=((Button(Text(f"button.dispute_{name}"), action, style="primary"),),)
    )


def dispute_facts(dispute: Dispute) -> dict[str, Any]:
    """What the sentences about a dispute mention."""
    reason: Any = dispute.reason if dispute.decided_by is not None or not dispute.reason else Text(f"dispute.rule.{dispute.reason}")
    return {
        "id": dispute.id, "generation": dispute.generation_id, "kind": Text(f"dispute.kind.{dispute.kind}"), "reason": reason,
        "amount": Amount(dispute.amount or 0),
    }  # fmt: skip


def _seen(dispute: Dispute) -> Text:
    """What was seen of the picture, and how it was made."""
    evidence = dispute.evidence or {}
    tries = [f"#{each['resource']} {each['outcome']} {each['fault'] or ''} {each['seconds']} s" for each in evidence.get("attempts", ())]
    facts = {"varies": evidence.get("varies", "—"), "asked": evidence.get("ratio") or "—", "tries": tries or "—"}
    return Text("dispute.seen" if dispute.evidence else "dispute.unseen", facts)
