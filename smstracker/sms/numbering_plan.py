"""What numbering plans say of digits: country code, prefixes, forms for calls at home. Pure."""

import re
from dataclasses import dataclass
from functools import cache

import phonenumbers
from phonenumbers import (
    NumberParseException,
    PhoneMetadata,
    PhoneNumber,
    PhoneNumberFormat,
    PhoneNumberType,
)

LONGEST = 15  # digits of E.164, with the country code
NORTH_AMERICA = "1"
_MOBILE = (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE)
_MEXICO, _MEXICAN_PREFIX = "52", re.compile("01|04[45]|1")  # all given up in 2019
# Country codes whose numbers are dialled alike: France and its departments, Italy and San Marino.
_SHARED_PLANS = ({"33", "262", "508", "590", "594", "596"}, {"39", "378"})
# Where 8 is or was the trunk prefix; many write it still.
_SOVIET = re.compile("AM|AZ|BY|EE|GE|KG|KZ|LT|LV|MD|RU|TJ|TM|UA|UZ")


@dataclass(frozen=True, slots=True)
class Number:
    """A country code and the digits after it, leading zeros included."""

    code: str
    national: str

    @property
    def e164(self) -> str:
        return f"+{self.code}{self.national}"

    @property
    def parsed(self) -> PhoneNumber:
        zeros = len(self.national[:-1]) - len(self.national[:-1].lstrip("0"))
        return PhoneNumber(
            country_code=int(self.code),
            national_number=int(self.national or "0"),
            italian_leading_zero=zeros > 0 or None,
            number_of_leading_zeros=zeros if zeros > 1 else None,
        )

    @property
    def is_valid(self) -> bool:
        return phonenumbers.is_valid_number(self.parsed)

    @property
    def international(self) -> str:
        """As people read it in any country; in E.164 if spacing would change a digit."""
        formatted = phonenumbers.format_number(self.parsed, PhoneNumberFormat.INTERNATIONAL)
        return formatted if re.sub(r"[^0-9]", "", formatted) == self.e164[1:] else self.e164

    @property
    def local(self) -> str:
        """As people write it within its country."""
        return phonenumbers.format_number(self.parsed, PhoneNumberFormat.NATIONAL)

    @property
    def local_digits(self) -> str:
        return re.sub(r"[^0-9]", "", self.local)

    @property
    def is_mobile(self) -> bool:
        return phonenumbers.number_type(self.parsed) in _MOBILE

    @property
    def is_written_without_trunk_prefix(self) -> bool:
        """As in China and Brazil, which have a 0 that nobody writes before a mobile number."""
        return self.local_digits == self.national


def find_country_code(digits: str) -> str | None:
    """The country code with which digits begin; None if no country has it."""
    codes = (digits[:size] for size in (1, 2, 3))
    return next((code for code in codes if code in _country_codes()), None)


def split_country_code(number: str) -> tuple[str, str] | None:
    """The country code of a number in E.164 and the digits after it; None if no country has it."""
    code = find_country_code(number.removeprefix("+"))
    return (code, number.removeprefix("+")[len(code) :]) if code else None


def trunk_prefix(region: str) -> str:
    """What is dialled before a number within the region: 0 in Germany, 8 in Russia."""
    return _metadata(region).national_prefix or ""


def in_shared_plan(number: Number) -> list[Number]:
    """The valid numbers that share their digits at home with this one: 0692 is +262, not +33."""
    codes = {c for plan in _SHARED_PLANS if number.code in plan for c in plan}
    national = number.national
    numbers = [Number(code, national) for code in sorted(codes - {number.code})]
    # 0508 41 12 34 is +508 41 12 34.
    numbers += [Number(c, national[len(c) :]) for c in sorted(codes) if national.startswith(c)]
    return [number for number in numbers if number.is_valid]


def behind_trunk_prefix(digits: str, region: str) -> list[Number]:
    """The valid numbers behind a trunk prefix of the region, the Soviet 8 and 80 included."""
    trunk = trunk_prefix(region)
    prefixes = [trunk] if trunk else []
    if _SOVIET.fullmatch(region):
        prefixes += ["8", "80"] if trunk == "0" or region == "BY" else ["8"]
    code = str(phonenumbers.country_code_for_region(region))
    rests = dict.fromkeys(digits[len(p) :] for p in prefixes if digits.startswith(p))
    return [number for rest in rests if (number := Number(code, rest)).is_valid]


def dialled_within(digits: str, region: str) -> list[Number]:
    """The valid numbers that digits reach within the region, behind a carrier's code or not."""
    numbers = behind_trunk_prefix(digits, region)
    try:
        parsed = phonenumbers.parse(digits, region)
    except NumberParseException:
        return numbers
    national = phonenumbers.national_significant_number(parsed)
    number = dialled_from_abroad(Number(str(parsed.country_code), national))
    return [*numbers, number] if number.is_valid else numbers


def dialled_from_abroad(number: Number) -> Number:
    """The number as it is dialled from abroad; the same if nothing is to be changed."""
    if number.code == _MEXICO:
        return Number(number.code, _MEXICAN_PREFIX.sub("", number.national, count=1))
    try:
        parsed = phonenumbers.parse(number.e164)
    except NumberParseException:
        return number
    return Number(number.code, phonenumbers.national_significant_number(parsed))


def mobile_lengths(code: str) -> set[int]:
    """How many digits mobile numbers have after their country code."""
    regions = phonenumbers.region_codes_for_country_code(int(code))
    mobiles = (_metadata(region).mobile for region in regions)
    return {length for plan in mobiles if plan for length in plan.possible_length if length > 0}


def longest_mobile_number(region: str) -> int:
    """Digits after the country code, of any number there if none is known to be mobile."""
    metadata = _metadata(region)
    lengths = metadata.mobile.possible_length if metadata.mobile else ()
    return max([n for n in lengths if n > 0] or [LONGEST])


def has_carrier_codes(region: str) -> bool:
    """Whether a carrier's code may be dialled between trunk prefix and number, as in Brazil."""
    formats = _metadata(region).number_format
    return any(one.domestic_carrier_code_formatting_rule for one in formats)


def international_prefixes(digits: str, region: str) -> list[str]:
    """What is dialled for the + in the region and begins these digits: several where it may."""
    pattern = re.compile(_metadata(region).international_prefix or "(?!)")
    beginnings = (digits[:size] for size in range(1, len(digits)))
    return [beginning for beginning in beginnings if pattern.fullmatch(beginning)]


@cache
def _country_codes() -> frozenset[str]:
    return frozenset(map(str, phonenumbers.COUNTRY_CODE_TO_REGION_CODE))


def _metadata(region: str) -> PhoneMetadata:
    # What belongs to no country, such as +800, has no prefixes.
    return PhoneMetadata.metadata_for_region(region) or PhoneMetadata(region, register=False)
