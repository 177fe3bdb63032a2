"""Plain names for the jobs of the worker and for their table, which is small and made anew.

The worker of the version before waits from here on, until it is restarted.
"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

OLD_TABLE, TABLE = "chore", "scheduled_job"
RENAMED = (("upkeep", "maintenance"), ("explaining", "diagnosis"), ("counting", "rollup"))


def upgrade() -> None:
    _move_rows(OLD_TABLE, TABLE)
    for old, new in RENAMED:
        _rename(old, new)


def downgrade() -> None:
    for old, new in RENAMED:
        _rename(new, old)
    _move_rows(TABLE, OLD_TABLE)


def _rename(old: str, new: str) -> None:
    statement = sa.text(f"UPDATE {TABLE} SET name = :new WHERE name = :old")  # noqa: S608 - constant
    op.get_bind().execute(statement, {"old": old, "new": new})


def _move_rows(source: str, target: str) -> None:
    columns = (
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failure", sa.String(length=64), nullable=True),
    )
    op.create_table(target, *columns, sa.PrimaryKeyConstraint("name", name=op.f(f"pk_{target}")))
    names = ", ".join(column.name for column in columns)
    op.execute(f"INSERT INTO {target} ({names}) SELECT {names} FROM {source}")  # noqa: S608 - constants
    op.drop_table(source)
