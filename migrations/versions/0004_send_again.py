"""The message of which another is the second try."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

IS_AGAIN = sa.text("again_of_id IS NOT NULL")


def upgrade() -> None:
    kind = "INTEGER" if op.get_bind().dialect.name == "sqlite" else "BIGINT"
    # As one clause both databases take it without copying the table.
    op.execute(
        f"ALTER TABLE message ADD COLUMN again_of_id {kind} "
        "CONSTRAINT fk_message_again_of_id_message REFERENCES message (id)"
    )
    op.create_index(
        op.f("ix_message_again_of_id"),
        "message",
        ["again_of_id"],
        unique=True,
        sqlite_where=IS_AGAIN,
        postgresql_where=IS_AGAIN,
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_message_again_of_id"), table_name="message")
    op.drop_column("message", "again_of_id")
