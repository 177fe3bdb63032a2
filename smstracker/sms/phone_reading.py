"""What the digits of a number mean in a region: one number that can be no other one, or a reason.

Raises PhoneNumberError throughout; DoubtError where several numbers may be meant.
"""

import re
from collections.abc import Callable, Iterable

import phonenumbers
from phonenumbers import ValidationResult as Length

from smstracker.sms.numbering_plan import (
    LONGEST,
    NORTH_AMERICA,
    Number,
    behind_trunk_prefix,
    dialled_from_abroad,
    dialled_within,
    find_country_code,
    in_shared_plan,
    international_prefixes,
    longest_mobile_number,
    mobile_lengths,
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
_NO_CODE = "No country has that code."
_NO_COUNTRY = f"{_NO_CODE} Begin with + and the country code, for example +44."
_TOO_SHORT_TO_TEXT = (
    "That is too short for a phone number. "
    "Short codes and emergency numbers cannot be texted from here."
)
_BRACKETED_ZERO = "It is not clear whether the (0) belongs to the number."
_LEADING_ZERO = "No number of that country has a 0 there."
_ANOTHER_COUNTRY = "This could be a number of another country."
_OWN_CODE = "It may begin with the country code."
_NO_SUCH_NUMBER = "That country has no such number."
_UNCLEAR_CODE = "It is not clear where the country code ends. Put a space after it."
_UNCERTAIN_ZERO = (
    "It is not clear whether the 0 after the country code belongs to the number. "
    "Leave it out if it does not."
)
_ANOTHER_CODE = "Numbers that begin like that have another country code."


class TooLongError(PhoneNumberError):
    """What was typed is longer than any number of the region, or than any mobile one."""


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


def read_number(compact: str, region: str, first_group: str = "") -> Number:
    """The number of a spelling without separators, in which "o" stands for "(0)".

    `first_group` is what the first separator sets apart: the country code in "+84 95…".
    """
    if compact.startswith("+"):
        return _behind_plus(compact[1:], region, first_group)
    prefixes = international_prefixes(compact, region)
    if prefixes or compact.startswith("00"):
        return _behind_prefix(compact, prefixes, region)
    return _at_home(compact, region)


def _behind_plus(digits: str, region: str, first_group: str) -> Number:
    """The number behind a +, unless a number as it is dialled at home may stand there.

    "+8 (495) 123-45-67" is typed in Russia for +7 495…, and reads as a number of Vietnam. A valid
    number without a separator is how programs write it, and is taken as it is.
    """
    code = find_country_code(digits)
    if code is None:
        raise _no_country(digits, region)
    if first_group == f"+{code}":
        return _possible(_abroad(digits))
    number = attempt(_abroad, digits)
    is_abroad = number is not None and _is_taken(number)
    if is_abroad and not first_group:
        return _possible(_abroad(digits))
    homes = _numbers_dialled(digits.replace("o", "0"), region, needs_prefix=is_abroad)
    if homes and number not in homes:
        raise DoubtError(_UNCLEAR_CODE if is_abroad else _NO_SUCH_NUMBER, digits, [*homes, number])
    return _possible(_abroad(digits))


def _numbers_dialled(digits: str, region: str, *, needs_prefix: bool) -> list[Number]:
    """The valid numbers that digits reach in the region: by a prefix, or as they are."""
    rests = [digits[len(prefix) :] for prefix in international_prefixes(digits, region)]
    abroad = [n for rest in rests if (n := attempt(_abroad, rest)) and n.is_valid]
    numbers = behind_trunk_prefix(digits, region) + abroad
    home = Number(str(phonenumbers.country_code_for_region(region)), digits)
    is_dialled_so = home.is_valid and home.is_written_without_trunk_prefix
    return [*numbers, home] if is_dialled_so and not needs_prefix else numbers


def _no_country(digits: str, region: str) -> PhoneNumberError:
    """The refusal of a + that no country code follows, with the number that is dialled so."""
    try:
        numbers = [read_number(digits, region)]
    except DoubtError as without_plus:
        numbers = without_plus.numbers
    except PhoneNumberError:
        numbers = dialled_within(digits.replace("o", "0"), region)
    doubt = DoubtError(_NO_CODE, digits, numbers)
    return doubt if doubt.numbers else PhoneNumberError(_NO_COUNTRY)


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
    return _possible(_abroad(compact[len(certain[0]) :])) if certain else _at_home(compact, region)


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
    if "o" in national and (not _has_trunk_zero(code) or national.rfind("o") > 0):
        raise PhoneNumberError(_unclear_zero(code, national))
    if national.startswith("o"):
        return Number(code, national[1:])
    if _has_trunk_zero(code) and national.startswith("0"):
        return _without_trunk_zero(Number(code, national[1:]))
    return Number(code, national)


def _without_trunk_zero(number: Number) -> Number:
    """The number without a 0 that was typed, if there is such a one."""
    if not number.is_valid and len(number.national) not in mobile_lengths(number.code):
        _possible(number)
        raise PhoneNumberError(_UNCERTAIN_ZERO)
    return number


def _has_trunk_zero(code: str) -> bool:
    return trunk_prefix(phonenumbers.region_code_for_country_code(int(code))) == "0"


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
        raise _doubt(digits, number, others, region)
    if not number.is_valid:
        _refuse_domestic_form(number, dialled_within(digits, region))
        _refuse_what_is_of_another_country(digits, number, region)
    return _possible(number)


def _doubt(digits: str, home: Number, others: list[Number], region: str) -> DoubtError:
    if any(number.code == home.code for number in others):
        return DoubtError(_OWN_CODE, digits, others)
    homes = [home]
    if not home.is_valid:
        homes = [dialled_from_abroad(home), *dialled_within(digits, region), *in_shared_plan(home)]
    return DoubtError(_ANOTHER_COUNTRY if others else "", digits, [*others, *homes])


def _numbers_abroad(digits: str, home: Number) -> list[Number]:
    """The numbers that were meant if the + is lost, maybe behind a trunk prefix."""
    texts = [digits, home.national] if home.national.startswith(home.code) else [digits]
    if home.is_valid:  # a 0 after the country code would be far-fetched
        numbers = [Number(*parts) for parts in map(split_country_code, texts) if parts]
    else:
        numbers = [_as_from_abroad(n, home) for text in texts if (n := attempt(_abroad, text))]
    # 0596 is Martinique throughout France.
    numbers += [n for n in in_shared_plan(home) if home.national.startswith(n.code)]
    return [number for number in numbers if number != home and number.is_valid]


def _as_from_abroad(number: Number, home: Number) -> Number:
    """The number without a prefix for calls at home, where a reading at home is far-fetched."""
    is_far_fetched = number.code == home.code or _is_too_long(home)
    return dialled_from_abroad(number) if is_far_fetched and not number.is_valid else number


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
    other = f"For another country begin with + and its code, as in +{_code_of_another(home.code)}."
    where = region_in_a_sentence(region)
    if home.code == NORTH_AMERICA and digits.startswith("0"):
        raise PhoneNumberError(f"That is not a number of {where}. {other}")
    # "01033 089 123456" holds a carrier's code; some regions have long extensions of offices.
    if _is_too_long(home) or len(home.national) > longest_mobile_number(region):
        raise TooLongError(f"That number is too long for {where}. {other}")


def _is_too_long(number: Number) -> bool:
    length = phonenumbers.is_possible_number_with_reason(number.parsed)
    return len(number.e164) > 1 + LONGEST or length == Length.TOO_LONG


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


def _refuse_domestic_form(number: Number, meant: Iterable[Number] = ()) -> None:
    """Refuse a number that has what is dialled only within its country, such as the 8 of Belarus.

    The number without it is shown, never taken: nobody has typed that.
    """
    others = in_shared_plan(number)
    if others:
        raise PhoneNumberError(f"{_ANOTHER_CODE} {write_as(*others)}")
    region = phonenumbers.region_code_for_country_code(int(number.code))
    trunk = trunk_prefix(region)
    numbers = [dialled_from_abroad(number), *meant, *behind_trunk_prefix(number.national, region)]
    numbers += dialled_within(f"{trunk}{number.national}", region) if trunk else []
    has_second_zero = [n for n in numbers if trunk == "0" and number.national == f"0{n.national}"]
    way_out = write_as(*(n for n in numbers if n not in has_second_zero))
    if way_out:
        raise PhoneNumberError(f"That is a form for calls within the country. {way_out}")


def _unclear_zero(code: str, national: str) -> str:
    way_out = write_as(*(Number(code, national.replace("o", zero)) for zero in ("0", "")))
    return f"{_BRACKETED_ZERO} {way_out or 'Type it without brackets.'}"


def write_as(*numbers: Number) -> str:
    """What to type for the number that is meant; nothing if there is none."""
    spellings = [number.international for number in dict.fromkeys(numbers) if _is_taken(number)]
    return f"Write it as {join_spellings(spellings)}." if spellings else ""


def _is_taken(number: Number) -> bool:
    """Whether a number is valid, and taken as itself behind a +."""
    if not number.is_valid or (number.national.startswith("0") and _has_trunk_zero(number.code)):
        return False
    return attempt(_possible, number) == number


def join_spellings(spellings: list[str]) -> str:
    *others, last = spellings or [""]
    return f"{', '.join(others)} or {last}" if others else last
