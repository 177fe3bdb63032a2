"""Countries that a phone number may belong to, as far as its digits tell."""

import re

import phonenumbers
from phonenumbers import PhoneMetadata

from smstracker.sms.phone_numbers import format_international, split_country_code
from smstracker.sms.regions import region_names

NO_COUNTRY = "No single country"


def describe_number(number: str) -> str:
    """Describe an E.164 number: "Germany: +49 1512 3456789"."""
    return f"{possible_countries(number)}: {format_international(number)}"


def possible_countries(number: str) -> str:
    """Name the countries that an E.164 number may belong to: "United States or Canada"."""
    code, national = split_country_code(number) or ("0", "")
    names = [region_names()[region] for region in _regions(int(code), national)]
    *leading, last = names or [NO_COUNTRY]
    return f"{', '.join(leading)} or {last}" if leading else last


def _regions(code: int, national: str) -> list[str]:
    """Return the region with these leading digits, else the main one and those without any."""
    regions = phonenumbers.region_codes_for_country_code(code)
    named = [region for region in regions if region in region_names()]
    for region in named[1:]:
        if (pattern := _leading_digits(region)) and re.match(pattern, national):
            return [region]
    return named[:1] + [region for region in named[1:] if not _leading_digits(region)]


def _leading_digits(region: str) -> str | None:
    """Return the pattern of the leading digits that only this region has."""
    metadata = PhoneMetadata.metadata_for_region(region)
    return metadata.leading_digits if metadata else None
