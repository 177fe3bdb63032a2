"""A ZIP with all that is held of a person: JSON, CSV for spreadsheets, and a page to read."""

import io
import json
import zipfile
from collections.abc import Iterable
from datetime import datetime

from flask import render_template
from sqlalchemy import select

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.messages.log_export import HEADER, format_cells, format_csv
from smstracker.messages.pagination import message_to_json
from smstracker.models import Message, RecipientSearch, RefusedCallback, StatusEvent
from smstracker.privacy.person_records import PersonRecords


def make_export(records: PersonRecords) -> bytes:
    """The bytes of the ZIP file."""
    now = utcnow()
    messages = db.session.scalars(select(Message).where(Message.id.in_(records.message_ids))).all()
    public_ids = {message.id: str(message.public_id) for message in messages}
    rows = [message_to_json(message, now) for message in messages]
    events = [_event_to_json(event, public_ids) for event in _read_events(records)]
    content = {
        "number": records.number,
        "exported_at": now.isoformat(),
        "messages": rows,
        "events": events,
        "refused_callbacks": [_refusal_to_json(row) for row in _read_refused(records)],
        "searches": [_search_to_json(row) for row in _read_searches(records)],
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("export.json", json.dumps(content, ensure_ascii=False, indent=2))
        archive.writestr("messages.csv", "\ufeff" + format_csv([HEADER, *map(format_cells, rows)]))
        page = render_template("privacy/export.html", records=records, content=content, now=now)
        archive.writestr("export.html", page)
    return file.getvalue()


def _read_events(records: PersonRecords) -> Iterable[StatusEvent]:
    is_held = StatusEvent.message_id.in_(records.message_ids) | StatusEvent.id.in_(
        records.orphan_ids
    )
    return db.session.scalars(select(StatusEvent).where(is_held).order_by(StatusEvent.id))


def _event_to_json(event: StatusEvent, public_ids: dict[int, str]) -> dict[str, object]:
    return {
        "message_id": public_ids.get(event.message_id or 0),
        "status": event.status,
        "error_code": event.error_code,
        "source": event.source,
        "received_at": _iso(event.received_at),
        "payload": event.payload,
    }


def _read_refused(records: PersonRecords) -> Iterable[RefusedCallback]:
    is_held = RefusedCallback.id.in_(records.refused_ids)
    return db.session.scalars(select(RefusedCallback).where(is_held))


def _refusal_to_json(row: RefusedCallback) -> dict[str, object]:
    return {
        "reason": row.reason,
        "path": row.target,
        "body": row.body.decode(errors="backslashreplace"),
        "first_at": _iso(row.first_at),
    }


def _read_searches(records: PersonRecords) -> Iterable[RecipientSearch]:
    is_held = RecipientSearch.handle.in_(records.search_handles)
    return db.session.scalars(select(RecipientSearch).where(is_held))


def _search_to_json(row: RecipientSearch) -> dict[str, object]:
    return {"digits": row.digits, "used_at": _iso(row.used_at)}


def _iso(moment: datetime) -> str:
    return moment.isoformat()
