"""Sample data for pictures and for axe: users whose pages show everything that a page can show.

It is inserted in bulk and always the same, except that its times are relative to `now`.
"""

import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from random import Random
from typing import Any
from urllib.parse import urlencode

from flask import Flask
from sqlalchemy import Connection, insert, update
from sqlalchemy.orm import Session

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import (
    Alert,
    AlertNotice,
    CallbackTally,
    Heartbeat,
    Message,
    ScheduledJob,
    StatusEvent,
    User,
)
from smstracker.models.callback_counts import bucket_start
from tests.refused_callbacks import refusal
from tests.sample_batches import insert_batches
from tests.sample_histories import SAMPLE_MESSAGES, SampleMessage
from tests.sample_people import insert_people
from tests.signing import ACCOUNT_SID, STATUS_PATH, fields, sid, signature

ADMIN, ALICE = "carol@clinic.example.org", "alice@example.org"
BATCHES = "batches@example.org"
EMPTY, ONE, MANY = "new@example.org", "one@example.org", "many@example.org"
LONG_NAME = "a.very.long.name.indeed.that.somebody.has.at.a.long.department@clinic.example.org"
# Half a minute and half a second off every limit, so no relative time changes meanwhile.
OFFSET = timedelta(seconds=30, milliseconds=500)
NO_PRICE = {"price_micros": None, "price_unit": None}
# The widest counts that a busy year puts into the pills.
STATUS_COUNTS = {"delivered": 99_999, "failed": 1_204, "sent": 38, "queued": 12}


def public_id(key: str) -> uuid.UUID:
    """The id of the sample message with this key."""
    return uuid.uuid5(uuid.NAMESPACE_OID, key)


def fill_database(app: Flask, now: datetime, divisor: int = 1) -> None:
    """Fill an empty database; `divisor` divides the number of messages of the busiest user."""
    with app.app_context(), db.engine.begin() as connection:
        ids = _insert_users(connection, now)
        for sample in SAMPLE_MESSAGES:
            _insert_sample(connection, ids[ALICE], sample, now, _sample_sid(sample))
        # A SID belongs to one message, so the copies of Alice's have none.
        for owner in (ONE, ADMIN):
            _insert_sample(connection, ids[owner], SAMPLE_MESSAGES[0], now, None, key=f"of {owner}")
        _insert_many(connection, ids[MANY], now, divisor)
        insert_batches(connection, ids[BATCHES], now)
        _insert_healthy_connection(connection, now)
        if app.config["SETTINGS"].demo:  # which refuses users of a live installation
            connection.execute(update(Message).values(simulated=True))
        else:
            insert_people(connection, ALICE, now)


def break_connection(app: Flask, now: datetime) -> None:
    """Everything wrong with the connection at once, in the longest words possible."""
    long = {"target": "/webhooks/" + "x" * 2000, "sent_host": "h" * 250, "count": 99_999}
    diagnosis = (
        "Valid for http://sms.clinic.example, but PUBLIC_BASE_URL is https://sms.clinic.example."
    )
    with app.app_context(), Session(db.engine) as session:
        beat = {"started_at": now - timedelta(days=3), "beat_at": now - timedelta(seconds=2)}
        problem = "Twilio does not accept the credentials, so nothing can be asked."
        session.add(Heartbeat(worker="clinic-2:" + "w" * 40, problem=problem, **beat))
        session.add_all(
            [
                refusal(
                    now - OFFSET, diagnosis=diagnosis, setting="PUBLIC_BASE_URL", is_proven=True
                ),
                refusal(now - 9 * OFFSET, diagnosis="very-long-name." * 60, **long),
                refusal(now - 70 * OFFSET, diagnosis="שלום: \u202eabc", count=17),
                refusal(now - 200 * OFFSET, is_plausible=False, diagnosis=None, signature=None),
                refusal(now - 300 * OFFSET, diagnosis=diagnosis, replayed_at=now - 100 * OFFSET),
            ]
        )
        session.add_all(_sample_alerts(now))
        session.flush()
        waiting = {"occasion": "day 1", "created_at": now, "due_at": now, "failures": 3}
        told = {"occasion": "begin", "created_at": now, "due_at": now, "failures": 0}
        failure = "its certificate does not verify"
        session.add(AlertNotice(alert_id=1, channel="webhook", sent_at=now - 9 * OFFSET, **told))
        session.add(AlertNotice(alert_id=1, channel="webhook", failure=failure, **waiting))
        session.commit()


def _sample_alerts(now: datetime) -> Iterator[Alert]:
    """Alerts of each kind: open, muted and past."""
    errors = {"failed": 14, "decided": 1_200, "usual_failed": 40, "usual_decided": 99_000}
    for rule, subject, age, counts in (
        ("callbacks-silent", "", timedelta(minutes=42), {"messages": 1_204}),
        ("error-code", "30034", timedelta(hours=3), errors),
        ("disk-full", "", timedelta(hours=30), {"free_megabytes": 804, "free_percent": 2}),
        ("worker-gone", "", timedelta(days=9), {"minutes": 42, "fetched": 6}),
    ):
        began_at = now - age - OFFSET
        alert = Alert(rule=rule, subject=subject, counts=counts, began_at=began_at)
        alert.opened_at, alert.last_true_at = began_at, now - OFFSET
        if rule == "disk-full":
            alert.muted_until = now + timedelta(hours=8)
        if rule == "worker-gone":
            alert.last_true_at = began_at + timedelta(minutes=42)
            alert.ended_at = began_at + timedelta(minutes=52)
        yield alert


def add_replayable_callback(app: Flask) -> None:
    """Add a refused callback that is valid now."""
    form = fields(sid(4711), "delivered")
    base = app.config["SETTINGS"].public_base_url
    signed = {"signature": signature(STATUS_PATH, form, base=base), "diagnosis": None}
    body = urlencode(form).encode()
    with app.app_context(), Session(db.engine) as session:
        row = refusal(
            utcnow() - OFFSET, body=body, body_length=len(body), target=STATUS_PATH, **signed
        )
        session.add(row)
        session.commit()


def _insert_users(connection: Connection, now: datetime) -> dict[str, int]:
    emails = (ADMIN, ALICE, EMPTY, ONE, MANY, LONG_NAME, BATCHES)
    rows = [{"email": e, "administrator": e == ADMIN, "created_at": now} for e in emails]
    connection.execute(insert(User), rows)
    rows_inserted = connection.execute(db.select(User.email, User.id))
    return {row.email: row.id for row in rows_inserted}


def _sample_sid(sample: SampleMessage) -> str | None:
    return sid(public_id(sample.key).int % 10**12) if sample.has_sid else None


def _insert_sample(
    connection: Connection,
    owner: int,
    sample: SampleMessage,
    now: datetime,
    twilio_sid: str | None,
    key: str | None = None,
) -> None:
    """Insert a message and its events."""
    created = now - sample.age - OFFSET
    row = _message_columns(owner, key or sample.key, created) | sample.columns_at(created)
    row |= {"twilio_sid": twilio_sid}
    number = connection.execute(insert(Message).values(row)).inserted_primary_key
    events = list(_event_columns(sample, created, twilio_sid))
    if number and events:
        connection.execute(insert(StatusEvent), [{"message_id": number[0], **e} for e in events])


def _message_columns(owner: int, key: str, created: datetime) -> dict[str, Any]:
    return {
        "public_id": public_id(key),
        "owner_id": owner,
        "idempotency_key": public_id(f"form of {key}"),
        "created_at": created,
        "simulated": False,
        "account_sid": ACCOUNT_SID,
        "media_urls": [],
    }


def _event_columns(
    sample: SampleMessage, created: datetime, twilio_sid: str | None
) -> Iterator[Mapping[str, Any]]:
    for step in sample.steps:
        payload = {"MessageStatus": step.status, "MessageSid": twilio_sid, **step.payload}
        yield {
            "status": step.status,
            "source": step.source,
            "error_code": step.error_code,
            "payload": payload,
            "twilio_sid": twilio_sid,
            "carrier_done_at": step.payload.get("RawDlrDoneDate"),
            "received_at": created + timedelta(seconds=step.delay),
        }


def _insert_many(connection: Connection, owner: int, now: datetime, divisor: int) -> None:
    """Insert so many messages that every count has its longest form."""
    statuses = [
        status for status, count in STATUS_COUNTS.items() for _ in range(-(-count // divisor))
    ]
    Random(7).shuffle(statuses)
    rows = []
    for number, word in enumerate(statuses, start=1):
        created = now - OFFSET - timedelta(minutes=7 * number)
        row = _message_columns(owner, f"many {number}", created)
        row |= {"recipient": f"+1202555{100 + number % 100:04}", "sender": "+15005550006"}
        row |= {"body": f"Reminder {number:,}: your visit is tomorrow at 9.", "status": word}
        # A waiting message has a recent status, or it would count as having no receipt.
        moved = now - OFFSET if word == "queued" else created
        row |= {"status_at": moved, "status_source": "callback"}
        delay = timedelta(seconds=number % 17 + 2) if word == "delivered" else None
        row |= {"accepted_at": created, "final_at": created + delay if delay else None}
        row |= {"price_micros": 7_900, "price_unit": "USD"} if delay else NO_PRICE
        rows.append(row | {"error_code": "30003" if word == "failed" else None})
    connection.execute(insert(Message), rows)


def _insert_healthy_connection(connection: Connection, now: datetime) -> None:
    """Insert callbacks in every five minutes of the last day, and a running worker."""
    evaluated = {"name": "alerts", "due_at": now, "done_at": now}
    connection.execute(insert(ScheduledJob), [evaluated])
    beat = {"started_at": now - timedelta(days=3), "beat_at": now - timedelta(seconds=2)}
    connection.execute(insert(Heartbeat), [{"worker": "clinic-1:4711", "problem": None, **beat}])
    rows = []
    for number in range(288):
        began = bucket_start(now) - timedelta(minutes=5 * number)
        counts = {"accepted": 347, "repeated": 3, "refused": 0}
        rows.append({"bucket_at": began, "process": "p", "last_accepted_at": began, **counts})
    connection.execute(insert(CallbackTally), rows)
