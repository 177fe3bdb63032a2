"""Backups of PostgreSQL, by its own programs pg_dump, pg_restore and psql."""

import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Set
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import IO, Any, cast

import psycopg
from psycopg import ConnectionInfo
from psycopg.conninfo import make_conninfo
from sqlalchemy import Engine, inspect, text
from sqlalchemy.engine import Connection

from smstracker.backups.backup_file import BackupError, new_file
from smstracker.extensions import db
from smstracker.models import SignInToken
from smstracker.models.users import UserSession
from smstracker.plurals import format_count
from smstracker.system_errors import is_disk_full

PORTABLE = ("--no-owner", "--no-privileges")  # the server may have other roles
# The library of our client may be newer than the programs, which refuse what they do not know.
CONNECTION_PARAMETERS = (
    *("host", "hostaddr", "port", "dbname", "user", "passfile", "service", "options"),
    *("application_name", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl"),
)
# Of the tables' triggers and indexes. The schema may hold functions of other programs too.
FUNCTIONS = ("fold_text(text)", "keep_message_text()", "text_grams(integer, text)")
# What is restored of a dump, by the kind that its list of contents names: the app's tables, which
# alone are dumped, with what belongs to them. Types and operators, for example, are of others.
OWN_KINDS = (
    *("TABLE", "TABLE DATA", "SEQUENCE", "SEQUENCE OWNED BY", "SEQUENCE SET", "DEFAULT"),
    *("CONSTRAINT", "FK CONSTRAINT", "INDEX", "TRIGGER"),
)
COPY_ESCAPE = re.compile(r"\\(.)")
COPY_CHARACTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
COPY_HEAD = re.compile(r"COPY .+ \((.+)\) FROM stdin;")
OWN_ENTRY = re.compile(
    rf"^\d+; \d+ \d+ (?:(?:{'|'.join(OWN_KINDS)}) \S"
    rf"|FUNCTION \S+ (?:{'|'.join(map(re.escape, FUNCTIONS))}) )"
)
SETTINGS = text("SELECT name FROM pg_settings")
# What to do about errors of the programs, by a part of the error.
ADVICE = {
    "server version mismatch": "Install those of the server's version or a newer one.",
    "unsupported version": "The backup was made by newer programs: install those here.",
}
FIRST_TABLES = {"message", "status_event"}  # that each version has
# Up to 0011, and the last one up to 0024.
FORMER_TABLES = ("insight_cursor", "insight_change", "insight_tally", "insight_span", "chore")
ENDING_SECONDS = 5.0  # in which the server ends a session that was closed just before
LIMITS = "SET lock_timeout = '5s'"
OTHER_SESSIONS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND application_name = current_setting('application_name')
"""
IN_USE = "The database is in use. Nothing was changed. Stop the web server and the worker first."
# Drops the tables, which nobody else can use from then on, and undoes that if another process has
# stored something in them meanwhile: it is connected. One that connects later waits for the lock,
# and finds the restored tables.
REPLACE_ALONE = """
    DO $$
    DECLARE deadline timestamptz := clock_timestamp() + interval '{seconds} seconds';
    BEGIN
        {drop};
        WHILE ({others}) > 0 LOOP
            IF clock_timestamp() > deadline THEN
                RAISE lock_not_available;
            END IF;
            PERFORM pg_sleep(0.1);
            PERFORM pg_stat_clear_snapshot();
        END LOOP;
    EXCEPTION WHEN lock_not_available THEN
        RAISE EXCEPTION '{in_use}';
    END$$
"""

OTHER_TABLES = text("""
    SELECT quote_ident(relname) FROM pg_class
    WHERE relnamespace = CAST(current_schema() AS regnamespace)
        AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND relname <> ALL (:names)
        AND NOT EXISTS (
            SELECT FROM pg_depend JOIN pg_class AS owner ON owner.oid = refobjid
            WHERE objid = pg_class.oid AND deptype IN ('a', 'i') AND owner.relname = ANY (:names)
        )
""")


def back_up(engine: Engine, path: Path) -> None:
    """Dump the app's tables into a new file while they are in use. Raises BackupError."""
    with engine.connect() as connection:
        schema = str(connection.scalar(text("SELECT quote_ident(current_schema())")))
        other_names = connection.scalars(OTHER_TABLES, {"names": _table_names()}).all()
    excluded = (f"--exclude-table={schema}.{name}" for name in other_names)
    options = ("--format=custom", *PORTABLE, f"--schema={schema}", *excluded, _target(engine))
    _require_program("pg_dump", *options, f"--file={path}")
    with new_file(path) as part:
        _run(engine, "pg_dump", *options, f"--file={part}")


def read_revision(engine: Engine, backup: Path) -> str:
    """Return the migration of the tables in a backup. Raises BackupError."""
    _require_program("pg_restore", str(backup))
    options = ("--data-only", "--table=alembic_version", "--file=-")
    try:
        contents = _run(engine, "pg_restore", "--list", str(backup))
        rows = _run(engine, "pg_restore", *options, str(backup))
    except BackupError as error:
        raise BackupError(f"{backup} cannot be read. {error}") from error
    revision_row = re.search(r"^COPY .*alembic_version.*\n(\w+)$", rows, re.MULTILINE)
    if revision_row is None or not re.search(r" TABLE DATA \S+ message ", contents):
        raise BackupError(f"{backup} is no backup of smstracker on PostgreSQL.")
    return revision_row[1]


def find_undone(engine: Engine, backup: Path, receipts: Set[str]) -> set[str]:
    """Return the receipts of erasures that a backup does not know. Raises BackupError."""
    options = ("--data-only", "--table=erasure", "--table=audit_entry", "--file=-")
    rows = _run(engine, "pg_restore", *options, str(backup)) if receipts else ""
    return {receipt for receipt in receipts if receipt not in rows}


def read_rows(engine: Engine, backup: Path, table: str) -> Iterator[dict[str, str | None]]:
    """Yield the rows of a table as text, by column; NULL is None. Raises BackupError."""
    options = ("--data-only", f"--table={table}", "--file=-")
    # Not splitlines: a text may hold other ends of lines than COPY's.
    lines = iter(_run(engine, "pg_restore", *options, str(backup)).split("\n"))
    head = next((match for line in lines if (match := COPY_HEAD.match(line))), None)
    names = head[1].replace('"', "").split(", ") if head else []
    for line in takewhile(lambda line: line != r"\.", lines):
        yield dict(zip(names, map(_read_value, line.split("\t")), strict=True))


def _read_value(value: str) -> str | None:
    r"""Undo the escapes of COPY's text format; its NULL is \N."""
    if value == r"\N":
        return None
    return COPY_ESCAPE.sub(lambda match: COPY_CHARACTERS.get(match[1], match[1]), value)


def restore(engine: Engine, backup: Path, preparation: str) -> None:
    """Replace the app's tables by those of the backup, all or none, and run a script that makes
    them ready for processes that wait for them.

    Raises BackupError.
    """
    # Files without a name: nothing stays behind, however this ends.
    with (
        _needing_room(),
        tempfile.TemporaryFile("w+") as contents_list,
        tempfile.TemporaryFile() as script,
        tempfile.TemporaryFile("w+", encoding="utf-8") as preparation_script,
    ):
        contents = _run(engine, "pg_restore", "--list", str(backup))
        # The schema itself stays: it may hold what others need.
        contents_list.write("\n".join(filter(OWN_ENTRY.match, contents.splitlines())))
        contents_list.flush()
        options = ("--clean", "--if-exists", *PORTABLE, f"--use-list={_path(contents_list)}")
        arguments = (*options, f"--file={_path(script)}", str(backup))
        _run(engine, "pg_restore", *arguments, files=(contents_list, script))
        preparation_script.write(preparation)
        preparation_script.flush()
        with engine.connect() as connection:
            _omit_unknown_settings(script, set(connection.scalars(SETTINGS)))
            _require_unused(connection)
            _require_own_tables(connection)
            drop = _drop_statement(connection)
        single = ("--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1")
        commands = (
            f"--command={LIMITS}",
            f"--command={drop}",
            f"--file={_path(script)}",
            f"--command={_end_sign_ins()}",
            f"--file={_path(preparation_script)}",
        )
        try:
            _run(
                engine,
                "psql",
                *single,
                _target(engine),
                *commands,
                files=(script, preparation_script),
            )
        except BackupError as error:
            raise (BackupError(IN_USE) if IN_USE in str(error) else error) from None


@contextmanager
def _needing_room() -> Iterator[None]:
    """Turn the error of a temporary file that has no room into one that names its folder.

    Raises BackupError.
    """
    try:
        yield
    except OSError as error:
        if not is_disk_full(error):
            raise
        folder = tempfile.gettempdir()
        raise BackupError(
            f"{folder}, the folder for temporary files, is full. Free space there, or name another "
            "folder in TMPDIR. Nothing was changed."
        ) from error


def _omit_unknown_settings(script: IO[bytes], known_names: Set[str]) -> None:
    """Make a comment of each line at the head of a script that sets what the server does not know.

    Programs that are newer than the server set, for example, the time limits of theirs.
    """
    script.seek(0)
    while line := script.readline():
        setting = re.match(rb"SET (\w+) = ", line)
        if setting and setting[1].decode() not in known_names:
            next_line = script.tell()
            script.seek(next_line - len(line))
            script.write(b"--")
            script.seek(next_line)
        elif not re.match(rb"(SET |SELECT |--|\\|\s*$)", line):
            break  # the head ends
    script.flush()


def _path(file: IO[Any]) -> str:
    """Return the path under which a program finds an open file that it inherits."""
    return f"/dev/fd/{file.fileno()}"


def _require_unused(connection: Connection) -> None:
    deadline = time.monotonic() + ENDING_SECONDS
    query = text(OTHER_SESSIONS)
    while (count := connection.scalar(query)) and time.monotonic() < deadline:
        connection.rollback()  # or the same statistics are read again
        time.sleep(0.1)
    if count:
        sessions = format_count(count, "connection is", "connections are")
        raise BackupError(
            f"The database is in use ({sessions} open). Stop the web server and the worker first."
        )


def _require_own_tables(connection: Connection) -> None:
    """Refuse to drop tables of our names that another program has made."""
    existing = set(inspect(connection).get_table_names())
    if existing.intersection(_table_names()) and not existing.issuperset(FIRST_TABLES):
        raise BackupError(
            "The database holds tables of another program, with names that smstracker uses too. "
            "Check DATABASE_URL, or use a schema of its own."
        )


def _table_names() -> list[str]:
    """The names of the app's tables, in this version and in older ones."""
    return [*(table.name for table in db.metadata.sorted_tables), "alembic_version", *FORMER_TABLES]


def _drop_statement(connection: Connection) -> str:
    """Return what drops the app's tables, also those that are newer than the backup.

    It fails if anything else needs them, such as a view of another program, or is connected.
    """
    quote = connection.dialect.identifier_preparer.quote
    drop = f"DROP TABLE IF EXISTS {', '.join(quote(name) for name in _table_names())}"
    values = {"seconds": ENDING_SECONDS, "others": OTHER_SESSIONS, "in_use": IN_USE}
    return REPLACE_ALONE.format(drop=drop, **values)


def _end_sign_ins() -> str:
    """Return what ends the sessions and sign-in links of the backup, in the same transaction."""
    names = (table.__tablename__ for table in (UserSession, SignInToken))
    deletions = (
        f"IF to_regclass('{name}') IS NOT NULL THEN TRUNCATE {name}; END IF;" for name in names
    )
    # A dump ends with an empty search path.
    return f"RESET search_path; DO $$BEGIN {' '.join(deletions)} END$$"


def read_program_version(program: str) -> int | None:
    """The major version of one of PostgreSQL's programs; None if it is not installed here."""
    if shutil.which(program) is None:
        return None
    ended = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    version = re.search(r"\) (\d+)", ended.stdout)
    return int(version[1]) if version else None


def _require_program(program: str, *arguments: str) -> None:
    if shutil.which(program) is None:
        raise BackupError(
            f"{program} is not installed here (Debian: apt install postgresql-client). Where it "
            f"is, this does the same: {shlex.join([program, *arguments])}"
        )


def _target(engine: Engine) -> str:
    """Return the argument that names the database, without the password."""
    parameters = _connection_info(engine).get_parameters()
    usable = {name: value for name, value in parameters.items() if name in CONNECTION_PARAMETERS}
    return f"--dbname={make_conninfo(**usable)}"


def _connection_info(engine: Engine) -> ConnectionInfo:
    with engine.connect() as connection:
        return cast(psycopg.Connection, connection.connection.driver_connection).info


def _run(engine: Engine, program: str, *arguments: str, files: Iterable[IO[Any]] = ()) -> str:
    """Run one of PostgreSQL's programs, which inherits `files`; return its output.

    Raises BackupError.
    """
    info = _connection_info(engine)
    variables = {
        "PGPASSWORD": info.password,
        "PGAPPNAME": info.parameter_status("application_name"),  # by which sessions are told apart
    }
    engine.dispose()  # no session of ours is one of others then
    environment = os.environ | {name: value for name, value in variables.items() if value}
    ended = subprocess.run(
        [program, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        pass_fds=[file.fileno() for file in files],
    )
    if ended.returncode:
        raise BackupError(f"{program} failed: {_first_error(ended.stderr)}")
    return ended.stdout


def _first_error(output: str) -> str:
    """Return the first line about the failure; the lines after it may quote rows."""
    lines = [line.strip() for line in output.splitlines() if re.search("error|fatal", line, re.I)]
    [error, *_] = lines or ["it said nothing"]
    advice = [sentence for part, sentence in ADVICE.items() if part in error]
    return ". ".join([error, *advice])
