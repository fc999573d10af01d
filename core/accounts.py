"""Accounts by e-mail: register, come in, stay in, change and reset the password. No answer tells whether an address is known here.

Passwords are hashed with argon2id (RFC 9106) in a thread, a few at once: each takes 64 MiB and some ten milliseconds on purpose.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from urllib.parse import quote

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from core.access.errors import CodeExpired, MailOff, Unauthenticated, WrongPassword
from core.access.models import Entrance, Purpose, Wanted
from core.access.rules import TOKEN_PREFIX, check_password, new_code, read_address, read_init_data
from core.access.sign import Claim, Signer
from core.address import Address
from core.app import OUTBOX, App, now
from core.coalescer import Coalescer
from core.config import Settings
from core.db import SECOND
from core.errors import Misconfigured
from core.mailbox.models import Notice
from core.unit_of_work import UnitOfWork
from core.users.models import MAX_NAME, Identity, User, locale_of
from core.vault.keyring import keyring_file

HASHES_AT_ONCE = 4
TOKENS_AT_ONCE = 200
"""API tokens that one look at the database tells whose they are."""


@dataclass(frozen=True, slots=True)
class Pair:
    """What a session is held by: `access` for 24 hours of asking, `refresh` for the next pair, good once."""

    access: str
    refresh: str


class Accounts:
    """Share one per process."""

    def __init__(self, app: App) -> None:
        """Raises Misconfigured."""
        self._app = app
        self._signer = Signer(signing_keys(app.settings))
        self._hasher = PasswordHash((Argon2Hasher(),))
        self._hashing = asyncio.Semaphore(HASHES_AT_ONCE)
        self._nobody = _nobodys_hash()
        self._noting: set[int] = set()
        self._by_token: Coalescer[str, Entrance] = Coalescer(self._by_tokens, TOKENS_AT_ONCE, gather=0)

    # Coming in

    async def enter(self, token: str) -> Entrance:
        """Whoever shows this token: an API token, or a session's. Raises Unauthenticated."""
        if not token.startswith(TOKEN_PREFIX):
            async with self._app.read() as work:
                return await work.access.by_session(self._signer.read("access", token, now()))
        entrance = await self._by_token(token)
        if entrance.unmarked and (number := entrance.token_id) is not None and number not in self._noting:
            self._noting.add(number)  # of many requests at once, one writes
            try:
                await self._app.run(lambda work: work.access.note_use(number))
            finally:
                self._noting.discard(number)
        return entrance

    async def _by_tokens(self, tokens: Sequence[str]) -> Sequence[Entrance | Exception]:
        async with self._app.read() as work:
            return await work.access.by_tokens(tokens)

    async def login(self, address: str, password: str) -> tuple[User, Pair]:
        """A new session. Raises WrongPassword, BadAddress."""
        known = read_address(address)
        async with self._app.read() as work:
            user = await work.users.find("email", known)
            hashed = await work.access.password_of(user.id) if user else None
        right = await self._verify(password, hashed or self._nobody)
        if user is None or hashed is None or not right:
            raise WrongPassword()
        return user, await self._begin(user)

    async def from_telegram(self, init_data: str) -> Pair:
        """A session of whoever opened the Mini App, who is known or new. Raises BadInitData."""
        token = self._app.settings.telegram_token.get_secret_value()
        number, name, language = read_init_data(init_data, token, now() // SECOND)
        identity = Identity("telegram", number, name, number, locale_of(language))
        return await self._begin(await self._app.run(lambda work: work.users.resolve(identity)))

    async def refresh(self, token: str) -> Pair:
        """The next pair. Raises Unauthenticated; when the token was used before, its session is ended as well."""
        claim = self._signer.read("refresh", token, now())
        renewed = await self._app.run(lambda work: work.access.renew(claim))
        if renewed is None:
            raise Unauthenticated()
        return self._pair(renewed)

    async def logout(self, entrance: Entrance, *, everywhere: bool) -> None:
        """Ends this session, or all of the user's."""
        only = None if everywhere else entrance.session_id
        await self._app.run(lambda work: work.access.end_sessions(entrance.user.id, only=only))

    # Registering, and passwords

    async def register(self, address: str, password: str, name: str, locale: str) -> None:
        """Mails a link that opens the account; to whoever has one, that it was tried. Raises BadAddress, BadPassword, MailOff."""
        self._need_mail()
        known = read_address(address)
        check_password(password, known)
        hashed = await self._hash(password)
        wanted = Wanted(known, " ".join(name.split())[:MAX_NAME] or known.partition("@")[0][:MAX_NAME], locale, hashed)
        code = new_code()

        async def keep(work: UnitOfWork) -> None:
            user = await work.users.find("email", known)
            if user is None:
                if await work.access.keep_code(Purpose.VERIFY, known, code, wanted):
                    await self._mail(work, known, locale, "mail.verify", f"/auth/verify?code={quote(code)}")
            elif await work.access.keep_code(Purpose.RESET, known, code):
                await self._mail(work, known, user.locale, "mail.known", f"/auth/reset?code={quote(code)}")

        await self._app.run(keep)
        await self._app.hints.wake(OUTBOX)

    async def verify(self, code: str) -> tuple[User, Pair]:
        """Opens the account that a mailed link stands for. Raises CodeExpired."""

        async def make(work: UnitOfWork) -> User:
            address, wanted = await work.access.use_code(Purpose.VERIFY, code)
            if wanted is None or await work.users.find("email", address) is not None:
                raise CodeExpired()
            user = await work.users.resolve(Identity("email", address, wanted.name, address, wanted.locale))
            await work.access.set_password(user.id, wanted.password)
            return user

        user = await self._app.run(make)
        return user, await self._begin(user)

    async def forgot(self, address: str) -> None:
        """Mails a link to set a new password, to whoever has an account. Raises BadAddress, MailOff."""
        self._need_mail()
        known, code = read_address(address), new_code()

        async def keep(work: UnitOfWork) -> None:
            user = await work.users.find("email", known)
            if user is not None and await work.access.keep_code(Purpose.RESET, known, code):
                await self._mail(work, known, user.locale, "mail.reset", f"/auth/reset?code={quote(code)}")

        await self._app.run(keep)
        await self._app.hints.wake(OUTBOX)

    async def reset(self, code: str, password: str) -> None:
        """Sets a new password by a mailed link; every session ends. Raises CodeExpired, BadPassword."""
        check_password(password, "")
        hashed = await self._hash(password)

        async def change(work: UnitOfWork) -> None:
            address, _ = await work.access.use_code(Purpose.RESET, code)
            user = await work.users.find("email", address)
            if user is None:
                raise CodeExpired()
            await self._changed(work, user, address, hashed, None)

        await self._app.run(change)
        await self._app.hints.wake(OUTBOX)

    async def change_password(self, entrance: Entrance, address: str, old: str, new: str) -> None:
        """Changes it; every other session ends. Raises WrongPassword, BadPassword."""
        check_password(new, address)
        async with self._app.read() as work:
            hashed = await work.access.password_of(entrance.user.id)
        if not await self._verify(old, hashed or self._nobody) or hashed is None:
            raise WrongPassword()
        fresh = await self._hash(new)
        await self._app.run(lambda work: self._changed(work, entrance.user, address, fresh, entrance.session_id))
        await self._app.hints.wake(OUTBOX)

    async def _changed(self, work: UnitOfWork, user: User, address: str, hashed: str, but: int | None) -> None:
        await work.access.set_password(user.id, hashed)
        await work.access.end_sessions(user.id, but=but)
        await self._mail(work, address, user.locale, "mail.changed", "")

    async def _mail(self, work: UnitOfWork, address: str, locale: str, code: str, path: str) -> None:
        """Writes a mail; its link is a key to the account, so it is veiled while it waits."""
        key = f"{code}:{new_code()}"
        link = self._app.settings.public_url.rstrip("/") + path if path else ""
        veiled = self._app.vault.veil(json.dumps({"link": link}).encode(), key).hex()
        body = {"code": code, "locale": locale, "veiled": veiled}
        await work.mailbox.say([Notice(key, Address("email", address), "mail", body)])

    async def _begin(self, user: User) -> Pair:
        return self._pair(await self._app.run(lambda work: work.access.begin_session(user.id)))

    def _pair(self, claim: Claim) -> Pair:
        return Pair(self._signer.sign("access", claim, now()), self._signer.sign("refresh", claim, now()))

    def _need_mail(self) -> None:
        if not self._app.settings.smtp_url.get_secret_value():
            raise MailOff()

    async def _hash(self, password: str) -> str:
        async with self._hashing:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def _verify(self, password: str, hashed: str) -> bool:
        async with self._hashing:
            return await asyncio.to_thread(self._hasher.verify, password, hashed)


@cache
def _nobodys_hash() -> str:
    """Verified in place of a password that is not there: it takes as long. Made once per process."""
    return PasswordHash((Argon2Hasher(),)).hash(new_code())


def signing_keys(settings: Settings) -> str:
    """`JWT_SECRET`, or the file in `DATA_DIR` in the embedded size. Raises Misconfigured."""
    text = settings.jwt_secret.get_secret_value()
    if not text:
        if not settings.embedded:
            raise Misconfigured(setting="JWT_SECRET", problem="is needed when several processes share a database")
        text = keyring_file(settings.data_dir / "jwt-keys")
    return text
