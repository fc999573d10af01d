"""Outbox row -> what is said. A generation's messages are worded from its state at the moment they are sent, so they are never stale."""

from dataclasses import dataclass
from typing import Any

from bots.chat.alarms import alarm
from bots.chat.ballots import EDIT_BALLOT, ballot_status
from bots.chat.digest import digest
from bots.chat.disputes import bundle, opened, told
from bots.chat.letters import letter
from bots.chat.payments import OPEN, link_status, news
from bots.chat.payouts import payout_card, payout_facts
from bots.chat.pools import asking, refill_news
from bots.chat.types import Button, Media, Reply
from core.app import App
from core.db import SECOND
from core.generations.models import Generation, State, Told
from core.ledger.models import wallet
from core.mailbox.models import Delivery
from core.money import CREDIT, format_dollars
from core.pools.models import BallotState
from core.unit_of_work import UnitOfWork
from core.words import Amount, Text

EDIT_EVERY = 5 * SECOND
"""Between two edits of a message about a running generation; both platforms' limits leave room for it."""
SHOWN_PROMPT = 300
FOR_ADMINS = frozenset({"alert", "preset_report", "payout_new", "bundle", "dispute_new"})
"""What is said to admins alone: to nobody who has lost the role on the way."""
ENDED = frozenset({State.DELIVERED, State.FAILED, State.CANCELLED, State.DISPUTED, State.REFUNDED})


@dataclass(frozen=True, slots=True)
class Wording:
    """A row in words: `reply` None means that there is nothing to say (any more). `live`: it will be edited again. `clears`: the message
    that followed the subject is removed once this one has arrived. `edit_in`: microseconds until then, if nothing changes before."""

    reply: Reply | None
    locale: str
    live: bool = False
    clears: bool = False
    edit_in: int = EDIT_EVERY


async def word(app: App, delivery: Delivery) -> Wording:
    """Words for every kind of row but "reply", whose words were chosen when it was written."""
    if delivery.kind in ("generation", "result"):
        return _of_generation(delivery, await app.told(int(delivery.body["generation"])), app.now())
    async with app.read() as work:
        return await _other(app, work, delivery)


async def _other(app: App, work: UnitOfWork, delivery: Delivery) -> Wording:
    if "reader" in delivery.body:
        reader = await work.users.get(int(delivery.body["reader"]))
        lost = (delivery.kind in FOR_ADMINS or delivery.body.get("says") == "stats.chart") and not reader.is_admin
        return Wording(None if lost else await _told(app, work, delivery), reader.locale)
    if delivery.kind in ("banned", "unbanned"):
        user = await work.users.get(int(delivery.body["user"]))
        return Wording(Reply(Text(f"notice.{delivery.kind}", {"reason": delivery.body["reason"]})), user.locale)
    if delivery.kind == "ballot":
        ballot = await work.ballots.get(int(delivery.body["ballot"]))
        asker = await work.users.get(ballot.user_id)
        reply = await ballot_status(work, ballot, asker.name)
        return Wording(reply, asker.locale, live=ballot.state is BallotState.OPEN, edit_in=EDIT_BALLOT)
    if delivery.kind == "joined":
        kept = await work.users.get(int(delivery.body["user"]))
        known = await work.users.identities(kept.id)
        return Wording(Reply(Text("link.joined", {"name": kept.name, "known": [platform for platform, _ in known]})), kept.locale)
    if delivery.kind == "mail":
        return Wording(*letter(app, delivery))
    if delivery.kind in ("payment", "payment_news"):
        payment = await work.payments.get(int(delivery.body["payment"]))
        user = await work.users.get(payment.user_id)
        if delivery.kind == "payment":
            return Wording(link_status(payment, app.settings.public_url), user.locale, live=payment.state in OPEN)
        balances = await work.ledger.balances([wallet(user.id)])
        return Wording(news(payment, delivery, balances[wallet(user.id)]), user.locale)
    resource = await work.resources.get(int(delivery.body["resource"]))
    owner = await work.users.get(resource.owner_id)
    return Wording(_resource_news(app, delivery, resource.id, resource.provider), owner.locale)


def _of_generation(delivery: Delivery, told: Told, now: int) -> Wording:
    generation = told.generation
    if delivery.kind == "result":
        covers = told.author_id == generation.user_id and not generation.spoiler
        return Wording(result(generation, told.name, covers=covers), told.locale, clears=True)
    if generation.state in ENDED:
        cancelled = generation.state is State.CANCELLED
        return Wording(Reply(Text("generation.cancelled", _facts(generation))) if cancelled else None, told.locale)
    return Wording(status(told, now), told.locale, live=True)


async def _told(app: App, work: UnitOfWork, delivery: Delivery) -> Reply:
    """What is said to one of several readers, each in their own language."""
    body = delivery.body
    if delivery.kind == "alert":
        return alarm(delivery)
    if delivery.kind == "chart":
        return Reply(Text(str(body["says"])), media=(Media(str(body["blob"])),))
    if delivery.kind == "digest":
        return digest(delivery)
    if delivery.kind == "retires":
        return Reply(Text(f"retires.{body['side']}", {"model": body["model"], "date": body["date"]}))
    if delivery.kind in ("pool_ask", "pool_let"):
        return await asking(work, delivery)
    if delivery.kind == "refill":
        return await refill_news(work, delivery)
    if delivery.kind == "preset_report":
        name = str(body["preset"])
        rows = ((Button(Text("button.preset"), f"preset {name}"), Button(Text("button.freeze_preset"), f"freeze_preset {name}")),)
        return Reply(Text("preset.report", {"name": name, "n": body["count"]}), rows=rows)
    if "payout" in body:
        payout = await work.payouts.get(int(body["payout"]))
        if delivery.kind == "payout_new":
            return payout_card(payout, app.settings.payout_confirm_above * CREDIT)
        return Reply(Text(f"payout.{payout.state}", payout_facts(payout)))
    dispute = await work.disputes.get(int(body["dispute"]))
    if delivery.kind == "bundle":
        return await bundle(work, dispute)
    return told(dispute, delivery) if delivery.kind == "verdict" else opened(dispute, delivery)


def status(told: Told, now: int) -> Reply:
    """A waiting or running generation: price, payer, place in line, or how long it has been drawing."""
    generation = told.generation
    facts = _facts(generation)
    if generation.state is State.QUEUED:
        text = Text("generation.queued", facts | {"place": told.place})
        return Reply(text, rows=((Button(Text("button.cancel"), f"cancel {generation.id}"),),), subject=generation.subject)
    seconds = max(0, (now - told.since) // SECOND) if told.since else 0
    bar = "▰" * min(9, 1 + seconds // 2) + "▱" * max(1, 9 - seconds // 2)
    return Reply(Text("generation.running", facts | {"seconds": seconds, "bar": bar}), subject=generation.subject)


def result(generation: Generation, name: str, *, covers: bool = False) -> Reply:
    """The picture with its buttons, or why there is none. `covers`: it may become the cover of its creator's preset."""
    facts = _facts(generation) | {"name": name}
    if generation.state is State.FAILED:
        again = (
            ((Button(Text("button.again"), f"again {generation.id}"),),)
            if generation.reason not in ("moderated", "forbidden_prompt", "withheld", "bad_request")
            else ()
        )
        return Reply(Text("generation.failed", facts | {"why": Text(f"failed.{generation.reason}")}), rows=again)
    assert generation.blob and generation.media_type
    seconds = ((generation.finished_at or generation.created_at) - generation.created_at) / SECOND
    facts |= {"paid": Amount(generation.paid), "seconds": f"{seconds:.1f}", "seed": "—" if generation.seed is None else generation.seed}
    number = generation.id
    cover = (Button(Text("button.cover"), f"cover {number}"),) if covers else ()
    rows = (
        (Button(Text("button.again"), f"again {number}", style="primary"), Button(Text("button.vary"), f"vary {number}")),
        (Button(Text("button.edit_prompt"), f"edit_prompt {number}"), Button(Text("button.upscale"), f"upscale {number}")),
        (Button(Text("button.report"), f"report {number}", style="danger"), *cover),
    )
    return Reply(Text("generation.delivered", facts), rows=rows, media=(Media(generation.blob, generation.media_type, generation.spoiler),))


def _facts(generation: Generation) -> dict[str, Any]:
    prompt = generation.prompt if len(generation.prompt) <= SHOWN_PROMPT else generation.prompt[:SHOWN_PROMPT] + "…"
    name = "pool" if generation.payer.startswith("pool:") else "earnings" if generation.payer.endswith("earnings") else "wallet"
    payer = Text(f"payer.{name}")
    return {"id": generation.id, "prompt": prompt or "—", "model": generation.model, "price": Amount(generation.held), "payer": payer}


def _resource_news(app: App, delivery: Delivery, number: int, provider: str) -> Reply:
    facts: dict[str, Any] = {"id": number, "provider": app.catalog.providers[provider].name}
    if delivery.kind in ("resource_stopped", "resource_freed"):
        facts["reason"] = delivery.body["reason"]
    if delivery.kind == "resource_leak":
        facts |= {name: format_dollars(delivery.body[name]) for name in ("gone", "used")}
    if delivery.kind == "resource_rest":
        facts["limit"] = delivery.body["limit"]
    if fault := delivery.body.get("fault"):
        facts["why"] = Text(f"fault.{fault}")
    if delivery.kind == "resource_ready":
        balance = delivery.body.get("balance")
        facts["balance"] = Text("balance.unknown") if balance is None else format_dollars(balance)
        rows = ((Button(Text("button.set_limits"), f"limits {number}", style="primary"),),)
    elif delivery.kind in ("resource_refused", "resource_leak"):
        rows = ((Button(Text("button.new_key"), f"hand {number}", style="primary"),),)
    else:
        rows = ((Button(Text("button.resource"), f"resource {number}"),),)
    return Reply(Text(f"notice.{delivery.kind}", facts), rows=rows)
