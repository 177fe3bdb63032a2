"""The outcomes of a tally apart from its sums, which a page seldom wants by half hours.

What was counted ahead is dropped in both directions: the worker counts it again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _replace(["counts"], ["outcomes", "sums"])


def downgrade() -> None:
    _replace(["outcomes", "sums"], ["counts"])


def _replace(old: list[str], new: list[str]) -> None:
    op.execute("DELETE FROM insight_tally")
    op.execute("DELETE FROM insight_span")
    with op.batch_alter_table("insight_tally") as table:
        for name in new:
            table.add_column(sa.Column(name, sa.Text(), nullable=False))
        for name in old:
            table.drop_column(name)
