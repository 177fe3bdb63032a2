"""Lengths of time and moments in words."""

from datetime import timedelta

import pytest

from smstracker.clock import ago, in_words, utcnow, waiting_time


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
    assert in_words(timedelta(seconds=seconds)) == words


def test_moments_in_words() -> None:
    now = utcnow()
    assert ago(now, now) == "just now"
    assert ago(now - timedelta(minutes=5), now) == "5 minutes ago"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "1 second"), (1.2, "2 seconds"), (61, "2 minutes"), (3601, "2 hours"), (86400, "1 day")],
)
def test_waiting_time_is_rounded_up(seconds: float, words: str) -> None:
    assert waiting_time(timedelta(seconds=seconds)) == words
