"""How many bytes the rows of a batch take, which counts until they are sent.

The rows of drafts that exist are measured, so that they count as well.
"""

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

MEASURE = """
UPDATE batch SET row_bytes = (
    SELECT coalesce(sum(length(CAST(cells AS text)) + 50), 0)
    FROM batch_row WHERE batch_row.batch_id = batch.id
) WHERE state IN ('ready', 'discarded')
"""


def upgrade() -> None:
    op.add_column(
        "batch", sa.Column("row_bytes", sa.BigInteger(), server_default="0", nullable=False)
    )
    op.execute(MEASURE)


def downgrade() -> None:
    op.drop_column("batch", "row_bytes")
