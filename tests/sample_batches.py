"""Sample batches of one user in each state, for pictures and for axe."""

import uuid
from datetime import datetime, timedelta

from sqlalchemy import Connection, insert

from smstracker.models import Batch, BatchFile, BatchRow, Message, SavedText
from smstracker.models.messages import reverse_digits

TEXT = "Dear ((name)), the clinic is closed on ((day)). Please call us for another time."
SENDER = "+15005550006"
# What the messages of the running batch have come to.
OUTCOMES = (
    *[("delivered", None)] * 9,
    *[("undelivered", "30003")] * 2,
    *[("undelivered", "30006"), ("refused", "21610"), ("unknown", None), ("sent", None)],
    *[("outbox", None)] * 3,
)
REFUSED = "\n".join(
    [
        "Several columns may hold the numbers to send to: “Phone”, “Mobile”. Choose one.",
        "No column is called “day”, which the text has. Did you mean ((date))?",
        "The columns are: “Name”, “Phone”, “Mobile”, “date”.",
    ]
)
READY_REPORT = {
    "warnings": {"opted out": 1, "landline": 2, "duplicate": 1, "costs more": 3},
    "costly": {"✓": 2, "ë": 1},
    "people": 28,
    "warning_rows": {"opted out": [9], "landline": [3, 12], "duplicate": [4], "costs more": [5, 6]},
    "heading_row": 3,
    "encoding": "cp1252",
    "letter_rows": [5, 6],
    "segments_by_country": {"+1": 30},
    "notes": ["The headings are in row 3. What is above them is left out."],
}


def batch_id(key: str) -> uuid.UUID:
    """The public id of the sample batch with this key."""
    return uuid.uuid5(uuid.NAMESPACE_OID, f"batch {key}")


def insert_batches(connection: Connection, owner_id: int, now: datetime) -> None:
    for key, values in {
        "checking": {"state": "checking", "row_count": 41_500, "good_count": 0},
        "refused": {
            "state": "refused",
            "problem": REFUSED,
            "choices": ["Phone", "Mobile", "Mobile_of_the_mother_" * 8],
            "report": {"choice": "column"},
            "row_count": 0,
            "good_count": 0,
        },
        "ready": {"state": "ready", "report": READY_REPORT},
        "running": {"state": "running", "queued_number": 20, "queued_count": 18},
        "done": {"state": "done", "queued_number": 33, "queued_count": 30},
    }.items():
        row_id = _insert_batch(connection, owner_id, now, key, values)
        if key != "checking" and key != "refused":
            _insert_rows(connection, row_id)
        if key == "ready":
            part = {"batch_id": row_id, "part": 0, "data": b""}
            connection.execute(insert(BatchFile).values(part))
        if key in ("running", "done"):
            _insert_messages(connection, owner_id, row_id, key, now)
    text = {"name": "Closed", "text": TEXT, "created_at": now, "public_id": batch_id("text")}
    connection.execute(insert(SavedText).values(owner_id=owner_id, **text))


def _insert_batch(
    connection: Connection, owner_id: int, now: datetime, key: str, values: dict[str, object]
) -> int:
    row = {
        "public_id": batch_id(key),
        "owner_id": owner_id,
        "idempotency_key": batch_id(f"form of {key}"),
        "name": _name(key),
        "text": TEXT,
        "sender": SENDER,
        "created_at": now - timedelta(hours=2),
        "started_at": now - timedelta(minutes=4) if key in ("running", "done") else None,
        "ended_at": now - timedelta(minutes=1) if key == "done" else None,
        "upload_hash": key.encode(),
        "column_names": ["Name", "Mobile", "day"],
        "phone_position": 1,
        "field_positions": {"name": 0, "day": 2},
        "quiet_from": 21 * 60,
        "quiet_until": 8 * 60,
        "quiet_zone": "Europe/Berlin",
        "row_count": 32,
        "good_count": 30,
        "segments": 30,
        "queued_count": 0,
    }
    query = insert(Batch).values(row | values).returning(Batch.id)
    return connection.execute(query).scalar_one()


def _name(key: str) -> str:
    """The name of a file; some have no blank in theirs."""
    if key == "checking":
        return "Patients of Tuesday, with a rather long name indeed.xlsx"
    return f"Patients_of_Tuesday_and_of_Wednesday_{key}_{'with_a_rather_long_name_' * 4}"[:100]


def _insert_rows(connection: Connection, row_id: int) -> None:
    for number in range(2, 34):
        is_bad = number in (7, 19)
        row = {
            "batch_id": row_id,
            "number": number,
            "recipient": None if is_bad else f"+1202555{number:04}",
            "cells": [
                f"Person {number}" + " Núñez" * (number in (5, 6)),
                f"+1202555{number:04}",
                "Tuesday",
            ],
            "problem": "Mobile: That number is too short. day: There is no value."
            if is_bad
            else None,
            "warnings": 2 if number == 3 else 0,
        }
        connection.execute(insert(BatchRow).values(row))


def _insert_messages(
    connection: Connection, owner_id: int, row_id: int, key: str, now: datetime
) -> None:
    for position, (status, code) in enumerate(OUTCOMES):
        if key == "done" and status in ("outbox", "unknown"):
            status = "delivered"
        at = now - timedelta(seconds=200 - 5 * position)
        number = f"+1202555{position + 2:04}"
        is_waiting = status == "outbox"
        message = {
            "public_id": batch_id(f"message {key} {position}"),
            "owner_id": owner_id,
            "idempotency_key": uuid.uuid5(batch_id(key), str(position + 2)),
            "recipient": number,
            "recipient_reversed": reverse_digits(number),
            "sender": SENDER,
            "body": f"Dear Person {position + 2}, the clinic is closed on Tuesday.",
            "media_urls": [],
            "simulated": False,
            "status": status,
            "status_source": None if is_waiting else "callback",
            "error_code": code,
            "batch_id": row_id,
            "handed_over_at": None if is_waiting else at,
            **dict.fromkeys(("status_at", "created_at", "send_at"), at),
        }
        connection.execute(insert(Message).values(message))
