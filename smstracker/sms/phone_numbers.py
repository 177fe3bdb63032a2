"""Phone numbers that people type: exactly the digits that were typed, or a reason.

No parser looks for a number in the text. What is typed is trimmed, spelled out in ASCII, held
against one grammar, and completed by the region alone: an international prefix becomes the +, a
trunk prefix (0 in Germany) is left out, the country code of the region is put in front.
"""

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
from phonenumbers import ValidationResult as Length

from smstracker.sms.phone_spelling import (
    NO_NUMBER,
    SECOND_NUMBER,
    PhoneNumberError,
    Spelling,
    spell_number,
)
from smstracker.sms.regions import region_in_a_sentence

__all__ = [
    "NO_NUMBER",
    "PhoneNumberError",
    "format_international",
    "parse_recipient",
    "spell_recipient",
    "split_country_code",
]

LONGEST = 15  # digits of E.164, with the country code
NORTH_AMERICA = "1"
_LENGTH_PROBLEMS = {
    Length.TOO_SHORT: "That number is too short.",
    Length.TOO_LONG: "That number is too long.",
    Length.INVALID_LENGTH: "No number of that country has this length.",
    Length.IS_POSSIBLE_LOCAL_ONLY: "The area code is missing.",
}
_NO_COUNTRY = "No country has that code. Begin with + and the country code, for example +44."
_TOO_SHORT_TO_TEXT = (
    "That is too short for a phone number. "
    "Short codes and emergency numbers cannot be texted from here."
)
_BRACKETED_ZERO = "It is not clear whether the (0) belongs to the number. Type it without brackets."
_LEADING_ZERO = "No number of that country has a 0 there. Begin with + and the country code."
# Prefixes that cannot be read in two ways: "00 1 …" and the "001 …" of Mongolia could be.
_INTERNATIONAL_PREFIXES = {"00", "000", "0011", "010", "011", "119", "810"}
_MEXICO, _MEXICAN_PREFIX = "52", re.compile("01|04[45]|1")  # all given up in 2019
_MOBILE = (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE)


@dataclass(frozen=True, slots=True)
class _Number:
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
    def local_digits(self) -> str:
        formatted = phonenumbers.format_number(self.parsed, PhoneNumberFormat.NATIONAL)
        return re.sub(r"[^0-9]", "", formatted)

    @property
    def is_mobile(self) -> bool:
        return phonenumbers.number_type(self.parsed) in _MOBILE


def parse_recipient(typed: str, region: str) -> str:
    """The number that somebody typed, in E.164. Raises PhoneNumberError in their words."""
    spelling = spell_recipient(typed, region)
    if any(_is_whole_number(part, region) for part in spelling.beginnings):
        raise PhoneNumberError(SECOND_NUMBER)
    number = _read(spelling.compact, region)
    if not number.is_valid and any(_is_whole_number(part, region) for part in spelling.parts):
        raise PhoneNumberError(SECOND_NUMBER)
    return number.e164


def spell_recipient(typed: str, region: str) -> Spelling:
    """The digits that somebody typed, of a whole number or of its end. Raises PhoneNumberError."""
    is_north_american = phonenumbers.country_code_for_region(region) == int(NORTH_AMERICA)
    return spell_number(typed, takes_vanity=is_north_american)


def split_country_code(number: str) -> tuple[str, str] | None:
    """The country code of a number in E.164 and the digits after it; None if no country has it."""
    code = _country_code(number.removeprefix("+"))
    return (code, number.removeprefix("+")[len(code) :]) if code else None


def format_international(number: str) -> str:
    """A stored number as people read it; whatever is not one, or is a channel's, stays as it is."""
    if not re.fullmatch(r"\+[1-9][0-9]{6,14}", number):
        return number
    parts = split_country_code(number)
    if parts is None:
        return number
    parsed = _Number(*parts).parsed
    formatted = phonenumbers.format_number(parsed, PhoneNumberFormat.INTERNATIONAL)
    return formatted if re.sub(r"[^0-9]", "", formatted) == number[1:] else number


def _is_whole_number(compact: str, region: str) -> bool:
    try:
        return _read(compact, region).is_valid
    except PhoneNumberError:
        return False


def _read(compact: str, region: str) -> _Number:
    """The number of a spelling without separators, in which "o" stands for "(0)"."""
    prefix = _international_prefix(region)
    if compact.startswith("+"):
        return _possible(_abroad(compact[1:]))
    if prefix and compact.startswith(prefix):
        return _possible(_abroad(compact[len(prefix) :]))
    return _at_home(compact.replace("o", "0", 1) if compact.startswith("o") else compact, region)


def _abroad(digits: str) -> _Number:
    code = _country_code(digits)
    if code is None:
        raise PhoneNumberError(_NO_COUNTRY)
    national = digits[len(code) :]
    has_trunk_zero = _trunk_prefix(phonenumbers.region_code_for_country_code(int(code))) == "0"
    if "o" in national and (not has_trunk_zero or national.rfind("o") > 0):
        raise PhoneNumberError(_BRACKETED_ZERO)
    if national.startswith("o") or (has_trunk_zero and national.startswith("0")):
        national = national[1:]
    return _Number(code, national)


def _at_home(digits: str, region: str) -> _Number:
    """The number of somebody in the region who has typed neither + nor an international prefix."""
    if "o" in digits:
        raise PhoneNumberError(_BRACKETED_ZERO)
    code, trunk = str(phonenumbers.country_code_for_region(region)), _trunk_prefix(region)
    has_prefix = bool(trunk) and digits.startswith(trunk)
    number = _Number(code, digits[len(trunk) :] if has_prefix else digits)
    if has_prefix and number.national.startswith("0"):
        number = _without_printed_zero(number, digits)
    if _is_short_or_emergency(digits, number, region):
        raise PhoneNumberError(_TOO_SHORT_TO_TEXT)
    # In North America the 1 is as often left out as typed: it is the country code as well.
    lacks_prefix = bool(trunk) and not has_prefix and code != NORTH_AMERICA
    if lacks_prefix and not (number.is_mobile and _is_written_without_trunk_prefix(number)):
        raise PhoneNumberError(_begin_with(trunk))
    if _could_be_abroad(digits, number, region, doubts_mobile=lacks_prefix):
        is_own = digits.startswith(code) and _Number(code, digits[len(code) :]).is_valid
        doubt = (
            "It may begin with the country code"
            if is_own
            else "This could be a number of another country"
        )
        raise PhoneNumberError(f"{doubt}. {_begin_with(trunk)}")
    if not number.is_valid:
        _refuse_domestic_form(number)
        _refuse_what_is_of_another_country(digits, number, region)
    return _possible(number)


def _without_printed_zero(number: _Number, digits: str) -> _Number:
    """The number of a local form with a 0 after the trunk prefix, as Belarus writes it (8 029)."""
    candidate = _Number(number.code, number.national[1:])
    return candidate if candidate.is_valid and candidate.local_digits == digits else number


def _is_short_or_emergency(digits: str, home: _Number, region: str) -> bool:
    is_short = phonenumbers.is_emergency_number(digits, region) or re.fullmatch(
        "[1-9][0-9]{2,5}", digits
    )
    return bool(is_short) and not home.is_valid


def _refuse_what_is_of_another_country(digits: str, home: _Number, region: str) -> None:
    """Refuse what is dialled otherwise or is longer than any number of the region."""
    is_too_long = len(home.e164) > 1 + LONGEST or (
        phonenumbers.is_possible_number_with_reason(home.parsed) == Length.TOO_LONG
    )
    other = f"For another country begin with + and its code, as in +{_code_of_another(home.code)}."
    where = region_in_a_sentence(region)
    if home.code == NORTH_AMERICA and digits.startswith("0"):
        raise PhoneNumberError(f"That is not a number of {where}. {other}")
    if is_too_long:
        raise PhoneNumberError(f"That number is too long for {where}. {other}")


def _code_of_another(home_code: str) -> str:
    return "44" if home_code == "49" else "49"


def _could_be_abroad(digits: str, home: _Number, region: str, *, doubts_mobile: bool) -> bool:
    """Whether the + may have been lost, or a prefix may mean +."""
    if home.is_mobile and not doubts_mobile:
        return False
    if not home.is_valid and re.match(f"00|{_metadata(region).international_prefix}", digits):
        return True
    readings = [digits, home.national] if home.national.startswith(home.code) else [digits]
    others = (_Number(*parts) for parts in map(split_country_code, readings) if parts)
    return any(other != home and other.is_valid for other in others)


def _possible(number: _Number) -> _Number:
    """The number, unless none can look like that. Twilio is the judge of the rest."""
    if len(number.e164) > 1 + LONGEST:
        raise PhoneNumberError("That number is too long: it has 15 digits at most.")
    if not number.is_valid:
        _refuse_domestic_form(number)
    length = phonenumbers.is_possible_number_with_reason(number.parsed)
    if length != Length.IS_POSSIBLE:
        raise PhoneNumberError(_LENGTH_PROBLEMS.get(length, _NO_COUNTRY))
    if number.code == NORTH_AMERICA and number.national[0] in "01":
        raise PhoneNumberError("After +1 no area code begins with 0 or 1.")
    if number.national.startswith("0") and not number.is_valid:
        raise PhoneNumberError(_LEADING_ZERO)
    return number


def _refuse_domestic_form(number: _Number) -> None:
    """Refuse a number that has what is dialled only within its country, such as the 8 of Belarus.

    The number without it is shown, never taken: nobody has typed that.
    """
    region = phonenumbers.region_code_for_country_code(int(number.code))
    trunk = _trunk_prefix(region)
    meant = _from_abroad(number)
    if not meant.is_valid and trunk:
        meant = _as_dialled_within(f"{trunk}{number.national}", region) or meant
    has_second_zero = trunk == "0" and number.national == f"0{meant.national}"
    if meant.is_valid and meant != number and not has_second_zero:
        shown = format_international(meant.e164)
        raise PhoneNumberError(f"That is a form for calls within the country. Write it as {shown}.")


def _from_abroad(number: _Number) -> _Number:
    """The number as it is dialled from abroad; the same if nothing is to be changed."""
    if number.code == _MEXICO:
        return _Number(number.code, _MEXICAN_PREFIX.sub("", number.national, count=1))
    try:
        parsed = phonenumbers.parse(number.e164)
    except NumberParseException:
        return number
    return _Number(number.code, phonenumbers.national_significant_number(parsed))


def _as_dialled_within(digits: str, region: str) -> _Number | None:
    """The number that digits reach within the region, a carrier's code among them or not."""
    try:
        parsed = phonenumbers.parse(digits, region)
    except NumberParseException:
        return None
    national = phonenumbers.national_significant_number(parsed)
    return _Number(str(parsed.country_code), national)


def _begin_with(trunk: str) -> str:
    return f"Begin with + and the country code{f', or with {trunk}' if trunk else ''}."


def _is_written_without_trunk_prefix(number: _Number) -> bool:
    """As in China and Brazil, which have a 0 that nobody writes before a mobile number."""
    return number.local_digits == number.national


def _country_code(digits: str) -> str | None:
    codes = (digits[:size] for size in (1, 2, 3))
    return next((code for code in codes if code in _country_codes()), None)


@cache
def _country_codes() -> frozenset[str]:
    return frozenset(map(str, phonenumbers.COUNTRY_CODE_TO_REGION_CODE))


def _trunk_prefix(region: str) -> str:
    return _metadata(region).national_prefix or ""


def _metadata(region: str) -> PhoneMetadata:
    # What belongs to no country, such as +800, has no prefixes.
    return PhoneMetadata.metadata_for_region(region) or PhoneMetadata(region, register=False)


@cache
def _international_prefix(region: str) -> str:
    """What is dialled for the +, where it is one thing only."""
    pattern = _metadata(region).international_prefix or ""
    prefix = pattern if pattern.isdigit() else _metadata(region).preferred_international_prefix
    prefix = (prefix or "").replace("~", "")
    is_longer = any(re.fullmatch(pattern, f"{prefix}{digit}") for digit in range(10))
    return prefix if prefix in _INTERNATIONAL_PREFIXES and not is_longer else ""
