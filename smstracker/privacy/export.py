"""A ZIP with all that is held of a person: JSON, CSV for spreadsheets, and a page to read.

Rows are read and written a few at a time, so that neither many messages nor a flood of refused
callbacks fills the memory of a process that stores callbacks.
"""

import json
import zipfile
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from itertools import chain
from typing import IO, TypeVar

from flask import stream_template
from sqlalchemy import select, tuple_

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.messages.log_export import HEADER, format_cells, format_csv
from smstracker.messages.pagination import message_to_json
from smstracker.models import (
    Batch,
    BatchRow,
    Message,
    RecipientSearch,
    RefusedCallback,
    StatusEvent,
)
from smstracker.privacy.batch_rows import RowKey
from smstracker.privacy.person_records import PersonRecords, is_recipient
from smstracker.refused.sentences import refusal_reason
from smstracker.sms import status
from smstracker.web.reader_settings import reader_zone
from smstracker.web_templates import format_time_in_zone

READ_ROWS = 100
SHOWN_BYTES = 1_000  # of each body on the page; export.json has all

JsonRow = dict[str, object]
KeyT = TypeVar("KeyT", int, str, RowKey)


def write_export(records: PersonRecords, file: IO[bytes]) -> None:
    """Write the ZIP file."""
    now = utcnow()
    table = (format_csv([format_cells(row)]) for row in _read_messages(records, now))
    contents = _contents(records, now, SHOWN_BYTES)
    page = stream_template(
        "privacy/export.html",
        records=records,
        content=contents,
        now=now,
        time=partial(_format_time, reader_zone() or "UTC"),
        label=status.label,
        refusal_reason=refusal_reason,
    )
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        _write(archive, "export.json", _json_lines(records, now))
        _write(archive, "messages.csv", chain(["\ufeff", format_csv([HEADER])], table))
        _write(archive, "export.html", page)


def _format_time(zone: str, iso: str) -> str:
    return format_time_in_zone(zone, datetime.fromisoformat(iso))


def _write(archive: zipfile.ZipFile, name: str, texts: Iterable[str]) -> None:
    with archive.open(name, "w", force_zip64=True) as entry:
        for text in texts:
            entry.write(text.encode())


def _json_lines(records: PersonRecords, now: datetime) -> Iterator[str]:
    """A JSON object with a list for each kind, a row on each line."""
    head = json.dumps({"number": records.number, "exported_at": now.isoformat()})
    yield head.removesuffix("}")
    for kind, rows in _contents(records, now, None).items():
        yield f',\n"{kind}": ['
        for position, row in enumerate(rows):
            yield (",\n" if position else "\n") + json.dumps(row, ensure_ascii=False)
        yield "]"
    yield "}\n"


def _contents(
    records: PersonRecords, now: datetime, max_body: int | None
) -> dict[str, Iterator[JsonRow]]:
    """The rows of each kind; of the body of a refused callback, `max_body` bytes or all."""
    return {
        "messages": _read_messages(records, now),
        "events": _read_events(records),
        "refused_callbacks": _read_refused(records, max_body),
        "searches": _read_searches(records),
        "batch_rows": _read_batch_rows(records),
    }


def _slices(keys: Sequence[KeyT]) -> Iterator[Sequence[KeyT]]:
    """A few keys at a time; no transaction is held while what they name is written."""
    for start in range(0, len(keys), READ_ROWS):
        yield keys[start : start + READ_ROWS]
        db.session.rollback()


def _read_messages(records: PersonRecords, now: datetime) -> Iterator[JsonRow]:
    for ids in _slices(records.message_ids):
        # Whatever became of these ids: nobody gets a message of another person.
        query = select(Message).where(Message.id.in_(ids), is_recipient(records.number))
        messages = db.session.scalars(query.order_by(Message.id)).all()
        yield from [message_to_json(message, now) for message in messages]


def _read_events(records: PersonRecords) -> Iterator[JsonRow]:
    query = select(StatusEvent, Message.public_id).order_by(StatusEvent.id)
    of_messages = query.join(Message).where(is_recipient(records.number))
    for ids in _slices(records.message_ids):
        rows = db.session.execute(of_messages.where(StatusEvent.message_id.in_(ids))).all()
        yield from [_event_to_json(event, str(public_id)) for event, public_id in rows]
    for ids in _slices(records.orphan_ids):
        orphans = select(StatusEvent).where(StatusEvent.id.in_(ids)).order_by(StatusEvent.id)
        yield from [_event_to_json(event, None) for event in db.session.scalars(orphans).all()]


def _event_to_json(event: StatusEvent, public_id: str | None) -> JsonRow:
    return {
        "message_id": public_id,
        "status": event.status,
        "error_code": event.error_code,
        "source": event.source,
        "received_at": event.received_at.isoformat(),
        "payload": event.payload,
    }


def _read_refused(records: PersonRecords, max_body: int | None) -> Iterator[JsonRow]:
    for ids in _slices(records.refused_ids):
        query = select(RefusedCallback).where(RefusedCallback.id.in_(ids))
        yield from map(partial(_refusal_to_json, max_body), db.session.scalars(query).all())


def _refusal_to_json(max_body: int | None, row: RefusedCallback) -> JsonRow:
    body = row.body[:max_body]
    is_text = body.isascii() and body.decode().isprintable()
    return {
        "reason": row.reason,
        "path": row.target,
        "body_length": row.body_length,
        **({"body": body.decode()} if is_text else {"body_base64": b64encode(body).decode()}),
        "first_at": row.first_at.isoformat(),
    }


def _read_searches(records: PersonRecords) -> Iterator[JsonRow]:
    for handles in _slices(records.search_handles):
        query = select(RecipientSearch).where(RecipientSearch.handle.in_(handles))
        for row in db.session.scalars(query).all():
            yield {"digits": row.digits, "used_at": row.used_at.isoformat()}


def _read_batch_rows(records: PersonRecords) -> Iterator[JsonRow]:
    for keys in _slices(records.batch_rows.keys):
        is_row = tuple_(BatchRow.batch_id, BatchRow.number).in_(keys)
        query = select(BatchRow, Batch.name, Batch.created_at).join(Batch).where(is_row)
        for row, name, created_at in db.session.execute(query).all():
            yield {
                "batch": name,
                "uploaded_at": created_at.isoformat(),
                "row": row.number,
                "cells": row.cells,
            }
