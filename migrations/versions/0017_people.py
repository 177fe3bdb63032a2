"""The audit log, the settings of users, what is known of their sessions, and deleted users."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "audit_entry",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("actor", sa.String(length=254), nullable=False),
        sa.Column("subject", sa.String(length=254), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("hour_key", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entry")),
        sa.UniqueConstraint("hour_key", name=op.f("uq_audit_entry_hour_key")),
    )
    op.create_index(op.f("ix_audit_entry_at"), "audit_entry", ["at"])
    op.create_index(op.f("ix_audit_entry_action_id"), "audit_entry", ["action", "id"])
    for column in (
        sa.Column("deleted_at", MOMENT, nullable=True),
        sa.Column("erases_messages", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("time_zone", sa.String(length=64), nullable=True),
        sa.Column("appearance", sa.String(length=8), nullable=False, server_default="system"),
        sa.Column("has_shortcuts", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("shows_exact_times", sa.Boolean(), nullable=False, server_default=sa.false()),
    ):
        op.add_column("user", column)
    op.add_column("user_session", sa.Column("browser_name", sa.String(length=64), nullable=True))
    op.add_column("user_session", sa.Column("used_at", MOMENT, nullable=True))


def downgrade() -> None:
    op.drop_column("user_session", "used_at")
    op.drop_column("user_session", "browser_name")
    for name in (
        *("shows_exact_times", "has_shortcuts", "appearance", "time_zone"),
        *("erases_messages", "deleted_at"),
    ):
        op.drop_column("user", name)
    op.drop_table("audit_entry")
