"""What admins do to users, each in one transaction and with a reason in the log; and what they see."""

from typing import Any

from sqlalchemy import case, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.access.service import Access
from core.acts.service import Acts
from core.generations.models import State, generations
from core.generations.pages import page
from core.generations.service import Generations
from core.ledger.models import FEES, accounts, debt, earnings, entries, held_account, legs, pending, wallet
from core.ledger.rules import gift
from core.ledger.service import Ledger
from core.mailbox.models import Notice
from core.mailbox.service import Mailbox
from core.oversight.errors import GrantTooLarge, NotOneself, StandsSo
from core.oversight.models import Bar, Dossier, Figures
from core.payments.models import payments
from core.payments.rules import SETTLED
from core.payments.service import Payments
from core.presets.models import Preset
from core.presets.service import Presets
from core.resources.models import State as ResourceState
from core.resources.models import resources
from core.users.errors import UserNotFound
from core.users.models import User, users
from core.users.service import Users

NEWEST = 5
BARS = 24
FAILED = (State.FAILED,)
DELIVERED = (State.DELIVERED, State.DISPUTED, State.REFUNDED)


class Oversight:
    """One transaction's view for admins."""

    def __init__(self, connection: AsyncConnection, now: int) -> None:
        self._connection = connection
        self._now = now

    async def look_up(self, text: str) -> User:
        """A user by number, `platform:id`, e-mail address or the name exactly as others see it.

        Raises UserNotFound, also where it is not clear.
        """
        named = text.replace("\0", "").strip().removeprefix("@")
        people = Users(self._connection, self._now)
        if named.isascii() and named.isdigit() and len(named) < 16 and (found := await self._by(users.c.id == int(named))):
            return found
        platform, _, person = named.partition(":")
        known = await people.find(platform, person) if person else await people.find("email", named.lower()) if "@" in named else None
        known = known or await self._by((users.c.name == named) & users.c.merged_into.is_(None))
        if known is None:
            raise UserNotFound(user=named[:64])
        return known

    async def dossier(self, user_id: int) -> Dossier:
        """Everything about one user on one page. Raises UserNotFound."""
        user = await Users(self._connection, self._now).get(user_id)
        names = {"wallet": wallet(user_id), "held": held_account(wallet(user_id)), "pending": pending(user_id)}
        names |= {"earnings": earnings(user_id), "debt": debt(user_id)}
        balances = await Ledger(self._connection, self._now).balances(names.values())
        known = await Users(self._connection, self._now).identities(user_id)
        lent = select(func.count()).where(resources.c.owner_id == user_id, resources.c.state == ResourceState.LISTED)
        acts = await Acts(self._connection, self._now).newest(subject=f"user:{user_id}", limit=NEWEST)
        return Dossier(
            user,
            known,
            {name: balances[account] for name, account in names.items()},
            await page(self._connection, user_id, NEWEST),
            await Payments(self._connection, self._now).newest(user_id, limit=NEWEST),
            (await self._connection.execute(lent)).scalar_one(),
            [f"{each.act}: {each.reason}" for each in acts],
            (await Users(self._connection, self._now).strikes(user_id))[0],
        )

    async def grant(self, admin: User, user_id: int, amount: int, reason: str, key: str, most: int) -> None:
        """Gives Credits; `key` makes it once. Raises NotOneself, GrantTooLarge, UserNotFound, ReasonNeeded."""
        user = await Users(self._connection, self._now).get(user_id)
        if user.id == admin.id:
            raise NotOneself()
        if not 0 < amount <= most:
            raise GrantTooLarge(limit=most)
        await Acts(self._connection, self._now).record(admin.id, "grant", f"user:{user.id}", reason, amount=amount, key=key)
        await Ledger(self._connection, self._now).post(gift(f"grant:{key}", user.id, amount))

    async def ban(self, admin: User, user_id: int, reason: str) -> User:
        """Freezes a user, all in one: what waits is cancelled and its holds given back, what is lent is paused, sessions end; what is
        pending stays so (`release_earnings`). What runs is finished. The user is told why.

        Raises NotOneself, StandsSo, UserNotFound, ReasonNeeded.
        """
        user = await self._lock(admin, user_id, frozen=False)
        await Acts(self._connection, self._now).record(admin.id, "ban", f"user:{user.id}", reason)
        await Users(self._connection, self._now).freeze(user.id, True)
        await Generations(self._connection, self._now).cancel_all(user.id)
        listed = (resources.c.owner_id == user.id) & (resources.c.state == ResourceState.LISTED)
        await self._connection.execute(update(resources).where(listed).values(state=ResourceState.PAUSED))
        await Access(self._connection, self._now).end_sessions(user.id)
        await self._tell(user, "banned", reason)
        return user

    async def unban(self, admin: User, user_id: int, reason: str) -> User:
        """Lifts it; what is pending is released when it is due, and what was lent is resumed by its owner. Raises as `ban`."""
        user = await self._lock(admin, user_id, frozen=True)
        await Acts(self._connection, self._now).record(admin.id, "unban", f"user:{user.id}", reason)
        await Users(self._connection, self._now).freeze(user.id, False)
        await self._tell(user, "unbanned", reason)
        return user

    async def take_down(self, admin: User, preset: str, reason: str) -> Preset:
        """Takes a preset off the list for good; nothing is earned by it any more. Raises PresetNotFound, ReasonNeeded."""
        found = await Presets(self._connection, self._now).freeze(preset)
        await Acts(self._connection, self._now).record(admin.id, "freeze_preset", f"preset:{found.name}", reason, author=found.author_id)
        return found

    async def figures(self, since: int) -> Figures:
        """The market since a moment."""
        recent = (generations.c.finished_at >= since) & (generations.c.finished_at <= self._now)
        width = max(1, (self._now - since) // BARS)
        bucket = (generations.c.finished_at - since) / width
        good, bad = (func.sum(case((generations.c.state.in_(states), 1), else_=0)) for states in (DELIVERED, FAILED))
        rows = await self._connection.execute(select(func.floor(bucket), good, bad).where(recent).group_by(func.floor(bucket)))
        bars = [Bar(0, 0)] * BARS
        for number, delivered, failed in rows:
            place = min(BARS - 1, int(number))
            bars[place] = Bar(bars[place].delivered + int(delivered), bars[place].failed + int(failed))
        count = sum(each.delivered for each in bars)
        waiting = select(func.count()).where(generations.c.state.in_((State.QUEUED, State.RUNNING)))
        sold = select(func.coalesce(func.sum(payments.c.credits - payments.c.returned), 0))
        fees = select(func.coalesce(func.sum(legs.c.amount), 0)).join(entries, entries.c.id == legs.c.entry_id)
        balance = func.coalesce(func.sum(accounts.c.balance), 0)
        return Figures(
            count,
            sum(each.failed for each in bars),
            await self._one(waiting),
            await self._seconds(recent, count, 0.5),
            await self._seconds(recent, count, 0.95),
            await self._one(sold.where(payments.c.state.in_(SETTLED), payments.c.paid_at >= since)),
            await self._one(select(balance).where(accounts.c.address.like("%:held"))),
            await self._one(select(balance).where(accounts.c.guarded, ~accounts.c.address.like("%:debt"))),
            await self._one(fees.where(legs.c.account == FEES, entries.c.at >= since)),
            bars,
        )

    async def _lock(self, admin: User, user_id: int, *, frozen: bool) -> User:
        locked = select(users.c.id).where(users.c.id == user_id).with_for_update()
        if (await self._connection.execute(locked)).first() is None:
            raise UserNotFound(user=user_id)
        user = await Users(self._connection, self._now).get(user_id)
        if user.id == admin.id or user.is_admin:
            raise NotOneself()
        if user.frozen is not frozen:
            raise StandsSo()
        return user

    async def _tell(self, user: User, kind: str, reason: str) -> None:
        address = (await Users(self._connection, self._now).addresses([user.id])).get(user.id)
        if address is not None:
            body = {"user": user.id, "reason": " ".join(reason.split())}
            await Mailbox(self._connection, self._now).say([Notice(f"{kind}:{user.id}:{self._now}", address, kind, body)])

    async def _by(self, where: Any) -> User | None:
        """The one user of whom that is true; None when there is none, or several."""
        ids = (await self._connection.scalars(select(users.c.id).where(where).limit(2))).all()
        return await Users(self._connection, self._now).get(ids[0]) if len(ids) == 1 else None

    async def _seconds(self, recent: Any, count: int, share: float) -> float | None:
        took = generations.c.finished_at - generations.c.created_at
        ordered = select(took).where(recent, generations.c.state.in_(DELIVERED)).order_by(took)
        query = ordered.offset(min(count - 1, int(share * count))).limit(1)
        found = (await self._connection.execute(query)).scalar_one_or_none() if count else None
        return None if found is None else found / 1_000_000

    async def _one(self, query: Any) -> int:
        return int((await self._connection.execute(query)).scalar_one())
