"""pools"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """pools; on PostgreSQL nobody who writes waits for the new index, in two transactions: each line suits a run that was killed before"""
    op.create_table(
        "communities",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("request_cap", sa.BigInteger(), nullable=True),
        sa.Column("member_cap", sa.BigInteger(), nullable=True),
        sa.Column("day_cap", sa.BigInteger(), nullable=True),
        sa.Column("models", sa.String(length=400), server_default="", nullable=False),
        sa.Column("quiet", sa.String(length=5), server_default="", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "COALESCE(request_cap, 0) >= 0 AND COALESCE(member_cap, 0) >= 0 AND COALESCE(day_cap, 0) >= 0", name=op.f("ck_communities_caps")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_communities")),
        if_not_exists=True,
    )
    op.create_table(
        "community_chats",
        sa.Column("platform", sa.String(length=16), nullable=False),
        sa.Column("place", sa.String(length=64), nullable=False),
        sa.Column("community_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("added_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["community_id"], ["communities.id"], name=op.f("fk_community_chats_community_id")),
        sa.PrimaryKeyConstraint("platform", "place", name=op.f("pk_community_chats")),
        if_not_exists=True,
    )
    op.create_index("ix_community_chats_community_id", "community_chats", ["community_id"], if_not_exists=True)

    context = op.get_context()
    if context.dialect.name == "sqlite":
        _index()
        return
    with context.autocommit_block():
        op.drop_index("ix_generations_community_id", "generations", if_exists=True, postgresql_concurrently=True)
        _index()


def _index() -> None:
    named = sa.text("community_id IS NOT NULL")
    op.create_index(
        "ix_generations_community_id", "generations", ["community_id", "created_at"], postgresql_where=named, sqlite_where=named,
        postgresql_concurrently=True,
    )  # fmt: skip
