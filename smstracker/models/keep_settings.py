"""How long texts and messages are kept: a setting that is new or shorter deletes only after a day.

Each value that a worker has seen is a row of ScheduledJob that is due when it begins; the
shortest that has begun is in force. One that is set no longer, or has grown, is forgotten.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.engine import Connection

from smstracker.clock import DAY, is_ahead
from smstracker.database.engine import excluded, upsert
from smstracker.extensions import settings
from smstracker.models.jobs import ScheduledJob
from smstracker.models.removals import CounterName, RemovalCounter

GRACE = DAY
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
class ComingSetting:
    """A value that is not in force yet; `begins_at` is None until a worker has seen it."""

    setting: KeepSetting
    days: int
    begins_at: datetime | None


def is_keep_setting() -> ColumnElement[bool]:
    """Match the rows of ScheduledJob that are no jobs."""
    return ScheduledJob.name.startswith("KEEP_", autoescape=True)


def days_in_force(connection: Connection, setting: KeepSetting, now: datetime) -> int | None:
    """Return the days after which something may be deleted by now; None for never."""
    days = max(_begun(connection, setting, _read(connection, setting), now), setting.days or _NEVER)
    return None if days >= _NEVER else days


def find_coming(connection: Connection, now: datetime) -> list[ComingSetting]:
    """Find the values that are not in force yet."""
    coming = []
    for setting in KeepSetting:
        if setting.days is not None and days_in_force(connection, setting, now) != setting.days:
            begins_at = _read(connection, setting).get(setting.days)
            coming.append(ComingSetting(setting, setting.days, begins_at))
    return coming


def needs_note(connection: Connection, now: datetime) -> bool:
    """Whether a value has changed since it was noted."""
    return any(_is_changed(setting, _read(connection, setting), now) for setting in KeepSetting)


def note_settings(connection: Connection, now: datetime) -> None:
    """Store the values that are new, and forget those that are longer set."""
    for setting in KeepSetting:
        rows, days = _read(connection, setting), setting.days or _NEVER
        if not _is_changed(setting, rows, now):
            continue
        has_begun = _begun(connection, setting, rows, now) <= days
        _forget(connection, setting, [row for row in rows if row < days])
        if days not in rows or is_ahead(rows[days], now + GRACE):
            begins_at = now if has_begun else now + GRACE
            changes = {"due_at": excluded("due_at")}
            statement = upsert(connection.dialect.name, ScheduledJob, ("name",), changes)
            connection.execute(statement.values(name=_name(setting, days), due_at=begins_at))


def _is_changed(setting: KeepSetting, rows: dict[int, datetime], now: datetime) -> bool:
    days = setting.days or _NEVER
    is_noted = days in rows and not is_ahead(rows[days], now + GRACE)
    return not is_noted or min(rows) < days


def _begun(
    connection: Connection, setting: KeepSetting, rows: dict[int, datetime], now: datetime
) -> int:
    """Return the shortest value that has begun. An older version noted none, but has deleted."""
    if not rows and RemovalCounter.read(connection, setting.position):
        return setting.days or _NEVER
    return min((days for days, begins_at in rows.items() if begins_at <= now), default=_NEVER)


def _read(connection: Connection, setting: KeepSetting) -> dict[int, datetime]:
    query = select(ScheduledJob.name, ScheduledJob.due_at).where(is_keep_setting())
    beginnings = {}
    for row in connection.execute(query):
        name, _, days = row.name.partition(" = ")
        if name == setting:
            beginnings[int(days)] = row.due_at
    return beginnings


def _forget(connection: Connection, setting: KeepSetting, days: Iterable[int]) -> None:
    names = [_name(setting, value) for value in days]
    connection.execute(delete(ScheduledJob).where(ScheduledJob.name.in_(names)))


def _name(setting: KeepSetting, days: int) -> str:
    return f"{setting} = {days}"
