"""Shared keys in quarantine and tally, repeats that are only counted, orphans that are purged."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ORPHANS = "ix_status_event_received_at"
IS_ORPHAN = sa.text("message_id IS NULL")


def upgrade() -> None:
    op.add_column("refused_callback", sa.Column("signature_settings", sa.String(255)))
    for table, column in (
        ("status_event", "repeats"),
        ("callback_tally", "by_key"),
        ("callback_tally", "unmatched"),
    ):
        op.add_column(table, sa.Column(column, sa.Integer(), nullable=False, server_default="0"))
    op.create_index(
        ORPHANS,
        "status_event",
        ["received_at"],
        sqlite_where=IS_ORPHAN,
        postgresql_where=IS_ORPHAN,
    )


def downgrade() -> None:
    op.drop_index(ORPHANS, "status_event")
    with op.batch_alter_table("callback_tally") as table:
        table.drop_column("unmatched")
        table.drop_column("by_key")
    with op.batch_alter_table("status_event") as table:
        table.drop_column("repeats")
    with op.batch_alter_table("refused_callback") as table:
        table.drop_column("signature_settings")
