"""The vault: envelope encryption of miners' secrets.

Each secret has a random data key of its own; AES-256-GCM binds the ciphertext to its context (resource, provider, key version); the data
key is wrapped by the newest key-encryption key, here or by a KMS. Rotation (rotate.py) re-wraps data keys and never opens a secret.
"""

import asyncio
import hashlib
import hmac
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Table, delete, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db import Database, one_of
from core.errors import Misconfigured
from core.vault.errors import CannotOpen, DuplicateSecret, SecretMissing, VaultAway
from core.vault.keyring import KEY_BYTES, NONCE_BYTES
from core.vault.models import MAX_SECRET, Sealed, data_keys, sealed_secrets
from core.vault.secret import Secret
from core.vault.transit import TOO_OLD, misconfigured
from core.vault.wrapping import BATCH, KeyEncryption, Wrapped

FINGERPRINT, MAILBOX = "fingerprint", "mailbox"
ASK_SECONDS = 1.0
"""So long an answer of the KMS to whether it is back counts for everybody who waits for it."""
_NOBODYS = bytes(NONCE_BYTES + KEY_BYTES + 16)
"""As long as a wrapped data key, and none."""

log = structlog.get_logger(__name__)


class Vault:
    """Seals and opens in memory; one per process, made by `open_vault`."""

    def __init__(self, keys: KeyEncryption, fingerprint_key: bytes, mailbox_key: bytes) -> None:
        self._keys = keys
        self._fingerprint_key = fingerprint_key
        self._mailbox = AESGCM(mailbox_key)
        self.away: str | None = None
        """What the KMS lacked when it was asked last."""
        self._asking = asyncio.Lock()
        self._heard: dict[str, tuple[float, str | None]] = {}

    async def seal(self, secret: Secret, *, subject: str, provider: str, version: int) -> Sealed:
        """Seals a secret of at most MAX_SECRET characters, bound to what it belongs to. Raises VaultAway."""
        value = secret.reveal()
        assert 0 < len(value) <= MAX_SECRET
        context = f"{subject}|{provider}|{version}"
        data_key, nonce = os.urandom(KEY_BYTES), os.urandom(NONCE_BYTES)
        ciphertext = AESGCM(data_key).encrypt(nonce, value.encode(), context.encode())
        with self._minding():
            [wrapped] = await self._keys.wrap([data_key])
        fingerprint = hmac.digest(self._fingerprint_key, f"{provider}|{value}".encode(), hashlib.sha256)
        return Sealed(subject, context, version, nonce, ciphertext, wrapped.by, wrapped.data, fingerprint)

    async def open(self, sealed: Sealed) -> Secret:
        """The secret again; for the worker alone, for one call. Raises CannotOpen; VaultAway when it may be asked for again."""
        with self._minding():
            [data_key] = await self._keys.unwrap([Wrapped(sealed.wrapping, sealed.wrapped)])
            if isinstance(data_key, VaultAway):
                raise data_key
        if isinstance(data_key, Exception):
            raise CannotOpen(subject=sealed.subject) from None
        try:
            return Secret(AESGCM(data_key).decrypt(sealed.nonce, sealed.ciphertext, sealed.context.encode()).decode())
        except (InvalidTag, ValueError):  # a KMS may hand out a key of another length
            raise CannotOpen(subject=sealed.subject) from None

    async def lacking(self, by: str) -> str | None:
        """What keeps the KMS from unwrapping what `by` wrapped: a word of `transit.PROBLEMS`; None when nothing does.

        Nothing is opened for it: what it is asked about is no data key, so it says so as soon as it can. Whoever asks within ASK_SECONDS
        shares the answer.
        """
        async with self._asking:
            if by in self._heard and time.monotonic() - self._heard[by][0] < ASK_SECONDS:
                return self._heard[by][1]
            problem = None
            try:
                with self._minding():
                    [refused] = await self._keys.unwrap([Wrapped(by, _NOBODYS)])
                    if isinstance(refused, VaultAway):
                        raise refused
            except VaultAway as error:
                problem = str(error.facts["problem"])
            self._heard[by] = (time.monotonic(), problem)
            return problem

    @contextmanager
    def _minding(self) -> Iterator[None]:
        """Says once that the KMS is away, and once that it is back. A version that it has no more is said where it is met."""
        try:
            yield
        except VaultAway as error:
            problem = error.facts["problem"]
            if problem not in (self.away, TOO_OLD):
                self.away = problem
                log.error("kms_away", problem=problem)
            raise
        if self.away is not None:
            self.away = None
            log.warning("kms_back")

    def pseudonym(self, name: str) -> str:
        """Stands for a person towards a provider: always the same 32 hex digits, and nothing can be read from it."""
        return hmac.digest(self._fingerprint_key, f"pseudonym|{name}".encode(), hashlib.sha256).hex()[:32]

    def veil(self, content: bytes, context: str) -> bytes:
        """Encrypts what waits in the inbox: people paste keys anywhere, and prompts are theirs."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._mailbox.encrypt(nonce, content, context.encode())

    def unveil(self, content: bytes, context: str) -> bytes:
        """What `veil` encrypted. Raises CannotOpen."""
        try:
            return self._mailbox.decrypt(content[:NONCE_BYTES], content[NONCE_BYTES:], context.encode())
        except InvalidTag:
            raise CannotOpen(subject=context) from None


async def open_vault(database: Database, keys: KeyEncryption) -> Vault:
    """Proves that every stored data key can be unwrapped, or refuses to start (Misconfigured); makes our own keys on the first start."""
    try:
        await _prove(database, keys)
        own = await _own_keys(database, keys)
    except VaultAway as error:
        raise misconfigured(error) from None
    return Vault(keys, own[FINGERPRINT], own[MAILBOX])


async def _prove(database: Database, keys: KeyEncryption) -> None:
    for table in (sealed_secrets, data_keys):
        async with database.read() as connection:
            used = await connection.scalars(select(table.c.wrapping).distinct())
        missing = sorted(by for by in used if not keys.knows(by))
        if missing:
            raise _lacking(missing)
        after = ""
        while page := await page_of(database, table, after):
            after = page[-1][0]
            for (name, wrapped), found in zip(page, await keys.unwrap([wrapped for _, wrapped in page]), strict=True):
                if isinstance(found, VaultAway):
                    raise found
                if isinstance(found, Exception) or len(found) != KEY_BYTES:
                    raise Misconfigured(setting=_setting(wrapped.by), problem=f"key {wrapped.by} is not the one that wrapped {name}")


def _lacking(missing: Sequence[str]) -> Misconfigured:
    listed = ", ".join(missing)
    if any(":" in by for by in missing):
        return Misconfigured(setting="VAULT_KMS_URL", problem=f"is needed: stored keys are wrapped by the KMS, with {listed}")
    return Misconfigured(setting="VAULT_KEYS", problem=f"stored keys need the missing {listed}: put it back at the end of the ring")


def _setting(by: str) -> str:
    return "VAULT_KMS_KEY" if ":" in by else "VAULT_KEYS"


async def _own_keys(database: Database, keys: KeyEncryption) -> dict[str, bytes]:
    """Our own keys by name; of processes that start at once the first makes them."""
    stored = dict(await page_of(database, data_keys, ""))
    missing = [name for name in (FINGERPRINT, MAILBOX) if name not in stored]
    if missing:
        made = await keys.wrap([os.urandom(KEY_BYTES) for _ in missing])
        rows = [{"name": name, "wrapping": each.by, "wrapped": each.data} for name, each in zip(missing, made, strict=True)]
        await database.run(lambda connection: _keep_own(connection, rows))
        stored = dict(await page_of(database, data_keys, ""))
    own: dict[str, bytes] = {}
    for name, found in zip(stored, await keys.unwrap(list(stored.values())), strict=True):
        if isinstance(found, Exception):
            raise found
        own[name] = found
    return own


async def _keep_own(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    insert_ = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    await connection.execute(insert_(data_keys).on_conflict_do_nothing(), rows)


async def page_of(database: Database, table: Table, after: str, but: str = "") -> list[tuple[str, Wrapped]]:
    """Up to BATCH names and their data keys, in the order of names behind `after`; without those that `but` wrapped."""
    name = table.c.subject if table is sealed_secrets else table.c.name
    wanted = select(name, table.c.wrapping, table.c.wrapped).where(name > after, table.c.wrapping != but).order_by(name).limit(BATCH)
    async with database.read() as connection:
        return [(row[0], Wrapped(row[1], row[2])) for row in await connection.execute(wanted)]


async def store(connection: AsyncConnection, sealed: Sealed, now: int) -> None:
    """Keeps a sealed secret in place of an earlier one of the same subject. Raises DuplicateSecret when it is in escrow elsewhere."""
    table = sealed_secrets
    holder = await connection.scalar(select(table.c.subject).where(table.c.fingerprint == sealed.fingerprint))
    if holder is not None and holder != sealed.subject:
        raise DuplicateSecret()
    await wipe(connection, sealed.subject)
    row = {name: getattr(sealed, name) for name in Sealed.__dataclass_fields__}
    await connection.execute(insert(table).values(**row, at=now))


_FETCH = select(*(sealed_secrets.c[name] for name in Sealed.__dataclass_fields__)).where(one_of(sealed_secrets.c.subject, "subjects"))


async def fetch(connection: AsyncConnection, subjects: Sequence[str]) -> dict[str, Sealed]:
    """Sealed secrets by subject; those that are not there are left out."""
    return {row.subject: Sealed(*row) for row in await connection.execute(_FETCH, {"subjects": subjects})}


async def fetch_one(connection: AsyncConnection, subject: str) -> Sealed:
    """Raises SecretMissing."""
    found = (await fetch(connection, [subject])).get(subject)
    if found is None:
        raise SecretMissing(subject=subject)
    return found


async def wipe(connection: AsyncConnection, subject: str) -> None:
    """Removes the ciphertext and its data key."""
    await connection.execute(delete(sealed_secrets).where(sealed_secrets.c.subject == subject))
