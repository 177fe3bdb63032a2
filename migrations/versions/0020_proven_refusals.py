"""An index of the refused callbacks that a secret of ours signed: no flood of others hides them."""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

NAME = "ix_refused_callback_is_proven_last_at"


def upgrade() -> None:
    op.create_index(NAME, "refused_callback", ["is_proven", "last_at"])


def downgrade() -> None:
    op.drop_index(NAME, "refused_callback")
