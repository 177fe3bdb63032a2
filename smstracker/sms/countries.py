"""The country of a phone number in words, without claiming more than its digits say.

The names are those of the time zone database, which is a dependency already and kept by IANA.
"""

import re
from functools import cache
from importlib.resources import files

import phonenumbers
from phonenumbers import PhoneMetadata

from smstracker.sms.phone_numbers import format_international, split_country_code

# What the table lacks or calls otherwise than most people do.
_OTHER_NAMES = {
    "GB": "United Kingdom",
    "XK": "Kosovo",
    "AC": "Ascension Island",
    "TA": "Tristan da Cunha",
}
NO_COUNTRY = "No single country"


def describe_number(number: str) -> str:
    """A number in E.164 for people: "Germany: +49 1512 3456789"."""
    return f"{countries_of(number)}: {format_international(number)}"


def countries_of(number: str) -> str:
    """Every country that a number in E.164 may belong to: "United States or Canada"."""
    code, national = split_country_code(number) or ("0", "")
    *others, last = [_names()[region] for region in _regions(int(code), national)] or [NO_COUNTRY]
    return f"{', '.join(others)} or {last}" if others else last


def _regions(code: int, national: str) -> list[str]:
    """The one whose own digits these are, or the main one and all that have none of their own."""
    sharing = [r for r in phonenumbers.region_codes_for_country_code(code) if r in _names()]
    alone = [r for r in sharing[1:] if (own := _own_digits(r)) and re.match(own, national)]
    return alone[:1] or [r for r in sharing if r == sharing[0] or not _own_digits(r)]


def _own_digits(region: str) -> str | None:
    """A pattern of the first digits that a region shares with no other one."""
    metadata = PhoneMetadata.metadata_for_region(region)
    return metadata.leading_digits if metadata else None


@cache
def _names() -> dict[str, str]:
    table = files("tzdata").joinpath("zoneinfo/iso3166.tab").read_text("utf-8")
    rows = (line.split("\t", 1) for line in table.splitlines() if not line.startswith("#"))
    return dict(rows) | _OTHER_NAMES
