"""Every column that could hold a number or a text is declared, and erased if it holds one."""

from flask import Flask
from sqlalchemy import JSON, LargeBinary, String, select

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import RefusedCallback
from smstracker.privacy import erasure
from smstracker.privacy.personal_columns import HARMLESS, PERSONAL
from tests.refused_callbacks import refusal


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


def test_number_in_any_personal_column_of_a_refused_callback_is_erased(app: Flask) -> None:
    with app.app_context():
        for number, name in enumerate(sorted(PERSONAL["refused_callback"])):
            value = b"15558675310" if name == "body" else "15558675310"
            columns = {"body": b"", "twilio_sid": None, name: value}
            db.session.add(refusal(utcnow(), fingerprint=f"{number:064}", **columns))
        db.session.commit()
        erasure.erase("+15558675310", at_twilio=False, actor="carol@example.org")
        assert db.session.scalars(select(RefusedCallback)).all() == []


def test_tables_that_refer_to_messages_are_known_to_the_removal() -> None:
    referring = {
        table.name
        for table in db.metadata.sorted_tables
        for key in table.foreign_keys
        if key.column.table.name == "message"
    }
    assert referring == {"message", "message_text", "status_event"}
