"""Reading of digits as the one number that they can mean in a region.

Raises PhoneNumberError throughout, AmbiguousNumberError where several numbers may be meant.
"""

import re
from collections.abc import Callable, Iterable

import phonenumbers
from phonenumbers import ValidationResult as Length

from smstracker.sms import numbering_plan as plan
from smstracker.sms.countries import join_with_or, region_in_a_sentence
from smstracker.sms.numbering_plan import NORTH_AMERICA, Number, home_code, trunk_prefix
from smstracker.sms.phone_spelling import PhoneNumberError

_LENGTH_PROBLEMS = {
    Length.TOO_SHORT: "That number is too short.",
    Length.TOO_LONG: "That number is too long.",
    Length.INVALID_LENGTH: "No number of that country has this length.",
    Length.IS_POSSIBLE_LOCAL_ONLY: "The area code is missing.",
}
_NO_CODE = "No country has that code."
_NO_COUNTRY = f"{_NO_CODE} Begin with + and the country code, for example +44."
_ANOTHER_COUNTRY = "This could be a number of another country."


class TooLongError(PhoneNumberError):
    """The number is longer than any of the region, or than any mobile one."""


class AmbiguousNumberError(PhoneNumberError):
    """The digits may mean one of several numbers, or one that is dialled in another way."""

    def __init__(self, reason: str, digits: str, numbers: Iterable[Number | None]) -> None:
        super().__init__(reason)
        self.reason, self.digits, self.numbers = reason, digits, _keep_accepted(numbers)


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
    prefixes = plan.international_prefixes(compact, region)
    if prefixes or compact.startswith("00"):
        return _read_after_prefix(compact, prefixes, region)
    return _read_domestic(compact, region)


def _read_after_plus(digits: str, region: str, first_group: str) -> Number:
    """Read the number behind a +, unless it may be a number as dialled at home.

    "+8 (495) 123-45-67" is typed in Russia for +7 495…, and reads as a number of Vietnam. A valid
    number without a separator is how programs write it, and is taken as it is.
    """
    split = plan.split_country_code(digits)
    if split is None:
        raise _build_country_refusal(digits, region)
    number = read_or_none(_read_international, digits)
    is_abroad = _is_accepted(number)
    if first_group != f"+{split.code}" and (first_group or not is_abroad):
        domestic_numbers = _find_dialled_numbers(digits.replace("o", "0"), region, is_abroad)
        if domestic_numbers and number not in domestic_numbers:
            reason = "That country has no such number."
            if is_abroad:
                reason = "It is not clear where the country code ends. Put a space after it."
            raise AmbiguousNumberError(reason, digits, [*domestic_numbers, number])
    return _require_possible(_read_international(digits))


def _find_dialled_numbers(digits: str, region: str, needs_prefix: bool) -> list[Number]:
    """Return the valid numbers that the digits reach in the region: by a prefix, or as they are."""
    tails = [digits[len(prefix) :] for prefix in plan.international_prefixes(digits, region)]
    numbers = plan.read_after_trunk_prefix(digits, region)
    numbers += [number for number in _read_each(tails) if number.is_valid]
    domestic = Number(home_code(region), digits)
    is_dialled_so = domestic.is_valid and domestic.is_written_without_trunk_prefix
    return [*numbers, domestic] if is_dialled_so and not needs_prefix else numbers


def _build_country_refusal(digits: str, region: str) -> PhoneNumberError:
    """Return the refusal of a + without a country code, with the number that is dialled so."""
    try:
        numbers = [read_number(digits, region)]
    except AmbiguousNumberError as without_plus:
        numbers = without_plus.numbers
    except PhoneNumberError:
        numbers = plan.find_dialled_within(digits.replace("o", "0"), region)
    ambiguity = AmbiguousNumberError(_NO_CODE, digits, numbers)
    return ambiguity if ambiguity.numbers else PhoneNumberError(_NO_COUNTRY)


def _read_after_prefix(compact: str, prefixes: list[str], region: str) -> Number:
    """Read the number behind an international prefix, if no other reading is possible.

    In South Korea 001 41… is dialled for Switzerland, but people used to dialling 00 type it for
    the United States.
    """
    # A single digit may be the trunk prefix of another country.
    sure_prefixes = [prefix for prefix in prefixes if prefix == "00" or len(prefix) > 2]
    numbers = _read_each(compact[len(prefix) :] for prefix in sure_prefixes)
    alternatives = _read_alternatives(compact, {"00", *prefixes}.difference(sure_prefixes))
    domestic = read_or_none(_read_domestic, compact, region)
    if domestic is None and len(numbers) == 1 and not alternatives:
        return _require_possible(numbers[0])
    if domestic and not alternatives and not any(map(_is_possible, numbers)):
        return domestic
    if numbers or alternatives:
        raise AmbiguousNumberError(_ANOTHER_COUNTRY, compact, [*numbers, *alternatives, domestic])
    if sure_prefixes:
        return _require_possible(_read_international(compact[len(sure_prefixes[0]) :]))
    return _read_domestic(compact, region)


def _read_alternatives(compact: str, prefixes: Iterable[str]) -> list[Number]:
    """Return the numbers behind other countries' prefixes, and the one whose + is lost."""
    tails = (compact[len(prefix) :] for prefix in sorted(prefixes) if compact.startswith(prefix))
    without_prefix = [number for number in _read_each([compact]) if number.is_valid]
    return [*filter(_is_possible, _read_each(tails)), *without_prefix]


def _read_each(texts: Iterable[str]) -> list[Number]:
    """Return the numbers of those texts that begin with a country code and can be read."""
    numbers = (read_or_none(_read_international, digits) for digits in texts)
    return [number for number in numbers if number]


def _read_international(digits: str) -> Number:
    number = plan.split_country_code(digits)
    if number is None:
        raise PhoneNumberError(_NO_COUNTRY)
    has_trunk_zero, typed_zero = _has_trunk_zero(number), number.national[:1]
    if "o" in number.national and (not has_trunk_zero or number.national.rfind("o") > 0):
        raise PhoneNumberError(_describe_unclear_zero(number))
    if not has_trunk_zero or typed_zero not in ("o", "0"):
        return number
    number = Number(number.code, number.national[1:])
    is_mobile_length = len(number.national) in plan.mobile_lengths(number.code)
    if typed_zero == "0" and not number.is_valid and not is_mobile_length:
        _require_possible(number)
        raise PhoneNumberError(
            "It is not clear whether the 0 after the country code belongs to the number. "
            "Leave it out if it does not."
        )
    return number


def _has_trunk_zero(number: Number) -> bool:
    return trunk_prefix(number.main_region) == "0"


def _read_domestic(digits: str, region: str) -> Number:
    """Read a number typed in the region without + and international prefix."""
    digits = re.sub("^o", "0", digits)
    code, trunk = home_code(region), trunk_prefix(region)
    has_prefix = bool(trunk) and digits.startswith(trunk)
    number = Number(code, digits.removeprefix(trunk))
    if "o" in digits:
        raise PhoneNumberError(_describe_unclear_zero(number))
    if has_prefix and number.national.startswith("0"):
        number = _drop_printed_zero(number, digits)
    is_short = re.fullmatch("[1-9][0-9]{2,5}", digits) is not None
    if (is_short or phonenumbers.is_emergency_number(digits, region)) and not number.is_valid:
        raise PhoneNumberError(
            "That is too short for a phone number. "
            "No message is sent from here to short codes and emergency numbers."
        )
    # In North America the 1 is as often left out as typed: it is the country code as well.
    lacks_prefix = bool(trunk) and not has_prefix and code != NORTH_AMERICA
    foreign_numbers = _find_foreign_numbers(digits, number)
    may_be_foreign = foreign_numbers and (lacks_prefix or not number.is_mobile)
    if may_be_foreign or (lacks_prefix and not _is_written_without_prefix(number)):
        raise _build_ambiguity(digits, number, foreign_numbers, region)
    if not number.is_valid:
        _refuse_domestic_form(number, plan.find_dialled_within(digits, region))
        _refuse_foreign(digits, number, region)
    return _require_possible(number)


def _is_written_without_prefix(number: Number) -> bool:
    return number.is_mobile and number.is_written_without_trunk_prefix


def _build_ambiguity(
    digits: str, domestic: Number, foreign_numbers: list[Number], region: str
) -> AmbiguousNumberError:
    if any(number.code == domestic.code for number in foreign_numbers):
        reason = "It may begin with the country code."
        return AmbiguousNumberError(reason, digits, foreign_numbers)
    numbers = [*foreign_numbers, domestic]
    if not domestic.is_valid:
        numbers.append(plan.strip_domestic_prefix(domestic))
        numbers += plan.find_dialled_within(digits, region) + plan.find_in_shared_plan(domestic)
    return AmbiguousNumberError(_ANOTHER_COUNTRY if foreign_numbers else "", digits, numbers)


def _find_foreign_numbers(digits: str, domestic: Number) -> list[Number]:
    """Return the numbers that the digits mean if the + is lost, maybe behind a trunk prefix."""
    texts = [digits, domestic.national] if domestic.national.startswith(domestic.code) else [digits]
    if domestic.is_valid:  # a 0 after the country code would be far-fetched
        numbers = [number for number in map(plan.split_country_code, texts) if number]
    else:
        numbers = [_strip_if_foreign(number, domestic) for number in _read_each(texts)]
    # 0596 is Martinique throughout France.
    shared_numbers = plan.find_in_shared_plan(domestic)
    numbers += [number for number in shared_numbers if domestic.national.startswith(number.code)]
    return [number for number in numbers if number != domestic and number.is_valid]


def _strip_if_foreign(number: Number, domestic: Number) -> Number:
    """Strip the prefix of calls at home where a reading at home is unlikely."""
    is_far_fetched = number.code == domestic.code or _is_too_long(domestic)
    return plan.strip_domestic_prefix(number) if is_far_fetched and not number.is_valid else number


def _drop_printed_zero(number: Number, digits: str) -> Number:
    """Drop the 0 that Belarus prints after its trunk prefix (8 029)."""
    candidate = Number(number.code, number.national[1:])
    return candidate if candidate.is_valid and candidate.local_digits == digits else number


def _refuse_foreign(digits: str, domestic: Number, region: str) -> None:
    """Refuse digits that look foreign or are longer than any number of the region."""
    example = "+44" if domestic.code == "49" else "+49"
    advice = f"For another country begin with + and its code, as in {example}."
    region_name = region_in_a_sentence(region)
    if domestic.code == NORTH_AMERICA and digits.startswith("0"):
        raise PhoneNumberError(f"That is not a number of {region_name}. {advice}")
    # "01033 089 123456" holds a carrier's code; some regions have long extensions of offices.
    if _is_too_long(domestic) or len(domestic.national) > plan.max_mobile_length(region):
        without_zero = suggest_spellings([Number(domestic.code, domestic.national.lstrip("0"))])
        reason = f"That number is too long for {region_name}."
        raise TooLongError(" ".join(filter(None, [reason, without_zero, advice])))


def _is_too_long(number: Number) -> bool:
    return number.has_too_many_digits or number.length == Length.TOO_LONG


def _require_possible(number: Number) -> Number:
    """Return the number, unless its form is impossible. The rest is for Twilio to decide."""
    if number.has_too_many_digits:
        raise PhoneNumberError("That number is too long: it has 15 digits at most.")
    if not number.is_valid:
        _refuse_domestic_form(number)
    if number.length != Length.IS_POSSIBLE:
        raise PhoneNumberError(_LENGTH_PROBLEMS.get(number.length, _NO_COUNTRY))
    if number.code == NORTH_AMERICA and number.national[0] in "01":
        raise PhoneNumberError("After +1 no area code begins with 0 or 1.")
    if number.national.startswith("0") and not number.is_valid:
        suggestion = suggest_spellings([Number(number.code, number.national.lstrip("0"))])
        raise PhoneNumberError(f"No number of that country has a 0 there. {suggestion}".strip())
    return number


def _is_possible(number: Number) -> bool:
    return read_or_none(_require_possible, number) is not None


def _refuse_domestic_form(number: Number, corrected: Iterable[Number] = ()) -> None:
    """Refuse a number with digits dialled only within its country, such as the 8 of Belarus.

    The number without them is suggested, never used: nobody has typed it.
    """
    with_zero = Number(number.code, f"0{number.national}")  # Italy's belongs to the number
    if suggestion := suggest_spellings([with_zero, *plan.find_in_shared_plan(number)]):
        reason = "Numbers that begin like that have another country code."
        if _is_accepted(with_zero):
            reason = "That country has no such number without a 0 in front."
        raise PhoneNumberError(f"{reason} {suggestion}")
    region = number.main_region
    trunk, national = trunk_prefix(region), number.national
    numbers = [plan.strip_domestic_prefix(number), *corrected]
    numbers += plan.read_after_trunk_prefix(national, region)
    numbers += plan.find_dialled_within(f"{trunk}{national}", region) if trunk else []
    if trunk == "0":
        numbers = [candidate for candidate in numbers if f"0{candidate.national}" != national]
    if suggestion := suggest_spellings(numbers):
        raise PhoneNumberError(f"That is a form for calls within the country. {suggestion}")


def _describe_unclear_zero(number: Number) -> str:
    meanings = [Number(number.code, number.national.replace("o", zero)) for zero in ("0", "")]
    suggestion = suggest_spellings(meanings) or "Type it without brackets."
    return f"It is not clear whether the (0) belongs to the number. {suggestion}"


def suggest_spellings(numbers: Iterable[Number]) -> str:
    """Return a sentence that suggests the accepted numbers; "" if there are none."""
    spellings = [number.international for number in _keep_accepted(numbers)]
    return f"Write it as {join_with_or(spellings)}." if spellings else ""


def _keep_accepted(numbers: Iterable[Number | None]) -> list[Number]:
    """Return the accepted numbers, each once."""
    return [number for number in dict.fromkeys(numbers) if number and _is_accepted(number)]


def _is_accepted(number: Number | None) -> bool:
    """Check that a number is valid, and read as itself behind a +."""
    if number is None or not number.is_valid:
        return False
    if number.national.startswith("0") and _has_trunk_zero(number):
        return False
    return _is_possible(number)
