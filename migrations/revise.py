"""`python -m migrations.revise "what changes"` writes the next migration: the difference between `core.tables` and the newest schema.

It compares with a PostgreSQL of its own, the one that the tests use, and touches no other: SQLite would write its own words for a default.
Read what it wrote, and correct it: a renamed column looks like one dropped and one added.
"""

import asyncio
import subprocess
import sys
from pathlib import Path

from alembic import command

from migrations.upgrade import configuration, engine_for, upgrade
from tests import databases, services

VERSIONS = Path(__file__).parent / "versions"


async def revise(url: str, message: str) -> None:
    """Writes a file into `migrations/versions`, numbered one above the newest. The database at `url` is at the newest schema."""
    number = 1 + max((int(path.name[:4]) for path in VERSIONS.glob("[0-9]*_*.py")), default=0)
    async with engine_for(url) as engine, engine.connect() as connection:
        await connection.run_sync(lambda plain: command.revision(configuration(plain), message, autogenerate=True, rev_id=f"{number:04d}"))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with services.keeper(), databases.created(services.postgres()) as scratch:
        upgrade(scratch)
        asyncio.run(revise(scratch, sys.argv[1]))
    subprocess.run([sys.executable, "-m", "ruff", "format", VERSIONS], check=True)
