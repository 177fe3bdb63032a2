"""A stage for pictures and for axe: people whose pages show everything that a page may have to.

Everything is put into the database directly and in bulk, and is the same each time but for the
clock: what the pages show is told relative to `now`.
"""

import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from random import Random
from typing import Any
from urllib.parse import urlencode

from flask import Flask
from sqlalchemy import Connection, insert
from sqlalchemy.orm import Session

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import CallbackTally, Heartbeat, Message, StatusEvent, User
from smstracker.models.callback_counts import bucket_start
from tests.refused_callbacks import refusal
from tests.sample_histories import ALL_STATES, Told
from tests.signing import ACCOUNT_SID, STATUS_PATH, fields, sid, signature

ADMIN, ALICE = "carol@clinic.example.org", "alice@example.org"
EMPTY, ONE, MANY = "new@example.org", "one@example.org", "many@example.org"
LONG_NAME = "a.very.long.name.indeed.that.somebody.has.at.a.long.department@clinic.example.org"
# Half a minute and half a second off every edge: no words change while the pictures are taken.
ODD = timedelta(seconds=30, milliseconds=500)
# Chosen for the pills: the widest that a busy year makes.
NO_PRICE = {"price_micros": None, "price_unit": None}
MANY_OF = {"delivered": 99_999, "failed": 1_204, "sent": 38, "queued": 12}


def public_id(key: str) -> uuid.UUID:
    """The id of the staged message with this name."""
    return uuid.uuid5(uuid.NAMESPACE_OID, key)


def stage(app: Flask, now: datetime, many: int = 1) -> None:
    """Fill an empty database; `many` divides the number of messages of the busiest person."""
    with app.app_context(), db.engine.begin() as connection:
        ids = _people(connection, now)
        for told in ALL_STATES:
            _tell(connection, ids[ALICE], told, now, _sid_of(told))
        # A SID is of one message only, so those that look like Alice's have none.
        for owner in (ONE, ADMIN):
            _tell(connection, ids[owner], ALL_STATES[0], now, None, key=f"of {owner}")
        _fill(connection, ids[MANY], now, many)
        _health(connection, now)


def make_sick(app: Flask, now: datetime) -> None:
    """Everything wrong with the connection at once, the longest words that can be included."""
    long = {"target": "/webhooks/" + "x" * 2000, "sent_host": "h" * 250, "count": 99_999}
    mended = "Valid for http://sms.clinic.example: PUBLIC_BASE_URL says https."
    with app.app_context(), Session(db.engine) as session:
        beat = {"started_at": now - timedelta(days=3), "beat_at": now - timedelta(seconds=2)}
        problem = "Twilio does not accept the credentials, so nothing can be asked."
        session.add(Heartbeat(worker="clinic-2:" + "w" * 40, problem=problem, **beat))
        session.add_all(
            [
                refusal(now - ODD, diagnosis=mended, setting="PUBLIC_BASE_URL", is_proven=True),
                refusal(now - 9 * ODD, diagnosis="very-long-name." * 60, **long),
                refusal(now - 70 * ODD, diagnosis="שלום: \u202eabc", count=17),
                refusal(now - 200 * ODD, is_plausible=False, diagnosis=None, signature=None),
                refusal(now - 300 * ODD, diagnosis=mended, replayed_at=now - 100 * ODD),
            ]
        )
        session.commit()


def put_replayable(app: Flask) -> None:
    """Add a refused callback that is valid now."""
    form = fields(sid(4711), "delivered")
    base = app.config["SETTINGS"].public_base_url
    signed = {"signature": signature(STATUS_PATH, form, base=base), "diagnosis": None}
    body = urlencode(form).encode()
    with app.app_context(), Session(db.engine) as session:
        row = refusal(
            utcnow() - ODD, body=body, body_length=len(body), target=STATUS_PATH, **signed
        )
        session.add(row)
        session.commit()


def _people(connection: Connection, now: datetime) -> dict[str, int]:
    emails = (ADMIN, ALICE, EMPTY, ONE, MANY, LONG_NAME)
    rows = [{"email": e, "administrator": e == ADMIN, "created_at": now} for e in emails]
    connection.execute(insert(User), rows)
    found = connection.execute(db.select(User.email, User.id))
    return {row.email: row.id for row in found}


def _sid_of(told: Told) -> str | None:
    return sid(public_id(told.key).int % 10**12) if told.has_sid else None


def _tell(
    connection: Connection,
    owner: int,
    told: Told,
    now: datetime,
    twilio_sid: str | None,
    key: str | None = None,
) -> None:
    """Save one message and its events."""
    created = now - told.ago - ODD
    row = _message(owner, key or told.key, created) | told.columns(created)
    row |= {"twilio_sid": twilio_sid}
    number = connection.execute(insert(Message).values(row)).inserted_primary_key
    events = list(_events(told, created, twilio_sid))
    if number and events:
        connection.execute(insert(StatusEvent), [{"message_id": number[0], **e} for e in events])


def _message(owner: int, key: str, created: datetime) -> dict[str, Any]:
    return {
        "public_id": public_id(key),
        "owner_id": owner,
        "form_id": public_id(f"form of {key}"),
        "created_at": created,
        "simulated": False,
        "account_sid": ACCOUNT_SID,
        "media_urls": [],
    }


def _events(told: Told, created: datetime, twilio_sid: str | None) -> Iterator[Mapping[str, Any]]:
    for step in told.steps:
        payload = {"MessageStatus": step.word, "MessageSid": twilio_sid, **step.payload}
        yield {
            "status": step.word,
            "source": step.source,
            "error_code": step.code,
            "payload": payload,
            "twilio_sid": twilio_sid,
            "carrier_done_at": step.payload.get("RawDlrDoneDate"),
            "received_at": created + timedelta(seconds=step.after),
        }


def _fill(connection: Connection, owner: int, now: datetime, divisor: int) -> None:
    """So many messages that every count has its longest form."""
    all_words = [word for word, count in MANY_OF.items() for _ in range(-(-count // divisor))]
    Random(7).shuffle(all_words)
    rows = []
    for number, word in enumerate(all_words, start=1):
        created = now - ODD - timedelta(minutes=7 * number)
        row = _message(owner, f"many {number}", created)
        row |= {"recipient": f"+1202555{100 + number % 100:04}", "sender": "+15005550006"}
        row |= {"body": f"Reminder {number:,}: your visit is tomorrow at 9.", "status": word}
        # What still waits has been told of lately, or it would count as having no receipt.
        moved = now - ODD if word == "queued" else created
        row |= {"status_at": moved, "status_source": "callback"}
        took = timedelta(seconds=number % 17 + 2) if word == "delivered" else None
        row |= {"accepted_at": created, "final_at": created + took if took else None}
        row |= {"price_micros": 7_900, "price_unit": "USD"} if took else NO_PRICE
        rows.append(row | {"error_code": "30003" if word == "failed" else None})
    connection.execute(insert(Message), rows)


def _health(connection: Connection, now: datetime) -> None:
    """Callbacks came in every five minutes of the last day, and a worker runs."""
    beat = {"started_at": now - timedelta(days=3), "beat_at": now - timedelta(seconds=2)}
    connection.execute(insert(Heartbeat), [{"worker": "clinic-1:4711", "problem": None, **beat}])
    rows = []
    for number in range(288):
        began = bucket_start(now) - timedelta(minutes=5 * number)
        counts = {"accepted": 347, "repeated": 3, "by_secondary": 0, "refused": 0}
        rows.append({"began_at": began, "process": "p", "last_accepted_at": began, **counts})
    connection.execute(insert(CallbackTally), rows)
