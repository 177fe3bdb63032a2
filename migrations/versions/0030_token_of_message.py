"""The token by which a program has sent a message or a batch.

References of messages whose text was deleted go too, as they do with the text from now on.
"""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("message", "batch"):
        op.add_column(table, sa.Column("token_id", sa.Integer(), nullable=True))
    op.execute(
        "UPDATE message SET reference = NULL"
        " WHERE content_deleted_at IS NOT NULL AND reference IS NOT NULL"
    )


def downgrade() -> None:
    for table in ("batch", "message"):
        op.drop_column(table, "token_id")
