"""Fill a database as after two years of use: millions of messages of several users, in minutes.

Rows are inserted in large batches (COPY on PostgreSQL) while the table has no indexes but its keys;
indexes, triggers and the text index are built afterwards.
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
FTS_FILL_HASH_BYTES, FTS_DEFAULT_HASH_BYTES = (
    128 * 2**20,
    2**20,
)  # bytes of index in memory between two writes
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
RARE_TEXT_INTERVAL = 5_000  # one text in so many contains "quokka"
FAILED = frozenset({"undelivered", "failed", "refused"})
OPEN = frozenset({"sent", "unknown", "queued"})


def fill(url: str, messages: int, owned: int, owners: int = 10, events: bool = False) -> None:
    """Migrate the database and fill it: `owned` messages of user 1, the others of other users."""
    app = create_app(load(rig.environment(url)))
    with app.app_context():
        upgrade()
        for number in range(1, owners + 1):
            db.session.add(User(id=number, email=f"user{number}@example.org"))
        db.session.commit()
        if db.engine.dialect.name == "sqlite":
            _fill_sqlite(messages, owned, owners, events)
        else:
            _fill_postgresql(messages, owned, owners, events)
        db.engine.dispose()


def build_rows(messages: int, owned: int, owners: int, seed: int = 1) -> Iterator[dict[str, Any]]:
    """Rows of messages in the order of creation, with mixed owners."""
    chance, now = random.Random(seed), datetime.now(UTC)
    senders = chance.choices(SENDERS, SENDER_SHARES, k=4096)
    outcomes = chance.choices(list(OUTCOMES), OUTCOMES.values(), k=8191)
    codes = chance.choices(CODES, CODE_SHARES, k=4093)
    owned_left, step = owned, SPAN / max(messages, 1)
    for number in range(messages):
        is_mine = chance.random() * (messages - number) < owned_left
        owned_left -= is_mine
        owner = 1 if is_mine else chance.randint(2, owners) if owners > 1 else 1
        status = outcomes[number % 8191]
        created_at = now - SPAN + step * number
        if status == "queued":  # only the newest still wait
            created_at = max(created_at, now - timedelta(seconds=messages - number))
        duration = timedelta(seconds=math.exp(chance.gauss(1.5, 1.0)))
        accepted, final_at = created_at + timedelta(milliseconds=300), created_at + duration
        sender = senders[number % 4096]
        recipient = f"+{COUNTRIES[number % 8]}{chance.randrange(10**7):07d}"
        is_sent = status not in ("refused", "unknown")
        yield {
            "id": number + 1,
            "public_id": uuid.UUID(int=chance.getrandbits(128), version=4),
            "owner_id": owner,
            "idempotency_key": uuid.UUID(int=number + 1),
            "recipient": recipient,
            "recipient_reversed": recipient[:0:-1],
            "sender": None if sender == SERVICE else sender,
            "messaging_service_sid": SERVICE if sender == SERVICE else None,
            "body": _build_text(number, chance),
            "media_urls": [],
            "simulated": False,
            "callback_requested": True,
            "account_sid": rig.ACCOUNT,
            "twilio_sid": f"SM{number:032x}" if is_sent else None,
            "segments": 1,
            "status": status,
            "status_at": final_at if is_sent else created_at,
            "status_source": _status_source(status, number),
            "error_code": codes[number % 4093] if status in FAILED else None,
            "has_conflict": False,
            "price_micros": -7900 if is_sent and number % 3 else None,
            "price_unit": "USD" if is_sent and number % 3 else None,
            "created_at": created_at,
            "accepted_at": accepted if is_sent else None,
            "final_at": None if status in OPEN else final_at,
            "next_lookup_at": None,
        }


def _status_source(status: str, number: int) -> str:
    if status in ("refused", "unknown", "queued"):
        return "send"
    return "lookup" if number % 50 == 0 else "callback"


def _build_text(number: int, chance: random.Random) -> str:
    words = " ".join(chance.choices(COMMON, k=8))
    rare = " quokka" if number % RARE_TEXT_INTERVAL == 0 else ""
    return f"Hello, {words} {chance.randrange(100_000):05d}{rare}"


def _build_event(row: dict[str, Any]) -> dict[str, Any]:
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


def _split_batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _existing_columns(model: Any, row: dict[str, Any]) -> list[str]:
    """The names of a row that are columns in this version of the table."""
    return [name for name in row if name in model.__table__.columns]


def _fill_sqlite(messages: int, owned: int, owners: int, events: bool) -> None:
    with db.engine.connect() as connection:
        raw = connection.connection.dbapi_connection
        # Durability does not matter here, and a journal would hold all rows once more.
        raw.execute("PRAGMA journal_mode=off")
        raw.execute("PRAGMA synchronous=off")
        raw.execute("PRAGMA cache_size=-2000000")
        definitions = raw.execute(
            "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND type IN"
            " ('index', 'trigger') AND tbl_name IN ('message', 'status_event')"
        ).fetchall()
        raw.execute("BEGIN")
        for kind, name, _sql in definitions:
            raw.execute(f"DROP {kind} {name}")
        for batch in _split_batches(build_rows(messages, owned, owners)):
            _insert_sqlite(raw, Message, batch)
            if events:
                rows_with_source = [row for row in batch if row["status_source"]]
                _insert_sqlite(raw, StatusEvent, [_build_event(row) for row in rows_with_source])
        if raw.execute("SELECT 1 FROM sqlite_master WHERE name = 'message_fts'").fetchone():
            set_fts = "INSERT INTO message_fts (message_fts, rank) VALUES ('hashsize', ?)"
            raw.execute(set_fts, [FTS_FILL_HASH_BYTES])
            raw.execute(
                "INSERT INTO message_fts (rowid, body) SELECT id, char(57344, 57344,"
                " 57344 + owner_id) || body FROM message"
            )
            raw.execute(set_fts, [FTS_DEFAULT_HASH_BYTES])
        for _kind, _name, sql in sorted(definitions):
            raw.execute(sql)
        raw.execute("COMMIT")
        raw.execute("ANALYZE")
        raw.execute("PRAGMA journal_mode=wal")


def _insert_sqlite(raw: Any, model: Any, batch: list[dict[str, Any]]) -> None:
    names = _existing_columns(model, batch[0])
    table = model.__tablename__
    marks = ", ".join("?" * len(names))
    values = ([_convert_value(row[name]) for name in names] for row in batch)
    raw.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", values)


def _convert_value(value: Any) -> Any:
    """Convert a value to what SQLAlchemy stores in SQLite."""
    if isinstance(value, uuid.UUID):
        return value.hex
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S.%f}"
    return json.dumps(value) if isinstance(value, list | dict) else value


def _fill_postgresql(messages: int, owned: int, owners: int, events: bool) -> None:
    with db.engine.connect() as connection:
        connection.exec_driver_sql("SET statement_timeout = 0")
        connection.exec_driver_sql("SET idle_in_transaction_session_timeout = 0")
        connection.exec_driver_sql("SET maintenance_work_mem = '2GB'")
        connection.exec_driver_sql("SET synchronous_commit = off")
        indexes = connection.exec_driver_sql(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename"
            " IN ('message', 'status_event', 'message_text') AND indexname LIKE 'ix%%'"
        ).fetchall()
        for name, _sql in indexes:
            connection.exec_driver_sql(f"DROP INDEX {name}")
        connection.exec_driver_sql("ALTER TABLE message DISABLE TRIGGER USER")
        for batch in _split_batches(build_rows(messages, owned, owners)):
            _copy(connection, Message, batch)
            if events:
                rows_with_source = [row for row in batch if row["status_source"]]
                _copy(connection, StatusEvent, [_build_event(row) for row in rows_with_source])
        connection.exec_driver_sql("ALTER TABLE message ENABLE TRIGGER USER")
        if connection.exec_driver_sql("SELECT to_regclass('message_text')").scalar():
            connection.exec_driver_sql(
                "INSERT INTO message_text (message_id, owner_id, body)"
                " SELECT id, owner_id, fold_text(body) FROM message"
            )
        for _name, sql in indexes:
            connection.exec_driver_sql(sql)
        connection.exec_driver_sql(
            "SELECT setval(pg_get_serial_sequence('message', 'id'), max(id)) FROM message"
        )
        connection.commit()
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("SET statement_timeout = 0")
        connection.exec_driver_sql("VACUUM ANALYZE")


def _copy(connection: Connection, model: Any, batch: list[dict[str, Any]]) -> None:
    names = _existing_columns(model, batch[0])
    raw = connection.connection.dbapi_connection
    with raw.cursor() as cursor:
        into = f"COPY {model.__tablename__} ({', '.join(names)}) FROM STDIN"
        with cursor.copy(into) as copy:
            for row in batch:
                values = (row[name] for name in names)
                copy.write_row([json.dumps(v) if isinstance(v, list | dict) else v for v in values])
