"""Checks of backups: is the newest one good and new, and can another be made?"""

from collections.abc import Iterator
from datetime import datetime

from smstracker.backups.advice import FIND_FAILURE, FIND_TIMER, START_TIMER
from smstracker.backups.postgresql_backup import read_program_version
from smstracker.clock import format_age, utcnow
from smstracker.command_name import COMMAND
from smstracker.database.engine import reading_connection
from smstracker.doctor.check_result import CheckResult, ok, warning
from smstracker.extensions import db, settings
from smstracker.health_facts import BACKUP_INTERVAL
from smstracker.models import ScheduledJob
from smstracker.models.jobs import JobName


def check_backups() -> Iterator[CheckResult]:
    """Check the newest backup and, for PostgreSQL, the program that makes one."""
    yield _check_newest()
    if not settings().is_sqlite:
        yield _check_programs()


def _check_newest() -> CheckResult:
    now = utcnow()
    with reading_connection(db.engine) as connection:
        backup = ScheduledJob.read(connection, JobName.BACKUP)
        last_made_at = ScheduledJob.last_done_at(connection, JobName.LAST_BACKUP)
    newest = f"was made {format_age(backup.done_at, now)}" if backup.done_at else "is not known"
    if backup.failed_at:
        attempt = f"the newest attempt failed {format_age(backup.failed_at, now)}"
        return warning("backup", f"{attempt}; a good one {newest}", FIND_FAILURE)
    if backup.done_at is None:
        return _check_unexpected(last_made_at, now)
    if backup.is_due(now, BACKUP_INTERVAL):
        return warning("backup", f"the newest {newest}, and another was due", FIND_TIMER)
    return ok("backup", f"the newest {newest}")


def _check_unexpected(last_made_at: datetime | None, now: datetime) -> CheckResult:
    """Check a database of which no backup is known from which on others are expected."""
    if last_made_at:
        age = format_age(last_made_at, now)
        return ok("backup", f"the last was made {age} with --once, so no other is expected")
    if settings().demo:
        return ok("backup", "none is known, and a demo needs none")
    fix = f"{START_TIMER}; or make one with --once if no others are wanted"
    return warning("backup", "none is known", fix)


def _check_programs() -> CheckResult:
    check, installed = "pg_dump", read_program_version("pg_dump")
    with reading_connection(db.engine) as connection:
        server = int(connection.exec_driver_sql("SHOW server_version_num").scalar_one()) // 10_000
    fix = f"install the programs of PostgreSQL {server} (Debian: postgresql-client-{server})"
    if installed is None:
        return ok(check, f"is not installed here, so {COMMAND} backup has to run elsewhere", fix)
    if installed < server:
        detail = f"is of version {installed}, and refuses the server's {server}: no backup is made"
        return warning(check, detail, fix)
    return ok(check, f"is of version {installed}, the server of {server}")
