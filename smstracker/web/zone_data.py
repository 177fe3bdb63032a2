"""Which time zone data this process uses: the machine's or that of the package `tzdata`.

`zoneinfo` takes the machine's whenever there is some, however old, and countries change their
clocks at short notice.
"""

import zoneinfo
from collections.abc import Sequence
from pathlib import Path

import tzdata

VERSION_FILE = "tzdata.zi"  # begins with "# version 2026f"


def use_newest() -> None:
    """Take the package unless the machine's data is as new; to be called before zones are used."""
    if zoneinfo.TZPATH and _read_version(zoneinfo.TZPATH) < tzdata.IANA_VERSION:
        zoneinfo.reset_tzpath(())
        zoneinfo.ZoneInfo.clear_cache()


def describe_version() -> str:
    """Return the version in use and whose it is: "2026f, of the package tzdata"."""
    if zoneinfo.TZPATH:
        return f"{_read_version(zoneinfo.TZPATH)}, of this machine"
    return f"{tzdata.IANA_VERSION}, of the package tzdata"


def _read_version(folders: Sequence[str]) -> str:
    """Return the version of the folder that zones are read from first; "" if it is not known."""
    folder = next(filter(Path.is_dir, map(Path, folders)), None)
    try:
        lines = (folder / VERSION_FILE).read_text("utf-8").splitlines() if folder else []
    except (OSError, UnicodeDecodeError):
        lines = []
    return lines[0].removeprefix("# version ").strip() if lines else ""
