"""Telegram Stars: the question before a payment, payments that have gone through, refunds, and the list of what has moved.

question   answered at once, beside everything else: Telegram cancels the payment after 10 s (Bot API, answerPreCheckoutQuery)
payment    an update like others, stored first; the chat layer credits it
"""

import asyncio
import contextlib
import time
from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Any, Literal

import structlog
from telegram import Bot, Message, PreCheckoutQuery, StarTransaction, TransactionPartnerUser
from telegram.error import BadRequest, Forbidden, TelegramError

from bots.chat.ports import PayingChatPort, PaymentPort
from bots.chat.types import Paid, Person
from bots.telegram.incoming import person_of
from core.payments.rails.stars import Move, StarsAway
from core.users.models import locale_of

VERDICT_SECONDS = 7.0
ANSWER_SECONDS = 2.0
RETRY_SECONDS = 0.3
SETTLING_SECONDS = 10.0
MAX_REMEMBERED = 10_000
MAX_REASON = 200
MAX_PAGE = 100
SECOND = 1_000_000  # microseconds

log = structlog.get_logger(__name__)
Purchase = tuple[str, int]
"""An order and who wants to pay it."""


class Checkouts:
    """Answers pre-checkout queries, each in its own task, whatever else waits.

    Pressing Pay twice in a hurry asks twice, and two yeses would be two payments. So while a purchase is being let through, and until its
    payment must have arrived, the same person is not let through for the same order again.
    """

    def __init__(self, chat: PayingChatPort, bot: Bot, patience: float = VERDICT_SECONDS) -> None:
        """`patience`: seconds that the chat layer has for its verdict."""
        self._chat = chat
        self._bot = bot
        self._patience = patience
        self._offered: deque[dict[str, Any]] = deque()
        self._news = asyncio.Event()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._held: dict[Purchase, float] = {}  # until when, on the monotonic clock

    def offer(self, raws: Iterable[dict[str, Any]]) -> None:
        """Raw updates with pre-checkout queries, for `run`; one that was offered before is not answered again."""
        self._offered.extend(raws)
        self.wake()

    def wake(self) -> None:
        """Lets `run` see that it is to stop."""
        self._news.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping`; what is in hand is finished."""
        async with asyncio.TaskGroup() as answers:
            while not stopping.is_set():
                self._news.clear()
                while self._offered:
                    answers.create_task(self.answer(self._offered.popleft()))
                await self._news.wait()

    async def answer(self, raw: dict[str, Any]) -> None:
        """Answers one. Never raises: what goes wrong is answered with a no, or not at all, and then nothing is paid."""
        try:
            await self._answer(PreCheckoutQuery.de_json(raw["pre_checkout_query"], self._bot))
        except Exception as error:  # noqa: BLE001 - one checkout must not end the others
            log.error("a checkout was not answered", kind=type(error).__name__)

    async def _answer(self, query: PreCheckoutQuery) -> None:
        if query.id in self._seen:
            return
        self._remember(query.id)
        purchase = (query.invoice_payload, query.from_user.id)
        if not self._begin(purchase):
            await self._say(query, self._later(query))
            return
        let_through = False
        try:
            why = await self._verdict(query)
            let_through = await self._say(query, why) and why is None
        finally:
            self._end(purchase, let_through)

    async def _verdict(self, query: PreCheckoutQuery) -> str | None:
        try:
            async with asyncio.timeout(self._patience):
                person = person_of(query.from_user)
                return await self._chat.checkout(query.invoice_payload, person, query.total_amount, query.currency)
        except Exception as error:  # noqa: BLE001 - whatever went wrong, Telegram waits for an answer
            log.error("no verdict on a checkout", order=query.invoice_payload, kind=type(error).__name__)
            return self._later(query)

    async def _say(self, query: PreCheckoutQuery, why: str | None) -> bool:
        """Whether Telegram may have taken the answer: False only when it surely has not."""
        tries = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                while True:
                    tries += 1
                    try:
                        await self._bot.answer_pre_checkout_query(query.id, why is None, None if why is None else why[:MAX_REASON])
                        return True
                    except BadRequest as error:
                        log.warning("a checkout was answered in vain", order=query.invoice_payload, problem=error.message)
                        return tries > 1  # an answer that seemed lost may have arrived: then a second one is refused as well
                    except TelegramError as error:
                        log.warning("a checkout is answered again", order=query.invoice_payload, problem=error.message)
                    await asyncio.sleep(RETRY_SECONDS)
        return True

    def _later(self, query: PreCheckoutQuery) -> str:
        return self._chat.describe("error.try_later", locale_of(query.from_user.language_code))

    def _begin(self, purchase: Purchase) -> bool:
        now = time.monotonic()
        self._held = {each: until for each, until in self._held.items() if until > now}
        if purchase in self._held:
            return False
        self._held[purchase] = float("inf")
        return True

    def _end(self, purchase: Purchase, let_through: bool) -> None:
        if let_through:
            self._held[purchase] = time.monotonic() + SETTLING_SECONDS
        else:
            del self._held[purchase]

    def _remember(self, query_id: str) -> None:
        self._seen[query_id] = None
        if len(self._seen) > MAX_REMEMBERED:
            self._seen.popitem(last=False)


async def settle(chat: PaymentPort, event_id: str, message: Message) -> None:
    """Hands a payment or a refund in a message to the chat layer. Raises what that raises: the update is then not handled yet."""
    person = _payer(message)
    if (paid := message.successful_payment) is not None:
        told = Paid(paid.invoice_payload, paid.telegram_payment_charge_id, paid.total_amount, paid.currency, person.id)
        await chat.paid(event_id, person, told)
    elif (back := message.refunded_payment) is not None:
        await chat.refunded(person, back.telegram_payment_charge_id, event_id)


def _payer(message: Message) -> Person:
    """Who paid: the sender; where that is a bot, whose private chat it is."""
    user, chat = message.from_user, message.chat
    if user is not None and not user.is_bot:
        return person_of(user)
    return Person(str(chat.id), chat.full_name or "")


class StarsDesk:
    """What only the bot itself can do about its Stars: the Bank of the Stars rail. Raises StarsAway when Telegram cannot be asked now."""

    def __init__(self, bot: Bot) -> None:
        """`bot` must be initialised."""
        self._bot = bot

    async def refund(self, user_external_id: str, charge: str) -> Literal["done", "refused"]:
        """Gives a payment back to who made it. One that is back already is done (Bot API server, issue 690)."""
        try:
            await self._bot.refund_star_payment(int(user_external_id), charge)
        except (BadRequest, Forbidden) as error:
            if "charge_already_refunded" in error.message.lower():
                return "done"
            log.warning("stars were not refunded", charge=charge, problem=error.message)
            return "refused"
        except TelegramError as error:
            raise StarsAway(error.message) from None
        return "done"

    async def transactions(self, offset: int, limit: int = MAX_PAGE) -> list[Move]:
        """At most `limit` (1 to 100) movements from the `offset`-th on, the oldest first.

        A chargeback by the store that sold the Stars shows here and nowhere else.
        """
        assert offset >= 0 and 1 <= limit <= MAX_PAGE
        try:
            listed = await self._bot.get_star_transactions(offset, limit)
        except TelegramError as error:
            raise StarsAway(error.message) from None
        return [_move(each) for each in listed.transactions]


def _move(transaction: StarTransaction) -> Move:
    partner = transaction.source or transaction.receiver
    known = partner if isinstance(partner, TransactionPartnerUser) else None
    return Move(
        transaction.id,
        known.invoice_payload if known else None,
        transaction.amount,
        "in" if transaction.source is not None else "out",
        str(known.user.id) if known else None,
        int(transaction.date.timestamp()) * SECOND,
    )
