"""Marks of ours on what goes out and comes back: cursors, and links that end by themselves. A changed one is not recognised."""

import base64
import binascii
import hmac

from core.vault.service import Vault


def sign(vault: Vault, purpose: str, text: str) -> str:
    """`text` with a mark that only this installation can make, as letters that fit into a URL. `purpose` keeps kinds and users apart."""
    return base64.urlsafe_b64encode(f"{text}.{_mark(vault, purpose, text)}".encode()).decode().rstrip("=")


def read_signed(vault: Vault, purpose: str, signed: str) -> str | None:
    """What `sign` was given; None for anything else."""
    try:
        decoded = base64.b64decode(signed + "=" * (-len(signed) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    text, _, mark = decoded.rpartition(".")
    if not mark.isascii() or not hmac.compare_digest(mark, _mark(vault, purpose, text)):
        return None
    return text if sign(vault, purpose, text) == signed else None  # one spelling for each: base64 has several


def _mark(vault: Vault, purpose: str, text: str) -> str:
    return vault.pseudonym(f"signed|{purpose}|{text}")
