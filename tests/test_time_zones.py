"""What people type for a time zone means one zone, or is refused with zones to choose from."""

import pytest

from smstracker.web.time_zones import UnknownZoneError, find_zone, place_names


@pytest.mark.parametrize(
    ("typed", "zone"),
    [
        ("Europe/Berlin", "Europe/Berlin"),
        ("europe/berlin", "Europe/Berlin"),
        ("Berlin", "Europe/Berlin"),
        (" new  york ", "America/New_York"),
        ("São Paulo", "America/Sao_Paulo"),
        ("Zürich", "Europe/Zurich"),
        ("Kiev", "Europe/Kiev"),
        ("Istanbul", "Europe/Istanbul"),  # Asia/Istanbul is the same
        ("buenos aires", "America/Argentina/Buenos_Aires"),
        ("US/Eastern", "US/Eastern"),
        ("Japan", "Japan"),
        ("utc", "UTC"),
        ("Etc/GMT-1", "Etc/GMT-1"),
        ("JST", "Asia/Tokyo"),
        ("CEST", "Europe/Berlin"),
        ("UTC+5:30", "Asia/Kolkata"),
        ("gmt +0900", "Asia/Tokyo"),
    ],
)
def test_what_means_one_zone_is_that_zone(typed: str, zone: str) -> None:
    assert find_zone(typed, 2026) == zone


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("CET", ["Europe/Berlin", "Africa/Algiers"]),
        ("EST", ["America/New_York", "America/Panama"]),
        ("CST", ["America/Chicago", "Asia/Shanghai"]),
        ("IST", ["Asia/Kolkata", "Europe/Dublin"]),
        ("GMT", ["Europe/London"]),
        ("UTC+1", ["Europe/Berlin", "Africa/Lagos"]),
        ("+01:00", ["Europe/Berlin", "Africa/Lagos"]),
        ("UTC−5", ["America/New_York", "America/Bogota"]),
        ("GMT+0", ["Europe/London"]),
    ],
)
def test_what_means_several_zones_names_one_for_each_clock(typed: str, named: list[str]) -> None:
    with pytest.raises(UnknownZoneError, match="can be several zones") as error:
        find_zone(typed, 2026)
    assert [zone for zone in named if zone not in str(error.value)] == []


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("Europe/Kiew", "No time zone is called “Europe/Kiew”. Did you mean Europe/Kiev"),
        ("Berlni", "Did you mean Europe/Berlin"),
        ("New_Yrok", "Did you mean America/New_York?"),
        ("UTC+99", "Type a place, such as Europe/London, Europe/Berlin or"),
        ("qqqq", "No time zone is called “qqqq”. Type a place, such as Europe/London,"),
        ("../../etc/passwd", "No time zone is called"),
        ("localtime", "No time zone is called"),
        ("\0\n", "No time zone is called “Etc/Unknown”"),
        ("x" * 5_000, "“" + "x" * 64 + "”"),
    ],
)
def test_what_means_none_names_near_ones(typed: str, sentence: str) -> None:
    with pytest.raises(UnknownZoneError) as error:
        find_zone(typed, 2026)
    assert sentence in str(error.value)


def test_every_place_is_found_by_its_full_name() -> None:
    assert len(place_names()) > 400
    assert [name for name in place_names() if find_zone(name.upper(), 2026) != name] == []
