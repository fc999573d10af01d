"""Key-encryption keys: who wraps data keys. The ring in the environment by default; a KMS is one more class with the same three methods."""

import base64
import binascii
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from core.errors import Misconfigured
from core.vault.errors import CannotOpen

KEY_BYTES = 32
NONCE_BYTES = 12
MAX_KEY_ID = 32


class KeyEncryption(Protocol):
    """Wraps and unwraps data keys."""

    def ids(self) -> Sequence[str]:
        """Every key it can unwrap with, newest first; the newest wraps."""

    def wrap(self, data_key: bytes) -> tuple[str, bytes]:
        """(id of the wrapping key, wrapped bytes)."""

    def unwrap(self, wrapping: str, wrapped: bytes) -> bytes:
        """The data key. Raises CannotOpen."""


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
        """See KeyEncryption."""
        return list(self._keys)

    def wrap(self, data_key: bytes) -> tuple[str, bytes]:
        """See KeyEncryption."""
        name = next(iter(self._keys))
        nonce = os.urandom(NONCE_BYTES)
        return name, nonce + self._keys[name].encrypt(nonce, data_key, name.encode())

    def unwrap(self, wrapping: str, wrapped: bytes) -> bytes:
        """See KeyEncryption."""
        key = self._keys.get(wrapping)
        if key is None:
            raise CannotOpen(wrapping=wrapping)
        try:
            return key.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], wrapping.encode())
        except InvalidTag:
            raise CannotOpen(wrapping=wrapping) from None


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
