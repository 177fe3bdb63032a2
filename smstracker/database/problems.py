"""Database errors explained: the cause and what to do.

Never repeats the driver's own text: it may quote a host, a user or a value.
"""

import re
import sqlite3
import sys
from dataclasses import dataclass
from functools import partial

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from smstracker.database.engine import UNAVAILABLE
from smstracker.database.sqlite_file import (
    EmptyFileError,
    MissingBesideLogError,
    MissingFileError,
    ReplacedFileError,
)


@dataclass(frozen=True, slots=True)
class DatabaseProblem:
    """`cause` and `fix` are clauses; `fix` names the setting or the command that helps.

    `is_temporary` if it may pass without anybody's doing.
    """

    cause: str
    fix: str
    is_temporary: bool = False

    @property
    def sentence(self) -> str:
        return f"{self.cause[0].upper()}{self.cause[1:]}. {self.fix[0].upper()}{self.fix[1:]}."

    def __str__(self) -> str:
        return f"{self.cause}: {self.fix}"


temporary_problem = partial(DatabaseProblem, is_temporary=True)

UNREACHABLE = temporary_problem(
    "the database cannot be reached", "check DATABASE_URL and whether it runs"
)
NOT_MIGRATED = DatabaseProblem("the database is not migrated", "run flask db upgrade")
NEWER_VERSION = DatabaseProblem(
    "the database belongs to a newer version of smstracker",
    "install that version, or restore a backup",
)
LOCKED = temporary_problem(
    "the database is locked", "end the program that holds it, or try again in a moment"
)
DISK_FULL = temporary_problem("the disk is full", "free space on the disk of the database")
READ_ONLY_FILE = DatabaseProblem(
    "the database file cannot be written",
    "let this user write to the file and its folder; the disk may be mounted read-only",
)
FILE_FAILING = temporary_problem(
    "the database file cannot be read or written",
    "if it was deleted or replaced, stop smstracker, put the right file and its -wal file back, "
    "and start again; otherwise check the disk and its quota",
)
NOT_OPENED = DatabaseProblem(
    "the database file cannot be opened",
    "check DATABASE_URL, and that the folder exists and lets this user write",
)
_CHECK_URL_OR_MIGRATE = (
    "if it should hold messages, check DATABASE_URL and whether its disk is mounted; "
    "for a new installation run flask db upgrade"
)
NO_FILE = DatabaseProblem("the database file does not exist (yet)", _CHECK_URL_OR_MIGRATE)
NO_FILE_BESIDE_LOG = DatabaseProblem(
    "the database file is missing, but its -wal file exists",
    "stop smstracker and put the database file back; to give up its messages, delete the -wal "
    "file and run flask db upgrade",
)
EMPTY_FILE = DatabaseProblem("the database file is empty", _CHECK_URL_OR_MIGRATE)
REPLACED_FILE = DatabaseProblem(
    "the database file was deleted or replaced while smstracker was running",
    "put the right file in its place and start smstracker again",
)
DAMAGED = DatabaseProblem(
    "the database file is damaged or not a SQLite database",
    "check DATABASE_URL, or restore a backup",
)
SERVER_DISK_FULL = temporary_problem(
    "the disk is full on the database server", "free space on that server"
)
READ_ONLY_SERVER = DatabaseProblem(
    "the database is read-only",
    "name the primary server in DATABASE_URL: a replica takes no writes",
)
NO_ACCESS = DatabaseProblem(
    "the database server refuses the user or the password",
    "check both in DATABASE_URL, and pg_hba.conf on the server",
)
NO_DATABASE = DatabaseProblem(
    "the database server has no database of this name", "create it, or check DATABASE_URL"
)
NO_SCHEMA = DatabaseProblem(
    "the schema for the tables is missing", "create it, or check search_path in DATABASE_URL"
)
NO_RIGHT = DatabaseProblem(
    "the user of the database lacks a right", "make it the owner of the schema and its tables"
)
NO_CONNECTIONS = temporary_problem(
    "the database server has no free connection",
    "lower WEB_CONCURRENCY and WEB_THREADS, or raise max_connections on the server",
)
POOL_EXHAUSTED = temporary_problem(
    "all database connections of this process are in use",
    "try again in a moment, or raise WEB_CONCURRENCY",
)
RESTARTS = temporary_problem("the database server is starting or stopping", "try again in a moment")
TOO_SLOW = temporary_problem(
    "the database took too long", "try again in a moment, and look at the load of the server"
)
REFUSED = temporary_problem(
    "the database server refuses connections",
    "check host and port in DATABASE_URL and whether it runs",
)
UNKNOWN_HOST = temporary_problem(
    "the host of the database is unknown", "check the host in DATABASE_URL, and DNS"
)
NO_ANSWER = temporary_problem(
    "the database server does not answer in time", "check host, port and firewall"
)
NO_TLS = DatabaseProblem(
    "the TLS connection to the database fails", "check sslmode and sslrootcert in DATABASE_URL"
)
POOLER = DatabaseProblem(
    "the connection pooler refuses a startup parameter of DATABASE_URL",
    "remove options from DATABASE_URL and set them with ALTER ROLE",
)
BAD_OPTION = DatabaseProblem(
    "DATABASE_URL has an option that PostgreSQL does not know", "check the part after its ?"
)
STATEMENT_POOLER = DatabaseProblem(
    "the connection pooler allows no transactions", "set its pool_mode to session or transaction"
)
NO_SERVICE = DatabaseProblem(
    "the service that DATABASE_URL names is not defined", "check pg_service.conf"
)

LIVE = DatabaseProblem(
    "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN are not set, but the database holds messages of a "
    "live account, or users of a live installation",
    "set both, or give the demo a database of its own",
)


class LiveDatabaseError(Exception):
    """Demo mode was started on the database of a live installation."""


DATABASE_ERRORS = (DBAPIError, PoolTimeoutError, LiveDatabaseError)
WRITE_PROBLEMS = (
    DISK_FULL,
    FILE_FAILING,
    READ_ONLY_FILE,
    SERVER_DISK_FULL,
    READ_ONLY_SERVER,
)
# Trying again does not help, and visitors may know the cause.
LASTING_PROBLEMS = (
    NOT_MIGRATED,
    NO_FILE,
    NO_FILE_BESIDE_LOG,
    EMPTY_FILE,
    REPLACED_FILE,
    DAMAGED,
)

FILE_PROBLEMS: dict[type[sqlite3.Error], DatabaseProblem] = {
    MissingFileError: NO_FILE,
    MissingBesideLogError: NO_FILE_BESIDE_LOG,
    EmptyFileError: EMPTY_FILE,
    ReplacedFileError: REPLACED_FILE,
}
# Primary result codes: https://www.sqlite.org/rescode.html
SQLITE_PROBLEMS = {
    sqlite3.SQLITE_PERM: READ_ONLY_FILE,
    sqlite3.SQLITE_BUSY: LOCKED,
    sqlite3.SQLITE_LOCKED: LOCKED,
    sqlite3.SQLITE_READONLY: READ_ONLY_FILE,
    sqlite3.SQLITE_IOERR: FILE_FAILING,
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_FULL: DISK_FULL,
    sqlite3.SQLITE_CANTOPEN: NOT_OPENED,
    sqlite3.SQLITE_NOTADB: DAMAGED,
}
# https://www.postgresql.org/docs/current/errcodes-appendix.html; a prefix stands for its class.
SQLSTATE_PROBLEMS = {
    "53100": SERVER_DISK_FULL,
    "53300": NO_CONNECTIONS,
    "53": DatabaseProblem("the database server is out of resources", "look at its log"),
    "25006": READ_ONLY_SERVER,
    "28": NO_ACCESS,
    "3D000": NO_DATABASE,
    "3F000": NO_SCHEMA,
    "42P01": NOT_MIGRATED,
    "42703": NOT_MIGRATED,
    "42883": NOT_MIGRATED,
    "42501": NO_RIGHT,
    "55P03": LOCKED,
    "40P01": LOCKED,
    "57014": TOO_SLOW,
    "25P03": TOO_SLOW,
    "57P": RESTARTS,
    "58": DatabaseProblem("the disk of the database server fails", "look at its log"),
    "XX001": DAMAGED,
    "XX002": DAMAGED,
    "08": UNREACHABLE,
}
# A failed connection has no SQLSTATE, only the text of libpq or the server; a pooler reports
# everything as a protocol violation.
PROTOCOL_VIOLATION = "08P01"
# Names within that text, masked before the search: "timeout-db" is a host. Poolers do not quote.
QUOTED_NAMES = r"""(?<!\w)(["']).*?\1(?!\w)|(?<=such database: )\S+|(?<=such user: )\S+"""
CONNECTION_PROBLEMS = (
    (r"startup parameter", POOLER),
    (r"invalid (connection option|\w+ value|integer value)", BAD_OPTION),
    (r"statement pooling", STATEMENT_POOLER),
    (
        r"password|authentication|pg_hba|role .* does not exist|no such user|permitted to log in",
        NO_ACCESS,
    ),
    (r"database .* does not exist|no such database", NO_DATABASE),
    (
        r"too many|connection slots|no more connections|max_client_conn|query_wait_timeout",
        NO_CONNECTIONS,
    ),
    (r"starting up|shutting down|recovery mode|not yet accepting", RESTARTS),
    (r"translate host|resolve|name or service|getaddrinfo|nodename", UNKNOWN_HOST),
    (r"certificate|\bSSL\b|\bTLS\b", NO_TLS),
    (r"definition of service|service file", NO_SERVICE),
    (r"read-only|read-write", READ_ONLY_SERVER),
    (r"timeout|timed out|unreachable|no route", NO_ANSWER),
    (r"refused|no such file", REFUSED),
)


def explain(error: BaseException) -> DatabaseProblem | None:
    """Return the problem behind a database error; None for an error of the program."""
    if isinstance(error, PoolTimeoutError):
        return POOL_EXHAUSTED
    if isinstance(error, LiveDatabaseError):
        return LIVE
    cause = error.orig if isinstance(error, DBAPIError) else error
    problem = None
    if isinstance(cause, sqlite3.Error):
        problem = _sqlite_problem(cause)
    elif "psycopg" in sys.modules:  # 8 MB that SQLite does not need
        problem = _postgresql_problem(cause)
    return problem or (UNREACHABLE if isinstance(error, UNAVAILABLE) else None)


def log_reason(error: BaseException) -> str:
    """Return what the log says of an error: its cause, or its type."""
    problem = explain(error)
    return problem.cause if problem else type(error).__name__


def _sqlite_problem(error: sqlite3.Error) -> DatabaseProblem | None:
    if type(error) in FILE_PROBLEMS:
        return FILE_PROBLEMS[type(error)]
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code == sqlite3.SQLITE_ERROR and re.search(r"no such (table|column)|no column", str(error)):
        return NOT_MIGRATED
    return SQLITE_PROBLEMS.get(code)


def _postgresql_problem(error: BaseException | None) -> DatabaseProblem | None:
    import psycopg

    if not isinstance(error, psycopg.Error):
        return None
    state = error.sqlstate or ""
    may_be_connection = isinstance(error, psycopg.OperationalError | psycopg.ProgrammingError)
    if may_be_connection and state in ("", PROTOCOL_VIOLATION):
        text = re.sub(QUOTED_NAMES, "…", str(error))
        for words, problem in CONNECTION_PROBLEMS:
            if re.search(words, text, re.IGNORECASE):
                return problem
    return next(
        (SQLSTATE_PROBLEMS[state[:n]] for n in (5, 3, 2) if state[:n] in SQLSTATE_PROBLEMS), None
    )
