"""How long texts and messages are kept: a setting that is new or shorter deletes only after a day.

Each value that a worker has seen is a row of ScheduledJob: `due_at` is when it begins, `done_at`
when a worker last saw it before; from `due_at` on, it has begun for good. The shortest that has
begun is in force. One that is set no longer, or has grown, is forgotten.

Between two runs the clock may have been set, or no worker ran: what is longer than MAX_GAP does not
count, either way. So nobody's clock makes the day shorter.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.engine import Connection

from smstracker.clock import CLOCK_TOLERANCE, DAY, HOUR
from smstracker.database.engine import excluded, upsert
from smstracker.extensions import settings
from smstracker.models.jobs import ScheduledJob
from smstracker.models.removals import CounterName

GRACE = DAY
MAX_GAP = HOUR
_NEVER = 1_000_000  # days


class KeepSetting(StrEnum):
    """The settings, by their names."""

    TEXTS = "KEEP_TEXT_DAYS"
    MESSAGES = "KEEP_MESSAGE_DAYS"

    @property
    def days(self) -> int | None:
        """The value that is set; None for ever."""
        is_text = self is KeepSetting.TEXTS
        return settings().keep_text_days if is_text else settings().keep_message_days

    @property
    def position(self) -> CounterName:
        """How far the removal has come."""
        is_text = self is KeepSetting.TEXTS
        return CounterName.BLANK_POSITION if is_text else CounterName.DELETE_POSITION


@dataclass(frozen=True, slots=True)
class _Seen:
    """A value that a worker has seen."""

    begins_at: datetime
    seen_at: datetime

    @property
    def has_begun(self) -> bool:
        return self.seen_at >= self.begins_at

    def is_old(self, now: datetime) -> bool:
        """Whether it is to be stored that the value is seen now."""
        return abs(now - self.seen_at) > CLOCK_TOLERANCE or now >= self.begins_at

    def beginning(self, now: datetime) -> datetime:
        """When it begins, if a worker runs until then."""
        gap = now - self.seen_at
        return self.begins_at + gap if abs(gap) > MAX_GAP else self.begins_at


@dataclass(frozen=True, slots=True)
class ComingSetting:
    """A value that is not in force yet; `begins_at` is None until a worker has seen it."""

    setting: KeepSetting
    days: int
    begins_at: datetime | None


def is_keep_setting() -> ColumnElement[bool]:
    """Match the rows of ScheduledJob that are no jobs."""
    return ScheduledJob.name.startswith("KEEP_", autoescape=True)


def days_in_force(connection: Connection, setting: KeepSetting) -> int | None:
    """Return the days after which something may be deleted by now; None for never."""
    days = max(_shortest_begun(_read(connection, setting)), setting.days or _NEVER)
    return None if days >= _NEVER else days


def find_coming(connection: Connection, now: datetime) -> list[ComingSetting]:
    """Find the values that are not in force yet."""
    coming = []
    for setting in KeepSetting:
        if setting.days is not None and days_in_force(connection, setting) != setting.days:
            seen = _read(connection, setting).get(setting.days)
            begins_at = seen.beginning(now) if seen else None
            coming.append(ComingSetting(setting, setting.days, begins_at))
    return coming


def needs_note(connection: Connection, now: datetime) -> bool:
    """Whether a value has changed since it was noted, or waits to begin."""
    return any(_is_changed(setting, _read(connection, setting), now) for setting in KeepSetting)


def note_settings(connection: Connection, now: datetime) -> None:
    """Store the values that are seen now, and forget those that are longer set."""
    for setting in KeepSetting:
        rows, days = _read(connection, setting), setting.days or _NEVER
        if not _is_changed(setting, rows, now):
            continue
        seen, has_begun = rows.get(days), _shortest_begun(rows) <= days
        _forget(connection, setting, [row for row in rows if row < days])
        if seen is None or not seen.has_begun:
            waiting_until = seen.beginning(now) if seen else now + GRACE
            times = {"due_at": now if has_begun else waiting_until, "done_at": now}
            changes = {column: excluded(column) for column in times}
            statement = upsert(connection.dialect.name, ScheduledJob, ("name",), changes)
            connection.execute(statement.values(name=_name(setting, days), **times))


def _is_changed(setting: KeepSetting, rows: dict[int, _Seen], now: datetime) -> bool:
    days = setting.days or _NEVER
    is_noted = days in rows and (rows[days].has_begun or not rows[days].is_old(now))
    return not is_noted or min(rows) < days


def _shortest_begun(rows: dict[int, _Seen]) -> int:
    return min((days for days, seen in rows.items() if seen.has_begun), default=_NEVER)


def _read(connection: Connection, setting: KeepSetting) -> dict[int, _Seen]:
    columns = (ScheduledJob.name, ScheduledJob.due_at, ScheduledJob.done_at)
    # An older version stored no `done_at`: when what it has noted begins is not certain.
    is_seen = (is_keep_setting(), ScheduledJob.done_at.is_not(None))
    values = {}
    for row in connection.execute(select(*columns).where(*is_seen)):
        name, _, days = row.name.partition(" = ")
        if name == setting:
            values[int(days)] = _Seen(row.due_at, row.done_at)
    return values


def _forget(connection: Connection, setting: KeepSetting, days: Iterable[int]) -> None:
    names = [_name(setting, value) for value in days]
    connection.execute(delete(ScheduledJob).where(ScheduledJob.name.in_(names)))


def _name(setting: KeepSetting, days: int) -> str:
    return f"{setting} = {days}"
