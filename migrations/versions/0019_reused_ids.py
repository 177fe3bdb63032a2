"""No pending removal outlives its row on SQLite, which gives ids again; deleted users stay out."""

# ruff: noqa: S608 - nothing here comes from outside.
import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

# Of each table whose newest row may be deleted: the kinds of its pending removals.
KINDS = {"message": "'blank', 'delete', 'erase'", "refused_callback": "'refused'"}


def upgrade() -> None:
    op.add_column("user", sa.Column("shut_out_hash", sa.LargeBinary(), nullable=True))
    if op.get_bind().dialect.name != "sqlite":
        return
    for table, kinds in KINDS.items():
        pending = f"DELETE FROM pending_removal WHERE kind IN ({kinds}) AND row_id"
        op.execute(f"{pending} NOT IN (SELECT id FROM {table})")
        op.execute(
            f"CREATE TRIGGER {table}_forget AFTER DELETE ON {table} BEGIN {pending} = old.id; END"
        )


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for table in KINDS:
            op.execute(f"DROP TRIGGER {table}_forget")
    op.drop_column("user", "shut_out_hash")
