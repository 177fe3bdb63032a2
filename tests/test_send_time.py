"""The time at which people want a message sent."""

from datetime import UTC, datetime, timedelta

import pytest

from smstracker.web.send_time import (
    MAX_AHEAD,
    RepeatedTimeError,
    SendTimeError,
    read_send_time,
    split_send_time,
)

NOW = datetime(2026, 10, 20, 9, 30, tzinfo=UTC)
BERLIN = "Europe/Berlin"


def test_nothing_typed_means_now() -> None:
    assert read_send_time("", "", BERLIN, NOW) is None


@pytest.mark.parametrize(
    ("zone", "hour"), [(BERLIN, 12), ("berlin", 12), ("", 14), ("Asia/Kolkata", 8)]
)
def test_time_is_read_in_its_zone(zone: str, hour: int) -> None:
    minute = 30 if hour == 8 else 0
    send_at = read_send_time("2026-10-21", "14:00", zone, NOW)
    assert send_at == datetime(2026, 10, 21, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("day", "clock", "zone", "problem"),
    [
        ("2026-10-21", "", BERLIN, "Choose the time too, or leave both empty to send now."),
        ("", "14:00", BERLIN, "Choose the day too, or leave both empty to send now."),
        ("21.10.2026", "14:00", BERLIN, "Type the day like 2026-05-03."),
        ("0001-01-01", "00:00", "Asia/Kolkata", "Type the day like 2026-05-03."),
        ("2026-10-21", "2 pm", BERLIN, "Type the time like 14:30."),
        (
            *("2026-10-20", "11:30", BERLIN),
            "That time has passed. Choose a later one, or leave both empty.",
        ),
        ("2026-11-20", "14:00", BERLIN, "Choose a time within 30 days."),
    ],
)
def test_time_that_cannot_be_is_explained(day: str, clock: str, zone: str, problem: str) -> None:
    with pytest.raises(SendTimeError) as error:
        read_send_time(day, clock, zone, NOW)
    assert str(error.value) == problem


def test_zone_that_is_not_known_is_refused_rather_than_guessed() -> None:
    with pytest.raises(SendTimeError, match="No time zone is called “Nowhere”"):
        read_send_time("2026-10-21", "14:00", "Nowhere", NOW)


def test_time_that_clocks_skip_is_refused() -> None:
    now = datetime(2026, 3, 28, tzinfo=UTC)
    with pytest.raises(SendTimeError) as error:
        read_send_time("2026-03-29", "02:30", BERLIN, now)
    assert str(error.value) == (
        "On 29 Mar 2026 there is no 02:30 in Europe/Berlin: clocks go forward. Choose another time."
    )


def test_time_that_comes_twice_has_to_be_chosen() -> None:
    with pytest.raises(RepeatedTimeError) as error:
        read_send_time("2026-10-25", "02:30", BERLIN, NOW)
    assert error.value.choices == ("The first: 02:30 CEST", "The second: 02:30 CET")
    times = [read_send_time("2026-10-25", "02:30", BERLIN, NOW, fold=fold) for fold in (0, 1)]
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert times == [first, first + timedelta(hours=1)]


@pytest.mark.parametrize("hours", [1, 24 * 4 + 15, 24 * 4 + 16, 24 * 29])
def test_time_is_split_and_read_again(hours: int) -> None:
    send_at = NOW + timedelta(hours=hours)
    day, clock, fold = split_send_time(send_at, BERLIN)
    assert read_send_time(day, clock, BERLIN, NOW, fold=fold) == send_at
    assert send_at < NOW + MAX_AHEAD
