"""The one source of time, and durations in words."""

from datetime import UTC, datetime, timedelta


def utcnow() -> datetime:
    """Now, aware, in UTC."""
    return datetime.now(UTC)


def in_words(duration: timedelta) -> str:
    """A duration as people say it: "less than a second", "8 seconds", "3 hours"."""
    seconds = max(duration.total_seconds(), 0)
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {name}{'' if count == 1 else 's'}"
    return "less than a second"


def ago(moment: datetime, now: datetime) -> str:
    """How long ago `moment` was: "just now", "8 seconds ago"."""
    return "just now" if now - moment < timedelta(seconds=1) else f"{in_words(now - moment)} ago"


def waiting_time(duration: timedelta) -> str:
    """A time to wait, rounded up so that waiting that long is enough."""
    seconds = max(int(-(-duration.total_seconds() // 1)), 1)
    if seconds < 60:
        return in_words(timedelta(seconds=seconds))
    if seconds < 3600:
        return in_words(timedelta(minutes=-(-seconds // 60)))
    return in_words(timedelta(hours=-(-seconds // 3600)))
