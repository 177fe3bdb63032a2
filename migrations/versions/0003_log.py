"""The log's indexes, its search by text, and recipients without their numbers in a URL."""

# ruff: noqa: S608 - nothing here comes from outside.
import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)
INDEXES = {
    "status": (("created_at", "id", "status_at"), None),
    "error_code": (("created_at", "id"), "error_code IS NOT NULL"),
    "sender": (("created_at", "id"), "sender IS NOT NULL"),
    "messaging_service_sid": (("created_at", "id"), "messaging_service_sid IS NOT NULL"),
    "status_source": (("created_at", "id"), "status_source <> 'callback'"),
    "recipient_backwards": (("created_at", "id"), None),
}
# As the app folded them then: what it changes later is for another migration.
CAPITALS = "".join(
    capital
    for capital in map(chr, range(ord("A"), 0x0557))
    if capital.lower().upper() == capital != capital.lower()
    # SQLite's Unicode tables lack these.
    and capital not in "\u037f\u0528\u052a\u052c\u052e"
)
SMALL = "".join(map(str.lower, CAPITALS))
# The owner as three characters of private use: one gram (see models.text_search).
OWNER = (
    "char(57344 + {0}.owner_id / 40960000 % 6400, 57344 + {0}.owner_id / 6400 % 6400,"
    " 57344 + {0}.owner_id % 6400)"
)
SQLITE = (
    "CREATE VIRTUAL TABLE message_fts"
    " USING fts5(body, content='', tokenize='trigram', detail=none)",
    f"INSERT INTO message_fts (rowid, body) SELECT id, {OWNER.format('message')} || body"
    " FROM message",
    "CREATE TRIGGER message_text_insert AFTER INSERT ON message BEGIN"
    f" INSERT INTO message_fts (rowid, body) VALUES (new.id, {OWNER.format('new')} || new.body);"
    " END",
    "CREATE TRIGGER message_text_update AFTER UPDATE OF body ON message BEGIN"
    " INSERT INTO message_fts (message_fts, rowid, body)"
    f" VALUES ('delete', old.id, {OWNER.format('old')} || old.body);"
    f" INSERT INTO message_fts (rowid, body) VALUES (new.id, {OWNER.format('new')} || new.body);"
    " END",
)
POSTGRESQL = (
    "CREATE FUNCTION fold_text(body text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE"
    f" AS $$ SELECT translate(body, '{CAPITALS}', '{SMALL}') $$",
    "CREATE FUNCTION text_grams(owner_id integer, body text) RETURNS text[]"
    " LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$"
    " SELECT ARRAY['o:' || owner_id] || ARRAY(SELECT DISTINCT c[i] || c[i + 1] || c[i + 2]"
    " FROM (SELECT string_to_array(body, NULL) AS c) AS s,"
    " generate_series(1, cardinality(c) - 2) AS i) $$",
    "INSERT INTO message_text (message_id, owner_id, body)"
    " SELECT id, owner_id, fold_text(body) FROM message",
    "CREATE INDEX ix_message_text_grams ON message_text USING gin (text_grams(owner_id, body))",
    "CREATE FUNCTION keep_message_text() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " INSERT INTO message_text (message_id, owner_id, body)"
    " VALUES (new.id, new.owner_id, fold_text(new.body))"
    " ON CONFLICT (message_id) DO UPDATE SET body = excluded.body; RETURN NULL; END $$",
    "CREATE TRIGGER keep_message_text AFTER INSERT OR UPDATE OF body ON message"
    " FOR EACH ROW EXECUTE FUNCTION keep_message_text()",
)


def upgrade() -> None:
    op.create_table(
        "recipient_search",
        sa.Column("handle", sa.String(length=32), nullable=False),
        sa.Column("owner_id", sa.Integer(), nullable=False),
        sa.Column("digits", sa.String(length=16), nullable=False),
        sa.Column("is_full", sa.Boolean(), nullable=False),
        sa.Column("used_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["user.id"], name=op.f("fk_recipient_search_owner_id_user")
        ),
        sa.PrimaryKeyConstraint("handle", name=op.f("pk_recipient_search")),
        sa.UniqueConstraint(
            "owner_id",
            "digits",
            "is_full",
            name=op.f("uq_recipient_search_owner_id_digits_is_full"),
        ),
    )
    op.add_column(
        "message",
        sa.Column("recipient_backwards", sa.String(length=16), nullable=False, server_default=""),
    )
    _fill_recipients()
    for column, (rest, where) in INDEXES.items():
        _create_index(["owner_id", column, *rest], where)
    op.drop_index(op.f("ix_message_owner_id_status_status_at"), table_name="message")
    op.create_table(
        "message_text",
        sa.Column("message_id", BIG_ID, nullable=False),
        sa.Column("owner_id", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["message_id"], ["message.id"], name=op.f("fk_message_text_message_id_message")
        ),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_message_text")),
    )
    for statement in SQLITE if _is_sqlite() else POSTGRESQL:
        op.get_bind().exec_driver_sql(statement)


def _is_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"


def _fill_recipients() -> None:
    reverse = "reverse(substr(recipient, 2))"
    if _is_sqlite():
        raw = op.get_bind().connection.dbapi_connection
        raw.create_function("backwards", 1, lambda number: number[:0:-1])
        reverse = "backwards(recipient)"
    op.execute(f"UPDATE message SET recipient_backwards = {reverse}")


def _create_index(columns: list[str], where: str | None) -> None:
    condition = sa.text(where) if where else None
    op.create_index(
        op.f(f"ix_message_{'_'.join(columns)}"),
        "message",
        columns,
        sqlite_where=condition,
        postgresql_where=condition,
    )


def downgrade() -> None:
    if _is_sqlite():
        op.execute("DROP TRIGGER message_text_update")
        op.execute("DROP TRIGGER message_text_insert")
        op.execute("DROP TABLE message_fts")
    else:
        op.execute("DROP TRIGGER keep_message_text ON message")
        op.execute("DROP FUNCTION keep_message_text")
        op.execute("DROP INDEX ix_message_text_grams")
    op.drop_table("message_text")
    if not _is_sqlite():
        op.execute("DROP FUNCTION text_grams")
        op.execute("DROP FUNCTION fold_text")
    op.create_index(
        op.f("ix_message_owner_id_status_status_at"), "message", ["owner_id", "status", "status_at"]
    )
    for column, (rest, _where) in INDEXES.items():
        name = "_".join(["owner_id", column, *rest])
        op.drop_index(op.f(f"ix_message_{name}"), table_name="message")
    op.drop_column("message", "recipient_backwards")
    op.drop_table("recipient_search")
