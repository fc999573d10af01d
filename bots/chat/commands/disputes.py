"""/dispute and the report button for creators; /disputes for admins."""

from bots.chat.disputes import dispute_facts, look_at, proposal_facts
from bots.chat.registry import Context, action, command, number_of
from bots.chat.types import Button, Field, Form, Option, Reply
from core.address import Address
from core.db import MINUTE
from core.disputes.errors import DisputeNotFound
from core.disputes.models import MAX_TEXT, VERDICTS, Dispute, Kind, State
from core.disputes.rules import TAKEN
from core.generations.errors import GenerationNotFound
from core.mailbox.models import Notice
from core.money import CREDIT, parse_credits
from core.words import Text


@command("dispute", Option("number", kind="integer", minimum=1), private=True)
async def on_dispute(context: Context) -> Reply:
    """Which picture it is about: those that may still be disputed."""
    named = context.event.options.get("number") or context.event.argument.strip()
    if number := number_of(named):
        return await _ask_kind(context, number)
    found = await context.work.disputes.disputable(context.user.id)
    if not found:
        return Reply(Text("dispute.none"), private=True)
    rows = tuple(
        (Button(Text("button.dispute_one", {"id": number, "prompt": prompt[:40]}), f"report {number}"),) for number, prompt in found
    )
    return Reply(Text("dispute.which"), rows=rows, private=True)


@action("report")
async def on_report(context: Context) -> Reply:
    """The report button below a picture."""
    return await _ask_kind(context, context.number())


@action("dispute")
async def on_kind(context: Context) -> Reply:
    """Opens it. Raises NotDisputable when it is open already, decided, or too late."""
    word = context.words[1] if len(context.words) > 1 else ""
    if word not in list(Kind):
        return await _ask_kind(context, context.number())
    opened = await context.work.disputes.open(context.number(), context.user, Kind(word), context.app.settings.rejected_disputes)
    return Reply(Text("dispute.opened", {"id": opened.id, "generation": opened.generation_id}), private=True)


@command("disputes", Option("number", kind="integer", minimum=1), private=True, admin=True)
@action("disputes", admin=True)
async def on_disputes(context: Context) -> Reply:
    """How many are open; the oldest, or the next after a number, follows with its picture, and with the buttons of the verdict.

    A number shows that one, decided or not.
    """
    if named := "" if context.event.action else context.event.options.get("number") or context.event.argument.strip():
        try:
            return await _show(context, await context.work.disputes.get(number_of(named)))
        except DisputeNotFound:
            return Reply(Text("disputes.missing", {"number": named[:16]}), private=True)
    waiting = await context.work.disputes.waiting(after=context.number() if context.event.action else 0)
    if not waiting:
        return Reply(Text("disputes.none"), private=True)
    await _show(context, waiting[0])
    return Reply(Text("disputes.open", {"n": len(waiting)}), private=True)


@action("show_dispute", admin=True)
async def on_show(context: Context) -> Reply:
    """One as a whole, decided or not."""
    return await _show(context, await context.work.disputes.get(context.number()))


@action("take", admin=True)
async def on_take(context: Context) -> Reply:
    """It is theirs for a while. Raises AlreadyDecided, OwnDispute, DisputeTaken."""
    taken = await context.work.disputes.take(context.number(), context.user)
    return Reply(Text("disputes.taken", {"id": taken.id, "minutes": TAKEN // MINUTE}), private=True)


@action("confirm_verdict", admin=True)
async def on_confirm(context: Context) -> Reply:
    """The second admin's word for exactly that verdict. Raises NotProposed, SecondAdmin, and what verdicts raise."""
    verdict = next((each for each in State if each in context.words[1:2]), State.OPEN)
    return _decided(await context.work.disputes.confirm(context.number(), context.user, verdict, context.number(2)))


@action("verdict", admin=True)
async def on_verdict(context: Context) -> Reply:
    """Asks for the reason, which both sides are told; and for the amount where it is not all."""
    found = await context.work.disputes.get(context.number())
    word = context.words[1] if context.words[1:] and context.words[1] in VERDICTS else "reject"
    again = " again" if context.words[2:] == ("again",) else ""
    reason = Field("reason", Text("field.reason"), max_length=MAX_TEXT)
    amount = (Field("amount", Text("field.amount"), max_length=12),) if word in ("part", "goodwill") else ()
    return Reply(form=Form(f"decide {found.id} {word}{again}", Text(f"button.{word}"), (*amount, reason)), private=True)


@action("decide", admin=True)
async def on_decide(context: Context) -> Reply:
    """The verdict, or the first half of one that needs a second admin.

    Raises AlreadyDecided, OwnDispute, DisputeTaken, SecondAdmin, NotReversible, NotTakenBack, OwnVerdict, RefundSpent, ReasonNeeded,
    BadAmount.
    """
    answers, alone = context.event.answers, context.app.settings.verdict_confirm_above * CREDIT
    try:
        amount = parse_credits(answers.get("amount", "0"))
    except ValueError:
        amount = 0
    verdict = VERDICTS.get(next(iter(context.words[1:2]), ""), State.REJECTED)
    decided = await context.work.disputes.decide(
        context.number(), context.user, verdict, answers.get("reason", ""), alone=alone, amount=amount,
        reverses=context.words[2:] == ("again",),
    )  # fmt: skip
    return _decided(decided)


@action("answer_dispute")
async def on_answer(context: Context) -> Reply:
    """What whoever earns by the picture says to it, once; admins read it. Raises DisputeNotFound, AlreadyDecided."""
    said = context.event.answers.get("answer")
    if said is None:
        field = Field("answer", Text("field.answer"), max_length=MAX_TEXT)
        return Reply(form=Form(f"answer_dispute {context.number()}", Text("button.dispute_answer"), (field,)), private=True)
    answered = await context.work.disputes.answer(context.number(), context.user, said)
    return Reply(Text("dispute.answered", {"id": answered.id}), private=True)


def _decided(dispute: Dispute) -> Reply:
    rows: tuple[tuple[Button, ...], ...] = ((Button(Text("button.next_dispute"), f"disputes {dispute.id}"),),)
    if dispute.proposed is not None:
        return Reply(Text("disputes.proposed", proposal_facts(dispute)), rows=rows, private=True)
    if dispute.state is State.REJECTED:
        rows = ((look_at(dispute.id),), *rows)
    return Reply(Text(f"disputes.{dispute.state}", dispute_facts(dispute)), rows=rows, private=True)


async def _show(context: Context, dispute: Dispute) -> Reply:
    """Its bundle follows in the admin's private chat."""
    event = context.event
    key, body = f"bundle:{event.platform}:{event.id}", {"dispute": dispute.id, "reader": context.user.id}
    await context.work.mailbox.say([Notice(key, Address(event.platform, event.private_chat), "bundle", body)])
    return Reply(Text("disputes.shown", {"id": dispute.id}), private=True)


async def _ask_kind(context: Context, number: int) -> Reply:
    found = await context.work.generations.get(number)
    if found.user_id != context.user.id:
        raise GenerationNotFound(generation=number)
    rows = tuple((Button(Text(f"dispute.kind.{kind}"), f"dispute {number} {kind}"),) for kind in Kind)
    return Reply(Text("dispute.kind", {"id": number}), rows=rows, private=True)
