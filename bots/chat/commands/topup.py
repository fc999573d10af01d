"""/topup: packages as buttons, the rails that the platform's rules allow, and where to turn about a payment."""

from bots.chat.payments import link_status
from bots.chat.registry import Context, action, command
from bots.chat.types import Button, Invoice, Reply
from core.address import Address
from core.money import format_price
from core.payments.errors import RailOff
from core.payments.models import CURRENCIES, TopUp
from core.payments.rules import rails_for
from core.words import Amount, Text

OPEN_SECONDS = 2.0
"""How long the answer waits for the rail's page. Discord gives 3 s for a first answer; a slower page follows by itself."""


@command("topup", private=True)
@action("topup")
async def on_topup(context: Context) -> Reply:
    """What Credits cost here."""
    rails = rails_for(context.event.platform, context.app.settings.rails)
    if not rails:
        return Reply(Text("topup.off"), private=True)
    rows = [
        tuple(_offer(package.id, package.total, package.prices[CURRENCIES[rail]], rail, named=len(rails) > 1) for rail in rails
              if CURRENCIES[rail] in package.prices)
        for package in context.app.packages.by_id.values()
    ]  # fmt: skip
    held = await context.work.ledger.balances([f"user:{context.user.id}:wallet"])
    facts = {"wallet": Amount(next(iter(held.values()))), "rails": [Text(f"rail.{each}") for each in rails]}
    return Reply(Text("topup.offer", facts), rows=tuple(row for row in rows if row), private=True)


def _offer(package: str, credits: int, price: int, rail: str, *, named: bool) -> Button:
    facts = {"credits": Amount(credits), "price": format_price(price, CURRENCIES[rail]), "rail": Text(f"rail.{rail}")}
    return Button(Text("button.buy_by" if named else "button.buy", facts), f"buy {package} {rail}", style="primary")


@action("buy", alone=True)
async def on_buy(context: Context) -> Reply:
    """Begins a payment. Raises RailOff for a rail that is not for this platform, PackageNotFound, TooManyPayments."""
    app, event = context.app, context.event
    package, rail = (*context.words, "", "")[:2]
    allowed = rails_for(event.platform, app.settings.rails)
    if rail not in allowed:
        raise RailOff(rail=rail, open=allowed)
    address = Address(event.platform, event.private_chat)
    payment = await app.top_up(TopUp(f"{event.platform}:{event.id}", context.user.id, package, rail, address=address))
    if rail == "stars":
        facts = {"credits": Amount(payment.credits)}
        title, description = Text("invoice.title", facts), Text("invoice.description", facts)
        return Reply(invoice=Invoice(payment.order, title, description, payment.amount), private=True)
    return link_status(await app.opened(payment, OPEN_SECONDS), app.settings.public_url)


@command("paysupport", private=True, always=True)
@action("paysupport", always=True)
async def on_paysupport(context: Context) -> Reply:
    """Where to turn about a payment: the newest ones with their numbers, and what can be done about them."""
    found = await context.work.payments.newest(context.user.id, limit=5)
    lines = [
        Text("payments.line", {
            "id": each.id, "state": Text(f"payment.state.{each.state}"), "credits": Amount(each.credits),
            "price": format_price(each.amount, each.currency), "rail": Text(f"rail.{each.rail}"),
        })
        for each in found
    ]  # fmt: skip
    facts = {"lines": lines, "contact": context.app.settings.support_contact}
    return Reply(Text("paysupport" if lines else "paysupport.none", facts), private=True)
