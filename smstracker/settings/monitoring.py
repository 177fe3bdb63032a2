"""The settings of metrics and of error reports."""

import re
from urllib.parse import urlsplit

from smstracker.settings.addresses import is_loopback, parse_base_url
from smstracker.settings.reader import matching, parsed

# Long enough not to be guessed, and fit for a header.
read_metrics_token = matching(
    re.compile(r"[!-~]{8,}"), "at least 8 printable ASCII characters, without blanks"
)


def _parse_dsn(raw: str) -> str | None:
    """Return a DSN as Sentry shows it: https://key@host/project; http on this machine only."""
    try:
        parts = urlsplit(raw)
    except ValueError:
        return None
    key, _, host = parts.netloc.rpartition("@")
    base = parse_base_url(f"{parts.scheme}://{host}")
    is_complete = re.fullmatch(r"\w+", key) and re.fullmatch(r"/(?:[\w-]+/)*\d+", parts.path)
    if base is None or not is_complete or parts.query or parts.fragment:
        return None
    is_private = parts.scheme == "https" or is_loopback(parts.hostname or "")
    return raw if is_private else None


read_sentry_dsn = parsed(None, _parse_dsn, "like https://key@sentry.example.org/1")
