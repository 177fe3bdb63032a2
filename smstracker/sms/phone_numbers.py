"""Phone numbers that people type: exactly the typed digits, or a reason for a refusal.

No parser looks for a number in the text. The text is trimmed, converted to ASCII, checked against
one grammar, and completed by the region alone: an international prefix becomes the +, a trunk
prefix (0 in Germany) is dropped, the country code of the region is added.
"""

from smstracker.sms import numbering_plan as plan
from smstracker.sms.countries import join_with_or
from smstracker.sms.numbering_plan import Number, trunk_prefix
from smstracker.sms.phone_reading import (
    AmbiguousNumberError,
    TooLongError,
    read_number,
    read_or_none,
    suggest_spellings,
)
from smstracker.sms.phone_spelling import (
    SECOND_NUMBER,
    PhoneNumberError,
    PlaceholderError,
    Spelling,
    spell_number,
)


def parse_recipient(typed: str, region: str) -> str:
    """Return the typed number in E.164. Raises PhoneNumberError, whose text is for the typist."""
    try:
        return _parse(typed, region).e164
    except AmbiguousNumberError as ambiguity:
        advice = _advise_beginning(ambiguity, region)
        raise PhoneNumberError(f"{ambiguity.reason} {advice}".strip()) from None


def _parse(typed: str, region: str) -> Number:
    spelling = spell_recipient(typed, region)
    if _holds_whole_number(spelling.beginnings, spelling, region):
        raise PhoneNumberError(SECOND_NUMBER)
    try:
        number = read_number(spelling.compact, region, spelling.first_group)
    except TooLongError:
        if _holds_whole_number(spelling.parts, spelling, region):
            raise PhoneNumberError(SECOND_NUMBER) from None
        raise
    if not number.is_valid and _holds_whole_number(spelling.parts, spelling, region):
        raise PhoneNumberError(SECOND_NUMBER)
    return number


def spell_recipient(typed: str, region: str) -> Spelling:
    """Return the typed digits, of a whole number or its end. Raises PhoneNumberError."""
    try:
        return spell_number(typed, accepts_vanity=plan.home_code(region) == plan.NORTH_AMERICA)
    except PlaceholderError as error:
        raise _explain_placeholder(error, region) from None


def _holds_whole_number(parts: tuple[str, ...], spelling: Spelling, region: str) -> bool:
    numbers = (read_or_none(read_number, part, region, spelling.first_group) for part in parts)
    return any(number is not None and number.is_valid for number in numbers)


def _explain_placeholder(error: PlaceholderError, region: str) -> PhoneNumberError:
    """Return the refusal of a notation that nobody dials, with the number that it means."""
    try:
        numbers = [read_number(error.compact, region)]
    except AmbiguousNumberError as ambiguity:
        numbers = ambiguity.numbers
    except PhoneNumberError:
        return error
    regions = {region, *(number.main_region for number in numbers)}
    suggestion = suggest_spellings(numbers) if any(map(plan.has_carrier_codes, regions)) else ""
    return PhoneNumberError(f"{error.meaning} {suggestion}") if suggestion else error


def _advise_beginning(ambiguity: AmbiguousNumberError, region: str) -> str:
    """Return what to type instead, naming only spellings that are then accepted."""
    spellings = [text for number in ambiguity.numbers for text in _list_spellings(number, region)]
    trunk = trunk_prefix(region)
    names_trunk = not all(text.startswith("+") for text in spellings)
    if trunk and not spellings:
        names_trunk = read_or_none(read_number, trunk + ambiguity.digits, region) is not None
    start = f"+ and the country code{f', or with {trunk}' if names_trunk else ''}"
    return f"Begin with {start}{': ' if spellings else ''}{join_with_or(spellings)}."


def _list_spellings(number: Number, region: str) -> list[str]:
    """Return a number as it may be typed: with +, and with a trunk prefix if people write one."""
    trunk, local = trunk_prefix(region), number.local
    has_trunk = bool(trunk) and number.local_digits.startswith(trunk)
    is_accepted = has_trunk and read_or_none(_parse, local, region) == number
    return [number.international, local] if is_accepted else [number.international]
