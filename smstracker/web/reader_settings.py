"""The settings of whoever reads the page."""

from flask_login import current_user


def reader_zone() -> str:
    """The time zone that the reader has set, an IANA name; empty for the browser's."""
    return getattr(current_user, "time_zone", None) or ""
