"""Each database failure has its own cause: on pages, in the log and for probes."""

import logging
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from flask import Flask
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from smstracker.database import problems
from smstracker.database.problems import DatabaseProblem, explain
from smstracker.extensions import db
from smstracker.web.health import database_problem
from tests.clients import Person
from tests.signing import call_back, fields, sid

pytestmark = pytest.mark.both_databases


on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process can grow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@on_sqlite
def test_full_disk_is_reported_by_callbacks_pages_probe_and_command(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = Person(app, "a@example.org")
    with full_disk(), caplog.at_level(logging.WARNING):
        assert call_back(app.test_client(), fields(sid(1), "sent")).status_code == 503
        ready = app.test_client().get("/readyz")
        page = stranger.post("/auth/sign-in", {"email": stranger.email})
        command = app.test_cli_runner().invoke(args=["users", "add", "b@example.org"])
    assert ready.status_code == 503
    assert "the database file cannot be read or written" in ready.json["problem"]
    assert page.status_code == 503
    assert "The database file cannot be read or written, so nothing was saved." in page.text
    assert command.stderr.startswith("Error: The database file cannot be read or written. If it")
    assert "otherwise check the disk and its quota" in command.stderr
    reasons = {record.msg: getattr(record, "reason", "") for record in caplog.records}
    for line in ("callback_not_stored", "not_ready", "database_error"):
        assert reasons[line] == "the database file cannot be read or written"
    assert database_problem_of(app) is None


def database_problem_of(app: Flask) -> DatabaseProblem | None:
    with app.app_context():
        return database_problem()


@on_sqlite
def test_database_that_may_not_grow_is_a_full_disk(app: Flask) -> None:
    with app.app_context():
        event.listen(db.engine, "connect", lambda c, _: c.execute("PRAGMA max_page_count = 1"))
        with pytest.raises(OperationalError) as caught, db.engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE large AS SELECT zeroblob(1000000)")
    assert explain(caught.value) is problems.DISK_FULL


@on_sqlite
def test_probe_writes_once_in_five_seconds_and_does_not_wait_for_a_writer(app: Flask) -> None:
    with app.app_context():
        writes: list[str] = []
        event.listen(db.engine, "connect", lambda c, _: c.set_trace_callback(writes.append))
        with db.engine.begin() as connection:
            connection.exec_driver_sql("PRAGMA user_version = 0")
            assert database_problem() is None
        for _ in range(3):
            assert database_problem() is None
    assert len([sql for sql in writes if sql.startswith("PRAGMA user_version = ")]) == 3


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ("53100", problems.SERVER_DISK_FULL),
        ("53300", problems.NO_CONNECTIONS),
        ("25006", problems.READ_ONLY_SERVER),
        ("28P01", problems.NO_ACCESS),
        ("28000", problems.NO_ACCESS),
        ("3D000", problems.NO_DATABASE),
        ("42P01", problems.NOT_MIGRATED),
        ("42501", problems.NO_RIGHT),
        ("55P03", problems.LOCKED),
        ("57014", problems.TOO_SLOW),
        ("57P01", problems.RESTARTS),
        ("57P03", problems.RESTARTS),
        ("XX001", problems.DAMAGED),
        ("23505", None),
        ("22001", None),
        ("42601", None),
    ],
)
def test_sqlstate_has_its_cause(state: str, problem: DatabaseProblem | None) -> None:
    error = DBAPIError("SELECT 1", {}, psycopg.errors.lookup(state)("host db.internal, pw secret"))
    assert explain(error) is problem


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ('FATAL:  password authentication failed for user "sms"', problems.NO_ACCESS),
        ('FATAL:  no pg_hba.conf entry for host "192.0.2.1"', problems.NO_ACCESS),
        ('FATAL:  role "sms" does not exist', problems.NO_ACCESS),
        ('FATAL:  database "sms" does not exist', problems.NO_DATABASE),
        ("FATAL:  sorry, too many clients already", problems.NO_CONNECTIONS),
        ("FATAL:  remaining connection slots are reserved for", problems.NO_CONNECTIONS),
        ("FATAL:  the database system is starting up", problems.RESTARTS),
        ("FATAL:  unsupported startup parameter: options", problems.POOLER),
        ('could not translate host name "db.internal" to address', problems.UNKNOWN_HOST),
        ("[Errno -2] Name or service not known", problems.UNKNOWN_HOST),
        ("server does not support SSL, but SSL was required", problems.NO_TLS),
        ("SSL error: certificate verify failed", problems.NO_TLS),
        ("connection timeout expired", problems.NO_ANSWER),
        ("connection to server failed: Connection refused", problems.REFUSED),
        ('definition of service "sms" not found', problems.NO_SERVICE),
        ('invalid sslmode value: "sometimes"', problems.BAD_OPTION),
        ("server closed the connection unexpectedly", problems.UNREACHABLE),
    ],
)
def test_connection_that_fails_has_its_cause(words: str, problem: DatabaseProblem) -> None:
    assert explain(OperationalError("", {}, psycopg.OperationalError(words))) is problem


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ('FATAL:  database "authentication" does not exist', problems.NO_DATABASE),
        ('FATAL:  database "the "ssl" one" does not exist', problems.NO_DATABASE),
        ('FATAL:  role "ssl" is not permitted to log in', problems.NO_ACCESS),
        ('FATAL:  role "too many" does not exist', problems.NO_ACCESS),
        ("FATAL:  no such database: password", problems.NO_DATABASE),
        ("FATAL:  no such user: starting up", problems.NO_ACCESS),
        ('server at "tls.db.example" (192.0.2.1) failed: Connection refused', problems.REFUSED),
        ('server at "timeout-db", port 5432 failed: Connection refused', problems.REFUSED),
        ('on socket "/run/tls/.s.PGSQL.1" failed: No such file or directory', problems.REFUSED),
        ("failed to resolve host 'password': [Errno -2]", problems.UNKNOWN_HOST),
        ('could not translate host name "pg_hba" to address', problems.UNKNOWN_HOST),
        ('server certificate for "password" does not match host name "x"', problems.NO_TLS),
        ('definition of service "refused" not found', problems.NO_SERVICE),
        ('server at "db-ssl" closed the connection unexpectedly', problems.UNREACHABLE),
    ],
)
def test_words_inside_quoted_names_are_ignored(words: str, problem: DatabaseProblem) -> None:
    assert explain(OperationalError("", {}, psycopg.OperationalError(words))) is problem


def test_option_that_postgresql_does_not_know_is_reported() -> None:
    words = 'invalid connection option "colour"'
    error = DBAPIError("", {}, psycopg.ProgrammingError(words))
    assert explain(error) is problems.BAD_OPTION


def test_other_errors_have_no_database_problem() -> None:
    assert explain(ValueError("x")) is None
    assert explain(DBAPIError("", {}, psycopg.ProgrammingError("the cursor is closed"))) is None
    assert explain(IntegrityError("", {}, sqlite3.IntegrityError("UNIQUE"))) is None
    assert explain(PoolTimeoutError()) is problems.POOL_EXHAUSTED


def test_causes_and_fixes_are_clauses() -> None:
    database_problems = [
        value for value in vars(problems).values() if isinstance(value, DatabaseProblem)
    ]
    assert len(database_problems) > 20
    for problem in database_problems:
        assert problem.cause[0].islower() or problem.cause.startswith(("TWILIO_", "DATABASE_"))
        assert not problem.cause.endswith(".")
        assert not problem.fix.endswith(".")
