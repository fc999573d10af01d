"""/dispute and the report button for creators; /disputes for admins."""

from bots.chat.disputes import dispute_facts
from bots.chat.registry import Context, action, command
from bots.chat.types import Button, Field, Form, Option, Reply
from core.address import Address
from core.disputes.models import MAX_TEXT, Kind
from core.generations.errors import GenerationNotFound
from core.mailbox.models import Notice
from core.money import parse_credits
from core.words import Text

VERDICTS = ("refund", "part", "goodwill", "reject")


@command("dispute", Option("number", kind="integer", minimum=1), private=True)
async def on_dispute(context: Context) -> Reply:
    """Which picture it is about: those that may still be disputed."""
    named = context.event.options.get("number") or context.event.argument.strip()
    if named.isascii() and named.isdigit() and len(named) < 16:
        return await _ask_kind(context, int(named))
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
    opened = await context.work.disputes.open(context.number(), context.user, Kind(word))
    return Reply(Text("dispute.opened", {"id": opened.id, "generation": opened.generation_id}), private=True)


@command("disputes", private=True, admin=True)
@action("disputes", admin=True)
async def on_disputes(context: Context) -> Reply:
    """How many are open; the oldest, or the next after a number, follows with its picture, and with the buttons of the verdict."""
    waiting = await context.work.disputes.waiting(after=context.number() if context.event.action else 0)
    if not waiting:
        return Reply(Text("disputes.none"), private=True)
    event = context.event
    key, body = f"bundle:{event.platform}:{event.id}", {"dispute": waiting[0].id, "reader": context.user.id}
    await context.work.mailbox.say([Notice(key, Address(event.platform, event.private_chat), "bundle", body)])
    return Reply(Text("disputes.open", {"n": len(waiting)}), private=True)


@action("verdict", admin=True)
async def on_verdict(context: Context) -> Reply:
    """Asks for the reason, which both sides are told; and for the amount where it is not all."""
    found = await context.work.disputes.get(context.number())
    word = context.words[1] if context.words[1:] and context.words[1] in VERDICTS else "reject"
    reason = Field("reason", Text("field.reason"), max_length=MAX_TEXT)
    amount = (Field("amount", Text("field.amount"), max_length=12),) if word in ("part", "goodwill") else ()
    return Reply(form=Form(f"decide {found.id} {word}", Text(f"button.{word}"), (*amount, reason)), private=True)


@action("decide", admin=True)
async def on_decide(context: Context) -> Reply:
    """The verdict. Raises AlreadyDecided, OwnDispute, ReasonNeeded, BadAmount."""
    disputes, answers, number = context.work.disputes, context.event.answers, context.number()
    reason, word = answers.get("reason", ""), next(iter(context.words[1:2]), "reject")
    if word in ("part", "goodwill"):
        try:
            amount = parse_credits(answers.get("amount", ""))
        except ValueError:
            amount = 0
        verdict = disputes.refund_part if word == "part" else disputes.compensate
        decided = await verdict(number, context.user, amount, reason)
    else:
        decided = await disputes.decide(number, context.user, refunds=word == "refund", reason=reason)
    rows = ((Button(Text("button.next_dispute"), f"disputes {decided.id}"),),)
    return Reply(Text(f"disputes.{decided.state}", dispute_facts(decided)), rows=rows, private=True)


@action("answer_dispute")
async def on_answer(context: Context) -> Reply:
    """What whoever earns by the picture says to it, once; admins read it. Raises DisputeNotFound, AlreadyDecided."""
    said = context.event.answers.get("answer")
    if said is None:
        field = Field("answer", Text("field.answer"), max_length=MAX_TEXT)
        return Reply(form=Form(f"answer_dispute {context.number()}", Text("button.dispute_answer"), (field,)), private=True)
    answered = await context.work.disputes.answer(context.number(), context.user, said)
    return Reply(Text("dispute.answered", {"id": answered.id}), private=True)


async def _ask_kind(context: Context, number: int) -> Reply:
    found = await context.work.generations.get(number)
    if found.user_id != context.user.id:
        raise GenerationNotFound(generation=number)
    rows = tuple((Button(Text(f"dispute.kind.{kind}"), f"dispute {number} {kind}"),) for kind in Kind)
    return Reply(Text("dispute.kind", {"id": number}), rows=rows, private=True)
