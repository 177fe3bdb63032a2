"""The back-off of what failed several times in a row."""

LONGEST_SECONDS = 30.0  # between two attempts to reach the database
_MAX_DOUBLINGS = 10  # more would not fit into a number after a long time


def back_off_seconds(failures: int, longest: float = LONGEST_SECONDS) -> float:
    """Seconds to wait after so many failures: 2, 4, 8 and so on, at most `longest`."""
    return min(2.0 ** min(failures, _MAX_DOUBLINGS), longest)
