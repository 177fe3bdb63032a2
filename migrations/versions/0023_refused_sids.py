"""An index of the SIDs that refused callbacks claim: they go with the message of the SID."""

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

NAME = "ix_refused_callback_twilio_sid"


def upgrade() -> None:
    op.create_index(NAME, "refused_callback", ["twilio_sid"])


def downgrade() -> None:
    op.drop_index(NAME, "refused_callback")
