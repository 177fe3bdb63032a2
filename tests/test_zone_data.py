"""Clocks go by the newer time zone data, the machine's or the package's."""

import zoneinfo
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from flask import Flask

from smstracker.sms.quiet_hours import QuietHours
from smstracker.web import zone_data

WINTER = datetime(2026, 12, 2, 13, tzinfo=UTC)  # since 2026, British Columbia has its summer time
VANCOUVER = "America/Vancouver"

MakeApp = Callable[..., Flask]


@pytest.fixture
def old_zones(tmp_path: Path) -> Iterator[Path]:
    """The data of a machine: Vancouver's clock is that of Los Angeles, as until 2026."""
    (tmp_path / "America").mkdir()
    zone = files("tzdata").joinpath("zoneinfo/America/Los_Angeles").read_bytes()
    (tmp_path / VANCOUVER).write_bytes(zone)
    (tmp_path / "tzdata.zi").write_text("# version 2025b\n")
    zoneinfo.reset_tzpath([str(tmp_path)])
    ZoneInfo.clear_cache()
    yield tmp_path
    zoneinfo.reset_tzpath()
    ZoneInfo.clear_cache()
    zone_data.use_newest()


def offset() -> timedelta | None:
    return WINTER.astimezone(ZoneInfo(VANCOUVER)).utcoffset()


def test_app_takes_the_package_if_the_machine_is_older(old_zones: Path, make_app: MakeApp) -> None:
    make_app()
    assert offset() == timedelta(hours=-7)
    assert zone_data.describe_version().endswith(", of the package tzdata")
    # 5:30 there, which was 4:30 by the older data.
    assert QuietHours(5 * 60 + 30, 16 * 60, VANCOUVER).holds(WINTER.replace(hour=12, minute=30))


def test_machine_that_is_newer_is_taken(old_zones: Path) -> None:
    (old_zones / "tzdata.zi").write_text("# version 2999a\n# redo posix_only\n")
    zone_data.use_newest()
    assert offset() == timedelta(hours=-8)
    assert zone_data.describe_version() == "2999a, of this machine"


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\n"])
def test_machine_whose_version_is_not_known_is_not_taken(
    old_zones: Path, content: bytes | None
) -> None:
    path = old_zones / "tzdata.zi"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    zone_data.use_newest()
    assert offset() == timedelta(hours=-7)
