"""Coming in, within the caller's transaction. Passwords are hashed by the caller, outside of it: that takes long on purpose."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, RowMapping, bindparam, delete, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from core.access.errors import CodeExpired, TokenNotFound, TooManyTokens, Unauthenticated
from core.access.models import ApiToken, Entrance, Purpose, Scope, Wanted, api_tokens, mailed_codes, passwords, sessions
from core.access.rules import HINT_LENGTH, allowed_scopes, digest
from core.access.sign import REFRESH, Claim
from core.db import HOUR, MINUTE, Moment, one_of
from core.users.models import Role, User, users

CODE_LIFETIME: Mapping[Purpose, int] = {
    Purpose.VERIFY: 24 * HOUR,
    Purpose.RESET: 30 * MINUTE,
    Purpose.JOIN: 10 * MINUTE,
    Purpose.POOL: 10 * MINUTE,
}
CODES_PER_HOUR = 5
"""Codes of one purpose for one address."""
PRUNE_BATCH = 1000
_USER = (users.c.id, users.c.name, users.c.locale, users.c.roles, users.c.frozen)
NOTED_EVERY = MINUTE
"""How often an API token's use is written down at most: most requests only read."""
_NOW = bindparam("now", type_=Moment)
_BY_DIGESTS = (
    select(*_USER, api_tokens.c.id.label("token_id"), *(api_tokens.c[name] for name in ("hash", "scopes", "community_id", "last_used_at")))
    .join(api_tokens, api_tokens.c.user_id == users.c.id)
    .where(one_of(api_tokens.c.hash, "digests"), api_tokens.c.revoked_at.is_(None))
    .where(or_(api_tokens.c.expires_at.is_(None), api_tokens.c.expires_at > _NOW))
)


class Access:
    """One transaction's view of passwords, sessions, API tokens and mailed codes."""

    def __init__(self, connection: AsyncConnection, now: int) -> None:
        self._connection = connection
        self._now = now

    async def by_session(self, claim: Claim) -> Entrance:
        """Whoever has that session, as they are now. Raises Unauthenticated when it has ended."""
        query = select(*_USER).join(sessions, sessions.c.user_id == users.c.id)
        row = (await self._connection.execute(query.where(*self._living(claim)))).mappings().first()
        if row is None:
            raise Unauthenticated()
        user = _user(row)
        return Entrance(user, allowed_scopes(user, Scope), session_id=claim.session_id)

    async def by_tokens(self, tokens: Sequence[str]) -> list[Entrance | Unauthenticated]:
        """Whoever has these API tokens; Unauthenticated for one that was revoked, is too old, or never was."""
        digests = [digest(token) for token in tokens]
        found = await self._connection.execute(_BY_DIGESTS, {"digests": set(digests), "now": self._now})
        rows = {row["hash"]: row for row in found.mappings()}
        return [self._entrance(rows[each]) if each in rows else Unauthenticated() for each in digests]

    def _entrance(self, row: RowMapping) -> Entrance:
        user, old = _user(row), (row["last_used_at"] or 0) <= self._now - NOTED_EVERY
        scopes = allowed_scopes(user, map(Scope, row["scopes"].split()))
        return Entrance(user, scopes, token_id=row["token_id"], unmarked=old, community_id=row["community_id"])

    async def note_use(self, token_id: int) -> None:
        """The token was used, at most once in NOTED_EVERY."""
        old = or_(api_tokens.c.last_used_at.is_(None), api_tokens.c.last_used_at <= self._now - NOTED_EVERY)
        await self._connection.execute(update(api_tokens).where(api_tokens.c.id == token_id, old).values(last_used_at=self._now))

    # Sessions

    async def begin_session(self, user_id: int) -> Claim:
        """A new session with its first refresh token."""
        row = {"user_id": user_id, "created_at": self._now, "expires_at": self._now + REFRESH}
        session = (await self._connection.execute(insert(sessions).values(row).returning(sessions.c.id))).scalar_one()
        return Claim(user_id, session, 0)

    async def renew(self, claim: Claim) -> Claim | None:
        """The next refresh token for this one; None when this one was used before: then the session is ended, as one of the two who hold
        it is not the user. Raises Unauthenticated when the session has ended."""
        living = self._living(claim)
        turn = update(sessions).where(*living, sessions.c.serial == claim.serial)
        values = {"serial": sessions.c.serial + 1, "expires_at": self._now + REFRESH}
        serial = (await self._connection.execute(turn.values(values).returning(sessions.c.serial))).scalar_one_or_none()
        if serial is not None:
            return Claim(claim.user_id, claim.session_id, serial)
        ended = await self._connection.execute(update(sessions).where(*living).values(ended_at=self._now).returning(sessions.c.id))
        if ended.first() is None:
            raise Unauthenticated()
        return None

    async def end_sessions(self, user_id: int, *, only: int | None = None, but: int | None = None) -> None:
        """Ends all sessions of a user; `only` that one, or all `but` that one."""
        here = update(sessions).where(sessions.c.user_id == user_id, sessions.c.ended_at.is_(None))
        if only is not None:
            here = here.where(sessions.c.id == only)
        if but is not None:
            here = here.where(sessions.c.id != but)
        await self._connection.execute(here.values(ended_at=self._now))

    # Passwords and mailed codes

    async def password_of(self, user_id: int) -> str | None:
        """The hash of a user's password, if they have one."""
        found = await self._connection.execute(select(passwords.c.hash).where(passwords.c.user_id == user_id))
        return found.scalar_one_or_none()

    async def set_password(self, user_id: int, hashed: str) -> None:
        """Sets or changes it."""
        insert_ = postgresql.insert if self._connection.dialect.name == "postgresql" else sqlite.insert
        values = {"hash": hashed, "changed_at": self._now}
        row = insert_(passwords).values(user_id=user_id, **values).on_conflict_do_update(index_elements=["user_id"], set_=values)
        await self._connection.execute(row)

    async def keep_code(self, purpose: Purpose, address: str, code: str, wanted: Wanted | None = None) -> bool:
        """Keeps what a mailed code is good for; False when the address has had as many mails as an hour allows."""
        same = (mailed_codes.c.address == address) & (mailed_codes.c.purpose == purpose)
        recent = select(func.count()).where(same, mailed_codes.c.created_at > self._now - HOUR)
        if (await self._connection.execute(recent)).scalar_one() >= CODES_PER_HOUR:
            return False
        facts = {"name": wanted.name, "locale": wanted.locale, "password": wanted.password} if wanted else {}
        row = {"hash": digest(code), "purpose": purpose, "address": address, "created_at": self._now, **facts}
        await self._connection.execute(insert(mailed_codes).values(**row, expires_at=self._now + CODE_LIFETIME[purpose]))
        return True

    async def use_code(self, purpose: Purpose, code: str) -> tuple[str, Wanted | None]:
        """The address that a code was mailed to, and the registration that waited for it. It, and others like it, are used up then.

        Raises CodeExpired.
        """
        here = (mailed_codes.c.hash == digest(code)) & (mailed_codes.c.purpose == purpose) & (mailed_codes.c.expires_at > self._now)
        row = (await self._connection.execute(delete(mailed_codes).where(here).returning(mailed_codes))).mappings().first()
        if row is None:
            raise CodeExpired()
        same = (mailed_codes.c.address == row["address"]) & (mailed_codes.c.purpose == purpose)
        await self._connection.execute(delete(mailed_codes).where(same))
        wanted = Wanted(row["address"], row["name"], row["locale"], row["password"]) if row["password"] else None
        return row["address"], wanted

    async def address_of(self, purpose: Purpose, code: str) -> str | None:
        """For whom a code was made, without using it up; None when it is good for nothing."""
        here = (mailed_codes.c.hash == digest(code)) & (mailed_codes.c.purpose == purpose) & (mailed_codes.c.expires_at > self._now)
        return (await self._connection.execute(select(mailed_codes.c.address).where(here))).scalar_one_or_none()

    # API tokens

    async def add_token(
        self, user_id: int, token: str, name: str, scopes: Iterable[Scope], cap: int | None, expires_at: int | None, most: int,
        community_id: int | None = None,
    ) -> ApiToken:  # fmt: skip
        """Keeps a new API token's hash. Raises TooManyTokens beyond `most` living ones. `community_id`: whose pool it is bound to."""
        await self._connection.execute(select(users.c.id).where(users.c.id == user_id).with_for_update())
        living = (api_tokens.c.user_id == user_id) & self._usable()
        if (await self._connection.execute(select(func.count()).where(living))).scalar_one() >= most:
            raise TooManyTokens(limit=most)
        row = {
            "user_id": user_id, "name": name, "hash": digest(token), "hint": token[:HINT_LENGTH], "scopes": " ".join(sorted(set(scopes))),
            "cap": cap, "community_id": community_id, "created_at": self._now, "expires_at": expires_at,
        }  # fmt: skip
        made = await self._connection.execute(insert(api_tokens).values(row).returning(*_TOKEN))
        return _token(made.mappings().one(), 0)

    async def tokens(self, user_id: int, spent: Mapping[int, int]) -> list[ApiToken]:
        """A user's API tokens that can still be used, newest first. `spent`: milli-credits by token."""
        living = (api_tokens.c.user_id == user_id) & self._usable()
        rows = (await self._connection.execute(select(*_TOKEN).where(living).order_by(api_tokens.c.id.desc()))).mappings()
        return [_token(row, spent.get(row["id"], 0)) for row in rows]

    async def revoke_token(self, user_id: int, token_id: int) -> None:
        """Raises TokenNotFound."""
        here = (api_tokens.c.id == token_id) & (api_tokens.c.user_id == user_id) & api_tokens.c.revoked_at.is_(None)
        row = (
            await self._connection.execute(update(api_tokens).where(here).values(revoked_at=self._now).returning(api_tokens.c.id))
        ).first()
        if row is None:
            raise TokenNotFound(token=token_id)

    async def prune(self) -> int:
        """Deletes codes and sessions whose time is over, at most PRUNE_BATCH of each; returns how many."""
        count = 0
        for table, key in ((mailed_codes, mailed_codes.c.hash), (sessions, sessions.c.id)):
            old = select(key).where(table.c.expires_at <= self._now).limit(PRUNE_BATCH)
            count += (await self._connection.execute(delete(table).where(key.in_(old)))).rowcount
        return count

    def _usable(self) -> ColumnElement[bool]:
        return api_tokens.c.revoked_at.is_(None) & or_(api_tokens.c.expires_at.is_(None), api_tokens.c.expires_at > self._now)

    def _living(self, claim: Claim) -> tuple[Any, ...]:
        mine = (sessions.c.id == claim.session_id) & (sessions.c.user_id == claim.user_id)
        return mine, sessions.c.ended_at.is_(None), sessions.c.expires_at > self._now


_TOKEN = tuple(
    api_tokens.c[name]
    for name in ("id", "name", "hint", "scopes", "community_id", "cap", "created_at", "expires_at", "revoked_at", "last_used_at")
)


def _token(row: RowMapping, spent: int) -> ApiToken:
    return ApiToken(**{**row, "scopes": frozenset(map(Scope, row["scopes"].split())), "spent": spent})


def _user(row: RowMapping) -> User:
    return User(row["id"], row["name"], row["locale"], Role(row["roles"]), bool(row["frozen"]))
