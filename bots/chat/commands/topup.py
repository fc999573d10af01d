"""/topup: packages as buttons, the rails that the platform's rules allow, and where to turn about a payment."""

import hmac
from collections.abc import Sequence

from bots.chat.commands.pools import pool_here
from bots.chat.payments import link_status
from bots.chat.registry import Context, action, command
from bots.chat.types import Button, Invoice, Reply
from core.address import Address
from core.money import format_price
from core.payments.errors import RailOff
from core.payments.models import CURRENCIES, TopUp
from core.payments.rules import rails_for
from core.pools.errors import PoolNotFound
from core.words import Amount, Text

PROOF = 12
"""Hex digits by which a button shows that it was made for its presser and pool."""
OPEN_SECONDS = 2.0
"""How long the answer waits for the rail's page. Discord gives 3 s for a first answer; a slower page follows by itself."""


@command("topup", private=True)
@action("topup")
async def on_topup(context: Context) -> Reply:
    """What Credits cost here."""
    rails = rails_for(context.event.platform, context.app.settings.rails)
    if not rails:
        return Reply(Text("topup.off"), private=True)
    held = await context.work.ledger.balances([f"user:{context.user.id}:wallet"])
    facts = {"wallet": Amount(next(iter(held.values()))), "rails": [Text(f"rail.{each}") for each in rails]}
    return Reply(Text("topup.offer", facts), rows=offers(context, rails), private=True)


@action("pool_buy")
async def on_pool_buy(context: Context) -> Reply:
    """What Credits cost that go straight to the pool here. The buttons are for the presser, and hold wherever they are shown."""
    community = await pool_here(context)
    rails = rails_for(context.event.platform, context.app.settings.rails)
    if not rails:
        return Reply(Text("topup.off"), private=True)
    facts = {"name": community.name, "rails": [Text(f"rail.{each}") for each in rails]}
    rows = offers(context, rails, f" {community.id} {_proof(context, community.id)}")
    return Reply(Text("topup.pool", facts), rows=rows, private=True)


def offers(context: Context, rails: Sequence[str], ending: str = "") -> tuple[tuple[Button, ...], ...]:
    """A row of buttons for each package; `ending` is added to what they do."""
    rows = [
        tuple(_offer(package.id, package.total, package.prices[CURRENCIES[rail]], rail, ending, named=len(rails) > 1) for rail in rails
              if CURRENCIES[rail] in package.prices)
        for package in context.app.packages.by_id.values()
    ]  # fmt: skip
    return tuple(row for row in rows if row)


def _proof(context: Context, community: int) -> str:
    """Shows that somebody was offered a pool in its group: a number alone would let anybody pay, and read whose it is."""
    return context.app.vault.pseudonym(f"buy:{context.user.id}:{community}")[:PROOF]


def _offer(package: str, credits: int, price: int, rail: str, ending: str, *, named: bool) -> Button:
    facts = {"credits": Amount(credits), "price": format_price(price, CURRENCIES[rail]), "rail": Text(f"rail.{rail}")}
    return Button(Text("button.buy_by" if named else "button.buy", facts), f"buy {package} {rail}{ending}", style="primary")


@action("buy", alone=True)
async def on_buy(context: Context) -> Reply:
    """Begins a payment, for the wallet or for a pool. Raises RailOff for a rail that is not for this platform, PackageNotFound,
    TooManyPayments; for a pool PoolNotFound, InDebt."""
    app, event = context.app, context.event
    package, rail, _, proof = (*context.words, "", "", "", "")[:4]
    community = context.number(2) or None
    if community is not None and not hmac.compare_digest(proof.encode(), _proof(context, community).encode()):
        raise PoolNotFound()
    allowed = rails_for(event.platform, app.settings.rails)
    if rail not in allowed:
        raise RailOff(rail=rail, open=allowed)
    address = Address(event.platform, event.private_chat)
    wanted = TopUp(f"{event.platform}:{event.id}", context.user.id, package, rail, address=address, community_id=community)
    payment = await app.top_up(wanted)
    if rail == "stars":
        facts = {"credits": Amount(payment.credits)}
        title, description = Text("invoice.title", facts), Text("invoice.pool" if community else "invoice.description", facts)
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
