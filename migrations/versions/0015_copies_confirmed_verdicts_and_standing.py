"""copies, confirmed verdicts and standing"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """copies, confirmed verdicts and standing; on PostgreSQL nobody who writes pictures waits for their new index"""
    row = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    context = op.get_context()
    # On PostgreSQL an index is made outside of a transaction: each line suits a run that was killed before.
    on_postgresql = context.dialect.name == "postgresql"
    for table, column in (
        ("disputes", sa.Column("taken_by", row, nullable=True)),
        ("disputes", sa.Column("taken_until", sa.BigInteger(), nullable=True)),
        ("disputes", sa.Column("escalated", sa.Integer(), server_default="0", nullable=False)),
        ("disputes", sa.Column("proposed_by", row, nullable=True)),
        ("disputes", sa.Column("proposed", sa.String(length=16), nullable=True)),
        ("disputes", sa.Column("proposed_amount", sa.BigInteger(), nullable=True)),
        ("disputes", sa.Column("proposed_reason", sa.String(length=500), nullable=True)),
        ("generations", sa.Column("digest", sa.String(length=64), nullable=True)),
        ("resources", sa.Column("lost", sa.Float(), server_default="0", nullable=False)),
        ("resources", sa.Column("lost_at", sa.BigInteger(), server_default="0", nullable=False)),
    ):
        op.add_column(table, column, if_not_exists=True if on_postgresql else None)
    if not on_postgresql:
        _index()
        return
    with context.autocommit_block():
        op.drop_index("ix_generations_digest", "generations", if_exists=True, postgresql_concurrently=True)
        _index()


def _index() -> None:
    known = sa.text("digest IS NOT NULL")
    op.create_index(
        "ix_generations_digest", "generations", ["digest"], postgresql_where=known, sqlite_where=known, postgresql_concurrently=True
    )
