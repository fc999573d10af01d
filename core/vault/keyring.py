"""The ring of key-encryption keys in the environment, or in a file of the embedded size."""

import base64
import binascii
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from core.errors import Misconfigured
from core.vault.errors import CannotOpen
from core.vault.wrapping import Wrapped, passed_on

KEY_BYTES = 32
NONCE_BYTES = 12
MAX_KEY_ID = 32


class Keyring:
    """Keys from a setting, `id:base64,id:base64`, newest first, 32 bytes each."""

    def __init__(self, text: str) -> None:
        """Raises Misconfigured for a malformed ring, without showing any of it."""
        self._keys: dict[str, AESGCM] = {}
        for number, item in enumerate(filter(None, (part.strip() for part in text.split(","))), start=1):
            name, _, encoded = item.partition(":")
            try:
                key = base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError):
                key = b""
            if not 0 < len(name) <= MAX_KEY_ID or len(key) != KEY_BYTES or name in self._keys:
                raise Misconfigured(setting="VAULT_KEYS", problem=f"key {number} is not id:base64 of 32 bytes with an id of its own")
            self._keys[name] = AESGCM(key)
        if not self._keys:
            raise Misconfigured(setting="VAULT_KEYS", problem="is empty")

    def ids(self) -> Sequence[str]:
        """Every key it can unwrap with, newest first; the newest wraps."""
        return list(self._keys)

    def knows(self, by: str) -> bool:
        """See KeyEncryption."""
        return by in self._keys

    async def newest(self) -> str:
        """See KeyEncryption."""
        return next(iter(self._keys))

    async def wrap(self, data_keys: Sequence[bytes]) -> list[Wrapped]:
        """See KeyEncryption."""
        name = next(iter(self._keys))
        nonces = [os.urandom(NONCE_BYTES) for _ in data_keys]
        pairs = zip(nonces, data_keys, strict=True)
        return [Wrapped(name, nonce + self._keys[name].encrypt(nonce, data_key, name.encode())) for nonce, data_key in pairs]

    async def unwrap(self, wrapped: Sequence[Wrapped]) -> list[bytes | Exception]:
        """See KeyEncryption."""
        return [self._unwrap(each) for each in wrapped]

    async def rewrap(self, wrapped: Sequence[Wrapped]) -> list[Wrapped | Exception]:
        """See KeyEncryption."""
        return await passed_on(wrapped, self, self)

    def _unwrap(self, wrapped: Wrapped) -> bytes | Exception:
        key = self._keys.get(wrapped.by)
        if key is None:
            return CannotOpen(wrapping=wrapped.by)
        try:
            return key.decrypt(wrapped.data[:NONCE_BYTES], wrapped.data[NONCE_BYTES:], wrapped.by.encode())
        except InvalidTag:
            return CannotOpen(wrapping=wrapped.by)


def new_key(name: str) -> str:
    """A fresh item for the ring."""
    return f"{name}:{base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}"


def keyring_file(path: Path) -> str:
    """The ring kept in a file, for the embedded size; made with mode 0600 when there is none. Two that start at once agree on one.

    Raises Misconfigured when others may read the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    if not path.exists():
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(new_key("k1") + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # fails where another process was first; its ring is used then
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise Misconfigured(setting="VAULT_KEYS", problem=f"{path} may be read by others: chmod 600 it")
    return path.read_text().replace("\n", ",")
