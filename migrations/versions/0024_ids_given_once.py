"""SQLite never gives an id again, as PostgreSQL never does.

Else the answer of Twilio about a message that was deleted meanwhile would be stored on the newest
one. Only the text of each table changes: nothing is copied, so it takes no time for any number of
rows. (https://sqlite.org/lang_altertable.html, "Making Other Kinds Of Table Schema Changes")
A defensive SQLite, as that of macOS, lets nobody change the text: there the tables are copied.
"""

import re

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

# As SQLAlchemy writes it, and other programs that have loaded a dump: after the columns or in one.
ID = r'["`\[]?\bid\b["`\]]?'
AFTER_COLUMNS = rf"PRIMARY\s+KEY\s*\(\s*{ID}(?=(?:\s+\w+)?\s*\))"
IN_COLUMN = rf"{ID}\s+INTEGER(?:\s+NOT\s+NULL)?\s+PRIMARY\s+KEY(?=(?:\s+\w+)?\s*[),])"
AGAIN = re.compile(rf"({AFTER_COLUMNS}|{IN_COLUMN})(?!\s+AUTO)(?:\s+ASC)?", re.IGNORECASE)
ONCE = re.compile(rf"({AFTER_COLUMNS}|{IN_COLUMN})\s+AUTOINCREMENT", re.IGNORECASE)


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for name in _replace(AGAIN, r"\1 AUTOINCREMENT"):
            _remember_newest_id(name)


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DELETE FROM sqlite_sequence")
        _replace(ONCE, r"\1")


def _replace(old: re.Pattern[str], new: str) -> list[str]:
    """Change the text of tables; return their names."""
    # Makes SQLite's table of the ids that were given, and tells other processes that tables change.
    op.execute("CREATE TABLE id_maker (id INTEGER PRIMARY KEY AUTOINCREMENT)")
    op.execute("DROP TABLE id_maker")
    tables = sa.text("SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND sql IS NOT NULL")
    rows = op.get_bind().execute(tables).all()
    texts = {name: old.sub(new, text) for name, text in rows if old.search(text)}
    op.execute("PRAGMA writable_schema = ON")
    try:
        change = sa.text(
            "UPDATE sqlite_schema SET sql = :text WHERE type = 'table' AND name = :name"
        )
        for name, text in texts.items():
            op.get_bind().execute(change, {"name": name, "text": text})
    except sa.exc.DatabaseError:  # the text is protected
        _copy_tables(texts)
    finally:
        op.execute("PRAGMA writable_schema = RESET")
    return list(texts)


def _copy_tables(texts: dict[str, str]) -> None:
    """Copy each table into one with the new text; no row that refers to it is touched."""
    connection = op.get_bind()
    of_tables = sa.text(
        "SELECT tbl_name, sql FROM sqlite_schema"
        " WHERE type IN ('index', 'trigger') AND sql IS NOT NULL"
    )
    indexes_and_triggers = connection.execute(of_tables).all()
    _set_references(connection, "OFF")
    for name, text in texts.items():
        op.execute(f'ALTER TABLE "{name}" RENAME TO former_table')
        connection.exec_driver_sql(text)
        op.execute(f'INSERT INTO "{name}" SELECT * FROM former_table')  # noqa: S608 - a table's name
        op.execute("DROP TABLE former_table")
    for name, text in indexes_and_triggers:
        if name in texts:
            connection.exec_driver_sql(text)
    _set_references(connection, "ON")


def _set_references(connection: sa.Connection, state: str) -> None:
    """Let SQLite follow references between tables or not, which no transaction may change."""
    is_legacy = "OFF" if state == "ON" else "ON"
    for statement in (
        "COMMIT",  # not by its method: the turn between the processes is kept
        f"PRAGMA foreign_keys = {state}",
        f"PRAGMA legacy_alter_table = {is_legacy}",
        "BEGIN IMMEDIATE",
    ):
        connection.exec_driver_sql(statement)


def _remember_newest_id(name: str) -> None:
    """Store the newest id as given. SQLite does so at the next insert, before which the newest row
    may be deleted.
    """
    newest = f'(SELECT coalesce(max(id), 0) FROM "{name}")'  # noqa: S608 - a table's name
    op.execute(
        f"INSERT INTO sqlite_sequence SELECT '{name}', {newest}"  # noqa: S608 - a table's name
        f" WHERE NOT EXISTS (SELECT * FROM sqlite_sequence WHERE name = '{name}')"
    )
