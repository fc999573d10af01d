"""who spends of a pool"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0018"
down_revision: str | None = "0017"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """who spends of a pool, and whether members see prompts; it waits for nobody"""
    op.add_column("communities", sa.Column("spenders", sa.String(length=8), server_default="all", nullable=False))
    op.add_column("communities", sa.Column("prompts_since", sa.BigInteger(), nullable=True))
    op.create_table(
        "community_spenders",
        sa.Column("community_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("user_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("added_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["community_id"], ["communities.id"], name=op.f("fk_community_spenders_community_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_community_spenders_user_id")),
        sa.PrimaryKeyConstraint("community_id", "user_id", name=op.f("pk_community_spenders")),
    )
    op.create_index("ix_community_spenders_user_id", "community_spenders", ["user_id"])
