"""The settings of metrics and of error reports."""

import re
from urllib.parse import urlsplit

from smstracker.settings.addresses import HTTPS_REQUIRED, is_loopback, parse_base_url
from smstracker.settings.placeholders import PLACEHOLDER, is_placeholder
from smstracker.settings.reader import Reader, matching

_SHAPE = "must be like https://key@sentry.example.org/1"
# Long enough not to be guessed, and fit for a header.
read_metrics_token = matching(
    re.compile(r"[!-~]{8,}"), "at least 8 printable ASCII characters, without blanks"
)


def read_sentry_dsn(reader: Reader, name: str) -> str | None:
    """A DSN as Sentry shows it, https://key@host/project; http on this machine only."""
    dsn = reader.text(name)
    fault = dsn and (PLACEHOLDER if is_placeholder(dsn) else _find_fault(dsn))
    if fault:
        reader.problem(name, fault)
    return None if fault else dsn


def _find_fault(dsn: str) -> str | None:
    """What is wrong with a DSN, without its key; None if nothing is."""
    try:
        parts = urlsplit(dsn)
    except ValueError:
        return _SHAPE
    key, at_sign, host = parts.netloc.rpartition("@")
    base = parse_base_url(f"{parts.scheme}://{host}")
    is_secure = parts.scheme == "https" or is_loopback(parts.hostname or "")
    faults = (
        (base is None, _SHAPE),
        (not is_secure, HTTPS_REQUIRED),
        (not at_sign, "must have the key and an @ before the host"),
        (":" in key, "must have no colon and second key before the @: leave both out"),
        (not re.fullmatch(r"\w+", key), "must have a key of letters and digits before the @"),
        (parts.query or parts.fragment, "must have no ? or # and nothing after it"),
        (
            not re.fullmatch(r"/(?:[\w-]+/)*\d+", parts.path),
            "must end in a slash and the number of the project",
        ),
    )
    return next((fault for is_wrong, fault in faults if is_wrong), None)
