"""Chat.handle(event) -> Answer: one event, one transaction, at most one message."""

import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

import bots.chat.commands.account
import bots.chat.commands.admin
import bots.chat.commands.disputes
import bots.chat.commands.earnings
import bots.chat.commands.imagine
import bots.chat.commands.link
import bots.chat.commands.payouts
import bots.chat.commands.places
import bots.chat.commands.pools
import bots.chat.commands.presets
import bots.chat.commands.rescue
import bots.chat.commands.resources
import bots.chat.commands.spenders
import bots.chat.commands.sponsors
import bots.chat.commands.topup
import bots.chat.commands.votes
import bots.chat.commands.wallet
import bots.chat.commands.watch  # noqa: F401  # importing declares their commands
from bots.chat import forms
from bots.chat.ballots import put_to_vote
from bots.chat.errors import explain
from bots.chat.membership import asks, carried, remembered, settled, told
from bots.chat.moves import follow
from bots.chat.notices import status
from bots.chat.pools import declined
from bots.chat.registry import REGISTRY, Context, Entry
from bots.chat.rendering import dump, pictures_of, questions, render
from bots.chat.types import Answer, CommandSpec, Event, Paid, Person, Picture, Place, Platform, Reply
from core.acts.errors import AdminsOnly
from core.address import Address
from core.app import OUTBOX, App
from core.blobs import BlobNotFound, BlobsUnavailable
from core.db import SECOND
from core.errors import Refusal
from core.generations.models import Order
from core.mailbox.models import Notice, Sent
from core.mailbox.service import FOLLOWING, Mailbox
from core.moderation import ForbiddenPrompt
from core.payments.errors import NotPayable
from core.payments.rails.base import RailEvent, Said
from core.payments.rails.stars import charge_id
from core.pools.errors import NOT_PAID, VotesNeeded
from core.resources.models import State
from core.unit_of_work import UnitOfWork
from core.users.errors import Frozen
from core.users.models import Identity, User, locale_of
from core.vault.secret import Secret
from core.words import Text, Words

SENTENCES = Path(__file__).with_name("locales")
"""The folder of what the bots say."""
FIRST_WORD = 10 * SECOND
"""How long whoever handled an event has to say its answer itself, before delivery does."""
EDIT_AFTER = 2 * SECOND
"""When the message about a new generation is first edited, if nothing changes before."""
NO_KEYS = frozenset({"discord"})
"""Platforms that forbid bots to ask for keys in messages and forms: there only the secure form takes them."""
KEY = re.compile(r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{16,}")
"""What a pasted provider key looks like, wherever it is pasted."""

log = structlog.get_logger(__name__)


class Chat:
    """The chat layer of one process. Knows a platform by its name alone."""

    def __init__(self, app: App, words: Words) -> None:
        self.app = app
        self.words = words
        self.commands: tuple[CommandSpec, ...] = tuple(each.spec for each in REGISTRY.commands.values() if each.spec is not None)

    async def handle(self, event: Event) -> Answer:
        """See ChatPort. Every refusal becomes words; only a bug or a database that is away raises."""
        event = settled(_tidied(event))
        user = await self._resolve(event)
        said = f"{event.text} {event.argument} {' '.join(event.options.values())} {' '.join(event.answers.values())}"
        pasted = KEY.search(said) is not None
        try:
            if not await self.app.hints.admit(f"events:{event.platform}:{event.person.id}", self.app.settings.events_per_minute):
                reply: Reply | None = Reply(Text("error.slow_down"), private=True, toast=True, delete_event=pasted)
            elif user.frozen and not ((entry := _route(event)[0]) and entry.always):
                reply = Reply(Text("error.frozen"), private=True, delete_event=pasted)
            elif pasted:
                reply = await self._key_pasted(event, user)
            else:
                return await self._dispatch(event, user)
        except ForbiddenPrompt as error:
            return await self._record(event, user, explain(error), strikes=1)
        except Refusal as error:
            reply = explain(error)
        return await self._record(event, user, reply)

    async def _dispatch(self, event: Event, user: User) -> Answer:
        entry, words = _route(event)
        if (event.action is not None and words[:1] in (("form",), ("leave_form",))) or (
            entry is None and event.text and event.place.private
        ):
            return await self._form_answer(event, user)
        if entry is None:
            not_for_us = event.action is None and (event.command is None or not event.place.private)
            return await self._record(event, user, None if not_for_us else Reply(Text("error.unknown_command"), private=True))
        return await self._answer(event, user, entry, words[1:])

    async def _answer(self, event: Event, user: User, entry: Entry, words: tuple[str, ...]) -> Answer:
        if entry.admin and not user.is_admin:
            raise AdminsOnly()
        if entry.alone:
            async with self.app.read() as work:
                answered = await entry.handler(Context(self.app, event, user, work, words))
            if isinstance(answered, Order):
                return await self._submit(event, answered, user)
            return await self._record(event, user, answered, pictures=await self._pictures(answered))

        async def work_(work: UnitOfWork) -> Answer:
            if not await work.mailbox.first(event.platform, event.id, event.place.chat):
                return Answer()
            answered = await entry.handler(Context(self.app, event, user, work, words))
            assert not isinstance(answered, Order)
            return await self._write(work.mailbox, work.now, event, await self._locale_now(work, user), answered)

        return await self.app.run(work_)

    async def _locale_now(self, work: UnitOfWork, user: User) -> str:
        return (await work.users.get(user.id)).locale

    async def asks(self, event: Event) -> Place | None:
        """See ChatPort."""
        return await asks(self.app, _tidied(event))

    async def remembered(self, event: Event, asked: Place) -> Place | None:
        """See MembersPort."""
        return await remembered(self.app, _tidied(event), asked)

    async def told(self, event: Event, said: Place) -> None:
        """See MembersPort."""
        await told(self.app, event, said)

    async def _submit(self, event: Event, order: Order, user: User) -> Answer:
        if event.heard is not None:
            order = replace(order, event=None)
        try:
            submitted = await self.app.submit(order)
        except NOT_PAID as error:
            return await self._record(event, user, await declined(self.app, order, error))
        except VotesNeeded as error:
            return await self._ask_members(event, order, user, error)
        if order.event is None:  # it is said elsewhere, by delivery
            return await self._record(event, user, Reply(Text("wish.elsewhere", {"id": submitted.generation.id}), private=True, toast=True))
        if submitted.outbox is None:
            return Answer()  # said before
        reply = status(await self.app.told(submitted.generation.id), self.app.now())
        return Answer(render(self.words, reply, user.locale), outbox=submitted.outbox)

    async def _ask_members(self, event: Event, order: Order, user: User, needed: VotesNeeded) -> Answer:
        async def ask(work: UnitOfWork) -> Answer:
            if not await work.mailbox.first(event.platform, event.id, event.place.chat):
                return Answer()
            reply = await put_to_vote(work, order, needed, self.app.settings.vote_hours)
            return await self._write(work.mailbox, work.now, event, user.locale, reply)

        return await self.app.run(ask)

    async def _record(self, event: Event, user: User, reply: Reply | None, strikes: int = 0, pictures: tuple[Picture, ...] = ()) -> Answer:
        """Marks the event as handled and writes its answer, when there was nothing else to write but strikes."""

        async def write(work: UnitOfWork) -> Answer:
            if not await work.mailbox.first(event.platform, event.id, event.place.chat):
                return Answer()
            if strikes:
                await work.users.strike({user.id: strikes}, self.app.settings.strikes_per_user)
            return await self._write(work.mailbox, work.now, event, user.locale, reply, pictures)

        return await self.app.run(write)

    async def _pictures(self, reply: Reply | None) -> tuple[Picture, ...]:
        """What is shown beside an answer; without it where it cannot be had: the words count."""
        try:
            return () if reply is None else await pictures_of(self.app, reply)
        except (BlobNotFound, BlobsUnavailable) as error:
            log.warning("answered_without_picture", problem=error.code)
            return ()

    async def _write(
        self, mailbox: Mailbox, now: int, event: Event, locale: str, reply: Reply | None, pictures: tuple[Picture, ...] = ()
    ) -> Answer:
        if reply is None:
            return Answer()
        if reply.form is not None and not event.opens_forms:
            reply = await forms.begin(self.app.hints, event, reply.form)
        if reply.form is not None:
            return Answer(questions=questions(self.words, reply.form, locale), private=True)
        if reply.text is None and reply.invoice is None:
            return Answer(delete_event=reply.delete_event)
        if reply.toast and reply.text is not None:
            return Answer(toast=self.words.plain(reply.text, locale)[:200], private=True, delete_event=reply.delete_event)
        message = render(self.words, reply if event.heard is None else carried(reply, event.place), locale, pictures)
        heard = event.heard or event.place
        aside = reply.private and not heard.private
        chat = event.private_chat if aside else heard.chat
        key = f"reply:{event.platform}:{event.id}"
        kind, _, number = (reply.subject or "").partition(":")
        kind, body = (kind, {kind: int(number)}) if kind in FOLLOWING else ("reply", dump(message))
        notice = Notice(key, Address(event.platform, chat), kind, body, reply.subject, now + FIRST_WORD)
        rows = await mailbox.say([notice])
        return Answer(message, private=reply.private, edit=reply.edit, delete_event=reply.delete_event, outbox=rows.get(key))

    async def _form_answer(self, event: Event, user: User) -> Answer:
        hints = self.app.hints
        if event.action == "leave_form":
            await forms.forget(hints, event)
            return await self._record(event, user, Reply(Text("form.left"), edit=True))

        async def check(filled: forms.Filled, name: str) -> Text | None:
            word, *words = filled.action.split()
            if (look := REGISTRY.actions[word].check) is None:
                return None
            try:
                async with self.app.read() as work:
                    await look(Context(self.app, _filled(event, filled), user, work, tuple(words)), name)
            except Refusal as error:
                return explain(error).text
            return None

        step = await forms.answer(hints, event, check)
        if step is None:
            return await self._record(event, user, Reply(Text("hint.what_to_do"), private=True))
        if isinstance(step, Reply):
            return await self._record(event, user, step)
        name, *words = step.action.split()
        return await self._answer(_filled(event, step), user, REGISTRY.actions[name], tuple(words))

    async def _key_pasted(self, event: Event, user: User) -> Reply:
        """A key in a private Telegram chat goes into escrow, if one was asked for; anywhere else it is deleted if possible, and refused."""
        found = KEY.search(event.text)
        if not event.place.private or event.platform in NO_KEYS or found is None:
            return Reply(Text("key.never_here"), private=True, delete_event=True)
        async with self.app.read() as work:
            waiting = [each for each in await work.resources.list_of(user.id) if each.state is State.DRAFT]
        if not waiting:
            return Reply(Text("key.not_asked"), private=True, delete_event=True)
        try:
            await self.app.hand_over(waiting[0], Secret(event.text.strip()))
        except Refusal as error:
            reply = explain(error)
            return Reply(reply.text, private=True, delete_event=True)
        return Reply(Text("key.sealed"), private=True, delete_event=True)

    async def _resolve(self, event: Event) -> User:
        person = event.person
        known = await self.app.known((event.platform, person.id))
        numbered = known is not None and known.name == person.id != person.name  # by an operator, who could not know more
        if known is not None and not (numbered and person.language is not None):
            return known
        locale = locale_of(person.language)
        identity = Identity(event.platform, person.id, person.name, event.private_chat, locale)
        return await self.app.run(lambda work: work.users.resolve(identity))

    async def sent(self, answer: Answer, message_id: str | None) -> None:
        """See ChatPort."""
        row = answer.outbox
        if row is None:
            return
        if message_id is None:
            await self.app.run(lambda work: work.mailbox.postpone(row, work.now))
        else:
            await self.app.arrived(Sent(row, message_id, self.app.now() + EDIT_AFTER))
        await self.app.hints.wake(OUTBOX, others=False)  # the chat's next row may go

    async def complete(self, event: Event, option: str, typed: str) -> list[tuple[str, str]]:
        """See ChatPort: models with their prices, styles of the chosen model, presets by what is in their name, title or tags."""
        if option == "preset":
            async with self.app.read() as work:
                presets = await work.presets.search(typed.split(), limit=25)
            return [(each.name, f"{each.name} · {each.title}"[:100]) for each in presets]
        sale = self.app.catalog.sale(self.app.today())
        locale = locale_of(event.person.language)
        if option == "model":
            found: list[tuple[str, Any]] = [
                (
                    each.id,
                    Text(
                        "complete.model_until" if each.retires else "complete.model",
                        {"model": each.id, "price": self._amount(each.price), "date": each.retires},
                    ),
                )
                for each in sale.values()
                if "generate" in each.operations
            ]
            labelled = [(value, self.words.plain(text, locale)) for value, text in found]
        else:
            model = sale.get(event.options.get("model", "")) or sale[self.app.catalog.default_model]
            labelled = [(each, each) for each in (model.styles if option == "style" else tuple(model.qualities))]
        wanted = typed.lower()
        return [each for each in labelled if wanted in each[1].lower()][:25]

    async def moved(self, platform: Platform, event_id: str, old: str, new: str) -> None:
        """See GroupsPort."""

        async def write(work: UnitOfWork) -> None:
            if await work.mailbox.first(platform, event_id, old):
                await follow(work, Address(platform, old), new)

        await self.app.run(write)

    async def present(self, platform: Platform, event_id: str, group: str, *, here: bool) -> None:
        """See GroupsPort. Nothing of a pool is lost when its group goes: it is marked."""

        async def write(work: UnitOfWork) -> None:
            if not event_id or await work.mailbox.first(platform, event_id, group):
                await work.pools.mark_chat(platform, group, gone=not here)

        await self.app.run(write)

    async def known(self, platform: Platform, groups: Collection[str]) -> None:
        """See GroupsPort."""
        await self.app.run(lambda work: work.pools.mark_chats(platform, groups))

    # Payments through the chat platform itself

    async def checkout(self, order: str, person: Person, amount: int, currency: str) -> str | None:
        """See PaymentPort."""
        async with self.app.read() as work:
            user = await work.users.find("telegram", person.id)
            try:
                if user is None or user.frozen:
                    raise Frozen() if user else NotPayable(state="unknown")
                await work.payments.payable(order, user.id, amount, currency)
            except Refusal as error:
                said = explain(error).text
                assert said is not None
                return self.words.plain(said, user.locale if user else locale_of(person.language))
        return None

    async def paid(self, event_id: str, person: Person, paid: Paid) -> None:
        """See PaymentPort. Stars are credited to whose order it is, whoever paid it."""
        event = RailEvent(charge_id("in", paid.charge), Said.PAID, paid.order, paid.charge, amount=paid.amount, currency=paid.currency)
        await self._received(event_id, person, event)

    async def refunded(self, person: Person, charge: str, event_id: str) -> None:
        """See PaymentPort."""
        await self._received(event_id, person, RailEvent(charge_id("out", charge), Said.REFUNDED, charge=charge))

    async def _received(self, event_id: str, person: Person, event: RailEvent) -> None:
        applied = await self.app.receive("stars", event)
        log.info("stars", said=event.said, applied=applied)
        await self.app.run(lambda work: work.mailbox.mark_handled([("telegram", event_id, f"pay:{person.id}")]))

    @staticmethod
    def _amount(price: int) -> str:
        return f"{price / 1000:g}"

    def describe(self, code: str, locale: str) -> str:
        """See ChatPort."""
        name = code if code.startswith(("hint.", "error.")) or code == "bot" else f"describe.{code}"
        return self.words.plain(Text(name), locale)


def _tidied(event: Event) -> Event:
    """The event without zero bytes, which no database takes, and with plain spaces between the words of an action, whatever was sent in
    place of a button's: so that everybody reads the same words. A prompt's are refused by its own rules, with a word about them."""
    if event.action is not None:
        event = replace(event, action="".join(each if each.isprintable() else " " for each in event.action.replace("\0", "")))
    person = replace(event.person, name=event.person.name.replace("\0", ""))
    if event.command == "imagine":
        return replace(event, person=person)
    clean = {name: value.replace("\0", "") for name in ("text", "argument", "action") if isinstance(value := getattr(event, name), str)}
    options = {name: value.replace("\0", "") for name, value in event.options.items()}
    answers = {name: value.replace("\0", "") for name, value in event.answers.items()}
    return replace(event, person=person, options=options, answers=answers, **clean)  # type: ignore[arg-type]  # texts, by name


def _filled(event: Event, form: forms.Filled) -> Event:
    """A form as one event, of the place where it began, as its platform says now where that was asked."""
    place = event.about if event.about is not None and event.about.chat == form.place.chat else form.place
    filled = Event(event.id, event.platform, event.person, place, action=form.action, answers=form.answers, message=event.message)
    return filled if place.chat == event.place.chat else replace(filled, heard=event.place)


def _route(event: Event) -> tuple[Entry | None, tuple[str, ...]]:
    if event.command is not None:
        return REGISTRY.commands.get(event.command), (event.command, *event.argument.split()[:4])
    words = tuple((event.action or "").split())
    return (REGISTRY.actions.get(words[0]) if words else None), words
