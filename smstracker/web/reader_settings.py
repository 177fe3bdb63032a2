"""The settings of whoever reads the page."""

from dataclasses import dataclass

from flask import g
from flask_login import current_user


@dataclass(frozen=True, slots=True)
class ReaderSettings:
    """How the reader wants times: `zone` is an IANA name, empty for the browser's."""

    zone: str
    shows_exact_times: bool


def reader_settings() -> ReaderSettings:
    """Return the reader's settings, read once for each request: a page shows many times."""
    if "reader_settings" not in g:
        zone = getattr(current_user, "time_zone", None) or ""
        is_exact = getattr(current_user, "shows_exact_times", False)
        g.reader_settings = ReaderSettings(zone, is_exact)
    read: ReaderSettings = g.reader_settings
    return read


def reader_zone() -> str:
    """The time zone that the reader has set, an IANA name; empty for the browser's."""
    return reader_settings().zone
