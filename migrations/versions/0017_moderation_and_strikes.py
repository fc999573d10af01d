"""moderation and strikes"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """moderation and strikes"""
    with op.batch_alter_table("communities", schema=None) as batch_op:
        batch_op.add_column(sa.Column("strict", sa.Boolean(), server_default=sa.text("false"), nullable=False))

    with op.batch_alter_table("generations", schema=None) as batch_op:
        batch_op.add_column(sa.Column("strict", sa.Boolean(), server_default=sa.text("false"), nullable=False))
        batch_op.add_column(sa.Column("adult", sa.Boolean(), server_default=sa.text("true"), nullable=False))
        batch_op.add_column(sa.Column("spoiler", sa.Boolean(), server_default=sa.text("false"), nullable=False))

    with op.batch_alter_table("presets", schema=None) as batch_op:
        batch_op.add_column(sa.Column("cover", sa.String(length=128), nullable=True))

    with op.batch_alter_table("resources", schema=None) as batch_op:
        batch_op.add_column(sa.Column("strike_limit", sa.Integer(), server_default="20", nullable=False))
        batch_op.add_column(sa.Column("strikes", sa.Text(), server_default="[]", nullable=False))

    with op.batch_alter_table("users", schema=None) as batch_op:
        batch_op.add_column(sa.Column("strikes", sa.Text(), server_default="[]", nullable=False))
        batch_op.add_column(sa.Column("barred_until", sa.BigInteger(), server_default="0", nullable=False))
    # What is in flight may be refused as well, so a budget below a miner's concurrency would slow them down unasked.
    op.execute("UPDATE resources SET strike_limit = max_concurrency WHERE max_concurrency > 20")
