"""What is sealed opens only where it belongs, survives a rotation of keys, and is gone when it is wiped."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update

from core.db import Database
from core.errors import Misconfigured
from core.vault.errors import CannotOpen, DuplicateSecret, SecretMissing
from core.vault.keyring import Keyring, new_key
from core.vault.models import MAX_SECRET, Sealed, data_keys, sealed_secrets
from core.vault.rotate import rotate
from core.vault.secret import Secret
from core.vault.service import Vault, fetch, fetch_one, open_vault, store, wipe

KEY = "sk-abcdefghijk"
OLD, NEW = new_key("old"), new_key("new")


async def _seal(vault: Vault, value: str = KEY, subject: str = "resource:1", version: int = 1) -> Sealed:
    return await vault.seal(Secret(value), subject=subject, provider="stability", version=version)


async def _stored(database: Database, vault: Vault, value: str = KEY, subject: str = "resource:1") -> None:
    sealed = await _seal(vault, value, subject)
    await database.run(lambda connection: store(connection, sealed, 1))


async def _opened(database: Database, vault: Vault, subject: str = "resource:1") -> str:
    async with database.read() as connection:
        return (await vault.open(await fetch_one(connection, subject))).reveal()


@pytest.mark.parametrize("value", ["x", KEY, "k" * MAX_SECRET])
async def test_sealed_then_opened_is_the_same(database: Database, value: str) -> None:
    vault = await open_vault(database, Keyring(OLD))
    await _stored(database, vault, value)
    assert await _opened(database, vault) == value


async def test_no_two_seals_of_one_secret_look_alike_but_for_the_fingerprint(database: Database) -> None:
    vault = await open_vault(database, Keyring(OLD))
    one, two = await _seal(vault), await _seal(vault)
    assert one.fingerprint == two.fingerprint
    assert one.ciphertext != two.ciphertext and one.nonce != two.nonce and one.wrapped != two.wrapped
    assert KEY.encode() not in one.ciphertext and KEY not in repr(one)


@pytest.mark.parametrize("changed", ["context", "ciphertext", "nonce", "wrapped", "wrapping"])
async def test_what_was_changed_does_not_open(sqlite_url: str, changed: str) -> None:
    database = Database(sqlite_url)
    vault = await open_vault(database, Keyring(OLD))
    sealed = await _seal(vault)
    value = getattr(sealed, changed)
    other = "resource:2|stability|1" if isinstance(value, str) else bytes([value[0] ^ 1]) + value[1:]
    changes: dict[str, Any] = {changed: other}
    with pytest.raises(CannotOpen) as refused:
        await vault.open(replace(sealed, **changes))
    assert refused.value.facts == {"subject": "resource:1"}
    await database.close()


async def test_a_ciphertext_moved_to_another_resource_does_not_open(database: Database) -> None:
    vault = await open_vault(database, Keyring(OLD))
    mine, theirs = await _seal(vault), await _seal(vault, "sk-somebodyelse", "resource:2")
    moved = replace(theirs, nonce=mine.nonce, ciphertext=mine.ciphertext, wrapping=mine.wrapping, wrapped=mine.wrapped)
    with pytest.raises(CannotOpen):
        await vault.open(moved)


async def test_one_secret_is_in_escrow_once(database: Database) -> None:
    vault = await open_vault(database, Keyring(OLD))
    await _stored(database, vault)
    await _stored(database, vault)
    with pytest.raises(DuplicateSecret):
        await _stored(database, vault, subject="resource:2")
    await database.run(lambda connection: wipe(connection, "resource:1"))
    async with database.read() as connection:
        with pytest.raises(SecretMissing):
            await fetch_one(connection, "resource:1")
    await _stored(database, vault, subject="resource:2")
    async with database.read() as connection:
        assert list(await fetch(connection, ["resource:1", "resource:2"])) == ["resource:2"]


async def test_rotation_rewraps_everything_and_the_old_key_may_go(database: Database) -> None:
    vault = await open_vault(database, Keyring(OLD))
    for number in range(3):
        await _stored(database, vault, f"{KEY}{number}", f"resource:{number}")
    veiled = vault.veil(b"a prompt", "event")
    both = Keyring(f"{NEW},{OLD}")
    assert await rotate(database, both) == 3 + 2
    assert await rotate(database, both) == 0
    after = await open_vault(database, Keyring(NEW))
    assert [await _opened(database, after, f"resource:{number}") for number in range(3)] == [f"{KEY}{number}" for number in range(3)]
    assert after.unveil(veiled, "event") == b"a prompt"
    assert (await _seal(after)).fingerprint == (await _seal(vault)).fingerprint
    with pytest.raises(Misconfigured):
        await open_vault(database, Keyring(OLD))


async def test_start_up_refuses_a_missing_or_wrong_key(database: Database) -> None:
    await open_vault(database, Keyring(OLD))
    with pytest.raises(Misconfigured, match="missing old"):
        await open_vault(database, Keyring(NEW))
    impostor = new_key("old")
    with pytest.raises(Misconfigured, match="is not the one that wrapped") as refused:
        await open_vault(database, Keyring(impostor))
    assert impostor.partition(":")[2] not in str(refused.value)


@pytest.mark.parametrize("table", [sealed_secrets, data_keys], ids=["secrets", "data keys"])
async def test_start_up_refuses_a_data_key_that_was_changed(database: Database, table: object) -> None:
    vault = await open_vault(database, Keyring(OLD))
    await _stored(database, vault)
    async with database.begin() as connection:
        await connection.execute(update(sealed_secrets if table is sealed_secrets else data_keys).values(wrapped=b"0" * 60))
    with pytest.raises(Misconfigured):
        await open_vault(database, Keyring(OLD))


async def test_what_waits_in_the_inbox_is_bound_to_its_event(database: Database) -> None:
    vault = await open_vault(database, Keyring(OLD))
    veiled = vault.veil(b"a prompt", "telegram|1")
    assert b"a prompt" not in veiled and vault.unveil(veiled, "telegram|1") == b"a prompt"
    for content, context in ((veiled, "telegram|2"), (veiled[:-1] + bytes([veiled[-1] ^ 1]), "telegram|1")):
        with pytest.raises(CannotOpen):
            vault.unveil(content, context)
