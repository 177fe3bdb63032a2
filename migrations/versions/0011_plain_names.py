"""Columns named by what they hold."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

RENAMED = (
    ("message", "form_id", "idempotency_key"),
    ("message", "again_of_id", "resend_of_id"),
    ("message", "recipient_backwards", "recipient_reversed"),
    ("message", "conflicting", "has_conflict"),
    ("callback_tally", "began_at", "bucket_at"),
)
# The indexes whose names contain a column that was renamed.
OLD_RECIPIENT_INDEX = "ix_message_owner_id_recipient_backwards_created_at_id"
RECIPIENT_INDEX = "ix_message_owner_id_recipient_reversed_created_at_id"
OLD_RESEND_INDEX, RESEND_INDEX = "ix_message_again_of_id", "ix_message_resend_of_id"


def upgrade() -> None:
    for table, old, new in RENAMED:
        op.execute(f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}")
    _rename_index(OLD_RECIPIENT_INDEX, RECIPIENT_INDEX, "recipient_reversed")
    _rename_index(OLD_RESEND_INDEX, RESEND_INDEX, "resend_of_id")


def downgrade() -> None:
    for table, old, new in RENAMED:
        op.execute(f"ALTER TABLE {table} RENAME COLUMN {new} TO {old}")
    _rename_index(RECIPIENT_INDEX, OLD_RECIPIENT_INDEX, "recipient_backwards")
    _rename_index(RESEND_INDEX, OLD_RESEND_INDEX, "again_of_id")


def _rename_index(old: str, new: str, column: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"ALTER INDEX {old} RENAME TO {new}")
        return
    # SQLite has no such statement.
    op.drop_index(old, table_name="message")
    if column.startswith("recipient"):
        op.create_index(new, "message", ["owner_id", column, "created_at", "id"])
    else:
        is_resend = sa.text(f"{column} IS NOT NULL")
        op.create_index(new, "message", [column], unique=True, sqlite_where=is_resend)
