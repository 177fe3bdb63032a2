"""An index by which the messages of a batch are counted, and one by which they are listed."""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

LISTED = ("owner_id", "batch_id", "created_at", "id")
COUNTED = ("owner_id", "batch_id", "status", "error_code", "status_at")
BEFORE = (*LISTED, "status", "status_at")


def upgrade() -> None:
    _create(COUNTED)
    _drop(BEFORE)
    _create(LISTED)


def downgrade() -> None:
    _drop(LISTED)
    _create(BEFORE)
    _drop(COUNTED)


def _create(columns: tuple[str, ...]) -> None:
    where = sa.text("batch_id IS NOT NULL")
    name = f"ix_message_{'_'.join(columns)}"
    op.create_index(name, "message", [*columns], sqlite_where=where, postgresql_where=where)


def _drop(columns: tuple[str, ...]) -> None:
    op.drop_index(f"ix_message_{'_'.join(columns)}", "message")
