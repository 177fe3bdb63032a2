"""What the digits of a number mean in a region: one number that can be no other one, or a reason.

Raises PhoneNumberError throughout; DoubtError where several numbers may be meant.
"""

import re
from collections.abc import Callable, Iterable

import phonenumbers
from phonenumbers import NumberParseException
from phonenumbers import ValidationResult as Length

from smstracker.sms.numbering_plan import (
    LONGEST,
    NORTH_AMERICA,
    Number,
    find_country_code,
    international_prefixes,
    split_country_code,
    trunk_prefix,
)
from smstracker.sms.phone_spelling import PhoneNumberError
from smstracker.sms.regions import region_in_a_sentence

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
_BRACKETED_ZERO = "It is not clear whether the (0) belongs to the number."
_LEADING_ZERO = "No number of that country has a 0 there."
_ANOTHER_COUNTRY = "This could be a number of another country."
_OWN_CODE = "It may begin with the country code."
_MEXICO, _MEXICAN_PREFIX = "52", re.compile("01|04[45]|1")  # all given up in 2019


class DoubtError(PhoneNumberError):
    """What was typed may mean one of several numbers, or one that is dialled otherwise."""

    def __init__(self, reason: str, digits: str, numbers: Iterable[Number | None]) -> None:
        super().__init__(reason)
        self.reason, self.digits = reason, digits
        self.numbers = list(dict.fromkeys(n for n in numbers if n is not None and _is_taken(n)))


def attempt(read: Callable[..., Number], *arguments: Number | str) -> Number | None:
    try:
        return read(*arguments)
    except PhoneNumberError:
        return None


def read_number(compact: str, region: str) -> Number:
    """The number of a spelling without separators, in which "o" stands for "(0)"."""
    if compact.startswith("+"):
        return _possible(_abroad(compact[1:]))
    prefixes = international_prefixes(compact, region)
    if prefixes or compact.startswith("00"):
        return _behind_prefix(compact, prefixes, region)
    return _at_home(compact, region)


def _behind_prefix(compact: str, prefixes: list[str], region: str) -> Number:
    """The number behind an international prefix, if the digits can be read in no other way.

    In South Korea 001 41… is dialled for Switzerland, and typed for the United States by whoever
    dials 00 at home.
    """
    # One digit alone may be the trunk prefix of somewhere else.
    certain = [p for p in prefixes if p == "00" or len(p) > 2]
    uncertain = {"00", *prefixes}.difference(certain)
    numbers = [n for p in certain if (n := attempt(_abroad, compact[len(p) :]))]
    others = _read_otherwise(compact, uncertain)
    home = attempt(_at_home, compact, region)
    if home is None and len(numbers) == 1 and not others:
        return _possible(numbers[0])
    if home is not None and not others and not any(attempt(_possible, n) for n in numbers):
        return home
    if numbers or others:
        raise DoubtError(_ANOTHER_COUNTRY, compact, [*numbers, *others, home])
    if certain:
        raise PhoneNumberError(_NO_COUNTRY)
    return _at_home(compact, region)


def _read_otherwise(compact: str, prefixes: Iterable[str]) -> list[Number]:
    """The numbers behind prefixes of somewhere else, and the one whose + is lost."""
    after = [compact.removeprefix(p) for p in sorted(prefixes) if compact.startswith(p)]
    numbers = [n for digits in after if (n := attempt(_abroad, digits)) and attempt(_possible, n)]
    own = attempt(_abroad, compact)
    return [*numbers, own] if own and own.is_valid else numbers


def _abroad(digits: str) -> Number:
    code = find_country_code(digits)
    if code is None:
        raise PhoneNumberError(_NO_COUNTRY)
    national = digits[len(code) :]
    has_trunk_zero = trunk_prefix(phonenumbers.region_code_for_country_code(int(code))) == "0"
    if "o" in national and (not has_trunk_zero or national.rfind("o") > 0):
        raise PhoneNumberError(_unclear_zero(code, national))
    if national.startswith("o") or (has_trunk_zero and national.startswith("0")):
        national = national[1:]
    return Number(code, national)


def _at_home(digits: str, region: str) -> Number:
    """The number of somebody in the region who has typed neither + nor an international prefix."""
    digits = digits.replace("o", "0", 1) if digits.startswith("o") else digits
    code, trunk = str(phonenumbers.country_code_for_region(region)), trunk_prefix(region)
    has_prefix = bool(trunk) and digits.startswith(trunk)
    number = Number(code, digits[len(trunk) :] if has_prefix else digits)
    if "o" in digits:
        raise PhoneNumberError(_unclear_zero(code, number.national))
    if has_prefix and number.national.startswith("0"):
        number = _without_printed_zero(number, digits)
    if _is_short_or_emergency(digits, number, region):
        raise PhoneNumberError(_TOO_SHORT_TO_TEXT)
    # In North America the 1 is as often left out as typed: it is the country code as well.
    lacks_prefix = bool(trunk) and not has_prefix and code != NORTH_AMERICA
    is_written_so = number.is_mobile and number.is_written_without_trunk_prefix
    others = _numbers_abroad(digits, number)
    if (lacks_prefix and not is_written_so) or (others and (lacks_prefix or not number.is_mobile)):
        raise _doubt(digits, number, others)
    if not number.is_valid:
        _refuse_domestic_form(number)
        _refuse_what_is_of_another_country(digits, number, region)
    return _possible(number)


def _doubt(digits: str, home: Number, others: list[Number]) -> DoubtError:
    if any(number.code == home.code for number in others):
        return DoubtError(_OWN_CODE, digits, others)
    return DoubtError(_ANOTHER_COUNTRY if others else "", digits, [*others, home])


def _numbers_abroad(digits: str, home: Number) -> list[Number]:
    """The numbers that were meant if the + is lost, maybe behind a trunk prefix."""
    texts = [digits, home.national] if home.national.startswith(home.code) else [digits]
    if home.is_valid:  # a 0 after the country code would be far-fetched
        numbers = [Number(*parts) for parts in map(split_country_code, texts) if parts]
    else:
        numbers = [n for text in texts if (n := attempt(_abroad, text))]
    return [number for number in numbers if number != home and number.is_valid]


def _without_printed_zero(number: Number, digits: str) -> Number:
    """The number of a local form with a 0 after the trunk prefix, as Belarus writes it (8 029)."""
    candidate = Number(number.code, number.national[1:])
    return candidate if candidate.is_valid and candidate.local_digits == digits else number


def _is_short_or_emergency(digits: str, home: Number, region: str) -> bool:
    is_short = phonenumbers.is_emergency_number(digits, region) or re.fullmatch(
        "[1-9][0-9]{2,5}", digits
    )
    return bool(is_short) and not home.is_valid


def _refuse_what_is_of_another_country(digits: str, home: Number, region: str) -> None:
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


def _possible(number: Number) -> Number:
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
        way_out = write_as(Number(number.code, number.national.lstrip("0")))
        raise PhoneNumberError(f"{_LEADING_ZERO} {way_out}".strip())
    return number


def _refuse_domestic_form(number: Number) -> None:
    """Refuse a number that has what is dialled only within its country, such as the 8 of Belarus.

    The number without it is shown, never taken: nobody has typed that.
    """
    region = phonenumbers.region_code_for_country_code(int(number.code))
    trunk = trunk_prefix(region)
    meant = _from_abroad(number)
    if not meant.is_valid and trunk:
        meant = _as_dialled_within(f"{trunk}{number.national}", region) or meant
    has_second_zero = trunk == "0" and number.national == f"0{meant.national}"
    if meant.is_valid and meant != number and not has_second_zero:
        raise PhoneNumberError(f"That is a form for calls within the country. {write_as(meant)}")


def _from_abroad(number: Number) -> Number:
    """The number as it is dialled from abroad; the same if nothing is to be changed."""
    if number.code == _MEXICO:
        return Number(number.code, _MEXICAN_PREFIX.sub("", number.national, count=1))
    try:
        parsed = phonenumbers.parse(number.e164)
    except NumberParseException:
        return number
    return Number(number.code, phonenumbers.national_significant_number(parsed))


def _as_dialled_within(digits: str, region: str) -> Number | None:
    """The number that digits reach within the region, a carrier's code among them or not."""
    try:
        parsed = phonenumbers.parse(digits, region)
    except NumberParseException:
        return None
    national = phonenumbers.national_significant_number(parsed)
    return Number(str(parsed.country_code), national)


def _unclear_zero(code: str, national: str) -> str:
    way_out = write_as(*(Number(code, national.replace("o", zero)) for zero in ("0", "")))
    return f"{_BRACKETED_ZERO} {way_out or 'Type it without brackets.'}"


def write_as(*numbers: Number) -> str:
    """What to type for the number that is meant; nothing if there is none."""
    spellings = [number.international for number in numbers if _is_taken(number)]
    return f"Write it as {join_spellings(spellings)}." if spellings else ""


def _is_taken(number: Number) -> bool:
    """Whether a number is valid, and taken as itself behind a +."""
    if not number.is_valid:
        return False
    return attempt(_possible, number) == attempt(_abroad, number.e164[1:]) == number


def join_spellings(spellings: list[str]) -> str:
    *others, last = spellings or [""]
    return f"{', '.join(others)} or {last}" if others else last
