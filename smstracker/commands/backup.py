"""flask backup and flask restore: the whole database in one file, and back."""

import dataclasses
import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path

import click
from flask.cli import with_appcontext
from flask_migrate import upgrade
from sqlalchemy import URL, create_engine, delete, func, inspect, select, update
from sqlalchemy.engine import Connection

from smstracker import create_app
from smstracker.backups import postgresql_backup, sqlite_backup
from smstracker.backups.backup_file import BackupError, user_and_home
from smstracker.backups.former_accounts import (
    DELETIONS,
    UserAccount,
    add_deleted,
    read_accounts,
)
from smstracker.backups.former_database import FormerDatabase, read_former
from smstracker.backups.held_sends import count_held, hold_sends, hold_sends_script
from smstracker.backups.restore_entries import (
    add_entries,
    entries_script,
    list_entries,
    select_interrupted,
    select_receipts,
)
from smstracker.backups.returning_users import describe_returning
from smstracker.clock import utcnow
from smstracker.commands.database_errors import CommandWithPlainErrors, is_folder_gone
from smstracker.commands.output import echo
from smstracker.database.demo_guard import refuse_live_database
from smstracker.database.engine import reading_connection
from smstracker.database.problems import (
    DATABASE_ERRORS,
    NEWER_VERSION,
    NOT_MIGRATED,
    UNREACHABLE,
    explain,
    log_reason,
)
from smstracker.extensions import db, settings
from smstracker.health_facts import BACKUP_INTERVAL
from smstracker.models import (
    ApiToken,
    Heartbeat,
    Message,
    PendingRemoval,
    ScheduledJob,
    SignInToken,
)
from smstracker.models.jobs import JobName
from smstracker.models.keep_settings import is_keep_setting
from smstracker.models.lookup_queue import can_be_asked_about
from smstracker.models.removals import RemovalKind
from smstracker.models.users import UserSession
from smstracker.plurals import format_count, is_or_are
from smstracker.settings.database_url import sqlite_path
from smstracker.settings.reader import ConfigError
from smstracker.shell_words import quote_word
from smstracker.web.health import known_revisions, migration_problem
from smstracker.web_templates import format_absolute_time

# Whether it can be read, the commands say themselves, and what to do if not.
FILE = click.Path(readable=False, path_type=Path)
NEWEST_AT = select(Message.created_at).order_by(Message.id.desc()).limit(1)
UNKNOWN_ERASURES = (
    "Whoever was erased after this backup was made is in it, and the database that it replaces "
    "cannot tell who that is. Look for receipts of later erasures, and erase those people once "
    "more."
)


@click.command("backup", cls=CommandWithPlainErrors)
@click.argument("path", type=FILE)
@click.option("--once", is_flag=True, help="No further one is expected: no alert if none follows.")
@with_appcontext
def backup(path: Path, once: bool) -> None:
    """Copy the database into the new file PATH while the app runs.

    An alert tells if no good one has followed after two days.
    """
    started_at = utcnow()
    try:
        size = _back_up(path)
    except click.ClickException:
        if not _is_by_hand():
            with suppress(*DATABASE_ERRORS):
                _record(ScheduledJob.mark_failed)
        raise
    echo(
        f"{path}: {size / 1e6:.1f} MB, complete. It holds phone numbers and texts: keep it where "
        "nobody else can read it. Your settings are not in it."
    )
    mark_done = partial(
        ScheduledJob.mark_done,
        started_at=started_at,
        interval=BACKUP_INTERVAL,
        keeps_failure=_is_by_hand(),
    )
    try:
        _record(partial(_mark_last, started_at=started_at) if once else mark_done)
    except DATABASE_ERRORS as error:
        reason = log_reason(error)
        echo(f"Alerts do not know of it: it could not be stored ({reason}).", err=True)


def _back_up(path: Path) -> int:
    """Make a backup; its size in bytes. The tables may be those of an older version."""
    with reading_connection(db.engine) as connection:
        problem = migration_problem(connection)
        is_older = problem is NOT_MIGRATED and inspect(connection).has_table("message")
    if problem and not is_older:
        raise click.ClickException(problem.sentence)
    with _plain_errors():
        if file := sqlite_path(db.engine.url):
            sqlite_backup.back_up(file, path)
        else:
            postgresql_backup.back_up(db.engine, path)
        return path.stat().st_size


def _record(change: Callable[[Connection, str], None]) -> None:
    """Store what became of a backup."""
    with db.engine.begin() as connection:
        change(connection, JobName.BACKUP)


def _is_by_hand() -> bool:
    """Whether somebody types the command: that says nothing of the nightly one."""
    return sys.stdin is not None and sys.stdin.isatty()


def _mark_last(connection: Connection, name: str, started_at: datetime) -> None:
    ScheduledJob.forget(connection, name)
    ScheduledJob.mark_done(connection, JobName.LAST_BACKUP, started_at, BACKUP_INTERVAL)


@click.command("restore", cls=CommandWithPlainErrors)
@click.argument("path", type=FILE)
@click.option("--replace", is_flag=True, help="Also if the database holds messages already.")
@with_appcontext
def restore(path: Path, replace: bool) -> None:
    """Bring the backup PATH back, while nothing else runs.

    Then migrate it, end all sessions, and have the worker ask Twilio about every message that is
    not final.
    """
    with _plain_errors():
        file = sqlite_path(db.engine.url)
        _check(path, file)
        if not replace and _holds_messages(file):
            raise BackupError(
                "The database holds messages. Make a backup of it first, then add --replace."
            )
        former = read_former(db.engine, file, utcnow())
        if former.receipts is None:
            echo(UNKNOWN_ERASURES)
        summary = _restore_file(path, file, former) if file else _restore_tables(path, former)
        echo(summary, lines=True)


def _restore_tables(path: Path, former: FormerDatabase) -> str:
    """Restore a backup of PostgreSQL; what interrupts this leaves the tables ready for use."""
    now = utcnow()
    undone = postgresql_backup.find_undone(db.engine, path, former.receipts or set())
    undone |= _read_interrupted(path)
    restored = _read_dumped_accounts(path)
    _name_undone(undone, describe_returning(former.accounts, restored))
    scripts = (
        hold_sends_script(db.engine.dialect, former.scheduled),
        entries_script(list_entries(undone, former.accounts, restored), now),
    )
    postgresql_backup.restore(db.engine, path, "".join(scripts))
    summary, _, _ = _bring_up_to_date(settings().database_url, former, now)
    return summary


def _read_interrupted(path: Path) -> set[str]:
    rows = postgresql_backup.read_rows(db.engine, path, PendingRemoval.__tablename__)
    return {row["receipt"] or "" for row in rows if row["kind"] == RemovalKind.ROWS}


def _read_dumped_accounts(path: Path) -> list[UserAccount]:
    rows = partial(postgresql_backup.read_rows, db.engine, path)
    accounts = [UserAccount.from_row(row) for row in rows("user")]
    deletions = {str(action): erases for action, erases in DELETIONS.items()}
    entries = ((row["subject"] or "", row["action"]) for row in rows("audit_entry"))
    return add_deleted(accounts, {email: deletions[a] for email, a in entries if a in deletions})


def _restore_file(path: Path, file: Path, former: FormerDatabase) -> str:
    """Restore a backup of SQLite, ready for use: what interrupts this changes nothing."""
    former_file = Path(f"{file}.before-{utcnow():%Y%m%d-%H%M%S}") if file.exists() else None
    damaged = former_file is not None and sqlite_backup.is_damaged(file)
    if former_file and not damaged:
        with sqlite_backup.open_alone(file):
            pass  # if it is in use, that is said before the backup is copied
    with sqlite_backup.working_copy(path, file) as copy:
        url = URL.create("sqlite", database=str(copy))
        summary, undone, restored = _bring_up_to_date(url.render_as_string(), former, utcnow())
        if former_file and damaged:
            sqlite_backup.move_away(file, former_file)
        with sqlite_backup.open_alone(file) as connection:
            if former_file and not damaged:
                sqlite_backup.keep_former(connection, former_file)
            if former_file:  # said at once, in case that what follows fails
                echo(f"The former database is kept as {former_file}. Delete it once all is well.")
            _name_undone(undone, describe_returning(former.accounts, restored))
            sqlite_backup.replace_content(connection, copy)
    return summary


def _name_undone(receipts: Set[str], users: str) -> None:
    """Name what a restore undoes, before it does: it may be interrupted afterwards."""
    if receipts:
        echo(
            "People were erased after this backup was begun, so the restore brings them back. "
            "Erase them once more after it; the audit log will name the receipts too. They were: "
            f"{', '.join(sorted(receipts))}."
        )
    if users:
        echo(users, lines=True)


def _bring_up_to_date(
    database_url: str, former: FormerDatabase, now: datetime
) -> tuple[str, Set[str], list[UserAccount]]:
    """Migrate restored tables and prepare them for use.

    Returns a summary in words, those receipts of erasures that the backup does not know, and its
    users. Its audit log has what is undone from now on, so that a later restore names it too.
    """
    # An app of its own: the engine of this one knows the former database.
    new_settings = dataclasses.replace(settings(), database_url=database_url)
    restored = create_app(new_settings, with_pages=False)
    with restored.app_context():
        try:
            upgrade()
            with db.engine.begin() as connection:
                if not set(db.metadata.tables).issubset(inspect(connection).get_table_names()):
                    raise BackupError("The file is no backup of smstracker: it lacks tables.")
                batch_count = hold_sends(connection, now, former.scheduled)
                open_count = _prepare(connection, now)
                undone = (former.receipts or set()) - select_receipts(connection)
                undone |= select_interrupted(connection)
                accounts = read_accounts(connection)
                add_entries(connection, list_entries(undone, former.accounts, accounts), now)
                return _describe(connection, open_count, batch_count), undone, accounts
        finally:
            db.engine.dispose()


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Say errors in plain words. Signals end as an error does, so that no part stays behind."""
    formers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, former in formers.items():
        if former is not signal.SIG_IGN:  # as nohup does
            signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    try:
        yield
    except BackupError as error:
        raise click.ClickException(str(error)) from error
    except ConfigError as error:
        raise click.ClickException(f"This is demo mode. {error}") from error
    except OSError as error:
        if is_folder_gone():
            raise  # the command says so
        path = f"{error.filename}: " if error.filename else ""
        raise click.ClickException(f"{path}{error.strerror}.") from error
    except sqlite3.Error as error:
        raise click.ClickException((explain(error) or UNREACHABLE).sentence) from error
    finally:
        for number, former in formers.items():
            signal.signal(number, former)


def _check_readable(path: Path) -> None:
    try:
        is_file = path.is_file()
    except PermissionError:  # of a folder on the way
        is_file = True
    if not is_file:
        raise BackupError(f"{path} is not there, or is no file.")
    if not os.access(path, os.R_OK, effective_ids=True):
        user, home = user_and_home()
        names = f"{quote_word(str(path.absolute()))} {quote_word(home)}"
        copy = f"install -o {quote_word(user)} -m 600 {names}"
        raise BackupError(f"The user {user} cannot read {path}. Restore a copy of its own: {copy}")


def _check(path: Path, file: Path | None) -> None:
    """Raise BackupError if the file cannot become this installation's database."""
    _check_readable(path)
    if file:
        revision = sqlite_backup.read_revision(path)
    else:
        revision = postgresql_backup.read_revision(db.engine, path)
    if revision not in known_revisions():
        raise BackupError(f"{path}: {NEWER_VERSION}.")
    if file and settings().demo:
        refuse_live_database(create_engine(URL.create("sqlite", database=str(path))))


def _holds_messages(file: Path | None) -> bool:
    if file and not file.exists():
        return False
    with reading_connection(db.engine) as connection:
        if not inspect(connection).has_table("message"):
            return False
        holds_any = connection.scalar(select(Message.id).limit(1)) is not None
    db.engine.dispose()
    return holds_any


def _prepare(connection: Connection, now: datetime) -> int:
    """Forget who was signed in and running then; return how many messages Twilio is asked about."""
    for table in (UserSession, SignInToken, Heartbeat):
        connection.execute(delete(table))
    jobs = update(ScheduledJob)
    is_job = ~is_keep_setting()
    connection.execute(jobs.where(is_job).values(due_at=now, failed_at=None, failure=None))
    # Nobody looked since the backup, so nobody knows for how long no worker ran.
    connection.execute(jobs.where(ScheduledJob.name == JobName.ALERTS).values(done_at=None))
    # What was restored is a backup.
    connection.execute(
        jobs.where(ScheduledJob.name == JobName.BACKUP).values(due_at=now + BACKUP_INTERVAL)
    )
    is_open = (Message.final_at.is_(None), can_be_asked_about())
    connection.execute(update(Message).where(*is_open).values(next_lookup_at=now))
    return connection.scalar(select(func.count()).select_from(Message).where(*is_open)) or 0


def _count_tokens(connection: Connection) -> int:
    query = select(func.count()).select_from(ApiToken).where(ApiToken.revoked_at.is_(None))
    return connection.scalar(query) or 0


def _describe(connection: Connection, open_count: int, batch_count: int) -> str:
    lines = ["Restored. It holds no message."]
    if newest_at := connection.scalar(NEWEST_AT):
        lines = [f"Restored. The newest message in it is of {format_absolute_time(newest_at)}."]
    if open_count:
        messages = format_count(open_count, "message is", "messages are")
        lines.append(f"{messages} not final: the worker asks Twilio about them once it runs.")
    if batch_count:
        batches = format_count(batch_count, "batch waits", "batches wait")
        lines.append(
            f"{batches} for a person: whether more was sent after the backup, only Twilio knows. "
            "Compare with Twilio's log before you press Resume or send one."
        )
    if held_count := count_held(connection):
        messages = format_count(held_count, "scheduled message is", "scheduled messages are")
        lines.append(
            f"{messages} held: nobody knows whether they were sent, changed or cancelled after the "
            "backup. Their senders see it in the log, by the filter Waiting: each is sent once it "
            "is edited, or cancelled."
        )
    if token_count := _count_tokens(connection):
        tokens = f"{format_count(token_count, 'token')} of programs {is_or_are(token_count)}"
        lines.append(f"{tokens} as in the backup: revoke again what was revoked since.")
    return "\n".join([*lines, "Everybody has to sign in again."])
