"""joined users and tokens"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """joined users and tokens; on PostgreSQL nobody who writes waits for the new indexes or for the proof of the new reference"""
    row = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    context = op.get_context()
    if context.dialect.name == "sqlite":
        with op.batch_alter_table("generations") as batch_op:
            batch_op.add_column(sa.Column("token_id", row, nullable=True))
        with op.batch_alter_table("users") as batch_op:
            batch_op.add_column(sa.Column("merged_into", row, nullable=True))
            batch_op.create_foreign_key(batch_op.f("fk_users_merged_into"), "users", ["merged_into"], ["id"])
        _index()
        return
    # Three transactions: each line suits a run that was killed before.
    op.add_column("generations", sa.Column("token_id", row, nullable=True), if_not_exists=True)
    op.add_column("users", sa.Column("merged_into", row, nullable=True), if_not_exists=True)
    op.drop_constraint("fk_users_merged_into", "users", if_exists=True)
    op.create_foreign_key("fk_users_merged_into", "users", "users", ["merged_into"], ["id"], postgresql_not_valid=True)
    with context.autocommit_block():
        for index, table in (("ix_generations_token_id", "generations"), ("ix_users_merged_into", "users")):
            op.drop_index(index, table, if_exists=True, postgresql_concurrently=True)
        _index()
        op.execute("ALTER TABLE users VALIDATE CONSTRAINT fk_users_merged_into")


def _index() -> None:
    named = sa.text("token_id IS NOT NULL")
    op.create_index(
        "ix_generations_token_id", "generations", ["token_id"], postgresql_where=named, sqlite_where=named, postgresql_concurrently=True
    )
    op.create_index("ix_users_merged_into", "users", ["merged_into"], postgresql_concurrently=True)
