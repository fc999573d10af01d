"""Key-encryption keys as the settings name them: the ring, a KMS, or both while an operator moves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from core.config import Settings
from core.errors import Misconfigured
from core.providers.http import make_client
from core.vault.keyring import Keyring, keyring_file
from core.vault.transit import Place, Transit
from core.vault.wrapping import KeyEncryption, Succession


def keyring(settings: Settings) -> Keyring | None:
    """The ring: `VAULT_KEYS`, or the file in `DATA_DIR` in the embedded size. None where a KMS wraps and there never was a ring.

    Raises Misconfigured.
    """
    text, file = settings.vault_keys.get_secret_value(), settings.data_dir / "keyring"
    if not text:
        needed = not settings.vault_kms_url or settings.vault_kms_mode == "open"
        if needed and not settings.embedded:
            raise Misconfigured(setting="VAULT_KEYS", problem="is needed when several processes share a database")
        if not needed and not (settings.embedded and file.exists()):
            return None
        text = keyring_file(file)
    return Keyring(text)


@asynccontextmanager
async def open_keys(settings: Settings) -> AsyncIterator[KeyEncryption]:
    """Who wraps and unwraps data keys. Raises Misconfigured."""
    ring = keyring(settings)
    if not settings.vault_kms_url:
        assert ring is not None
        yield ring
        return
    try:
        client = make_client(settings.vault_kms_ca_file)
    except OSError as error:
        problem = f"holds no certificates that can be read ({type(error).__name__})"
        raise Misconfigured(setting="VAULT_KMS_CA_FILE", problem=problem) from None
    transit = Transit(_place(settings), client)
    try:
        if ring is None:
            yield transit
        else:
            yield Succession([ring, transit] if settings.vault_kms_mode == "open" else [transit, ring])
    finally:
        await transit.close()
        await client.aclose()


def _place(settings: Settings) -> Place:
    return Place(
        settings.vault_kms_url, settings.vault_kms_mount, settings.vault_kms_key, settings.vault_kms_token,
        settings.vault_kms_token_file, settings.vault_kms_namespace, settings.vault_kms_seconds,
    )  # fmt: skip
