"""Database errors explained: the cause and what to do. Data in problems.toml.

Never repeats the driver's own text: it may quote a host, a user or a value.
"""

import re
import sqlite3
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from smstracker.command_name import COMMAND
from smstracker.database.engine import UNAVAILABLE
from smstracker.database.sqlite_file import (
    EmptyFileError,
    LogOfAnotherFileError,
    MissingBesideLogError,
    MissingFileError,
    ReplacedFileError,
    ReplacedLogError,
)


@dataclass(frozen=True, slots=True, eq=False)
class DatabaseProblem:
    """`cause` and `fix` are clauses; `fix` names the setting or the command that helps.

    `is_temporary` if it may pass without anybody's doing, `is_lasting` if trying again does not
    help and visitors may know the cause, `is_write_problem` if nothing can be stored. The other
    fields say which errors it stands for: see problems.toml.
    """

    cause: str
    fix: str
    is_temporary: bool = False
    is_lasting: bool = False
    is_write_problem: bool = False
    sqlite_codes: Sequence[str] = ()
    sqlstates: Sequence[str] = ()
    words: str | None = None

    @property
    def sentence(self) -> str:
        return f"{self.cause[0].upper()}{self.cause[1:]}. {self.fix[0].upper()}{self.fix[1:]}."

    def __str__(self) -> str:
        return f"{self.cause}: {self.fix}"


class LiveDatabaseError(Exception):
    """Demo mode was started on the database of a live installation."""


# Those of SQLite's driver come from what runs without SQLAlchemy, as VACUUM.
DATABASE_ERRORS = (DBAPIError, sqlite3.Error, PoolTimeoutError, LiveDatabaseError)

_data = Path(__file__).with_name("problems.toml").read_text("utf-8")
_tables = tomllib.loads(_data.replace("{command}", COMMAND))
PROBLEMS = {name: DatabaseProblem(**table) for name, table in _tables.items()}
UNREACHABLE = PROBLEMS["unreachable"]
NOT_MIGRATED = PROBLEMS["not_migrated"]
NEWER_VERSION = PROBLEMS["newer_version"]
LOCKED = PROBLEMS["locked"]
DAMAGED = PROBLEMS["damaged"]
DISK_FULL = PROBLEMS["disk_full"]
READ_ONLY_SERVER = PROBLEMS["read_only_server"]
TOO_SLOW = PROBLEMS["too_slow"]
REPLACED_FILE = PROBLEMS["replaced_file"]
REPLACED_LOG = PROBLEMS["replaced_log"]
LIVE = PROBLEMS["live"]

_BY_TYPE: dict[type[BaseException], DatabaseProblem] = {
    PoolTimeoutError: PROBLEMS["pool_exhausted"],
    LiveDatabaseError: LIVE,
    MissingFileError: PROBLEMS["no_file"],
    MissingBesideLogError: PROBLEMS["no_file_beside_log"],
    LogOfAnotherFileError: PROBLEMS["log_of_another_file"],
    EmptyFileError: PROBLEMS["empty_file"],
    ReplacedFileError: REPLACED_FILE,
    ReplacedLogError: REPLACED_LOG,
}
_BY_SQLITE_CODE: dict[int, DatabaseProblem] = {
    getattr(sqlite3, code): problem
    for problem in PROBLEMS.values()
    for code in problem.sqlite_codes
}
_BY_SQLSTATE = {state: problem for problem in PROBLEMS.values() for state in problem.sqlstates}
# A pooler reports everything as a protocol violation.
_PROTOCOL_VIOLATION = "08P01"
# Masked before the search for words: "timeout-db" is a host. Poolers do not quote.
_QUOTED_NAMES = r"""(?<!\w)(["']).*?\1(?!\w)|(?<=such database: )\S+|(?<=such user: )\S+"""


def explain(error: BaseException) -> DatabaseProblem | None:
    """Return the problem behind a database error; None for an error of the program."""
    cause = error.orig or error if isinstance(error, DBAPIError) else error
    problem = None
    if type(cause) in _BY_TYPE:
        problem = _BY_TYPE[type(cause)]
    elif isinstance(cause, sqlite3.Error):
        problem = _sqlite_problem(cause)
    elif "psycopg" in sys.modules:  # 8 MB that SQLite does not need
        problem = _postgresql_problem(cause)
    return problem or (UNREACHABLE if isinstance(error, UNAVAILABLE) else None)


def log_reason(error: BaseException) -> str:
    """Return what the log says of an error: its cause, or its type."""
    problem = explain(error)
    return problem.cause if problem else type(error).__name__


def _sqlite_problem(error: sqlite3.Error) -> DatabaseProblem | None:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code == sqlite3.SQLITE_ERROR and re.search(r"no such (table|column)|no column", str(error)):
        return NOT_MIGRATED
    return _BY_SQLITE_CODE.get(code)


def _postgresql_problem(error: BaseException) -> DatabaseProblem | None:
    import psycopg

    if not isinstance(error, psycopg.Error):
        return None
    state = error.sqlstate or ""
    may_be_connection = isinstance(error, psycopg.OperationalError | psycopg.ProgrammingError)
    if may_be_connection and state in ("", _PROTOCOL_VIOLATION):
        text = re.sub(_QUOTED_NAMES, "…", str(error))
        for problem in PROBLEMS.values():
            if problem.words and re.search(problem.words, text, re.IGNORECASE):
                return problem
    return next((_BY_SQLSTATE[state[:n]] for n in (5, 3, 2) if state[:n] in _BY_SQLSTATE), None)
