"""the money side of pools"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0020"
down_revision: str | None = "0019"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """the money side of pools"""
    op.create_table(
        "ballots",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("key", sa.String(length=128), nullable=False),
        sa.Column("community_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("user_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("price", sa.BigInteger(), nullable=False),
        sa.Column("needed", sa.Integer(), nullable=False),
        sa.Column("wish", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("why", sa.String(length=32), nullable=True),
        sa.Column("generation_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("platform", sa.String(length=16), nullable=False),
        sa.Column("chat", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["community_id"], ["communities.id"], name=op.f("fk_ballots_community_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_ballots_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ballots")),
        sa.UniqueConstraint("key", name=op.f("uq_ballots_key")),
    )
    still = sa.text("state = 'open'")
    op.create_index("ix_ballots_open", "ballots", ["expires_at"], postgresql_where=still, sqlite_where=still)
    op.create_index("ix_ballots_user_id", "ballots", ["user_id"])
    op.create_table(
        "ballot_votes",
        sa.Column("ballot_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("user_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("rule", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(["ballot_id"], ["ballots.id"], name=op.f("fk_ballot_votes_ballot_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_ballot_votes_user_id")),
        sa.PrimaryKeyConstraint("ballot_id", "user_id", name=op.f("pk_ballot_votes")),
    )
    op.create_index("ix_ballot_votes_user_id", "ballot_votes", ["user_id"])
    op.add_column("communities", sa.Column("vote_above", sa.BigInteger(), nullable=True))
    op.add_column("communities", sa.Column("votes", sa.Integer(), server_default="0", nullable=False))
    op.add_column("payments", sa.Column("community_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True))
    op.add_column("refunds", sa.Column("pooled", sa.BigInteger(), server_default="0", nullable=False))
    op.create_table(
        "pledges",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("community_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("user_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("percent", sa.Integer(), nullable=False),
        sa.Column("most", sa.BigInteger(), nullable=False),
        sa.Column("matched", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("percent > 0 AND matched >= 0 AND matched <= most", name=op.f("ck_pledges_limit")),
        sa.ForeignKeyConstraint(["community_id"], ["communities.id"], name=op.f("fk_pledges_community_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_pledges_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pledges")),
    )
    op.create_index("ix_pledges_community_id", "pledges", ["community_id"])
    op.create_index("ix_pledges_user_id", "pledges", ["user_id"])
    op.create_table(
        "refills",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("community_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("user_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("level", sa.BigInteger(), nullable=False),
        sa.Column("every", sa.String(length=8), nullable=False),
        sa.Column("most", sa.BigInteger(), nullable=False),
        sa.Column("given", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("short_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("level > 0 AND given >= 0 AND given <= most", name=op.f("ck_refills_limit")),
        sa.ForeignKeyConstraint(["community_id"], ["communities.id"], name=op.f("fk_refills_community_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_refills_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refills")),
    )
    ongoing = sa.text("ended_at IS NULL")
    op.create_index("ix_refills_community_id", "refills", ["community_id"])
    op.create_index("ix_refills_due", "refills", ["due_at"], postgresql_where=ongoing, sqlite_where=ongoing)
    op.create_index("ix_refills_user_id", "refills", ["user_id"])
