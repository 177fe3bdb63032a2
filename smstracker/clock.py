"""The current time, how stored times compare with it, and durations in words.

A stored time that is further ahead than it can be, by more than CLOCK_TOLERANCE, is of a clock that
was ahead. What waits for it would wait for days, so it counts as over. Nothing that anybody needs
is deleted for that, because perhaps the clock of this machine is behind.
"""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol, overload

from smstracker.plurals import pluralize

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, SQLColumnExpression

    Column = SQLColumnExpression[datetime] | SQLColumnExpression[datetime | None]

    class SqlTime(Protocol):
        """A time in a statement: a datetime or a `StatementTime`."""

        def __add__(self, span: timedelta, /) -> object: ...
        def __sub__(self, span: timedelta, /) -> object: ...


MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
DAY, WEEK = timedelta(days=1), timedelta(days=7)
CLOCK_TOLERANCE = timedelta(minutes=5)  # by which clocks of machines may differ


def utcnow() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC)


@overload
def is_ahead(moment: datetime, now: datetime) -> bool: ...
@overload
def is_ahead(moment: "Column", now: "SqlTime") -> "ColumnElement[bool]": ...
def is_ahead(moment: Any, now: Any) -> Any:
    """Whether a time that was stored as past, in Python or in SQL, is of a clock that was ahead."""
    return moment > now + CLOCK_TOLERANCE


@overload
def has_come(moment: datetime, now: datetime, longest: timedelta) -> bool: ...
@overload
def has_come(moment: "Column", now: "SqlTime", longest: timedelta) -> "ColumnElement[bool]": ...
def has_come(moment: Any, now: Any, longest: timedelta) -> Any:
    """Whether a time has come that was stored as at most `longest` ahead, in Python or in SQL."""
    return (moment <= now) | is_ahead(moment, now + longest)


@overload
def is_within(moment: datetime, now: datetime, period: timedelta) -> bool: ...
@overload
def is_within(moment: "Column", now: "SqlTime", period: timedelta) -> "ColumnElement[bool]": ...
def is_within(moment: Any, now: Any, period: timedelta) -> Any:
    """Whether a time that was stored as past is less than `period` ago, in Python or in SQL."""
    return (moment > now - period) & (moment <= now + CLOCK_TOLERANCE)


_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBER_WORDS = {str(number): word for number, word in enumerate(_NUMBERS, 1)}
_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def format_duration(duration: timedelta) -> str:
    """A duration in its largest unit: "less than a second", "8 seconds", "3 hours"."""
    seconds = max(duration.total_seconds(), 0)
    for size, name in _UNITS:
        if seconds >= size:
            return _count(int(seconds // size), name)
    return "less than a second"


def spell_duration(duration: timedelta) -> str:
    """As `format_duration`, with a number up to ten as a word: "ten minutes"."""
    number, _, unit = format_duration(duration).partition(" ")
    return f"{_NUMBER_WORDS.get(number, number)} {unit}"


def format_exact_duration(duration: timedelta) -> str:
    """A duration in its two largest units: "1 minute 59 seconds"."""
    seconds = round(duration.total_seconds())
    if duration < timedelta(seconds=1):
        return format_duration(duration)
    parts: list[tuple[int, str]] = []
    for size, name in _UNITS:
        count, seconds = divmod(seconds, size)
        if count or parts:
            parts.append((count, name))
    return " ".join(_count(count, name) for count, name in parts[:2] if count)


def _count(count: int, name: str) -> str:
    return f"{count} {pluralize(count, name)}"  # as times.js writes it


def format_age(moment: datetime, now: datetime) -> str:
    """The age of `moment`: "just now", "8 seconds ago"."""
    return (
        "just now"
        if now - moment < timedelta(seconds=1)
        else f"{format_duration(now - moment)} ago"
    )


def format_wait(duration: timedelta) -> str:
    """A time to wait, rounded up so that it is long enough."""
    seconds = max(int(-(-duration.total_seconds() // 1)), 1)
    if seconds < 60:
        return format_duration(timedelta(seconds=seconds))
    if seconds < 3600:
        return format_duration(timedelta(minutes=-(-seconds // 60)))
    return format_duration(timedelta(hours=-(-seconds // 3600)))
