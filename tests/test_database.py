"""Migrations, transactions and query plans on SQLite and PostgreSQL."""

import re
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlencode

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from flask import Flask
from flask_migrate import downgrade, upgrade
from sqlalchemy import bindparam, delete, event, insert, inspect, select, text, update
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError, StatementError

from smstracker import health_facts
from smstracker.backups import postgresql_backup
from smstracker.batches.progress import select_counts
from smstracker.clock import utcnow
from smstracker.database.engine import Base, UtcDateTime, include_object
from smstracker.database.sqlite_file import allow_new_file
from smstracker.extensions import db
from smstracker.messages import filter_conditions, search
from smstracker.messages.filter_conditions import SearchFilters
from smstracker.messages.filter_reading import read_filters
from smstracker.messages.state_counts import counts_query
from smstracker.models import Batch, Message, RateLimit, ScheduledJob, StatusEvent, User
from smstracker.models.creation_time import first_message_query
from smstracker.models.insight_rollups import EVERYONE
from smstracker.models.messages import Content
from smstracker.models.status_transitions import select_locked
from smstracker.sms.status import State
from tests.clients import Person
from tests.signing import call_back, fields, sid

pytestmark = pytest.mark.both_databases


def differences(app: Flask) -> list[object]:
    with app.app_context(), db.engine.connect() as connection:
        options = {"compare_type": True, "include_object": include_object}
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, Base.metadata))


def test_migrations_match_the_models(app: Flask) -> None:
    assert differences(app) == []


def test_migrations_go_down_and_up_again(app: Flask) -> None:
    with app.app_context():
        downgrade(revision="base")
        assert inspect(db.engine).get_table_names() == ["alembic_version"]
        upgrade()
    assert differences(app) == []
    assert Person.signed_in(app, "alice@example.org").get("/messages").status_code == 200


def test_jobs_keep_their_times_under_their_new_names(app: Flask) -> None:
    at, new_names = utcnow(), ("diagnosis", "maintenance", "rollup", "listing")
    job = text("INSERT INTO chore (name, due_at, done_at) VALUES (:name, :due_at, :done_at)")
    job = job.bindparams(bindparam("due_at", type_=UtcDateTime), bindparam("done_at", None))
    with app.app_context():
        downgrade(revision="0024")
        with db.engine.begin() as connection:
            for name in ("explaining", "upkeep", "counting", "listing"):
                connection.execute(job, {"name": name, "due_at": at})
        upgrade()
        jobs = db.session.execute(select(ScheduledJob.name, ScheduledJob.due_at)).all()
        assert {tuple(row) for row in jobs} == {(name, at) for name in new_names}
        db.session.remove()
        downgrade(revision="0024")
        with db.engine.connect() as connection:
            names = connection.scalars(text("SELECT name FROM chore")).all()
        assert sorted(names) == ["counting", "explaining", "listing", "upkeep"]
        upgrade()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_restore_drops_the_tables_of_every_older_schema(app: Flask) -> None:
    with app.app_context():
        dropped = set(postgresql_backup._table_names())
        while (tables := set(inspect(db.engine).get_table_names())) != {"alembic_version"}:
            assert tables <= dropped
            downgrade(revision="-1")
        upgrade()


def test_every_constraint_has_a_name(app: Flask) -> None:
    for table in Base.metadata.sorted_tables:
        assert all(constraint.name for constraint in table.constraints), table
        assert all(index.name for index in table.indexes), table


def test_sqlite_is_durable(app: Flask) -> None:
    with app.app_context(), db.engine.connect() as connection:
        if connection.dialect.name != "sqlite":
            assert connection.scalar(text("SHOW synchronous_commit")) == "on"
            return
        pragmas = ("journal_mode", "synchronous")
        values = {name: connection.scalar(text(f"PRAGMA {name}")) for name in pragmas}
        assert values == {"journal_mode": "wal", "synchronous": 2}
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1


def test_sqlite_gives_no_id_again(app: Flask) -> None:
    """As PostgreSQL: what was read before a row was deleted must not be stored on another one."""
    with app.app_context(), db.engine.connect() as connection:
        if connection.dialect.name != "sqlite":
            return
        tables = connection.exec_driver_sql(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'message_fts%'"
            " AND sql LIKE '%id INTEGER%PRIMARY KEY (id)%'"
        )
        assert tables.scalars().all() == []
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
        added = insert(User).values(email="a@example.org").returning(User.id)
        first_id = connection.scalar(added) or 0
        connection.execute(delete(User))
        assert connection.scalar(added) == first_id + 1


@pytest.mark.parametrize("is_defensive", [False, True])
@pytest.mark.parametrize(
    ("key", "column"),
    [
        ("PRIMARY KEY (id)", "id INTEGER NOT NULL"),
        ('primary key("id" ASC)', "id INTEGER NOT NULL"),
        ("CHECK (id > 0)", "[id] INTEGER NOT NULL PRIMARY KEY"),
        ("CHECK (id > 0)", "id INTEGER NOT NULL\tPRIMARY KEY ASC"),
    ],
)
def test_upgrade_gives_no_id_of_before_again(
    app: Flask,
    alice: Person,
    monkeypatch: pytest.MonkeyPatch,
    is_defensive: bool,
    key: str,
    column: str,
) -> None:
    """A defensive SQLite, as that of macOS, lets nobody change the text of its tables. Programs
    that load a dump may have spelled it their way.
    """
    with app.app_context():
        engine = db.engine
    if engine.dialect.name != "sqlite":
        return
    execute = engine.dialect.do_execute

    def refuse(cursor: sqlite3.Cursor, statement: str, *arguments: Any) -> None:
        if "writable_schema" in statement:
            return
        if statement.startswith("UPDATE sqlite_schema"):
            raise sqlite3.OperationalError("table sqlite_master may not be modified")
        execute(cursor, statement, *arguments)

    message = alice.has_message(body="Moved with its table")
    with app.app_context():
        downgrade(revision="0023")
        respell_key(engine, "message", key, column)
        if is_defensive:
            monkeypatch.setattr(engine.dialect, "do_execute", refuse)
        upgrade()
        assert [one.id for one in search.find_page(SearchFilters(alice.id, text="moved"))]
        db.session.remove()
        with engine.begin() as connection:
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
            assert connection.scalars(select(Message.body)).all() == [message.body]
            connection.execute(delete(Message))
    assert alice.has_message().id > message.id
    assert differences(app) == []


def respell_key(engine: Engine, table: str, key: str, column: str) -> None:
    """Change how the text of a table in SQLite names its key."""
    with engine.begin() as connection:
        query = text("SELECT sql FROM sqlite_schema WHERE name = :name")
        sql = connection.scalar(query, {"name": table})
        assert ("id INTEGER NOT NULL" in sql, "PRIMARY KEY (id)" in sql) == (True, True)
        sql = sql.replace("id INTEGER NOT NULL", column, 1)
        sql = re.sub(r"(CONSTRAINT \w+ )?PRIMARY KEY \(id\)", key, sql)
        change = text("UPDATE sqlite_schema SET sql = :sql WHERE name = :name")
        connection.exec_driver_sql("PRAGMA writable_schema = ON")
        connection.execute(change, {"name": table, "sql": sql})
        connection.exec_driver_sql("PRAGMA writable_schema = RESET")


def test_sqlite_files_are_private(make_app, tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "wide.sqlite"
    app = make_app(DATABASE_URL=f"sqlite:///{path}")

    def modes() -> set[int]:
        with app.app_context():
            db.engine.dispose()
            with allow_new_file(), db.engine.begin() as connection:
                connection.execute(text("CREATE TABLE IF NOT EXISTS t (x)"))
                return {file.stat().st_mode & 0o777 for file in tmp_path.glob("wide.sqlite*")}

    assert modes() == {0o600}
    path.chmod(0o644)
    assert modes() == {0o600}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("default", "set_for", "expected"),
    [
        ("off", "ROLE", "on"),
        ("off", "DATABASE", "on"),
        ("local", "DATABASE", "on"),
        ("remote_apply", "ROLE", "remote_apply"),
    ],
)
def test_postgresql_is_durable_whatever_its_default(
    make_app: Callable[..., Flask], default: str, set_for: str, expected: str
) -> None:
    with make_app().app_context(), db.engine.connect() as connection:
        user, database = connection.execute(text("SELECT current_user, current_database()")).one()
    name = {"ROLE": user, "DATABASE": database}[set_for]
    alter = f'ALTER {set_for} "{name}"'
    try:
        with make_app().app_context():
            with db.engine.begin() as connection:
                connection.execute(text(f"{alter} SET synchronous_commit = {default}"))
            db.engine.dispose()
            for _ in range(2):  # what ends a transaction undoes nothing
                setting = db.session.execute(text("SHOW synchronous_commit")).scalar()
                assert setting == expected
                db.session.rollback()
    finally:
        with make_app().app_context(), db.engine.begin() as connection:
            connection.execute(text(f"{alter} RESET synchronous_commit"))


def test_read_then_write_loses_no_update(app: Flask) -> None:
    with app.app_context():
        db.session.add(RateLimit(key="counter", hits=0, expires_at=0))
        db.session.commit()
        engine = db.engine

    def count(_number: int) -> None:
        with engine.begin() as connection:
            query = select(RateLimit.hits).where(RateLimit.key == "counter").with_for_update()
            hits = connection.scalar(query)
            connection.execute(update(RateLimit).values(hits=hits + 1))  # type: ignore[operator]

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(count, range(80)))
    with app.app_context():
        assert db.session.scalar(select(RateLimit.hits)) == 80


def test_error_of_a_statement_shows_no_value(app: Flask) -> None:
    with app.app_context(), pytest.raises(DBAPIError) as caught:
        db.session.execute(text("SELECT :number FROM nowhere"), {"number": "+15558675310"})
    assert "5558675310" not in str(caught.value)


def test_pages_that_only_read_do_not_wait_for_a_writer(app: Flask, alice: Person) -> None:
    """Nor would a writer wait for them: a large form that is refused must not delay callbacks."""
    message, form = alice.has_message(), alice.compose()
    again = f"/messages/{message.public_id}/again"
    posts: list[tuple[str, dict[str, str], int]] = [
        ("/messages/check", form, 200),
        ("/messages", form | {"check": "yes"}, 200),
        ("/messages", form | {"recipient": "12"}, 422),
        ("/messages", form | {"csrf_token": "stale"}, 400),
        ("/messages/filter", form | {"error": "none"}, 303),
        ("/messages/filter", form | {"number": "12"}, 422),
        (again, form, 409),
    ]
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(update(User).values(administrator=True))
        for path, fields, status in posts:
            assert alice.client.post(path, data=fields).status_code == status, path
        for path in ("/messages", f"/messages/{message.public_id}", "/messages.json", "/readyz"):
            assert alice.get(path).status_code == 200


def test_datetimes_are_stored_in_utc_whatever_their_zone(app: Flask) -> None:
    east = datetime(2026, 5, 3, 12, tzinfo=timezone(timedelta(hours=5)))
    with app.app_context():
        db.session.add(User(email="a@example.org", created_at=east))
        db.session.commit()
        db.session.expire_all()
        created_at = db.session.scalars(select(User.created_at)).one()
    assert created_at == datetime(2026, 5, 3, 7, tzinfo=UTC)
    assert created_at.tzinfo is UTC


def test_datetime_without_a_zone_is_refused(app: Flask) -> None:
    naive = datetime(2026, 5, 3)  # noqa: DTZ001
    with app.app_context(), pytest.raises(StatementError, match="without a zone"):
        db.session.execute(select(User).where(User.created_at == naive))


@pytest.fixture
def many_messages(app: Flask, alice: Person, bob: Person) -> Flask:
    """Messages of several users, so many that a scan would cost more than an index."""
    now, owners, statuses = utcnow(), [alice.id, *[bob.id] * 9], ["delivered", "failed", "sent"]
    with app.app_context():
        sample = Message()
        sample.set_content(Content("+15558675310", "+15005550006", "Hello"))
        content = {
            column.key: value
            for column in inspect(Message).column_attrs
            if (value := getattr(sample, column.key)) is not None
        }
        rows = [
            content
            | {
                "owner_id": owners[number % 10],
                "idempotency_key": _uuid(number),
                "public_id": _uuid(number),
                "created_at": now - timedelta(seconds=number),
                "status_at": now,
                "status": statuses[number % 3],
                "twilio_sid": sid(number),
            }
            for number in range(3000)
        ]
        db.session.execute(insert(Message), rows)
        db.session.commit()
        with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("VACUUM"))
            connection.execute(text("ANALYZE"))
    return app


def _uuid(number: int):  # type: ignore[no-untyped-def]
    import uuid

    return uuid.UUID(int=number)


def plan(statement: object, parameters: dict[str, object] | None = None) -> str:
    """Return the plan of the statement as this database runs it."""
    with db.engine.begin() as connection:
        explain = "EXPLAIN " if connection.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN "
        compiled: list[tuple[str, object]] = []

        def before(_c, _cursor, sql, values, _context, _many):  # type: ignore[no-untyped-def]
            compiled.append((sql, values))
            return explain + sql, values

        event.listen(connection, "before_cursor_execute", before, retval=True)
        cursor = connection.execute(statement, parameters or {})  # type: ignore[call-overload]
        rows = cursor.cursor.fetchall()
        event.remove(connection, "before_cursor_execute", before)
        return "\n".join(str(row) for row in rows)


def is_scan(query_plan: str) -> bool:
    return "Seq Scan on message" in query_plan or "SCAN message" in query_plan


def test_counts_of_a_batch_read_an_index_alone(many_messages: Flask, alice: Person) -> None:
    batch = Batch(id=1, owner_id=alice.id)
    with many_messages.app_context():
        db.session.execute(update(Message).values(batch_id=Message.id % 10))
        db.session.commit()
        with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE"))
        counts = plan(select_counts(batch))
    assert "ix_message_owner_id_batch_id_status_error_code_status_at" in counts, counts
    assert "TEMP B-TREE" not in counts, counts


def test_hot_queries_never_scan_the_messages(many_messages: Flask, alice: Person) -> None:
    me, now = alice.id, utcnow()
    with many_messages.app_context():
        queries = {
            "first page": search.page_query(SearchFilters(me)),
            "later page": search.page_query(SearchFilters(me), (now - timedelta(seconds=1500), 5)),
            "one state": search.page_query(SearchFilters(me, State.FAILED)),
            "one message": Message.select_owned(me).where(Message.public_id == _uuid(7)),
            "send limit": Message.select_creation_times(me, now, timedelta(minutes=1))
            .offset(29)
            .limit(1),
            "events": StatusEvent.select_for_message(7),
            "first of everyone": first_message_query(EVERYONE),
            "without callback": health_facts._select_without_callback(now, timedelta(minutes=1)),
            "called back": health_facts._count_called_back(now - timedelta(minutes=6), now),
        }
        for name, query in queries.items():
            assert not is_scan(plan(query)), (name, plan(query))
        counts = plan(*counts_query(SearchFilters(me)))
        assert not is_scan(counts), counts
        dialect_name = db.engine.dialect.name
        for column, value in ((Message.twilio_sid, sid(1)), (Message.public_id, _uuid(1))):
            of_callback = plan(
                select_locked(dialect_name, column, skips_locked=True), {"values": [value]}
            )
            assert not is_scan(of_callback), of_callback


def statements(app: Flask) -> list[str]:
    """Return a list to which the first word of each statement is added."""
    commands: list[str] = []
    with app.app_context():
        engine = db.engine

    def before(_c, _cursor, sql, *_rest):  # type: ignore[no-untyped-def]
        commands.append(sql.split()[0])

    event.listen(engine, "before_cursor_execute", before)
    return commands


def test_callback_costs_two_reads_an_insert_an_update_and_a_tally(
    app: Flask, alice: Person
) -> None:
    message = alice.has_message(twilio_sid=sid(1))
    commands = statements(app)
    path = f"/webhooks/twilio/status/{message.public_id}"
    assert call_back(app.test_client(), fields(sid(1), "sent"), path).status_code == 204
    stored = [word for word in commands if word not in ("BEGIN", "ROLLBACK")]
    assert stored == ["SELECT", "SELECT", "INSERT", "UPDATE", "UPDATE", "INSERT"]


FILTERS = {
    "state": "failed",
    "error": "30003",
    "sender": "+15005550006",
    "source": "lookup",
    "period": "7d",
}


def test_each_filter_of_the_log_reads_from_an_index(many_messages: Flask, alice: Person) -> None:
    with many_messages.app_context():
        for name, value in FILTERS.items():
            filters = read_filters(alice.id, {name: value}, utcnow()).search_filters
            for query in (search.page_query(filters), search.page_query(filters, (utcnow(), 5))):
                assert not is_scan(plan(query)), (name, plan(query))


STATEMENTS_OF_FILTERS: list[tuple[dict[str, str], int, int]] = [
    ({}, 1_000, 4),
    (FILTERS, 1_000, 4),  # there is no such error, so the first index is exhausted at once
    ({"state": "failed", "sender": "+15005550006"}, 1_000, 5),  # keys first, rows after
    ({"state": "failed", "sender": "+15005550006", "source": "callback"}, 10, 6),
]


def test_log_costs_few_statements_whatever_its_length(
    many_messages: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One statement an index at most, and one for the whole of the first."""
    alice.get("/messages")  # fills the cache of the connection banner
    commands = statements(many_messages)
    for filters, limit, count in STATEMENTS_OF_FILTERS:
        monkeypatch.setattr(filter_conditions, "SCAN_LIMIT", limit)
        commands.clear()
        assert alice.get("/messages?" + urlencode(filters)).status_code == 200
        assert [word for word in commands if word != "BEGIN"] == ["SELECT"] * count, filters


def test_readyz_reports_a_database_that_is_not_migrated(app: Flask) -> None:
    client = app.test_client()
    assert client.get("/healthz").json == {"status": "ok"}
    assert client.get("/readyz").status_code == 200
    with app.app_context():
        with db.engine.begin() as connection:
            head = connection.scalar(text("SELECT version_num FROM alembic_version"))
            connection.execute(text("DELETE FROM alembic_version"))
        answer = client.get("/readyz")
        with db.engine.begin() as connection:
            values = {"head": head}  # another test may share the database
            connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), values)
    assert answer.status_code == 503
    assert "not migrated" in answer.text


def test_unreachable_database_is_not_ready_but_the_process_lives(make_app) -> None:  # type: ignore[no-untyped-def]
    client = make_app(DATABASE_URL="sqlite:////nowhere/at/all.sqlite").test_client()
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503
