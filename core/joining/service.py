"""Joining, within the caller's transaction: two users who are one person become one.

The one with the lower number stays. What belongs to the other is re-pointed to it; Credits and debts move by an entry of the ledger, as
their accounts never change hands. What reaches the other's accounts later (a refund, released earnings) is moved on by `collect_joined`.
The other's row stays, with `merged_into`; its sessions and API tokens end.
"""

import contextlib
import secrets

from sqlalchemy import Column, String, and_, cast, delete, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.access.errors import CodeExpired
from core.access.models import Purpose, api_tokens, passwords
from core.access.service import CODES_PER_HOUR, Access
from core.disputes.models import disputes
from core.generations.models import generations
from core.joining.errors import AdminApart, JoinCodeExpired, SameUser, TooManyCodes
from core.ledger.models import Leg, Posting, accounts, debt, earnings, wallet
from core.ledger.service import Ledger
from core.mailbox.models import Notice
from core.mailbox.service import Mailbox
from core.payments.models import payments
from core.pools.models import ballots
from core.presets.models import presets
from core.resources.models import resources
from core.users.errors import Frozen
from core.users.models import Role, User, identities, users
from core.users.service import Users

ALPHABET = "ABCDEFGHJKMNPQRSTVWXYZ23456789"
"""What codes are made of: no character that is taken for another."""
CODE_LENGTH = 10
MOVED: tuple[Column[int], ...] = (
    identities.c.user_id, resources.c.owner_id, generations.c.user_id, payments.c.user_id, disputes.c.user_id, presets.c.author_id,
    ballots.c.user_id,
)  # fmt: skip
"""What belongs to a user and goes with them."""
PURSES = (wallet, earnings, debt)
COLLECT_BATCH = 200


class Joining:
    """One transaction's view of joining."""

    def __init__(self, connection: AsyncConnection, now: int) -> None:
        self._connection = connection
        self._now = now

    async def new_code(self, user: User) -> str:
        """A code, good once and for 10 minutes, for whoever is this person elsewhere. Raises Frozen, AdminApart, TooManyCodes."""
        _check(user)
        code = "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))
        if not await Access(self._connection, self._now).keep_code(Purpose.JOIN, f"user:{user.id}", code):
            raise TooManyCodes(limit=CODES_PER_HOUR)
        return code

    async def look(self, user: User, code: str) -> User:
        """Whose code it is, without using it. Raises JoinCodeExpired, SameUser, Frozen, AdminApart."""
        address = await Access(self._connection, self._now).address_of(Purpose.JOIN, read_code(code))
        if address is None:
            raise JoinCodeExpired()
        other = await Users(self._connection, self._now).get(int(address.removeprefix("user:")))
        if other.id == user.id:
            raise SameUser()
        _check(user)
        _check(other)
        return other

    async def drop(self, code: str) -> None:
        """Uses up a code, if it is one, for nothing."""
        with contextlib.suppress(CodeExpired):
            await Access(self._connection, self._now).use_code(Purpose.JOIN, read_code(code))

    async def join(self, user: User, code: str) -> User:
        """Joins whoever uses the code with whose code it is; the user who stays. The other side is told.

        Raises JoinCodeExpired, SameUser, Frozen, AdminApart.
        """
        other = await self.look(user, code)
        try:
            await Access(self._connection, self._now).use_code(Purpose.JOIN, read_code(code))
        except CodeExpired:
            raise JoinCodeExpired() from None
        kept, gone = sorted((user.id, other.id))
        await self._lock(kept, gone)
        addresses = await Users(self._connection, self._now).addresses([other.id])
        await self._repoint(kept, gone)
        await move(self._connection, self._now, gone, kept)
        if other.id in addresses:
            notice = Notice(f"joined:{gone}", addresses[other.id], "joined", {"user": kept})
            await Mailbox(self._connection, self._now).say([notice])
        return await Users(self._connection, self._now).get(kept)

    async def _lock(self, kept: int, gone: int) -> None:
        """Both rows, so that whatever counts them waits; checked again, as a ban or another joining may have come first."""
        wanted = (users.c.frozen, users.c.roles, users.c.merged_into)
        query = select(*wanted).where(users.c.id.in_((kept, gone))).order_by(users.c.id).with_for_update()
        for frozen, roles, merged_into in await self._connection.execute(query):
            if merged_into is not None:
                raise JoinCodeExpired()
            if frozen:
                raise Frozen()
            if roles & Role.ADMIN:
                raise AdminApart()

    async def _repoint(self, kept: int, gone: int) -> None:
        run = self._connection.execute
        roles = select(users.c.roles).where(users.c.id == gone).scalar_subquery()
        await run(update(users).where(users.c.id == kept).values(roles=users.c.roles.op("|")(roles)))
        await Users(self._connection, self._now).join_strikes(kept, gone)
        for column in MOVED:
            await run(update(column.table).where(column == gone).values({column: kept}))
        if await Access(self._connection, self._now).password_of(kept) is None:
            await run(update(passwords).where(passwords.c.user_id == gone).values(user_id=kept))
        await run(delete(passwords).where(passwords.c.user_id == gone))
        await Access(self._connection, self._now).end_sessions(gone)
        living = (api_tokens.c.user_id == gone) & api_tokens.c.revoked_at.is_(None)
        await run(update(api_tokens).where(living).values(revoked_at=self._now))
        await run(update(users).where(or_(users.c.id == gone, users.c.merged_into == gone)).values(merged_into=kept))


def read_code(text: str) -> str:
    """A code as it is kept, however somebody typed it.

    >>> read_code("ab2cd-3efgh ")
    'AB2CD3EFGH'
    """
    return "".join(text.split()).replace("-", "").upper()


async def move(connection: AsyncConnection, now: int, gone: int, kept: int) -> bool:
    """Moves what is on the accounts of the one to those of the other, in one entry; whether there was anything."""
    ledger = Ledger(connection, now)
    balances = await ledger.lock([of(user) for of in PURSES for user in (gone, kept)])
    legs = [leg for of in PURSES if (left := balances[of(gone)]) for leg in (Leg(of(gone), -left), Leg(of(kept), left))]
    if legs:
        await ledger.post(Posting(f"joined:{gone}:{now}", "joined", tuple(legs)))
    return bool(legs)


async def collect_joined(connection: AsyncConnection, now: int) -> int:
    """Moves what has reached the accounts of joined users since; returns of how many."""
    number = literal("user:") + cast(users.c.id, String)
    theirs = or_(*(accounts.c.address == number + f":{name}" for name in ("wallet", "earnings", "debt")))
    query = select(users.c.id, users.c.merged_into).join(accounts, and_(theirs, accounts.c.balance > 0)).distinct()
    rows = await connection.execute(query.where(users.c.merged_into.is_not(None)).order_by(users.c.id).limit(COLLECT_BATCH))
    found = rows.all()
    for gone, kept in found:
        await move(connection, now, gone, kept)
    return len(found)


def _check(user: User) -> None:
    if user.frozen:
        raise Frozen()
    if user.is_admin:
        raise AdminApart()
