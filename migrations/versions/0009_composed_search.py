"""The index of texts folds accents: what is typed in parts is found by the composed form.

Texts stay as they were typed; only rows whose text is not composed (Unicode NFC) are indexed anew.
"""

# ruff: noqa: S608 - nothing here comes from outside.
import unicodedata

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# As in 0003.
CAPITALS = "".join(
    capital
    for capital in map(chr, range(ord("A"), 0x0557))
    if capital.lower().upper() == capital != capital.lower()
    # SQLite's Unicode tables lack these.
    and capital not in "\u037f\u0528\u052a\u052c\u052e"
)
SMALL = "".join(map(str.lower, CAPITALS))
OWNER = (
    "char(57344 + {0}.owner_id / 40960000 % 6400, 57344 + {0}.owner_id / 6400 % 6400,"
    " 57344 + {0}.owner_id % 6400)"
)
REINDEXED = (
    "UPDATE message_text SET body = fold_text(message.body) FROM message"
    " WHERE message.id = message_text.message_id AND message.body IS NOT NFC NORMALIZED"
)


def upgrade() -> None:
    if _is_sqlite():
        _index_sqlite("{0}.body", "nfc({0}.body)", "fold_text({0}.body)")
    elif _can_compose():
        _index_postgresql("normalize(body, NFC)")


def downgrade() -> None:
    if _is_sqlite():
        _index_sqlite("nfc({0}.body)", "{0}.body", "{0}.body")
    elif _can_compose():
        _index_postgresql("body")


def _is_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"


def _can_compose() -> bool:
    """Whether PostgreSQL knows NFC: not before 13, and not in another encoding than UTF-8."""
    settings = sa.text(
        "SELECT current_setting('server_encoding') = 'UTF8'"
        " AND current_setting('server_version_num')::integer >= 130000"
    )
    return bool(op.get_bind().scalar(settings))


def _index_postgresql(text: str) -> None:
    op.get_bind().exec_driver_sql(
        "CREATE OR REPLACE FUNCTION fold_text(body text) RETURNS text"
        " LANGUAGE sql IMMUTABLE PARALLEL SAFE"
        f" AS $$ SELECT translate({text}, '{CAPITALS}', '{SMALL}') $$"
    )
    op.get_bind().exec_driver_sql(REINDEXED)


def _index_sqlite(old: str, new: str, of_trigger: str) -> None:
    """The index has no texts of its own: what was put in has to be named to be taken out."""
    connection = op.get_bind()
    raw = connection.connection.dbapi_connection
    raw.create_function("nfc", 1, lambda body: unicodedata.normalize("NFC", body))
    owner, affected = OWNER.format("message"), "FROM message WHERE nfc(body) <> body"
    before, after = old.format("message"), new.format("message")
    into = f"INSERT INTO message_fts (rowid, body) VALUES (new.id, {OWNER.format('new')}"
    into = f"{into} || {of_trigger.format('new')});"
    for statement in (
        "DROP TRIGGER message_text_insert",
        "DROP TRIGGER message_text_update",
        "INSERT INTO message_fts (message_fts, rowid, body)"
        f" SELECT 'delete', id, {owner} || {before} {affected}",
        f"INSERT INTO message_fts (rowid, body) SELECT id, {owner} || {after} {affected}",
        f"CREATE TRIGGER message_text_insert AFTER INSERT ON message BEGIN {into} END",
        "CREATE TRIGGER message_text_update AFTER UPDATE OF body ON message BEGIN"
        " INSERT INTO message_fts (message_fts, rowid, body) VALUES"
        f" ('delete', old.id, {OWNER.format('old')} || {of_trigger.format('old')}); {into} END",
    ):
        connection.exec_driver_sql(statement)
