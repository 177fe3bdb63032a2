"""Finding messages by what their text contains, by an index of every three characters.

SQLite has one (FTS5, tokenizer trigram); on PostgreSQL it is the table `message_text` with a GIN
index. Triggers keep both, folded as `fold_text` does it; no extension is needed.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Integer,
    Select,
    Subquery,
    Table,
    Text,
    bindparam,
    cast,
    column,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import aliased
from sqlalchemy.sql import ColumnElement, FromClause

from smstracker.database.case_folding import fold_text
from smstracker.extensions import db
from smstracker.models.messages import BigId, Message

SHORTEST = 3
message_text = Table(
    "message_text",
    Message.metadata,
    Column("message_id", BigId, ForeignKey("message.id"), primary_key=True),
    Column("owner_id", Integer, nullable=False),
    Column("body", Text, nullable=False),
)


def select_rows(keys: FromClause) -> tuple[type[Message], FromClause]:
    """Messages by the `id` of each row of `keys`, and the two joined.

    PostgreSQL is made to look up one at a time: a plain join tempts it to read the whole table.
    """
    if _is_sqlite():
        return Message, keys.join(Message.__table__, Message.id == keys.c.id)
    one = select(Message).where(Message.id == keys.c.id).limit(1).lateral()
    return aliased(Message, one), keys.join(one, literal_column("true"))


def contains(term: str, row: object) -> ColumnElement[bool]:
    """The condition that the text of a message holds `term`, both folded."""
    folded = fold_text(term)
    if _is_sqlite():
        return func.instr(func.fold_text(row.body), folded) > 0  # type: ignore[attr-defined]
    of_row = select(func.strpos(message_text.c.body, folded))
    return of_row.where(message_text.c.message_id == row.id).scalar_subquery() > 0  # type: ignore[attr-defined]


def matching(owner_id: int, term: str) -> Subquery:
    """The messages whose text holds `term`, by the index; few are not of the owner."""
    hits, folded = _hits(owner_id, term), fold_text(term)
    if not _is_sqlite():  # here and not of each row, which would be looked up for nothing
        hits = hits.where(func.strpos(message_text.c.body, folded) > 0)
    row, joined = select_rows(hits.cte("hits"))
    found = select(row).select_from(joined)
    return (found.where(contains(term, row)) if _is_sqlite() else found).subquery()


def is_frequent(owner_id: int, term: str, many: int) -> bool:
    """Whether the index has at least `many` of an owner's messages for `term`."""
    some = _hits(owner_id, term).limit(many).subquery()
    return (db.session.scalar(select(func.count()).select_from(some)) or 0) >= many


def ask_index() -> None:
    """For the rest of the transaction: the index is asked, however many it may have.

    PostgreSQL believes that it is as quick to make the grams of every text anew, which takes
    longer than any statement may. It has to if it cannot note each hit apart, for want of memory.
    """
    if not _is_sqlite():
        db.session.execute(text("SET LOCAL enable_seqscan = off"))
        db.session.execute(text("SET LOCAL work_mem = '64MB'"))


def _hits(owner_id: int, term: str) -> Select[tuple[int]]:
    """The `id` of an owner's messages that hold every three characters of `term`."""
    folded = fold_text(term)
    grams = sorted({folded[at : at + 3] for at in range(len(folded) - 2)})
    if _is_sqlite():
        quoted = [
            f'"{gram.replace(chr(34), chr(34) * 2)}"' for gram in [owner_gram(owner_id), *grams]
        ]
        found = text("SELECT rowid AS id FROM message_fts WHERE message_fts MATCH :grams")
        ids = found.bindparams(bindparam("grams", " AND ".join(quoted)))
        return select(ids.columns(column("id", BigInteger)).subquery().c.id)
    wanted = cast([f"o:{owner_id}", *grams], ARRAY(Text))
    made: ColumnElement[list[str]] = func.text_grams(
        message_text.c.owner_id, message_text.c.body, type_=ARRAY(Text)
    )
    return select(message_text.c.message_id.label("id")).where(made.contains(wanted))


def owner_gram(owner_id: int) -> str:
    """Three characters of private use, which stand for the owner in the index of SQLite."""
    return "".join(chr(0xE000 + owner_id // 6400**place % 6400) for place in (2, 1, 0))


def _is_sqlite() -> bool:
    return db.engine.dialect.name == "sqlite"
