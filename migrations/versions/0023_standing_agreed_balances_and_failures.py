"""standing, agreed balances, failures and named admins"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0023"
down_revision: str | None = "0020"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Where a balance and our use agreed, failures of all processes, admins whom the settings name, and standing by the pictures and lost
    disputes of the last 30 days: what was lost so far counts on the day that it was lost last."""
    op.add_column("resources", sa.Column("standing", sa.Text(), server_default="[]", nullable=False))
    op.add_column("resources", sa.Column("agreed_balance", sa.BigInteger(), nullable=True))
    op.add_column("resources", sa.Column("agreed_at", sa.BigInteger(), nullable=True))
    op.add_column("users", sa.Column("named", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_table(
        "failures",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_failures")),
    )
    op.execute(
        sa.text("""UPDATE resources SET standing = '[[' || lost_at / 86400000000 || ',' || (SELECT COUNT(*) FROM attempts
        WHERE attempts.resource_id = resources.id AND attempts.outcome = 'delivered' AND attempts.started_at > lost_at - 30 * 86400000000)
        || ',' || CAST(ROUND(lost) AS INTEGER) || ']]' WHERE lost >= 0.5""")
    )
