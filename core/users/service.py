"""Users within the caller's transaction."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import bindparam, func, insert, literal_column, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from core.address import Address
from core.db import Rows, run_rows
from core.users.errors import UserNotFound
from core.users.models import MAX_NAME, Identity, Role, User, identities, users
from core.users.rules import strikes_in, struck

MAX_ADMINS = 50
"""Admins that are told of something."""
_USER = (users.c.id, users.c.name, users.c.locale, users.c.roles, users.c.frozen)
_GET = select(*_USER).where(users.c.id == bindparam("row"))
_KNOWN = Rows("asked", platform="text", external_id="text")
_FIND = """
SELECT asked.platform, asked.external_id, users.id, users.name, users.locale, users.roles, users.frozen FROM {asked}
JOIN identities ON identities.platform = asked.platform AND identities.external_id = asked.external_id
JOIN users ON users.id = identities.user_id"""


class Users:
    """One transaction's view of the users."""

    def __init__(self, connection: AsyncConnection, now: int) -> None:
        self._connection = connection
        self._now = now

    async def find(self, platform: str, external_id: str) -> User | None:
        """The user behind an identity."""
        (user,) = await self.known([(platform, external_id)])
        return user

    async def known(self, people: Sequence[tuple[str, str]]) -> list[User | None]:
        """The users behind identities: platforms and the ids there."""
        rows = await run_rows(self._connection, _FIND, {_KNOWN: list(set(people))})
        found = {(row.platform, row.external_id): _user(row[2:]) for row in rows}
        return [found.get(each) for each in people]

    async def resolve(self, identity: Identity) -> User:
        """The user behind an identity; a new one when it was never seen. Two first messages at once make one user.

        Whom an operator named by number alone gets name and language at their first word.
        """
        known = await self.find(identity.platform, identity.external_id)
        if known is not None:
            numbered = known.name == identity.external_id != identity.name
            return await self._meet(known, identity) if numbered else known
        name = identity.name.strip()[:MAX_NAME] or identity.external_id[:MAX_NAME]
        row = insert(users).values(name=name, locale=identity.locale, roles=int(Role.CREATOR), created_at=self._now).returning(*_USER)
        user = _user((await self._connection.execute(row)).one())
        insert_ = postgresql.insert if self._connection.dialect.name == "postgresql" else sqlite.insert
        values = {"platform": identity.platform, "external_id": identity.external_id, "chat": identity.chat}
        link = insert_(identities).values(**values, user_id=user.id, created_at=self._now).on_conflict_do_nothing()
        if (await self._connection.execute(link.returning(literal_column("1")))).first() is not None:
            return user
        await self._connection.execute(users.delete().where(users.c.id == user.id))
        winner = await self.find(identity.platform, identity.external_id)
        assert winner is not None
        return winner

    async def _meet(self, known: User, identity: Identity) -> User:
        name = identity.name.strip()[:MAX_NAME] or known.name
        await self._connection.execute(update(users).where(users.c.id == known.id).values(name=name, locale=identity.locale))
        return replace(known, name=name, locale=identity.locale)

    async def get(self, user_id: int) -> User:
        """Raises UserNotFound."""
        row = (await self._connection.execute(_GET, {"row": user_id})).first()
        if row is None:
            raise UserNotFound(user=user_id)
        return _user(row)

    async def identities(self, user_id: int) -> list[tuple[str, str]]:
        """(platform, id there) of everything that a user is known by, in the order in which it came."""
        query = select(identities.c.platform, identities.c.external_id).where(identities.c.user_id == user_id)
        rows = await self._connection.execute(query.order_by(identities.c.created_at, identities.c.platform))
        return [(platform, external_id) for platform, external_id in rows]

    async def set_locale(self, user_id: int, locale: str) -> None:
        """Changes the language that the user reads."""
        await self._connection.execute(update(users).where(users.c.id == user_id).values(locale=locale))

    async def wants_digest(self, user_id: int) -> bool:
        """Whether the user hears each day what they earned and lost."""
        return bool(await self._connection.scalar(select(users.c.wants_digest).where(users.c.id == user_id)))

    async def set_digest(self, user_id: int, wanted: bool) -> None:
        """Switches that on or off."""
        await self._connection.execute(update(users).where(users.c.id == user_id).values(wants_digest=wanted))

    async def rename(self, user_id: int, name: str) -> None:
        """Changes the name that others see, at most MAX_NAME characters."""
        await self._connection.execute(update(users).where(users.c.id == user_id).values(name=name[:MAX_NAME]))

    async def add_role(self, user_id: int, role: Role) -> None:
        """Adds a role, for good: that of an admin is not taken by `unname` any more."""
        values: dict[str, Any] = {"roles": users.c.roles.op("|")(int(role))} | ({"named": False} if role & Role.ADMIN else {})
        await self._connection.execute(update(users).where(users.c.id == user_id).values(values))

    async def name_admin(self, user_id: int) -> bool:
        """Makes an admin of whom the settings name; whether they were none."""
        here = (users.c.id == user_id) & (users.c.roles.op("&")(int(Role.ADMIN)) == 0)
        made = update(users).where(here).values(roles=users.c.roles.op("|")(int(Role.ADMIN)), named=True)
        return (await self._connection.execute(made)).rowcount == 1

    async def unname_admins(self, named: Iterable[int]) -> list[int]:
        """Takes the role from whoever has it by `name_admin` and is not `named` any more; who they are."""
        here = users.c.named & users.c.id.not_in(list(named))
        taken = update(users).where(here).values(roles=users.c.roles.op("&")(~int(Role.ADMIN)), named=False).returning(users.c.id)
        return sorted(await self._connection.scalars(taken))

    async def take_role(self, user_id: int, role: Role) -> None:
        """Takes a role away, in every place where the user is known."""
        values: dict[str, Any] = {"roles": users.c.roles.op("&")(~int(role))} | ({"named": False} if role & Role.ADMIN else {})
        await self._connection.execute(update(users).where(users.c.id == user_id).values(values))

    async def persons(self, user_ids: Iterable[int]) -> set[int]:
        """Who these users are now: of those that were joined, whom they were joined into."""
        query = select(func.coalesce(users.c.merged_into, users.c.id)).where(users.c.id.in_(list(user_ids)))
        return set(await self._connection.scalars(query))

    async def admins(self) -> list[int]:
        """The platform's admins."""
        query = select(users.c.id).where(users.c.roles.op("&")(int(Role.ADMIN)) != 0, users.c.frozen.is_(False)).order_by(users.c.id)
        return list(await self._connection.scalars(query.limit(MAX_ADMINS)))

    async def freeze(self, user_id: int, frozen: bool) -> None:
        """Freezes a user, or lifts it."""
        await self._connection.execute(update(users).where(users.c.id == user_id).values(frozen=frozen))

    async def strike(self, refused: Mapping[int, int], most: int) -> None:
        """Counts refused prompts by user; whoever has `most` within STRIKE_WINDOW orders nothing until the oldest of them is out of it."""
        locked = select(users.c.id, users.c.strikes).where(users.c.id.in_(list(refused))).order_by(users.c.id).with_for_update()
        changes = []
        for id_, text in await self._connection.execute(locked):
            strikes, until = struck(strikes_in(text, self._now), refused[id_], most, self._now)
            changes.append({"row": id_, "counted": json.dumps(strikes), "until": until})
        if changes:
            here = users.c.id == bindparam("row")
            counted = update(users).where(here).values(strikes=bindparam("counted"), barred_until=bindparam("until"))
            await self._connection.execute(counted, changes)

    async def join_strikes(self, kept: int, gone: int) -> None:
        """The strikes of a user who is joined count for whom they are joined into. Both rows are locked by the caller."""
        both = select(users.c.strikes, users.c.barred_until).where(users.c.id.in_((kept, gone)))
        rows = (await self._connection.execute(both)).all()
        strikes = sorted(at for text, _ in rows for at in strikes_in(text, self._now))
        values = {"strikes": json.dumps(strikes), "barred_until": max(until for _, until in rows)}
        await self._connection.execute(update(users).where(users.c.id == kept).values(values))

    async def strikes(self, user_id: int) -> tuple[int, int]:
        """How many refused prompts count, and until when nothing is ordered (microseconds, in the past: it may be)."""
        row = (await self._connection.execute(select(users.c.strikes, users.c.barred_until).where(users.c.id == user_id))).one()
        return len(strikes_in(row.strikes, self._now)), row.barred_until

    async def addresses(self, user_ids: Iterable[int]) -> dict[int, Address]:
        """Where users are written to in private: the identity that came first. Users without a chat are left out."""
        query = select(identities.c.user_id, identities.c.platform, identities.c.chat).where(
            identities.c.user_id.in_(list(user_ids)), identities.c.chat != ""
        )
        rows = await self._connection.execute(query.order_by(identities.c.created_at.desc(), identities.c.platform.desc()))
        return {user_id: Address(platform, chat) for user_id, platform, chat in rows}


def _user(row: Sequence[Any]) -> User:
    id_, name, locale, roles, frozen = row
    return User(id_, name, locale, Role(roles), bool(frozen))
