"""Batches: the text and state of each, its rows, the uploaded file until it is checked, and texts
that are saved. Messages of a batch get an index, of which there are none before.
"""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)
MESSAGE_INDEX = "ix_message_owner_id_batch_id_created_at_id_status_status_at"
INDEXED = ["owner_id", "batch_id", "created_at", "id", "status", "status_at"]


def upgrade() -> None:
    _create_batch()
    op.create_table(
        "batch_row",
        sa.Column("batch_id", BIG_ID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("recipient", sa.String(16), nullable=True),
        sa.Column("cells", sa.JSON(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("warnings", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name="fk_batch_row_batch_id_batch"),
        sa.PrimaryKeyConstraint("batch_id", "number", name="pk_batch_row"),
    )
    op.create_table(
        "batch_file",
        sa.Column("batch_id", BIG_ID, nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name="fk_batch_file_batch_id_batch"),
        sa.PrimaryKeyConstraint("batch_id", "part", name="pk_batch_file"),
    )
    op.create_table(
        "saved_text",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["user.id"], name="fk_saved_text_owner_id_user"),
        sa.PrimaryKeyConstraint("id", name="pk_saved_text"),
        sa.UniqueConstraint("owner_id", "name", name="uq_saved_text_owner_id_name"),
        sa.UniqueConstraint("public_id", name="uq_saved_text_public_id"),
        sqlite_autoincrement=True,
    )
    op.add_column(
        "erasure", sa.Column("batch_rows", sa.Integer(), nullable=False, server_default="0")
    )
    where = sa.text("batch_id IS NOT NULL")
    op.create_index(MESSAGE_INDEX, "message", INDEXED, sqlite_where=where, postgresql_where=where)


def _create_batch() -> None:
    op.create_table(
        "batch",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("public_id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Integer(), nullable=False),
        sa.Column("idempotency_key", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("sender", sa.String(34), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        *(
            sa.Column(name, MOMENT, nullable=True)
            for name in ("started_at", "ended_at", "content_deleted_at", "claimed_until")
        ),
        sa.Column("upload_hash", sa.LargeBinary(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=True),
        sa.Column("sheet_name", sa.String(200), nullable=True),
        sa.Column("phone_column", sa.String(200), nullable=True),
        sa.Column("encoding", sa.String(16), nullable=True),
        sa.Column("has_heading", sa.Boolean(), nullable=True),
        sa.Column("once_per_number", sa.Boolean(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        *(
            sa.Column(name, sa.JSON(), nullable=False)
            for name in ("choices", "column_names", "field_positions", "report")
        ),
        *(
            sa.Column(name, sa.Integer(), nullable=False)
            for name in (
                *("phone_position", "row_count", "good_count", "segments"),
                *("queued_number", "queued_count"),
            )
        ),
        sa.Column("quiet_from", sa.Integer(), nullable=True),
        sa.Column("quiet_until", sa.Integer(), nullable=True),
        sa.Column("quiet_zone", sa.String(64), nullable=True),
        sa.Column("start_count", sa.Integer(), nullable=True),
        sa.Column("resend_of_id", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["owner_id"], ["user.id"], name="fk_batch_owner_id_user"),
        sa.PrimaryKeyConstraint("id", name="pk_batch"),
        sa.UniqueConstraint(
            "owner_id", "idempotency_key", name="uq_batch_owner_id_idempotency_key"
        ),
        sa.UniqueConstraint("public_id", name="uq_batch_public_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_batch_owner_id_created_at_id", "batch", ["owner_id", "created_at", "id"])
    op.create_index("ix_batch_state_id", "batch", ["state", "id"])


def downgrade() -> None:
    op.drop_index(MESSAGE_INDEX, "message")
    op.drop_column("erasure", "batch_rows")
    for table in ("saved_text", "batch_file", "batch_row", "batch"):
        op.drop_table(table)
