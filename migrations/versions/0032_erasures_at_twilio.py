"""What Twilio is asked to delete names the receipt of its erasure, which counts what is done.

The receipts that exist counted nothing, which NULL says.
"""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("erasure", sa.Column("deleted_at_twilio", sa.Integer(), nullable=True))
    op.add_column("carrier_removal", sa.Column("receipt", sa.String(length=16), nullable=True))
    op.create_index("ix_carrier_removal_receipt", "carrier_removal", ["receipt"])


def downgrade() -> None:
    op.drop_index("ix_carrier_removal_receipt", "carrier_removal")
    op.drop_column("carrier_removal", "receipt")
    op.drop_column("erasure", "deleted_at_twilio")
