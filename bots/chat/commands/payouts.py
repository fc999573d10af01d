"""/payout for miners and contributors, /payouts for admins: earnings leave in two steps, each with its word in the log."""

from bots.chat.payouts import payout_card
from bots.chat.registry import Context, action, command
from bots.chat.types import Field, Form, Option, Reply
from core.acts.models import MAX_REASON
from core.ledger.models import earnings
from core.money import CREDIT, parse_credits
from core.words import Amount, Text

STEPS = ("approve", "paid", "refuse")


@command("payout", Option("credits", max_length=12), private=True)
@action("payout")
async def on_payout(context: Context) -> Reply:
    """Asks for a payout of released earnings. Raises Frozen, InDebt, PayoutAmount, PayoutOpen."""
    typed = context.event.answers.get("amount") or context.event.options.get("credits") or context.event.argument.strip()
    balances = await context.work.ledger.balances([earnings(context.user.id)])
    least = context.app.settings.payout_least * CREDIT
    if not typed:
        facts = {"earned": Amount(balances[earnings(context.user.id)]), "least": Amount(least)}
        field = Field("amount", Text("payout.ask", facts), max_length=12)
        return Reply(form=Form("payout", Text("button.payout"), (field,)), private=True)
    try:
        amount = parse_credits(typed)
    except ValueError:
        amount = 0
    made = await context.work.payouts.ask(context.user, amount, f"{context.event.platform}:{context.event.id}", least)
    return Reply(Text("payout.asked", {"id": made.id, "amount": Amount(made.amount)}), private=True)


@command("payouts", private=True, admin=True)
@action("payouts", admin=True)
async def on_payouts(context: Context) -> Reply:
    """The oldest that is open, or the next after a number."""
    found = await context.work.payouts.waiting(1, after=context.number() if context.event.action else 0)
    if not found:
        return Reply(Text("payouts.none"), private=True)
    return payout_card(found[0], _alone(context))


@action("payout_step", admin=True)
async def on_step(context: Context) -> Reply:
    """Asks for the reason, or for the reference of the payment outside."""
    found = await context.work.payouts.get(context.number())
    word = context.words[1] if context.words[1:] and context.words[1] in STEPS else "refuse"
    label = Text("field.reference" if word == "paid" else "field.reason")
    field = Field("reason", label, max_length=MAX_REASON)
    return Reply(form=Form(f"payout_{word} {found.id}", Text(f"button.payout_{word}"), (field,)), private=True)


@action("payout_approve", admin=True)
async def on_approve(context: Context) -> Reply:
    """Raises PayoutDecided, ReasonNeeded."""
    alone = _alone(context)
    return payout_card(
        await context.work.payouts.approve(context.number(), context.user, context.event.answers.get("reason", ""), alone), alone
    )


@action("payout_paid", admin=True)
async def on_paid(context: Context) -> Reply:
    """Raises PayoutDecided, PayoutNeedsSecond, ReasonNeeded."""
    alone = _alone(context)
    return payout_card(
        await context.work.payouts.paid(context.number(), context.user, context.event.answers.get("reason", ""), alone), alone
    )


@action("payout_refuse", admin=True)
async def on_refuse(context: Context) -> Reply:
    """Raises PayoutDecided, ReasonNeeded."""
    refused = await context.work.payouts.refuse(context.number(), context.user, context.event.answers.get("reason", ""))
    return payout_card(refused, _alone(context))


def _alone(context: Context) -> int:
    """Milli-credits up to which one admin approves and pays."""
    return context.app.settings.payout_confirm_above * CREDIT
