"""standing of the last days"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0023"
down_revision: str | None = "0018"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """standing by the pictures and lost disputes of the last 30 days; what was lost so far counts on the day that it was lost last"""
    op.add_column("resources", sa.Column("standing", sa.Text(), server_default="[]", nullable=False))
    op.execute(
        sa.text("""UPDATE resources SET standing = '[[' || lost_at / 86400000000 || ',' || (SELECT COUNT(*) FROM attempts
        WHERE attempts.resource_id = resources.id AND attempts.outcome = 'delivered' AND attempts.started_at > lost_at - 30 * 86400000000)
        || ',' || CAST(ROUND(lost) AS INTEGER) || ']]' WHERE lost >= 0.5""")
    )
