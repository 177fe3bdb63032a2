"""The country of a phone number in words, without claiming more than its digits say."""

import re

import phonenumbers
from phonenumbers import PhoneMetadata

from smstracker.sms.phone_numbers import format_international, split_country_code
from smstracker.sms.regions import region_names

NO_COUNTRY = "No single country"


def describe_number(number: str) -> str:
    """A number in E.164 for people: "Germany: +49 1512 3456789"."""
    return f"{possible_countries(number)}: {format_international(number)}"


def possible_countries(number: str) -> str:
    """Every country that a number in E.164 may belong to: "United States or Canada"."""
    code, national = split_country_code(number) or ("0", "")
    names = [region_names()[region] for region in _regions(int(code), national)]
    *others, last = names or [NO_COUNTRY]
    return f"{', '.join(others)} or {last}" if others else last


def _regions(code: int, national: str) -> list[str]:
    """The one whose own digits these are, or the main one and all that have none of their own."""
    regions = phonenumbers.region_codes_for_country_code(code)
    sharing = [region for region in regions if region in region_names()]
    alone = [r for r in sharing[1:] if (own := _own_digits(r)) and re.match(own, national)]
    return alone[:1] or [r for r in sharing if r == sharing[0] or not _own_digits(r)]


def _own_digits(region: str) -> str | None:
    """A pattern of the first digits that a region shares with no other one."""
    metadata = PhoneMetadata.metadata_for_region(region)
    return metadata.leading_digits if metadata else None
