"""Insights are counted by whole days, and outcomes by the states that are shown.

Counts stay. The cursor and the coverage have a row from the start.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

CURSOR = """
    INSERT INTO feed_cursor (name, position, version)
    SELECT 'insights', (SELECT coalesce(max(id), 0) FROM status_event), 0
    WHERE NOT EXISTS (SELECT 1 FROM feed_cursor WHERE name = 'insights')
"""
COVERAGE = """
    INSERT INTO insight_coverage (name, since, until)
    SELECT 'insights', 0, 0 WHERE NOT EXISTS (SELECT 1 FROM insight_coverage)
"""


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        # Waits for the events of open transactions, whose ids are below the cursor.
        op.execute("LOCK TABLE status_event IN SHARE MODE")
    op.execute(CURSOR)
    op.execute(COVERAGE)
    # The quarters of an unfinished day are counted again with it.
    op.execute("UPDATE insight_coverage SET until = until - until % 86400")
    op.execute("ALTER TABLE insight_recount RENAME COLUMN quarter TO day")
    op.execute("UPDATE insight_recount SET day = day - day % 86400")
    op.execute("ALTER TABLE insight_outcome RENAME COLUMN awaiting_receipt TO no_receipt")
    op.execute("UPDATE insight_outcome SET unknown = unknown + pending WHERE pending > 0")
    op.drop_column("insight_outcome", "pending")


def downgrade() -> None:
    """Have the worker count the messages again; deleted ones stay counted."""
    pending = sa.Column("pending", sa.BigInteger(), server_default="0", nullable=False)
    op.add_column("insight_outcome", pending)
    op.execute("ALTER TABLE insight_outcome RENAME COLUMN no_receipt TO awaiting_receipt")
    op.execute("ALTER TABLE insight_recount RENAME COLUMN day TO quarter")
    op.execute("DELETE FROM insight_recount")
    op.execute("DELETE FROM insight_coverage")
    op.execute("DELETE FROM feed_cursor WHERE name = 'insights'")
