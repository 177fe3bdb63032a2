"""A database as it is after two years: millions of messages of several people, in minutes.

Rows go in by big batches (COPY on PostgreSQL) while the table has no other index than its keys;
indexes, triggers and what they would have filled are made afterwards.
"""

import json
import math
import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import rig
from flask_migrate import upgrade
from sqlalchemy import Connection

from config import load
from smstracker import create_app
from smstracker.extensions import db
from smstracker.models import Message, StatusEvent, User

BATCH = 20_000
FTS_AT_ONCE, FTS_USUAL = 128 * 2**20, 2**20  # bytes of the index that are written in one go
SPAN = timedelta(days=730)
SERVICE = "MG" + "5" * 32
SENDERS = ("+15005550006", "+15005550007", "+442071838750", SERVICE)
SENDER_SHARES = (60, 25, 10, 5)
COUNTRIES = ("1202", "1415", "4477", "4917", "3361", "3934", "3467", "4178")
OUTCOMES = {
    "delivered": 880,
    "undelivered": 45,
    "failed": 15,
    "sent": 40,
    "refused": 8,
    "read": 5,
    "canceled": 3,
    "unknown": 2,
    "queued": 2,
}
CODES = [
    "30003",
    "30005",
    "30006",
    "30007",
    "30008",
    "30004",
    "30034",
    "21610",
    "30001",
    "30002",
    "30017",
    "30036",
]
CODE_SHARES = (30, 20, 12, 10, 10, 6, 4, 3, 2, 1, 1, 1)
COMMON = [
    "your",
    "appointment",
    "is",
    "on",
    "please",
    "reply",
    "order",
    "ready",
    "code",
    "thank",
    "you",
    "clinic",
    "today",
    "at",
]
RARE = 5_000  # every so many texts hold the word "quokka"
FAILED = frozenset({"undelivered", "failed", "refused"})
OPEN = frozenset({"sent", "unknown", "queued"})


def fill(url: str, messages: int, mine: int, owners: int = 10, events: bool = False) -> None:
    """Migrate the database and fill it: `mine` messages of user 1, the rest of the others."""
    app = create_app(load(rig.environment(url)))
    with app.app_context():
        upgrade()
        for number in range(1, owners + 1):
            db.session.add(User(id=number, email=f"user{number}@example.org"))
        db.session.commit()
        if db.engine.dialect.name == "sqlite":
            _fill_sqlite(messages, mine, owners, events)
        else:
            _fill_postgresql(messages, mine, owners, events)
        db.engine.dispose()


def rows(messages: int, mine: int, owners: int, seed: int = 1) -> Iterator[dict[str, Any]]:
    """Messages in the order of their making; the owners' are mixed."""
    chance, now = random.Random(seed), datetime.now(UTC)
    senders = chance.choices(SENDERS, SENDER_SHARES, k=4096)
    outcomes = chance.choices(list(OUTCOMES), OUTCOMES.values(), k=8191)
    codes = chance.choices(CODES, CODE_SHARES, k=4093)
    left, step = mine, SPAN / max(messages, 1)
    for number in range(messages):
        is_mine = chance.random() * (messages - number) < left
        left -= is_mine
        owner = 1 if is_mine else chance.randint(2, owners) if owners > 1 else 1
        word = outcomes[number % 8191]
        made = now - SPAN + step * number
        if word == "queued":  # only the newest still wait
            made = max(made, now - timedelta(seconds=messages - number))
        took = timedelta(seconds=math.exp(chance.gauss(1.5, 1.0)))
        accepted, done = made + timedelta(milliseconds=300), made + took
        sender = senders[number % 4096]
        recipient = f"+{COUNTRIES[number % 8]}{chance.randrange(10**7):07d}"
        is_sent = word not in ("refused", "unknown")
        yield {
            "id": number + 1,
            "public_id": uuid.UUID(int=chance.getrandbits(128), version=4),
            "owner_id": owner,
            "form_id": uuid.UUID(int=number + 1),
            "recipient": recipient,
            "recipient_backwards": recipient[:0:-1],
            "sender": None if sender == SERVICE else sender,
            "messaging_service_sid": SERVICE if sender == SERVICE else None,
            "body": _text(number, chance),
            "media_urls": [],
            "simulated": False,
            "callback_requested": True,
            "account_sid": rig.ACCOUNT,
            "twilio_sid": f"SM{number:032x}" if is_sent else None,
            "segments": 1,
            "status": word,
            "status_at": done if is_sent else made,
            "status_source": _source(word, number),
            "error_code": codes[number % 4093] if word in FAILED else None,
            "conflicting": False,
            "price_micros": -7900 if is_sent and number % 3 else None,
            "price_unit": "USD" if is_sent and number % 3 else None,
            "created_at": made,
            "accepted_at": accepted if is_sent else None,
            "final_at": None if word in OPEN else done,
            "next_lookup_at": None,
        }


def _source(word: str, number: int) -> str:
    if word in ("refused", "unknown", "queued"):
        return "send"
    return "lookup" if number % 50 == 0 else "callback"


def _text(number: int, chance: random.Random) -> str:
    said = " ".join(chance.choices(COMMON, k=8))
    rare = " quokka" if number % RARE == 0 else ""
    return f"Hello, {said} {chance.randrange(100_000):05d}{rare}"


def _event(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "message_id": row["id"],
        "twilio_sid": row["twilio_sid"],
        "status": row["status"],
        "error_code": row["error_code"],
        "source": row["status_source"],
        "payload": {},
        "is_repeated": False,
        "received_at": row["status_at"],
    }


def _batches(made: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for row in made:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _columns(model: Any, row: dict[str, Any]) -> list[str]:
    """What of a row this version of the table has."""
    return [name for name in row if name in model.__table__.columns]


def _fill_sqlite(messages: int, mine: int, owners: int, events: bool) -> None:
    with db.engine.connect() as connection:
        raw = connection.connection.dbapi_connection
        # Nobody minds if a power cut ruins it, and a journal would hold all of it once more.
        raw.execute("PRAGMA journal_mode=off")
        raw.execute("PRAGMA synchronous=off")
        raw.execute("PRAGMA cache_size=-2000000")
        kept = raw.execute(
            "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND type IN"
            " ('index', 'trigger') AND tbl_name IN ('message', 'status_event')"
        ).fetchall()
        raw.execute("BEGIN")
        for kind, name, _sql in kept:
            raw.execute(f"DROP {kind} {name}")
        for batch in _batches(rows(messages, mine, owners)):
            _insert_sqlite(raw, Message, batch)
            if events:
                known = [row for row in batch if row["status_source"]]
                _insert_sqlite(raw, StatusEvent, [_event(row) for row in known])
        if raw.execute("SELECT 1 FROM sqlite_master WHERE name = 'message_fts'").fetchone():
            set_fts = "INSERT INTO message_fts (message_fts, rank) VALUES ('hashsize', ?)"
            raw.execute(set_fts, [FTS_AT_ONCE])
            raw.execute(
                "INSERT INTO message_fts (rowid, body) SELECT id, char(57344, 57344,"
                " 57344 + owner_id) || body FROM message"
            )
            raw.execute(set_fts, [FTS_USUAL])
        for _kind, _name, sql in sorted(kept):
            raw.execute(sql)
        raw.execute("COMMIT")
        raw.execute("ANALYZE")
        raw.execute("PRAGMA journal_mode=wal")


def _insert_sqlite(raw: Any, model: Any, batch: list[dict[str, Any]]) -> None:
    names = _columns(model, batch[0])
    table = model.__tablename__
    marks = ", ".join("?" * len(names))
    values = ([_for_sqlite(row[name]) for name in names] for row in batch)
    raw.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", values)


def _for_sqlite(value: Any) -> Any:
    """As SQLAlchemy stores it."""
    if isinstance(value, uuid.UUID):
        return value.hex
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S.%f}"
    return json.dumps(value) if isinstance(value, list | dict) else value


def _fill_postgresql(messages: int, mine: int, owners: int, events: bool) -> None:
    with db.engine.connect() as connection:
        connection.exec_driver_sql("SET statement_timeout = 0")
        connection.exec_driver_sql("SET idle_in_transaction_session_timeout = 0")
        connection.exec_driver_sql("SET maintenance_work_mem = '2GB'")
        connection.exec_driver_sql("SET synchronous_commit = off")
        kept = connection.exec_driver_sql(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename"
            " IN ('message', 'status_event', 'message_text') AND indexname LIKE 'ix%%'"
        ).fetchall()
        for name, _sql in kept:
            connection.exec_driver_sql(f"DROP INDEX {name}")
        connection.exec_driver_sql("ALTER TABLE message DISABLE TRIGGER USER")
        for batch in _batches(rows(messages, mine, owners)):
            _copy(connection, Message, batch)
            if events:
                known = [row for row in batch if row["status_source"]]
                _copy(connection, StatusEvent, [_event(row) for row in known])
        connection.exec_driver_sql("ALTER TABLE message ENABLE TRIGGER USER")
        if connection.exec_driver_sql("SELECT to_regclass('message_text')").scalar():
            connection.exec_driver_sql(
                "INSERT INTO message_text (message_id, owner_id, body)"
                " SELECT id, owner_id, fold_text(body) FROM message"
            )
        for _name, sql in kept:
            connection.exec_driver_sql(sql)
        connection.exec_driver_sql(
            "SELECT setval(pg_get_serial_sequence('message', 'id'), max(id)) FROM message"
        )
        connection.commit()
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("SET statement_timeout = 0")
        connection.exec_driver_sql("VACUUM ANALYZE")


def _copy(connection: Connection, model: Any, batch: list[dict[str, Any]]) -> None:
    names = _columns(model, batch[0])
    raw = connection.connection.dbapi_connection
    with raw.cursor() as cursor:
        into = f"COPY {model.__tablename__} ({', '.join(names)}) FROM STDIN"
        with cursor.copy(into) as copy:
            for row in batch:
                values = (row[name] for name in names)
                copy.write_row([json.dumps(v) if isinstance(v, list | dict) else v for v in values])
