"""Backups of PostgreSQL, by its own programs pg_dump, pg_restore and psql."""

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import cast

import psycopg
from psycopg import ConnectionInfo
from psycopg.conninfo import make_conninfo
from sqlalchemy import Engine, text
from sqlalchemy.engine import Connection

from smstracker.backups.backup_file import BackupError, new_file
from smstracker.extensions import db

PORTABLE = ("--no-owner", "--no-privileges")  # the server may have other roles
# The library of our client may be newer than the programs, which refuse what they do not know.
CONNECTION_PARAMETERS = (
    *("host", "hostaddr", "port", "dbname", "user", "passfile", "service", "options"),
    *("application_name", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl"),
)
LIMITS = "SET lock_timeout = '5s'"
OTHER_SESSIONS = text("""
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND application_name = current_setting('application_name')
""")


def back_up(engine: Engine, path: Path) -> None:
    """Dump the tables' schema into a new file while it is in use. Raises BackupError."""
    with engine.connect() as connection:
        schema = str(connection.scalar(text("SELECT quote_ident(current_schema())")))
    options = ("--format=custom", *PORTABLE, f"--schema={schema}", _target(engine))
    _require_program("pg_dump", *options, f"--file={path}")
    with new_file(path) as part:
        _run(engine, "pg_dump", *options, f"--file={part}")


def read_revision(engine: Engine, backup: Path) -> str:
    """Return the migration of the tables in a backup. Raises BackupError."""
    _require_program("pg_restore", str(backup))
    options = ("--data-only", "--table=alembic_version", "--file=-")
    try:
        rows = _run(engine, "pg_restore", *options, str(backup))
    except BackupError as error:
        raise BackupError(f"{backup} is no whole backup of smstracker. {error}") from error
    revision_row = re.search(r"^COPY .*alembic_version.*\n(\w+)$", rows, re.MULTILINE)
    if revision_row is None:
        raise BackupError(f"{backup} is no backup of smstracker on PostgreSQL.")
    return revision_row[1]


def restore(engine: Engine, backup: Path) -> None:
    """Replace the app's tables by those of the backup, all or none. Raises BackupError."""
    with tempfile.TemporaryDirectory(prefix="smstracker-") as folder:
        entries, script = Path(folder, "entries"), Path(folder, "restore.sql")
        contents = _run(engine, "pg_restore", "--list", str(backup))
        # The schema itself stays: it may hold tables of others.
        table_entries = [line for line in contents.splitlines() if " SCHEMA - " not in line]
        entries.write_text("\n".join(table_entries))
        options = ("--clean", "--if-exists", *PORTABLE, f"--use-list={entries}")
        arguments = (*options, f"--file={script}", str(backup))
        _run(engine, "pg_restore", *arguments)
        with engine.connect() as connection:
            _require_unused(connection)
            drops = "; ".join(_drop_statements(connection))
        engine.dispose()
        single = ("--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1")
        commands = (f"--command={LIMITS}; {drops}", f"--file={script}")
        _run(engine, "psql", *single, _target(engine), *commands)


def _require_unused(connection: Connection) -> None:
    count = connection.scalar(OTHER_SESSIONS)
    if count:
        sessions = "1 connection is" if count == 1 else f"{count} connections are"
        raise BackupError(
            f"The database is in use ({sessions} open). Stop the web server and the worker first."
        )


def _drop_statements(connection: Connection) -> list[str]:
    """Return what drops the app's tables, also those that are newer than the backup."""
    quote = connection.dialect.identifier_preparer.quote
    names = [*(table.name for table in db.metadata.sorted_tables), "alembic_version"]
    return [f"DROP TABLE IF EXISTS {quote(name)} CASCADE" for name in names]


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


def _run(engine: Engine, program: str, *arguments: str) -> str:
    """Run one of PostgreSQL's programs; return its output. Raises BackupError."""
    password = _connection_info(engine).password
    environment = os.environ | ({"PGPASSWORD": password} if password else {})
    ended = subprocess.run(
        [program, *arguments], capture_output=True, text=True, env=environment, check=False
    )
    if ended.returncode:
        raise BackupError(f"{program} failed: {_first_error(ended.stderr)}")
    return ended.stdout


def _first_error(output: str) -> str:
    """Return the first line about the failure; the lines after it may quote rows."""
    lines = [line.strip() for line in output.splitlines() if "rror" in line or "FATAL" in line]
    return (lines or ["it said nothing"])[0]
