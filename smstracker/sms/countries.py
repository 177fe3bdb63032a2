"""Names of regions, and the countries that a phone number may belong to.

The names are those of IANA's time zone database, which is a dependency already.
"""

import re
from functools import cache
from importlib.resources import files

import phonenumbers
from phonenumbers import SUPPORTED_REGIONS, PhoneMetadata

from smstracker.sms.numbering_plan import Number, format_international, split_country_code

# Names that the table lacks, or that most people call differently.
_OTHER_NAMES = {"GB": "United Kingdom", "XK": "Kosovo", "AC": "Ascension Island"}
_OTHER_NAMES |= {"TA": "Tristan da Cunha"}
# Other names, and codes that are none of ISO, by which people call a region.
_ALIASES = {"uk": "GB", "great britain": "GB", "england": "GB", "scotland": "GB", "wales": "GB"}
_ALIASES |= {"northern ireland": "GB", "usa": "US", "united states of america": "US", "uae": "AE"}
_ALIASES |= {"south korea": "KR", "republic of korea": "KR", "russian federation": "RU"}
_ALIASES |= {"czechia": "CZ", "türkiye": "TR", "viet nam": "VN", "holland": "NL"}
# One numbering plan: nobody can tell their numbers apart.
_SHARED_PLAN = dict.fromkeys(("US", "CA"), "the United States or Canada")
_WITH_ARTICLE = re.compile(
    r"(United|Netherlands|Philippines|Bahamas|Gambia|Maldives|Comoros|Seychelles|Vatican)\b.*"
    r"|.* (Islands|Republic|Rep\.)"
)


@cache
def _region_names() -> dict[str, str]:
    """Return the names of all regions by their two-letter codes."""
    table = files("tzdata").joinpath("zoneinfo/iso3166.tab").read_text("utf-8")
    rows = (line.split("\t", 1) for line in table.splitlines() if not line.startswith("#"))
    return dict(rows) | _OTHER_NAMES


@cache
def _regions_by_name() -> dict[str, str]:
    """Return the regions with phone numbers by their codes and names, in small letters."""
    names = {code: name for code, name in _region_names().items() if code in SUPPORTED_REGIONS}
    by_name = {name.casefold(): code for code, name in names.items()}
    return by_name | {code.casefold(): code for code in names} | _ALIASES


def find_region(text: str) -> str | None:
    """Return the region that a text names in English or by its code; None if it names none."""
    return _regions_by_name().get(" ".join(text.replace(".", "").split()).casefold())


def region_in_a_sentence(region: str) -> str:
    """Return a region as it follows "in" or "of": "Germany", "the United States or Canada"."""
    name = _region_names().get(region, region)
    return _SHARED_PLAN.get(region) or (f"the {name}" if _WITH_ARTICLE.fullmatch(name) else name)


def join_with_or(words: list[str]) -> str:
    """Return "A, B or C"; "" if there are none."""
    *leading, last = words or [""]
    return f"{', '.join(leading)} or {last}" if leading else last


def describe_number(number: str) -> str:
    """Describe an E.164 number with the countries that it may belong to: "Germany: +49 1512…"."""
    split = split_country_code(number.removeprefix("+"))
    names = [_region_names()[region] for region in _regions(split)] if split else []
    return f"{join_with_or(names) or 'No single country'}: {format_international(number)}"


def _regions(number: Number) -> list[str]:
    """Return the region with these leading digits, else the main one and those without any."""
    regions = phonenumbers.region_codes_for_country_code(int(number.code))
    named = [region for region in regions if region in _region_names()]
    for region in named[1:]:
        if (pattern := _leading_digits(region)) and re.match(pattern, number.national):
            return [region]
    return named[:1] + [region for region in named[1:] if not _leading_digits(region)]


def _leading_digits(region: str) -> str | None:
    """Return the pattern of the leading digits that only this region has."""
    metadata = PhoneMetadata.metadata_for_region(region)
    return metadata.leading_digits if metadata else None
