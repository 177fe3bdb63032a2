"""Search in the texts of messages, by an index of trigrams.

On SQLite it is an FTS5 table with the tokenizer trigram, on PostgreSQL the table `message_text`
with a GIN index. Triggers maintain both with `fold_text`; no extension is needed.
"""

from sqlalchemy import BigInteger, Join, Text, cast, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import aliased
from sqlalchemy.sql import ColumnElement, FromClause, Select, bindparam, column, literal_column
from sqlalchemy.sql.compiler import SQLCompiler

from smstracker.database.case_folding import fold_text
from smstracker.extensions import db, is_sqlite
from smstracker.models.message_text import message_text
from smstracker.models.messages import Message

MIN_TERM_LENGTH = 3


class _OrderedJoin(Join):
    """A join in whose order SQLite reads the tables, whatever its statistics.

    Without fresh ones it would check every message of an owner for a rare text.
    """

    inherit_cache = True


@compiles(_OrderedJoin, "sqlite")
def _compile_as_cross_join(join: _OrderedJoin, compiler: SQLCompiler, **kw: object) -> str:
    plain_join = Join(join.left, join.right, join.onclause)
    return compiler.process(plain_join, **kw).replace(" JOIN ", " CROSS JOIN ", 1)


def select_rows(keys: FromClause) -> tuple[type[Message], FromClause]:
    """The messages with the `id` of each row of `keys`, and the join of the two.

    LATERAL makes PostgreSQL look up one at a time; for a plain join it may read the whole table.
    """
    if is_sqlite():
        return Message, _OrderedJoin(keys, Message.__table__, Message.id == keys.c.id)
    row_query = select(Message).where(Message.id == keys.c.id).limit(1).lateral()
    return aliased(Message, row_query), keys.join(row_query, literal_column("true"))


def contains(term: str, row: type[Message]) -> ColumnElement[bool]:
    """The condition that the text of a message contains `term`, both folded."""
    folded = fold_text(term)
    if is_sqlite():
        return func.instr(func.fold_text(row.body), folded) > 0
    position = select(func.strpos(message_text.c.body, folded))
    return position.where(message_text.c.message_id == row.id).scalar_subquery() > 0


def select_by_text(owner_id: int, term: str) -> type[Message]:
    """The messages whose text contains `term`, by the index; a few may be of another owner."""
    hits, folded = _hits(owner_id, term), fold_text(term)
    if not is_sqlite():  # checked before the rows are looked up
        hits = hits.where(func.strpos(message_text.c.body, folded) > 0)
    row, joined = select_rows(hits.cte("hits"))
    query = select(row).select_from(joined)
    matches = query.where(contains(term, row)) if is_sqlite() else query
    return aliased(Message, matches.subquery())


def is_frequent(owner_id: int, term: str, limit: int) -> bool:
    """Whether the index has at least `limit` of an owner's messages for `term`."""
    hits = _hits(owner_id, term).limit(limit).subquery()
    return (db.session.scalar(select(func.count()).select_from(hits)) or 0) >= limit


def force_index() -> None:
    """Make PostgreSQL use the index for the rest of the transaction; no-op on SQLite.

    It estimates that the trigrams of every text are as quickly computed anew, which exceeds the
    statement timeout. It does the same for a page when work_mem cannot hold each hit.
    """
    if not is_sqlite():
        db.session.execute(text("SET LOCAL enable_seqscan = off"))
        db.session.execute(text("SET LOCAL work_mem = '64MB'"))


def _hits(owner_id: int, term: str) -> Select[tuple[int]]:
    """Select the `id` of an owner's messages that contain every trigram of `term`."""
    folded = fold_text(term)
    grams = sorted({folded[at : at + 3] for at in range(len(folded) - 2)})
    if is_sqlite():
        quoted = [
            f'"{gram.replace(chr(34), chr(34) * 2)}"' for gram in [owner_gram(owner_id), *grams]
        ]
        matches = text("SELECT rowid AS id FROM message_fts WHERE message_fts MATCH :grams")
        ids = matches.bindparams(bindparam("grams", " AND ".join(quoted)))
        return select(ids.columns(column("id", BigInteger)).subquery().c.id)
    term_grams = cast([f"o:{owner_id}", *grams], ARRAY(Text))
    stored_grams: ColumnElement[list[str]] = func.text_grams(
        message_text.c.owner_id, message_text.c.body, type_=ARRAY(Text)
    )
    return select(message_text.c.message_id.label("id")).where(stored_grams.contains(term_grams))


def owner_gram(owner_id: int) -> str:
    """Three private-use characters that stand for the owner in the index of SQLite."""
    return "".join(chr(0xE000 + owner_id // 6400**place % 6400) for place in (2, 1, 0))
