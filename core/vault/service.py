"""The vault: envelope encryption of miners' secrets.

Each secret has a random data key of its own; AES-256-GCM binds the ciphertext to its context (resource, provider, key version); the data
key is wrapped by the newest key-encryption key. Rotation re-wraps data keys and never opens a secret.
"""

import hashlib
import hmac
import os
from collections.abc import Sequence
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Table, bindparam, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db import Database, one_of
from core.errors import Misconfigured
from core.vault.errors import CannotOpen, DuplicateSecret, SecretMissing
from core.vault.keyring import KEY_BYTES, NONCE_BYTES, KeyEncryption
from core.vault.models import MAX_SECRET, Sealed, data_keys, sealed_secrets
from core.vault.secret import Secret

FINGERPRINT, MAILBOX = "fingerprint", "mailbox"
BATCH = 500


class Vault:
    """Seals and opens in memory; one per process, made by `open_vault`."""

    def __init__(self, keys: KeyEncryption, fingerprint_key: bytes, mailbox_key: bytes) -> None:
        self._keys = keys
        self._fingerprint_key = fingerprint_key
        self._mailbox = AESGCM(mailbox_key)

    def seal(self, secret: Secret, *, subject: str, provider: str, version: int) -> Sealed:
        """Seals a secret of at most MAX_SECRET characters, bound to what it belongs to."""
        value = secret.reveal()
        assert 0 < len(value) <= MAX_SECRET
        context = f"{subject}|{provider}|{version}"
        data_key, nonce = os.urandom(KEY_BYTES), os.urandom(NONCE_BYTES)
        ciphertext = AESGCM(data_key).encrypt(nonce, value.encode(), context.encode())
        wrapping, wrapped = self._keys.wrap(data_key)
        fingerprint = hmac.digest(self._fingerprint_key, f"{provider}|{value}".encode(), hashlib.sha256)
        return Sealed(subject, context, version, nonce, ciphertext, wrapping, wrapped, fingerprint)

    def open(self, sealed: Sealed) -> Secret:
        """The secret again; for the worker alone, for one call. Raises CannotOpen."""
        try:
            data_key = self._keys.unwrap(sealed.wrapping, sealed.wrapped)
            return Secret(AESGCM(data_key).decrypt(sealed.nonce, sealed.ciphertext, sealed.context.encode()).decode())
        except (InvalidTag, CannotOpen):
            raise CannotOpen(subject=sealed.subject) from None

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

    async def prove(connection: AsyncConnection) -> dict[str, bytes]:
        known = set(keys.ids())
        for table in (sealed_secrets, data_keys):
            missing = set(await connection.scalars(select(table.c.wrapping).distinct())) - known
            if missing:
                problem = f"stored keys need the missing {', '.join(sorted(missing))}: put it back at the end of the ring"
                raise Misconfigured(setting="VAULT_KEYS", problem=problem)
            for name, wrapping, wrapped in await connection.execute(select(*_key_columns(table))):
                try:
                    keys.unwrap(wrapping, wrapped)
                except CannotOpen:
                    raise Misconfigured(setting="VAULT_KEYS", problem=f"key {wrapping} is not the one that wrapped {name}") from None
        rows = await connection.execute(select(data_keys.c.name, data_keys.c.wrapping, data_keys.c.wrapped))
        own = {name: keys.unwrap(wrapping, wrapped) for name, wrapping, wrapped in rows}
        for name in (FINGERPRINT, MAILBOX):
            if name not in own:
                own[name] = os.urandom(KEY_BYTES)
                wrapping, wrapped = keys.wrap(own[name])
                await connection.execute(insert(data_keys).values(name=name, wrapping=wrapping, wrapped=wrapped))
        return own

    own = await database.run(prove)
    return Vault(keys, own[FINGERPRINT], own[MAILBOX])


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


async def rotate(database: Database, keys: KeyEncryption) -> int:
    """Re-wraps every data key with the newest key-encryption key, in batches; returns how many. Safe to run beside a running system."""
    newest, done = keys.ids()[0], 0
    for table in (sealed_secrets, data_keys):

        async def rewrap(connection: AsyncConnection, table: Table = table) -> int:
            name, wrapping, wrapped = _key_columns(table)
            rows = await connection.execute(select(name, wrapping, wrapped).where(wrapping != newest).limit(BATCH).with_for_update())
            changes: list[dict[str, Any]] = []
            for key, old, old_wrapped in rows:
                _, again = keys.wrap(keys.unwrap(old, old_wrapped))
                changes.append({"row": key, "again": again})
            if changes:
                statement = update(table).where(name == bindparam("row")).values(wrapping=newest, wrapped=bindparam("again"))
                await connection.execute(statement, changes)
            return len(changes)

        while batch := await database.run(rewrap):
            done += batch
    return done


def _key_columns(table: Table) -> tuple[Any, Any, Any]:
    name = table.c.subject if table is sealed_secrets else table.c.name
    return name, table.c.wrapping, table.c.wrapped
