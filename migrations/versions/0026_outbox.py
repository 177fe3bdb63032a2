"""The outbox: from when a message may be handed over, its lease, and the pace of each sender.

On SQLite nothing is copied: the columns are added, and the index is empty at first.
"""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

INDEX = "ix_message_batch_id_sender_messaging_service_sid_send_at_id"
INDEXED = ["batch_id", "sender", "messaging_service_sid", "send_at", "id"]
IN_OUTBOX = sa.text("status = 'outbox'")
MOMENT = sa.DateTime(timezone=True)
COLUMNS = {
    "send_at": MOMENT,
    "claimed_until": MOMENT,
    "handed_over_at": MOMENT,
    "batch_id": sa.BigInteger(),
    "reference": sa.String(length=64),
    "request_hash": sa.String(length=64),
}


def upgrade() -> None:
    for name, kind in COLUMNS.items():
        op.add_column("message", sa.Column(name, kind, nullable=True))
    where = {"sqlite_where": IN_OUTBOX, "postgresql_where": IN_OUTBOX}
    op.create_index(INDEX, "message", INDEXED, **where)
    op.create_table(
        "sender_pace",
        sa.Column("sender", sa.String(length=34), nullable=False),
        sa.Column("next_at", MOMENT, nullable=False),
        sa.Column("paused_until", MOMENT, nullable=True),
        sa.Column("pause_code", sa.String(length=16), nullable=True),
        sa.Column("pauses_in_row", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("sender", name=op.f("pk_sender_pace")),
    )


def downgrade() -> None:
    op.drop_table("sender_pace")
    op.drop_index(INDEX, "message")
    for name in reversed(COLUMNS):
        op.drop_column("message", name)
