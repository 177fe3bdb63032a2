"""The index of texts takes curly quotes for straight ones, and every space for a plain one.

Texts stay as they were typed; only rows with such a character are indexed anew.
"""

import unicodedata

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
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
APOSTROPHES = "\u2018\u2019\u201a\u201b\u02bc\u2032\u00b4`"
QUOTES = "\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb"
SPACES = "\u00a0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
TYPOGRAPHIC = APOSTROPHES + QUOTES + SPACES
PLAIN = "'" * len(APOSTROPHES) + '"' * len(QUOTES) + " " * len(SPACES)
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
