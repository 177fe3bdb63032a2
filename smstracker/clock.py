"""The one source of time, and durations in words."""

from datetime import UTC, datetime, timedelta


def utcnow() -> datetime:
    """Now, aware, in UTC."""
    return datetime.now(UTC)


_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def format_duration(duration: timedelta) -> str:
    """A duration as people say it: "less than a second", "8 seconds", "3 hours"."""
    seconds = max(duration.total_seconds(), 0)
    for size, name in _UNITS:
        if seconds >= size:
            return _count(int(seconds // size), name)
    return "less than a second"


def format_exact_duration(duration: timedelta) -> str:
    """A duration to be compared with others, in its two largest units: "1 minute 59 seconds"."""
    rest = round(duration.total_seconds())
    if duration < timedelta(seconds=1):
        return format_duration(duration)
    words: list[tuple[int, str]] = []
    for size, name in _UNITS:
        count, rest = divmod(rest, size)
        if count or words:
            words.append((count, name))
    return " ".join(_count(count, name) for count, name in words[:2] if count)


def _count(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"


def format_age(moment: datetime, now: datetime) -> str:
    """How long ago `moment` was: "just now", "8 seconds ago"."""
    return (
        "just now"
        if now - moment < timedelta(seconds=1)
        else f"{format_duration(now - moment)} ago"
    )


def format_wait(duration: timedelta) -> str:
    """A time to wait, rounded up so that waiting that long is enough."""
    seconds = max(int(-(-duration.total_seconds() // 1)), 1)
    if seconds < 60:
        return format_duration(timedelta(seconds=seconds))
    if seconds < 3600:
        return format_duration(timedelta(minutes=-(-seconds // 60)))
    return format_duration(timedelta(hours=-(-seconds // 3600)))
