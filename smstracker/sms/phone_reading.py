"""Reading of digits as the one number that they can mean in a region.

Raises PhoneNumberError throughout, AmbiguousNumberError where several numbers may be meant.
"""

import re
from collections.abc import Callable, Iterable

import phonenumbers
from phonenumbers import ValidationResult as Length

from smstracker.sms.numbering_plan import (
    MAX_DIGITS,
    NORTH_AMERICA,
    Number,
    find_country_code,
    find_dialled_within,
    find_in_shared_plan,
    international_prefixes,
    max_mobile_length,
    mobile_lengths,
    read_after_trunk_prefix,
    split_country_code,
    strip_domestic_prefix,
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
_UNCLEAR_TRUNK_ZERO = (
    "It is not clear whether the 0 after the country code belongs to the number. "
    "Leave it out if it does not."
)
_ANOTHER_CODE = "Numbers that begin like that have another country code."


class TooLongError(PhoneNumberError):
    """The number is longer than any of the region, or than any mobile one."""


class AmbiguousNumberError(PhoneNumberError):
    """The digits may mean one of several numbers, or one that is dialled in another way."""

    def __init__(self, reason: str, digits: str, numbers: Iterable[Number | None]) -> None:
        super().__init__(reason)
        self.reason, self.digits = reason, digits
        self.numbers = list(
            dict.fromkeys(
                number for number in numbers if number is not None and _is_accepted(number)
            )
        )


def read_or_none(read: Callable[..., Number], *arguments: Number | str) -> Number | None:
    try:
        return read(*arguments)
    except PhoneNumberError:
        return None


def read_number(compact: str, region: str, first_group: str = "") -> Number:
    """Read a spelling without separators, in which "o" stands for "(0)".

    `first_group` is what the first separator sets apart: the country code in "+84 95…".
    """
    if compact.startswith("+"):
        return _read_after_plus(compact[1:], region, first_group)
    prefixes = international_prefixes(compact, region)
    if prefixes or compact.startswith("00"):
        return _read_after_prefix(compact, prefixes, region)
    return _read_domestic(compact, region)


def _read_after_plus(digits: str, region: str, first_group: str) -> Number:
    """Read the number behind a +, unless it may be a number as dialled at home.

    "+8 (495) 123-45-67" is typed in Russia for +7 495…, and reads as a number of Vietnam. A valid
    number without a separator is how programs write it, and is taken as it is.
    """
    code = find_country_code(digits)
    if code is None:
        raise _build_country_refusal(digits, region)
    if first_group == f"+{code}":
        return _require_possible(_read_international(digits))
    number = read_or_none(_read_international, digits)
    is_abroad = number is not None and _is_accepted(number)
    if is_abroad and not first_group:
        return _require_possible(_read_international(digits))
    domestic_numbers = _find_dialled_numbers(
        digits.replace("o", "0"), region, needs_prefix=is_abroad
    )
    if domestic_numbers and number not in domestic_numbers:
        raise AmbiguousNumberError(
            _UNCLEAR_CODE if is_abroad else _NO_SUCH_NUMBER, digits, [*domestic_numbers, number]
        )
    return _require_possible(_read_international(digits))


def _find_dialled_numbers(digits: str, region: str, *, needs_prefix: bool) -> list[Number]:
    """Return the valid numbers that the digits reach in the region: by a prefix, or as they are."""
    tails = [digits[len(prefix) :] for prefix in international_prefixes(digits, region)]
    foreign_numbers = [
        number
        for tail in tails
        if (number := read_or_none(_read_international, tail)) and number.is_valid
    ]
    numbers = read_after_trunk_prefix(digits, region) + foreign_numbers
    domestic = Number(str(phonenumbers.country_code_for_region(region)), digits)
    is_dialled_so = domestic.is_valid and domestic.is_written_without_trunk_prefix
    return [*numbers, domestic] if is_dialled_so and not needs_prefix else numbers


def _build_country_refusal(digits: str, region: str) -> PhoneNumberError:
    """Return the refusal of a + without a country code, with the number that is dialled so."""
    try:
        numbers = [read_number(digits, region)]
    except AmbiguousNumberError as without_plus:
        numbers = without_plus.numbers
    except PhoneNumberError:
        numbers = find_dialled_within(digits.replace("o", "0"), region)
    ambiguity = AmbiguousNumberError(_NO_CODE, digits, numbers)
    return ambiguity if ambiguity.numbers else PhoneNumberError(_NO_COUNTRY)


def _read_after_prefix(compact: str, prefixes: list[str], region: str) -> Number:
    """Read the number behind an international prefix, if no other reading is possible.

    In South Korea 001 41… is dialled for Switzerland, but people used to dialling 00 type it for
    the United States.
    """
    # A single digit may be the trunk prefix of another country.
    sure_prefixes = [prefix for prefix in prefixes if prefix == "00" or len(prefix) > 2]
    unsure_prefixes = {"00", *prefixes}.difference(sure_prefixes)
    numbers = [
        number
        for prefix in sure_prefixes
        if (number := read_or_none(_read_international, compact[len(prefix) :]))
    ]
    alternatives = _read_alternatives(compact, unsure_prefixes)
    domestic = read_or_none(_read_domestic, compact, region)
    if domestic is None and len(numbers) == 1 and not alternatives:
        return _require_possible(numbers[0])
    if (
        domestic is not None
        and not alternatives
        and not any(read_or_none(_require_possible, number) for number in numbers)
    ):
        return domestic
    if numbers or alternatives:
        raise AmbiguousNumberError(_ANOTHER_COUNTRY, compact, [*numbers, *alternatives, domestic])
    return (
        _require_possible(_read_international(compact[len(sure_prefixes[0]) :]))
        if sure_prefixes
        else _read_domestic(compact, region)
    )


def _read_alternatives(compact: str, prefixes: Iterable[str]) -> list[Number]:
    """Return the numbers behind other countries' prefixes, and the one whose + is lost."""
    tails = [
        compact.removeprefix(prefix) for prefix in sorted(prefixes) if compact.startswith(prefix)
    ]
    numbers = [
        number
        for digits in tails
        if (number := read_or_none(_read_international, digits))
        and read_or_none(_require_possible, number)
    ]
    without_prefix = read_or_none(_read_international, compact)
    return [*numbers, without_prefix] if without_prefix and without_prefix.is_valid else numbers


def _read_international(digits: str) -> Number:
    code = find_country_code(digits)
    if code is None:
        raise PhoneNumberError(_NO_COUNTRY)
    national = digits[len(code) :]
    if "o" in national and (not _has_trunk_zero(code) or national.rfind("o") > 0):
        raise PhoneNumberError(_describe_unclear_zero(code, national))
    if national.startswith("o"):
        return Number(code, national[1:])
    if _has_trunk_zero(code) and national.startswith("0"):
        return _require_valid_without_zero(Number(code, national[1:]))
    return Number(code, national)


def _require_valid_without_zero(number: Number) -> Number:
    """Return a number whose typed 0 was dropped, if it is valid."""
    if not number.is_valid and len(number.national) not in mobile_lengths(number.code):
        _require_possible(number)
        raise PhoneNumberError(_UNCLEAR_TRUNK_ZERO)
    return number


def _has_trunk_zero(code: str) -> bool:
    return trunk_prefix(phonenumbers.region_code_for_country_code(int(code))) == "0"


def _read_domestic(digits: str, region: str) -> Number:
    """Read a number typed in the region without + and international prefix."""
    digits = digits.replace("o", "0", 1) if digits.startswith("o") else digits
    code, trunk = str(phonenumbers.country_code_for_region(region)), trunk_prefix(region)
    has_prefix = bool(trunk) and digits.startswith(trunk)
    number = Number(code, digits[len(trunk) :] if has_prefix else digits)
    if "o" in digits:
        raise PhoneNumberError(_describe_unclear_zero(code, number.national))
    if has_prefix and number.national.startswith("0"):
        number = _drop_printed_zero(number, digits)
    if _is_short_or_emergency(digits, number, region):
        raise PhoneNumberError(_TOO_SHORT_TO_TEXT)
    # In North America the 1 is as often left out as typed: it is the country code as well.
    lacks_prefix = bool(trunk) and not has_prefix and code != NORTH_AMERICA
    is_written_so = number.is_mobile and number.is_written_without_trunk_prefix
    foreign_numbers = _find_foreign_numbers(digits, number)
    if (lacks_prefix and not is_written_so) or (
        foreign_numbers and (lacks_prefix or not number.is_mobile)
    ):
        raise _build_ambiguity(digits, number, foreign_numbers, region)
    if not number.is_valid:
        _refuse_domestic_form(number, find_dialled_within(digits, region))
        _refuse_foreign(digits, number, region)
    return _require_possible(number)


def _build_ambiguity(
    digits: str, domestic: Number, foreign_numbers: list[Number], region: str
) -> AmbiguousNumberError:
    if any(number.code == domestic.code for number in foreign_numbers):
        return AmbiguousNumberError(_OWN_CODE, digits, foreign_numbers)
    domestic_numbers = [domestic]
    if not domestic.is_valid:
        domestic_numbers = [
            strip_domestic_prefix(domestic),
            *find_dialled_within(digits, region),
            *find_in_shared_plan(domestic),
        ]
    return AmbiguousNumberError(
        _ANOTHER_COUNTRY if foreign_numbers else "", digits, [*foreign_numbers, *domestic_numbers]
    )


def _find_foreign_numbers(digits: str, domestic: Number) -> list[Number]:
    """Return the numbers that the digits mean if the + is lost, maybe behind a trunk prefix."""
    texts = [digits, domestic.national] if domestic.national.startswith(domestic.code) else [digits]
    if domestic.is_valid:  # a 0 after the country code would be far-fetched
        numbers = [Number(*parts) for parts in map(split_country_code, texts) if parts]
    else:
        numbers = [
            _strip_if_foreign(number, domestic)
            for text in texts
            if (number := read_or_none(_read_international, text))
        ]
    # 0596 is Martinique throughout France.
    numbers += [
        number
        for number in find_in_shared_plan(domestic)
        if domestic.national.startswith(number.code)
    ]
    return [number for number in numbers if number != domestic and number.is_valid]


def _strip_if_foreign(number: Number, domestic: Number) -> Number:
    """Strip the prefix of calls at home where a reading at home is unlikely."""
    is_far_fetched = number.code == domestic.code or _is_too_long(domestic)
    return strip_domestic_prefix(number) if is_far_fetched and not number.is_valid else number


def _drop_printed_zero(number: Number, digits: str) -> Number:
    """Drop the 0 that Belarus prints after its trunk prefix (8 029)."""
    candidate = Number(number.code, number.national[1:])
    return candidate if candidate.is_valid and candidate.local_digits == digits else number


def _is_short_or_emergency(digits: str, domestic: Number, region: str) -> bool:
    is_short = phonenumbers.is_emergency_number(digits, region) or re.fullmatch(
        "[1-9][0-9]{2,5}", digits
    )
    return bool(is_short) and not domestic.is_valid


def _refuse_foreign(digits: str, domestic: Number, region: str) -> None:
    """Refuse digits that look foreign or are longer than any number of the region."""
    code = _example_country_code(domestic.code)
    advice = f"For another country begin with + and its code, as in +{code}."
    region_name = region_in_a_sentence(region)
    if domestic.code == NORTH_AMERICA and digits.startswith("0"):
        raise PhoneNumberError(f"That is not a number of {region_name}. {advice}")
    # "01033 089 123456" holds a carrier's code; some regions have long extensions of offices.
    if _is_too_long(domestic) or len(domestic.national) > max_mobile_length(region):
        raise TooLongError(f"That number is too long for {region_name}. {advice}")


def _is_too_long(number: Number) -> bool:
    length = phonenumbers.is_possible_number_with_reason(number.parsed)
    return len(number.e164) > 1 + MAX_DIGITS or length == Length.TOO_LONG


def _example_country_code(home_code: str) -> str:
    return "44" if home_code == "49" else "49"


def _require_possible(number: Number) -> Number:
    """Return the number, unless its form is impossible. The rest is for Twilio to decide."""
    if len(number.e164) > 1 + MAX_DIGITS:
        raise PhoneNumberError("That number is too long: it has 15 digits at most.")
    if not number.is_valid:
        _refuse_domestic_form(number)
    length = phonenumbers.is_possible_number_with_reason(number.parsed)
    if length != Length.IS_POSSIBLE:
        raise PhoneNumberError(_LENGTH_PROBLEMS.get(length, _NO_COUNTRY))
    if number.code == NORTH_AMERICA and number.national[0] in "01":
        raise PhoneNumberError("After +1 no area code begins with 0 or 1.")
    if number.national.startswith("0") and not number.is_valid:
        suggestion = suggest_spellings(Number(number.code, number.national.lstrip("0")))
        raise PhoneNumberError(f"{_LEADING_ZERO} {suggestion}".strip())
    return number


def _refuse_domestic_form(number: Number, corrected: Iterable[Number] = ()) -> None:
    """Refuse a number with digits dialled only within its country, such as the 8 of Belarus.

    The number without them is suggested, never used: nobody has typed it.
    """
    shared_numbers = find_in_shared_plan(number)
    if shared_numbers:
        raise PhoneNumberError(f"{_ANOTHER_CODE} {suggest_spellings(*shared_numbers)}")
    region = phonenumbers.region_code_for_country_code(int(number.code))
    trunk = trunk_prefix(region)
    numbers = [
        strip_domestic_prefix(number),
        *corrected,
        *read_after_trunk_prefix(number.national, region),
    ]
    numbers += find_dialled_within(f"{trunk}{number.national}", region) if trunk else []
    numbers = [
        candidate
        for candidate in numbers
        if trunk != "0" or number.national != f"0{candidate.national}"
    ]
    suggestion = suggest_spellings(*numbers)
    if suggestion:
        raise PhoneNumberError(f"That is a form for calls within the country. {suggestion}")


def _describe_unclear_zero(code: str, national: str) -> str:
    suggestion = suggest_spellings(
        *(Number(code, national.replace("o", zero)) for zero in ("0", ""))
    )
    return f"{_BRACKETED_ZERO} {suggestion or 'Type it without brackets.'}"


def suggest_spellings(*numbers: Number) -> str:
    """Return a sentence that suggests the accepted numbers; "" if there are none."""
    spellings = [number.international for number in dict.fromkeys(numbers) if _is_accepted(number)]
    return f"Write it as {join_spellings(spellings)}." if spellings else ""


def _is_accepted(number: Number) -> bool:
    """Check that a number is valid, and read as itself behind a +."""
    if not number.is_valid or (number.national.startswith("0") and _has_trunk_zero(number.code)):
        return False
    return read_or_none(_require_possible, number) == number


def join_spellings(spellings: list[str]) -> str:
    *leading, last = spellings or [""]
    return f"{', '.join(leading)} or {last}" if leading else last
