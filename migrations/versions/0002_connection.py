"""Refused callbacks, look-ups, and what the health of the connection is computed from."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _create_refused_callback()
    op.create_table(
        "callback_tally",
        sa.Column("began_at", MOMENT, nullable=False),
        sa.Column("process", sa.String(length=16), nullable=False),
        sa.Column("accepted", sa.Integer(), nullable=False),
        sa.Column("repeated", sa.Integer(), nullable=False),
        sa.Column("by_secondary", sa.Integer(), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.Column("last_accepted_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("began_at", "process", name=op.f("pk_callback_tally")),
    )
    op.create_table(
        "heartbeat",
        sa.Column("worker", sa.String(length=64), nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("beat_at", MOMENT, nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("worker", name=op.f("pk_heartbeat")),
    )
    op.create_table(
        "chore",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("done_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_chore")),
    )
    # Adding a column needs no copy of the table on either database.
    op.add_column("status_event", sa.Column("account_sid", sa.String(length=34), nullable=True))
    op.add_column("status_event", sa.Column("signed_with", sa.String(length=16), nullable=True))
    op.add_column("status_event", sa.Column("replayed_at", MOMENT, nullable=True))
    op.add_column(
        "status_event",
        sa.Column("is_repeated", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.add_column("message", sa.Column("account_sid", sa.String(length=34), nullable=True))
    op.add_column("message", sa.Column("next_lookup_at", MOMENT, nullable=True))
    # What is open is asked about once, as soon as a worker runs.
    op.execute("UPDATE message SET next_lookup_at = created_at WHERE final_at IS NULL")
    _create_index("next_lookup_at", where="next_lookup_at IS NOT NULL")
    _create_index("final_at", "status_source", where="final_at IS NOT NULL")


def _create_refused_callback() -> None:
    op.create_table(
        "refused_callback",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=16), nullable=False),
        sa.Column("is_plausible", sa.Boolean(), nullable=False),
        sa.Column("target", sa.String(length=2048), nullable=False),
        sa.Column("sent_host", sa.String(length=255), nullable=True),
        sa.Column("forwarded_host", sa.String(length=255), nullable=True),
        sa.Column("forwarded_proto", sa.String(length=16), nullable=True),
        sa.Column("content_type", sa.String(length=100), nullable=True),
        sa.Column("signature", sa.String(length=128), nullable=True),
        sa.Column("idempotency_token", sa.String(length=128), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("body_length", sa.Integer(), nullable=False),
        sa.Column("account_sid", sa.String(length=34), nullable=True),
        sa.Column("twilio_sid", sa.String(length=64), nullable=True),
        sa.Column("status", sa.String(length=64), nullable=True),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("first_at", MOMENT, nullable=False),
        sa.Column("last_at", MOMENT, nullable=False),
        sa.Column("diagnosis", sa.Text(), nullable=True),
        sa.Column("setting", sa.String(length=64), nullable=True),
        sa.Column("is_proven", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("replayed_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refused_callback")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_refused_callback_fingerprint")),
    )
    op.create_index(
        op.f("ix_refused_callback_is_plausible_id"), "refused_callback", ["is_plausible", "id"]
    )
    op.create_index(op.f("ix_refused_callback_last_at"), "refused_callback", ["last_at"])


def _create_index(*columns: str, where: str) -> None:
    op.create_index(
        op.f(f"ix_message_{'_'.join(columns)}"),
        "message",
        list(columns),
        sqlite_where=sa.text(where),
        postgresql_where=sa.text(where),
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_message_final_at_status_source"), table_name="message")
    op.drop_index(op.f("ix_message_next_lookup_at"), table_name="message")
    op.drop_column("message", "next_lookup_at")
    op.drop_column("message", "account_sid")
    for column in ("is_repeated", "replayed_at", "signed_with", "account_sid"):
        op.drop_column("status_event", column)
    for table in ("chore", "heartbeat", "callback_tally", "refused_callback"):
        op.drop_table(table)
