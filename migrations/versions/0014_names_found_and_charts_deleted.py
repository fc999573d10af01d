"""names found and charts deleted"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """names found and charts deleted; on PostgreSQL nobody who writes waits for the new indexes"""
    context = op.get_context()
    due = sa.Column("due_at", sa.BigInteger(), server_default="0", nullable=False)
    if context.dialect.name == "sqlite":
        op.add_column("doomed_blobs", due)
        _index()
        return
    # Two transactions: each line suits a run that was killed before.
    op.add_column("doomed_blobs", due, if_not_exists=True)
    with context.autocommit_block():
        for index, table in (("ix_doomed_blobs_due_at", "doomed_blobs"), ("ix_users_name", "users")):
            op.drop_index(index, table, if_exists=True, postgresql_concurrently=True)
        _index()


def _index() -> None:
    op.create_index("ix_doomed_blobs_due_at", "doomed_blobs", ["due_at"], postgresql_concurrently=True)
    op.create_index("ix_users_name", "users", ["name"], postgresql_concurrently=True)
