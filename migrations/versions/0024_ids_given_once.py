"""SQLite never gives an id again, as PostgreSQL never does.

Else the answer of Twilio about a message that was deleted meanwhile would be stored on the newest
one. Only the text of each table changes: nothing is copied, so it takes no time for any number of
rows. (https://sqlite.org/lang_altertable.html, "Making Other Kinds Of Table Schema Changes")
"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

ONCE, AGAIN = "PRIMARY KEY (id AUTOINCREMENT)", "PRIMARY KEY (id)"


def upgrade() -> None:
    _replace(AGAIN, ONCE)


def downgrade() -> None:
    _replace(ONCE, AGAIN)


def _replace(old: str, new: str) -> None:
    connection = op.get_bind()
    if connection.dialect.name != "sqlite":
        return
    # Makes SQLite's table of the ids that were given, and tells other processes that tables change.
    op.execute("CREATE TABLE id_maker (id INTEGER PRIMARY KEY AUTOINCREMENT)")
    op.execute("DROP TABLE id_maker")
    op.execute("PRAGMA writable_schema = ON")
    change = sa.text(
        "UPDATE sqlite_schema SET sql = replace(sql, :old, :new)"
        " WHERE type = 'table' AND instr(sql, :old)"
    )
    connection.execute(change, {"old": old, "new": new})
    op.execute("PRAGMA writable_schema = RESET")
