"""Deletion of texts and messages: when a text was deleted, what is pending, and what is hashed.

On SQLite, the index of texts forgets a message that is deleted.
"""

# ruff: noqa: S608 - nothing here comes from outside.
import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)
OWNER = (
    "char(57344 + old.owner_id / 40960000 % 6400, 57344 + old.owner_id / 6400 % 6400,"
    " 57344 + old.owner_id % 6400)"
)
DELETE_TEXT = (
    "CREATE TRIGGER message_text_delete AFTER DELETE ON message BEGIN"
    " INSERT INTO message_fts (message_fts, rowid, body)"
    f" VALUES ('delete', old.id, {OWNER} || fold_text(old.body)); END"
)


def upgrade() -> None:
    op.add_column("message", sa.Column("content_deleted_at", MOMENT, nullable=True))
    op.create_table(
        "tombstone",
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("key_hash", name=op.f("pk_tombstone")),
    )
    op.create_index(op.f("ix_tombstone_expires_at"), "tombstone", ["expires_at"])
    op.create_table(
        "removal_counter",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_removal_counter")),
    )
    op.create_table(
        "remembered_opt_out",
        sa.Column("owner_id", sa.Integer(), nullable=False),
        sa.Column("sender", sa.String(length=34), nullable=False),
        sa.Column("number_hash", sa.LargeBinary(), nullable=False),
        sa.Column("opted_out_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["user.id"], name=op.f("fk_remembered_opt_out_owner_id_user")
        ),
        sa.PrimaryKeyConstraint(
            "owner_id", "sender", "number_hash", name=op.f("pk_remembered_opt_out")
        ),
    )
    _create_erasures()
    _create_carrier_removals()
    if op.get_bind().dialect.name == "sqlite":
        op.execute(DELETE_TEXT)


def _create_erasures() -> None:
    op.create_table(
        "erasure",
        sa.Column("receipt", sa.String(length=16), nullable=False),
        sa.Column("number_hash", sa.LargeBinary(), nullable=False),
        sa.Column("requested_at", MOMENT, nullable=False),
        sa.Column("at_twilio", sa.Boolean(), nullable=False),
        sa.Column("messages", sa.Integer(), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("refused_callbacks", sa.Integer(), nullable=False),
        sa.Column("searches", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("receipt", name=op.f("pk_erasure")),
    )
    op.create_table(
        "pending_removal",
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("row_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("receipt", sa.String(length=16), nullable=True),
        sa.Column("check_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["receipt"], ["erasure.receipt"], name=op.f("fk_pending_removal_receipt_erasure")
        ),
        sa.PrimaryKeyConstraint("kind", "row_id", name=op.f("pk_pending_removal")),
    )
    op.create_index(op.f("ix_pending_removal_check_at"), "pending_removal", ["check_at"])
    op.create_index(op.f("ix_pending_removal_receipt"), "pending_removal", ["receipt"])


def _create_carrier_removals() -> None:
    op.create_table(
        "carrier_removal",
        sa.Column("twilio_sid", sa.String(length=64), nullable=False),
        sa.Column("account_sid", sa.String(length=34), nullable=True),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("action", sa.String(length=8), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_try_at", MOMENT, nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("twilio_sid", name=op.f("pk_carrier_removal")),
    )
    op.create_index(op.f("ix_carrier_removal_next_try_at"), "carrier_removal", ["next_try_at"])


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER message_text_delete")
    for table in (
        *("carrier_removal", "pending_removal", "erasure"),
        *("remembered_opt_out", "removal_counter", "tombstone"),
    ):
        op.drop_table(table)
    op.drop_column("message", "content_deleted_at")
