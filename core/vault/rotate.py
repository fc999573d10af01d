"""Rotation: every data key under the newest key-encryption key. Data keys are re-wrapped in batches, and no secret is opened."""

from sqlalchemy import Table, bindparam, update
from sqlalchemy.ext.asyncio import AsyncConnection

from core.db import Database
from core.errors import Misconfigured
from core.vault.errors import VaultAway
from core.vault.models import data_keys, sealed_secrets
from core.vault.service import page_of
from core.vault.transit import misconfigured
from core.vault.wrapping import KeyEncryption, Wrapped


async def rotate(database: Database, keys: KeyEncryption) -> int:
    """Re-wraps what the newest key has not wrapped; returns how many. Safe beside a running system, and to run again after it broke off.

    No transaction is open while a KMS is asked; a row that somebody changed meanwhile stays as they left it. Raises Misconfigured.
    """
    try:
        newest, done = await keys.newest(), 0
        for table in (sealed_secrets, data_keys):
            after = ""
            while page := await page_of(database, table, after, newest):
                after = page[-1][0]
                done += await _rewrap(database, keys, table, page)
    except VaultAway as error:
        raise misconfigured(error) from None
    return done


async def _rewrap(database: Database, keys: KeyEncryption, table: Table, page: list[tuple[str, Wrapped]]) -> int:
    """One batch. What cannot be unwrapped ends the rotation, behind what can."""
    name = table.c.subject if table is sealed_secrets else table.c.name
    again = await keys.rewrap([old for _, old in page])
    changes = [
        {"row": row, "by": old.by, "old": old.data, "new_by": new.by, "new": new.data}
        for (row, old), new in zip(page, again, strict=True)
        if isinstance(new, Wrapped)
    ]
    same = (name == bindparam("row")) & (table.c.wrapping == bindparam("by")) & (table.c.wrapped == bindparam("old"))
    statement = update(table).where(same).values(wrapping=bindparam("new_by"), wrapped=bindparam("new"))

    async def write(connection: AsyncConnection) -> None:
        await connection.execute(statement, changes)

    if changes:
        await database.run(write)
    for (row, old), new in zip(page, again, strict=True):
        if isinstance(new, VaultAway):
            raise new
        if isinstance(new, Exception):
            raise Misconfigured(setting="VAULT_KEYS", problem=f"{row} was not wrapped by {old.by}, or was changed: put the right key back")
    return len(changes)
