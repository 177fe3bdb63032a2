"""Each database failure has its own cause: on pages, in the log and for probes."""

import logging
import re
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

from smstracker.database.problems import PROBLEMS, DatabaseProblem, explain
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
    assert command.stderr.startswith("Error: The database file cannot be read or written. If the")
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
    assert explain(caught.value) is PROBLEMS["disk_full"]


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
    ("code", "problem"),
    [
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "locked"),
        (sqlite3.SQLITE_LOCKED, "locked"),
        (sqlite3.SQLITE_PERM, "read_only_file"),
        (sqlite3.SQLITE_READONLY_DBMOVED, "read_only_file"),
        (sqlite3.SQLITE_IOERR_WRITE, "file_failing"),
        (sqlite3.SQLITE_CORRUPT, "damaged"),
        (sqlite3.SQLITE_NOTADB, "damaged"),
        (sqlite3.SQLITE_CANTOPEN_ISDIR, "not_opened"),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, None),
    ],
)
def test_sqlite_code_has_its_cause(code: int, problem: str | None) -> None:
    error = sqlite3.DatabaseError("secret")
    error.sqlite_errorcode = code
    assert explain(DBAPIError("SELECT 1", {}, error)) is (PROBLEMS[problem] if problem else None)


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ("53100", "server_disk_full"),
        ("53300", "no_connections"),
        ("25006", "read_only_server"),
        ("28P01", "no_access"),
        ("28000", "no_access"),
        ("3D000", "no_database"),
        ("42P01", "not_migrated"),
        ("42501", "no_right"),
        ("55P03", "locked"),
        ("57014", "too_slow"),
        ("57P01", "restarts"),
        ("57P03", "restarts"),
        ("XX001", "damaged"),
        ("23505", None),
        ("22001", None),
        ("42601", None),
    ],
)
def test_sqlstate_has_its_cause(state: str, problem: str | None) -> None:
    error = DBAPIError("SELECT 1", {}, psycopg.errors.lookup(state)("host db.internal, pw secret"))
    assert explain(error) is (PROBLEMS[problem] if problem else None)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ('FATAL:  password authentication failed for user "sms"', "no_access"),
        ('FATAL:  no pg_hba.conf entry for host "192.0.2.1"', "no_access"),
        ('FATAL:  role "sms" does not exist', "no_access"),
        ('FATAL:  database "sms" does not exist', "no_database"),
        ("FATAL:  sorry, too many clients already", "no_connections"),
        ("FATAL:  remaining connection slots are reserved for", "no_connections"),
        ("FATAL:  the database system is starting up", "restarts"),
        ("FATAL:  unsupported startup parameter: options", "pooler"),
        ('could not translate host name "db.internal" to address', "unknown_host"),
        ("[Errno -2] Name or service not known", "unknown_host"),
        ("server does not support SSL, but SSL was required", "no_tls"),
        ("SSL error: certificate verify failed", "no_tls"),
        ("connection timeout expired", "no_answer"),
        ("connection to server failed: Connection refused", "refused"),
        ('definition of service "sms" not found', "no_service"),
        ('invalid sslmode value: "sometimes"', "bad_option"),
        ("server closed the connection unexpectedly", "unreachable"),
    ],
)
def test_connection_that_fails_has_its_cause(words: str, problem: str) -> None:
    assert explain(OperationalError("", {}, psycopg.OperationalError(words))) is PROBLEMS[problem]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ('FATAL:  database "authentication" does not exist', "no_database"),
        ('FATAL:  database "the "ssl" one" does not exist', "no_database"),
        ('FATAL:  role "ssl" is not permitted to log in', "no_access"),
        ('FATAL:  role "too many" does not exist', "no_access"),
        ("FATAL:  no such database: password", "no_database"),
        ("FATAL:  no such user: starting up", "no_access"),
        ('server at "tls.db.example" (192.0.2.1) failed: Connection refused', "refused"),
        ('server at "timeout-db", port 5432 failed: Connection refused', "refused"),
        ('on socket "/run/tls/.s.PGSQL.1" failed: No such file or directory', "refused"),
        ("failed to resolve host 'password': [Errno -2]", "unknown_host"),
        ('could not translate host name "pg_hba" to address', "unknown_host"),
        ('server certificate for "password" does not match host name "x"', "no_tls"),
        ('definition of service "refused" not found', "no_service"),
        ('server at "db-ssl" closed the connection unexpectedly', "unreachable"),
    ],
)
def test_words_inside_quoted_names_are_ignored(words: str, problem: str) -> None:
    assert explain(OperationalError("", {}, psycopg.OperationalError(words))) is PROBLEMS[problem]


def test_option_that_postgresql_does_not_know_is_reported() -> None:
    words = 'invalid connection option "colour"'
    error = DBAPIError("", {}, psycopg.ProgrammingError(words))
    assert explain(error) is PROBLEMS["bad_option"]


def test_other_errors_have_no_database_problem() -> None:
    assert explain(ValueError("x")) is None
    assert explain(DBAPIError("", {}, psycopg.ProgrammingError("the cursor is closed"))) is None
    assert explain(IntegrityError("", {}, sqlite3.IntegrityError("UNIQUE"))) is None
    assert explain(PoolTimeoutError()) is PROBLEMS["pool_exhausted"]


def test_causes_and_fixes_are_clauses() -> None:
    assert len(PROBLEMS) > 20
    for problem in PROBLEMS.values():
        assert problem.cause[0].islower() or problem.cause.startswith(("TWILIO_", "DATABASE_"))
        assert not problem.cause.endswith(".")
        assert not problem.fix.endswith(".")
        re.compile(problem.words or "")
