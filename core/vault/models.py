"""Rows of the vault: only what is sealed, never anything in clear."""

from dataclasses import dataclass, field

from sqlalchemy import Column, Integer, LargeBinary, String, Table

from core.db import Id, Moment, metadata

MAX_SECRET = 1024
"""Characters of a secret at most; the longest real provider keys have about 200."""

sealed_secrets = Table(
    "sealed_secrets",
    metadata,
    Column("subject", String(64), primary_key=True),  # "resource:12"
    Column("context", String(200), nullable=False),  # bound to the ciphertext: subject, provider, key version
    Column("nonce", LargeBinary, nullable=False),
    Column("ciphertext", LargeBinary, nullable=False),
    Column("wrapping", String(32), nullable=False),  # id of the key-encryption key
    Column("wrapped", LargeBinary, nullable=False),  # the data key
    Column("fingerprint", LargeBinary, nullable=False, unique=True),
    Column("version", Integer, nullable=False),
    Column("at", Moment, nullable=False),
)

data_keys = Table(
    "data_keys",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(32), nullable=False, unique=True),  # "fingerprint", "mailbox"
    Column("wrapping", String(32), nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
)
"""Keys of our own that outlive a rotation: wrapped like every data key."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A secret as it is stored. Sealed before the transaction that stores it."""

    subject: str
    context: str
    version: int
    nonce: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)
    wrapping: str
    wrapped: bytes = field(repr=False)
    fingerprint: bytes = field(repr=False)
