"""Lengths of time and moments in words."""

from datetime import UTC, datetime, timedelta

import pytest

from smstracker.clock import (
    format_age,
    format_duration,
    format_exact_duration,
    format_wait,
    has_come,
    is_within,
    spell_duration,
    utcnow,
)

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "less than a second"),
        (1, "1 second"),
        (59.9, "59 seconds"),
        (60, "1 minute"),
        (7199, "1 hour"),
        (7200, "2 hours"),
        (86400 * 3, "3 days"),
        (-5, "less than a second"),
    ],
)
def test_duration_in_words(seconds: float, words: str) -> None:
    assert format_duration(timedelta(seconds=seconds)) == words


@pytest.mark.parametrize(
    ("minutes", "words"),
    [(0, "less than a second"), (1, "one minute"), (10, "ten minutes"), (11, "11 minutes")],
)
def test_duration_in_words_alone_up_to_ten(minutes: int, words: str) -> None:
    assert spell_duration(timedelta(minutes=minutes)) == words


def test_moments_in_words() -> None:
    now = utcnow()
    assert format_age(now, now) == "just now"
    assert format_age(now - timedelta(minutes=5), now) == "5 minutes ago"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "1 second"), (1.2, "2 seconds"), (61, "2 minutes"), (3601, "2 hours"), (86400, "1 day")],
)
def test_waiting_time_is_rounded_up(seconds: float, words: str) -> None:
    assert format_wait(timedelta(seconds=seconds)) == words


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "less than a second"),
        (8.2, "8 seconds"),
        (119.98, "2 minutes"),
        (120.02, "2 minutes"),
        (119, "1 minute 59 seconds"),
        (3600, "1 hour"),
        (3599.9, "1 hour"),
        (3 * 3600 + 5 * 60 + 7, "3 hours 5 minutes"),
        (86400 + 30, "1 day"),
    ],
)
def test_durations_that_are_compared_are_told_alike_when_they_are_alike(
    seconds: float, said: str
) -> None:
    assert format_exact_duration(timedelta(seconds=seconds)) == said


@pytest.mark.parametrize(
    ("minutes", "expected"), [(-1, True), (0, True), (1, False), (65, False), (66, True)]
)
def test_time_has_come_also_if_it_was_stored_too_far_ahead(minutes: int, expected: bool) -> None:
    assert has_come(NOON + minutes * MINUTE, NOON, HOUR) is expected


@pytest.mark.parametrize(
    ("minutes", "expected"), [(-60, False), (-59, True), (0, True), (5, True), (6, False)]
)
def test_time_is_within_an_hour_unless_it_is_ahead(minutes: int, expected: bool) -> None:
    assert is_within(NOON + minutes * MINUTE, NOON, HOUR) is expected
