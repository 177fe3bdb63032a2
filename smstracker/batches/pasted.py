"""Numbers pasted into the form instead of a file."""

import csv
import io
import re
from collections.abc import Sequence
from itertools import islice

from smstracker.sms.phone_numbers import parse_recipient
from smstracker.sms.phone_spelling import PhoneNumberError

SAMPLE_LINES = 200
HEADINGS = ("phone", "name")
_BETWEEN = re.compile(r"[,;\t|]")
# All digits that only the separators of a number stand between, so that none is left out.
_DIGITS = re.compile(r"[+＋(（\[［]*\d(?:(?:[().\-/~\[\]（）［］‐-―−]|[^\S\t])*\d)*")
_AROUND_NAME = " \u00a0\t,;:|=–—-"


def split_pasted(text: str, region: str) -> str:
    """Return pasted rows; a single row of nothing but numbers becomes a row for each.

    Lines of a name and one number, as from a list of contacts, become rows with two columns, called
    HEADINGS, if more lines can be read in this way than as the cells of a table.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    parts = _cells(lines[0]) if lines else []
    if len(lines) == 1 and all(_is_number(part, region) for part in parts):
        return "\n".join(parts)
    sample = list(islice(lines, SAMPLE_LINES))
    as_table = sum(any(_is_number(cell, region) for cell in _cells(line)) for line in sample)
    as_contacts = sum(_is_number(_read_contact(line)[0], region) for line in sample)
    return _write_contacts(text.splitlines()) if as_contacts > as_table else text


def _cells(line: str) -> Sequence[str]:
    return [cell.strip() for cell in _BETWEEN.split(line) if cell.strip()]


def _read_contact(line: str) -> tuple[str, str]:
    """Return the number and the name of a line.

    Where not all digits belong to one number that stands for itself, what is returned for it is
    refused with the reason.
    """
    numbers = list(_DIGITS.finditer(line))
    if len(numbers) != 1:
        return ", ".join(number[0] for number in numbers), line
    before, after = line[: numbers[0].start()], line[numbers[0].end() :]
    if before[-1:].isalpha() or after[:1].isalpha():
        return line, ""
    # Brackets next to the number are around it.
    words = (before.rstrip(_AROUND_NAME + "(<["), after.lstrip(_AROUND_NAME + ")>]"))
    return numbers[0][0], " ".join(filter(None, (word.strip(_AROUND_NAME) for word in words)))


def _write_contacts(lines: Sequence[str]) -> str:
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(HEADINGS)
    writer.writerows(_read_contact(line) if line.strip() else () for line in lines)
    return rows.getvalue()


def _is_number(text: str, region: str) -> bool:
    try:
        parse_recipient(text, region)
    except PhoneNumberError:
        return False
    return True
