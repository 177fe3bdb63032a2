"""Texts that people typed, to others or for later, in which a number stands.

An erasure leaves them: they may be about the number of an office that was once written to.
"""

from typing import Any

from sqlalchemy import Select, String, cast, or_, select
from sqlalchemy.engine import Connection

from smstracker.database.engine import reading_connection
from smstracker.extensions import db
from smstracker.models import Batch, Message, SavedText
from smstracker.plurals import format_count
from smstracker.privacy.number_text import WrittenNumber

READ_TEXTS = 500


def count_typed_texts(number: str) -> int:
    """Count messages to others, batches and saved texts that hold a number; read without a lock."""
    with reading_connection(db.engine) as connection:
        return sum(_count(connection, query, number) for query in _select_texts(number))


def describe_typed_texts(count: int) -> str:
    """What to say of so many texts."""
    return (
        f"The number stands in {format_count(count, 'text')} that somebody typed: messages to "
        "others, batches or saved texts. An erasure leaves those."
    )


def _select_texts(number: str) -> tuple[Select[Any], ...]:
    pictures = cast(Message.media_urls, String)
    is_to_others = Message.recipient != number
    has_text = or_(Message.body != "", Message.reference.is_not(None), pictures != "[]")
    return (
        select(Message.body, Message.reference, pictures, Message.sender).where(
            is_to_others, has_text
        ),
        select(Batch.text, Batch.name),
        select(SavedText.text, SavedText.name),
    )


def _count(connection: Connection, query: Select[Any], number: str) -> int:
    written = WrittenNumber(number)
    rows = connection.execute(query.execution_options(yield_per=READ_TEXTS))
    return sum(any(map(written.matches, row)) for row in rows)
