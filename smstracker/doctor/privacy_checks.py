"""Checks of what is to be deleted: is it?"""

import glob
from collections.abc import Iterator
from datetime import datetime

from smstracker.backups.backup_file import PART_SUFFIX
from smstracker.clock import DAY, utcnow
from smstracker.database.engine import reading_connection
from smstracker.doctor.check_result import CheckResult, strip_period, warning
from smstracker.extensions import db
from smstracker.models import CarrierRemoval
from smstracker.models.keep_settings import ComingSetting, KeepSetting, find_coming
from smstracker.plurals import format_count
from smstracker.privacy.carrier_progress import read_carrier_progress
from smstracker.privacy.retention import count_due, describe_conflicts
from smstracker.settings.database_url import sqlite_path
from smstracker.web_templates import format_absolute_time

LONGEST_RESTORE = DAY


def check_privacy() -> Iterator[CheckResult]:
    """Warn of what will be deleted first, and of what Twilio still has although it is deleted."""
    now = utcnow()
    with reading_connection(db.engine) as connection:
        for coming in find_coming(connection, now):
            yield _describe_coming(coming, count_due(connection, coming, now))
        for conflict in describe_conflicts(connection, now):
            fix = "set it alike for the web servers and all workers, and restart them"
            yield warning("retention", f"{conflict}: the longest is in force", fix)
        failing = read_carrier_progress(connection, CarrierRemoval.keeps_failing())
    yield from _find_left_files(now)
    if not failing.left:
        return
    reason = strip_period(failing.problems[0][0]) if failing.problems else "not known"
    detail = f"{format_count(failing.left, 'message')} cannot be removed at Twilio: {reason}"
    if failing.next_try_at and failing.next_try_at > now:
        detail += f"; tried again at {format_absolute_time(failing.next_try_at)}"
    fix = "see the reasons on the page Privacy, and removal_failed in the log of the worker"
    if failing.failed:
        detail += f"; {failing.failed:,} not tried again"
        fix += "; delete by hand, in Twilio's Console, what is not tried again"
    yield warning("removal at Twilio", detail, fix)


def _find_left_files(now: datetime) -> Iterator[CheckResult]:
    """Name what a restore that was killed has left beside the file of SQLite."""
    database = sqlite_path(db.engine.url)
    if database is None:
        return
    files = database.parent.glob(f"{glob.escape(database.name)}.*{PART_SUFFIX}*")
    oldest = (now - LONGEST_RESTORE).timestamp()
    for file in sorted(file for file in files if file.stat().st_mtime < oldest):
        detail = (
            f"{file} is left of a backup or restore that was killed: it holds numbers and texts"
        )
        yield warning("files", detail, "delete it")


def _describe_coming(coming: ComingSetting, count: int) -> CheckResult:
    what = "texts of " if coming.setting is KeepSetting.TEXTS else ""
    start = "a day after the worker has seen it"
    if coming.begins_at:
        start = f"at {format_absolute_time(coming.begins_at)}"
    detail = f"{coming.setting} is new or shorter: the {what}{format_count(count, 'message')} "
    detail += f"older than {format_count(coming.days, 'day')} are deleted {start}"
    fix = f"if you do not want that, correct {coming.setting} and restart the worker before"
    return warning("retention", detail, fix)
