"""The time at which people want a message sent, as they type it in their time zone. Pure."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from smstracker.web.time_zones import UnknownZoneError, find_zone

# As far ahead as a message can wait and still be counted by when it was saved: with the days by
# which it may be late, it stays within `display_state.MAX_SCHEDULE_AHEAD`.
MAX_AHEAD = timedelta(days=30)


class SendTimeError(ValueError):
    """A day and time at which nothing can be sent; the text says why, to the reader."""


class RepeatedTimeError(SendTimeError):
    """A time that comes twice, because clocks go back; `choices` names the first and the second."""

    def __init__(self, text: str, choices: tuple[str, str]) -> None:
        super().__init__(text)
        self.choices = choices


def read_send_time(
    day: str, clock: str, zone_name: str, now: datetime, *, fold: int | None = None
) -> datetime | None:
    """Return the time in UTC; None if neither day nor time is given, for now.

    `fold` tells which of two equal times is meant: 0 the first, 1 the second. Raises SendTimeError.
    """
    if not day and not clock:
        return None
    if not (day and clock):
        missing = "time" if day else "day"
        raise SendTimeError(f"Choose the {missing} too, or leave both empty to send now.")
    zone = _read_zone(zone_name, now)
    naive = datetime.combine(_read_day(day), _read_clock(clock).time())
    send_at = _find_moment(naive, zone, fold)
    if send_at <= now:
        raise SendTimeError("That time has passed. Choose a later one, or leave both empty.")
    if send_at > now + MAX_AHEAD:
        raise SendTimeError(f"Choose a time within {MAX_AHEAD.days} days.")
    return send_at


def split_send_time(send_at: datetime, zone: str) -> tuple[str, str, int]:
    """Return the day, the time and the fold that `read_send_time` reads as `send_at`."""
    local = send_at.astimezone(ZoneInfo(zone))
    return local.date().isoformat(), f"{local:%H:%M}", local.fold


def _read_zone(name: str, now: datetime) -> ZoneInfo:
    if not name.strip():
        return ZoneInfo("UTC")
    try:
        return ZoneInfo(find_zone(name, now.year))
    except UnknownZoneError as error:
        raise SendTimeError(str(error)) from error


def _read_day(text: str) -> date:
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise SendTimeError("Type the day like 2026-05-03.") from None


def _read_clock(text: str) -> datetime:
    try:
        # Browsers add seconds to a time that has some.
        return datetime.strptime(text.strip()[:5], "%H:%M")  # noqa: DTZ007 - a time of day
    except ValueError:
        raise SendTimeError("Type the time like 14:30.") from None


def _find_moment(naive: datetime, zone: ZoneInfo, fold: int | None) -> datetime:
    try:
        first, second = naive.replace(tzinfo=zone, fold=0), naive.replace(tzinfo=zone, fold=1)
        moment = (second if fold else first).astimezone(UTC)
    except OverflowError:
        raise SendTimeError("Type the day like 2026-05-03.") from None
    day = f"{naive:%-d %b %Y}"
    if moment.astimezone(zone).replace(tzinfo=None) != naive:
        raise SendTimeError(
            f"On {day} there is no {naive:%H:%M} in {zone.key}: clocks go forward. "
            "Choose another time."
        )
    if first.utcoffset() != second.utcoffset() and fold is None:
        first_name, second_name = (f"{time:%H:%M %Z}" for time in (first, second))
        raise RepeatedTimeError(
            f"On {day}, {naive:%H:%M} comes twice in {zone.key}: clocks go back. Choose which.",
            (f"The first: {first_name}", f"The second: {second_name}"),
        )
    return moment
