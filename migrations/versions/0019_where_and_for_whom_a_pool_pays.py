"""where and for whom a pool pays, and groups that are gone"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0019"
down_revision: str | None = "0018"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """where and for whom a pool pays, and groups that are gone; it waits for nobody"""
    op.add_column("communities", sa.Column("roles", sa.Text(), server_default="[]", nullable=False))
    op.add_column("communities", sa.Column("channels", sa.Text(), server_default="[]", nullable=False))
    op.add_column("communities", sa.Column("presets", sa.String(length=400), server_default="", nullable=False))
    op.add_column("community_chats", sa.Column("gone_at", sa.BigInteger(), nullable=True))
