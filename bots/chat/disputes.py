"""Messages about disputes: the bundle that an admin decides by, and the verdict for both sides."""

from typing import Any

from bots.chat.types import Button, Media, Reply
from core.db import MINUTE
from core.disputes.models import Dispute, State
from core.disputes.rules import NEXT
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
    facts |= {"evidence": _seen(dispute), "answer": dispute.answer or "—", "status": await _status(work, dispute)}
    media = (Media(generation.blob, generation.media_type or "image/png", generation.spoiler),) if generation.blob else ()
    return Reply(Text("disputes.first", facts), rows=_verdicts(dispute), media=media)


def proposal(dispute: Dispute) -> tuple[tuple[Button, ...], ...]:
    """The button that confirms what another admin proposed, and exactly that."""
    if dispute.proposed is None:
        return ()
    action = f"confirm_verdict {dispute.id} {dispute.proposed} {dispute.proposed_amount}"
    return ((Button(Text("button.confirm_verdict", proposal_facts(dispute)), action, style="primary"),),)


def proposal_facts(dispute: Dispute) -> dict[str, Any]:
    """What the sentences about a proposed verdict mention."""
    facts = dispute_facts(dispute) | {"amount": Amount(dispute.proposed_amount or 0), "reason": dispute.proposed_reason or ""}
    return facts | {"verdict": Text(f"dispute.verdict.{dispute.proposed}")}


async def _status(work: UnitOfWork, dispute: Dispute) -> Text:
    """Who works on it, or what waits for a second admin, or its verdict."""
    if dispute.proposed_by is not None:
        return Text("dispute.proposed", proposal_facts(dispute) | {"admin": (await work.users.get(dispute.proposed_by)).name})
    if dispute.state is not State.OPEN:
        return Text(f"disputes.{dispute.state}", dispute_facts(dispute))
    if dispute.taken_by is not None and (left := (dispute.taken_until or 0) - work.now) > 0:
        return Text("dispute.taken", {"admin": (await work.users.get(dispute.taken_by)).name, "minutes": -(-left // MINUTE)})
    return Text("dispute.free")


def _verdicts(dispute: Dispute) -> tuple[tuple[Button, ...], ...]:
    """The buttons of the verdict; of a rejected one, those of what may take its place; of another, that which takes it back."""
    number, after = dispute.id, ((Button(Text("button.next_dispute"), f"disputes {dispute.id}"),),)
    again = " again" if dispute.state is State.REJECTED else ""
    refund = Button(Text("button.refund"), f"verdict {number} refund{again}", style="primary")
    part = Button(Text("button.part"), f"verdict {number} part{again}")
    goodwill = Button(Text("button.goodwill"), f"verdict {number} goodwill{again}")
    if again:
        return (*proposal(dispute), (refund,), (part, goodwill), *after)
    if State.TAKEN_BACK in NEXT[dispute.state]:
        return (*proposal(dispute), (Button(Text("button.take_back"), f"verdict {number} take_back"),), *after)
    if dispute.state is not State.OPEN:
        return after
    reject, take = Button(Text("button.reject"), f"verdict {number} reject", style="danger"), Button(Text("button.take"), f"take {number}")
    return (*proposal(dispute), (refund, reject), (part, goodwill), (take,), *after)


def told(dispute: Dispute, delivery: Delivery) -> Reply:
    """The verdict, as the opener or the miner reads it."""
    return Reply(Text(f"verdict.{dispute.state}.{delivery.body['side']}", dispute_facts(dispute)))


def opened(dispute: Dispute, delivery: Delivery) -> Reply:
    """That there is a new one: for admins, or for who earns by the picture, who may say something to it."""
    if delivery.kind == "dispute_confirm":
        if dispute.proposed is None:
            return Reply(Text("dispute.not_proposed", dispute_facts(dispute)))
        return Reply(Text("dispute.confirm", proposal_facts(dispute)), rows=(*proposal(dispute), (look_at(dispute.id),)))
    name = "queue" if delivery.kind == "dispute_new" else "answer"
    answer = Button(Text("button.dispute_answer"), f"answer_dispute {dispute.id}", style="primary")
    return Reply(Text(f"dispute.{name}", dispute_facts(dispute)), rows=((look_at(dispute.id) if name == "queue" else answer,),))


def look_at(number: int) -> Button:
    """Shows an admin that dispute as a whole."""
    return Button(Text("button.dispute_queue"), f"show_dispute {number}", style="primary")


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
    tries = [
        " ".join(filter(None, (f"#{each['resource']}", each["outcome"], each["fault"], f"{each['seconds']} s", each.get("reference"))))
        for each in evidence.get("attempts", ())
    ]
    facts = {"varies": evidence.get("varies", "—"), "asked": evidence.get("ratio") or "—", "tries": tries or "—"}
    facts["copy"] = Text("dispute.copy", {"id": evidence["copy_of"]}) if evidence.get("copy_of") else Text("dispute.no_copy")
    return Text("dispute.seen" if dispute.evidence else "dispute.unseen", facts)
