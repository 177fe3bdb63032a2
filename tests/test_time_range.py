"""A range of time as people choose it."""

from datetime import UTC, datetime, timedelta

import pytest

from smstracker.web.time_range import TimeRangeError, read_period

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)


def test_period_is_all_time_unless_asked() -> None:
    period = read_period({}, NOW)
    assert (period.since, period.until, period.arguments) == (None, None, {})


def test_period_of_hours_ends_now() -> None:
    period = read_period({"period": "24h", "zone": "Asia/Kolkata"}, NOW)
    assert (period.since, period.until) == (NOW - timedelta(hours=24), None)
    assert period.words == "Last 24 hours"
    assert period.arguments == {"period": "24h", "zone": "Asia/Kolkata"}


def test_custom_period_holds_whole_days_of_the_readers_zone() -> None:
    # The clocks of Berlin went back on 25 October 2026: that day has 25 hours.
    arguments = {"from": "2026-10-25", "to": "2026-10-25", "zone": "Europe/Berlin"}
    period = read_period(arguments, NOW)
    assert period.since == datetime(2026, 10, 24, 22, tzinfo=UTC)
    assert period.until == datetime(2026, 10, 25, 23, tzinfo=UTC)
    assert period.words == "25 Oct 2026 (Europe/Berlin)"
    assert read_period(period.arguments, NOW) == period


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"from": "2026-05-03"}, "since 3 May 2026 (UTC)"),
        ({"to": "2026-05-03"}, "until 3 May 2026 (UTC)"),
        ({"from": "2026-05-03", "to": "2026-05-09"}, "3 May 2026 to 9 May 2026 (UTC)"),
    ],
)
def test_custom_period_may_be_open(arguments: dict[str, str], words: str) -> None:
    assert read_period(arguments, NOW).words == words


def test_zones_are_looked_for_on_the_disk_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read_period({"period": "24h", "zone": "Asia/Kolkata"}, NOW)

    def look() -> set[str]:
        raise AssertionError("looked for again")

    monkeypatch.setattr("smstracker.web.time_zones.available_timezones", look)
    assert read_period({"period": "24h", "zone": "Asia/Tokyo"}, NOW).zone == "Asia/Tokyo"


@pytest.mark.parametrize(
    "arguments",
    [
        {"period": "custom"},
        {"period": "fortnight"},
        {"from": "3 May"},
        {"from": "0001-01-01"},
        {"to": "9999-12-31"},
        {"from": "2026-05-09", "to": "2026-05-03"},
    ],
)
def test_what_is_no_period_is_refused_in_words(arguments: dict[str, str]) -> None:
    with pytest.raises(TimeRangeError):
        read_period(arguments, NOW)


@pytest.mark.parametrize(
    "zone",
    [
        *("Etc/Unknown", "undefined", "null", "Mars/Olympus", "GMT+1", "../../etc/passwd"),
        *("localtime", "posixrules", "Factory", "/etc/localtime", "posix/Europe/Paris", "+02:00"),
    ],
)
def test_zone_that_is_not_known_counts_as_utc_and_is_said(zone: str) -> None:
    period = read_period({"from": "2026-05-03", "zone": zone}, NOW)
    assert (period.zone, period.since) == ("UTC", datetime(2026, 5, 3, tzinfo=UTC))
    assert f"“{zone}” is not known here, so the days are UTC days" in period.zone_note
    assert read_period(period.arguments, NOW) == period


@pytest.mark.parametrize(
    ("zone", "unknown_zone"), [("x" * 5_000, "x" * 64), ("\0\n\x1b", "Etc/Unknown")]
)
def test_zone_that_is_no_name_is_cut_before_it_is_shown(zone: str, unknown_zone: str) -> None:
    assert read_period({"from": "2026-05-03", "zone": zone}, NOW).unknown_zone == unknown_zone


@pytest.mark.parametrize(
    ("name", "zone"),
    [
        ("europe/berlin", "Europe/Berlin"),
        ("UTC", "UTC"),
        (" Asia/Calcutta ", "Asia/Calcutta"),
        ("US/Pacific", "US/Pacific"),
        ("EST", "EST"),  # as a browser reports it
        ("berlin", "Europe/Berlin"),
        ("", "UTC"),
    ],
)
def test_zone_may_be_spelled_as_any_browser_does(name: str, zone: str) -> None:
    period = read_period({"from": "2026-05-03", "zone": name}, NOW)
    assert (period.zone, period.zone_note) == (zone, "")
