"""Cursors of the event feed, and rollups for Insights in plain columns.

The old rollups are dropped: the worker counts the messages again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
OLD_TABLES = ("insight_cursor", "insight_change", "insight_tally", "insight_span")
OUTCOMES = ("waiting", "pending", "awaiting_receipt", "delivered", "failed", "cancelled", "unknown")
BINS = tuple(f"bin_{number}" for number in range(20))


def upgrade() -> None:
    for table in OLD_TABLES:
        op.drop_table(table)
    op.create_table(
        "feed_cursor",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_feed_cursor")),
    )
    _create_rollup("insight_outcome", [], OUTCOMES)
    _create_rollup("insight_failure", [sa.Column("error_code", sa.String(16))], ["messages"])
    _create_rollup("insight_spend", [sa.Column("currency", sa.String(3))], ["micros", "messages"])
    delivery_key = [
        sa.Column("name_of", sa.String(12)),
        sa.Column("name", sa.String(34)),
        sa.Column("first_second", sa.Integer(), autoincrement=False),
    ]
    _create_rollup("insight_delivery", delivery_key, BINS)
    op.create_table(
        "insight_coverage",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_insight_coverage")),
    )
    op.create_table(
        "insight_recount",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("quarter", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_insight_recount")),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    for table in ("outcome", "failure", "spend", "delivery", "coverage", "recount"):
        op.drop_table(f"insight_{table}")
    op.drop_table("feed_cursor")
    _create_old_tables()


def _create_rollup(table: str, key: list[sa.Column], sums: list[str] | tuple[str, ...]) -> None:
    names = ("owner_id", "bucket", "is_deleted", *(column.name for column in key))
    op.create_table(
        table,
        sa.Column("owner_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("bucket", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("is_deleted", sa.Boolean(), nullable=False),
        *key,
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in sums),
        sa.PrimaryKeyConstraint(*names, name=op.f(f"pk_{table}")),
        sqlite_with_rowid=False,
    )


def _create_old_tables() -> None:
    span_key = ("width", "day", "began")
    op.create_table(
        "insight_span",
        *_integers("width", big=("day", "began", "stale_at")),
        *_integers("window_hours", big=("made_at",)),
        sa.PrimaryKeyConstraint(*span_key, name=op.f("pk_insight_span")),
    )
    op.create_table(
        "insight_tally",
        *_integers("width", "owner_id", big=("day", "began")),
        sa.Column("outcomes", sa.Text(), nullable=False),
        sa.Column("sums", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(*span_key, "owner_id", name=op.f("pk_insight_tally")),
    )
    op.create_table(
        "insight_change",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("message_id", BIG_ID, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_insight_change")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "insight_cursor",
        sa.Column("name", sa.String(length=16), nullable=False),
        *_integers("version", big=("change_id", "seen_event_id", "seen_change_id", "seen_at")),
        sa.Column("event_id", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_insight_cursor")),
    )


def _integers(*names: str, big: tuple[str, ...]) -> list[sa.Column]:
    small = (sa.Column(name, sa.Integer(), autoincrement=False, nullable=False) for name in names)
    large = (sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=False) for name in big)
    return [*small, *large]
