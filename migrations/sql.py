"""`python -m migrations.sql FOLDER` writes every migration as SQL for PostgreSQL, a file each: for reading, and for the linter."""

import sys
from contextlib import redirect_stdout
from pathlib import Path

from alembic import command
from alembic.script import ScriptDirectory

from migrations.upgrade import configuration


def write(folder: Path) -> list[Path]:
    """Writes the files and returns their paths, oldest first. No database is needed."""
    files = []
    for script in reversed(list(ScriptDirectory.from_config(configuration()).walk_revisions())):
        files.append(folder / f"{script.revision}.sql")
        with files[-1].open("w") as file, redirect_stdout(file):
            command.upgrade(configuration(), f"{script.down_revision or 'base'}:{script.revision}", sql=True)
    return files


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    write(Path(sys.argv[1]))
