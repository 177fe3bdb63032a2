"""An index of the refused callbacks that a secret of ours signed: no flood of others hides them."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0018"
branch_labels = None
depends_on = None

NAME = "ix_refused_callback_last_at_proven"


def upgrade() -> None:
    op.create_index(
        NAME,
        "refused_callback",
        ["last_at"],
        sqlite_where=sa.text("is_proven = 1"),
        postgresql_where=sa.text("is_proven"),
    )


def downgrade() -> None:
    op.drop_index(NAME, "refused_callback")
