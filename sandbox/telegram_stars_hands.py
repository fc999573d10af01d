"""What a person does with Telegram Stars: pays, pays twice in a hurry, forwards an invoice, gets the money back from the store."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from aiohttp import web

from sandbox.telegram_methods import Methods
from sandbox.telegram_stars import CHECKOUT_SECONDS, Stars
from sandbox.telegram_state import Chat, HandsError, Invoice, Message, Person, State
from sandbox.telegram_updates import Updates

Id = int | str
Shown = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class StarsHands:
    """The part of the hands that moves Stars. A refusal is an outcome, {"paid": false, "problem": …}, and also a toast of the person."""

    state: State
    updates: Updates
    stars: Stars
    methods: Methods

    async def pay(self, person: Id, chat: Id, message: Id, patience: float = CHECKOUT_SECONDS) -> Shown:
        """Presses Pay and confirms. `patience`: seconds until Telegram cancels; with 0 the bot's answer always comes too late.

        Returns {"paid": true, "charge": …} or {"paid": false, "problem": …}. Raises HandsError when there is no Pay button for the person.
        """
        payer = self.state.person(person)
        place, invoice = self._payable(payer, chat, message)
        return await self._pay(payer, invoice, place, patience)

    async def pay_rapidly(self, person: Id, chat: Id, message: Id, presses: int = 2) -> list[Shown]:
        """Presses Pay again before the first press is answered: as many queries at once; each that the bot lets through is a charge."""
        payer = self.state.person(person)
        place, invoice = self._payable(payer, chat, message)
        return list(await asyncio.gather(*(self._pay(payer, invoice, place, CHECKOUT_SECONDS) for _ in range(presses))))

    async def pay_link(self, person: Id, link: str, patience: float = CHECKOUT_SECONDS) -> Shown:
        """Opens a link of createInvoiceLink and pays, as `pay`; the bot hears of it in the private chat."""
        payer = self.state.person(person)
        if (invoice := self.stars.links.get(link)) is None:
            raise HandsError(f"no such invoice: {link}")
        return await self._pay(payer, invoice, self.state.chat(payer.id), patience)

    async def _pay(self, payer: Person, invoice: Invoice, place: Chat, patience: float) -> Shown:
        try:
            charge = await self.stars.pay(payer, invoice, place, patience)
        except HandsError as error:
            self.methods.toasts.append((payer.id, str(error)))
            self.state.publish(place, {"chat": str(place.id), "toast": str(error), "alert": True}, only=payer.id)
            return {"paid": False, "problem": str(error)}
        return {"paid": True, "charge": charge.id}

    def _payable(self, payer: Person, chat: Id, message: Id) -> tuple[Chat, Invoice]:
        place = self.state.seen_by(payer, chat)
        shown = place.messages.get(int(message))
        invoice = None if shown is None else shown.invoice
        if shown is None or invoice is None or (shown.forwarded is not None and invoice.start_parameter):
            raise HandsError(f"no Pay button on message {message}")
        if payer.id in invoice.paid_by:
            raise HandsError(f"{payer.name} has paid this invoice")
        # The bot may not be where a copy lies: it hears of such a payment in the payer's private chat.
        return (place if shown.forwarded is None else self.state.chat(payer.id)), invoice

    async def forward(self, person: Id, chat: Id, message: Id, to: Id) -> str:
        """Forwards a message of the bot to another chat; returns the copy's id. Raises HandsError for a protected one."""
        speaker = self.state.person(person)
        source, target = self.state.seen_by(speaker, chat), self.state.seen_by(speaker, to)
        original = source.messages.get(int(message))
        if original is None or original.sender is not None:
            raise HandsError(f"no message {message} of the bot")
        if original.protected:
            raise HandsError(f"message {message} is protected from forwarding")
        copy = self.state.new_message(target, speaker.id, **_forwarded(original))
        if target.kind == "private" or target.bot == "administrator":
            self.updates.put("message", target.id, self.state.message_json(copy))
        return str(copy.id)

    def stars_of(self, person: Id) -> int:
        """What the person has to spend."""
        return self.state.person(person).stars

    def chargeback(self, charge: str) -> None:
        """The person gets the money back from Apple or Google: the bot loses the Stars, and only its transactions tell."""
        self.stars.take_back(self.stars.charge(charge))

    def repeat_payment(self, charge: str) -> None:
        """The successful_payment arrives once more, under a new update id."""
        self.stars.repeat(self.stars.charge(charge))


def _forwarded(original: Message) -> dict[str, Any]:
    rows = [] if original.invoice else original.rows
    kept = replace(original, rows=rows)
    names = ("text", "entities", "photo", "document", "rows", "spoiler", "invoice")
    return {name: getattr(kept, name) for name in names} | {"forwarded": original.at}


class StarsOverHttp:
    """The routes of Stars under /hands/telegram; mistakes are answered by whoever mounts them, with 400 and {"error": …}."""

    def __init__(self, hands: StarsHands) -> None:
        self._hands = hands

    def handlers(self) -> dict[tuple[str, str], Handler]:
        """By method and path."""
        return {
            ("POST", "/hands/telegram/pay"): self._pay,
            ("POST", "/hands/telegram/pay-rapidly"): self._pay_rapidly,
            ("POST", "/hands/telegram/pay-link"): self._pay_link,
            ("POST", "/hands/telegram/forward"): self._forward,
            ("GET", "/hands/telegram/stars"): self._stars,
            ("POST", "/hands/telegram/chargeback"): self._chargeback,
            ("POST", "/hands/telegram/repeat-payment"): self._repeat,
        }

    async def _pay(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        patience = float(body.get("patience", CHECKOUT_SECONDS))
        return web.json_response(await self._hands.pay(body["person"], body["chat"], body["message"], patience))

    async def _pay_rapidly(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        outcomes = await self._hands.pay_rapidly(body["person"], body["chat"], body["message"], int(body.get("presses", 2)))
        return web.json_response(outcomes)

    async def _pay_link(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        patience = float(body.get("patience", CHECKOUT_SECONDS))
        return web.json_response(await self._hands.pay_link(body["person"], body["link"], patience))

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        return web.json_response({"id": await self._hands.forward(body["person"], body["chat"], body["message"], body["to"])})

    async def _stars(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"stars": self._hands.stars_of(request.query["person"])})

    async def _chargeback(self, request: web.Request) -> web.StreamResponse:
        self._hands.chargeback((await request.json())["charge"])
        return web.json_response({})

    async def _repeat(self, request: web.Request) -> web.StreamResponse:
        self._hands.repeat_payment((await request.json())["charge"])
        return web.json_response({})
