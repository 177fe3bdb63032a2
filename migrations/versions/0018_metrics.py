"""Refusals by reason and times to store in the tally of callbacks, and totals that outlive it."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

REASONS = "signature not_a_form too_large address inbound json recut unreadable"
BOUNDS = "5_ms 10_ms 25_ms 50_ms 100_ms 250_ms 1000_ms 5000_ms more"
NEW_COLUMNS = [
    *(f"refused_{reason}" for reason in REASONS.split()),
    *(f"stored_in_{bound}" for bound in BOUNDS.split()),
    "store_micros",
]


def upgrade() -> None:
    for name in NEW_COLUMNS:
        op.add_column(
            "callback_tally", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0")
        )
    op.create_table(
        "metric_total",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_metric_total"),
    )


def downgrade() -> None:
    op.drop_table("metric_total")
    with op.batch_alter_table("callback_tally") as table:
        for name in NEW_COLUMNS:
            table.drop_column(name)
