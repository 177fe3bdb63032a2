"""SQLite never gives an id again, as PostgreSQL never does.

Else the answer of Twilio about a message that was deleted meanwhile would be stored on the newest
one. Only the text of each table changes: nothing is copied, so it takes no time for any number of
rows. (https://sqlite.org/lang_altertable.html, "Making Other Kinds Of Table Schema Changes")
A defensive SQLite, as that of macOS, lets nobody change the text: there the tables are copied.
"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

ONCE, AGAIN = "PRIMARY KEY (id AUTOINCREMENT)", "PRIMARY KEY (id)"
HAS_TEXT = "FROM sqlite_schema WHERE type = 'table' AND instr(sql, :text)"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _replace(AGAIN, ONCE)
        _remember_ids()


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DELETE FROM sqlite_sequence")
        _replace(ONCE, AGAIN)


def _replace(old: str, new: str) -> None:
    # Makes SQLite's table of the ids that were given, and tells other processes that tables change.
    op.execute("CREATE TABLE id_maker (id INTEGER PRIMARY KEY AUTOINCREMENT)")
    op.execute("DROP TABLE id_maker")
    op.execute("PRAGMA writable_schema = ON")
    change = sa.text(
        "UPDATE sqlite_schema SET sql = replace(sql, :text, :new)"
        " WHERE type = 'table' AND instr(sql, :text)"
    )
    try:
        op.get_bind().execute(change, {"text": old, "new": new})
    except sa.exc.DatabaseError:  # the text is protected
        _copy_tables(old, new)
    finally:
        op.execute("PRAGMA writable_schema = RESET")


def _copy_tables(old: str, new: str) -> None:
    """Copy each table into one with the new text; no row that refers to it is touched."""
    connection = op.get_bind()
    tables = connection.execute(sa.text(f"SELECT name, sql {HAS_TEXT}"), {"text": old}).all()
    of_tables = sa.text(
        "SELECT sql FROM sqlite_schema WHERE type IN ('index', 'trigger') AND sql IS NOT NULL"  # noqa: S608 - names of tables
        f" AND tbl_name IN (SELECT name {HAS_TEXT})"
    )
    indexes_and_triggers = connection.scalars(of_tables, {"text": old}).all()
    _set_references(connection, "OFF")
    for name, text in tables:
        op.execute(f'ALTER TABLE "{name}" RENAME TO former_table')
        connection.exec_driver_sql(text.replace(old, new))
        op.execute(f'INSERT INTO "{name}" SELECT * FROM former_table')  # noqa: S608 - names of tables
        op.execute("DROP TABLE former_table")
    for text in indexes_and_triggers:
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


def _remember_ids() -> None:
    """Store the newest ids as given. SQLite does so at the next insert, before which the newest
    row may be deleted.
    """
    connection = op.get_bind()
    query = sa.text(f"SELECT name {HAS_TEXT}")
    for name in connection.scalars(query, {"text": ONCE}).all():
        newest = f'(SELECT coalesce(max(id), 0) FROM "{name}")'  # noqa: S608 - names of tables
        op.execute(
            f"INSERT INTO sqlite_sequence SELECT '{name}', {newest}"  # noqa: S608 - names of tables
            f" WHERE NOT EXISTS (SELECT * FROM sqlite_sequence WHERE name = '{name}')"
        )
