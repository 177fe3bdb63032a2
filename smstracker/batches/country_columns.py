"""Columns that tell the country of a number, and what they make of one without +.

A calling code belongs to the number, so it completes the number where that is valid. A country is
perhaps only where somebody lives: it completes nothing, but what contradicts it is refused.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import phonenumbers

from smstracker.batches.headings import is_country, is_country_code, is_prefix
from smstracker.batches.phone_column import filled_cells, holds_numbers
from smstracker.batches.table import Row
from smstracker.sms.countries import find_region
from smstracker.sms.numbering_plan import Number, home_code, split_country_code
from smstracker.sms.phone_numbers import parse_recipient, spell_recipient
from smstracker.sms.phone_spelling import PhoneNumberError

# "91", "+91", "0091", "India (+91)", and "91.0" of a program.
_CODE = re.compile(r"[^0-9+]*(?:\+ ?|00)?([1-9][0-9]{0,2})(?:\.0)?[^0-9+]*")
_BEGIN = "Begin the number with + and the country code."
_CODES = phonenumbers.COUNTRY_CODE_TO_REGION_CODE


@dataclass(frozen=True, slots=True)
class CountryCell:
    """What one cell says; `code` is None if it cannot be read, `is_code` false for a country."""

    column: str
    text: str
    code: str | None
    is_code: bool


def find_country_columns(
    headings: Sequence[str], data: Sequence[Row], region: str
) -> Sequence[int]:
    """Return the columns of country codes and of countries; of unclear ones most cells say so."""
    return [
        position
        for position, heading in enumerate(headings)
        if (cells := filled_cells(data, position))
        and _tells_country(heading, cells)
        and not holds_numbers(data, position, region)
    ]


def _tells_country(heading: str, cells: Sequence[str]) -> bool:
    readable = [cell for cell in cells if _read_code(cell)]
    if is_prefix(heading):  # of people, "Mr" is no code
        readable = [cell for cell in readable if not cell.isalpha()]
    is_unclear = is_country(heading) or is_prefix(heading)
    return is_country_code(heading) or (is_unclear and len(readable) * 2 >= len(cells))


def _read_code(text: str) -> str | None:
    """Return the country code that a cell tells, or that of its country."""
    if match := _CODE.fullmatch(text):
        return match[1] if int(match[1]) in _CODES else None
    region = find_region(text)
    return home_code(region) if region else None


def read_country(column: str, text: str) -> CountryCell:
    """Read a cell that is filled."""
    return CountryCell(column, text, _read_code(text), any(map(str.isdecimal, text)))


def complete_number(typed: str, cells: Sequence[CountryCell], region: str) -> tuple[str, bool]:
    """Return the number of a row in E.164, and whether its country code is that of a cell.

    Raises PhoneNumberError.
    """
    codes = {cell.code for cell in cells}
    if codes <= {home_code(region)} or spell_recipient(typed, region).compact.startswith("+"):
        return parse_recipient(typed, region), False
    number = _parse_or_none(typed, region)
    if number and {number.code} == codes:  # typed with the prefix of calls abroad
        return number.e164, False
    first = cells[0]
    if len(codes) > 1 or first.code is None or not any(cell.is_code for cell in cells):
        told = ", ".join(f"{cell.column[:40]} “{cell.text[:40]}”" for cell in cells)
        raise PhoneNumberError(f"The row says {told}, and the number has no country code. {_BEGIN}")
    number = _find_number(typed, first.code, region)
    if number is None:
        reason = f"With the country code {first.code}, of “{first.column[:40]}”,"
        raise PhoneNumberError(f"{reason} that is not one valid number. {_BEGIN}")
    return number.e164, True


def _find_number(typed: str, code: str, region: str) -> Number | None:
    """Return the one valid number: behind the code, as typed in its region, or lacking only a +.

    None also if the digits behind the code are valid, but may begin with the code themselves.
    """
    home = phonenumbers.region_code_for_country_code(int(code))
    digits = spell_recipient(typed, region).digits
    readings = [(f"+{code} {typed}", region), (f"+{digits}", region)]
    if home in phonenumbers.SUPPORTED_REGIONS:
        readings.append((typed, home))
    read = {_parse_or_none(*reading) for reading in readings}
    numbers = [number for number in read if number and number.code == code]
    valid = [number for number in numbers if number.is_valid]
    is_sure = len(numbers) == 1 or [number.e164 for number in valid] == [f"+{digits}"]
    return valid[0] if valid and is_sure else None


def _parse_or_none(typed: str, region: str) -> Number | None:
    try:
        return split_country_code(parse_recipient(typed, region)[1:])
    except PhoneNumberError:
        return None
