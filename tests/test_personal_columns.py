"""Every column that could hold a number or a text is declared, and erased if it holds one."""

from sqlalchemy import JSON, LargeBinary, String

from smstracker.extensions import db
from smstracker.privacy.personal_columns import HARMLESS, PERSONAL


def test_every_column_with_text_is_declared_personal_or_harmless() -> None:
    stored = {
        (table.name, column.name)
        for table in db.metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, String | LargeBinary | JSON)
    }
    declared = [
        (table, column)
        for declaration in (PERSONAL, HARMLESS)
        for table, columns in declaration.items()
        for column in columns
    ]
    assert sorted(declared) == sorted(stored)


def test_tables_that_refer_to_messages_are_known_to_the_removal() -> None:
    referring = {
        table.name
        for table in db.metadata.sorted_tables
        for key in table.foreign_keys
        if key.column.table.name == "message"
    }
    assert referring == {"message", "message_text", "status_event"}
