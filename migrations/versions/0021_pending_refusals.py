"""An index of the refused callbacks that wait for a diagnosis."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

NAME = "ix_refused_callback_pending"
COLUMNS = ["is_plausible", "id", "reason", "signature", "twilio_sid", "diagnosis", "replayed_at"]
PENDING = sa.text("diagnosis IS NULL AND replayed_at IS NULL")


def upgrade() -> None:
    where = {"sqlite_where": PENDING, "postgresql_where": PENDING}
    op.create_index(NAME, "refused_callback", COLUMNS, **where)


def downgrade() -> None:
    op.drop_index(NAME, "refused_callback")
