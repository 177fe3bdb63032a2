"""Numbering plans: country codes, prefixes, forms for calls within a country. Pure."""

import re
from dataclasses import dataclass
from functools import lru_cache

import phonenumbers
from phonenumbers import NumberParseException, PhoneMetadata, PhoneNumberFormat, PhoneNumberType

from smstracker.sms.identifiers import E164

MAX_DIGITS = 15  # of E.164, with the country code
NORTH_AMERICA = "1"
_COUNTRY_CODES = frozenset(map(str, phonenumbers.COUNTRY_CODE_TO_REGION_CODE))
_MOBILE = (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE)
_MEXICO, _MEXICAN_PREFIX = "52", re.compile("01|04[45]|1")  # all given up in 2019
# Country codes whose numbers are dialled alike: France and its departments, Italy and San Marino.
_SHARED_PLANS = ({"33", "262", "508", "590", "594", "596"}, {"39", "378"})
# Regions where 8 is or was the trunk prefix, which many still write.
_SOVIET_REGIONS = re.compile("AM|AZ|BY|EE|GE|KG|KZ|LT|LV|MD|RU|TJ|TM|UA|UZ")


@dataclass(frozen=True, slots=True)
class Number:
    """A country code and the digits after it, leading zeros included."""

    code: str
    national: str

    @property
    def e164(self) -> str:
        return f"+{self.code}{self.national}"

    @property
    def parsed(self) -> phonenumbers.PhoneNumber:
        zeros = len(self.national[:-1]) - len(self.national[:-1].lstrip("0"))
        return phonenumbers.PhoneNumber(
            country_code=int(self.code),
            national_number=int(self.national or "0"),
            italian_leading_zero=zeros > 0 or None,
            number_of_leading_zeros=zeros if zeros > 1 else None,
        )

    @property
    def is_valid(self) -> bool:
        return _is_valid(self)

    @property
    def main_region(self) -> str:
        """The region with the country code; the largest of several."""
        return phonenumbers.region_code_for_country_code(int(self.code))

    @property
    def length(self) -> int:
        """What its country says to the number of digits: a `phonenumbers.ValidationResult`."""
        return phonenumbers.is_possible_number_with_reason(self.parsed)

    @property
    def has_too_many_digits(self) -> bool:
        return len(self.e164) > len("+") + MAX_DIGITS

    @property
    def international(self) -> str:
        """The number as people read it in any country; E.164 if spacing would change a digit."""
        formatted = phonenumbers.format_number(self.parsed, PhoneNumberFormat.INTERNATIONAL)
        return formatted if re.sub(r"[^0-9]", "", formatted) == self.e164[1:] else self.e164

    @property
    def local(self) -> str:
        """The number as people write it within its country."""
        return phonenumbers.format_number(self.parsed, PhoneNumberFormat.NATIONAL)

    @property
    def local_digits(self) -> str:
        return re.sub(r"[^0-9]", "", self.local)

    @property
    def is_mobile(self) -> bool:
        return phonenumbers.number_type(self.parsed) in _MOBILE

    @property
    def is_written_without_trunk_prefix(self) -> bool:
        """True in China and Brazil: nobody writes their 0 before a mobile number."""
        return self.local_digits == self.national


@lru_cache(maxsize=1000)  # a spelling is read in several ways, mostly to the same numbers
def _is_valid(number: Number) -> bool:
    return phonenumbers.is_valid_number(number.parsed)


def split_country_code(digits: str) -> Number | None:
    """Split the digits of E.164 after the country code; None if no country has that code."""
    for size in (1, 2, 3):
        if digits[:size] in _COUNTRY_CODES:
            return Number(digits[:size], digits[size:])
    return None


@lru_cache(maxsize=10_000)  # a page of the log shows a hundred, many of them again
def format_international(number: str) -> str:
    """Format a stored number for people; other texts and channel addresses stay unchanged."""
    is_stored = re.fullmatch(E164, number)
    split = split_country_code(number[1:]) if is_stored else None
    return split.international if split else number


def home_code(region: str) -> str:
    return str(phonenumbers.country_code_for_region(region))


def trunk_prefix(region: str) -> str:
    """Return the digits dialled before a number within the region: 0 in Germany, 8 in Russia."""
    return _metadata(region).national_prefix or ""


def find_in_shared_plan(number: Number) -> list[Number]:
    """Return the valid numbers with the same digits at home: 0692 is +262, not +33."""
    codes = {other_code for plan in _SHARED_PLANS if number.code in plan for other_code in plan}
    national = number.national
    numbers = [Number(code, national) for code in sorted(codes - {number.code})]
    # 0508 41 12 34 is +508 41 12 34.
    numbers += [Number(c, national[len(c) :]) for c in sorted(codes) if national.startswith(c)]
    return [number for number in numbers if number.is_valid]


def read_after_trunk_prefix(digits: str, region: str) -> list[Number]:
    """Return the valid numbers behind a trunk prefix of the region, also the Soviet 8 and 80."""
    trunk = trunk_prefix(region)
    prefixes = [trunk] if trunk else []
    if _SOVIET_REGIONS.fullmatch(region):
        prefixes += ["8", "80"] if trunk == "0" or region == "BY" else ["8"]
    code = home_code(region)
    tails = dict.fromkeys(digits[len(prefix) :] for prefix in prefixes if digits.startswith(prefix))
    return [number for tail in tails if (number := Number(code, tail)).is_valid]


def find_dialled_within(digits: str, region: str) -> list[Number]:
    """Return the valid numbers that the digits reach in the region, also behind a carrier code."""
    parsed = _parse(digits, region)
    number = strip_domestic_prefix(parsed) if parsed else None
    numbers = read_after_trunk_prefix(digits, region)
    return [*numbers, number] if number and number.is_valid else numbers


def strip_domestic_prefix(number: Number) -> Number:
    """Return the number as dialled from abroad; the same if nothing changes."""
    if number.code == _MEXICO:
        return Number(number.code, _MEXICAN_PREFIX.sub("", number.national, count=1))
    return _parse(number.e164) or number


def _parse(text: str, region: str | None = None) -> Number | None:
    try:
        parsed = phonenumbers.parse(text, region)
    except NumberParseException:
        return None
    return Number(str(parsed.country_code), phonenumbers.national_significant_number(parsed))


def mobile_lengths(code: str) -> set[int]:
    """Return the numbers of digits that mobile numbers have after their country code."""
    regions = phonenumbers.region_codes_for_country_code(int(code))
    mobiles = (_metadata(region).mobile for region in regions)
    return {length for plan in mobiles if plan for length in plan.possible_length if length > 0}


def max_mobile_length(region: str) -> int:
    """Return the most digits after the country code, of all numbers if none is known as mobile."""
    metadata = _metadata(region)
    lengths = metadata.mobile.possible_length if metadata.mobile else ()
    return max([length for length in lengths if length > 0] or [MAX_DIGITS])


def has_carrier_codes(region: str) -> bool:
    """Whether a carrier's code may be dialled between trunk prefix and number, as in Brazil."""
    formats = _metadata(region).number_format
    return any(number_format.domestic_carrier_code_formatting_rule for number_format in formats)


def international_prefixes(digits: str, region: str) -> list[str]:
    """Return all beginnings of the digits that are dialled in the region in place of the +."""
    pattern = re.compile(_metadata(region).international_prefix or "(?!)")
    beginnings = (digits[:size] for size in range(1, len(digits)))
    return [beginning for beginning in beginnings if pattern.fullmatch(beginning)]


def _metadata(region: str) -> PhoneMetadata:
    # Codes that belong to no country, such as +800, have no prefixes.
    return PhoneMetadata.metadata_for_region(region) or PhoneMetadata(region, register=False)
