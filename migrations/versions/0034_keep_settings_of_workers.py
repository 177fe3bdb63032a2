"""How long each worker keeps texts and messages, in days: 0 for ever, NULL if it does not say."""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

COLUMNS = ("keep_text_days", "keep_message_days")


def upgrade() -> None:
    for name in COLUMNS:
        op.add_column("heartbeat", sa.Column(name, sa.Integer(), nullable=True))


def downgrade() -> None:
    for name in COLUMNS:
        op.drop_column("heartbeat", name)
