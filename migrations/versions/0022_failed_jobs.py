"""When and why the newest attempt at a job failed."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("chore", sa.Column("failed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("chore", sa.Column("failure", sa.String(length=64), nullable=True))


def downgrade() -> None:
    op.drop_column("chore", "failure")
    op.drop_column("chore", "failed_at")
