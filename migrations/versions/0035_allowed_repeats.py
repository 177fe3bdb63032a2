"""Whether a program's batch starts by itself although numbers or a whole batch repeat.

Those that wait for their check start no more in that case.
"""

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None

COLUMNS = ("allows_repeats", "allows_equal")


def upgrade() -> None:
    for name in COLUMNS:
        op.add_column(
            "batch", sa.Column(name, sa.Boolean(), server_default=sa.false(), nullable=False)
        )


def downgrade() -> None:
    for name in reversed(COLUMNS):
        op.drop_column("batch", name)
