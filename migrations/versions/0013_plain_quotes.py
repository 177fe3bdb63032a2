"""The index of texts takes curly quotes for straight ones, and every space for a plain one.

Texts stay as they were typed; only rows with such a character are indexed anew.
"""

import unicodedata

import sqlalchemy as sa
from alembic import op

from smstracker.database.case_folding import CAPITALS, PLAIN, SMALL, TYPOGRAPHIC

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# As in 0003.
OWNER = (
    "char(57344 + owner_id / 40960000 % 6400, 57344 + owner_id / 6400 % 6400,"
    " 57344 + owner_id % 6400)"
)
AFFECTED = "FROM message WHERE plain(nfc(body)) <> nfc(body)"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _index_sqlite("nfc(body)", "plain(nfc(body))")
    else:
        _index_postgresql(CAPITALS + TYPOGRAPHIC, SMALL + PLAIN)


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _index_sqlite("plain(nfc(body))", "nfc(body)")
    else:
        _index_postgresql(CAPITALS, SMALL)


def _index_postgresql(letters: str, folded: str) -> None:
    # As in 0009: an old version, or another encoding, knows no NFC.
    composes = sa.text(
        "SELECT current_setting('server_encoding') = 'UTF8'"
        " AND current_setting('server_version_num')::integer >= 130000"
    )
    text = "normalize(body, NFC)" if op.get_bind().scalar(composes) else "body"
    folded = folded.replace("'", "''")
    op.get_bind().exec_driver_sql(
        "CREATE OR REPLACE FUNCTION fold_text(body text) RETURNS text"
        " LANGUAGE sql IMMUTABLE PARALLEL SAFE"
        f" AS $$ SELECT translate({text}, '{letters}', '{folded}') $$"
    )
    op.get_bind().exec_driver_sql(
        "UPDATE message_text SET body = fold_text(message.body) FROM message"
        " WHERE message.id = message_text.message_id"
        " AND message_text.body <> fold_text(message.body)"
    )


def _index_sqlite(before: str, after: str) -> None:
    """The index has no texts of its own: what was put in has to be named to be taken out."""
    connection = op.get_bind()
    raw, table = connection.connection.dbapi_connection, str.maketrans(TYPOGRAPHIC, PLAIN)
    raw.create_function("nfc", 1, lambda body: unicodedata.normalize("NFC", body))
    raw.create_function("plain", 1, lambda body: body.translate(table))
    for statement in (
        "INSERT INTO message_fts (message_fts, rowid, body)"
        f" SELECT 'delete', id, {OWNER} || {before} {AFFECTED}",
        f"INSERT INTO message_fts (rowid, body) SELECT id, {OWNER} || {after} {AFFECTED}",
    ):
        connection.exec_driver_sql(statement)
