"""names found"""

from collections.abc import Sequence

from alembic import op

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """names found; on PostgreSQL nobody who writes waits for the new index"""
    context = op.get_context()
    if context.dialect.name == "sqlite":
        _index()
        return
    with context.autocommit_block():
        op.drop_index("ix_users_name", "users", if_exists=True, postgresql_concurrently=True)
        _index()


def _index() -> None:
    op.create_index("ix_users_name", "users", ["name"], postgresql_concurrently=True)
